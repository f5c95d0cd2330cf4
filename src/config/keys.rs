//! `[keys]` and `digest.key`: the keys of the digests. Nothing of a key is ever shown.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::env::{self, Environment};
use super::files::{self, Files};
use super::read::Table;
use super::report::{Mistake, Report};
use super::schema;
use super::source::{At, Source, may_hold_secret};
use crate::core::digest::{DigestKey, DigestKeys};

const DEFAULT_FILE: &str = "digest.key";
const ID_LIMIT: usize = 32;
const KEY_BYTES: usize = 32;
const FORMAT: &str = "each line is ID:HEX, an id of 1 to 32 letters, digits, _ and -, and 64 hex \
                      digits; the first one makes new digests";

/// Reads `[keys]` and what it names; `None` where there is a mistake, which is reported.
pub(super) fn read(
    root: &Table<'_>,
    files: &Files,
    environment: &Environment,
) -> Option<DigestKeys> {
    let keys = root.section("keys");
    keys.allow(&schema::names(schema::keys("keys")));
    let file = keys.text("digest");
    match (file, keys.text("digest_env")) {
        (Some(_), Some(_)) => {
            keys.error(
                "digest_env",
                Mistake::new("both `digest` and `digest_env` say where the keys are")
                    .help("keep one of them; an empty `digest` counts as absent"),
            );
            None
        }
        (None, Some(variable)) => from_variable(&keys, variable, environment),
        (Some(file), None) => from_file(&keys, file, files),
        (None, None) => from_file(&keys, DEFAULT_FILE, files),
    }
}

fn from_variable(
    keys: &Table<'_>,
    variable: &str,
    environment: &Environment,
) -> Option<DigestKeys> {
    let value = env::value(variable, environment, keys, "digest_env", Some(FORMAT))?;
    let source = keys.report.add(Source::opaque(variable));
    let lines = value.split(['\n', ',']).map(|line| (At::whole(source), line));
    parse(lines, At::whole(source), keys.report)
}

fn from_file(keys: &Table<'_>, name: &str, files: &Files) -> Option<DigestKeys> {
    if may_hold_secret(name) && !name.contains('/') {
        keys.error(
            "digest",
            Mistake::new("`digest` names the file that holds the keys, not a key")
                .help("put the key into a file of mode 0600 and name that; replace this one"),
        );
        return None;
    }
    let (source, text) = files.open(keys, "digest", name, |path, file| load(path, file, keys))?;
    let lines = text.lines().enumerate().map(|(index, line)| (At::line(source, index + 1), line));
    parse(lines, At::whole(source), keys.report)
}

/// The whole of a file that holds a secret, and its number as a source. One that others can read
/// is reported.
pub(super) fn load(
    path: &Path,
    file: File,
    keys: &Table<'_>,
) -> io::Result<(usize, Zeroizing<String>)> {
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let source = keys.report.add(Source::opaque(path.display().to_string()));
    check_mode(metadata.permissions().mode(), At::whole(source), path, keys.report);
    // Room for the whole file at once: growing would leave unwiped copies behind.
    let room = usize::try_from(metadata.len()).unwrap_or(0).min(files::FILE_BYTES_LIMIT as usize);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room + 1));
    files::read_into(file, &mut bytes)?;
    std::str::from_utf8(&bytes).map_err(|error| files::not_text(&bytes, error))?;
    let text = String::from_utf8(std::mem::take(&mut *bytes));
    Ok((source, Zeroizing::new(text.expect("invariant: just checked"))))
}

/// Everyone: an error. The group: a warning, since that is how a mounted secret reaches a process
/// that is not root.
fn check_mode(mode: u32, at: At, path: &Path, report: &Report) {
    let path = path.display();
    let shown_mode = mode & 0o777;
    if mode & 0o007 != 0 {
        let message =
            format!("every user of this machine can use this file (mode {shown_mode:04o})");
        report.error(at, Mistake::new(message).help(format!(
            "chmod 600 {path} (for a mounted Kubernetes secret: defaultMode: 0440 with an fsGroup)"
        )));
    } else if mode & 0o070 != 0 {
        let message = format!("the file's group can use it (mode {shown_mode:04o})");
        report.warn(at, Mistake::new(message).help(format!("chmod 600 {path}")));
    }
}

fn parse<'a>(
    lines: impl Iterator<Item = (At, &'a str)>,
    whole: At,
    report: &Report,
) -> Option<DigestKeys> {
    let errors = report.errors();
    let mut keys: Vec<DigestKey> = Vec::new();
    for (number, (at, line)) in lines.enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line) {
            Ok(key) if keys.iter().any(|known| known.id() == key.id()) => {
                report.error(at, at_number(number, "an earlier key already has this id"));
            }
            Ok(key) => keys.push(key),
            Err(problem) => report.error(at, at_number(number, problem).help(FORMAT)),
        }
    }
    if keys.is_empty() && report.errors() == errors {
        report.error(whole, Mistake::new("there is no key").help(FORMAT));
    }
    let mut keys = keys.into_iter();
    let current = keys.next()?;
    Some(DigestKeys::new(current, keys.collect()))
}

/// Says the number in the text as well: a variable has no lines to point at.
fn at_number(index: usize, problem: &str) -> Mistake {
    Mistake::new(format!("line {}: {problem}", index + 1))
}

fn parse_line(line: &str) -> Result<DigestKey, &'static str> {
    let (id, digits) = line.split_once(':').ok_or("there is no `:` between an id and a key")?;
    let in_id = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !(1..=ID_LIMIT).contains(&id.len()) || !id.bytes().all(in_id) {
        return Err("the id must be 1 to 32 letters, digits, _ and -");
    }
    let digits = digits.trim();
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    if digits.len() != 2 * KEY_BYTES {
        return Err("the key must have 64 hex digits");
    }
    hex::decode_to_slice(digits, &mut *key).map_err(|_| "the key has something but hex digits")?;
    Ok(DigestKey::new(id, *key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_id_and_a_key() {
        let hex = "0f".repeat(32);
        assert_eq!(parse_line(&format!("k1:{hex}")).unwrap().id(), "k1");
        assert_eq!(parse_line(&format!("k-2_B: {}", hex.to_uppercase())).unwrap().id(), "k-2_B");
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_without_the_line() {
        let hex = "0f".repeat(32);
        let wrong = [hex.clone(), format!(":{hex}"), format!("k 1:{hex}"), "k1:0f".to_owned()];
        for line in wrong
            .iter()
            .chain([&format!("k1:{}zz", &hex[2..]), &format!("{}:{hex}", "k".repeat(33))])
        {
            let problem = parse_line(line).unwrap_err();
            assert!(!problem.contains("0f"), "{problem}");
        }
    }
}
