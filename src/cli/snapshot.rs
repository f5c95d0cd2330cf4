//! `portcullis snapshot`: what gates can start from, in a file.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::session::{Opened, Session};
use super::whole_file::WholeFile;
use crate::config::Config;
use crate::core::index::IndexBuilder;
use crate::feed::snapshot::{self, Counts, Header, SnapshotError};
use crate::time::format_time;

/// What to do with a snapshot.
#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// Write all that gates decide by, as it is now, into a file: digests, never a secret
    Build(Build),
    /// Say what a snapshot says of itself, without checking it
    Inspect(Which),
    /// Check every byte: nothing is damaged, nothing was changed, and an index can be made of it
    #[command(
        after_help = "Exit 3 if anything is wrong. The seal of a snapshot is made with a key \
        that is derived from the digest key: only who has that can make or check one.\n\n\
        Example:\n  portcullis snapshot verify portcullis.snapshot"
    )]
    Verify(Which),
}

/// Where to.
#[derive(Debug, Args)]
pub(super) struct Build {
    /// The file
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

/// Which one.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The file
    file: PathBuf,
}

/// A header for scripts.
#[derive(Debug, Serialize)]
struct HeaderShape<'h> {
    file: String,
    store: &'h str,
    epoch: u64,
    sequence: u64,
    made_at: String,
    key_id: &'h str,
    accounts: u64,
    tokens: u64,
    ids: u64,
}

pub(super) fn run(command: SnapshotCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Build(build) => self::build(&build, session),
        SnapshotCommand::Inspect(which) => inspect(&which, session),
        SnapshotCommand::Verify(which) => verify(&which, session),
    }
}

fn build(build: &Build, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut file = WholeFile::begin(session.path(&build.file), build.force)?;
    let target = file.target().to_owned();
    let Opened { config, store } = session.open()?;
    let out = BufWriter::new(file.file());
    let (now, key) = (session.around.now, config.keys.current());
    let header = snapshot::write_store(&store, out, now, key).map_err(|error| {
        Failure::failed(format!("{} cannot be written: {error}", target.display()))
    })?;
    file.finish()?;
    let shape = HeaderShape::new(&target, &header);
    session.report(&shape, &shape.line())
}

fn inspect(which: &Which, session: &mut Session<'_>) -> Result<(), Failure> {
    let path = session.path(&which.file);
    let header = snapshot::inspect(open(&path)?).map_err(|error| wrong(&path, &error))?;
    let shape = HeaderShape::new(&path, &header);
    if session.json {
        return session.print_json(&shape);
    }
    session.print(&shape.lines())
}

fn verify(which: &Which, session: &mut Session<'_>) -> Result<(), Failure> {
    let path = session.path(&which.file);
    let config = session.load_config()?;
    let header = check(&path, &config)?;
    let shape = HeaderShape::new(&path, &header);
    if session.json {
        return session.print_json(&shape);
    }
    session.print(&format!("{}: whole and unchanged\n", shape.line()))
}

/// Reads all of it, as a gate would.
fn check(path: &Path, config: &Config) -> Result<Header, Failure> {
    let wrong = |error: SnapshotError| wrong(path, &error);
    let (header, mut records) = snapshot::read(open(path)?, &config.keys).map_err(wrong)?;
    let mut index = IndexBuilder::new(Arc::new(config.policy()));
    for record in &mut records {
        index.add(record.map_err(wrong)?).map_err(|error| invalid(path, &error.to_string()))?;
    }
    records.expect_end().map_err(wrong)?;
    Ok(header)
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let file = File::open(path).map_err(|error| Failure::file(path, "read", &error))?;
    Ok(BufReader::with_capacity(1 << 18, file))
}

fn wrong(path: &Path, error: &SnapshotError) -> Failure {
    match error {
        SnapshotError::Io(error) => Failure::file(path, "read", error),
        other => invalid(path, &other.to_string()),
    }
}

fn invalid(path: &Path, why: &str) -> Failure {
    let message =
        format!("{}: {why}; build another with `portcullis snapshot build`", path.display());
    Failure { exit: Exit::Invalid, message: Some(message) }
}

impl<'h> HeaderShape<'h> {
    fn new(file: &Path, header: &'h Header) -> Self {
        let Header { key_id, cursor, made_at, counts } = header;
        let Counts { accounts, tokens, ids } = *counts;
        Self {
            file: file.display().to_string(),
            store: cursor.store(),
            epoch: cursor.epoch(),
            sequence: cursor.position(),
            made_at: format_time(*made_at),
            key_id,
            accounts,
            tokens,
            ids,
        }
    }

    fn line(&self) -> String {
        let Self { file, accounts, tokens, ids, epoch, sequence, .. } = self;
        format!(
            "{file}: {accounts} accounts, {tokens} tokens, {ids} ids, epoch {epoch}, change {sequence}"
        )
    }

    fn lines(&self) -> String {
        let Self { file: _, store, epoch, sequence, made_at, key_id, accounts, tokens, ids } = self;
        format!(
            "store     {store}\nepoch     {epoch}\nsequence  {sequence}\nmade at   {made_at}\n\
             sealed by {key_id}\naccounts  {accounts}\ntokens    {tokens}\nids       {ids}\n"
        )
    }
}
