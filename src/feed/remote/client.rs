//! Requests to the control: one connection that is kept, and a runtime of this thread's own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, IF_RANGE, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::runtime::Runtime;

use crate::config::{Endpoint, Feed};
use crate::core::token::Secret;
use crate::feed::FeedError;
use crate::feed::snapshot::FRAME_BYTES_LIMIT;
use crate::store::Cursor;
use crate::stream::Stream;
use crate::tls::ClientTls;

/// To a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// To an answer, beyond the time that the control was asked to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// To the head of a snapshot, which the control builds first.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);

/// What a poll comes to.
#[derive(Debug)]
pub(super) enum Polled {
    /// Nothing has changed.
    Nothing,
    /// The history does not go on from there.
    Gone,
    /// A frame, as it came.
    Frame(Bytes),
}

/// What becomes of a document that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// It was taken.
    Taken,
    /// It is not as it should be, and would not be another time either.
    Refused(StatusCode),
}

/// A line to the control, and what drives it.
pub(super) struct Client {
    runtime: Runtime,
    line: Line,
}

/// A connection to the control, where there is one, and whom it is for.
pub(super) struct Line {
    target: Arc<Target>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

#[derive(Debug)]
struct Target {
    host: String,
    port: u16,
    tls: Option<ClientTls>,
    authority: HeaderValue,
    token: Arc<Secret>,
}

impl Client {
    pub(super) fn new(feed: &Feed) -> io::Result<Self> {
        let Feed { endpoint, tls, token, .. } = feed;
        let (Endpoint::Http { host, port } | Endpoint::Https { host, port }) = endpoint else {
            return Err(io::Error::other("a control is not on a unix socket"));
        };
        let is_v6 = host.contains(':');
        let authority = if is_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let authority = HeaderValue::from_str(&authority).map_err(io::Error::other)?;
        let (host, tls, token) = (host.clone(), tls.clone(), token.clone());
        let target = Arc::new(Target { host, port: *port, tls, authority, token });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, line: Line { target, connection: None } })
    }

    /// The line, for a future of its own that [`Self::drive`] goes on with. What is left is one
    /// without a connection.
    pub(super) fn take(&mut self) -> Line {
        let Line { target, connection } = &mut self.line;
        Line { target: target.clone(), connection: connection.take() }
    }

    pub(super) fn put_back(&mut self, line: Line) {
        self.line = line;
    }

    /// Closes the connection.
    pub(super) fn hang_up(&mut self) {
        self.line.hang_up();
    }

    /// Goes on with a future for a while: its outcome, or the future.
    pub(super) fn drive<F: Future + Unpin>(
        &self,
        mut future: F,
        at_most: Duration,
    ) -> Result<F::Output, F> {
        match self.block_on(async { tokio::time::timeout(at_most, &mut future).await }) {
            Ok(outcome) => Ok(outcome),
            Err(_) => Err(future),
        }
    }

    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// What comes after the cursor, waiting for it no longer than that.
    pub(super) fn poll(&mut self, cursor: &Cursor, wait: Duration) -> Result<Polled, FeedError> {
        self.runtime.block_on(self.line.poll(cursor, wait))
    }

    /// The snapshot from this byte on: its tag and the response.
    pub(super) fn snapshot(
        &mut self,
        from: u64,
        etag: Option<&str>,
    ) -> Result<(String, Response<Incoming>), FeedError> {
        let mut request = self.line.request(Method::GET, "/feed/snapshot", Bytes::new());
        let wanted = match etag {
            Some(etag) => {
                let headers = request.headers_mut();
                headers.insert(RANGE, value(&format!("bytes={from}-"))?);
                headers.insert(IF_RANGE, value(etag)?);
                StatusCode::PARTIAL_CONTENT
            }
            None => StatusCode::OK,
        };
        let response = self.runtime.block_on(self.line.send_within(SNAPSHOT_TIMEOUT, request))?;
        let status = response.status();
        if etag.is_some() && status == StatusCode::OK {
            return Err(control("the snapshot is another one by now"));
        }
        if status != wanted {
            return Err(said(status));
        }
        let etag = response.headers().get(http::header::ETAG).and_then(|tag| tag.to_str().ok());
        let etag = etag.ok_or_else(|| control("it tells no tag of the snapshot"))?.to_owned();
        Ok((etag, response))
    }

    /// Sends a document. What may go better another time is an error.
    pub(super) fn post(&mut self, path: &str, body: Bytes) -> Result<Posted, FeedError> {
        let mut request = self.line.request(Method::POST, path, body);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let response = self.runtime.block_on(self.line.send_within(ANSWER_TIMEOUT, request))?;
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            return Ok(Posted::Taken);
        }
        // What it says is for people.
        self.hang_up();
        match status {
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Ok(Posted::Refused(status)),
            _ => Err(said(status)),
        }
    }
}

impl Line {
    /// What comes after the cursor, waiting for it no longer than that.
    pub(super) async fn poll(
        &mut self,
        cursor: &Cursor,
        wait: Duration,
    ) -> Result<Polled, FeedError> {
        let path = format!("/feed/frames?after={cursor}&wait={}", wait.as_secs());
        let polled = tokio::time::timeout(wait + ANSWER_TIMEOUT, self.polled(&path)).await;
        let polled = polled.unwrap_or_else(|_| Err(control("it does not answer")));
        if polled.is_err() {
            self.hang_up();
        }
        polled
    }

    async fn polled(&mut self, path: &str) -> Result<Polled, FeedError> {
        let request = self.request(Method::GET, path, Bytes::new());
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::NO_CONTENT => Ok(Polled::Nothing),
            StatusCode::GONE => {
                // What it says is for people.
                self.hang_up();
                Ok(Polled::Gone)
            }
            StatusCode::OK => {
                let body = Limited::new(response.into_body(), FRAME_BYTES_LIMIT).collect().await;
                let body = body.map_err(|error| control(&format!("a frame broke off: {error}")))?;
                Ok(Polled::Frame(body.to_bytes()))
            }
            status => Err(said(status)),
        }
    }

    fn hang_up(&mut self) {
        self.connection = None;
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("invariant: fixed words, a cursor and a number");
        let headers = request.headers_mut();
        headers.insert(HOST, self.target.authority.clone());
        let bearer = zeroize::Zeroizing::new(format!("Bearer {}", self.target.token.expose()));
        let mut bearer =
            HeaderValue::from_str(&bearer).expect("invariant: a token is of visible characters");
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        request
    }

    async fn send_within(
        &mut self,
        limit: Duration,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, FeedError> {
        let sent = tokio::time::timeout(limit, self.send(request)).await;
        sent.unwrap_or_else(|_| Err(control("it does not answer")))
    }

    /// Sends on the connection that is there, or on a new one: also where the control had just
    /// closed that.
    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, FeedError> {
        if let Some(mut connection) = self.connection.take_if(|connection| !connection.is_closed())
            && let Ok(response) = connection.send_request(request.clone()).await
        {
            self.connection = Some(connection);
            return Ok(response);
        }
        let mut connection = connect(&self.target).await?;
        let sent = connection.send_request(request).await;
        let response = sent.map_err(|error| control(&error.to_string()))?;
        self.connection = Some(connection);
        Ok(response)
    }
}

async fn connect(target: &Target) -> Result<SendRequest<Full<Bytes>>, FeedError> {
    let Target { host, port, tls, .. } = target;
    let unreachable = |error: &dyn std::fmt::Display| {
        control(&format!("no connection to {host}:{port}: {error}"))
    };
    let stream = Stream::connect(host, *port, tls.as_ref());
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, stream);
    let stream = stream.await.map_err(|error| unreachable(&error))?;
    let stream = stream.map_err(|error| unreachable(&error))?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the control ended");
        }
    });
    Ok(sender)
}

pub(super) fn control(what: &str) -> FeedError {
    FeedError::Control(what.to_owned())
}

fn said(status: StatusCode) -> FeedError {
    let help = match status {
        StatusCode::UNAUTHORIZED => {
            ": it does not know the token of [feed] token_env, or no longer"
        }
        StatusCode::FORBIDDEN => {
            ": the feed takes a token of account 0 with `Service tokens:R`, for instance \
             `portcullis token create --account 0 --name gate --grant account_viewer`"
        }
        StatusCode::NOT_FOUND => ": is [feed] url that of [control] listen?",
        _ => "",
    };
    control(&format!("it answered {status}{help}"))
}

fn value(text: &str) -> Result<HeaderValue, FeedError> {
    HeaderValue::from_str(text).map_err(|_| control("it tells a tag that is none"))
}
