//! One request, one upstream, one answer.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use http::{Request, Response, StatusCode, Uri, Version, request, response};
use http_body::Body as _;
use hyper::body::Incoming;

use super::body::{RequestBody, UpstreamBody};
use super::connect::ConnectError;
use super::exchange::Exchange;
use super::headers::{self, Dropped};
use super::identity::{self, Certificate, Identity};
use super::pool::{Lease, Pool};
use super::send::{Answer, SendError, send};
use super::tunnel::Switched;
use super::upgrade::Protocol;
use crate::edge::deadline::{Watch, WatchEnd};
use crate::edge::{Followed, Format, Refusal, Streams};

/// A body that is longer is followed while it lasts, in bytes.
const LONG_BODY_BYTES: u64 = 1024 * 1024;

/// What a permit came to: everything that forwarding needs, independent of the index.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) pool: Rc<Pool>,
    pub(crate) identity: Option<Identity>,
    pub(crate) decision_id: HeaderValue,
    /// The client's address, as the upstream is told.
    pub(crate) client: Option<HeaderValue>,
    /// What the client's certificate says, where it had to show one.
    pub(crate) certificate: Option<Rc<Certificate>>,
    /// Headers that are not passed on.
    pub(crate) dropped_headers: Rc<Dropped>,
    pub(crate) body_limit: Option<u64>,
    pub(crate) is_legacy: bool,
    /// What the request was let through by, where a token was.
    pub(crate) followed: Option<Rc<Followed>>,
    pub(crate) streams: Rc<Streams>,
}

/// An upstream's answer and the time that it took to its head.
pub(crate) struct Forwarded {
    pub(crate) head: response::Parts,
    pub(crate) content: Content,
    pub(crate) took: Duration,
}

/// What follows the head of an upstream's answer.
pub(crate) enum Content {
    /// A body.
    Body(UpstreamBody),
    /// Another protocol.
    Switched(Switched),
}

/// A request that was sent or, if no idle connection took it, is about to be.
pub(crate) struct Forwarding {
    sending: Pin<Box<dyn Future<Output = Result<Answer, SendError>>>>,
    exchange: Rc<Exchange>,
    connection: WatchEnd,
    pool: Rc<Pool>,
    decision_id: Option<HeaderValue>,
    is_legacy: bool,
    is_grpc: bool,
    /// The protocol that was asked for instead of HTTP.
    protocol: Option<Protocol>,
    streams: Rc<Streams>,
    started: Instant,
}

/// Forwards a request: as much as can be done without waiting is done at once, so that little has
/// to be kept while the upstream works. `connection` is ended with an exchange that stalls in its
/// body; one that wants to be answered as gRPC is, ends with a status where it is cut.
///
/// # Errors
/// The request cannot be sent.
pub(crate) fn forward(
    mut plan: Plan,
    head: request::Parts,
    incoming: Incoming,
    format: Format,
    watch: Watch,
    connection: WatchEnd,
) -> Result<Forwarding, Refusal> {
    if too_large(&head, plan.body_limit) {
        return Err(Refusal::BodyTooLarge);
    }
    let upstream = plan.pool.upstream();
    let followed = plan.followed.take();
    let (idle, response) = (upstream.idle_timeout, upstream.response_timeout);
    let exchange = Rc::new(Exchange::new(watch, followed, idle, response));
    let has_body = !incoming.is_end_stream();
    let protocol = Protocol::asked(&head, has_body).filter(|_| !upstream.http2);
    let is_grpc = format == Format::Grpc && reads_trailers(&head);
    if format == Format::Grpc || is_stream(&incoming) {
        exchange.follow(&plan.streams);
    }
    let dropped = plan.dropped_headers.clone();
    let body = RequestBody::new(incoming, exchange.clone(), plan.body_limit, dropped);
    let mut request = outgoing(&mut plan, head, body)?;
    if let Some(protocol) = &protocol {
        protocol.ask(request.headers_mut());
    }
    match has_body {
        true => exchange.moved(),
        false => exchange.sent(),
    }
    let Plan { pool, decision_id, is_legacy, streams, .. } = plan;
    let started = Instant::now();
    let sending = Box::pin(send(pool.clone(), request, exchange.watch().now()));
    let decision_id = Some(decision_id);
    Ok(Forwarding {
        sending,
        exchange,
        connection,
        pool,
        decision_id,
        is_legacy,
        is_grpc,
        protocol,
        streams,
        started,
    })
}

impl Future for Forwarding {
    type Output = Result<Forwarded, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { sending, exchange, .. } = &mut *self;
        if let Poll::Ready(refusal) = exchange.poll_cut(cx) {
            return Poll::Ready(Err(refusal));
        }
        let answer = ready!(exchange.watch().poll_limited(sending.as_mut(), cx));
        Poll::Ready(match answer {
            Some(Ok((response, lease))) => self.accept(response, lease),
            Some(Err(error)) => Err(self.failure(&error)),
            None => {
                tracing::warn!(upstream = self.pool.upstream().name, "no response head in time");
                Err(Refusal::GatewayTimeout)
            }
        })
    }
}

impl Forwarding {
    /// When the request was sent.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    fn accept(
        &mut self,
        mut response: Response<Incoming>,
        lease: Lease,
    ) -> Result<Forwarded, Refusal> {
        let took = self.started.elapsed();
        self.exchange.watch().link(&self.connection);
        self.exchange.answered();
        let switched = self.switched(&mut response)?;
        let (mut head, incoming) = response.into_parts();
        check(&head, &self.pool.upstream().name)?;
        if is_stream(&incoming) {
            self.exchange.follow(&self.streams);
        }
        // The upstream's version is between it and the gate.
        head.version = Version::default();
        headers::strip_response(&mut head.headers);
        if let Some(decision_id) = self.decision_id.take() {
            head.headers.insert(crate::edge::DECISION_ID, decision_id);
        }
        if self.is_legacy {
            identity::notice(&mut head.headers);
        }
        let content = match switched {
            Some((protocol, switched)) => {
                protocol.ask(&mut head.headers);
                Content::Switched(switched)
            }
            None => {
                let exchange = self.exchange.clone();
                Content::Body(UpstreamBody::new(incoming, exchange, lease, self.is_grpc))
            }
        };
        Ok(Forwarded { head, content, took })
    }

    /// The other side of a connection that goes on in another protocol, if that was asked for.
    fn switched(
        &mut self,
        response: &mut Response<Incoming>,
    ) -> Result<Option<(Protocol, Switched)>, Refusal> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(None);
        }
        let given = |protocol: &Protocol| protocol.is_given(response.headers());
        let Some(protocol) = self.protocol.take().filter(given) else {
            let upstream = &self.pool.upstream().name;
            tracing::warn!(upstream, "switched to a protocol that was not asked for");
            return Err(Refusal::BadGateway);
        };
        self.exchange.follow(&self.streams);
        let upgrade = hyper::upgrade::on(response);
        let is_websocket = protocol.is_websocket();
        let exchange = self.exchange.clone();
        Ok(Some((protocol, Switched { upgrade, exchange, is_websocket })))
    }

    /// Why there is no answer, and whose fault that is.
    fn failure(&self, error: &SendError) -> Refusal {
        if self.exchange.is_too_large() {
            Refusal::BodyTooLarge
        } else if self.exchange.is_broken() {
            Refusal::BrokenBody
        } else {
            refusal(error, &self.pool.upstream().name)
        }
    }
}

/// Whether an answer can be passed on.
fn check(head: &response::Parts, upstream: &str) -> Result<(), Refusal> {
    if headers::has_two_lengths(&head.headers) {
        tracing::warn!(upstream, "the length of the answer is ambiguous");
        return Err(Refusal::BadGateway);
    }
    Ok(())
}

/// Whether a body may go on for long: nobody said how long it is, or it is large.
fn is_stream(body: &Incoming) -> bool {
    let is_long = || body.size_hint().exact().is_none_or(|length| length > LONG_BODY_BYTES);
    !body.is_end_stream() && is_long()
}

/// Whether a caller of gRPC is told of the end of a call in trailers: over HTTP/2, and not by
/// grpc-web, which has them in its body.
fn reads_trailers(head: &request::Parts) -> bool {
    let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    head.version == Version::HTTP_2 && !content_type.starts_with(b"application/grpc-web")
}

fn too_large(head: &request::Parts, limit: Option<u64>) -> bool {
    let length = || head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok();
    limit.is_some_and(|limit| length().is_some_and(|length| length > limit))
}

/// The request as the upstream gets it: the same path and query, byte for byte.
fn outgoing(
    plan: &mut Plan,
    mut head: request::Parts,
    body: RequestBody,
) -> Result<Request<RequestBody>, Refusal> {
    let host = match head.uri.authority() {
        Some(authority) => {
            HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::BadGateway)?
        }
        None => head.headers.get(HOST).cloned().ok_or(Refusal::BadGateway)?,
    };
    head.extensions.clear();
    headers::strip_request(&mut head.headers, &plan.dropped_headers);
    let upstream = plan.pool.upstream();
    if upstream.http2 {
        let scheme = if upstream.tls.is_some() { "https" } else { "http" };
        for_http2(&mut head, scheme, &host).ok_or(Refusal::BadGateway)?;
    } else {
        for_http1(&mut head, host, !body.is_end_stream());
    }
    let client = plan.client.take();
    identity::identify(&mut head.headers, plan.identity.take(), &plan.decision_id, client);
    if let Some(certificate) = &plan.certificate {
        certificate.certify(&mut head.headers);
    }
    Ok(Request::from_parts(head, body))
}

fn for_http1(head: &mut request::Parts, host: HeaderValue, has_body: bool) {
    if head.uri.authority().is_some() {
        let target = head.uri.path_and_query().cloned();
        head.uri = target.map(Uri::from).unwrap_or_default();
    }
    head.version = Version::HTTP_11;
    headers::for_http1(&mut head.headers, host);
    if has_body {
        headers::frame_body(&mut head.headers);
    }
}

/// The host goes into the target (RFC 9113 section 8.3.1). `None` where it cannot.
fn for_http2(head: &mut request::Parts, scheme: &str, host: &HeaderValue) -> Option<()> {
    let target = head.uri.path_and_query().cloned()?;
    let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(target);
    head.uri = uri.build().ok()?;
    head.version = Version::HTTP_2;
    head.headers.remove(HOST);
    Some(())
}

fn refusal(error: &SendError, upstream: &str) -> Refusal {
    tracing::warn!(upstream, %error, "no answer");
    match error {
        SendError::Connect(ConnectError::Timeout(_)) => Refusal::GatewayTimeout,
        SendError::Connect(ConnectError::Io(_) | ConnectError::Handshake(_))
        | SendError::Broken(_) => Refusal::BadGateway,
    }
}
