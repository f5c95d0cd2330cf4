//! The body of a request: read within limits, then as JSON.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::error::ApiError;

/// Longest body, in bytes.
const BODY_LIMIT: usize = 256 * 1024;
/// How long a client may take to send it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a body to its end.
pub(super) async fn collect(body: Incoming) -> Result<Bytes, ApiError> {
    let limited = Limited::new(body, BODY_LIMIT).collect();
    match tokio::time::timeout(BODY_TIMEOUT, limited).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge),
        Ok(Err(_)) => Err(ApiError::Body("the body broke off".to_owned())),
        Err(_) => Err(ApiError::Timeout),
    }
}

/// Checks that a body is said to be JSON.
pub(super) fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let essence = |value: &http::HeaderValue| {
        let text = value.to_str().ok()?.split(';').next()?;
        Some(text.trim().eq_ignore_ascii_case("application/json"))
    };
    match (types.next().and_then(essence), types.next()) {
        (Some(true), None) => Ok(()),
        _ => Err(ApiError::MediaType),
    }
}

/// Reads a body as JSON of exactly this shape. Serde bounds the depth to 128.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        mistake(&path, error.inner())
    })?;
    json.end().map_err(|error| mistake(".", &error))?;
    Ok(value)
}

/// What is wrong, and where, without the value: it could be a secret in the wrong place.
fn mistake(path: &str, error: &serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    if error.classify() != Category::Data {
        let what = if error.classify() == Category::Eof { "ends too early" } else { "is not JSON" };
        return ApiError::Body(format!("the body {what}: line {line}, column {column}"));
    }
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
    let problem = match message.split_once(", expected ") {
        Some((what, expected)) if !what.starts_with("unknown field") => {
            format!("expected {expected}")
        }
        _ => message.to_owned(),
    };
    match path {
        "." => ApiError::Body(problem),
        path => ApiError::field(path, problem),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[allow(dead_code, reason = "only read")]
        name: String,
        #[allow(dead_code, reason = "only read")]
        items: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[allow(dead_code, reason = "only read")]
        id: u64,
    }

    fn problem(body: &str) -> String {
        match parse::<Outer>(body.as_bytes()).unwrap_err() {
            ApiError::Field { name, problem } => format!("{name}: {problem}"),
            ApiError::Body(problem) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mistake_names_the_field_and_never_its_value() {
        let cases = [
            (r#"{"name":"a","items":[{"id":"pts_secret"}]}"#, "items[0].id: expected u64"),
            (
                r#"{"name":"a","items":[],"nam":1}"#,
                "nam: unknown field `nam`, expected `name` or `items`",
            ),
            (r#"{"items":[]}"#, "missing field `name`"),
            (r#"{"name":"a","name":"b","items":[]}"#, "duplicate field `name`"),
            (r#"{"name":"#, "the body ends too early: line 1, column 8"),
            (r#"{"name":"a","items":[]} x"#, "the body is not JSON: line 1, column 25"),
            ("\"pts_secret\"", "expected struct Outer"),
        ];
        for (body, expected) in cases {
            assert_eq!(problem(body), expected, "{body}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(100_000);
        assert!(parse::<serde_json::Value>(deep.as_bytes()).is_err());
    }
}
