//! One request, one upstream, one answer.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri, Version, request, response};
use http_body::Body as _;
use hyper::body::Incoming;

use super::body::{RequestBody, UpstreamBody};
use super::connect::ConnectError;
use super::exchange::Exchange;
use super::headers::{self, Identity};
use super::pool::{Lease, Pool};
use crate::edge::Refusal;
use crate::edge::deadline::Watch;

/// What a permit came to: everything that forwarding needs, independent of the index.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) pool: Rc<Pool>,
    pub(crate) identity: Option<Identity>,
    pub(crate) decision_id: HeaderValue,
    pub(crate) client: Option<std::net::IpAddr>,
    /// Headers that are not passed on.
    pub(crate) credential_headers: Rc<[HeaderName]>,
    pub(crate) body_limit: Option<u64>,
    pub(crate) is_legacy: bool,
}

/// An upstream's answer and the time that it took to its head.
pub(crate) struct Forwarded {
    pub(crate) head: response::Parts,
    pub(crate) body: UpstreamBody,
    pub(crate) took: Duration,
}

/// Forwards a request. `connection` is ended with an exchange that stalls in its body.
pub(crate) async fn forward(
    mut plan: Plan,
    head: request::Parts,
    incoming: Incoming,
    watch: Watch,
    connection: &Watch,
) -> Result<Forwarded, Refusal> {
    if too_large(&head, plan.body_limit) {
        return Err(Refusal::BodyTooLarge);
    }
    let pool = plan.pool.clone();
    let upstream = pool.upstream();
    let exchange = Rc::new(Exchange::new(watch, upstream.idle_timeout, upstream.response_timeout));
    let has_body = !incoming.is_end_stream();
    let credentials = plan.credential_headers.clone();
    let body = RequestBody::new(incoming, exchange.clone(), plan.body_limit, credentials);
    let request = outgoing(&mut plan, head, body)?;
    let started = Instant::now();
    match has_body {
        true => exchange.moved(),
        false => exchange.sent(),
    }
    let answer = exchange.watch().limit(send(&pool, request)).await;
    let (response, lease) = match answer {
        Some(Ok(answer)) => answer,
        Some(Err(_)) if exchange.is_too_large() => return Err(Refusal::BodyTooLarge),
        Some(Err(_)) if exchange.is_broken() => return Err(Refusal::BrokenBody),
        Some(Err(error)) => return Err(refusal(&error, &upstream.name)),
        None => {
            tracing::warn!(upstream = upstream.name, "no response head in time");
            return Err(Refusal::GatewayTimeout);
        }
    };
    let took = started.elapsed();
    exchange.watch().link(connection);
    exchange.answered();
    let (mut head, incoming) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        tracing::warn!(upstream = upstream.name, "switched protocols without having been asked");
        return Err(Refusal::BadGateway);
    }
    if headers::has_two_lengths(&head.headers) {
        tracing::warn!(upstream = upstream.name, "the length of the answer is ambiguous");
        return Err(Refusal::BadGateway);
    }
    // The upstream's version is between it and the gate.
    head.version = Version::default();
    headers::strip_response(&mut head.headers);
    head.headers.insert(crate::edge::DECISION_ID, plan.decision_id);
    if plan.is_legacy {
        headers::notice(&mut head.headers);
    }
    Ok(Forwarded { head, body: UpstreamBody::new(incoming, exchange, lease), took })
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
    if head.uri.authority().is_some() {
        let target = head.uri.path_and_query().cloned();
        head.uri = target.map(Uri::from).unwrap_or_default();
    }
    head.version = Version::HTTP_11;
    head.extensions.clear();
    headers::strip_request(&mut head.headers, &plan.credential_headers);
    headers::for_http1(&mut head.headers, host);
    if !body.is_end_stream() {
        headers::frame_body(&mut head.headers);
    }
    headers::identify(&mut head.headers, plan.identity.take(), &plan.decision_id, plan.client);
    Ok(Request::from_parts(head, body))
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the upstream broke off: {0}")]
    Broken(hyper::Error),
}

/// Sends to the endpoint whose turn it is or, if it cannot be reached, to the next: on an idle
/// connection or, if none takes the request, on a new one. A request of which anything may have
/// been sent is not sent again, unless it may be and its connection was closed for idleness.
async fn send(
    pool: &Rc<Pool>,
    mut request: Request<RequestBody>,
) -> Result<(Response<Incoming>, Lease), SendError> {
    let mut unreachable = ConnectError::Timeout(Duration::ZERO);
    for endpoint in pool.endpoints() {
        while let Some(mut lease) = pool.reuse(endpoint) {
            let again = if lease.may_be_closing() { again(&request) } else { None };
            match lease.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, lease)),
                Err(mut failed) => match failed.take_message().or(again) {
                    Some(unsent) => request = unsent,
                    None => return Err(SendError::Broken(failed.into_error())),
                },
            }
        }
        match pool.connect(endpoint).await {
            Ok(mut lease) => {
                return match lease.sender.send_request(request).await {
                    Ok(response) => Ok((response, lease)),
                    Err(error) => Err(SendError::Broken(error)),
                };
            }
            Err(error) => unreachable = error,
        }
    }
    Err(unreachable.into())
}

/// A copy of a request that may be sent twice: of an idempotent method (RFC 9110 section 9.2.2)
/// and without a body.
fn again(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let body = request.method().is_idempotent().then(|| request.body().again())??;
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

fn refusal(error: &SendError, upstream: &str) -> Refusal {
    tracing::warn!(upstream, %error, "no answer");
    match error {
        SendError::Connect(ConnectError::Timeout(_)) => Refusal::GatewayTimeout,
        SendError::Connect(ConnectError::Io(_) | ConnectError::Handshake(_))
        | SendError::Broken(_) => Refusal::BadGateway,
    }
}
