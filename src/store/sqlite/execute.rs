//! Carrying out commands inside the writer's transaction: the change, its audit event and its
//! place in the change log, or nothing at all.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use crate::core::record::{AccountId, TokenId};
use crate::store::{Actor, Bulk, Command, Outcome, Rules, StoreError};

/// `subject` of the marker of an import that may go on; that of one that is over has none.
pub(super) const GOING: i64 = 1;

/// Carries out the commands of one caller.
pub(super) struct Executor<'a> {
    pub(super) connection: &'a Connection,
    pub(super) rules: &'a Rules,
    actor: &'a Actor,
    now: i64,
    /// Position of the marker that stands for everything this import changes, once there is one.
    marker: Option<i64>,
    /// Events of an import, which are written as one.
    counts: BTreeMap<&'static str, u64>,
}

/// What a follower has to read again.
pub(super) enum Subject<'a> {
    Account(i64),
    Token { account: i64, token: i64 },
    Id { account: i64, index: &'a str, id: i64 },
}

/// What an audit event says.
pub(super) struct Event {
    pub(super) name: &'static str,
    pub(super) account: AccountId,
}

impl<'a> Executor<'a> {
    pub(super) fn new(connection: &'a Connection, rules: &'a Rules, actor: &'a Actor) -> Self {
        let now = now();
        Self { connection, rules, actor, now, marker: None, counts: BTreeMap::new() }
    }

    /// Whether this is part of a bulk import.
    pub(super) fn is_bulk(&self) -> bool {
        self.actor.bulk
    }

    /// Carries out one command; one that is refused leaves no trace.
    ///
    /// # Errors
    /// The outer one ends the whole transaction: a full disk and the like, or a command whose
    /// traces cannot be taken back.
    pub(super) fn apply(
        &mut self,
        command: &Command,
    ) -> Result<Result<Outcome, StoreError>, StoreError> {
        self.run("SAVEPOINT command", [])?;
        let outcome = self.execute(command);
        if self.connection.is_autocommit() {
            return Err(outcome.err().unwrap_or_else(ended_early));
        }
        if outcome.is_err() {
            self.marker = None;
            self.run("ROLLBACK TO command", [])?;
        }
        self.run("RELEASE command", [])?;
        Ok(outcome)
    }

    /// Writes what concerns all commands together.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        if self.counts.is_empty() {
            return Ok(());
        }
        let detail = json!({ "before": Value::Null, "after": self.counts });
        self.write_audit("import.applied", None, "import", &detail)
    }

    fn execute(&mut self, command: &Command) -> Result<Outcome, StoreError> {
        match command {
            Command::CreateAccount { id, name, plan, state } => {
                self.create_account(*id, name, *plan, *state)
            }
            Command::SetPlan { id, plan } => self.set_plan(*id, *plan),
            Command::SetAccountState { id, state } => self.set_account_state(*id, *state),
            Command::CreateProject { account_id, id, name } => {
                self.create_project(*account_id, *id, name)
            }
            Command::RemoveProject { account_id, id } => self.remove_project(*account_id, *id),
            Command::CreateUser { account_id, id, name, licence, admin } => {
                self.create_user(*account_id, *id, name, *licence, *admin)
            }
            Command::RemoveUser { account_id, id } => self.remove_user(*account_id, *id),
            Command::AddIpRule { account_id, action, cidr, name } => {
                self.add_ip_rule(*account_id, *action, *cidr, name)
            }
            Command::RemoveIpRule { account_id, cidr } => self.remove_ip_rule(*account_id, *cidr),
            Command::EnableIpRules { account_id, enabled } => {
                self.enable_ip_rules(*account_id, *enabled)
            }
            Command::KeepIpRules { account_id } => self.keep_ip_rules(*account_id),
            Command::SetId { account_id, index, id, project_id, environment_category } => {
                self.set_id(*account_id, index, *id, *project_id, *environment_category)
            }
            Command::RemoveId { account_id, index, id } => self.remove_id(*account_id, index, *id),
            Command::CreateToken(token) => self.create_token(token),
            Command::ImportToken(token) => self.import_token(token),
            Command::RevokeToken { id } => self.revoke_token(*id),
            Command::RotateToken { id, verifier, created_at, old_expires_at } => {
                self.rotate_token(*id, verifier, *created_at, *old_expires_at)
            }
        }
    }

    /// Runs a statement that is kept prepared, and says how many rows it changed.
    pub(super) fn run(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<usize, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(parameters)?)
    }

    /// Whether a query has a row.
    pub(super) fn exists(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<bool, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.exists(parameters)?)
    }

    /// The first column of a query's row, if it has one.
    pub(super) fn lookup<T: rusqlite::types::FromSql>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row(parameters, |row| row.get(0)).optional()?)
    }

    /// Puts a change into the change log and returns its position. An import has one marker for
    /// all its changes, in the transaction that makes them: a crash cannot hide them.
    pub(super) fn log(&mut self, subject: &Subject<'_>) -> Result<i64, StoreError> {
        if self.actor.bulk {
            return match self.marker {
                Some(position) => Ok(position),
                None => Ok(*self.marker.insert(write_bulk_marker(self.connection, Bulk::Going)?)),
            };
        }
        let (kind, account, number, index) = match subject {
            Subject::Account(account) => ("account", *account, None, None),
            Subject::Token { account, token } => ("token", *account, Some(*token), None),
            Subject::Id { account, index, id } => ("id", *account, Some(*id), Some(*index)),
        };
        self.run(
            "INSERT INTO changes (kind, account_id, subject, index_name) VALUES (?1, ?2, ?3, ?4)",
            params![kind, account, number, index],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Notes that a token changed: its place in the log becomes its version.
    pub(super) fn touch_token(&mut self, account: i64, token: TokenId) -> Result<(), StoreError> {
        let token = token as i64;
        let version = self.log(&Subject::Token { account, token })?;
        self.run("UPDATE tokens SET version = ?2 WHERE id = ?1", [token, version])?;
        Ok(())
    }

    /// Writes an audit event. `describe` gives the subject and the state before and after.
    pub(super) fn audit(
        &mut self,
        event: &Event,
        describe: impl FnOnce() -> (String, Value, Value),
    ) -> Result<(), StoreError> {
        if self.actor.bulk {
            *self.counts.entry(event.name).or_default() += 1;
            return Ok(());
        }
        let (subject, before, after) = describe();
        let detail = json!({ "before": before, "after": after });
        self.write_audit(event.name, Some(event.account as i64), &subject, &detail)
    }

    fn write_audit(
        &self,
        event: &str,
        account: Option<i64>,
        subject: &str,
        detail: &Value,
    ) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO audit_log (at, actor, actor_ip, event, account_id, subject, detail)
             VALUES (?1, ?2, NULL, ?3, ?4, ?5, ?6)",
            params![self.now, self.actor.name, event, account, subject, detail.to_string()],
        )?;
        Ok(())
    }
}

/// Writes a marker that tells followers of a bulk import, and returns its position. It takes the
/// place of a marker that is the last entry already, so that an import leaves only one.
pub(super) fn write_bulk_marker(connection: &Connection, bulk: Bulk) -> Result<i64, StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM changes
             WHERE position = (SELECT max(position) FROM changes) AND kind = 'rebase'",
        )?
        .execute([])?;
    let going = (bulk == Bulk::Going).then_some(GOING);
    connection
        .prepare_cached("INSERT INTO changes (kind, subject) VALUES ('rebase', ?1)")?
        .execute([going])?;
    Ok(connection.last_insert_rowid())
}

fn ended_early() -> StoreError {
    StoreError::Database("the transaction ended early; nothing was stored".to_owned())
}

/// Seconds since the Unix epoch; a clock before it counts as the epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
