//! Answers: the published envelope around what a handler found.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::error::ApiError;
use crate::edge::body::GateBody;
use crate::store::Page;

/// What a handler gives: a status and a body that is written already.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: Option<Bytes>,
}

/// One thing.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}Enveloped")]
pub(super) struct Enveloped<T> {
    status: Status,
    data: T,
    /// Nothing.
    extra: NoExtra,
}

/// Some of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}ListEnveloped")]
pub(super) struct ListEnveloped<T> {
    status: Status,
    data: Vec<T>,
    extra: Extra,
}

/// An answer without what was asked for.
#[derive(Serialize, JsonSchema)]
pub(super) struct ErrorEnveloped {
    status: Status,
    /// Nothing, unless an IP rule refused: then whose token it was.
    data: Option<serde_json::Value>,
}

/// How it went.
#[derive(Serialize, JsonSchema)]
pub(super) struct Status {
    /// The HTTP status.
    code: u16,
    is_success: bool,
    user_message: String,
    /// Which field is wrong, or which rule forbids it.
    developer_message: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct NoExtra {}

/// What there is beside the list.
#[derive(Serialize, JsonSchema)]
struct Extra {
    filters: NoExtra,
    order_by: &'static str,
    pagination: Pagination,
}

#[derive(Serialize, JsonSchema)]
struct Pagination {
    /// How many are in this answer.
    count: usize,
    /// How many there are.
    total_count: u64,
}

impl Answer {
    /// 200 with one thing.
    pub(super) fn one<T: Serialize>(data: T) -> Result<Self, ApiError> {
        Self::with(StatusCode::OK, data)
    }

    /// 201 with what was made.
    pub(super) fn created<T: Serialize>(data: T) -> Result<Self, ApiError> {
        Self::with(StatusCode::CREATED, data)
    }

    /// 204.
    pub(super) fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None }
    }

    /// 200 with some of `total` things.
    pub(super) fn list<T: Serialize>(data: Vec<T>, total: u64) -> Result<Self, ApiError> {
        let pagination = Pagination { count: data.len(), total_count: total };
        let extra = Extra { filters: NoExtra {}, order_by: "id", pagination };
        let envelope = ListEnveloped { status: Status::success(StatusCode::OK), data, extra };
        Self::json(StatusCode::OK, &envelope)
    }

    /// 200 with a page of what there is, as it is shown.
    pub(super) fn page<V, T: Serialize>(
        all: Vec<V>,
        page: Page,
        show: impl FnMut(V) -> T,
    ) -> Result<Self, ApiError> {
        let total = all.len() as u64;
        Self::list(page.of(all).map(show).collect(), total)
    }

    /// 200 with a document of its own shape.
    pub(super) fn document(text: &str) -> Self {
        Self { status: StatusCode::OK, body: Some(Bytes::copy_from_slice(text.as_bytes())) }
    }

    /// What went wrong.
    pub(super) fn error(
        status: StatusCode,
        user_message: &str,
        developer_message: Option<String>,
    ) -> Self {
        let envelope = ErrorEnveloped {
            status: Status {
                code: status.as_u16(),
                is_success: false,
                user_message: user_message.to_owned(),
                developer_message,
            },
            data: None,
        };
        // Strings and numbers: cannot fail.
        let body = serde_json::to_vec(&envelope).unwrap_or_default();
        Self { status, body: Some(body.into()) }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// As it is sent.
    pub(super) fn response(self) -> Response<GateBody> {
        let mut response = Response::new(self.body.map_or_else(GateBody::empty, GateBody::full));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        response
    }

    fn with<T: Serialize>(status: StatusCode, data: T) -> Result<Self, ApiError> {
        Self::json(status, &Enveloped { status: Status::success(status), data, extra: NoExtra {} })
    }

    fn json(status: StatusCode, envelope: &impl Serialize) -> Result<Self, ApiError> {
        let body = serde_json::to_vec(envelope)
            .map_err(|error| ApiError::Broken(format!("an answer cannot be written: {error}")))?;
        Ok(Self { status, body: Some(body.into()) })
    }
}

impl Status {
    fn success(status: StatusCode) -> Self {
        Self {
            code: status.as_u16(),
            is_success: true,
            user_message: "Success!".to_owned(),
            developer_message: Some(String::new()),
        }
    }
}
