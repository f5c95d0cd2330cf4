//! What a caller is told when the gate answers itself. One function maps reasons to answers; why
//! is for operators and never in them.

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};

use super::body::GateBody;
use crate::core::verdict::{Denial, Reason};

/// Names the answer for correlation with logs.
pub(crate) const DECISION_ID: HeaderName = HeaderName::from_static("x-portcullis-decision-id");

/// Seconds after which a caller may try again where nothing better is known.
pub(super) const RETRY_AFTER_SECONDS: u64 = 1;

const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"Bearer realm="portcullis""#);
const CHALLENGE_INVALID: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="portcullis", error="invalid_token""#);

/// An answer of the gate's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A decision went against the request.
    Denied {
        /// The decision.
        denial: Denial,
        /// Missing permissions are answered 404.
        conceal: bool,
        /// Seconds after which trying again makes sense, for 429 and 503.
        retry_after: u64,
    },
    /// The head is larger than the gate allows, or has too many fields.
    HeadTooLarge,
    /// The body is larger than the route or the gate allows.
    BodyTooLarge,
    /// The client's body broke off or cannot be read.
    BrokenBody,
    /// The upstream cannot be reached or broke off.
    BadGateway,
    /// The upstream took too long.
    GatewayTimeout,
}

/// How the caller wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The documented JSON envelope.
    Envelope,
    /// RFC 9457.
    Problem,
    /// A gRPC status in a trailers-only response.
    Grpc,
}

impl Format {
    /// What the request's headers ask for.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let starts = |name: HeaderName, prefix: &[u8]| {
            headers.get(name).is_some_and(|value| value.as_bytes().starts_with(prefix))
        };
        let wants_problem = |value: &HeaderValue| {
            value.to_str().is_ok_and(|value| value.contains("application/problem+json"))
        };
        if starts(CONTENT_TYPE, b"application/grpc") {
            Self::Grpc
        } else if headers.get_all(ACCEPT).iter().any(wants_problem) {
            Self::Problem
        } else {
            Self::Envelope
        }
    }
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Denied { denial, conceal, .. } => {
                let status = StatusCode::from_u16(denial.reason.status(*conceal));
                status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BrokenBody => StatusCode::BAD_REQUEST,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The response.
    pub(crate) fn response(
        &self,
        format: Format,
        decision_id: Option<HeaderValue>,
    ) -> Response<GateBody> {
        let status = self.status();
        let mut response = match format {
            Format::Grpc => grpc(self.grpc_trailers()),
            Format::Envelope => json("application/json", self.envelope(status)),
            Format::Problem => {
                let id = decision_id.as_ref().and_then(|id| id.to_str().ok());
                json("application/problem+json", problem(status, self.user_message(), id))
            }
        };
        if format != Format::Grpc {
            *response.status_mut() = status;
        }
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(decision_id) = decision_id {
            headers.insert(DECISION_ID, decision_id);
        }
        self.add_advice(headers);
        response
    }

    fn add_advice(&self, headers: &mut HeaderMap) {
        if matches!(self, Self::HeadTooLarge | Self::BrokenBody) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let Self::Denied { denial, retry_after, .. } = self else { return };
        match denial.reason.status(false) {
            401 => {
                let invalid = denial.accepted_scheme;
                headers
                    .insert(WWW_AUTHENTICATE, if invalid { CHALLENGE_INVALID } else { CHALLENGE });
            }
            // What could not be read unambiguously may be followed by anything.
            400 => drop(headers.insert(CONNECTION, HeaderValue::from_static("close"))),
            429 | 503 => drop(headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after))),
            _ => {}
        }
    }

    /// What ends a gRPC call that was answered already.
    pub(crate) fn grpc_trailers(&self) -> HeaderMap {
        grpc_status(self.status(), self.user_message())
    }

    /// What a caller is told.
    pub(crate) fn user_message(&self) -> &'static str {
        match self {
            Self::Denied { denial, conceal, .. } => denial_message(denial.reason, *conceal),
            Self::HeadTooLarge => "Request headers too large.",
            Self::BodyTooLarge => "Request body too large.",
            Self::BrokenBody => "Bad request.",
            Self::BadGateway => "Bad gateway.",
            Self::GatewayTimeout => "Gateway timeout.",
        }
    }

    fn envelope(&self, status: StatusCode) -> String {
        let data = match self {
            Self::Denied { denial, .. } => ip_data(denial).unwrap_or_else(|| "null".to_owned()),
            Self::HeadTooLarge
            | Self::BodyTooLarge
            | Self::BrokenBody
            | Self::BadGateway
            | Self::GatewayTimeout => "null".to_owned(),
        };
        format!(
            r#"{{"status":{{"code":{},"is_success":false,"user_message":"{}","developer_message":null}},"data":{data}}}"#,
            status.as_u16(),
            self.user_message(),
        )
    }
}

fn denial_message(reason: Reason, conceal: bool) -> &'static str {
    match reason {
        Reason::BadRequest => "Bad request.",
        Reason::NoCredential
        | Reason::MalformedCredential
        | Reason::MultipleCredentials
        | Reason::BadChecksum
        | Reason::UnknownToken
        | Reason::LegacyMismatch
        | Reason::Revoked
        | Reason::NotYetValid
        | Reason::Expired => "Invalid token.",
        Reason::IpDenied | Reason::TokenIpDenied => "Forbidden: Access denied",
        Reason::AccountClosed | Reason::WrongAccount => {
            "Access denied: Token is not scoped to account."
        }
        Reason::NoPermission if conceal => {
            "The requested resource was not found. Please check that you have the proper permissions."
        }
        Reason::NoPermission | Reason::NoRoute => {
            "Forbidden: You do not have permission to access this resource."
        }
        Reason::RateLimited | Reason::FailureLimited => "Too many requests.",
        // Reasons to let through are never answered by the gate.
        Reason::Allow
        | Reason::Public
        | Reason::LaneFull
        | Reason::LaneTimeout
        | Reason::NoIndex => "Service unavailable.",
    }
}

/// What a denial by IP rules tells besides: whose token it was.
fn ip_data(denial: &Denial) -> Option<String> {
    let caller = denial.caller?;
    if !matches!(denial.reason, Reason::IpDenied | Reason::TokenIpDenied) {
        return None;
    }
    let user = caller.user_id.map_or_else(|| "null".to_owned(), |user| user.to_string());
    Some(format!(
        r#"{{"account_id":{},"user_id":{user},"is_service_token":{},"account_access_denied":true}}"#,
        caller.account_id,
        caller.user_id.is_none(),
    ))
}

fn problem(status: StatusCode, message: &str, decision_id: Option<&str>) -> String {
    let title = status.canonical_reason().unwrap_or("Error");
    let id = decision_id.map_or_else(|| "null".to_owned(), |id| format!("\"{id}\""));
    format!(
        r#"{{"type":"about:blank","title":"{title}","status":{},"detail":"{message}","decision_id":{id}}}"#,
        status.as_u16(),
    )
}

fn json(content_type: &'static str, body: String) -> Response<GateBody> {
    let mut response = Response::new(GateBody::full(Bytes::from(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A trailers-only response (gRPC over HTTP/2, "Responses"): HTTP 200 and the status in the head.
fn grpc(status: HeaderMap) -> Response<GateBody> {
    let mut response = Response::new(GateBody::empty());
    *response.headers_mut() = status;
    let content_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn grpc_status(status: StatusCode, message: &'static str) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(8);
    fields.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(grpc_code(status)));
    fields.insert(HeaderName::from_static("grpc-message"), HeaderValue::from_static(message));
    fields
}

fn grpc_code(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 5,
        413 | 429 | 431 => 8,
        502..=504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::verdict::{Caller, Lane};

    fn denied(reason: Reason) -> Refusal {
        let caller = Some(Caller { token_id: 5, account_id: 7, user_id: None });
        let denial = Denial { reason, caller, accepted_scheme: true, lane: Lane::Fast };
        Refusal::Denied { denial, conceal: false, retry_after: 3 }
    }

    #[test]
    fn bodies_are_the_documented_ones_to_the_letter() {
        let body = |reason| denied(reason).envelope(denied(reason).status());
        assert_eq!(
            body(Reason::Expired),
            r#"{"status":{"code":401,"is_success":false,"user_message":"Invalid token.","developer_message":null},"data":null}"#
        );
        assert_eq!(
            body(Reason::IpDenied),
            r#"{"status":{"code":403,"is_success":false,"user_message":"Forbidden: Access denied","developer_message":null},"data":{"account_id":7,"user_id":null,"is_service_token":true,"account_access_denied":true}}"#
        );
        assert_eq!(
            body(Reason::WrongAccount),
            r#"{"status":{"code":403,"is_success":false,"user_message":"Access denied: Token is not scoped to account.","developer_message":null},"data":null}"#
        );
        assert_eq!(
            body(Reason::NoPermission),
            r#"{"status":{"code":403,"is_success":false,"user_message":"Forbidden: You do not have permission to access this resource.","developer_message":null},"data":null}"#
        );
    }

    #[test]
    fn every_reason_to_refuse_has_a_status_and_a_json_body() {
        for reason in Reason::ALL.into_iter().filter(|reason| !reason.is_allow()) {
            let refusal = denied(reason);
            assert!(refusal.status().as_u16() >= 400, "{reason}");
            let body: serde_json::Value =
                serde_json::from_str(&refusal.envelope(refusal.status())).unwrap();
            assert_eq!(body["status"]["code"], refusal.status().as_u16());
        }
    }

    #[test]
    fn a_challenge_blames_the_token_only_where_a_scheme_was_accepted() {
        let headers = denied(Reason::Expired).response(Format::Envelope, None).headers().clone();
        assert_eq!(headers[WWW_AUTHENTICATE], CHALLENGE_INVALID);
        let denial = Denial {
            reason: Reason::NoCredential,
            caller: None,
            accepted_scheme: false,
            lane: Lane::None,
        };
        let refusal = Refusal::Denied { denial, conceal: false, retry_after: 0 };
        let headers = refusal.response(Format::Envelope, None).headers().clone();
        assert_eq!(headers[WWW_AUTHENTICATE], CHALLENGE);
    }

    #[test]
    fn grpc_gets_trailers_only() {
        let response = denied(Reason::NoPermission).response(Format::Grpc, None);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "7");
    }
}
