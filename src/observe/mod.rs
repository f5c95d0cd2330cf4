//! What operators see: metrics and health.

pub(crate) mod admin;
pub mod metrics;
