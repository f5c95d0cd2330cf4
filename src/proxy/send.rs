//! Sending: which connection takes a request, and whether another may where that one fails.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;

use super::body::RequestBody;
use super::connect::ConnectError;
use super::pool::{Lease, Pool};

/// A response, and the connection that it comes on.
pub(super) type Answer = (Response<Incoming>, Lease);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the upstream broke off: {0}")]
    Broken(hyper::Error),
}

/// Sends to the endpoint whose turn it is or, if it cannot be reached, to the next: on an idle
/// connection or, if none takes the request, on a new one. A request of which anything may have
/// been sent is not sent again, unless it may be and its connection was closed for idleness.
///
/// What an idle connection takes is on its way when this returns, before anything waits.
pub(super) fn send(
    pool: Rc<Pool>,
    request: Request<RequestBody>,
    now: Instant,
) -> impl Future<Output = Result<Answer, SendError>> + use<> {
    let mut endpoints = pool.endpoints();
    let endpoint = endpoints.next().expect("invariant: an upstream has an endpoint");
    let sent = match pool.reuse(endpoint, now) {
        Some(lease) => Ok(send_on_idle(lease, request)),
        None => Err(Box::new(request)),
    };
    async move {
        let unsent = match sent {
            Ok(sent) => match sent.await? {
                Ok(answer) => return Ok(answer),
                Err(unsent) => unsent,
            },
            Err(request) => request,
        };
        Box::pin(send_on(pool, endpoint, endpoints, unsent)).await
    }
}

/// Sends on a connection that was idle. Its answer, or the request where the connection did not
/// take it and it may be sent elsewhere.
fn send_on_idle(
    mut lease: Lease,
    request: Request<RequestBody>,
) -> impl Future<Output = Result<Result<Answer, Box<Request<RequestBody>>>, SendError>> + use<> {
    let again = lease.may_be_closing().then(|| again(&request).map(Box::new)).flatten();
    let answer = lease.sender.send(request);
    async move {
        let mut failed = match answer.await {
            Ok(response) => return Ok(Ok((response, lease))),
            Err(failed) => failed,
        };
        let unsent = failed.take_message().map(Box::new).or(again);
        unsent.map(Err).ok_or_else(|| SendError::Broken(failed.into_error()))
    }
}

/// Sends to this endpoint or one of the next, on what other idle connections there are or on a
/// new one.
async fn send_on(
    pool: Rc<Pool>,
    first: usize,
    next: impl Iterator<Item = usize>,
    mut request: Box<Request<RequestBody>>,
) -> Result<Answer, SendError> {
    let mut unreachable = ConnectError::Timeout(Duration::ZERO);
    for endpoint in std::iter::once(first).chain(next) {
        while let Some(lease) = pool.reuse(endpoint, Instant::now()) {
            match send_on_idle(lease, *request).await? {
                Ok(answer) => return Ok(answer),
                Err(unsent) => request = unsent,
            }
        }
        match pool.connect(endpoint).await {
            Ok(mut lease) => {
                return match lease.sender.send(*request).await {
                    Ok(response) => Ok((response, lease)),
                    Err(failed) => Err(SendError::Broken(failed.into_error())),
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
