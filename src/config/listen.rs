//! Addresses to listen on.

use std::net::SocketAddr;
use std::path::Path;

use super::Listen;
use super::read::{Table, text};
use super::report::Mistake;
use super::source::shown;
use super::tree::Node;

/// Longest path of a unix socket that every Linux takes.
const UNIX_PATH_LIMIT: usize = 107;

/// `ADDRESS:PORT` or `unix:/path`.
pub(super) fn listen(node: &Node, base: &Path) -> Result<Listen, Mistake> {
    let given = text(node)?;
    if let Some(path) = given.strip_prefix("unix:") {
        return unix_path(path, base).map(Listen::Unix);
    }
    given.parse::<SocketAddr>().map(Listen::Tcp).map_err(|_| {
        Mistake::new(format!("{} is not an address to listen on", shown(given))).help(
            "write an IP address and a port, like \"127.0.0.1:8080\" or \"[::]:8080\", or \
             \"unix:/path\"",
        )
    })
}

/// The path of a unix socket, relative to the file.
pub(super) fn unix_path(path: &str, base: &Path) -> Result<std::path::PathBuf, Mistake> {
    if path.is_empty() {
        return Err(Mistake::new("the path of the unix socket is missing")
            .help("write for instance \"unix:/run/portcullis/gate.sock\""));
    }
    let path = base.join(path);
    if path.as_os_str().len() > UNIX_PATH_LIMIT {
        return Err(Mistake::new(format!(
            "the path of a unix socket may have {UNIX_PATH_LIMIT} bytes at most"
        )));
    }
    Ok(path)
}

/// A listener that an empty text turns off.
pub(super) fn optional(
    section: &Table<'_>,
    key: &str,
    default: SocketAddr,
    base: &Path,
) -> Option<Listen> {
    let Some(node) = section.node(key) else { return Some(Listen::Tcp(default)) };
    if text(node).is_ok_and(str::is_empty) {
        return None;
    }
    section.take(key, |node| listen(node, base))
}

/// Whether two listeners would get in each other's way. Port 0 is a different one each time.
pub(super) fn clash(one: &Listen, other: &Listen) -> bool {
    let any_port = matches!(one, Listen::Tcp(address) if address.port() == 0);
    one == other && !any_port
}

/// What is wrong with a listener that clashes with another.
pub(super) fn taken() -> Mistake {
    Mistake::new("another listener already has this address")
}

/// Whether only this machine can reach it.
pub(super) fn is_local(listener: &Listen) -> bool {
    match listener {
        Listen::Tcp(address) => address.ip().to_canonical().is_loopback(),
        Listen::Unix(_) => true,
    }
}
