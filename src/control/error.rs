//! What can be wrong with a request, and what it is answered.

use http::header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Either;

use super::answer::{Answer, Body};
use crate::core::authority::Excess;
use crate::core::verdict::Denial;
use crate::edge::{Format, Refusal};
use crate::store::StoreError;

/// Seconds after which trying again makes sense where nothing better is known.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Why a request is not carried out.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The decision went against it.
    Denied {
        /// The decision.
        denial: Denial,
        /// Seconds after which to try again, where that makes sense.
        retry_after: u64,
    },
    /// The caller's token may call the operation, but not for this.
    Forbidden(String),
    /// A field of the body or a parameter is wrong.
    Field {
        /// Its name, with the path to it.
        name: String,
        /// What is wrong, without its value.
        problem: String,
    },
    /// The head is too large.
    HeadTooLarge,
    /// The body cannot be read.
    Body(String),
    /// It is not JSON by its content type.
    MediaType,
    /// It is too large.
    TooLarge,
    /// It took too long.
    Timeout,
    /// There is no such thing, or it is somebody else's.
    NotFound(String),
    /// There is no such path.
    NoPath,
    /// The path has other methods.
    Method(String),
    /// A rule of the domain forbids it, or the present state.
    Rule(String),
    /// What it goes on from is no longer there.
    Gone(String),
    /// Too many requests are being carried out.
    Busy,
    /// Another request is about to make what this one asks for.
    Underway,
    /// The store, or something else, failed.
    Broken(String),
}

impl ApiError {
    /// A wrong field.
    pub(super) fn field(name: &str, problem: impl Into<String>) -> Self {
        Self::Field { name: name.to_owned(), problem: problem.into() }
    }

    /// The refusal of a name by the store's own rule for it.
    pub(super) fn in_field(name: &str) -> impl FnOnce(StoreError) -> Self + '_ {
        move |error| match error {
            StoreError::Database(_) => error.into(),
            why => Self::field(name, why.to_string()),
        }
    }

    /// Grants that are more than the caller holds.
    pub(super) fn excess(field: &str, excess: &Excess) -> Self {
        Self::Forbidden(format!("`{field}[{}]`: {excess}", excess.position))
    }

    /// The answer.
    pub(super) fn response(self) -> Response<Body> {
        match self {
            Self::Denied { denial, retry_after } => {
                let refusal = Refusal::Denied { denial, conceal: false, retry_after };
                refusal.response(Format::Envelope, None).map(Either::Left)
            }
            Self::HeadTooLarge => {
                Refusal::HeadTooLarge.response(Format::Envelope, None).map(Either::Left)
            }
            Self::Method(allowed) => {
                let mut response = Self::plain(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "Method not allowed.",
                    format!("this path has: {allowed}"),
                );
                if let Ok(allowed) = HeaderValue::from_str(&allowed) {
                    response.headers_mut().insert(ALLOW, allowed);
                }
                response
            }
            Self::Busy | Self::Underway => {
                let why = "too many requests are being carried out".to_owned();
                with_retry(Self::plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Service unavailable.",
                    why,
                ))
            }
            Self::Broken(_) => {
                let why = "the store does not answer as it should: the log says why".to_owned();
                with_retry(Self::plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Service unavailable.",
                    why,
                ))
            }
            Self::TooLarge | Self::Timeout => {
                let (status, message) = match self {
                    Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Request body too large."),
                    _ => (StatusCode::REQUEST_TIMEOUT, "Request timeout."),
                };
                let mut response = Answer::error(status, message, None).response();
                // What is left of the body is not read.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                response
            }
            Self::Forbidden(why) => Self::plain(
                StatusCode::FORBIDDEN,
                "Forbidden: You do not have permission to access this resource.",
                why,
            ),
            Self::Field { name, problem } => {
                Self::plain(StatusCode::BAD_REQUEST, "Bad request.", format!("`{name}`: {problem}"))
            }
            Self::Body(problem) => Self::plain(StatusCode::BAD_REQUEST, "Bad request.", problem),
            Self::MediaType => Self::plain(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported media type.",
                "`Content-Type`: expected application/json".to_owned(),
            ),
            Self::NotFound(what) => Self::plain(StatusCode::NOT_FOUND, NOT_FOUND, what),
            Self::NoPath => Self::plain(
                StatusCode::NOT_FOUND,
                NOT_FOUND,
                "no operation has this path".to_owned(),
            ),
            Self::Gone(why) => Self::plain(StatusCode::GONE, "Gone.", why),
            Self::Rule(rule) => Self::plain(StatusCode::CONFLICT, "Conflict.", rule),
        }
    }

    fn plain(status: StatusCode, user_message: &str, why: String) -> Response<Body> {
        Answer::error(status, user_message, Some(why)).response()
    }
}

const NOT_FOUND: &str =
    "The requested resource was not found. Please check that you have the proper permissions.";

fn with_retry(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    response
}

impl From<Denial> for ApiError {
    fn from(denial: Denial) -> Self {
        Self::Denied { denial, retry_after: RETRY_AFTER_SECONDS }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Self::NotFound(what),
            StoreError::Conflict(why) | StoreError::Rule(why) => Self::Rule(why),
            StoreError::Database(why) => Self::Broken(why),
        }
    }
}
