//! The slow lane: tokens known only by a password hash, verified without holding up anyone else.
//!
//! [`verifier`] reads and verifies the hashes; the [`Lane`] runs them on threads of its own
//! behind a bounded queue, one verification at a time for each secret, and remembers successes.

mod flight;
mod lane;
mod load;
mod memory;
pub mod verifier;
mod worker;

pub use lane::{Lane, LaneVerdict, VerifyRequest};
pub use load::{LaneObserver, LaneStats};
pub use memory::Remembered;
pub use verifier::{Bounds, PasswordHash};
#[cfg(test)]
pub(crate) use worker::Check;
