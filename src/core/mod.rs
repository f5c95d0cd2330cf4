//! The pure core: data in, verdict out. No I/O, clock, lock, thread, log or randomness.

pub mod digest;
pub mod ip;
pub mod path;
pub mod permissions;
pub mod record;
pub mod routes;
pub mod token;
