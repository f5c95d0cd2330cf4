//! `[upstreams.NAME]`: where requests go.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use http::uri::Authority;

use super::env::Environment;
use super::files::Files;
use super::read::{Table, text};
use super::report::Mistake;
use super::schema::{UPSTREAM, UPSTREAMS, names};
use super::source::shown;
use super::tree::Node;
use super::{Endpoint, Upstream, listen, tls};
use crate::tls::{ALPN_HTTP1, ALPN_HTTP2};

const NAME_LIMIT: usize = 64;
const EXAMPLE: &str = "write for instance \"http://127.0.0.1:9000\", \"https://api.internal:8443\" \
                       or \"unix:/run/api.sock\"";

/// Reads every upstream, ascending by name. One with mistakes is in the list all the same, so
/// that routes can be checked against all names.
pub(super) fn read(root: &Table<'_>, files: &Files, environment: &Environment) -> Vec<Upstream> {
    let section = root.section(UPSTREAMS);
    if section.is_empty() {
        section.report.error(
            section.at,
            Mistake::new("at least one upstream is required")
                .help("add a section [upstreams.api] with endpoints = [\"http://127.0.0.1:9000\"]"),
        );
    }
    let upstream = |(name, key, node)| {
        check_name("an upstream", name)
            .unwrap_or_else(|mistake| section.report.error(key, mistake));
        let table = Table::of(format!("[{UPSTREAMS}.{name}]"), node, section.report)?;
        Some(upstream(name, &table, files, environment))
    };
    section.iter().filter_map(upstream).collect()
}

/// Whether a name may be given to `what`.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), Mistake> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if (1..=NAME_LIMIT).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Mistake::new(format!("{} is not a name for {what}", shown(name)))
        .help(format!("use 1 to {NAME_LIMIT} letters, digits, _ and -")))
}

fn upstream(name: &str, table: &Table<'_>, files: &Files, environment: &Environment) -> Upstream {
    table.allow(&names(UPSTREAM));
    let endpoints = endpoints(table, files.base());
    let speaks_tls = endpoints.iter().any(|endpoint| matches!(endpoint, Endpoint::Https { .. }));
    if !speaks_tls && table.node("tls").is_some() {
        table.warn("tls", Mistake::new("`tls` has no effect without an https:// endpoint"));
    }
    let http2 = table.flag("http2", false);
    let alpn = if http2 { ALPN_HTTP2 } else { ALPN_HTTP1 };
    let tls = speaks_tls.then(|| tls::of_client(table, files, environment, &[alpn])).flatten();
    Upstream {
        name: name.to_owned(),
        endpoints,
        tls,
        http2,
        connect_timeout: table.timeout("connect_timeout", Duration::from_secs(2)),
        response_timeout: table.timeout("response_timeout", Duration::from_secs(60)),
        idle_timeout: table.timeout("idle_timeout", Duration::from_secs(300)),
        enforces_projects: table.flag("enforces_projects", false),
    }
}

fn endpoints(table: &Table<'_>, base: &Path) -> Vec<Endpoint> {
    let read = |node: &Node| Ok((node.at, endpoint(node, base)?));
    let mut endpoints = Vec::new();
    for (at, endpoint) in table.required_each("endpoints", EXAMPLE, read) {
        if is_exposed(&endpoint) {
            table.report.warn(
                at,
                Mistake::new("requests leave this machine without encryption")
                    .help("use https://, or a loopback address or unix socket beside the gate"),
            );
        }
        if endpoints.contains(&endpoint) {
            table.report.warn(at, Mistake::new("this endpoint is listed twice"));
        }
        endpoints.push(endpoint);
    }
    endpoints
}

pub(super) fn endpoint(node: &Node, base: &Path) -> Result<Endpoint, Mistake> {
    let given = text(node)?;
    if let Some(path) = given.strip_prefix("unix:") {
        return listen::unix_path(path, base).map(Endpoint::Unix);
    }
    let after = |scheme: &str| {
        let (front, rest) = given.split_at_checked(scheme.len())?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        front.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    if let Some(rest) = after("https://") {
        let (host, port) = host_and_port(rest, 443)?;
        return Ok(Endpoint::Https { host, port });
    }
    let Some(rest) = after("http://") else {
        let message = format!("{} is not an endpoint", shown(given));
        return Err(Mistake::new(message).help(EXAMPLE));
    };
    let (host, port) = host_and_port(rest, 80)?;
    Ok(Endpoint::Http { host, port })
}

/// Host and port, without the scheme.
pub(super) fn host_and_port(rest: &str, default_port: u16) -> Result<(String, u16), Mistake> {
    if rest.contains('@') {
        return Err(Mistake::new("an endpoint cannot carry a user or password"));
    }
    if rest.contains(['/', '?', '#']) {
        return Err(Mistake::new("an endpoint is a host and a port, without a path")
            .help("the path of the request is passed on as it is"));
    }
    let invalid = || Mistake::new("the endpoint's host or port is not valid").help(EXAMPLE);
    let authority: Authority = rest.parse().map_err(|_| invalid())?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let after_host = &rest[authority.host().len()..];
    let port = match after_host.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port > 0).ok_or_else(invalid)?
        }
        Some(_) => return Err(invalid()),
        None => default_port,
    };
    let is_address = host.parse::<IpAddr>().is_ok();
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !is_address && (host.is_empty() || !host.bytes().all(in_name)) {
        return Err(invalid());
    }
    Ok((host.to_owned(), port))
}

/// Whether others could listen in: neither loopback nor unix socket, and there is no TLS.
pub(super) fn is_exposed(endpoint: &Endpoint) -> bool {
    let Endpoint::Http { host, .. } = endpoint else { return false };
    match host.parse::<IpAddr>() {
        Ok(address) => !address.to_canonical().is_loopback(),
        Err(_) => {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            host != "localhost" && !host.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(rest: &str) -> Option<(String, u16)> {
        host_and_port(rest, 80).ok()
    }

    #[test]
    fn an_endpoint_is_a_host_and_perhaps_a_port() {
        assert_eq!(http("api.internal"), Some(("api.internal".to_owned(), 80)));
        assert_eq!(http("[::1]:9000"), Some(("::1".to_owned(), 9000)));
        assert_eq!(http("[2001:db8::1]"), Some(("2001:db8::1".to_owned(), 80)));
        for wrong in ["", ":80", "a:0", "a:", "a:65536", "a:+80", "a b", "[::1", "::1", "a%20b"] {
            assert_eq!(http(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_loopback_and_sockets_are_not_exposed() {
        let exposed = |host: &str| is_exposed(&Endpoint::Http { host: host.to_owned(), port: 1 });
        for host in
            ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost", "a.localhost."]
        {
            assert!(!exposed(host), "{host}");
        }
        for host in ["10.0.0.1", "api", "localhost.example.com", "::"] {
            assert!(exposed(host), "{host}");
        }
    }
}
