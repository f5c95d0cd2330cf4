//! `portcullis restore`: a backup in the place of the store.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tempfile::TempDir;

use super::backup::BackupShape;
use super::exit::{Exit, Failure};
use super::session::{Session, store_path};
use super::whole_file::{folder_of, sync_folder};
use crate::config::Config;
use crate::store::{
    self, BackupFacts, Carried, Difference, Restored, Rules, SqliteStore, StoreError,
};

/// What to restore, and how.
#[derive(Debug, Args)]
#[command(
    after_help = "The backup is checked first. What is in the store is replaced whole, in one \
    transaction, and kept beside it as STORE.replaced-TIME. Programs that have the store open go on \
    with what was restored: gates take a snapshot of the new epoch.\n\n\
    Changes since the backup are lost, but for one kind: nothing is ever revived. Tokens that were \
    revoked or came to expire earlier, and accounts that were closed or cancelled, stay so. IP \
    rules, plans, projects, users and ids are as the backup has them. The audit log goes on.\n\n\
    Example:\n  portcullis restore /var/backups/portcullis-2026-01-31.db --yes"
)]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Have what was revoked, shortened or closed since the backup work again
    #[arg(long)]
    revive: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct RestoreShape<'b> {
    #[serde(flatten)]
    backup: BackupShape<'b>,
    /// The epoch that begins.
    new_epoch: u64,
    /// Where what was replaced is.
    replaced: Option<String>,
    lost_changes: u64,
    lost_tokens: u64,
    kept_revoked: u64,
    kept_expiring: u64,
    kept_closed: u64,
}

/// What is where the store belongs.
enum Present {
    /// A store.
    Store(Box<SqliteStore>, Difference),
    /// Something that cannot be read as one.
    Unreadable,
    /// Nothing.
    Nothing,
}

/// A checked copy of the backup, beside the store, which is gone afterwards.
struct Copy {
    path: PathBuf,
    facts: BackupFacts,
    _folder: TempDir,
}

pub(super) fn run(restore: &Restore, session: &mut Session<'_>) -> Result<(), Failure> {
    let config = session.load_config()?;
    let live = store_path(&config)?;
    let file = session.path(&restore.file);
    let copy = Copy::of(&file, live, &config)?;
    let backup = BackupShape::new(&file, &copy.facts);
    session.say(&backup.line());
    warn_of_keys(&copy.facts, &config, session);
    let present = look(live, &copy, &config, restore)?;
    session.say(&consequences(&present, live, restore.revive));
    confirm(restore, session)?;
    let kept = beside(live, session);
    let how =
        store::Restore { actor: session.actor(), now: session.around.now, revive: restore.revive };
    let rules = crate::app::store_rules(&config);
    let (restored, difference, replaced) = match present {
        Present::Store(store, difference) => {
            (store.exchange(&copy.path, &kept, &how)?, difference, Some(kept))
        }
        Present::Unreadable | Present::Nothing => {
            let (restored, was_there) = replace_unreadable(&copy, live, &kept, &rules, &how)?;
            (restored, Difference::default(), was_there.then_some(kept))
        }
    };
    sync_folder(live)?;
    report(backup, restored, difference, replaced.as_deref(), session)
}

impl Copy {
    fn of(file: &Path, live: &Path, config: &Config) -> Result<Self, Failure> {
        File::open(file).map_err(|error| Failure::file(file, "read", &error))?;
        let folder = tempfile::Builder::new()
            .prefix(".portcullis-restore-")
            .tempdir_in(folder_of(live))
            .map_err(|error| Failure::file(folder_of(live), "written", &error))?;
        let path = folder.path().join("store.db");
        let invalid =
            |error: StoreError| Failure { exit: Exit::Invalid, message: Some(error.to_string()) };
        SqliteStore::take_in(file, &path).map_err(invalid)?;
        let facts = SqliteStore::open(&path, crate::app::store_rules(config))
            .and_then(|store| store.backup_facts())
            .map_err(invalid)?;
        Ok(Self { path, facts, _folder: folder })
    }
}

/// Sets aside what cannot be read, also what a lost store left beside it, and brings that back where
/// nothing can be put in its place. Whether the store's file was there.
fn replace_unreadable(
    copy: &Copy,
    live: &Path,
    kept: &Path,
    rules: &Rules,
    how: &store::Restore,
) -> Result<(Restored, bool), StoreError> {
    let was_there = SqliteStore::set_aside(live, kept)?;
    match SqliteStore::place(&copy.path, live, rules, how) {
        Ok(restored) => Ok((restored, was_there)),
        Err(error) => {
            // A store that has come meanwhile stays. The first error says what to do.
            if live.symlink_metadata().is_err() {
                let _ = SqliteStore::set_aside(kept, live);
            }
            Err(error)
        }
    }
}

/// Says which keys are missing: what was made with them is not recognised without.
fn warn_of_keys(facts: &BackupFacts, config: &Config, session: &mut Session<'_>) {
    let missing: Vec<&str> = facts
        .key_ids
        .iter()
        .map(String::as_str)
        .filter(|id| config.keys.find(id).is_none())
        .collect();
    if !missing.is_empty() {
        session.say(&format!(
            "warning: tokens of the backup were made with keys that are not in the digest keys \
             ({}): they are denied until those are there again",
            missing.join(", ")
        ));
    }
}

fn look(live: &Path, copy: &Copy, config: &Config, restore: &Restore) -> Result<Present, Failure> {
    if live.symlink_metadata().is_err() {
        return Ok(Present::Nothing);
    }
    let store = SqliteStore::open(live, crate::app::store_rules(config));
    let compared = store.and_then(|store| {
        let difference = store.compare(&copy.path)?;
        Ok(Present::Store(Box::new(store), difference))
    });
    match compared {
        Ok(present) => Ok(present),
        Err(_) if restore.revive => Ok(Present::Unreadable),
        Err(error) => Err(Failure::failed(format!(
            "{error}\nwhat was revoked since the backup cannot be read there, and would work \
             again: give --revive to restore all the same, after stopping what uses the store"
        ))),
    }
}

/// What restoring takes away and what it does not.
fn consequences(present: &Present, live: &Path, revive: bool) -> String {
    let live = live.display();
    let kept = if revive {
        "what was revoked, shortened or closed since WORKS AGAIN (--revive)"
    } else {
        "tokens that were revoked or shortened and accounts that were closed since stay so"
    };
    match present {
        Present::Store(_, Difference { same_store: true, changes, tokens }) => format!(
            "{live}: {changes} changes since then are undone, and {tokens} tokens made since \
             become unknown; {kept}"
        ),
        Present::Store(..) => format!(
            "{live} is another store than the backup is of: everything in it is replaced; {kept}"
        ),
        Present::Unreadable => format!(
            "{live} cannot be read and is set aside: what was revoked since the backup WORKS AGAIN"
        ),
        Present::Nothing => format!(
            "there is no store at {live}: what was revoked since the backup WORKS AGAIN; revoke it \
             anew"
        ),
    }
}

fn confirm(restore: &Restore, session: &mut Session<'_>) -> Result<(), Failure> {
    if restore.yes {
        return Ok(());
    }
    if !session.around.stderr_is_terminal {
        return Err(Failure::usage("nothing was restored: give --yes where nobody can be asked"));
    }
    session.say_raw("Restore it? Type yes: ");
    let answer = session.read_secret_line()?;
    if answer.as_slice() == b"yes" {
        return Ok(());
    }
    Err(Failure::failed("nothing was restored"))
}

/// Where what is replaced is kept.
fn beside(live: &Path, session: &Session<'_>) -> PathBuf {
    let time = jiff::Timestamp::from_second(session.around.now.0).unwrap_or_default();
    let mut name = live.as_os_str().to_owned();
    name.push(format!(".replaced-{}", time.strftime("%Y%m%dT%H%M%SZ")));
    PathBuf::from(name)
}

fn report(
    backup: BackupShape<'_>,
    Restored { epoch, carried }: Restored,
    difference: Difference,
    replaced: Option<&Path>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let Carried { revoked, expiring, unknown, accounts } = carried;
    let shape = RestoreShape {
        backup,
        new_epoch: epoch,
        replaced: replaced.map(|path| path.display().to_string()),
        lost_changes: difference.changes,
        lost_tokens: difference.tokens,
        kept_revoked: revoked + unknown,
        kept_expiring: expiring,
        kept_closed: accounts,
    };
    let mut line = format!(
        "restored, in epoch {epoch}; kept of what was replaced: {} revoked tokens, {expiring} \
         earlier ends, {accounts} closed accounts",
        revoked + unknown
    );
    if let Some(replaced) = &shape.replaced {
        line.push_str(&format!("\nwhat was replaced is in {replaced}"));
    }
    session.report(&shape, &line)
}

#[cfg(test)]
mod tests;
