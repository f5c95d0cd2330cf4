//! What only the gate says, in headers of its own: to the upstream, whom a request is from; to a
//! caller, that its token is a legacy one.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::tls::ClientIdentity;

const ACCOUNT_ID: HeaderName = HeaderName::from_static("x-portcullis-account-id");
const TOKEN_ID: HeaderName = HeaderName::from_static("x-portcullis-token-id");
const USER_ID: HeaderName = HeaderName::from_static("x-portcullis-user-id");
const IS_SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-portcullis-is-service-token");
const PERMISSION_SETS: HeaderName = HeaderName::from_static("x-portcullis-permission-sets");
const PROJECTS: HeaderName = HeaderName::from_static("x-portcullis-projects");
const CERTIFICATE_SHA256: HeaderName =
    HeaderName::from_static("x-portcullis-client-certificate-sha256");
const CERTIFICATE_DNS: HeaderName = HeaderName::from_static("x-portcullis-client-certificate-dns");
const CERTIFICATE_URI: HeaderName = HeaderName::from_static("x-portcullis-client-certificate-uri");
const NOTICE: HeaderName = HeaderName::from_static("x-portcullis-notice");
/// Fields that `identify` adds at most.
const IDENTITY_FIELDS: usize = 8;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where owners of legacy tokens read how to rotate them.
const ROTATION_ADVICE: &str =
    r#"<https://docs.getdbt.com/docs/dbt-apis/service-tokens#service-token-update>; rel="help""#;

/// Whom the upstream is told that the request is from.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) account_id: u64,
    pub(crate) token_id: u64,
    pub(crate) user_id: Option<u64>,
    pub(crate) permission_sets: String,
    pub(crate) projects: Option<String>,
}

/// Adds what the upstream is told.
pub(crate) fn identify(
    headers: &mut HeaderMap,
    identity: Option<Identity>,
    decision_id: &HeaderValue,
    client: Option<HeaderValue>,
) {
    headers.reserve(IDENTITY_FIELDS);
    headers.insert(crate::edge::DECISION_ID, decision_id.clone());
    if let Some(client) = client {
        headers.insert(X_FORWARDED_FOR, client);
    }
    let Some(identity) = identity else { return };
    headers.insert(ACCOUNT_ID, HeaderValue::from(identity.account_id));
    headers.insert(TOKEN_ID, HeaderValue::from(identity.token_id));
    if let Some(user_id) = identity.user_id {
        headers.insert(USER_ID, HeaderValue::from(user_id));
    }
    let is_service = if identity.user_id.is_none() { "true" } else { "false" };
    headers.insert(IS_SERVICE_TOKEN, HeaderValue::from_static(is_service));
    headers.insert(PERMISSION_SETS, text(identity.permission_sets));
    if let Some(projects) = identity.projects {
        headers.insert(PROJECTS, text(projects));
    }
}

/// What is known of a client's certificate, made once a connection.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// As decisions have them.
    names: Vec<String>,
    /// As the upstream is told.
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Certificate {
    /// What one says that was verified. Names are parted by commas.
    pub(crate) fn new(identity: &ClientIdentity) -> Self {
        let ClientIdentity { sha256, dns, uris } = identity;
        let mut fields = vec![(CERTIFICATE_SHA256, text(sha256.clone()))];
        for (name, values) in [(CERTIFICATE_DNS, dns), (CERTIFICATE_URI, uris)] {
            if !values.is_empty() {
                fields.push((name, text(values.join(","))));
            }
        }
        Self { names: identity.names(), fields }
    }

    /// Its names, as decisions have them.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Adds it.
    pub(crate) fn certify(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.fields {
            headers.insert(name, value.clone());
        }
    }
}

/// Adds what the owner of a legacy token is told.
pub(crate) fn notice(headers: &mut HeaderMap) {
    headers.insert(NOTICE, HeaderValue::from_static("legacy-token"));
    headers.append(http::header::LINK, HeaderValue::from_static(ROTATION_ADVICE));
}

fn text(value: String) -> HeaderValue {
    HeaderValue::try_from(value)
        .expect("invariant: digits, names of permission sets, addresses, checked names")
}
