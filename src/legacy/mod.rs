//! The slow lane: tokens known only by a password hash, verified without holding up anyone else.
//!
//! [`verifier`] reads and verifies the hashes; `introspection` asks a remote endpoint instead; the [`Lane`] runs them on threads of its own
//! within a budget of CPU time, behind a bounded queue that accounts share, one verification at
//! a time for each secret, and remembers what came of it. The threads can also be those of another
//! process: `remote` is both sides of that.

mod budget;
mod fixed;
mod flight;
mod introspection;
mod job;
mod kept;
mod lane;
mod load;
mod memory;
mod mismatches;
mod queue;
mod remote;
mod scratch;
mod task;
mod threads;
mod throttle;
pub mod verifier;
mod worker;

pub(crate) use budget::thread_time;
pub use lane::{Lane, LaneVerdict, VerifyRequest};
pub use load::{Asked, LaneObserver, LaneStats};
pub use memory::Remembered;
pub(crate) use remote::LaneServer;
#[cfg(fuzzing)]
pub use remote::{Answer, Question};
pub use verifier::{Bounds, PasswordHash};
#[cfg(test)]
pub(crate) use worker::Check;
