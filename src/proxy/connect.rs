//! Connecting to an endpoint of an upstream.

use std::io;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use super::body::RequestBody;
use crate::config::Endpoint;
use crate::stream::Stream;
use crate::tls::ClientTls;

/// Longest head of an answer, and what is read ahead of a client that reads slowly, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Why there is no connection to an upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Refused, unreachable, no such name.
    #[error("cannot connect: {0}")]
    Io(#[from] io::Error),
    /// Not within the time limit.
    #[error("not connected within {0:?}")]
    Timeout(Duration),
    /// Connected, but not to something that speaks HTTP.
    #[error("no HTTP connection: {0}")]
    Handshake(#[from] hyper::Error),
}

/// Connects and starts the connection's own task on this worker.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    tls: Option<&ClientTls>,
    limit: Duration,
) -> Result<SendRequest<RequestBody>, ConnectError> {
    let stream = tokio::time::timeout(limit, open(endpoint, tls));
    let stream = stream.await.map_err(|_| ConnectError::Timeout(limit))??;
    let (sender, connection) =
        http1::Builder::new().max_buf_size(BUFFER_BYTES).handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(sender)
}

async fn open(endpoint: &Endpoint, tls: Option<&ClientTls>) -> io::Result<Stream> {
    Ok(match endpoint {
        Endpoint::Http { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Stream::Tcp(stream)
        }
        Endpoint::Https { host, port } => {
            let tls = tls.expect("invariant: an upstream with an https endpoint has its TLS");
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Stream::Tls(Box::new(tls.connect(host, stream).await?.into()))
        }
        Endpoint::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
    })
}
