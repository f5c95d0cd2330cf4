//! The harness: what operators, clients and upstreams do, so that tests read as sentences.

pub mod certificates;
pub mod client;
pub mod control;
pub mod draw;
pub mod events;
pub mod gate;
pub mod gateway;
pub mod grpc;
pub mod home;
pub mod lane;
pub mod metrics;
pub mod nginx;
pub mod peer;
pub mod tools;
pub mod upstream;
pub mod wait;
pub mod wire;
pub mod world;

pub use certificates::Authority;
pub use client::{Connection, Request, Response};
pub use control::Control;
pub use draw::Draw;
pub use gate::{Gate, gate_before_upstream};
pub use gateway::Gateway;
pub use home::Home;
pub use nginx::Nginx;
pub use peer::{Peer, fixture};
pub use upstream::{Next, Seen, Upstream};
pub use wait::{eventually, within};
pub use wire::Wire;
