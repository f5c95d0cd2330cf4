//! Commands about an account's IP rules.

use ipnet::IpNet;
use rusqlite::{OptionalExtension, params};
use serde_json::{Value, json};

use super::accounts::{CHANGED, UNCHANGED};
use super::execute::{Event, Executor, Subject};
use super::rows::{action_name, parse_action};
use super::views;
use crate::core::record::{AccountId, Action};
use crate::store::{Outcome, StoreError, check};

impl Executor<'_> {
    pub(super) fn add_ip_rule(
        &mut self,
        account: AccountId,
        action: Action,
        cidr: IpNet,
        name: &str,
    ) -> Result<Outcome, StoreError> {
        let account_number = self.account_number(account)?;
        let cidr = check::cidr(cidr)?;
        match self.find_ip_rule(account_number, cidr)? {
            Some((id, known)) if known == action => return Ok(Outcome::Unchanged { id }),
            Some((_, known)) => return Err(in_other_list(account, cidr, known)),
            None => {}
        }
        check::optional_name("an IP rule", name)?;
        self.run(
            "INSERT INTO ip_rules (account_id, action, cidr, name) VALUES (?1, ?2, ?3, ?4)",
            params![account_number, action_name(action), cidr.to_string(), name],
        )?;
        let id = self.connection.last_insert_rowid() as u64;
        self.log(&Subject::Account(account_number))?;
        self.audit(&Event { name: "ip_restrictions.rule.added", account }, || {
            let after = json!({ "action": action, "cidr": cidr, "name": name });
            (format!("ip_rule:{id}"), Value::Null, after)
        })?;
        Ok(Outcome::Changed { id })
    }

    pub(super) fn remove_ip_rule(
        &mut self,
        account: AccountId,
        cidr: IpNet,
    ) -> Result<Outcome, StoreError> {
        let account_number = self.account_number(account)?;
        let cidr = check::cidr(cidr)?;
        let (id, action) = self.find_ip_rule(account_number, cidr)?.ok_or_else(|| {
            StoreError::NotFound(format!(
                "account {account} has no IP rule for {cidr}: see `portcullis ip-rule list \
                 --account {account}`"
            ))
        })?;
        let name: Option<String> =
            self.lookup("SELECT name FROM ip_rules WHERE id = ?1", [id as i64])?;
        self.run("DELETE FROM ip_rules WHERE id = ?1", [id as i64])?;
        self.log(&Subject::Account(account_number))?;
        self.audit(&Event { name: "ip_restrictions.rule.removed", account }, || {
            let before = json!({ "action": action, "cidr": cidr, "name": name });
            (format!("ip_rule:{id}"), before, Value::Null)
        })?;
        Ok(Outcome::Changed { id })
    }

    pub(super) fn enable_ip_rules(
        &mut self,
        account: AccountId,
        enabled: bool,
    ) -> Result<Outcome, StoreError> {
        let before = views::account(self.connection, account)?.ip_rules_enabled;
        if before == enabled {
            return Ok(UNCHANGED);
        }
        self.run(
            "UPDATE accounts SET ip_rules_enabled = ?2 WHERE id = ?1",
            params![account as i64, enabled],
        )?;
        self.log(&Subject::Account(account as i64))?;
        self.audit(&Event { name: "ip_restrictions.toggled", account }, || {
            let subject = format!("account:{account}");
            (subject, json!({ "enabled": before }), json!({ "enabled": enabled }))
        })?;
        Ok(CHANGED)
    }

    /// Only asks for the account: no import puts rules out of force.
    pub(super) fn keep_ip_rules(&mut self, account: AccountId) -> Result<Outcome, StoreError> {
        self.account_number(account).map(|_| UNCHANGED)
    }

    fn find_ip_rule(&self, account: i64, cidr: IpNet) -> Result<Option<(u64, Action)>, StoreError> {
        let found: Option<(i64, String)> = self
            .connection
            .prepare_cached("SELECT id, action FROM ip_rules WHERE account_id = ?1 AND cidr = ?2")?
            .query_row(params![account, cidr.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        found.map(|(id, action)| Ok((id as u64, parse_action(&action)?))).transpose()
    }
}

fn in_other_list(account: AccountId, cidr: IpNet, known: Action) -> StoreError {
    let list = action_name(known);
    StoreError::Conflict(format!(
        "{cidr} is in the {list} list of account {account} and cannot be in both: take it out \
         first with `portcullis ip-rule remove --account {account} {cidr}`"
    ))
}
