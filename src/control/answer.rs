//! Answers: the published envelope around what a handler found.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
};
use http::{Response, StatusCode};
use http_body_util::Either;
use schemars::JsonSchema;
use serde::Serialize;

use super::error::ApiError;
use super::file_body::FileBody;
use crate::edge::body::GateBody;
use crate::store::Page;

/// What snapshots and frames are.
const OCTETS: &str = "application/octet-stream";

/// A body that is there, or one that is read from a file.
pub(super) type Body = Either<GateBody, FileBody>;

/// What a handler gives.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: Content,
    headers: Vec<(HeaderName, String)>,
}

/// What is in the body.
#[derive(Debug)]
enum Content {
    Nothing,
    Json(Bytes),
    Octets(Bytes),
    File(Part),
}

/// A file, or some of its bytes.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: Arc<File>,
    /// Of the whole file.
    pub(super) length: u64,
    pub(super) bytes: Option<Range<u64>>,
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
        Self::new(StatusCode::NO_CONTENT, Content::Nothing)
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
        Self::new(StatusCode::OK, Content::Json(Bytes::copy_from_slice(text.as_bytes())))
    }

    /// 200 with bytes.
    pub(super) fn octets(bytes: Vec<u8>) -> Self {
        Self::new(StatusCode::OK, Content::Octets(bytes.into()))
    }

    /// 200 with a file, or 206 with some of it.
    pub(super) fn file(part: Part, etag: &str) -> Self {
        let Part { length, bytes, .. } = &part;
        let mut headers = vec![(ETAG, etag.to_owned()), (ACCEPT_RANGES, "bytes".to_owned())];
        let status = match bytes {
            Some(Range { start, end }) => {
                headers.push((CONTENT_RANGE, format!("bytes {start}-{}/{length}", end - 1)));
                StatusCode::PARTIAL_CONTENT
            }
            None => StatusCode::OK,
        };
        Self { headers, ..Self::new(status, Content::File(part)) }
    }

    /// 304: whoever asks has it.
    pub(super) fn not_modified(etag: &str) -> Self {
        let headers = vec![(ETAG, etag.to_owned())];
        Self { headers, ..Self::new(StatusCode::NOT_MODIFIED, Content::Nothing) }
    }

    /// 416: it has no such bytes.
    pub(super) fn unsatisfiable(length: u64) -> Self {
        let headers = vec![(CONTENT_RANGE, format!("bytes */{length}"))];
        Self { headers, ..Self::new(StatusCode::RANGE_NOT_SATISFIABLE, Content::Nothing) }
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
        Self::new(status, Content::Json(body.into()))
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// As it is sent.
    pub(super) fn response(self) -> Response<Body> {
        let (kind, body) = match self.body {
            Content::Nothing => (None, Either::Left(GateBody::empty())),
            Content::Json(bytes) => (Some("application/json"), Either::Left(GateBody::full(bytes))),
            Content::Octets(bytes) => (Some(OCTETS), Either::Left(GateBody::full(bytes))),
            Content::File(Part { file, length, bytes }) => {
                (Some(OCTETS), Either::Right(FileBody::new(file, bytes.unwrap_or(0..length))))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, value) in self.headers {
            // Cursors, hex digits and numbers: each a value.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }

    fn new(status: StatusCode, body: Content) -> Self {
        Self { status, body, headers: Vec::new() }
    }

    fn with<T: Serialize>(status: StatusCode, data: T) -> Result<Self, ApiError> {
        Self::json(status, &Enveloped { status: Status::success(status), data, extra: NoExtra {} })
    }

    fn json(status: StatusCode, envelope: &impl Serialize) -> Result<Self, ApiError> {
        let body = serde_json::to_vec(envelope)
            .map_err(|error| ApiError::Broken(format!("an answer cannot be written: {error}")))?;
        Ok(Self::new(status, Content::Json(body.into())))
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
