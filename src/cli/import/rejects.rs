//! Where refused lines go: a file of JSONL, or standard error.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

use super::redact::{hide_tokens, redact};

/// A refused line, as the file has it.
#[derive(Serialize)]
struct Reject<'l> {
    line: u64,
    reason: &'l str,
    input: &'l str,
}

/// Takes refused lines in input order.
pub(super) enum Rejects {
    /// JSONL.
    File(BufWriter<File>),
    /// `FILE:LINE: reason`.
    Notes {
        /// What people know the input by.
        input: String,
    },
}

impl Rejects {
    /// Opens the file, emptying it, readable for its owner alone.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self::File(BufWriter::new(file)))
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
        match self {
            Self::Notes { input } => writeln!(stderr, "{input}:{line}: {reason}"),
            Self::File(file) => {
                let input = text.map_or_else(|| super::redact::HIDDEN.to_owned(), redact);
                serde_json::to_writer(&mut *file, &Reject { line, reason, input: &input })?;
                file.write_all(b"\n")
            }
        }
    }

    /// Writes out what is still in memory.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Notes { .. } => Ok(()),
        }
    }
}
