//! Commands about an account's IP rules.

use std::net::IpAddr;

use ipnet::IpNet;
use rusqlite::{OptionalExtension, params};
use serde_json::{Value, json};

use super::accounts::{CHANGED, UNCHANGED};
use super::execute::{Event, Executor, Subject};
use super::rows::{action_name, parse_action};
use super::views;
use crate::core::ip::IpRules;
use crate::core::record::{AccountId, Action};
use crate::store::{IpRuleContents, IpRuleView, Outcome, StoreError, check};

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
        let id = self.insert_prefix(account_number, action, cidr, name, "", None)?;
        self.touch_ip_rules(account_number)?;
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
        self.touch_ip_rules(account_number)?;
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
        self.touch_ip_rules(account as i64)?;
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

    /// Makes a rule of several prefixes, or puts other contents in place of one.
    pub(super) fn put_ip_rule(
        &mut self,
        account: AccountId,
        id: Option<u64>,
        rule: &IpRuleContents,
        enabled: Option<bool>,
    ) -> Result<Outcome, StoreError> {
        let account_number = self.account_number(account)?;
        let rule = checked(rule)?;
        let before = match id {
            Some(id) => self.prefixes_of(account, id)?,
            None => Vec::new(),
        };
        let toggled = match enabled {
            Some(enabled) => self.enable_ip_rules(account, enabled)? == CHANGED,
            None => false,
        };
        if let Some(id) = id.filter(|_| contents_of(&before) == Some(rule.clone())) {
            return Ok(if toggled { Outcome::Changed { id } } else { Outcome::Unchanged { id } });
        }
        for gone in before.iter().filter(|view| !rule.cidrs.contains(&view.cidr)) {
            self.run("DELETE FROM ip_rules WHERE id = ?1", [gone.id as i64])?;
        }
        let mut number = id;
        for cidr in &rule.cidrs {
            if before.iter().any(|view| view.cidr == *cidr) {
                continue;
            }
            if let Some((other, known)) = self.find_ip_rule(account_number, *cidr)? {
                let same = known == rule.action;
                let taken = || in_other_rule(account, *cidr, other);
                return Err(if same { taken() } else { in_other_list(account, *cidr, known) });
            }
            let IpRuleContents { action, name, description, .. } = &rule;
            let row =
                self.insert_prefix(account_number, *action, *cidr, name, description, number)?;
            number = number.or(Some(row));
        }
        let id = number.unwrap_or(0);
        self.run(
            "UPDATE ip_rules SET action = ?3, name = ?4, description = ?5, updated_at = ?6
             WHERE account_id = ?1 AND coalesce(rule_id, id) = ?2",
            params![
                account_number,
                id as i64,
                action_name(rule.action),
                rule.name,
                rule.description,
                self.now
            ],
        )?;
        self.touch_ip_rules(account_number)?;
        let (name, was) = match contents_of(&before) {
            Some(before) => ("ip_restrictions.rule.changed", describe(&before)),
            None => ("ip_restrictions.rule.added", Value::Null),
        };
        self.audit(&Event { name, account }, || (format!("ip_rule:{id}"), was, describe(&rule)))?;
        Ok(Outcome::Changed { id })
    }

    pub(super) fn remove_ip_rule_by_id(
        &mut self,
        account: AccountId,
        id: u64,
    ) -> Result<Outcome, StoreError> {
        let account_number = self.account_number(account)?;
        let before = self.prefixes_of(account, id)?;
        for view in &before {
            self.run("DELETE FROM ip_rules WHERE id = ?1", [view.id as i64])?;
        }
        self.touch_ip_rules(account_number)?;
        let before = contents_of(&before).as_ref().map_or(Value::Null, describe);
        self.audit(&Event { name: "ip_restrictions.rule.removed", account }, || {
            (format!("ip_rule:{id}"), before, Value::Null)
        })?;
        Ok(Outcome::Changed { id })
    }

    /// Refuses where the account's rules, if they are in force, keep the address out.
    pub(super) fn require_admitted(
        &self,
        account: AccountId,
        address: Option<IpAddr>,
    ) -> Result<(), StoreError> {
        if !views::account(self.connection, account)?.ip_rules_enabled {
            return Ok(());
        }
        let views = views::ip_rules(self.connection, account)?;
        let rules: Vec<_> = views.iter().map(|view| (view.action, view.cidr)).collect();
        if IpRules::compile(&rules).admits(address) {
            return Ok(());
        }
        let who = address.map_or("your own address, which is not known".to_owned(), |address| {
            format!("your own address {address}")
        });
        Err(StoreError::Conflict(format!(
            "the rules of account {account} would then keep out {who}: allow it first"
        )))
    }

    /// The prefixes of a rule, at least one.
    fn prefixes_of(&self, account: AccountId, id: u64) -> Result<Vec<IpRuleView>, StoreError> {
        let mut views = views::ip_rules(self.connection, account)?;
        views.retain(|view| view.rule_id == id);
        if views.is_empty() {
            return Err(StoreError::NotFound(format!("account {account} has no IP rule {id}")));
        }
        Ok(views)
    }

    fn insert_prefix(
        &self,
        account: i64,
        action: Action,
        cidr: IpNet,
        name: &str,
        description: &str,
        rule: Option<u64>,
    ) -> Result<u64, StoreError> {
        self.run(
            "INSERT INTO ip_rules
                 (account_id, action, cidr, name, description, rule_id, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
            params![
                account,
                action_name(action),
                cidr.to_string(),
                name,
                description,
                rule.map(|rule| rule as i64),
                self.now
            ],
        )?;
        Ok(self.connection.last_insert_rowid() as u64)
    }

    /// Notes that an account's IP rules changed.
    fn touch_ip_rules(&mut self, account: i64) -> Result<(), StoreError> {
        self.run(
            "UPDATE accounts SET ip_rules_changed_at = ?2 WHERE id = ?1",
            [account, self.now],
        )?;
        self.log(&Subject::Account(account))?;
        Ok(())
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

/// What a rule shall be, its prefixes canonical and each once.
fn checked(rule: &IpRuleContents) -> Result<IpRuleContents, StoreError> {
    let mut cidrs: Vec<IpNet> =
        rule.cidrs.iter().map(|cidr| check::cidr(*cidr)).collect::<Result<_, _>>()?;
    cidrs.sort();
    cidrs.dedup();
    if cidrs.is_empty() {
        return Err(StoreError::Rule("an IP rule needs at least one CIDR".to_owned()));
    }
    check::optional_name("an IP rule", &rule.name)?;
    check::optional_name("an IP rule's description", &rule.description)?;
    Ok(IpRuleContents { cidrs, ..rule.clone() })
}

/// What a rule is, by its prefixes; `None` without any.
fn contents_of(views: &[IpRuleView]) -> Option<IpRuleContents> {
    let first = views.first()?;
    let mut cidrs: Vec<IpNet> = views.iter().map(|view| view.cidr).collect();
    cidrs.sort();
    let (name, description) = (first.name.clone(), first.description.clone());
    Some(IpRuleContents { action: first.action, cidrs, name, description })
}

fn describe(rule: &IpRuleContents) -> Value {
    let IpRuleContents { action, cidrs, name, description } = rule;
    json!({ "action": action, "cidrs": cidrs, "name": name, "description": description })
}

fn in_other_rule(account: AccountId, cidr: IpNet, rule: u64) -> StoreError {
    StoreError::Conflict(format!(
        "{cidr} is in IP rule {rule} of account {account} already: take it out there first"
    ))
}

fn in_other_list(account: AccountId, cidr: IpNet, known: Action) -> StoreError {
    let list = action_name(known);
    StoreError::Conflict(format!(
        "{cidr} is in the {list} list of account {account} and cannot be in both: take it out \
         first with `portcullis ip-rule remove --account {account} {cidr}`"
    ))
}
