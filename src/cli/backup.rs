//! `portcullis backup`: a copy of the store as it was at one moment.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::exit::Failure;
use super::session::{Opened, Session};
use super::whole_file::WholeFile;
use crate::store::BackupFacts;
use crate::time::format_time;

/// Where to.
#[derive(Debug, Args)]
#[command(after_help = "The copy is of one moment, whoever serves or writes meanwhile, and waits \
    for nobody. It appears under its name once all of it is on the disk, readable for its owner \
    alone. Digests and hashes are in it, secrets and digest.key are not: a backup is of use \
    together with the keys only.\n\n\
    Example:\n  portcullis backup /var/backups/portcullis-$(date +%F).db")]
pub(super) struct Backup {
    /// The file
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

/// What is in a backup.
#[derive(Debug, Serialize)]
pub(super) struct BackupShape<'b> {
    file: String,
    store: &'b str,
    epoch: u64,
    sequence: u64,
    made_at: Option<String>,
    accounts: u64,
    tokens: u64,
}

impl<'b> BackupShape<'b> {
    pub(super) fn new(file: &std::path::Path, facts: &'b BackupFacts) -> Self {
        let BackupFacts { cursor, made_at, accounts, tokens, key_ids: _ } = facts;
        Self {
            file: file.display().to_string(),
            store: cursor.store(),
            epoch: cursor.epoch(),
            sequence: cursor.position(),
            made_at: made_at.map(format_time),
            accounts: *accounts,
            tokens: *tokens,
        }
    }

    /// The same for people.
    pub(super) fn line(&self) -> String {
        let Self { file, store: _, epoch, sequence, made_at, accounts, tokens } = self;
        let made_at = made_at.as_deref().unwrap_or("at an unknown time");
        format!(
            "{file}: {accounts} accounts, {tokens} tokens, epoch {epoch}, change {sequence}, made {made_at}"
        )
    }
}

pub(super) fn run(backup: &Backup, session: &mut Session<'_>) -> Result<(), Failure> {
    let file = WholeFile::begin(session.path(&backup.file), backup.force)?;
    let Opened { config: _, store } = session.open()?;
    let facts = store.back_up_to(file.path(), session.around.now)?;
    let target = file.target().to_owned();
    file.finish()?;
    let shape = BackupShape::new(&target, &facts);
    let line = shape.line();
    session.report(&shape, &line)
}
