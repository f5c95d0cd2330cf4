//! What speaks to the gate in Python: scripts under `tests/fixtures`, as clients and as servers.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::tools::python;

/// A script under `tests/fixtures`.
pub fn fixture(script: &str) -> Command {
    let mut command = python();
    command.arg(format!("{}/tests/fixtures/{script}", env!("CARGO_MANIFEST_DIR")));
    command
}

/// A server that prints its port once it listens. It is there until it is dropped.
pub struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Peer {
    /// Starts it and waits until it listens.
    pub fn start(mut command: Command) -> Self {
        // Some end when nobody holds the other end of their standard input.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect("the server says its port");
        Self { child, address: ([127, 0, 0, 1], port).into() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
