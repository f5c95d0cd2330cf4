//! What operators see: metrics and health.

pub(crate) mod admin;
pub mod log;
pub mod metrics;
