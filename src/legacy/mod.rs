//! The slow lane: tokens known only by a password hash, verified without holding up anyone else.

pub mod verifier;
