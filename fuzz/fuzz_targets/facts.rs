//! A head that the guard passes against the facts that are decided about: nothing of it is lost,
//! nothing is taken from elsewhere, and whatever two could read in two ways is said to be ambiguous.

#![no_main]

use http::{HeaderName, HeaderValue, Method, Request, Uri, request};
use libfuzzer_sys::fuzz_target;
use portcullis::core::facts::{Ambiguity, Credential, Facts};
use portcullis::edge::facts_of_head;
use portcullis::edge::guard::{HeadLimits, Scanner};

const LIMITS: HeadLimits = HeadLimits { bytes: 2048, fields: 20 };
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

fuzz_target!(|bytes: &[u8]| {
    let mut end = None;
    Scanner::new(LIMITS).scan_messages(bytes, |at, _| end = end.or(Some(at)));
    let Some(end) = end else { return };
    let lines = Lines::of(&bytes[..end]);
    // The framing target shows that hyper reads these lines so, or refuses them.
    let Some(head) = lines.head() else { return };
    let facts = facts_of_head(&head, &[API_KEY]);
    assert_eq!(facts.method.as_bytes(), lines.method);
    same_target(&facts, lines.target);
    same_credential(facts.credential, &lines);
    same_host(&facts, &lines);
    assert_eq!((facts.client, facts.client_names), (None, &[][..]));
});

/// A head, read in the plainest way.
struct Lines<'b> {
    method: &'b [u8],
    target: &'b [u8],
    fields: Vec<(Vec<u8>, &'b [u8])>,
}

impl<'b> Lines<'b> {
    fn of(head: &'b [u8]) -> Self {
        let mut lines = head
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .filter(|line| !line.is_empty());
        let mut words = lines.next().unwrap().split(|byte| *byte == b' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let field = |line: &'b [u8]| {
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            let blank = |byte: &u8| b" \t".contains(byte);
            let value = &line[colon + 1..];
            let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
            let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
            (line[..colon].to_ascii_lowercase(), &value[start..end])
        };
        Self { method, target, fields: lines.map(field).collect() }
    }

    fn head(&self) -> Option<request::Parts> {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(self.method).ok()?;
        *request.uri_mut() = Uri::try_from(self.target).ok()?;
        for (name, value) in &self.fields {
            let name = HeaderName::from_bytes(name).ok()?;
            request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
        }
        Some(request.into_parts().0)
    }

    fn named(&self, name: &str) -> Vec<&'b [u8]> {
        let same = |field: &&(Vec<u8>, &'b [u8])| field.0 == name.as_bytes();
        self.fields.iter().filter(same).map(|(_, value)| *value).collect()
    }

    /// What an absolute target says.
    fn authority(&self) -> Option<&'b [u8]> {
        let after = self.target.windows(3).position(|three| three == b"://")? + 3;
        if self.target.starts_with(b"/") {
            return None;
        }
        let rest = &self.target[after..];
        Some(&rest[..rest.iter().position(|byte| *byte == b'/').unwrap()])
    }
}

/// Path and query are the target's end, byte for byte.
fn same_target(facts: &Facts<'_>, target: &[u8]) {
    let query = facts.query.map(|query| format!("?{query}")).unwrap_or_default();
    let said = format!("{}{query}", facts.path);
    assert!(target.ends_with(said.as_bytes()), "{said}");
    assert!(!target.starts_with(b"/") || target.len() == said.len(), "{said}");
}

fn same_credential(credential: Credential<'_>, lines: &Lines<'_>) {
    let of = [lines.named("authorization"), lines.named(API_KEY.as_str())];
    match (credential, &of[0][..], &of[1][..]) {
        (Credential::Missing, [], []) => {}
        (Credential::Authorization(value), [one], []) => assert_eq!(value, *one),
        (Credential::Header(value), [], [one]) => assert_eq!(value, *one),
        (Credential::Several { .. }, one, other) if one.len() + other.len() > 1 => {}
        (credential, ..) => panic!("{credential:?} of {of:?}"),
    }
}

/// One host, said once or twice alike, and a length that is said once; or it is ambiguous.
fn same_host(facts: &Facts<'_>, lines: &Lines<'_>) {
    let (hosts, authority) = (lines.named("host"), lines.authority());
    let said: Vec<&[u8]> = authority.into_iter().chain(hosts.iter().copied()).collect();
    let agree = said.windows(2).all(|two| two[0].eq_ignore_ascii_case(two[1]));
    let lengths = lines.named("content-length").len() + lines.named("transfer-encoding").len();
    let is_one = hosts.len() <= 1 && !said.is_empty() && agree && lengths <= 1;
    let is_plain = |host: &[u8]| {
        !host.is_empty()
            && host.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte))
    };
    match facts.ambiguity {
        None => {
            assert!(is_one, "{said:?}");
            assert_eq!(facts.host.map(str::as_bytes), Some(said[0]));
        }
        Some(Ambiguity::Host) => assert!(!is_one || !is_plain(said[0]), "{said:?}"),
        Some(_) => assert!(!is_one, "{:?}: {said:?}", facts.ambiguity),
    }
}
