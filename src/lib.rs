//! Portcullis: a token-validation sidecar and reverse proxy.

pub mod cli;
pub mod config;
pub mod core;
pub mod store;
