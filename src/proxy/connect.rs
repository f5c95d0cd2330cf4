//! Connecting to an endpoint of an upstream.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::body::RequestBody;
use crate::config::{Endpoint, Upstream};
use crate::local::LocalExecutor;
use crate::stream::Stream;
use crate::tls::ClientTls;

/// Longest head of an answer, and what is read ahead of a client that reads slowly, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// What an upstream may send ahead on one stream, and on one connection, of HTTP/2, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Streams that an upstream may reset, or get wrong, before its connection is ended.
const RESETS_LIMIT: usize = 128;

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

/// What sends requests on a connection to an upstream.
#[derive(Debug)]
pub(crate) enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<RequestBody>),
    /// As many at a time as the upstream takes; a copy is as good as the first.
    Http2(http2::SendRequest<RequestBody>, Rc<Health>),
}

/// Whether a connection that many share is of use. Dead, it may go on taking requests for ever:
/// nothing says so but that no answer comes. It is not asked by a PING now and then, since servers
/// of gRPC end connections for being asked more than once in five minutes.
#[derive(Debug)]
pub(crate) struct Health {
    /// How long it may be without an answer to what it was asked.
    patience: Duration,
    /// When it was asked first since an answer last began on it, up to a tick ago; whether who
    /// asked still waits or not.
    asked: Cell<Option<Instant>>,
}

impl Health {
    fn new(patience: Duration) -> Self {
        Self { patience, asked: Cell::new(None) }
    }

    fn asked(&self, now: Instant) {
        self.asked.set(self.asked.get().or(Some(now)));
    }

    /// An answer began.
    pub(super) fn heard(&self) {
        self.asked.set(None);
    }

    fn is_given_up(&self, now: Instant) -> bool {
        let waited = |asked| now.saturating_duration_since(asked) >= self.patience;
        self.asked.get().is_some_and(waited)
    }
}

/// Why a request was not answered, and the request itself where nothing of it was sent.
type NotSent = TrySendError<Request<RequestBody>>;

impl Sender {
    /// Whether it may be given another request. `now` may be a tick ago.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready(),
            Self::Http2(sender, health) => !health.is_given_up(now) && sender.is_ready(),
        }
    }

    /// Another one for the same connection, where it takes more than one request at a time.
    pub(crate) fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender, health) => Some(Self::Http2(sender.clone(), health.clone())),
        }
    }

    /// Sends a request, at once where the connection is ready.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, NotSent>> + use<> {
        enum Sent<A, B> {
            Http1(A),
            Http2(B),
        }
        let sent = match self {
            Self::Http1(sender) => Sent::Http1(sender.try_send_request(request)),
            Self::Http2(sender, health) => {
                let exchange = request.body().exchange();
                health.asked(exchange.watch().now());
                exchange.sent_on(health);
                Sent::Http2(sender.try_send_request(request))
            }
        };
        async move {
            match sent {
                Sent::Http1(sent) => sent.await,
                Sent::Http2(sent) => sent.await,
            }
        }
    }
}

/// Connects and starts the connection's own task on this worker.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    upstream: &Upstream,
) -> Result<Sender, ConnectError> {
    let limit = upstream.connect_timeout;
    let stream = tokio::time::timeout(limit, open(endpoint, upstream.tls.as_ref()));
    let stream = TokioIo::new(stream.await.map_err(|_| ConnectError::Timeout(limit))??);
    if upstream.http2 {
        let (sender, connection) = http2_builder().handshake(stream).await?;
        run(connection);
        let health = Health::new(upstream.response_timeout);
        return Ok(Sender::Http2(sender, Rc::new(health)));
    }
    let mut builder = http1::Builder::new();
    let (sender, connection) = builder.max_buf_size(BUFFER_BYTES).handshake(stream).await?;
    run(connection.with_upgrades());
    Ok(Sender::Http1(sender))
}

fn http2_builder() -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .max_header_list_size(BUFFER_BYTES as u32)
        .max_send_buf_size(BUFFER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(0)
        .max_pending_accept_reset_streams(RESETS_LIMIT)
        .max_local_error_reset_streams(RESETS_LIMIT);
    builder
}

fn run(connection: impl Future<Output = hyper::Result<()>> + 'static) {
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
}

async fn open(endpoint: &Endpoint, tls: Option<&ClientTls>) -> io::Result<Stream> {
    match endpoint {
        Endpoint::Http { host, port } => Stream::connect(host, *port, None).await,
        Endpoint::Https { host, port } => {
            let tls = tls.expect("invariant: an upstream with an https endpoint has its TLS");
            Stream::connect(host, *port, Some(tls)).await
        }
        Endpoint::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
    }
}
