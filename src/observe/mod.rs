//! What operators see: metrics and health.

pub mod admin;
pub mod metrics;
