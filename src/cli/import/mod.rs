//! `portcullis import`: many lines at once, each one good or bad by itself.

mod batch;
mod fields;
mod line;
mod lines;
mod redact;
mod rejects;
mod strict;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use zeroize::Zeroizing;

use self::batch::{Applier, Fate, Numbered};
use self::line::{Line, Reader};
use self::lines::{LINE_LIMIT, Read, read_line};
use self::rejects::Rejects;
use super::exit::{Exit, Failure};
use super::session::{Opened, Session, store_path};
use super::values;
use crate::config::Config;
use crate::core::record::Plan;
use crate::legacy::verifier::Bounds;
use crate::store::{Actor, SqliteStore, Store};

pub(super) use redact::hide_tokens;

/// Most lines that are applied together.
const BATCH_LINES: usize = 16_000;
/// Bytes of lines at which a batch is applied though it has fewer.
const BATCH_BYTES: usize = 16 << 20;
/// An input of fewer lines is numbered change by change, so that gates have it in force at once;
/// after a larger one they take a snapshot.
const BULK_LINES: usize = 1_000;

/// What to import, and how.
#[derive(Debug, Args)]
#[command(after_help = "What is there already is left as it is and counted as unchanged: nothing \
    is opened, enabled or revived, and no IP rules are put out of force. A refused line goes to \
    the rejects with its number and the reason, without what could recognise the token; the others \
    are imported. Exit 3 if any line was refused.\n\n\
    Examples:\n  \
    portcullis import tokens.jsonl --dry-run\n  \
    portcullis import tokens.jsonl --create-accounts enterprise --rejects rejects.jsonl\n  \
    ssh other portcullis export | portcullis import -")]
pub(super) struct Import {
    /// The file, `-` for standard input
    file: PathBuf,
    /// The file's format
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    from: Format,
    /// Make accounts of this plan, and projects, where lines name some that are not there
    #[arg(long, value_name = "PLAN", value_parser = values::plan())]
    create_accounts: Option<Plan>,
    /// Make an empty store first where the configured one is not there
    #[arg(long, conflicts_with = "dry_run")]
    create_store: bool,
    /// Say what would happen and change nothing: everything is applied to a temporary copy
    #[arg(long)]
    dry_run: bool,
    /// Write refused lines to this file, as JSONL; else to standard error
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
}

/// Formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// What `export` writes
    Jsonl,
}

/// What became of the lines.
#[derive(Debug, Default, Serialize)]
struct Summary {
    lines: u64,
    added: u64,
    unchanged: u64,
    rejected: u64,
}

pub(super) fn run(import: &Import, session: &mut Session<'_>) -> Result<(), Failure> {
    let Format::Jsonl = import.from;
    let Opened { config, store } =
        if import.create_store { session.open_or_create() } else { session.open() }?;
    let input = Input::open(import, session)?;
    let rejects = open_rejects(import, &input, session)?;
    let summary = if import.dry_run {
        let scratch = Scratch::of(&store, &config)?;
        import_lines(import, input, rejects, &scratch.store, &config, session)
    } else {
        import_lines(import, input, rejects, &store, &config, session)
    }?;
    if session.json {
        session.print_json(&summary)?;
    }
    if summary.rejected > 0 { Err(Failure::silent(Exit::Invalid)) } else { Ok(()) }
}

/// What is read.
enum Input {
    Stdin,
    File { path: PathBuf, reader: BufReader<File> },
}

impl Input {
    fn open(import: &Import, session: &Session<'_>) -> Result<Self, Failure> {
        if import.file == Path::new("-") {
            return Ok(Self::Stdin);
        }
        let path = session.path(&import.file);
        let file = File::open(&path).map_err(|error| Failure::file(&path, "read", &error))?;
        Ok(Self::File { path, reader: BufReader::with_capacity(1 << 18, file) })
    }

    fn name(&self) -> String {
        match self {
            Self::Stdin => "-".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }
}

fn open_rejects(import: &Import, input: &Input, session: &Session<'_>) -> Result<Rejects, Failure> {
    let Some(given) = &import.rejects else { return Ok(Rejects::Notes { input: input.name() }) };
    let path = session.path(given);
    if let Input::File { path: read, .. } = input
        && let (Ok(read), Ok(written)) = (read.canonicalize(), path.canonicalize())
        && read == written
    {
        return Err(Failure::usage("--rejects names the file that is read: name another"));
    }
    Rejects::file(&path).map_err(|error| Failure::file(&path, "written", &error))
}

/// A copy of the store that is gone afterwards.
struct Scratch {
    store: SqliteStore,
    _folder: tempfile::TempDir,
}

impl Scratch {
    /// Copies the store beside itself, where there is room for it and nobody else may look.
    fn of(store: &SqliteStore, config: &Config) -> Result<Self, Failure> {
        let beside = store_path(config).parent().filter(|path| !path.as_os_str().is_empty());
        let beside = beside.unwrap_or(Path::new("."));
        let folder = tempfile::Builder::new()
            .prefix(".portcullis-dry-run-")
            .tempdir_in(beside)
            .map_err(|error| Failure::file(beside, "written", &error))?;
        let copy = folder.path().join("store.db");
        store.copy_to(&copy)?;
        Ok(Self {
            store: SqliteStore::open(&copy, crate::app::store_rules(config))?,
            _folder: folder,
        })
    }
}

fn import_lines(
    import: &Import,
    mut input: Input,
    rejects: Rejects,
    store: &dyn Store,
    config: &Config,
    session: &mut Session<'_>,
) -> Result<Summary, Failure> {
    let mut importer = Importer {
        reader: Reader { keys: &config.keys, bounds: Bounds::default() },
        applier: Applier::new(store, &config.keys, import.create_accounts),
        rejects,
        name: input.name(),
        buffer: Zeroizing::new(Vec::new()),
        number: 0,
        summary: Summary::default(),
    };
    let mut actor = None;
    let outcome = loop {
        let mut batch = match importer.next_batch(&mut input, session) {
            Ok(batch) => batch,
            Err(failure) => break Err(failure),
        };
        if batch.is_empty() {
            break Ok(());
        }
        let actor = actor.get_or_insert_with(|| actor_for(&batch));
        if let Err(failure) = importer.apply(&mut batch, actor, session) {
            break Err(failure);
        }
        importer.show_progress(session);
    };
    // Also after a failure: what was stored before it must reach the gates.
    if actor.is_some_and(|actor| actor.bulk) && importer.summary.added > 0 {
        store.rebase()?;
    }
    outcome?;
    importer.finish(import.dry_run, session)
}

/// The first batch tells how large the input is: if it is a small one, it is all of it. A token
/// that was rotated before it became valid is taken back only as part of a bulk import.
fn actor_for(first: &[Numbered]) -> Actor {
    let never_valid = |numbered: &Numbered| numbered.read.as_ref().is_ok_and(Line::is_never_valid);
    if first.len() >= BULK_LINES || first.iter().any(never_valid) {
        Actor::importer()
    } else {
        Actor::operator()
    }
}

/// Reads and applies batch by batch.
struct Importer<'a> {
    reader: Reader<'a>,
    applier: Applier<'a>,
    rejects: Rejects,
    name: String,
    /// The line that is read; it may hold a secret.
    buffer: Zeroizing<Vec<u8>>,
    number: u64,
    summary: Summary,
}

impl Importer<'_> {
    /// The next lines, empty ones left out; nothing at the end.
    fn next_batch(
        &mut self,
        input: &mut Input,
        session: &mut Session<'_>,
    ) -> Result<Vec<Numbered>, Failure> {
        let source: &mut dyn BufRead = match input {
            Input::Stdin => &mut *session.around.stdin,
            Input::File { reader, .. } => reader,
        };
        let mut batch = Vec::with_capacity(BATCH_LINES);
        let mut bytes = 0;
        while batch.len() < BATCH_LINES && bytes < BATCH_BYTES {
            let read = read_line(source, &mut self.buffer).map_err(|error| {
                Failure::failed(format!("{} cannot be read: {error}", self.name))
            })?;
            match read {
                Read::End => break,
                Read::Line | Read::TooLong => self.number += 1,
            }
            bytes += self.buffer.len();
            batch.extend(self.read(read == Read::TooLong));
        }
        Ok(batch)
    }

    /// Reads the line in the buffer; `None` where it is empty.
    fn read(&self, too_long: bool) -> Option<Numbered> {
        let number = self.number;
        let unreadable =
            |reason: &str| Some(Numbered { number, text: None, read: Err(reason.to_owned()) });
        if too_long {
            return unreadable(&format!("the line is longer than {LINE_LIMIT} bytes"));
        }
        let Ok(text) = std::str::from_utf8(&self.buffer) else {
            return unreadable("the line is not UTF-8");
        };
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        if text.trim_ascii().is_empty() {
            return None;
        }
        let read = self.reader.read(text);
        Some(Numbered { number, text: Some(Zeroizing::new(text.to_owned())), read })
    }

    fn apply(
        &mut self,
        batch: &mut [Numbered],
        actor: &Actor,
        session: &mut Session<'_>,
    ) -> Result<(), Failure> {
        let fates = self.applier.apply(batch, actor)?;
        for (numbered, fate) in batch.iter().zip(fates) {
            self.summary.lines += 1;
            match fate {
                Fate::Added => self.summary.added += 1,
                Fate::Unchanged => self.summary.unchanged += 1,
                Fate::Rejected(reason) => {
                    self.summary.rejected += 1;
                    let text = numbered.text.as_deref().map(String::as_str);
                    self.rejects
                        .push(numbered.number, &reason, text, session.around.stderr)
                        .map_err(|error| rejects_failed(&error))?;
                }
            }
        }
        Ok(())
    }

    fn show_progress(&self, session: &mut Session<'_>) {
        if session.around.stderr_is_terminal {
            session.say_raw(&format!("\r{} lines", self.summary.lines));
        }
    }

    fn finish(mut self, dry_run: bool, session: &mut Session<'_>) -> Result<Summary, Failure> {
        self.rejects.flush().map_err(|error| rejects_failed(&error))?;
        let Summary { lines, added, unchanged, rejected } = self.summary;
        let return_to_start = if session.around.stderr_is_terminal { "\r" } else { "" };
        let would = if dry_run { " (dry run: nothing was changed)" } else { "" };
        session.say(&format!(
            "{return_to_start}{lines} lines: {added} added, {unchanged} unchanged, {rejected} \
             rejected{would}"
        ));
        if self.applier.made > 0 {
            session.say(&format!("{} accounts and projects were made for them", self.applier.made));
        }
        Ok(self.summary)
    }
}

fn rejects_failed(error: &std::io::Error) -> Failure {
    Failure::failed(format!("the rejects cannot be written: {error}"))
}
