//! `Upgrade` (RFC 9110 section 7.8): which requests ask for another protocol, and which answers
//! give it.

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Version, request};

const SWITCH: HeaderValue = HeaderValue::from_static("upgrade");

/// Another protocol, as a request named it.
#[derive(Clone, Debug)]
pub(super) struct Protocol(HeaderValue);

impl Protocol {
    /// The one that a request without a body asks for. Never HTTP/2, which would take what is said
    /// from then on out of the gate's sight; nor one of several, which would leave the choice to
    /// the upstream.
    pub(super) fn asked(head: &request::Parts, has_body: bool) -> Option<Self> {
        let mut asked = head.headers.get_all(UPGRADE).iter();
        let protocol = asked.next().filter(|_| asked.next().is_none())?;
        let name = protocol.to_str().ok()?;
        let is_one = !name.is_empty() && !name.contains([',', ' ', '\t']);
        let is_http = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("h2"))
            || name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("http"));
        let framed = head.headers.contains_key(CONTENT_LENGTH)
            || head.headers.contains_key(TRANSFER_ENCODING);
        let switches = head.version == Version::HTTP_11 && !has_body && !framed;
        (switches && is_one && !is_http && names_upgrade(&head.headers))
            .then(|| Self(protocol.clone()))
    }

    pub(super) fn is_websocket(&self) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(b"websocket")
    }

    /// Asks for it again, after the fields of one connection were removed.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, SWITCH);
        headers.insert(UPGRADE, self.0.clone());
    }

    /// Whether an answer of status 101 is about this one.
    pub(super) fn is_given(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(UPGRADE).iter();
        let is_this =
            |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(self.0.as_bytes());
        given.next().is_some_and(is_this) && given.next().is_none()
    }
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &[(&str, &str)]) -> bool {
        let mut request = http::Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        Protocol::asked(&request.body(()).unwrap().into_parts().0, false).is_some()
    }

    #[test]
    fn one_protocol_is_asked_for_by_both_fields_and_never_http() {
        let connection = ("connection", "keep-alive, Upgrade");
        assert!(asked(&[connection, ("upgrade", "websocket")]));
        assert!(asked(&[connection, ("upgrade", "TLS/1.0")]));
        for protocol in ["h2c", "H2C", "h2", "HTTP/2.0", "http/1.1", "", "a, b", "websocket, h2c"] {
            assert!(!asked(&[connection, ("upgrade", protocol)]), "{protocol}");
        }
        assert!(!asked(&[("upgrade", "websocket")]));
        assert!(!asked(&[("connection", "close"), ("upgrade", "websocket")]));
        assert!(!asked(&[connection, ("upgrade", "websocket"), ("upgrade", "h2c")]));
        assert!(!asked(&[connection, ("upgrade", "websocket"), ("content-length", "3")]));
    }
}
