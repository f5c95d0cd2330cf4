//! From a request as hyper read it to the facts that a decision is made about.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Uri, request};

use super::client_ip::TrustedProxies;
use crate::core::facts::{Ambiguity, Credential, Facts};

/// The facts of a request, borrowed from its head. Of a certificate nothing is known here.
pub(crate) fn facts<'r>(
    head: &'r request::Parts,
    peer: Option<IpAddr>,
    credential_headers: &[HeaderName],
    trusted: &TrustedProxies,
) -> Facts<'r> {
    let fields = Fields::read(&head.headers, credential_headers);
    let client = trusted.client(peer, &head.headers);
    let host = host(&head.uri, &fields);
    let ambiguity =
        [host.err(), fields.ambiguity, target(head), client.err()].into_iter().flatten().next();
    Facts {
        ambiguity,
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query(),
        host: host.unwrap_or(None),
        credential: fields.credential,
        client: client.unwrap_or(None),
        client_names: &[],
    }
}

/// Likewise, of a peer whose address is not known, for the fuzz target.
#[cfg(fuzzing)]
pub fn facts_of_head<'r>(head: &'r request::Parts, credential_headers: &[HeaderName]) -> Facts<'r> {
    use crate::config::{ClientIp, ClientIpHeader};
    let settings = ClientIp { trusted_proxies: vec![], header: ClientIpHeader::XForwardedFor };
    facts(head, None, credential_headers, &TrustedProxies::new(&settings))
}

/// The header fields that decisions look at, found in one pass.
struct Fields<'r> {
    host: Option<&'r [u8]>,
    hosts: usize,
    credential: Credential<'r>,
    ambiguity: Option<Ambiguity>,
}

impl<'r> Fields<'r> {
    fn read(headers: &'r HeaderMap, credential_headers: &[HeaderName]) -> Self {
        let mut fields =
            Self { host: None, hosts: 0, credential: Credential::Missing, ambiguity: None };
        let mut lengths = 0;
        for (name, value) in headers {
            let value = value.as_bytes();
            if name == AUTHORIZATION {
                fields.credential(Credential::Authorization(value));
            } else if name == HOST {
                fields.host = Some(value);
                fields.hosts += 1;
            } else if name == TRANSFER_ENCODING {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    fields.ambiguity = Some(Ambiguity::TransferEncoding);
                }
                lengths += 1;
            } else if name == CONTENT_LENGTH {
                if !value.iter().all(u8::is_ascii_digit) {
                    fields.ambiguity = Some(Ambiguity::Length);
                }
                lengths += 1;
            } else if credential_headers.contains(name) {
                fields.credential(Credential::Header(value));
            }
        }
        if lengths > 1 {
            fields.ambiguity = Some(Ambiguity::Length);
        }
        fields
    }

    fn credential(&mut self, found: Credential<'r>) {
        self.credential = match self.credential {
            Credential::Missing => found,
            known => Credential::Several {
                accepted_scheme: known.has_accepted_scheme() || found.has_accepted_scheme(),
            },
        };
    }
}

/// The host that the request is for. HTTP/2 has it in the target, HTTP/1.1 in `Host`, an absolute
/// target in both, and then they must agree.
fn host<'r>(uri: &'r Uri, fields: &Fields<'r>) -> Result<Option<&'r str>, Ambiguity> {
    let target = uri.authority().map(|authority| authority.as_str());
    let field = match (fields.host, fields.hosts) {
        (None, _) => None,
        (Some(host), 1) => Some(std::str::from_utf8(host).map_err(|_| Ambiguity::Host)?),
        (Some(_), _) => return Err(Ambiguity::Host),
    };
    if let (Some(target), Some(field)) = (target, field)
        && !target.eq_ignore_ascii_case(field)
    {
        return Err(Ambiguity::HostMismatch);
    }
    let host = target.or(field).ok_or(Ambiguity::Host)?;
    if !is_host(host) {
        return Err(Ambiguity::Host);
    }
    Ok(Some(host))
}

/// Whether the bytes can be `uri-host [ ":" port ]` (RFC 9110 section 7.2): no user info, no
/// list, no path.
fn is_host(host: &str) -> bool {
    let (name, after) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, after)) if address.parse::<Ipv6Addr>().is_ok() => ("ipv6", after),
            _ => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_port =
        |port: &str| port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit());
    let is_end = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
    !name.is_empty() && name.bytes().all(in_name) && is_end
}

fn target(head: &request::Parts) -> Option<Ambiguity> {
    let absolute_is_http =
        head.uri.scheme_str().is_none_or(|scheme| scheme == "http" || scheme == "https");
    // HTTP/1 has none of this past the guard; HTTP/2 may.
    let is_visible = |query: &str| query.bytes().all(|byte| byte.is_ascii_graphic());
    let query_is_plain = head.uri.query().is_none_or(is_visible);
    let is_odd = head.method == Method::CONNECT || !absolute_is_http || !query_is_plain;
    is_odd.then_some(Ambiguity::Target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientIp, ClientIpHeader};

    fn ambiguity(uri: &str, fields: &[(&str, &str)]) -> Option<Ambiguity> {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let settings = ClientIp { trusted_proxies: vec![], header: ClientIpHeader::XForwardedFor };
        facts(&head, None, &[], &TrustedProxies::new(&settings)).ambiguity
    }

    #[test]
    fn a_host_is_there_once_and_agrees_with_an_absolute_target() {
        assert_eq!(ambiguity("/", &[("host", "a.example:80")]), None);
        assert_eq!(ambiguity("/", &[("host", "[::1]:80")]), None);
        assert_eq!(ambiguity("http://a.example/x", &[("host", "A.example")]), None);
        assert_eq!(ambiguity("http://a.example/x", &[]), None);
        assert_eq!(ambiguity("/", &[]), Some(Ambiguity::Host));
        assert_eq!(ambiguity("/", &[("host", "a"), ("host", "a")]), Some(Ambiguity::Host));
        assert_eq!(ambiguity("/", &[("host", "user@a")]), Some(Ambiguity::Host));
        for odd in [
            "a, b", "a:", "a:x", "a:65536", "a:+80", "a:80:80", ":80", "[::1", "[a]", "[::1]x",
            "a]",
        ] {
            assert_eq!(ambiguity("/", &[("host", odd)]), Some(Ambiguity::Host), "{odd}");
        }
        assert_eq!(
            ambiguity("http://a.example/", &[("host", "b.example")]),
            Some(Ambiguity::HostMismatch)
        );
    }

    #[test]
    fn the_length_is_said_once() {
        let host = ("host", "a");
        assert_eq!(ambiguity("/", &[host, ("transfer-encoding", "chunked")]), None);
        assert_eq!(
            ambiguity("/", &[host, ("transfer-encoding", "gzip, chunked")]),
            Some(Ambiguity::TransferEncoding)
        );
        let both = [host, ("transfer-encoding", "chunked"), ("content-length", "3")];
        assert_eq!(ambiguity("/", &both), Some(Ambiguity::Length));
        let twice = [host, ("content-length", "3"), ("content-length", "3")];
        assert_eq!(ambiguity("/", &twice), Some(Ambiguity::Length));
        assert_eq!(ambiguity("/", &[host, ("content-length", "+3")]), Some(Ambiguity::Length));
    }

    #[test]
    fn connect_is_no_request_for_a_gate() {
        let request = http::Request::builder().method("CONNECT").uri("a:80").body(()).unwrap();
        assert_eq!(target(&request.into_parts().0), Some(Ambiguity::Target));
    }
}
