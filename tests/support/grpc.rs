//! gRPC as grpcio speaks it, at both ends.

use std::net::SocketAddr;
use std::process::Command;

use super::home::Home;
use super::peer::{Peer, fixture};
use super::tools::succeed;

/// A server of calls of all four kinds.
pub fn serve() -> Peer {
    Peer::start(peer(&["serve"]))
}

/// A home of a gate that speaks HTTP/2 to this upstream, with routes for its calls.
pub fn home(upstream: SocketAddr) -> Home {
    let mut home = Home::new();
    home.forward_to(upstream).set("upstreams.api", "http2", "true");
    for kind in ["unary", "down", "up", "both"] {
        let path = format!("/grpc.Service/{kind}");
        home.add_routes(&format!("[[route]]\npath = \"{path}\"\nrequires = \"authenticated\"\n"));
    }
    home
}

/// What comes of a call, line by line.
pub fn call(to: SocketAddr, token: &str, kind: &str, count: &str) -> Vec<String> {
    let port = to.port().to_string();
    let output = succeed(&mut peer(&["call", &port, token, kind, count]));
    output.lines().map(str::to_owned).collect()
}

/// The script that is both.
pub fn peer(arguments: &[&str]) -> Command {
    let mut command = fixture("grpc/peer.py");
    command.args(arguments);
    command
}
