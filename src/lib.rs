//! Portcullis: a token-validation sidecar and reverse proxy.

pub mod config;
pub mod core;
pub mod legacy;
pub mod store;
