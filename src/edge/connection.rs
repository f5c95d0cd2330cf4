//! One client connection, the gate's or the management API's: its framing guard, its time limits,
//! and its graceful end.

use std::cell::{Cell, OnceCell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, Version, request};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::AsyncWrite;
use tokio::sync::watch;

use super::deadline::Watch;
use super::guard::{Fault, Guard, HeadLimits, SharedGuard};
use super::listener::Transport;
use super::service;
use super::waiter::Waiter;
use super::worker::{Handoff, Worker};
use crate::local::LocalExecutor;
use crate::observe::metrics::Ended;
use crate::proxy::{Certificate, Switched};
use crate::stream::Stream;
use crate::tls::{Protocol, ServerTls};

/// How long a connection may be without a request before it is closed.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a client that was refused may go on sending before its connection is closed under it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Requests of one HTTP/2 connection at a time.
const STREAMS_LIMIT: u32 = 128;

/// Streams that a client may reset before they were looked at, and streams that it may get wrong
/// so that they have to be reset, before its connection is ended.
const PENDING_RESETS_LIMIT: usize = 20;
const LOCAL_RESETS_LIMIT: usize = 128;

/// What a client may send ahead on one stream, and on one connection, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Largest frame that is taken, in bytes: the smallest that may be asked for.
const FRAME_BYTES: u32 = 16 * 1024;

/// What waits on one stream for a client that reads slowly, in bytes. A client can open as many
/// streams as there may be and read none of them.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Smallest buffer that hyper reads heads into, in bytes.
const MIN_BUFFER_BYTES: usize = 8192;

/// Header fields up to which hyper keeps them on the stack; another limit costs an allocation.
const DEFAULT_HEADERS: usize = 100;

/// What the requests of one connection share.
pub(crate) struct Connection {
    pub(crate) peer: Option<IpAddr>,
    /// Ends the connection when it expires.
    pub(crate) watch: Watch,
    /// The peer's address as upstreams are told, from the first request that needs it.
    peer_text: OnceCell<HeaderValue>,
    header_timeout: Duration,
    phase: Cell<Phase>,
    /// On an idle HTTP/2 connection, bytes are pings and windows more often than heads.
    is_http2: Cell<bool>,
    /// What the client's certificate says, where it had to show one.
    certificate: OnceCell<Rc<Certificate>>,
    /// Requests that were answered to the end.
    answered: Cell<usize>,
    /// Who waits for the next of them to be.
    waiting: Waiter,
    /// The other side, where the connection goes on in another protocol.
    switched: RefCell<Option<Switched>>,
    /// Why the guard passed its own request on instead of the client's.
    fault: Cell<Option<Fault>>,
    /// Why it is ended, where neither side was done with it.
    ended: Cell<Option<Ended>>,
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first byte of a head.
    Idle,
    /// The last byte of a head.
    Head,
    /// The answers to this many requests.
    Answers(usize),
    /// What is sent to it when it is closed already.
    Closing,
}

impl Connection {
    pub(crate) fn new(peer: Option<IpAddr>, watch: Watch, header_timeout: Duration) -> Self {
        watch.set(header_timeout);
        Self {
            peer,
            watch,
            peer_text: OnceCell::new(),
            header_timeout,
            phase: Cell::new(Phase::Head),
            is_http2: Cell::new(false),
            certificate: OnceCell::new(),
            answered: Cell::new(0),
            waiting: Waiter::default(),
            switched: RefCell::default(),
            fault: Cell::new(None),
            ended: Cell::new(None),
        }
    }

    /// What the client's certificate says, where it had to show one.
    pub(crate) fn certificate(&self) -> Option<&Rc<Certificate>> {
        self.certificate.get()
    }

    /// What hyper gets next is the guard's own request, for this fault of the client's.
    pub(super) fn refuse(&self, fault: Fault) {
        self.fault.set(Some(fault));
    }

    /// The connection is ended for this.
    pub(super) fn end_for(&self, cause: Ended) {
        self.ended.set(Some(cause));
    }

    /// Its time was up.
    fn expire(&self) {
        match self.phase.get() {
            Phase::Head => self.end_for(Ended::HeadTimeout),
            Phase::Idle => self.end_for(Ended::Idle),
            Phase::Answers(_) | Phase::Closing => {}
        }
    }

    /// What a request is refused for, where it is the guard's own: it has no field at all, and the
    /// client's have a `Host` or are refused as well.
    pub(crate) fn fault_of(&self, head: &request::Parts) -> Option<Fault> {
        self.fault.get().filter(|_| head.headers.is_empty())
    }

    /// Whether so many requests were answered to the end, and the connection goes on with others;
    /// wakes the task when another one was.
    pub(super) fn poll_answered(&self, requests: usize, cx: &Context<'_>) -> Poll<()> {
        if self.answered.get() >= requests && self.switched.borrow().is_none() {
            return Poll::Ready(());
        }
        self.waiting.wait(cx);
        Poll::Pending
    }

    /// The connection goes on in another protocol once the answer is sent.
    pub(super) fn switch(&self, switched: Switched) {
        self.switched.replace(Some(switched));
    }

    /// The connection is closed to the client, which may still be sending.
    pub(super) fn linger(&self) {
        self.phase.set(Phase::Closing);
        self.watch.set(LINGER_TIMEOUT);
    }

    /// A client's address as upstreams are told; most often it is the peer's.
    pub(crate) fn client_text(&self, client: IpAddr) -> HeaderValue {
        let text = || {
            HeaderValue::try_from(client.to_string())
                .expect("invariant: addresses are visible ASCII")
        };
        if self.peer == Some(client) { self.peer_text.get_or_init(text).clone() } else { text() }
    }

    /// Bytes came in.
    pub(super) fn read(&self) {
        if self.phase.get() == Phase::Idle && !self.is_http2.get() {
            self.phase.set(Phase::Head);
            self.watch.set(self.header_timeout);
        }
    }

    /// A head is complete. What comes back is kept with the answer until its last byte.
    pub(crate) fn begin(self: &Rc<Self>, version: Version) -> Answering {
        self.is_http2.set(version == Version::HTTP_2);
        let running = if let Phase::Answers(running) = self.phase.get() { running } else { 0 };
        self.phase.set(Phase::Answers(running + 1));
        self.watch.clear();
        Answering { connection: self.clone() }
    }

    /// A request was answered to the end.
    fn end(&self) {
        self.answered.set(self.answered.get() + 1);
        self.waiting.wake();
        match self.phase.get() {
            Phase::Answers(running) if running > 1 => self.phase.set(Phase::Answers(running - 1)),
            Phase::Closing => {}
            _ => {
                self.phase.set(Phase::Idle);
                self.watch.set(KEEP_ALIVE_TIMEOUT);
            }
        }
    }
}

/// A request that is being answered; dropped with the answer's body.
pub(crate) struct Answering {
    connection: Rc<Connection>,
}

impl Answering {
    /// Ends the connection this long from now, unless that is changed or the answer ends before.
    pub(crate) fn limit(&self, limit: Duration) {
        self.connection.watch.set(limit);
    }

    /// Undoes [`Self::limit`].
    pub(crate) fn unlimit(&self) {
        self.connection.watch.clear();
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.connection.end();
    }
}

impl std::fmt::Debug for Answering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answering")
    }
}

/// Serves a connection of the gate to its end.
pub(crate) async fn serve(worker: Rc<Worker>, handoff: Handoff) {
    let _connected = worker.metrics.connected();
    let limits = worker.shared.live().config.limits.clone();
    let watch = worker.deadlines.watch();
    let Handoff { accepted, transport, permit } = handoff;
    let connection = Rc::new(Connection::new(accepted.peer, watch, limits.header_timeout));
    let Ok(stream) = accepted.stream() else { return };
    let stream = match transport {
        Transport::Plain => stream,
        Transport::Tls => {
            let tls = worker.shared.live().config.gate.tls.clone();
            match Box::pin(handshake(&connection, tls, stream)).await {
                Ok(stream) => stream,
                Err(error) => {
                    worker.metrics.ended(Ended::Tls);
                    return tracing::debug!(%error, "no TLS with a client");
                }
            }
        }
    };
    let service = service_fn(|request: Request<Incoming>| {
        let answering = connection.begin(request.version());
        let answer = service::answer(&worker, &connection, request);
        async move { Ok::<_, Infallible>(answer.await.map(|body| body.with(answering))) }
    });
    let agreed = stream.agreed();
    let head = HeadLimits { bytes: limits.header_bytes, fields: limits.headers };
    carry(&connection, stream, agreed, head, service, worker.drain.clone()).await;
    if let Some(cause) = connection.ended.get() {
        worker.metrics.ended(cause);
    }
    drop(permit);
}

/// Has a service answer what comes over a connection that shakes hands no more, behind the framing
/// guard, until it ends or is to drain.
pub(crate) async fn carry<S, B>(
    connection: &Rc<Connection>,
    stream: Stream,
    agreed: Option<Protocol>,
    head: HeadLimits,
    service: S,
    drain: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: 'static,
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
    LocalExecutor: Http2ServerConnExec<S::Future, B>,
{
    let mut guard = SharedGuard::new(Guard::new(stream, connection.clone(), agreed, head));
    let builder = builder(agreed, head);
    let serving = builder.serve_connection(TokioIo::new(guard.clone()), service);
    match run(connection, serving, drain).await {
        None => connection.expire(),
        Some(Err(error)) => {
            if let Some(cause) = cause(&*error) {
                connection.end_for(cause);
            }
            tracing::debug!(%error, "client connection ended");
        }
        Some(Ok(())) => {
            let switched = connection.switched.take();
            if let Some(switched) = switched {
                guard.pass_through();
                Box::pin(switched.run(guard)).await;
            } else {
                // hyper leaves this to who asked for an upgrade that was not given.
                let closed = poll_fn(|cx| Pin::new(&mut guard).poll_shutdown(cx));
                connection.watch.limited(closed).await;
            }
        }
    }
}

/// Speaks TLS with a client, by the certificates that are in force now, within the time for a
/// head.
pub(crate) async fn handshake(
    connection: &Connection,
    tls: Option<ServerTls>,
    stream: Stream,
) -> io::Result<Stream> {
    let (Stream::Tcp(stream), Some(tls)) = (stream, tls) else {
        return Err(io::Error::other("no certificates for this listener"));
    };
    let shaken = connection.watch.limited(Box::pin(tls.accept(stream))).await;
    let (stream, certificate) = shaken.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
    if let Some(certificate) = certificate {
        connection.certificate.get_or_init(|| Rc::new(Certificate::new(&certificate)));
    }
    Ok(stream)
}

/// `None` where the connection's time was up.
async fn run<F: GracefulConnection>(
    connection: &Connection,
    serving: F,
    mut drain: watch::Receiver<bool>,
) -> Option<Result<(), F::Error>> {
    let mut serving = std::pin::pin!(serving);
    let mut draining = std::pin::pin!(drain.wait_for(|drain| *drain));
    let mut told = false;
    poll_fn(|cx| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            told = true;
            serving.as_mut().graceful_shutdown();
        }
        connection.watch.poll_limited(serving.as_mut(), cx)
    })
    .await
}

/// What the client did, where this side of HTTP/2 has ended the connection for it.
fn cause(error: &(dyn std::error::Error + 'static)) -> Option<Ended> {
    let mut errors = std::iter::successors(Some(error), |error| error.source());
    let error = errors.find_map(|error| error.downcast_ref::<h2::Error>())?;
    let is_ours = error.is_go_away() && !error.is_remote();
    let reason = error.reason().filter(|_| is_ours)?;
    let is_flood = reason == h2::Reason::ENHANCE_YOUR_CALM;
    Some(if is_flood { Ended::Flood } else { Ended::Protocol })
}

/// For the protocol that was agreed on, or else the one that the first bytes tell.
fn builder(agreed: Option<Protocol>, head: HeadLimits) -> auto::Builder<LocalExecutor> {
    let builder = auto::Builder::new(LocalExecutor);
    let mut builder = match agreed {
        None => builder,
        Some(Protocol::Http1) => builder.http1_only(),
        Some(Protocol::Http2) => builder.http2_only(),
    };
    // Without `pipeline_flush`: with it, hyper takes in a response however slowly the client reads,
    // and drops its own answer to a head that it cannot parse.
    builder.http1().max_buf_size(head.bytes.max(MIN_BUFFER_BYTES));
    if head.fields != DEFAULT_HEADERS {
        builder.http1().max_headers(head.fields);
    }
    builder
        .http2()
        .max_concurrent_streams(STREAMS_LIMIT)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(head.bytes).unwrap_or(u32::MAX))
        .max_frame_size(FRAME_BYTES)
        .max_pending_accept_reset_streams(PENDING_RESETS_LIMIT)
        .max_local_error_reset_streams(LOCAL_RESETS_LIMIT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::body::GateBody;
    use crate::edge::deadline::Deadlines;

    #[test]
    fn an_answer_of_the_gate_s_own_holds_no_connection_whether_it_is_read_or_not() {
        let deadlines = Rc::new(Deadlines::default());
        let connection = Rc::new(Connection::new(None, deadlines.watch(), Duration::from_secs(10)));
        let unread = GateBody::full("answer".into()).with(connection.begin(Version::HTTP_11));
        assert_eq!(connection.phase.get(), Phase::Idle);
        deadlines.tick(std::time::Instant::now() + 2 * KEEP_ALIVE_TIMEOUT);
        let cx = Context::from_waker(std::task::Waker::noop());
        assert!(connection.watch.poll_expired(&cx).is_ready());
        drop(unread);
    }
}
