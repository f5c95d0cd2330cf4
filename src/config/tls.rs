//! `tls = { … }`: certificates, keys and authorities, read and made ready.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::env::Environment;
use super::files::{self, Files};
use super::read::{Table, array, name};
use super::report::Mistake;
use super::tree::{Node, Value};
use crate::tls::{
    CertifiedPair, ClientTls, MinVersion, RootCertStore, ServerTls, TlsError, roots, system_roots,
};

const MIN_VERSIONS: [(&str, MinVersion); 2] =
    [("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];
const PAIR: &str = "write certificate = \"tls.crt\", key = \"tls.key\"";

/// Reads `tls` of `[gate]`: several certificates, of which the names that they are for choose.
/// `None` where there is none or a mistake, which is reported.
pub(super) fn of_gate(gate: &Table<'_>, files: &Files) -> Option<ServerTls> {
    let tls = table(gate, "tls")?;
    tls.allow(&["certificates", "client_ca", "min_version"]);
    let min_version = tls.word("min_version", &MIN_VERSIONS).unwrap_or(MinVersion::Tls12);
    let nodes: &[Node] = tls.take("certificates", array).unwrap_or_default();
    if nodes.is_empty() {
        let example = "write certificates = [{ certificate = \"tls.crt\", key = \"tls.key\" }]";
        tls.error(
            "certificates",
            Mistake::new("at least one certificate is required").help(example),
        );
    }
    let pairs = nodes.iter().map(|node| {
        let item = Table::of("[gate] tls.certificates".to_owned(), node, tls.report)?;
        item.allow(&["certificate", "key"]);
        pair(&item, files)
    });
    // All of them, so that every mistake is told at once.
    let pairs: Vec<Option<CertifiedPair>> = pairs.collect();
    let client_ca = authorities(&tls, "client_ca", files);
    let pairs = pairs.into_iter().collect::<Option<Vec<_>>>()?;
    if pairs.is_empty() || (tls.text("client_ca").is_some() && client_ca.is_none()) {
        return None;
    }
    let client_ca = client_ca.as_ref().map(|(roots, from)| (roots.clone(), from.as_slice()));
    report(&tls, "certificates", ServerTls::new(&pairs, client_ca, min_version, true))
}

/// Whether clients of the gate must show certificates.
pub(super) fn asks_clients(root: &Table<'_>) -> bool {
    // What is wrong with any of it is told where it is read.
    let tls = root.node("gate").and_then(|gate| within(gate, "tls"));
    let client_ca = tls.and_then(|tls| within(tls, "client_ca"));
    matches!(client_ca, Some(Node { value: Value::Text(path), .. }) if !path.is_empty())
}

fn within<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Value::Table(entries) = &node.value else { return None };
    Some(&entries.get(key)?.node)
}

/// Reads `tls` of `[control]`: one certificate.
pub(super) fn of_control(control: &Table<'_>, files: &Files) -> Option<ServerTls> {
    let tls = table(control, "tls")?;
    tls.allow(&["certificate", "key"]);
    let pair = pair(&tls, files)?;
    report(&tls, "certificate", ServerTls::new(&[pair], None, MinVersion::Tls12, false))
}

/// Reads `tls` of something that the gate calls: `ca`, `certificate` and `key`, `sni`. Without
/// `ca`, what the system trusts is trusted.
pub(super) fn of_client(
    of: &Table<'_>,
    files: &Files,
    environment: &Environment,
    alpn: &[&[u8]],
) -> Option<ClientTls> {
    let tls = match of.node("tls") {
        Some(_) => table(of, "tls")?,
        None => Table::nothing("tls", of),
    };
    tls.allow(&["ca", "certificate", "key", "sni"]);
    let authorities = match tls.text("ca") {
        Some(_) => authorities(&tls, "ca", files),
        None => of_system(&tls, files, environment),
    };
    let shows = tls.text("certificate").is_some() || tls.text("key").is_some();
    let pair = if shows { Some(pair(&tls, files)?) } else { None };
    let (roots, from) = authorities?;
    let made = ClientTls::new((roots, &from), pair.as_ref(), tls.text("sni"), alpn);
    report(&tls, "sni", made)
}

fn table<'t>(of: &Table<'t>, key: &str) -> Option<Table<'t>> {
    Table::of(of.labelled(key), of.node(key)?, of.report)
}

type Authorities = (Arc<RootCertStore>, Vec<u8>);

/// The authorities in the file that `key` names.
fn authorities(tls: &Table<'_>, key: &str, files: &Files) -> Option<Authorities> {
    let pem = files.open(tls, key, tls.text(key)?, |_, file| whole(file))?;
    Some((report(tls, key, roots(&pem))?, pem.to_vec()))
}

fn of_system(tls: &Table<'_>, files: &Files, environment: &Environment) -> Option<Authorities> {
    let Some(file) = system_roots(environment.get("SSL_CERT_FILE").map(String::as_str)) else {
        let message = "nothing says whom to trust: this system has no certificates of authorities";
        tls.error(
            "ca",
            Mistake::new(message).help("name a file of them: tls = { ca = \"ca.crt\" }"),
        );
        return None;
    };
    let pem = files.open(tls, "ca", &file.to_string_lossy(), |_, file| whole(file))?;
    Some((report(tls, "ca", roots(&pem))?, pem.to_vec()))
}

/// The certificate and key that `certificate` and `key` name.
fn pair(table: &Table<'_>, files: &Files) -> Option<CertifiedPair> {
    let read = |key: &str| {
        let name = table.required(key, PAIR, name)?;
        files.open(table, key, name, |_: &Path, file| whole(file))
    };
    let (certificate, key) = (read("certificate"), read("key"));
    let made = CertifiedPair::new(&certificate?, &key?);
    let at = match &made {
        Err(TlsError::NoKey | TlsError::Key) => "key",
        _ => "certificate",
    };
    report(table, at, made)
}

fn whole(file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    files::read_into(file, &mut bytes)?;
    Ok(bytes)
}

/// What was made, or a report at `key` of why it was not.
fn report<T>(table: &Table<'_>, key: &str, made: Result<T, TlsError>) -> Option<T> {
    let named = || table.text(key).map(|name| format!("`{name}`: ")).unwrap_or_default();
    made.map_err(|error| table.error(key, Mistake::new(format!("{}{error}", named())))).ok()
}
