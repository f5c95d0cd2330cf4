//! The store: the truth about accounts, projects, users, tokens, IP rules and id-index rows.
//!
//! Everything that writes goes through [`Store::apply`], which enforces the rules of the domain
//! once for every caller, writes the change, its audit event and its place in the change log in
//! one transaction, and returns only when that is durable. Gates never ask the store while a
//! request waits: they follow the change log by an opaque [`Cursor`].

mod audit;
mod check;
mod command;
mod cursor;
mod error;
mod sqlite;
mod view;

pub use audit::{
    Anchor, AnchorError, AuditEntry, AuditFilter, AuditKeys, AuditReport, Finding, FindingKind,
    Note, TokenTraces,
};
pub(crate) use check::{name as check_name, optional_name as check_optional_name};
pub use command::{Actor, ActorKind, Command, ImportedToken, IpRuleContents, NewToken, Outcome};
pub use cursor::Cursor;
pub use error::StoreError;
pub use sqlite::{BackupFacts, Carried, Difference, Restore, Restored, SqliteStore};
pub use view::{
    AccountView, COUNT_LIMIT, IdView, IpRuleView, LegacyUse, Owner, Page, ProjectView, TokenFilter,
    TokenPage, TokenUse, TokenView, TopToken, UserView, VerifyCost,
};

use std::sync::Arc;

use crate::core::permissions::PermissionSets;
use crate::core::record::{AccountId, Record, Timestamp, TokenId, UserId, Verifier};

/// The rules of the domain that depend on configuration.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which sets there are, their families and the plans that allow them.
    pub permission_sets: Arc<PermissionSets>,
    /// First second after the last one at which a token with a slow verifier may have been made.
    pub cutoff_end: Timestamp,
    /// Most tokens that may share a selector, or an account where they have none.
    pub candidates_limit: usize,
    /// What seals the audit log.
    pub audit_keys: AuditKeys,
}

/// What has happened since a cursor.
#[derive(Debug)]
pub enum Changes {
    /// The present state of everything that changed, accounts first, then in the order of the
    /// last change, and the cursor to go on from. Of at most as many changes as were asked for;
    /// empty when there is nothing. Some time after an import, things come with their account.
    Frame {
        /// The records to put in place of what was there.
        records: Vec<Record>,
        /// Where to go on.
        cursor: Cursor,
        /// What was stored in bulk on the way, which the records leave out.
        bulk: Bulk,
    },
    /// The cursor belongs to another store or epoch, or too much has happened: take a snapshot.
    Rebase,
}

/// Whether bulk imports stored something that no frame tells, so that followers need a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bulk {
    /// Nothing.
    #[default]
    Nothing,
    /// Something, and more may follow at once: a snapshot is best taken when it has been quiet
    /// for a while. An import that is killed says nothing else.
    Going,
    /// Something, and that was all of it: a snapshot is due.
    Done,
}

/// How much a snapshot holds, and from where a follower of it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Where it is.
    pub cursor: Cursor,
    /// Accounts.
    pub accounts: u64,
    /// Tokens.
    pub tokens: u64,
    /// Rows of id indexes.
    pub ids: u64,
}

/// Part of a snapshot that says first how much it is.
#[derive(Debug)]
pub enum SnapshotPart {
    /// How much there is; comes first, and once.
    Contents(Contents),
    /// One of the records.
    Record(Record),
}

/// The store as everything else sees it. One implementation a database.
pub trait Store: Send + Sync {
    /// Applies one command and returns when it is durable.
    ///
    /// # Errors
    /// [`StoreError`] says which rule of the domain or which part of the database refused it;
    /// then nothing has changed.
    fn apply(&self, actor: &Actor, command: Command) -> Result<Outcome, StoreError> {
        self.apply_all(actor, vec![command]).pop().expect("one result for each command")
    }

    /// Applies commands in order, in as few durable commits as possible: one that is refused
    /// leaves no trace and does not stop the others. One result for each command, in order.
    fn apply_all(&self, actor: &Actor, commands: Vec<Command>) -> Vec<Result<Outcome, StoreError>>;

    /// Notes in the change log that a bulk import is over ([`Bulk::Done`]).
    ///
    /// # Errors
    /// The database's.
    fn rebase(&self) -> Result<(), StoreError>;

    /// Hands every record of one consistent snapshot to `sink`, accounts before their tokens
    /// and ids, and returns the cursor from which to follow.
    ///
    /// # Errors
    /// The database's, or the first that `sink` returns.
    fn snapshot(
        &self,
        sink: &mut dyn FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<Cursor, StoreError>;

    /// Like [`Self::snapshot`], and says how much there is before the first record.
    ///
    /// # Errors
    /// The database's, or the first that `sink` returns.
    fn counted_snapshot(
        &self,
        sink: &mut dyn FnMut(SnapshotPart) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// What changed after the cursor, by at most `limit` changes (at least one).
    ///
    /// # Errors
    /// The database's.
    fn changes_after(&self, cursor: &Cursor, limit: usize) -> Result<Changes, StoreError>;

    /// Whether no more than `limit` changes, and nothing that was stored in bulk, lead on from the
    /// cursor to where the store is.
    ///
    /// # Errors
    /// The database's.
    fn leads_on(&self, cursor: &Cursor, limit: u64) -> Result<bool, StoreError>;

    /// A number that differs whenever another process or thread has committed: cheap to ask
    /// twenty times a second.
    ///
    /// # Errors
    /// The database's.
    fn data_version(&self) -> Result<u64, StoreError>;

    /// Every account, ascending.
    ///
    /// # Errors
    /// The database's.
    fn accounts(&self) -> Result<Vec<AccountView>, StoreError>;

    /// One account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the database's.
    fn account(&self, id: AccountId) -> Result<AccountView, StoreError>;

    /// The projects of an account, ascending.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the account, or the database's.
    fn projects(&self, account: AccountId) -> Result<Vec<ProjectView>, StoreError>;

    /// The users of an account, ascending.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the account, or the database's.
    fn users(&self, account: AccountId) -> Result<Vec<UserView>, StoreError>;

    /// One user of an account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the database's.
    fn user(&self, account: AccountId, id: UserId) -> Result<UserView, StoreError>;

    /// The IP rules of an account, by id: a rule of several prefixes is several views.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the account, or the database's.
    fn ip_rules(&self, account: AccountId) -> Result<Vec<IpRuleView>, StoreError>;

    /// The id-index rows of an account, by index and id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the account, or the database's.
    fn ids(&self, account: AccountId) -> Result<Vec<IdView>, StoreError>;

    /// Hands the tokens that the filter lets through to `sink`, by id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the filter's account, the database's, or the first that
    /// `sink` returns.
    fn tokens(
        &self,
        filter: &TokenFilter,
        sink: &mut dyn FnMut(TokenView) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Some of an account's tokens, by id, and how many there are.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the account, or the database's.
    fn token_page(
        &self,
        account: AccountId,
        owner: Owner,
        page: Page,
    ) -> Result<TokenPage, StoreError>;

    /// One token.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the database's.
    fn token(&self, id: TokenId) -> Result<TokenView, StoreError>;

    /// Adds what tokens were used, and what verifying legacy ones cost, since it was last called;
    /// durable when it returns. Neither an event nor a change that followers hear of. Tokens that
    /// are not in the store are left out, and so is what goes beyond [`COUNT_LIMIT`].
    ///
    /// # Errors
    /// The database's; then nothing was added.
    fn record_uses(&self, uses: &[TokenUse], costs: &[VerifyCost]) -> Result<(), StoreError>;

    /// When use began to be counted: of the time before, nothing is known.
    ///
    /// # Errors
    /// The database's.
    fn uses_since(&self) -> Result<Timestamp, StoreError>;

    /// The use of one token; `None` where it was never used.
    ///
    /// # Errors
    /// The database's.
    fn token_use(&self, id: TokenId) -> Result<Option<TokenUse>, StoreError>;

    /// The use of the tokens that the filter lets through, of those that were used, by id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the filter's account, or the database's.
    fn token_uses(&self, filter: &TokenFilter) -> Result<Vec<TokenUse>, StoreError>;

    /// The tokens with the most requests from the day of `since` on, most first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the account, or the database's.
    fn top_tokens(
        &self,
        account: Option<AccountId>,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<TopToken>, StoreError>;

    /// The tokens that are legacy ones and valid at `now`, of one account or all, that were used
    /// or guessed at from the day of `since` on: those with the most requests first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the account, or the database's.
    fn legacy_uses(
        &self,
        account: Option<AccountId>,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<LegacyUse>, StoreError>;

    /// The token that has exactly this digest, SHA-256 or hash, if any. Introspection tells no
    /// token from another: none.
    ///
    /// # Errors
    /// The database's.
    fn token_by_verifier(&self, verifier: &Verifier) -> Result<Option<TokenView>, StoreError>;

    /// The last entries of the audit log that the filter lets through, oldest first.
    ///
    /// # Errors
    /// The database's.
    fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError>;

    /// How many entries of the audit log concern the account.
    ///
    /// # Errors
    /// The database's.
    fn audit_count(&self, account: AccountId) -> Result<u64, StoreError>;

    /// Goes along the audit log, or what follows `start`, and says where it does not hold.
    /// Whatever is `expected` must be on the way.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where `start` is not in the log, or the database's.
    fn verify_audit(
        &self,
        start: Option<&Anchor>,
        expected: &[Anchor],
    ) -> Result<AuditReport, StoreError>;
}
