//! Asks an introspection endpoint, over connections that are kept.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use zeroize::Zeroizing;

use super::answer::{Answer, AnswerError, read};
use crate::config::{Introspection, form_encoded};
use crate::core::token::Secret;
use crate::stream::Stream;
use crate::time::now;

/// Longest answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why nothing is known of a token. Holds neither the token nor what was answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answers {0}{hint}", hint = hint(*.0))]
    Status(StatusCode),
    #[error("the answer is longer than {ANSWER_BYTES} bytes, or breaks off")]
    Body,
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// What an operator can do about a status.
fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ": check client_id and secret of [legacy.introspection]"
        }
        StatusCode::NOT_FOUND => ": check url of [legacy.introspection]",
        _ => "",
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// The connections to one endpoint, all of one thread.
pub(super) struct Client {
    settings: Introspection,
    idle: RefCell<Vec<Sender>>,
}

impl Client {
    pub(super) fn new(settings: Introspection) -> Self {
        Self { settings, idle: RefCell::default() }
    }

    pub(super) fn settings(&self) -> &Introspection {
        &self.settings
    }

    /// Asks about a secret, within the time limit.
    pub(super) async fn ask(&self, secret: &Secret) -> Result<Answer, AskError> {
        let limit = self.settings.timeout;
        let asked = tokio::time::timeout(limit, self.exchange(secret)).await;
        let body = asked.map_err(|_| AskError::Timeout(limit))??;
        Ok(read(&body, &self.settings, now())?)
    }

    async fn exchange(&self, secret: &Secret) -> Result<Bytes, AskError> {
        // An idle connection may be just being closed; asking twice changes nothing (RFC 7662,
        // section 2.1, is a question).
        if let Some(sender) = self.idle()
            && let Ok(answer) = self.send(sender, secret).await
        {
            return answer;
        }
        let sender = self.connect().await?;
        self.send(sender, secret).await?
    }

    fn idle(&self) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop()).find(Sender::is_ready)
    }

    async fn connect(&self) -> Result<Sender, AskError> {
        let (host, port) = &self.settings.address;
        let stream = Stream::connect(host, *port, self.settings.tls.as_ref()).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the introspection endpoint ended");
            }
        });
        Ok(sender)
    }

    /// Outer error: there was no answer.
    async fn send(
        &self,
        mut sender: Sender,
        secret: &Secret,
    ) -> Result<Result<Bytes, AskError>, hyper::Error> {
        let response = sender.send_request(self.request(secret)).await?;
        let answer = body(response).await;
        if answer.is_ok() && sender.ready().await.is_ok() {
            self.idle.borrow_mut().push(sender);
        }
        Ok(answer)
    }

    /// RFC 7662, section 2.1.
    fn request(&self, secret: &Secret) -> Request<Full<Bytes>> {
        let token = Zeroizing::new(form_encoded(secret.expose().as_bytes()));
        let body = Zeroizing::new(format!("token={}", *token).into_bytes());
        let mut request = Request::new(Full::new(Bytes::from_owner(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.settings.target.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.settings.host.clone());
        if let Some(authorization) = &self.settings.authorization {
            headers.insert(AUTHORIZATION, authorization.header());
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        request
    }
}

async fn body(response: Response<Incoming>) -> Result<Bytes, AskError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
    match (status, body) {
        (StatusCode::OK, Ok(body)) => Ok(body.to_bytes()),
        (StatusCode::OK, Err(_)) => Err(AskError::Body),
        (status, _) => Err(AskError::Status(status)),
    }
}
