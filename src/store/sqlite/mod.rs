//! The store in a SQLite database.
//!
//! One thread writes, and gathers what waits for it into one durable commit (`writer`); what a
//! command does is in `execute` and the files beside it. Reading goes over connections of its
//! own (`readers`), each read in one transaction. Several processes may have the file open.

mod accounts;
mod audit;
mod backup;
mod execute;
mod feed;
mod ids;
mod ip_rules;
mod readers;
mod restore;
mod rows;
mod schema;
mod tally;
mod tokens;
mod trail;
mod uses;
mod views;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rusqlite::{Connection, ErrorCode};

pub use self::backup::BackupFacts;
use self::readers::Readers;
pub use self::restore::{Carried, Difference, Restore, Restored};
use self::writer::{Work, Writer};
use super::{
    AccountView, Actor, Anchor, AuditEntry, AuditFilter, AuditReport, Changes, Command, Cursor,
    IdView, IpRuleView, LegacyUse, Outcome, Owner, Page, ProjectView, Rules, SnapshotPart, Store,
    StoreError, TokenFilter, TokenPage, TokenUse, TokenView, TopToken, UserView, VerifyCost,
};
use crate::core::record::{AccountId, Record, Timestamp, TokenId, UserId, Verifier};

/// The store in a SQLite database: one file, one writer, readers beside it.
pub struct SqliteStore {
    path: PathBuf,
    rules: Arc<ArcSwap<Rules>>,
    readers: Readers,
    writer: Writer,
}

impl SqliteStore {
    /// Makes an empty store in a new file, readable for its owner alone.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where there is a file already, or the database's.
    pub fn create(path: &Path, rules: Rules) -> Result<Self, StoreError> {
        schema::create(path, &rules.audit_keys)?;
        Self::open(path, rules)
    }

    /// Opens a store, bringing its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where there is no file, or the database's.
    pub fn open(path: &Path, rules: Rules) -> Result<Self, StoreError> {
        let connection = schema::open(path, &rules.audit_keys)?;
        Ok(Self::over(path, connection, rules))
    }

    /// Writes a copy of one moment into a new file, without keeping anybody waiting. The file is
    /// as readable as the process makes files: put it where nobody else can look.
    ///
    /// # Errors
    /// The database's, also where there is a file already.
    pub fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        backup::copy(&self.path, path)
    }

    /// Writes a backup into an empty file: a copy of one moment that says when it was made.
    ///
    /// # Errors
    /// The database's.
    pub fn back_up_to(&self, path: &Path, now: Timestamp) -> Result<BackupFacts, StoreError> {
        backup::copy(&self.path, path)?;
        backup::finish(path, now)
    }

    /// Checks the backup in the file at `from`, which is only read, and copies it to `to`, for
    /// [`Self::open`] to bring its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Database`] where it is damaged or no store, or the database's.
    pub fn take_in(from: &Path, to: &Path) -> Result<(), StoreError> {
        backup::take_in(from, to)
    }

    /// What is in a backup that was taken in.
    ///
    /// # Errors
    /// The database's.
    pub fn backup_facts(&self) -> Result<BackupFacts, StoreError> {
        self.readers.read(backup::facts)
    }

    /// What would change if the backup that was taken in at `copy` were restored.
    ///
    /// # Errors
    /// The database's.
    pub fn compare(&self, copy: &Path) -> Result<Difference, StoreError> {
        restore::compare(&self.path, copy)
    }

    /// Puts what was taken in at `copy` in the place of everything in this store, in one
    /// transaction and in a new epoch, after writing what was there to `kept`.
    ///
    /// # Errors
    /// The database's: then nothing has changed.
    pub fn exchange(
        &self,
        copy: &Path,
        kept: &Path,
        restore: &Restore,
    ) -> Result<Restored, StoreError> {
        restore::exchange(&self.path, copy, kept, &self.rules.load(), restore)
    }

    /// Makes what was taken in at `copy` a store at `path`, where there is none.
    ///
    /// # Errors
    /// The database's, also where there is a file already.
    pub fn place(
        copy: &Path,
        path: &Path,
        rules: &Rules,
        restore: &Restore,
    ) -> Result<Restored, StoreError> {
        restore::place(copy, path, rules, restore)
    }

    /// Gives what there is of the files of a store that cannot be used another name. Whether the
    /// main one was there.
    ///
    /// # Errors
    /// [`StoreError::Database`], with what the operating system says.
    pub fn set_aside(path: &Path, kept: &Path) -> Result<bool, StoreError> {
        restore::set_aside(path, kept)
    }

    /// Puts other rules in force for the commands that follow: after a reload.
    pub fn replace_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    fn over(path: &Path, connection: Connection, rules: Rules) -> Self {
        let rules = Arc::new(ArcSwap::from_pointee(rules));
        Self {
            path: path.to_owned(),
            readers: Readers::new(path.to_owned(), connection),
            writer: Writer::new(path.to_owned(), Arc::clone(&rules)),
            rules,
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store for SqliteStore {
    fn apply_all(&self, actor: &Actor, commands: Vec<Command>) -> Vec<Result<Outcome, StoreError>> {
        if commands.is_empty() {
            return Vec::new();
        }
        let expected = commands.len();
        let work = Work::Commands { actor: actor.clone(), commands };
        self.writer.submit(work).unwrap_or_else(|error| vec![Err(error); expected])
    }

    fn rebase(&self) -> Result<(), StoreError> {
        self.writer.submit(Work::Rebase)?.into_iter().try_for_each(|outcome| outcome.map(|_| ()))
    }

    fn snapshot(
        &self,
        sink: &mut dyn FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<Cursor, StoreError> {
        self.readers.read(|connection| feed::snapshot(connection, sink))
    }

    fn counted_snapshot(
        &self,
        sink: &mut dyn FnMut(SnapshotPart) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.readers.read(|connection| {
            sink(SnapshotPart::Contents(feed::contents(connection)?))?;
            feed::snapshot(connection, &mut |record| sink(SnapshotPart::Record(record)))?;
            Ok(())
        })
    }

    fn changes_after(&self, cursor: &Cursor, limit: usize) -> Result<Changes, StoreError> {
        self.readers.read(|connection| feed::changes_after(connection, cursor, limit))
    }

    fn leads_on(&self, cursor: &Cursor, limit: u64) -> Result<bool, StoreError> {
        self.readers.read(|connection| feed::leads_on(connection, cursor, limit))
    }

    fn data_version(&self) -> Result<u64, StoreError> {
        self.readers.data_version()
    }

    fn accounts(&self) -> Result<Vec<AccountView>, StoreError> {
        self.readers.read(views::accounts)
    }

    fn account(&self, id: AccountId) -> Result<AccountView, StoreError> {
        self.readers.read(|connection| views::account(connection, id))
    }

    fn projects(&self, account: AccountId) -> Result<Vec<ProjectView>, StoreError> {
        self.readers.read(|connection| views::projects(connection, account))
    }

    fn users(&self, account: AccountId) -> Result<Vec<UserView>, StoreError> {
        self.readers.read(|connection| views::users(connection, account))
    }

    fn user(&self, account: AccountId, id: UserId) -> Result<UserView, StoreError> {
        self.readers.read(|connection| views::user(connection, account, id))
    }

    fn ip_rules(&self, account: AccountId) -> Result<Vec<IpRuleView>, StoreError> {
        self.readers.read(|connection| views::ip_rules(connection, account))
    }

    fn ids(&self, account: AccountId) -> Result<Vec<IdView>, StoreError> {
        self.readers.read(|connection| views::ids(connection, account))
    }

    fn tokens(
        &self,
        filter: &TokenFilter,
        sink: &mut dyn FnMut(TokenView) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.readers.read(|connection| views::tokens(connection, filter, sink))
    }

    fn token_page(
        &self,
        account: AccountId,
        owner: Owner,
        page: Page,
    ) -> Result<TokenPage, StoreError> {
        self.readers.read(|connection| views::token_page(connection, account, owner, page))
    }

    fn token(&self, id: TokenId) -> Result<TokenView, StoreError> {
        self.readers.read(|connection| views::token(connection, id))
    }

    fn record_uses(&self, uses: &[TokenUse], costs: &[VerifyCost]) -> Result<(), StoreError> {
        self.writer.submit(Work::Uses(uses.to_vec(), costs.to_vec())).map(drop)
    }

    fn uses_since(&self) -> Result<Timestamp, StoreError> {
        self.readers.read(uses::counted_since)
    }

    fn token_use(&self, id: TokenId) -> Result<Option<TokenUse>, StoreError> {
        self.readers.read(|connection| uses::of_token(connection, id))
    }

    fn token_uses(&self, filter: &TokenFilter) -> Result<Vec<TokenUse>, StoreError> {
        self.readers.read(|connection| uses::of_tokens(connection, filter))
    }

    fn top_tokens(
        &self,
        account: Option<AccountId>,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<TopToken>, StoreError> {
        self.readers.read(|connection| uses::top(connection, account, since, limit))
    }

    fn legacy_uses(
        &self,
        account: Option<AccountId>,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<LegacyUse>, StoreError> {
        self.readers.read(|connection| uses::legacy(connection, account, since, now))
    }

    fn token_by_verifier(&self, verifier: &Verifier) -> Result<Option<TokenView>, StoreError> {
        self.readers.read(|connection| views::token_by_verifier(connection, verifier))
    }

    fn audit_count(&self, account: AccountId) -> Result<u64, StoreError> {
        self.readers.read(|connection| audit::count(connection, account))
    }

    fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        self.readers.read(|connection| audit::entries(connection, filter))
    }

    fn verify_audit(
        &self,
        start: Option<&Anchor>,
        expected: &[Anchor],
    ) -> Result<AuditReport, StoreError> {
        let rules = self.rules.load();
        self.readers
            .read(|connection| audit::verify(connection, &rules.audit_keys, start, expected))
    }
}

/// Messages of the database name tables and columns, never what is in them.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let help = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => {
                "; another process has been writing for long: try again when it is done"
            }
            Some(ErrorCode::DiskFull) => "; make room where the file is, nothing was stored",
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                "; check the owner and mode of the file and of its folder"
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                "; restore a backup with `portcullis restore`"
            }
            _ => "",
        };
        Self::Database(format!("{error}{help}"))
    }
}
