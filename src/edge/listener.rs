//! Listening, and handing connections to workers.
//!
//! One listener for the whole gate hands each connection to the worker that has the fewest, so
//! that the limit on connections holds for the gate and nothing is lost when it stops.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Semaphore, watch};

use super::worker::{Handoff, Pool};
use crate::config::Listen;
use crate::stream::Stream;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// How long accepting pauses when the process is out of file descriptors.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct BindError {
    address: String,
    error: io::Error,
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket, removed when it is closed.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens on an address. A unix socket that a process before left behind is replaced.
    ///
    /// # Errors
    /// [`BindError`], with the address.
    pub fn bind(listen: &Listen) -> Result<Self, BindError> {
        let bound = match listen {
            Listen::Tcp(address) => bind_tcp(*address).map(Self::Tcp),
            Listen::Unix(path) => {
                bind_unix(path).map(|listener| Self::Unix(listener, path.clone()))
            }
        };
        bound.map_err(|error| BindError { address: listen.to_string(), error })
    }

    /// Where it listens, for people: with the port that the system chose where 0 was asked for.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string())
            }
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    /// The listener on this thread's runtime.
    pub(crate) fn on_runtime(&self) -> io::Result<RuntimeListener> {
        Ok(match self {
            Self::Tcp(listener) => RuntimeListener::Tcp(listener.try_clone()?.try_into()?),
            Self::Unix(listener, _) => RuntimeListener::Unix(listener.try_clone()?.try_into()?),
        })
    }
}

/// A listener on a runtime.
pub(crate) enum RuntimeListener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl RuntimeListener {
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let socket = stream.into_std()?.into();
                Ok(Accepted { socket, peer: Some(peer.ip().to_canonical()) })
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted { socket: stream.into_std()?.into(), peer: None })
            }
        }
    }
}

/// A connection that was accepted, on its way to the runtime that serves it.
#[derive(Debug)]
pub struct Accepted {
    socket: OwnedFd,
    /// The peer's address; `None` on a unix socket.
    pub(crate) peer: Option<IpAddr>,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP, as it is.
    Plain,
    /// TLS, with HTTP in it.
    Tls,
}

impl Accepted {
    /// The connection on this thread's runtime.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn stream(self) -> io::Result<Stream> {
        Ok(match self.peer {
            Some(_) => Stream::Tcp(tokio::net::TcpStream::from_std(self.socket.into())?),
            None => Stream::Unix(tokio::net::UnixStream::from_std(self.socket.into())?),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Whoever listens there next replaces it anyway.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Accepts connections and hands them to workers until told to stop. While `connections` has no
/// permit left, new connections wait in the kernel's queue.
pub async fn accept(
    listener: Listener,
    transport: Transport,
    workers: Arc<Pool>,
    connections: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let accepting = listener.on_runtime()?;
    loop {
        let permit = tokio::select! {
            permit = connections.clone().acquire_owned() => permit.map_err(io::Error::other)?,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let accepted = tokio::select! {
            accepted = accepting.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        match accepted {
            Ok(accepted) => workers.hand(Handoff { accepted, transport, permit }),
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn bind_tcp(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixStream::connect(path) {
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        Err(_)
            if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) =>
        {
            std::fs::remove_file(path)?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
