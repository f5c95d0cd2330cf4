//! The client's address: the peer's, or what trusted proxies say it is.
//!
//! The forwarding header is walked from the right: each hop that is a trusted proxy vouches for
//! the one to its left. What an untrusted one wrote is never read.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use crate::config::{ClientIp, ClientIpHeader};
use crate::core::facts::Ambiguity;
use crate::core::ip::PrefixSet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whose word is taken, compiled.
#[derive(Debug)]
pub(crate) struct TrustedProxies {
    prefixes: Option<PrefixSet>,
    header: ClientIpHeader,
}

impl TrustedProxies {
    pub(crate) fn new(settings: &ClientIp) -> Self {
        let trusted = &settings.trusted_proxies;
        Self {
            prefixes: (!trusted.is_empty()).then(|| PrefixSet::compile(trusted)),
            header: settings.header,
        }
    }

    /// The client's address.
    ///
    /// # Errors
    /// Where the walk meets something that is not an address.
    #[inline]
    pub(crate) fn client(
        &self,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<Option<IpAddr>, Ambiguity> {
        match (&self.prefixes, peer) {
            (Some(trusted), Some(peer)) if trusted.contains(peer) => {
                self.walk(trusted, peer, headers).map(Some)
            }
            _ => Ok(peer),
        }
    }

    fn walk(
        &self,
        trusted: &PrefixSet,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Result<IpAddr, Ambiguity> {
        let name = match self.header {
            ClientIpHeader::XForwardedFor => X_FORWARDED_FOR,
            ClientIpHeader::Forwarded => FORWARDED,
        };
        let mut client = peer;
        let fields: Vec<&[u8]> =
            headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
        for field in fields.iter().rev() {
            let field = std::str::from_utf8(field).map_err(|_| Ambiguity::ForwardedFor)?;
            for hop in hops(field).rev() {
                client = self.address(hop.trim()).ok_or(Ambiguity::ForwardedFor)?;
                if !trusted.contains(client) {
                    return Ok(client);
                }
            }
        }
        Ok(client)
    }

    fn address(&self, hop: &str) -> Option<IpAddr> {
        match self.header {
            ClientIpHeader::XForwardedFor => parse_address(hop),
            ClientIpHeader::Forwarded => parse_address(forwarded_for(hop)?),
        }
    }
}

/// The client's address by these fields of the forwarding header: for the fuzz targets.
///
/// # Errors
/// As for [`TrustedProxies::client`].
#[cfg(fuzzing)]
pub fn client_address(
    settings: &ClientIp,
    peer: IpAddr,
    fields: &[&str],
) -> Result<IpAddr, Ambiguity> {
    let name = match settings.header {
        ClientIpHeader::XForwardedFor => X_FORWARDED_FOR,
        ClientIpHeader::Forwarded => FORWARDED,
    };
    let value = |field: &&str| http::HeaderValue::from_bytes(field.as_bytes()).ok();
    let headers = fields.iter().filter_map(value).map(|value| (name.clone(), value)).collect();
    let client = TrustedProxies::new(settings).client(Some(peer), &headers)?;
    Ok(client.expect("invariant: a peer that is known stays known"))
}

/// The hops of one field. Commas inside quotes would make the walk ambiguous; an address has
/// none, so that such a hop is refused when it is parsed.
fn hops(field: &str) -> impl DoubleEndedIterator<Item = &str> {
    field.split(',')
}

/// The `for` of a forwarded element (RFC 7239 section 4), without its quotes.
fn forwarded_for(element: &str) -> Option<&str> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("for") && found.replace(value.trim()).is_some() {
            return None;
        }
    }
    let value = found?;
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

/// An address, perhaps with a port and brackets: `192.0.2.7`, `192.0.2.7:80`, `[2001:db8::1]:80`.
fn parse_address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    Some(inner.parse::<std::net::Ipv6Addr>().ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusting(header: ClientIpHeader) -> TrustedProxies {
        let trusted_proxies = ["10.0.0.0/8", "2001:db8::/32"].map(|cidr| cidr.parse().unwrap());
        TrustedProxies::new(&ClientIp { trusted_proxies: trusted_proxies.to_vec(), header })
    }

    fn client(header: ClientIpHeader, peer: &str, fields: &[&str]) -> Result<String, Ambiguity> {
        let mut headers = HeaderMap::new();
        for field in fields {
            let name = match header {
                ClientIpHeader::XForwardedFor => X_FORWARDED_FOR,
                ClientIpHeader::Forwarded => FORWARDED,
            };
            headers.append(name, field.parse().unwrap());
        }
        let found = trusting(header).client(Some(peer.parse().unwrap()), &headers)?;
        Ok(found.unwrap().to_string())
    }

    #[test]
    fn only_trusted_hops_are_believed_from_the_right() {
        let x = ClientIpHeader::XForwardedFor;
        let cases: [(&str, &[&str], &str); 8] = [
            ("192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.7", "10.2.2.2"], "198.51.100.7"),
            ("10.0.0.1", &["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            ("10.0.0.1", &["garbage, 198.51.100.7:4711"], "198.51.100.7"),
            ("10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7"),
        ];
        for (peer, fields, expected) in cases {
            assert_eq!(client(x, peer, fields), Ok(expected.to_owned()), "{peer} {fields:?}");
        }
    }

    #[test]
    fn something_that_is_no_address_in_the_walk_is_a_bad_request() {
        let x = ClientIpHeader::XForwardedFor;
        for field in ["unknown", "", "1.2.3.4, 10.0.0.2, _hidden", "10.0.0.2,", "1.2.3"] {
            assert_eq!(client(x, "10.0.0.1", &[field]), Err(Ambiguity::ForwardedFor), "{field}");
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        let f = ClientIpHeader::Forwarded;
        let cases = [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("For=\"[2001:db9:cafe::17]:4711\"", "2001:db9:cafe::17"),
            ("for=1.1.1.1, for=192.0.2.43, for=10.4.4.4", "192.0.2.43"),
        ];
        for (field, expected) in cases {
            assert_eq!(client(f, "10.0.0.1", &[field]), Ok(expected.to_owned()), "{field}");
        }
        for field in ["for=unknown", "proto=http", "for=1.1.1.1;for=2.2.2.2", "for=\"1.1.1.1"] {
            assert_eq!(client(f, "10.0.0.1", &[field]), Err(Ambiguity::ForwardedFor), "{field}");
        }
    }
}
