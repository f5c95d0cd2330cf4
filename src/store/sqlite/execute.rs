//! Carrying out commands inside the writer's transaction: the change, its audit event and its
//! place in the change log, or nothing at all.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde_json::{Value, to_value};

use super::accounts::CHANGED;
use super::tally::Tally;
use super::trail::{Entry, Trail};
use crate::core::record::{AccountId, Plan, TokenId};
use crate::store::{Actor, Bulk, Command, Note, Outcome, Rules, StoreError, check};

/// `subject` of the marker of an import that may go on; that of one that is over has none.
pub(super) const GOING: i64 = 1;

/// Carries out the commands of one caller.
pub(super) struct Executor<'a> {
    pub(super) connection: &'a Connection,
    pub(super) rules: &'a Rules,
    actor: &'a Actor,
    pub(super) now: i64,
    /// Position of the marker that stands for everything this import changes, once there is one.
    marker: Option<i64>,
    trail: Trail<'a>,
    /// What an import does, which is written to the audit log as one.
    tally: Tally,
    pub(super) remembered: Remembered,
}

/// What an import need not read again for each token, since nobody else writes meanwhile and
/// tokens change nothing of it.
#[derive(Default)]
pub(super) struct Remembered {
    pub(super) plans: HashMap<i64, Plan>,
    pub(super) last_token: Option<i64>,
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
    pub(super) fn new(
        connection: &'a Connection,
        rules: &'a Rules,
        actor: &'a Actor,
        trail: Trail<'a>,
    ) -> Self {
        let now = crate::time::now().0;
        let (tally, remembered) = (Tally::default(), Remembered::default());
        Self { connection, rules, actor, now, marker: None, trail, tally, remembered }
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
        if self.actor.bulk && checks_before_it_writes(command) {
            return self.apply_checked(command);
        }
        self.remembered = Remembered::default();
        self.run("SAVEPOINT command", [])?;
        let end = self.trail.end();
        let outcome = self.execute(command);
        if self.connection.is_autocommit() {
            return Err(outcome.err().unwrap_or_else(ended_early));
        }
        if outcome.is_err() {
            self.marker = None;
            self.run("ROLLBACK TO command", [])?;
            self.trail.take_back(end);
        }
        self.tally.settle(outcome.is_ok());
        self.run("RELEASE command", [])?;
        Ok(outcome)
    }

    /// Without a savepoint, for which SQLite copies each page that the command changes.
    fn apply_checked(
        &mut self,
        command: &Command,
    ) -> Result<Result<Outcome, StoreError>, StoreError> {
        let outcome = self.execute(command);
        self.tally.settle(outcome.is_ok());
        match outcome {
            // The database's own refusal comes when something may have been written.
            Err(error @ StoreError::Database(_)) => Err(error),
            outcome => Ok(outcome),
        }
    }

    /// Writes what concerns all commands together, and gives the audit log back.
    pub(super) fn finish(mut self) -> Result<Trail<'a>, StoreError> {
        if let Some((account, after)) = std::mem::take(&mut self.tally).conclude() {
            let account = account.map(|id| id as i64);
            self.write_audit("import.applied", account, "import", Value::Null, after)?;
        }
        Ok(self.trail)
    }

    fn execute(&mut self, command: &Command) -> Result<Outcome, StoreError> {
        match command {
            Command::CreateAccount { id, name, plan, state } => {
                self.create_account(*id, name, *plan, *state)
            }
            Command::RenameAccount { id, name } => self.rename_account(*id, name),
            Command::AddAccount { name, plan } => self.add_account(name, *plan),
            Command::AddProject { account_id, name } => self.add_project(*account_id, name),
            Command::SetPlan { id, plan } => self.set_plan(*id, *plan),
            Command::SetAccountState { id, state } => self.set_account_state(*id, *state),
            Command::CreateProject { account_id, id, name } => {
                self.create_project(*account_id, *id, name)
            }
            Command::RenameProject { account_id, id, name } => {
                self.rename_project(*account_id, *id, name)
            }
            Command::RemoveProject { account_id, id } => self.remove_project(*account_id, *id),
            Command::CreateUser { account_id, id, name, licence, admin } => {
                self.create_user(*account_id, *id, name, *licence, *admin)
            }
            Command::ChangeUser { account_id, id, name, licence, admin } => {
                self.change_user(*account_id, *id, name, *licence, *admin)
            }
            Command::RemoveUser { account_id, id } => self.remove_user(*account_id, *id),
            Command::AddIpRule { account_id, action, cidr, name } => {
                self.add_ip_rule(*account_id, *action, *cidr, name)
            }
            Command::RemoveIpRule { account_id, cidr } => self.remove_ip_rule(*account_id, *cidr),
            Command::PutIpRule { account_id, id, rule, enabled } => {
                self.put_ip_rule(*account_id, *id, rule, *enabled)
            }
            Command::RemoveIpRuleById { account_id, id } => {
                self.remove_ip_rule_by_id(*account_id, *id)
            }
            Command::IfAdmitted { account_id, address, change } => {
                let outcome = self.execute(change)?;
                self.require_admitted(*account_id, *address)?;
                Ok(outcome)
            }
            Command::EnableIpRules { account_id, enabled } => {
                self.enable_ip_rules(*account_id, *enabled)
            }
            Command::KeepIpRules { account_id } => self.keep_ip_rules(*account_id),
            Command::SetId { account_id, index, id, project_id, environment_category } => {
                self.set_id(*account_id, index, *id, *project_id, *environment_category)
            }
            Command::RemoveId { account_id, index, id } => self.remove_id(*account_id, index, *id),
            Command::CreateToken(token) => self.create_token(token),
            Command::CreateFirstToken(token) => self.create_first_token(token),
            Command::ImportToken(token) => self.import_token(token),
            Command::RenameToken { id, name } => self.rename_token(*id, name),
            Command::SetGrants { id, grants } => self.set_grants(*id, grants),
            Command::RevokeToken { id } => self.revoke_token(*id),
            Command::RotateToken { id, verifier, created_at, old_expires_at, grants } => {
                let (created_at, until) = (*created_at, *old_expires_at);
                self.rotate_token(*id, verifier, created_at, until, grants.as_deref())
            }
            Command::UpgradeToken { id, verifier } => self.upgrade_token(*id, verifier),
            Command::Note(note) => self.note(note),
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
        self.run(
            "UPDATE tokens SET version = ?2, updated_at = ?3 WHERE id = ?1",
            [token, version, self.now],
        )?;
        Ok(())
    }

    /// Writes an audit event. `describe` gives the subject and the state before and after, whose
    /// JSON has keys that are texts.
    pub(super) fn audit<B: Serialize, A: Serialize>(
        &mut self,
        event: &Event,
        describe: impl FnOnce() -> (String, B, A),
    ) -> Result<(), StoreError> {
        let (subject, before, after) = describe();
        if self.actor.bulk {
            self.tally.count(event, &subject, &before, &after);
            return Ok(());
        }
        let value = |written: Result<Value, serde_json::Error>| {
            written.expect("invariant: keys are texts, and so there is a value")
        };
        let (before, after) = (value(to_value(before)), value(to_value(after)));
        self.write_audit(event.name, Some(event.account as i64), &subject, before, after)
    }

    fn note(&mut self, note: &Note) -> Result<Outcome, StoreError> {
        let Note { event, account_id, subject, before, after } = note;
        let account = account_id.map(|id| check::number("account", id)).transpose()?;
        self.write_audit(event, account, subject, before.clone(), after.clone())?;
        Ok(CHANGED)
    }

    fn write_audit(
        &mut self,
        event: &str,
        account: Option<i64>,
        subject: &str,
        before: Value,
        after: Value,
    ) -> Result<(), StoreError> {
        let (at, actor) = (self.now, self.actor);
        self.trail.add(&Entry { at, actor, event, account, subject, before, after })
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

/// Whether a command that is refused by a rule has written nothing.
fn checks_before_it_writes(command: &Command) -> bool {
    matches!(command, Command::CreateToken(_) | Command::ImportToken(_))
}

fn ended_early() -> StoreError {
    StoreError::Database("the transaction ended early; nothing was stored".to_owned())
}
