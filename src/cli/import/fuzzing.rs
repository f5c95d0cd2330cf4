//! What the fuzz targets call: reading without a store.

use super::fields::Reason;
use super::foreign::Foreign;
use super::line::Reader;
use super::lines::{Read, read_line as next_line};
use super::{envoy, haproxy_map, kong, redact, yaml};
use crate::core::digest::{DigestKey, DigestKeys};
use crate::core::record::{Grant, Timestamp};
use crate::legacy::verifier::Bounds;
use crate::store::Command;

/// Whose file it is.
#[derive(Clone, Copy, Debug)]
pub enum Gateway {
    /// Kong's.
    Kong,
    /// Envoy's.
    Envoy,
    /// HAProxy's.
    HaproxyMap,
}

/// Keys to read with: one, `k1`.
pub fn keys() -> DigestKeys {
    DigestKeys::new(DigestKey::new("k1", [0x0f; 32]), Vec::new())
}

/// What a line asks for, or why it is refused.
///
/// # Errors
/// The reason, as the rejects have it.
pub fn read_line(line: &str, keys: &DigestKeys) -> Result<Command, Reason> {
    let reader = Reader { keys, bounds: Bounds::default() };
    reader.read(line).map(|line| line.command).map_err(|reason| redact::hide_tokens(&reason))
}

/// A refused line, as the rejects have it.
pub fn redacted(line: &str) -> String {
    redact::redact(line)
}

/// What became of each credential of a file, with its line.
///
/// # Errors
/// `LINE: what is wrong` where the file as a whole cannot be read.
#[allow(clippy::type_complexity, reason = "a pair for each credential")]
pub fn read_foreign(
    gateway: Gateway,
    bytes: &[u8],
    keys: &DigestKeys,
) -> Result<Vec<(u64, Result<Command, Reason>)>, String> {
    let find = match gateway {
        Gateway::HaproxyMap => return Ok(read_map(bytes, keys)),
        Gateway::Kong => kong::find,
        Gateway::Envoy => envoy::find,
    };
    let found = yaml::parse(bytes).and_then(|documents| find(&documents));
    let credentials = found.map_err(|error| error.to_string())?;
    let foreign = foreign(false);
    let numbered = credentials.into_iter().map(|one| foreign.number(one, keys));
    Ok(numbered.map(|one| (one.number, one.read.map(|line| line.command))).collect())
}

fn read_map(mut bytes: &[u8], keys: &DigestKeys) -> Vec<(u64, Result<Command, Reason>)> {
    let foreign = foreign(true);
    let (mut found, mut buffer, mut number) = (Vec::new(), Vec::new(), 0);
    while let Ok(read @ (Read::Line | Read::TooLong)) = next_line(&mut bytes, &mut buffer) {
        number += 1;
        let text = str::from_utf8(&buffer).ok().filter(|_| read == Read::Line);
        if let Some(credential) = text.and_then(|text| haproxy_map::read(number, text)) {
            let one = foreign.number(credential, keys);
            found.push((one.number, one.read.map(|line| line.command)));
        }
    }
    found
}

fn foreign(hex_is_sha256: bool) -> Foreign {
    let grant = Grant {
        permission_set: "readonly".to_owned(),
        project_id: None,
        writable_environment_categories: Vec::new(),
    };
    Foreign { account: Some(7), grants: vec![grant], hex_is_sha256, now: Timestamp(1_700_000_000) }
}
