//! `[legacy.introspection]`: the endpoint that is asked about tokens imported with `introspect`.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use zeroize::Zeroizing;

use super::env::{self, Environment};
use super::files::Files;
use super::read::{Table, name, text};
use super::report::Mistake;
use super::schema::{INTROSPECTION, names};
use super::source::shown;
use super::tree::Node;
use super::{Endpoint, Introspection, keys, tls, upstreams};
use crate::core::token::has_our_prefix;
use crate::tls::ALPN_HTTP1;

/// Longest beginning of a token that is compared.
const SELECTOR_LIMIT: usize = 64;
const SELECTORS_LIMIT: usize = 64;
const CONNECTIONS_LIMIT: usize = 256;
const URL_EXAMPLE: &str = "write for instance \"https://login.example.com/introspect\"";

/// A header's value that is shown nowhere, and wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Concealed(Zeroizing<String>);

impl Concealed {
    /// `None` where it cannot be a header's value.
    pub fn new(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        HeaderValue::from_str(&text).ok()?;
        Some(Self(text))
    }

    /// As a header, marked as sensitive.
    pub(crate) fn header(&self) -> HeaderValue {
        let mut value = HeaderValue::from_str(&self.0).expect("invariant: checked by `new`");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Concealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Concealed(redacted)")
    }
}

/// Reads `[legacy.introspection]`; `None` where there is none, or a mistake, which is reported.
pub(super) fn read(
    legacy: &Table<'_>,
    files: &Files,
    environment: &Environment,
) -> Option<Introspection> {
    legacy.node("introspection")?;
    let table = legacy.subsection("legacy", "introspection");
    table.allow(&names(INTROSPECTION));
    let errors = table.report.errors();
    let location = table.required("url", URL_EXAMPLE, location);
    let selectors = selectors(&table);
    let authorization = authorization(&table, files, environment);
    let is_tls = location.as_ref().is_some_and(|location| location.is_tls);
    let tls = is_tls.then(|| tls::of_client(&table, files, environment, &[ALPN_HTTP1])).flatten();
    if location.is_some() && !is_tls && table.node("tls").is_some() {
        table.error("tls", Mistake::new("`tls` has no effect without an https:// URL"));
    }
    let claim = |key: &str| table.text(key).map(str::to_owned);
    let (audience, scope) = (claim("audience"), claim("scope"));
    if audience.is_none() && scope.is_none() {
        let message = "`audience` or `scope` is required: without, a token for anything would do";
        table.error(
            "audience",
            Mistake::new(message).help(
                "name what the endpoint says of tokens that are meant for this API: audience = \
             \"https://api.example.com\" or scope = \"api\"",
            ),
        );
    }
    let timeout = table.timeout("timeout", Duration::from_secs(2));
    let (account, user) = (claim("account"), claim("user"));
    let cache_ttl = table.duration("cache_ttl", Duration::from_secs(60));
    let connections = table.count("connections", 8, 1..=CONNECTIONS_LIMIT);
    if table.report.errors() > errors {
        return None;
    }
    let Location { address, target, host, .. } = location?;
    Some(Introspection {
        address,
        target,
        host,
        selectors: selectors.into(),
        authorization,
        tls,
        timeout,
        cache_ttl,
        connections,
        audience,
        scope,
        account,
        user,
    })
}

/// Where the endpoint is.
struct Location {
    address: (String, u16),
    target: Uri,
    host: HeaderValue,
    is_tls: bool,
}

/// Reads the URL. What is sent there are tokens, so that it must not leave this machine in clear.
fn location(node: &Node) -> Result<Location, Mistake> {
    let given = text(node)?;
    let invalid = || Mistake::new(format!("{} is no URL", shown(given))).help(URL_EXAMPLE);
    let after = |scheme: &str| {
        let (front, rest) = given.split_at_checked(scheme.len())?;
        front.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let (rest, is_tls) = match after("https://") {
        Some(rest) => (rest, true),
        None => (after("http://").ok_or_else(invalid)?, false),
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let address = upstreams::host_and_port(authority, if is_tls { 443 } else { 80 })?;
    let (host, port) = address.clone();
    if !is_tls && upstreams::is_exposed(&Endpoint::Http { host, port }) {
        return Err(Mistake::new("tokens would leave this machine without encryption")
            .help("write https://, or name a loopback address"));
    }
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Ok(Location {
        address,
        target: target.parse().map_err(|_| invalid())?,
        host: HeaderValue::from_str(authority).map_err(|_| invalid())?,
        is_tls,
    })
}

fn selectors(table: &Table<'_>) -> Vec<String> {
    let help =
        "list how the tokens begin that may be sent to the endpoint: selectors = [\"dbtc_\"]";
    let found = table.required_each("selectors", help, selector);
    if found.len() > SELECTORS_LIMIT {
        table.error("selectors", Mistake::new(format!("at most {SELECTORS_LIMIT} fit")));
    }
    found
}

fn selector(node: &Node) -> Result<String, Mistake> {
    let given = name(node)?;
    let fits = given.len() <= SELECTOR_LIMIT && given.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        return Err(Mistake::new(format!(
            "a selector is 1 to {SELECTOR_LIMIT} characters that a token may have"
        )));
    }
    if has_our_prefix(given.as_bytes()) {
        return Err(Mistake::new("tokens of ours are never sent to an endpoint")
            .help("leave this selector out: they are recognised without it"));
    }
    Ok(given.to_owned())
}

/// How the gate shows who asks: as a client by name and secret, else by a bearer token (RFC 7662,
/// section 2.1); or by its certificate alone (RFC 8705).
fn authorization(table: &Table<'_>, files: &Files, environment: &Environment) -> Option<Concealed> {
    if table.node("secret_file").or_else(|| table.node("secret_env")).is_none()
        && has_certificate(table)
    {
        return None;
    }
    let secret = secret(table, files, environment)?;
    let value = match table.text("client_id") {
        // RFC 6749, section 2.3.1: each encoded as a form, then together as base64.
        Some(client) => {
            let secret = Zeroizing::new(form_encoded(secret.as_bytes()));
            let pair = Zeroizing::new(format!("{}:{}", form_encoded(client.as_bytes()), *secret));
            format!("Basic {}", STANDARD.encode(pair.as_bytes()))
        }
        None => format!("Bearer {}", *secret),
    };
    let concealed = Concealed::new(value);
    if concealed.is_none() {
        table.error(secret_key(table), Mistake::new("a bearer token is one line of visible ASCII"));
    }
    concealed
}

fn has_certificate(table: &Table<'_>) -> bool {
    let tls = table.node("tls").and_then(|node| Table::of(String::new(), node, table.report));
    tls.is_some_and(|tls| tls.node("certificate").is_some())
}

fn secret_key(table: &Table<'_>) -> &'static str {
    if table.node("secret_env").is_some() { "secret_env" } else { "secret_file" }
}

fn secret(
    table: &Table<'_>,
    files: &Files,
    environment: &Environment,
) -> Option<Zeroizing<String>> {
    let found = match (table.text("secret_file"), table.text("secret_env")) {
        (Some(_), Some(_)) => {
            let message = "both `secret_file` and `secret_env` say where the secret is";
            table.error("secret_env", Mistake::new(message).help("keep one of them"));
            return None;
        }
        (Some(file), None) => {
            files.open(table, "secret_file", file, |path, file| keys::load(path, file, table))?.1
        }
        (None, Some(variable)) => {
            Zeroizing::new(env::value(variable, environment, table, "secret_env", None)?.to_owned())
        }
        (None, None) => {
            let message = "`secret_file` or `secret_env` is required: the endpoint has to know who \
                           asks (RFC 7662, section 2.1)";
            table.error("secret_file", Mistake::new(message).help(
                "name a file of mode 0600; with `client_id` it holds the client's secret, without \
                 it a bearer token. Or show a certificate: tls = { certificate, key }",
            ));
            return None;
        }
    };
    let trimmed = Zeroizing::new(found.trim().to_owned());
    if trimmed.is_empty() {
        table.error(secret_key(table), Mistake::new("there is no secret in it"));
        return None;
    }
    Some(trimmed)
}

/// `application/x-www-form-urlencoded`, with nothing left as it is that could be read otherwise.
pub(crate) fn form_encoded(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(3 * bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                encoded.push(char::from(*byte));
            }
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                encoded.push('%');
                encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
                encoded.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_leaves_no_room_for_a_second_reading() {
        assert_eq!(form_encoded(b"aZ0-._"), "aZ0-._");
        assert_eq!(form_encoded(b"a b&c=d+%~:"), "a%20b%26c%3Dd%2B%25%7E%3A");
        assert_eq!(form_encoded("é".as_bytes()), "%C3%A9");
    }

    #[test]
    fn what_is_concealed_shows_nothing() {
        let concealed = Concealed::new("Bearer hush".to_owned()).unwrap();
        assert_eq!(
            format!("{concealed:?}{:?}", concealed.header()),
            "Concealed(redacted)Sensitive"
        );
        assert!(Concealed::new("Bearer\nhush".to_owned()).is_none());
    }
}
