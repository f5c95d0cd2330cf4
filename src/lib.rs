//! Portcullis: a token-validation sidecar and reverse proxy.
//!
//! The program is the interface that is kept stable; the library is there for its tests and
//! benchmarks. The rooms, from the pure one outwards:
//!
//! - [`core`] decides: data in, verdict out;
//! - [`store`] is the truth, [`feed`] brings its changes to the index that decisions read;
//! - [`limits`] counts what accounts, tokens and failing addresses may use;
//! - [`usage`] counts which tokens are used;
//! - [`legacy`] verifies what only a password hash recognises, on threads of its own;
//! - [`edge`] turns requests into facts and verdicts into answers, and forwards what is permitted;
//! - [`tls`] is spoken towards clients and upstreams;
//! - [`control`] is the management API, guarded by the same decisions;
//! - [`scan`] finds tokens where they should not be;
//! - [`config`], [`app`], [`observe`], [`explain`] and [`cli`] are what operators meet.
//!
//! ARCHITECTURE.md has the picture and says where everything is.

pub mod app;
mod cgroup;
pub mod cli;
pub mod config;
pub mod control;
pub mod core;
#[cfg(test)]
#[path = "../tests/support/draw.rs"]
mod draw;
pub mod edge;
mod encoding;
pub mod explain;
pub mod feed;
pub mod legacy;
pub mod limits;
mod local;
mod memory;
pub mod observe;
mod proxy;
pub mod scan;
mod secret;
pub mod store;
mod stream;
mod time;
pub mod tls;
pub mod usage;
