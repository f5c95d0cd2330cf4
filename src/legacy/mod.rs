//! The slow lane: tokens known only by a password hash, verified without holding up anyone else.
//!
//! [`verifier`] reads and verifies the hashes; `introspection` asks a remote endpoint instead; the [`Lane`] runs them on threads of its own
//! within a budget of CPU time, behind a bounded queue that accounts share, one verification at
//! a time for each secret, and remembers what came of it.

mod budget;
mod fixed;
mod flight;
mod introspection;
mod kept;
mod lane;
mod load;
mod memory;
mod mismatches;
mod queue;
mod scratch;
mod throttle;
pub mod verifier;
mod worker;

pub use lane::{Lane, LaneVerdict, VerifyRequest};
pub use load::{Asked, LaneObserver, LaneStats};
pub use memory::Remembered;
pub use verifier::{Bounds, PasswordHash};
#[cfg(test)]
pub(crate) use worker::Check;
