//! Commands about tokens.

use ipnet::IpNet;
use rusqlite::{OptionalExtension, params};
use serde::Serialize;
use serde_json::{Value, json};

use super::execute::{Event, Executor, Subject};
use super::rows::{VerifierColumns, categories_text, parse_name, prefixes_text, token_state_name};
use super::views;
use crate::core::record::{
    AccountId, Grant, Plan, Timestamp, TokenId, TokenState, UserId, Verifier,
};
use crate::store::{ImportedToken, NewToken, Outcome, StoreError, TokenView, check};

impl Executor<'_> {
    /// Adds a token under all rules.
    pub(super) fn create_token(&mut self, token: &NewToken) -> Result<Outcome, StoreError> {
        self.add_token(token, true, &[])
    }

    /// Adds a token to an account in which nobody could make one.
    pub(super) fn create_first_token(&mut self, token: &NewToken) -> Result<Outcome, StoreError> {
        let plan = self.plan_of(token)?;
        let sets = &self.rules.permission_sets;
        let known = views::collect(
            self.connection,
            "SELECT DISTINCT g.permission_set FROM tokens t JOIN grants g ON g.token_id = t.id
             WHERE t.account_id = ?1 AND t.state = 'active' AND g.project_id IS NULL
                 AND (t.expires_at IS NULL OR t.expires_at > ?2)",
            [token.account_id as i64, self.now],
            |row| {
                let permission_set = row.get(0)?;
                let writable_environment_categories = Vec::new();
                Ok(Grant { permission_set, project_id: None, writable_environment_categories })
            },
        )?;
        if check::manages_tokens(&known, plan, sets) {
            return Err(StoreError::Conflict(format!(
                "account {} has a token that manages its service tokens: make others with that one",
                token.account_id
            )));
        }
        self.create_token(token)
    }

    pub(super) fn rename_token(&mut self, id: TokenId, name: &str) -> Result<Outcome, StoreError> {
        let token = self.changeable(id)?;
        if token.name == name {
            return Ok(Outcome::Unchanged { id });
        }
        check::name("a token", name)?;
        self.run("UPDATE tokens SET name = ?2 WHERE id = ?1", params![id as i64, name])?;
        self.touch_token(token.account_id as i64, id)?;
        let event = event(token.user_id, "service_token.renamed", "account_scoped_pat.renamed");
        self.audit(&Event { name: event, account: token.account_id }, || {
            (subject(id), json!({ "name": token.name }), json!({ "name": name }))
        })?;
        Ok(Outcome::Changed { id })
    }

    /// Puts other grants in place of a token's.
    pub(super) fn set_grants(
        &mut self,
        id: TokenId,
        grants: &[Grant],
    ) -> Result<Outcome, StoreError> {
        let token = self.changeable(id)?;
        if token.grants == grants {
            return Ok(Outcome::Unchanged { id });
        }
        check::grants(grants, self.rules)?;
        let plan = views::account(self.connection, token.account_id)?.plan;
        self.check_coverage(token.account_id, token.user_id, grants, plan)?;
        self.run("DELETE FROM grants WHERE token_id = ?1", [id as i64])?;
        self.insert_grants(id as i64, grants)?;
        self.touch_token(token.account_id as i64, id)?;
        let (added, removed) = (missing(grants, &token.grants), missing(&token.grants, grants));
        let account = token.account_id;
        if !removed.is_empty() {
            self.audit(&Event { name: "permission.removed", account }, || {
                (subject(id), json!({ "grants": removed }), Value::Null)
            })?;
        }
        if !added.is_empty() {
            self.audit(&Event { name: "permission.added", account }, || {
                (subject(id), Value::Null, json!({ "grants": added }))
            })?;
        }
        Ok(Outcome::Changed { id })
    }

    /// A token that is not revoked.
    fn changeable(&self, id: TokenId) -> Result<TokenView, StoreError> {
        let token = views::token(self.connection, id)?;
        match token.state {
            TokenState::Active => Ok(token),
            TokenState::Revoked => Err(StoreError::Conflict(format!(
                "token {id} is revoked, for good: make a new one with `portcullis token create`"
            ))),
        }
    }

    /// Adds a token that was made elsewhere, unless its secret is known by any verifier. Its
    /// grants may be suspended: they cover nothing until the plan allows them or the project is
    /// there.
    pub(super) fn import_token(&mut self, imported: &ImportedToken) -> Result<Outcome, StoreError> {
        self.add_token(&imported.token, !imported.suspended, &imported.aliases)
    }

    /// Revokes a token that was not revoked before.
    pub(super) fn revoke_token(&mut self, id: TokenId) -> Result<Outcome, StoreError> {
        Ok(if self.revoke(id)? { Outcome::Changed { id } } else { Outcome::Unchanged { id } })
    }

    /// Revokes a token; `false` where it was revoked before.
    pub(super) fn revoke(&mut self, id: TokenId) -> Result<bool, StoreError> {
        let token = views::token(self.connection, id)?;
        if token.state == TokenState::Revoked {
            return Ok(false);
        }
        self.run("UPDATE tokens SET state = 'revoked' WHERE id = ?1", [id as i64])?;
        self.touch_token(token.account_id as i64, id)?;
        let name = event(token.user_id, "service_token.revoked", "account_scoped_pat.deleted");
        self.audit(&Event { name, account: token.account_id }, || {
            (subject(id), json!({ "state": "active" }), json!({ "state": "revoked" }))
        })?;
        Ok(true)
    }

    pub(super) fn rotate_token(
        &mut self,
        id: TokenId,
        verifier: &Verifier,
        created_at: Timestamp,
        old_expires_at: Timestamp,
        grants: Option<&[Grant]>,
    ) -> Result<Outcome, StoreError> {
        let old = views::token(self.connection, id)?;
        can_rotate(&old, created_at)?;
        if grants.is_some_and(|known| known != old.grants) {
            return Err(StoreError::Conflict(format!(
                "the grants of token {id} have just been changed: look at them and try again"
            )));
        }
        let successor = successor(&old, verifier, created_at);
        if let Some(known) = self.find_secret(&successor, &[])? {
            return Err(taken(known));
        }
        check::verifier(verifier, created_at, self.rules)?;
        self.check_candidates(&successor)?;
        let new = self.insert_token(&successor)?;
        let expires_at = old.expires_at.map_or(old_expires_at, |own| own.min(old_expires_at));
        self.run(
            "UPDATE tokens SET expires_at = ?2, rotated_to = ?3 WHERE id = ?1",
            [id as i64, expires_at.0, new as i64],
        )?;
        self.touch_token(old.account_id as i64, id)?;
        let name = event(old.user_id, "service_token.rotated", "account_scoped_pat.rotated");
        self.audit(&Event { name, account: old.account_id }, || {
            let before = json!({ "expires_at": old.expires_at });
            (subject(id), before, json!({ "expires_at": expires_at, "rotated_to": new }))
        })?;
        Ok(Outcome::Changed { id: new })
    }

    /// Puts the digest of a legacy token's secret in the place of its password hash.
    pub(super) fn upgrade_token(
        &mut self,
        id: TokenId,
        verifier: &Verifier,
    ) -> Result<Outcome, StoreError> {
        let token = views::token(self.connection, id)?;
        let Verifier::Hash { encoded, .. } = &token.verifier else {
            return Ok(Outcome::Unchanged { id });
        };
        if token.state == TokenState::Revoked {
            return Ok(Outcome::Unchanged { id });
        }
        if let Some(known) = views::token_by_verifier(self.connection, verifier)? {
            return Err(taken((known.id, known.account_id)));
        }
        let new = VerifierColumns::of(verifier);
        self.run(
            "UPDATE tokens SET key_id = ?2, digest = ?3, hash = NULL, selector = NULL,
                 upgraded_from = ?4 WHERE id = ?1",
            params![id as i64, new.key_id, new.digest, views::hash_mark(encoded)],
        )?;
        self.touch_token(token.account_id as i64, id)?;
        let name = event(token.user_id, "service_token.upgraded", "account_scoped_pat.upgraded");
        let keys = &self.rules.audit_keys;
        let shown = |verifier: &Verifier| json!({ "verifier": verifier.kind(), "fingerprint": keys.fingerprint(verifier) });
        self.audit(&Event { name, account: token.account_id }, || {
            (subject(id), shown(&token.verifier), shown(verifier))
        })?;
        Ok(Outcome::Changed { id })
    }

    /// `whole`: every grant must cover something at present.
    fn add_token(
        &mut self,
        token: &NewToken,
        whole: bool,
        aliases: &[Verifier],
    ) -> Result<Outcome, StoreError> {
        let plan = self.plan_of(token)?;
        // Before every rule: what is there stays there, whatever the rules have become since.
        if let Some((id, account)) = self.find_secret(token, aliases)? {
            let same = account == token.account_id;
            return if same { Ok(Outcome::Unchanged { id }) } else { Err(taken((id, account))) };
        }
        check::token(token, whole && token.state == TokenState::Active, self.rules)?;
        if !self.is_bulk() {
            check::validity(token)?;
        }
        // One that is revoked never acts again, whatever it refers to.
        if token.state == TokenState::Active {
            token.user_id.map_or(Ok(()), |user| self.require_user(token.account_id, user))?;
            if whole {
                self.check_coverage(token.account_id, token.user_id, &token.grants, plan)?;
            }
        }
        self.check_candidates(token)?;
        let id = self.insert_token(token)?;
        Ok(Outcome::Changed { id })
    }

    fn plan_of(&mut self, token: &NewToken) -> Result<Plan, StoreError> {
        let unknown = || views::unknown_account(token.account_id);
        let number = i64::try_from(token.account_id).map_err(|_| unknown())?;
        if let Some(plan) = self.remembered.plans.get(&number) {
            return Ok(*plan);
        }
        let plan: Option<String> =
            self.lookup("SELECT plan FROM accounts WHERE id = ?1", [number])?;
        let plan = parse_name(&plan.ok_or_else(unknown)?)?;
        if self.is_bulk() {
            self.remembered.plans.insert(number, plan);
        }
        Ok(plan)
    }

    /// Checks that no grant would be suspended. Personal tokens are bounded by their user, not by
    /// the plan.
    fn check_coverage(
        &self,
        account: AccountId,
        user: Option<UserId>,
        grants: &[Grant],
        plan: Plan,
    ) -> Result<(), StoreError> {
        if user.is_none() {
            check::plan(grants, account, plan, &self.rules.permission_sets)?;
        }
        grants
            .iter()
            .filter_map(|grant| grant.project_id)
            .try_for_each(|project| self.require_project(account, project))
    }

    /// Refuses a slow token where too many others would be tried for the same guess.
    fn check_candidates(&self, token: &NewToken) -> Result<(), StoreError> {
        if token.state == TokenState::Revoked {
            return Ok(());
        }
        let (Verifier::Hash { selector, .. } | Verifier::Introspect { selector }) = &token.verifier
        else {
            return Ok(());
        };
        let limit = self.rules.candidates_limit;
        let count: i64 = match selector {
            Some(selector) => self.lookup(
                "SELECT count(*) FROM tokens WHERE selector = ?1 AND state = 'active'",
                [selector],
            )?,
            None => self.lookup(
                "SELECT count(*) FROM tokens WHERE account_id = ?1 AND digest IS NULL
                 AND sha256 IS NULL AND selector IS NULL AND state = 'active'",
                [token.account_id as i64],
            )?,
        }
        .unwrap_or(0);
        if (count as usize) < limit { Ok(()) } else { Err(too_many(token, limit)) }
    }

    /// The token that has the same verifier or one of these, and its account.
    fn find_secret(
        &self,
        token: &NewToken,
        aliases: &[Verifier],
    ) -> Result<Option<(TokenId, u64)>, StoreError> {
        for verifier in std::iter::once(&token.verifier).chain(aliases) {
            if let Some(known) = self.find_verifier(token, verifier)? {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    fn find_verifier(
        &self,
        token: &NewToken,
        verifier: &Verifier,
    ) -> Result<Option<(TokenId, u64)>, StoreError> {
        let find = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| {
            let mut statement = self.connection.prepare_cached(sql)?;
            let found = statement.query_row(parameters, |row| {
                Ok((row.get::<_, i64>(0)? as TokenId, row.get::<_, i64>(1)? as u64))
            });
            Ok(found.optional()?)
        };
        match verifier {
            Verifier::Digest { digest, .. } => {
                find("SELECT id, account_id FROM tokens WHERE digest = ?1", &[&digest.0])
            }
            Verifier::Sha256(sha256) => {
                find("SELECT id, account_id FROM tokens WHERE sha256 = ?1", &[sha256])
            }
            Verifier::Hash { encoded, .. } => find(
                "SELECT id, account_id FROM tokens WHERE hash = ?1
                 UNION ALL SELECT id, account_id FROM tokens WHERE upgraded_from = ?2",
                &[encoded, &views::hash_mark(encoded)],
            ),
            // Nothing here tells one secret from another: a token is known by all that leads to it.
            Verifier::Introspect { selector } => find(
                "SELECT id, account_id FROM tokens WHERE account_id = ?1 AND name = ?2
                 AND introspect = 1 AND selector IS ?3 AND user_id IS ?4 ORDER BY id LIMIT 1",
                &[
                    &(token.account_id as i64),
                    &token.name,
                    selector,
                    &token.user_id.map(|id| id as i64),
                ],
            ),
        }
    }

    /// Everything that can be refused is checked before anything is written.
    fn insert_token(&mut self, token: &NewToken) -> Result<TokenId, StoreError> {
        let account = token.account_id as i64;
        let user = token.user_id.map(|id| check::number("user", id)).transpose()?;
        let allow_ips: Vec<IpNet> =
            token.allow_ips.iter().map(|cidr| check::cidr(*cidr)).collect::<Result<_, _>>()?;
        let mut projects = token.grants.iter().filter_map(|grant| grant.project_id);
        projects.try_for_each(|id| check::number("project", id).map(drop))?;
        let id = self.next_token()?;
        let version = self.log(&Subject::Token { account, token: id })?;
        let verifier = VerifierColumns::of(&token.verifier);
        self.run(
            "INSERT INTO tokens (id, account_id, name, user_id, state, created_at, not_before,
                 expires_at, allow_ips, key_id, digest, sha256, hash, introspect, selector, version)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            params![
                id,
                account,
                token.name,
                user,
                token_state_name(token.state),
                token.created_at.0,
                token.not_before.map(|at| at.0),
                token.expires_at.map(|at| at.0),
                prefixes_text(&allow_ips),
                verifier.key_id,
                verifier.digest,
                verifier.sha256,
                verifier.hash,
                verifier.introspect,
                verifier.selector,
                version
            ],
        )?;
        self.insert_grants(id, &token.grants)?;
        self.audit_created(id as TokenId, token)?;
        Ok(id as TokenId)
    }

    /// The number of the next token. The caller gives it away.
    fn next_token(&mut self) -> Result<i64, StoreError> {
        let last = match self.remembered.last_token {
            Some(last) => Some(last),
            None => self.lookup("SELECT seq FROM sqlite_sequence WHERE name = 'tokens'", [])?,
        };
        let id = last.unwrap_or(0) + 1;
        if self.is_bulk() {
            self.remembered.last_token = Some(id);
        }
        Ok(id)
    }

    fn insert_grants(&self, id: i64, grants: &[Grant]) -> Result<(), StoreError> {
        for (position, grant) in grants.iter().enumerate() {
            let project = grant.project_id.map(|id| check::number("project", id)).transpose()?;
            self.run(
                "INSERT INTO grants (token_id, position, permission_set, project_id, categories)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    id,
                    position as i64,
                    grant.permission_set,
                    project,
                    categories_text(&grant.writable_environment_categories)
                ],
            )?;
        }
        Ok(())
    }

    fn audit_created(&mut self, id: TokenId, token: &NewToken) -> Result<(), StoreError> {
        let name = event(token.user_id, "service_token.created", "account_scoped_pat.created");
        let keys = &self.rules.audit_keys;
        self.audit(&Event { name, account: token.account_id }, || {
            let NewToken { name, user_id, state, created_at, not_before, expires_at, .. } = token;
            let after = Created {
                allow_ips: &token.allow_ips,
                created_at: *created_at,
                expires_at: *expires_at,
                fingerprint: keys.fingerprint(&token.verifier),
                grants: &token.grants,
                name,
                not_before: *not_before,
                state: *state,
                user_id: *user_id,
                verifier: token.verifier.kind(),
            };
            (subject(id), Value::Null, after)
        })
    }
}

/// What the audit log says of a new token, in the order that JSON values have.
#[derive(Serialize)]
struct Created<'t> {
    allow_ips: &'t [IpNet],
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    fingerprint: Option<String>,
    grants: &'t [Grant],
    name: &'t str,
    not_before: Option<Timestamp>,
    state: TokenState,
    user_id: Option<UserId>,
    verifier: &'static str,
}

/// Those of `grants` that are not among `others`.
fn missing<'g>(grants: &'g [Grant], others: &[Grant]) -> Vec<&'g Grant> {
    grants.iter().filter(|grant| !others.contains(grant)).collect()
}

fn subject(id: TokenId) -> String {
    format!("token:{id}")
}

/// The published name of an event about a service token or a personal one.
fn event(user: Option<UserId>, service: &'static str, personal: &'static str) -> &'static str {
    if user.is_some() { personal } else { service }
}

fn can_rotate(old: &TokenView, now: Timestamp) -> Result<(), StoreError> {
    let id = old.id;
    let why = match (old.state, old.rotated_to, old.expires_at) {
        (TokenState::Revoked, _, _) => {
            format!("token {id} is revoked: make a new one with `portcullis token create`")
        }
        (_, Some(successor), _) => format!(
            "token {id} was rotated already: rotate its successor, `portcullis token rotate \
             {successor}`"
        ),
        (_, None, Some(expiry)) if expiry <= now => {
            format!("token {id} has expired: make a new one with `portcullis token create`")
        }
        _ => return Ok(()),
    };
    Err(StoreError::Conflict(why))
}

/// The token that takes over: for as long as the old one would have been valid.
fn successor(old: &TokenView, verifier: &Verifier, created_at: Timestamp) -> NewToken {
    NewToken {
        account_id: old.account_id,
        name: old.name.clone(),
        user_id: old.user_id,
        state: TokenState::Active,
        created_at,
        not_before: old.not_before.filter(|from| *from > created_at),
        expires_at: old.expires_at,
        allow_ips: old.allow_ips.clone(),
        grants: old.grants.clone(),
        verifier: verifier.clone(),
    }
}

fn taken((id, account): (TokenId, u64)) -> StoreError {
    StoreError::Conflict(format!(
        "token {id} of account {account} has the same verifier: a secret can be one token's only"
    ))
}

fn too_many(token: &NewToken, limit: usize) -> StoreError {
    let (sharing, remedy) = match &token.verifier {
        Verifier::Hash { selector: Some(_), .. } | Verifier::Introspect { selector: Some(_) } => {
            ("with this selector", "give a longer selector")
        }
        _ => ("without a selector in the account", "give a selector"),
    };
    StoreError::Rule(format!(
        "there are {limit} slow tokens {sharing} already, as many as may be tried for one guess: \
         {remedy}, or raise `[legacy] candidates_limit`"
    ))
}
