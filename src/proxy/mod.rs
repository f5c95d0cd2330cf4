//! Forwarding: what a permit allows is sent to its upstream, and the answer is sent back.
//!
//! Bodies are streamed both ways as they come, never collected: each side is read only as fast
//! as the other takes it.

mod body;
mod connect;
mod exchange;
mod forward;
mod frames;
mod headers;
mod identity;
mod pool;
mod send;
mod tunnel;
mod upgrade;

pub(crate) use body::{BodyError, UpstreamBody};
pub(crate) use forward::{Content, Forwarding, Plan, forward};
pub(crate) use headers::Dropped;
pub(crate) use identity::{Certificate, Identity};
pub(crate) use pool::{Pool, Upstreams};
pub(crate) use tunnel::Switched;
