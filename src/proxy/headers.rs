//! What is removed from and mended in heads and trailers on their way through.
//!
//! Only the gate speaks in headers that begin `x-portcullis-`: what a client or an upstream sends
//! under such a name, also with underscores (which CGI and WSGI servers cannot tell from
//! hyphens), also in trailers, is dropped.

use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING,
};

/// Which of a client's headers are not passed on, besides those that are anyone's.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    /// In every spelling that CGI and WSGI servers take for them.
    pub(crate) names: Vec<HeaderName>,
    /// In every spelling but their own: upstreams would take what the gate did not judge for what
    /// it did.
    pub(crate) respelt: Vec<HeaderName>,
}

impl Dropped {
    fn takes(&self, name: &HeaderName) -> bool {
        is_one_of(name, &self.names)
            || (is_one_of(name, &self.respelt) && !self.respelt.contains(name))
    }
}

/// Whether only the gate may send a header of this name.
pub(crate) fn is_reserved(name: &str) -> bool {
    const PREFIX: &[u8] = b"x-portcullis-";
    let hyphen = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    let name = name.as_bytes();
    name.first() == Some(&b'x')
        && name.len() >= PREFIX.len()
        && name.iter().zip(PREFIX).all(|(given, ours)| hyphen(given) == *ours)
}

/// Whether a client's header of this name says what the gate says itself.
fn is_forwarding(name: &str) -> bool {
    matches!(
        name,
        "forwarded"
            | "x-forwarded-for"
            | "x-forwarded_for"
            | "x_forwarded-for"
            | "x_forwarded_for"
            | "x-real-ip"
            | "x-real_ip"
            | "x_real-ip"
            | "x_real_ip"
    )
}

/// Whether a header is one of these, in any spelling that CGI and WSGI servers take for it.
fn is_one_of(name: &HeaderName, dropped: &[HeaderName]) -> bool {
    let hyphens = |name: &str| name.replace('_', "-");
    dropped.contains(name)
        || (name.as_str().contains('_')
            && dropped.iter().any(|known| hyphens(known.as_str()) == hyphens(name.as_str())))
}

/// Whether a header is one that frames the message or names its host, as CGI and WSGI servers spell
/// it: they would take it for the one that the gate sets.
fn is_framing_with_underscores(name: &str) -> bool {
    matches!(name, "content_length" | "transfer_encoding")
}

/// Headers of one connection only (RFC 9110 section 7.6.1), besides those that `Connection` names.
/// `te` and `trailer` are treated apart: with them, trailers pass.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Turns a client's head into the one that the upstream gets, without an identity yet.
pub(crate) fn strip_request(headers: &mut HeaderMap, dropped: &Dropped) {
    strip_named_in_connection(headers);
    remove_where(headers, |name| {
        let text = name.as_str();
        text == "expect"
            || is_hop_by_hop(text)
            || is_forwarding(text)
            || is_reserved(text)
            || is_framing_with_underscores(text)
            || dropped.takes(name)
    });
    keep_only_trailers_of_te(headers);
}

/// Of `te`, only the word that lets trailers pass is about more than one connection.
fn keep_only_trailers_of_te(headers: &mut HeaderMap) {
    let Some(te) = headers.remove(TE) else { return };
    let passes = |te: &str| te.split(',').any(|word| word.trim().eq_ignore_ascii_case("trailers"));
    if te.to_str().is_ok_and(passes) {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Sets the one `Host`, and joins what HTTP/2 may have split (RFC 9113 section 8.2.3).
pub(crate) fn for_http1(headers: &mut HeaderMap, host: HeaderValue) {
    headers.insert(HOST, host);
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<&[u8]> =
            headers.get_all(COOKIE).iter().map(|crumb| crumb.as_bytes()).collect();
        if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(COOKIE, cookie);
        }
    }
}

/// Frames a body whose length nobody said. Left to itself, hyper takes a `GET` without a length
/// for one without a body, and drops it.
pub(crate) fn frame_body(headers: &mut HeaderMap) {
    if !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Whether an upstream says the length of its answer in two ways, which is how answers are
/// smuggled (RFC 9112 section 6.3).
pub(crate) fn has_two_lengths(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH)
}

/// Turns an upstream's head into the one that the client gets.
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    strip_named_in_connection(headers);
    remove_where(headers, |name| is_hop_by_hop(name.as_str()) || is_reserved(name.as_str()));
}

/// Trailers carry neither identity nor credential nor framing.
pub(crate) fn strip_request_trailers(trailers: &mut HeaderMap, dropped: &Dropped) {
    strip_request(trailers, dropped);
    remove_where(trailers, |name| {
        *name == AUTHORIZATION
            || *name == COOKIE
            || is_framing(name)
            || is_one_of(name, &dropped.respelt)
            || is_one_of(name, &crate::config::OVERRIDES)
    });
}

/// Trailers of a response do not say what only the gate says.
pub(crate) fn strip_response_trailers(trailers: &mut HeaderMap) {
    strip_response(trailers);
    remove_where(trailers, is_framing);
}

fn is_framing(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH || *name == HOST || *name == TE
}

fn strip_named_in_connection(headers: &mut HeaderMap) {
    // What nearly every `Connection` says is no name of a field that would be left.
    let is_option = |word: &&str| {
        ["keep-alive", "close"].iter().any(|option| word.eq_ignore_ascii_case(option))
    };
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .filter(|word| !is_option(word))
        .filter_map(|name| name.parse().ok())
        // A message keeps its host and length whatever `Connection` says.
        .filter(|name| !is_framing(name) || *name == TE)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Removes the headers that are of a kind. Most heads hold one at most: no list is made for it.
fn remove_where(headers: &mut HeaderMap, is: impl Fn(&HeaderName) -> bool) {
    let Some(first) = headers.keys().find(|name| is(name)).cloned() else { return };
    headers.remove(first);
    let names: Vec<HeaderName> = headers.keys().filter(|name| is(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        HeaderMap::from_iter(fields.iter().map(pair))
    }

    fn dropped(names: &[HeaderName]) -> Dropped {
        Dropped { names: names.to_vec(), ..Dropped::default() }
    }

    #[test]
    fn what_only_the_gate_says_is_dropped_in_every_spelling() {
        let mut headers = map(&[
            ("x-portcullis-account-id", "1"),
            ("x_portcullis_user_id", "1"),
            ("x-portcullis_new", "1"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x_forwarded_for", "1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x_real_ip", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("authorization", "Bearer x"),
            ("accept", "*/*"),
            ("x-portcullisx", "kept"),
        ]);
        strip_request(&mut headers, &dropped(&[AUTHORIZATION]));
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "x-portcullisx"]);
    }

    #[test]
    fn a_credential_is_dropped_in_every_spelling() {
        let mut headers = map(&[("x-api-key", "1"), ("x_api_key", "1"), ("x_api-key", "1")]);
        strip_request(&mut headers, &dropped(&[HeaderName::from_static("x-api-key")]));
        assert!(headers.is_empty());
    }

    #[test]
    fn a_credential_that_is_passed_on_is_dropped_in_other_spellings_and_in_trailers() {
        let fields = [("x-api-key", "1"), ("x_api_key", "2"), ("x-api_key", "3")];
        let names = vec![HeaderName::from_static("x-api-key")];
        let passed_on = Dropped { respelt: names, ..Dropped::default() };
        let (mut headers, mut trailers) = (map(&fields), map(&fields));
        strip_request(&mut headers, &passed_on);
        strip_request_trailers(&mut trailers, &passed_on);
        assert_eq!(headers, map(&fields[..1]));
        assert!(trailers.is_empty());
    }

    #[test]
    fn headers_of_one_connection_end_there() {
        let mut headers = map(&[
            ("connection", "close, x-hop, Keep-Alive, content-length"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("te", "gzip, trailers"),
            ("content-length", "3"),
            ("expect", "100-continue"),
        ]);
        strip_request(&mut headers, &Dropped::default());
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "te"]);
        assert_eq!(headers[TE], "trailers");
    }

    #[test]
    fn a_body_is_framed_by_its_length_or_else_by_chunks() {
        let (mut said, mut unsaid) = (map(&[("content-length", "3")]), HeaderMap::new());
        frame_body(&mut said);
        frame_body(&mut unsaid);
        assert_eq!(said, map(&[("content-length", "3")]));
        assert_eq!(unsaid, map(&[("transfer-encoding", "chunked")]));
    }

    #[test]
    fn an_answer_has_one_length_at_most() {
        assert!(has_two_lengths(&map(&[
            ("content-length", "3"),
            ("transfer-encoding", "chunked")
        ])));
        assert!(!has_two_lengths(&map(&[("transfer-encoding", "chunked")])));
        assert!(!has_two_lengths(&map(&[("content-length", "3")])));
    }

    #[test]
    fn cookie_crumbs_become_one_cookie() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        for_http1(&mut headers, HeaderValue::from_static("h"));
        assert_eq!(headers[COOKIE], "a=1; b=2");
        assert_eq!(headers[HOST], "h");
    }
}
