//! Commands about accounts, their projects and their users.

use rusqlite::params;
use serde_json::{Value, json};

use super::execute::{Event, Executor, Subject};
use super::rows::state_name;
use super::views;
use crate::core::record::{AccountId, AccountState, Licence, Plan, ProjectId, TokenId, UserId};
use crate::store::{Outcome, StoreError, UserView, check};

/// Done, without a number to report.
pub(super) const CHANGED: Outcome = Outcome::Changed { id: 0 };
/// As asked already, without a number to report.
pub(super) const UNCHANGED: Outcome = Outcome::Unchanged { id: 0 };

impl Executor<'_> {
    pub(super) fn create_account(
        &mut self,
        id: AccountId,
        name: &str,
        plan: Plan,
        state: AccountState,
    ) -> Result<Outcome, StoreError> {
        let number = check::number("account", id)?;
        if let Some(known) = views::find_account(self.connection, number)? {
            let same = known.name == name && known.plan == plan && known.state == state;
            return self.existing(same, || {
                format!("there is an account {id} already: see `portcullis account show {id}`")
            });
        }
        check::name("an account", name)?;
        self.run(
            "INSERT INTO accounts
                 (id, name, plan, state, ip_rules_enabled, created_at, ip_rules_changed_at)
             VALUES (?1, ?2, ?3, ?4, 0, ?5, ?5)",
            params![number, name, plan.name(), state_name(state), self.now],
        )?;
        self.log(&Subject::Account(number))?;
        self.audit(&Event { name: "account.created", account: id }, || {
            let after = json!({ "name": name, "plan": plan, "state": state });
            (format!("account:{id}"), Value::Null, after)
        })?;
        Ok(CHANGED)
    }

    pub(super) fn rename_account(
        &mut self,
        id: AccountId,
        name: &str,
    ) -> Result<Outcome, StoreError> {
        let before = views::account(self.connection, id)?.name;
        if before == name {
            return Ok(UNCHANGED);
        }
        check::name("an account", name)?;
        self.run("UPDATE accounts SET name = ?2 WHERE id = ?1", params![id as i64, name])?;
        self.audit(&Event { name: "account.renamed", account: id }, || {
            (format!("account:{id}"), json!({ "name": before }), json!({ "name": name }))
        })?;
        Ok(CHANGED)
    }

    /// Adds an account under the next number. Accounts are never removed.
    pub(super) fn add_account(&mut self, name: &str, plan: Plan) -> Result<Outcome, StoreError> {
        let last: Option<i64> = self.lookup("SELECT max(id) FROM accounts", [])?;
        let id = next_number("account", last)?;
        self.create_account(id, name, plan, AccountState::Open)?;
        Ok(Outcome::Changed { id })
    }

    pub(super) fn set_plan(&mut self, id: AccountId, plan: Plan) -> Result<Outcome, StoreError> {
        let before = views::account(self.connection, id)?.plan;
        if before == plan {
            return Ok(UNCHANGED);
        }
        self.run("UPDATE accounts SET plan = ?2 WHERE id = ?1", params![id as i64, plan.name()])?;
        self.log(&Subject::Account(id as i64))?;
        self.audit(&Event { name: "account.plan_changed", account: id }, || {
            (format!("account:{id}"), json!({ "plan": before }), json!({ "plan": plan }))
        })?;
        Ok(CHANGED)
    }

    pub(super) fn set_account_state(
        &mut self,
        id: AccountId,
        state: AccountState,
    ) -> Result<Outcome, StoreError> {
        let before = views::account(self.connection, id)?.state;
        if before == state {
            return Ok(UNCHANGED);
        }
        self.run(
            "UPDATE accounts SET state = ?2 WHERE id = ?1",
            params![id as i64, state_name(state)],
        )?;
        self.log(&Subject::Account(id as i64))?;
        let name = match state {
            AccountState::Open => "account.opened",
            AccountState::Closed => "account.closed",
        };
        self.audit(&Event { name, account: id }, || {
            (format!("account:{id}"), json!({ "state": before }), json!({ "state": state }))
        })?;
        Ok(CHANGED)
    }

    pub(super) fn create_project(
        &mut self,
        account: AccountId,
        id: ProjectId,
        name: &str,
    ) -> Result<Outcome, StoreError> {
        let number = check::number("project", id)?;
        let account_number = self.account_number(account)?;
        if let Some(known) = self.project_name(account_number, number)? {
            return self.existing(known == name, || {
                format!(
                    "account {account} has a project {id} already: see \
                     `portcullis project list --account {account}`"
                )
            });
        }
        check::name("a project", name)?;
        self.run(
            "INSERT INTO projects (account_id, id, name) VALUES (?1, ?2, ?3)",
            params![account_number, number, name],
        )?;
        self.log(&Subject::Account(account_number))?;
        self.audit(&Event { name: "project.created", account }, || {
            (format!("project:{id}"), Value::Null, json!({ "name": name }))
        })?;
        Ok(CHANGED)
    }

    pub(super) fn rename_project(
        &mut self,
        account: AccountId,
        id: ProjectId,
        name: &str,
    ) -> Result<Outcome, StoreError> {
        let account_number = self.account_number(account)?;
        let number = check::number("project", id)?;
        let before = self
            .project_name(account_number, number)?
            .ok_or_else(|| unknown_project(account, id))?;
        if before == name {
            return Ok(UNCHANGED);
        }
        check::name("a project", name)?;
        self.run(
            "UPDATE projects SET name = ?3 WHERE account_id = ?1 AND id = ?2",
            params![account_number, number, name],
        )?;
        self.audit(&Event { name: "project.renamed", account }, || {
            (format!("project:{id}"), json!({ "name": before }), json!({ "name": name }))
        })?;
        Ok(CHANGED)
    }

    /// Adds a project under a number that no grant of the account's tokens names: a grant on a
    /// project that was removed must not come to cover another one.
    pub(super) fn add_project(
        &mut self,
        account: AccountId,
        name: &str,
    ) -> Result<Outcome, StoreError> {
        let number = self.account_number(account)?;
        let last: Option<i64> = self.lookup(
            "SELECT max(coalesce((SELECT max(id) FROM projects WHERE account_id = ?1), 0),
                 coalesce((SELECT max(g.project_id) FROM tokens t JOIN grants g ON g.token_id = t.id
                     WHERE t.account_id = ?1), 0))",
            [number],
        )?;
        let id = next_number("project", last)?;
        self.create_project(account, id, name)?;
        Ok(Outcome::Changed { id })
    }

    pub(super) fn remove_project(
        &mut self,
        account: AccountId,
        id: ProjectId,
    ) -> Result<Outcome, StoreError> {
        let account_number = self.account_number(account)?;
        let number = check::number("project", id)?;
        let name = self
            .project_name(account_number, number)?
            .ok_or_else(|| unknown_project(account, id))?;
        let ids = self.remove_ids_of_project(account_number, number)?;
        self.run(
            "DELETE FROM projects WHERE account_id = ?1 AND id = ?2",
            [account_number, number],
        )?;
        self.log(&Subject::Account(account_number))?;
        self.audit(&Event { name: "project.removed", account }, || {
            let before = json!({ "name": name, "id_index": ids });
            (format!("project:{id}"), before, Value::Null)
        })?;
        Ok(CHANGED)
    }

    pub(super) fn create_user(
        &mut self,
        account: AccountId,
        id: UserId,
        name: &str,
        licence: Licence,
        admin: bool,
    ) -> Result<Outcome, StoreError> {
        let number = check::number("user", id)?;
        let account_number = self.account_number(account)?;
        if let Some(known) = views::find_user(self.connection, account_number, number)? {
            let same = known.name == name && known.licence == licence && known.admin == admin;
            return self.existing(same, || {
                format!(
                    "account {account} has a user {id} already: see \
                     `portcullis user list --account {account}`"
                )
            });
        }
        check::name("a user", name)?;
        self.run(
            "INSERT INTO users (account_id, id, name, licence, admin)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![account_number, number, name, licence.name(), admin],
        )?;
        // Revoked tokens of an earlier user of this number show the licence, too.
        self.touch_tokens_of_user(account_number, number)?;
        self.audit(&Event { name: "user.created", account }, || {
            (format!("user:{id}"), Value::Null, describe_user(name, licence, admin))
        })?;
        Ok(CHANGED)
    }

    pub(super) fn change_user(
        &mut self,
        account: AccountId,
        id: UserId,
        name: &str,
        licence: Licence,
        admin: bool,
    ) -> Result<Outcome, StoreError> {
        let account_number = self.account_number(account)?;
        let number = check::number("user", id)?;
        let before = views::find_user(self.connection, account_number, number)?
            .ok_or_else(|| unknown_user(account, id))?;
        let after = UserView { account_id: account, id, name: name.to_owned(), licence, admin };
        if before == after {
            return Ok(UNCHANGED);
        }
        check::name("a user", name)?;
        self.run(
            "UPDATE users SET name = ?3, licence = ?4, admin = ?5 WHERE account_id = ?1 AND id = ?2",
            params![account_number, number, name, licence.name(), admin],
        )?;
        self.touch_tokens_of_user(account_number, number)?;
        self.audit(&Event { name: "user.changed", account }, || {
            let was = describe_user(&before.name, before.licence, before.admin);
            (format!("user:{id}"), was, describe_user(name, licence, admin))
        })?;
        Ok(CHANGED)
    }

    pub(super) fn remove_user(
        &mut self,
        account: AccountId,
        id: UserId,
    ) -> Result<Outcome, StoreError> {
        let account_number = self.account_number(account)?;
        let number = check::number("user", id)?;
        let user = views::find_user(self.connection, account_number, number)?
            .ok_or_else(|| unknown_user(account, id))?;
        for token in self.tokens_of_user(account_number, number)? {
            // Also the revoked ones: their record no longer has the user's licence.
            if !self.revoke(token)? {
                self.touch_token(account_number, token)?;
            }
        }
        self.run("DELETE FROM users WHERE account_id = ?1 AND id = ?2", [account_number, number])?;
        self.audit(&Event { name: "user.removed", account }, || {
            let before = describe_user(&user.name, user.licence, user.admin);
            (format!("user:{id}"), before, Value::Null)
        })?;
        Ok(CHANGED)
    }

    /// The account's number as the database has it, if there is the account.
    pub(super) fn account_number(&self, id: AccountId) -> Result<i64, StoreError> {
        let number = i64::try_from(id).map_err(|_| views::unknown_account(id))?;
        if self.exists("SELECT 1 FROM accounts WHERE id = ?1", [number])? {
            Ok(number)
        } else {
            Err(views::unknown_account(id))
        }
    }

    /// Refuses a project that the account does not have.
    pub(super) fn require_project(
        &self,
        account: AccountId,
        id: ProjectId,
    ) -> Result<(), StoreError> {
        let number = check::number("project", id)?;
        let known = self.exists(
            "SELECT 1 FROM projects WHERE account_id = ?1 AND id = ?2",
            [account as i64, number],
        )?;
        if known { Ok(()) } else { Err(unknown_project(account, id)) }
    }

    /// Refuses a user that the account does not have.
    pub(super) fn require_user(&self, account: AccountId, id: UserId) -> Result<(), StoreError> {
        let number = check::number("user", id)?;
        let known = self.exists(
            "SELECT 1 FROM users WHERE account_id = ?1 AND id = ?2",
            [account as i64, number],
        )?;
        if known { Ok(()) } else { Err(unknown_user(account, id)) }
    }

    /// What comes of adding something that is there: an import leaves it as it is.
    fn existing(
        &self,
        same: bool,
        conflict: impl FnOnce() -> String,
    ) -> Result<Outcome, StoreError> {
        if same || self.is_bulk() { Ok(UNCHANGED) } else { Err(StoreError::Conflict(conflict())) }
    }

    fn project_name(&self, account: i64, id: i64) -> Result<Option<String>, StoreError> {
        self.lookup("SELECT name FROM projects WHERE account_id = ?1 AND id = ?2", [account, id])
    }

    /// Notes that what a user's tokens may do has changed with the user.
    fn touch_tokens_of_user(&mut self, account: i64, user: i64) -> Result<(), StoreError> {
        let tokens = self.tokens_of_user(account, user)?;
        tokens.into_iter().try_for_each(|token| self.touch_token(account, token))
    }

    fn tokens_of_user(&self, account: i64, user: i64) -> Result<Vec<TokenId>, StoreError> {
        views::collect(
            self.connection,
            "SELECT id FROM tokens WHERE account_id = ?1 AND user_id = ?2 ORDER BY id",
            [account, user],
            |row| Ok(row.get::<_, i64>(0)? as TokenId),
        )
    }
}

fn describe_user(name: &str, licence: Licence, admin: bool) -> Value {
    json!({ "name": name, "licence": licence, "admin": admin })
}

fn next_number(what: &str, last: Option<i64>) -> Result<u64, StoreError> {
    let next = last.unwrap_or(0).checked_add(1);
    next.map(|next| next as u64).ok_or_else(|| {
        StoreError::Conflict(format!("the last number of a {what} is taken: choose one yourself"))
    })
}

fn unknown_project(account: AccountId, id: ProjectId) -> StoreError {
    StoreError::NotFound(format!(
        "account {account} has no project {id}: see `portcullis project list --account \
         {account}`, or add it with `portcullis project create --account {account} --id {id} \
         --name NAME`"
    ))
}

pub(super) fn unknown_user(account: AccountId, id: UserId) -> StoreError {
    StoreError::NotFound(format!(
        "account {account} has no user {id}: see `portcullis user list --account {account}`, or \
         add it with `portcullis user create --account {account} --id {id} --name NAME --licence \
         developer`"
    ))
}
