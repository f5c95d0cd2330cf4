//! The pure core: data in, verdict out. No I/O, clock, lock, thread, log or randomness.

pub mod authority;
pub mod decide;
pub mod digest;
pub mod explain;
pub mod facts;
pub mod grant;
pub mod index;
pub mod ip;
pub mod path;
pub mod permissions;
pub mod record;
pub mod routes;
pub mod token;
pub mod verdict;

#[cfg(test)]
mod tests;
