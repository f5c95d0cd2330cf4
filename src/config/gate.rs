//! `[gate]`: where clients connect and how they are treated.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http::HeaderName;

use super::files::Files;
use super::read::{Table, name, text};
use super::report::Mistake;
use super::schema;
use super::source::{At, shown};
use super::tree::Node;
use super::{Gate, Listen, OVERRIDES, listen, suggest, tls};
use crate::core::path::Allowed;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const WORKERS_LIMIT: usize = 1024;
/// Headers that already mean something to the gate or to HTTP itself.
const NOT_FOR_CREDENTIALS: [&str; 14] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-real-ip",
];

/// Reads `[gate]`.
pub(super) fn read(root: &Table<'_>, files: &Files) -> Gate {
    let gate = root.section("gate");
    gate.allow(&schema::names(schema::keys("gate")));
    let listen_tls = tls_listeners(&gate, files.base());
    Gate {
        listen: listeners(&gate, files.base(), &listen_tls),
        tls: tls::of_gate(&gate, files),
        listen_tls,
        workers: gate.count("workers", 0, 0..=WORKERS_LIMIT),
        conceal: gate.flag("conceal", false),
        forward_credential: gate.flag("forward_credential", false),
        credential_headers: credential_headers(&gate),
        allow_headers: gate.each("allow_headers", override_header).unwrap_or_default(),
        allow_in_path: gate.take("allow_in_path", allowed).unwrap_or_default(),
        drain_delay: gate.duration("drain_delay", Duration::ZERO),
        drain_timeout: gate.duration("drain_timeout", Duration::from_secs(30)),
    }
}

fn listeners(gate: &Table<'_>, base: &Path, with_tls: &[Listen]) -> Vec<Listen> {
    let Some(found) =
        gate.each("listen", |node| listen::listen(node, base).map(|listener| (node.at, listener)))
    else {
        return vec![Listen::Tcp(DEFAULT_LISTEN)];
    };
    if with_tls.is_empty()
        && gate.take("listen", super::read::array).is_some_and(<[Node]>::is_empty)
    {
        gate.error("listen", Mistake::new("at least one address to listen on is required"));
    }
    distinct(gate, found, with_tls)
}

/// Those of `found`; one that clashes with another is reported.
fn distinct(gate: &Table<'_>, found: Vec<(At, Listen)>, others: &[Listen]) -> Vec<Listen> {
    let mut listeners: Vec<Listen> = Vec::new();
    for (at, listener) in found {
        if listeners.iter().chain(others).any(|earlier| listen::clash(earlier, &listener)) {
            gate.report.error(at, listen::taken());
        }
        listeners.push(listener);
    }
    listeners
}

/// `listen_tls`, which needs certificates.
fn tls_listeners(gate: &Table<'_>, base: &Path) -> Vec<Listen> {
    let address = |node: &Node| match listen::listen(node, base)? {
        Listen::Tcp(address) => Ok((node.at, Listen::Tcp(address))),
        Listen::Unix(_) => Err(Mistake::new("TLS is not spoken on a unix socket")
            .help("nobody can listen in there: put it under `listen`")),
    };
    let found = gate.each("listen_tls", address).unwrap_or_default();
    if !found.is_empty() && gate.node("tls").is_none() {
        gate.error(
            "listen_tls",
            Mistake::new("`listen_tls` needs certificates").help(
                "write tls = { certificates = [{ certificate = \"tls.crt\", key = \"tls.key\" }] }",
            ),
        );
    }
    if found.is_empty() && gate.node("tls").is_some() {
        gate.warn("tls", Mistake::new("`tls` has no effect without `listen_tls`"));
    }
    distinct(gate, found, &[])
}

fn credential_headers(gate: &Table<'_>) -> Vec<HeaderName> {
    let found = gate.each("credential_headers", |node| Ok((node.at, credential_header(node)?)));
    let mut headers = Vec::new();
    for (at, header) in found.unwrap_or_default() {
        if headers.contains(&header) {
            gate.report.error(at, Mistake::new(format!("`{header}` is listed twice")));
        }
        headers.push(header);
    }
    headers
}

fn credential_header(node: &Node) -> Result<HeaderName, Mistake> {
    let given = name(node)?;
    let header = HeaderName::from_bytes(given.as_bytes())
        .map_err(|_| Mistake::new(format!("{} is not a header name", shown(given))))?;
    if header == http::header::AUTHORIZATION {
        return Err(Mistake::new("`authorization` always carries credentials")
            .help("leave it out; name only further headers"));
    }
    let reserved = NOT_FOR_CREDENTIALS.contains(&header.as_str());
    if reserved || header.as_str().replace('_', "-").starts_with("x-portcullis-") {
        return Err(Mistake::new(format!("`{header}` cannot carry a credential"))
            .help("name a header of your own, like \"x-api-key\""));
    }
    Ok(header)
}

/// One of the headers that are dropped unless they are named.
fn override_header(node: &Node) -> Result<HeaderName, Mistake> {
    let given = name(node)?;
    let known = OVERRIDES.iter().find(|known| known.as_str().eq_ignore_ascii_case(given));
    known.cloned().ok_or_else(|| {
        let names = OVERRIDES.iter().map(HeaderName::as_str);
        Mistake::new(format!("{} is not a header that is dropped unless it is named", shown(given)))
            .help(suggest::help(given, names))
    })
}

fn allowed(node: &Node) -> Result<Allowed, Mistake> {
    let items = super::read::array(node)?;
    let forms = items.iter().map(|item| text(item).map(str::to_owned));
    let forms = forms.collect::<Result<Vec<_>, _>>()?;
    Allowed::parse(&forms).map_err(|form| {
        Mistake::new(format!("{} is not a path form that can be let through", shown(&form)))
            .help(suggest::help(&form, Allowed::FORMS))
    })
}
