//! Portcullis: a token-validation sidecar and reverse proxy.

pub mod app;
mod cgroup;
pub mod cli;
pub mod config;
pub mod core;
pub mod edge;
pub mod explain;
pub mod feed;
pub mod legacy;
pub mod observe;
mod proxy;
pub mod store;
mod stream;
