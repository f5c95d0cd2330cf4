//! Tests of the SQLite store.

mod audit;
mod commands;
mod durability;
mod follow;
mod management;
mod property;
mod rules;
mod upgrade;
mod uses;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::SqliteStore;
use crate::core::digest::{Digest, DigestKey, DigestKeys};
use crate::core::permissions::{Family, PermissionSetSpec, PermissionSets};
use crate::core::record::{
    AccountState, Grant, Licence, Plan, Record, Timestamp, TokenRecord, TokenState, Verifier,
};
use crate::store::{
    Actor, AuditKeys, Bulk, Changes, Command, Cursor, ImportedToken, NewToken, Outcome, Rules,
    Store, StoreError, TokenFilter, TokenView,
};

/// When the tokens of the tests are made.
const NOW: Timestamp = Timestamp(1_800_000_000);
/// First second after the cutoff.
const CUTOFF_END: Timestamp = Timestamp(1_689_724_800);
const BEFORE_CUTOFF: Timestamp = Timestamp(1_600_000_000);

/// A store in a folder of its own.
struct Fixture {
    store: SqliteStore,
    folder: TempDir,
}

impl Fixture {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::create(&folder.path().join("store.db"), rules()).unwrap();
        Self { store, folder }
    }

    /// Account 1 on enterprise with projects 10 and 11 and user 5; account 2 on starter.
    fn new() -> Self {
        let fixture = Self::empty();
        for command in [
            account(1, Plan::Enterprise),
            account(2, Plan::Starter),
            project(1, 10),
            project(1, 11),
            user(1, 5, Licence::Developer),
        ] {
            fixture.apply(command).unwrap();
        }
        fixture
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    /// The store as another process has it.
    fn second(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), rules()).unwrap()
    }

    fn apply(&self, command: Command) -> Result<Outcome, StoreError> {
        self.store.apply(&Actor::operator(), command)
    }

    fn import(&self, command: Command) -> Result<Outcome, StoreError> {
        self.store.apply(&Actor::operator().in_bulk(), command)
    }

    /// Adds the token and says its number.
    fn create(&self, token: NewToken) -> u64 {
        match self.apply(create(token)).unwrap() {
            Outcome::Changed { id } => id,
            Outcome::Unchanged { id } => panic!("token {id} was there already"),
        }
    }

    fn refusal(&self, command: Command) -> StoreError {
        let before = contents(&self.store);
        let refusal = self.apply(command).unwrap_err();
        assert_eq!(contents(&self.store), before, "a refused command leaves no trace");
        refusal
    }

    fn cursor(&self) -> Cursor {
        self.store.snapshot(&mut |_| Ok(())).unwrap()
    }

    fn frame(&self, after: &Cursor) -> Vec<Record> {
        match self.store.changes_after(after, 1000).unwrap() {
            Changes::Frame { records, .. } => records,
            Changes::Rebase => panic!("a frame was expected"),
        }
    }

    fn must_rebase(&self, after: &Cursor) -> bool {
        matches!(self.store.changes_after(after, 1000).unwrap(), Changes::Rebase)
    }

    /// What a follower is told of imports since.
    fn bulk(&self, after: &Cursor) -> Bulk {
        match self.store.changes_after(after, 1000).unwrap() {
            Changes::Frame { bulk, .. } => bulk,
            Changes::Rebase => panic!("a frame was expected"),
        }
    }

    fn tokens(&self) -> Vec<TokenView> {
        let mut tokens = Vec::new();
        let filter = TokenFilter::default();
        self.store
            .tokens(&filter, &mut |token| {
                tokens.push(token);
                Ok(())
            })
            .unwrap();
        tokens
    }

    /// Event, account, subject, and what was before and after, of every audit event.
    fn audit(&self) -> Vec<(String, Option<i64>, String, serde_json::Value)> {
        let sql = "SELECT event_type, account_id, subject_type || coalesce(':' || subject_id, ''),
                       json_object('before', json(before), 'after', json(after))
                   FROM audit_log ORDER BY sequence";
        self.raw(sql, |row| {
            let detail: String = row.get(3)?;
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, detail.parse().unwrap()))
        })
    }

    fn raw<T>(
        &self,
        sql: &str,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Vec<T> {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], read).unwrap().map(Result::unwrap).collect()
    }
}

fn rules() -> Rules {
    let spec = |name: &str, family, environment: &[&str], plans: &[Plan]| PermissionSetSpec {
        name: name.to_owned(),
        family,
        read: vec!["Projects".to_owned()],
        write: vec![],
        environment_write: environment.iter().map(|name| (*name).to_owned()).collect(),
        plans: plans.to_vec(),
    };
    let sets = PermissionSets::compile(vec![
        spec("job_admin", Family::Project, &[], &[Plan::Enterprise, Plan::Team]),
        spec("analyst", Family::Project, &["Runs"], &[Plan::Enterprise]),
        spec("owner", Family::Account, &[], &[Plan::Enterprise, Plan::Team]),
        spec("semantic_layer_only", Family::Project, &[], &[Plan::Enterprise, Plan::Starter]),
    ]);
    Rules {
        permission_sets: Arc::new(sets.unwrap()),
        cutoff_end: CUTOFF_END,
        candidates_limit: 2,
        audit_keys: audit_keys(&[1]),
    }
}

/// Keys `k1`, `k2` and so on, the current one first.
fn audit_keys(numbers: &[u8]) -> AuditKeys {
    let mut keys = numbers.iter().map(|n| DigestKey::new(format!("k{n}"), [*n; 32]));
    let current = keys.next().unwrap();
    AuditKeys::from(&DigestKeys::new(current, keys.collect()))
}

fn account(id: u64, plan: Plan) -> Command {
    Command::CreateAccount { id, name: format!("account {id}"), plan, state: AccountState::Open }
}

fn project(account_id: u64, id: u64) -> Command {
    Command::CreateProject { account_id, id, name: format!("project {id}") }
}

fn user(account_id: u64, id: u64, licence: Licence) -> Command {
    Command::CreateUser { account_id, id, name: format!("user {id}"), licence, admin: false }
}

fn id_row(account_id: u64, id: u64, project_id: u64) -> Command {
    let index = "job_id".to_owned();
    Command::SetId { account_id, index, id, project_id, environment_category: None }
}

fn create(token: NewToken) -> Command {
    Command::CreateToken(Box::new(token))
}

fn import(token: NewToken, suspended: bool, aliases: Vec<Verifier>) -> Command {
    Command::ImportToken(Box::new(ImportedToken { token, suspended, aliases }))
}

fn grant(set: &str, project_id: Option<u64>) -> Grant {
    Grant { permission_set: set.to_owned(), project_id, writable_environment_categories: vec![] }
}

fn digest(seed: u64) -> Verifier {
    let digest = Digest(*blake3::hash(&seed.to_le_bytes()).as_bytes());
    Verifier::Digest { key_id: "k1".to_owned(), digest }
}

fn hash(text: &str, selector: Option<&str>) -> Verifier {
    Verifier::Hash { encoded: text.to_owned(), selector: selector.map(str::to_owned) }
}

/// A service token of the account, whose digest comes from the seed.
fn token(account_id: u64, seed: u64) -> NewToken {
    NewToken {
        account_id,
        name: format!("token {seed}"),
        user_id: None,
        state: TokenState::Active,
        created_at: NOW,
        not_before: None,
        expires_at: None,
        allow_ips: vec![],
        grants: vec![grant("semantic_layer_only", None)],
        verifier: digest(seed),
    }
}

fn slow_token(account_id: u64, verifier: Verifier) -> NewToken {
    NewToken { created_at: BEFORE_CUTOFF, verifier, ..token(account_id, 0) }
}

/// Everything that a follower would hold, by what it is about.
type Contents = BTreeMap<String, Record>;

fn contents(store: &SqliteStore) -> Contents {
    let mut contents = Contents::new();
    store
        .snapshot(&mut |record| {
            fold(&mut contents, record);
            Ok(())
        })
        .unwrap();
    contents
}

fn fold(contents: &mut Contents, record: Record) {
    let key = match &record {
        Record::Account(account) => format!("account {}", account.id),
        Record::Token(token) => format!("token {}", token.id),
        Record::Id(row) => format!("id {} {} {}", row.account_id, row.index, row.id),
        Record::IdRemoved { account_id, index, id } => format!("id {account_id} {index} {id}"),
    };
    if matches!(record, Record::IdRemoved { .. }) {
        contents.remove(&key);
    } else {
        contents.insert(key, record);
    }
}

fn token_records(records: &[Record]) -> Vec<&TokenRecord> {
    let mut tokens = Vec::new();
    for record in records {
        if let Record::Token(token) = record {
            tokens.push(token);
        }
    }
    tokens
}

#[expect(clippy::needless_pass_by_value, reason = "outcomes are asked about where they arise")]
fn changed(outcome: Result<Outcome, StoreError>) -> bool {
    matches!(outcome, Ok(Outcome::Changed { .. }))
}

#[expect(clippy::needless_pass_by_value, reason = "outcomes are asked about where they arise")]
fn unchanged(outcome: Result<Outcome, StoreError>) -> bool {
    matches!(outcome, Ok(Outcome::Unchanged { .. }))
}
