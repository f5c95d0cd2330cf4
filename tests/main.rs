//! The program as operators, clients and upstreams meet it: the real binary, real sockets, one
//! file a capability. `./test` says what has to be installed.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test ends where it is surprised")]

mod support;

mod between;
mod bodies;
mod bulk;
mod cli;
mod clients;
mod control;
mod control_framing;
mod control_ip_rules;
mod control_rotation;
mod control_schemathesis;
mod control_who;
mod crash;
mod decisions;
mod edge;
mod explain;
mod feed;
mod feed_http;
mod follow;
mod framing;
mod headers;
mod http2;
mod importers;
mod introspection;
mod lane_process;
mod legacy;
mod legacy_upgrade;
mod limits;
mod metrics;
mod proxying;
mod reload;
mod scan;
mod secrets;
mod streams;
mod tls;
mod upgrades;
mod usage;
mod wrong;
