//! The admin listener: metrics and health for everyone, reload and explain for this machine.

use std::convert::Infallible;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;

use crate::app::{Control, ReloadError, Reloaded};
use crate::core::record::{Timestamp, TokenId};
use crate::edge::{ACCEPT_PAUSE, Accepted, Listener};
use crate::explain::{Bearer, Presented, Question, QuestionError};
use crate::store::StoreError;

/// Longest body of a question, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// How long a client of the admin listener may take for a head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections to the admin listener at a time.
const CONNECTIONS_LIMIT: usize = 256;

/// What a process tells, and does, where an operator asks it.
pub(crate) trait Administered: Send + Sync {
    /// Metrics, in the Prometheus text format.
    fn metrics(&self) -> Vec<u8>;
    /// Whether it does its work, with a note for people that may be empty; or why not.
    fn ready(&self) -> Result<String, &'static str>;
    /// Reads the configuration again and puts it in force. Blocks.
    fn reload(&self) -> Result<Reloaded, ReloadError>;
    /// The files that it is configured by.
    fn files(&self) -> Vec<PathBuf>;
    /// What explains decisions, where any are made.
    fn explainer(&self) -> Option<&Control>;
}

/// Serves until its task is dropped.
pub(crate) async fn serve(listener: Listener, control: Arc<dyn Administered>) {
    let Ok(accepting) = listener.on_runtime() else { return };
    let connections = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_LIMIT));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        match accepting.accept().await {
            Ok(accepted) => {
                let control = control.clone();
                tokio::task::spawn_local(async move {
                    connection(accepted, control).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an admin connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(accepted: Accepted, control: Arc<dyn Administered>) {
    let is_local = accepted.peer.is_none_or(|peer| peer.is_loopback());
    let Ok(stream) = accepted.stream() else { return };
    let service = service_fn(move |request| {
        let control = control.clone();
        async move { Ok::<_, Infallible>(answer(request, control, is_local).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "admin connection ended");
    }
}

async fn answer(
    request: Request<Incoming>,
    control: Arc<dyn Administered>,
    is_local: bool,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let allowed = match path {
        "/metrics" | "/livez" | "/readyz" => "GET, HEAD",
        "/reload" => "POST",
        "/explain" if control.explainer().is_some() => "POST",
        _ => {
            let explain = if control.explainer().is_some() { ", /explain" } else { "" };
            let pages = format!("no such page: /metrics, /livez, /readyz, /reload{explain}\n");
            return text(StatusCode::NOT_FOUND, pages);
        }
    };
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if (allowed == "POST") != (request.method() == Method::POST) || (allowed != "POST" && !is_read)
    {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        return response;
    }
    match path {
        "/metrics" => metrics(&*control),
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => ready(&*control),
        _ if !is_local => text(StatusCode::FORBIDDEN, "only from this machine\n"),
        // A page that a browser on this machine shows must not be able to ask.
        _ if request.headers().contains_key(http::header::ORIGIN) => {
            text(StatusCode::FORBIDDEN, "not from a browser\n")
        }
        "/reload" => reload(control).await,
        _ => explain(request, control).await,
    }
}

fn metrics(control: &dyn Administered) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(control.metrics())));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn ready(control: &dyn Administered) -> Response<Full<Bytes>> {
    match control.ready() {
        Ok(note) if note.is_empty() => text(StatusCode::OK, "ready\n"),
        Ok(note) => text(StatusCode::OK, format!("ready, but {note}\n")),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

async fn reload(control: Arc<dyn Administered>) -> Response<Full<Bytes>> {
    match tokio::task::spawn_blocking(move || control.reload()).await {
        Ok(Ok(done)) if done.needs_restart.is_empty() => text(StatusCode::OK, "reloaded\n"),
        Ok(Ok(done)) => {
            let keys = done.needs_restart.join(", ");
            text(StatusCode::OK, format!("reloaded; these changed keys need a restart: {keys}\n"))
        }
        Ok(Err(error)) => text(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the reload broke off\n"),
    }
}

/// The body of `POST /explain`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    token: Option<String>,
    token_id: Option<TokenId>,
    method: String,
    path: String,
    ip: Option<IpAddr>,
    #[serde(default)]
    client_certificate: Vec<String>,
    host: Option<String>,
    at: Option<jiff::Timestamp>,
}

async fn explain(
    request: Request<Incoming>,
    control: Arc<dyn Administered>,
) -> Response<Full<Bytes>> {
    let Ok(body) = Limited::new(request.into_body(), BODY_LIMIT).collect().await else {
        return text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than 64 KiB or broke off\n",
        );
    };
    let question = match question(&body.to_bytes()) {
        Ok(question) => question,
        Err(mistake) => return text(StatusCode::BAD_REQUEST, mistake),
    };
    let explain = move || control.explainer().map(|gate| gate.explain(&question));
    match tokio::task::spawn_blocking(explain).await.map(Option::transpose) {
        Ok(Ok(Some(explanation))) => match serde_json::to_vec(&explanation) {
            Ok(body) => json(body),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the explanation broke off\n"),
        },
        Ok(Err(error)) => text(status(&error), format!("{error}\n")),
        Ok(Ok(None)) | Err(_) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "the explanation broke off\n")
        }
    }
}

fn question(body: &[u8]) -> Result<Question, String> {
    // What serde says may quote the body, and the body may hold a secret.
    let asked: Asked = serde_json::from_slice(body).map_err(|error| {
        format!("line {}, column {}: expected an object with `token` or `token_id`, `method`, `path`, and perhaps `ip`, `client_certificate`, `host`, `at`\n", error.line(), error.column())
    })?;
    let Asked { token, token_id, method, path, ip, client_certificate, host, at } = asked;
    let bearer = match (token, token_id) {
        (Some(secret), None) => Bearer::Secret(Presented::new(secret)),
        (None, Some(id)) => Bearer::Id(id),
        _ => return Err("exactly one of `token` and `token_id`\n".to_owned()),
    };
    let at = Timestamp(at.unwrap_or_else(jiff::Timestamp::now).as_second());
    Ok(Question { bearer, method, path, client: ip, client_names: client_certificate, host, at })
}

fn status(error: &QuestionError) -> StatusCode {
    match error {
        QuestionError::Store(StoreError::NotFound(_)) => StatusCode::NOT_FOUND,
        QuestionError::NoStore => StatusCode::BAD_REQUEST,
        QuestionError::NoIndex | QuestionError::NotIndexed(_) | QuestionError::Store(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

fn json(body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, text: impl Into<String>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.into())));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
