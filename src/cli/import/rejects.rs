//! Where refused lines go: a file of JSONL, or standard error.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::redact::{hide_tokens, redact};

/// A refused line, as the file has it.
#[derive(Serialize)]
struct Reject<'l> {
    line: u64,
    reason: &'l str,
    input: &'l str,
}

/// Refused lines that are also noted on standard error where they go to a file: enough to see what
/// kind of mistake it is.
const NOTED_LIMIT: u64 = 5;

/// Takes refused lines in input order.
pub(super) struct Rejects {
    /// What people know the input by.
    input: String,
    /// JSONL; without it, all are noted as `INPUT:LINE: reason`.
    file: Option<(PathBuf, BufWriter<File>)>,
    count: u64,
}

impl Rejects {
    /// All of them to standard error.
    pub(super) fn notes(input: String) -> Self {
        Self { input, file: None, count: 0 }
    }

    /// Opens the file, emptying it, readable for its owner alone.
    pub(super) fn file(input: String, path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { input, file: Some((path.to_owned(), BufWriter::new(file))), count: 0 })
    }

    /// Notes a refused line; `text` is `None` where it could not be read as text at all.
    pub(super) fn push(
        &mut self,
        line: u64,
        reason: &str,
        text: Option<&str>,
        stderr: &mut dyn Write,
    ) -> io::Result<()> {
        let reason = &hide_tokens(reason);
        self.count += 1;
        if self.file.is_none() || self.count <= NOTED_LIMIT {
            writeln!(stderr, "{}:{line}: {reason}", self.input)?;
        }
        let Some((_, file)) = &mut self.file else { return Ok(()) };
        let input = text.map_or_else(|| super::redact::HIDDEN.to_owned(), redact);
        serde_json::to_writer(&mut *file, &Reject { line, reason, input: &input })?;
        file.write_all(b"\n")
    }

    /// Writes out what is still in memory; gives the file, where there is one with something in it.
    pub(super) fn finish(&mut self) -> io::Result<Option<&Path>> {
        let Some((path, file)) = &mut self.file else { return Ok(None) };
        file.flush()?;
        Ok((self.count > 0).then_some(path))
    }
}
