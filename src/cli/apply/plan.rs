//! What has to change for the store to be as a file declares it, in an order in which each change
//! finds what it needs.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::cli::exit::Failure;
use crate::cli::shape::word;
use crate::cli::token::make_secret;
use crate::config::accounts::{self as declared, Declared};
use crate::core::digest::DigestKeys;
use crate::core::grant::format_grant;
use crate::core::record::{AccountId, AccountState, Grant, Timestamp, TokenState, UserId};
use crate::core::token::{Secret, TokenKind};
use crate::store::{
    AccountView, Command, IdView, IpRuleView, NewToken, ProjectView, Store, StoreError,
    TokenFilter, TokenView, UserView,
};

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    /// Makes something.
    Create,
    /// Changes something.
    Change,
    /// Removes something that is not declared.
    Remove,
}

/// A change, for people and for the store.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    /// The line that asks for it; for what is removed, the account's.
    pub(super) line: usize,
    pub(super) action: Action,
    pub(super) account_id: AccountId,
    /// For instance `project 42`.
    pub(super) subject: String,
    /// What is made or changed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) detail: String,
    #[serde(skip)]
    pub(super) command: Command,
    /// The secret of the token that is made.
    #[serde(skip)]
    pub(super) secret: Option<Secret>,
}

/// Something declared that cannot be had, with its line.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) line: usize,
    pub(super) message: String,
}

/// How to plan.
pub(super) struct Planner<'p> {
    pub(super) store: &'p dyn Store,
    pub(super) keys: &'p DigestKeys,
    pub(super) now: Timestamp,
    /// Remove what declared accounts have and the file does not declare.
    pub(super) prune: bool,
}

/// All that has to change, and what cannot be.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub(super) changes: Vec<Change>,
    pub(super) problems: Vec<Problem>,
}

impl Planner<'_> {
    /// Compares the store with what is declared.
    pub(super) fn plan(
        &self,
        accounts: &[Declared<declared::Account>],
    ) -> Result<Outline, Failure> {
        let mut outline = Outline::default();
        for Declared { line, item } in accounts {
            let known = match self.store.account(item.id) {
                Ok(known) => Some(known),
                Err(StoreError::NotFound(_)) => None,
                Err(error) => return Err(error.into()),
            };
            let mut part = Part { account: item, line: *line, outline: &mut outline };
            part.account(known.as_ref());
            let has = if known.is_some() { Has::of(self.store, item.id)? } else { Has::default() };
            part.projects(&has);
            part.users(&has);
            part.ids(&has);
            part.ip_rules(&has, known.as_ref(), self.prune);
            self.tokens(&mut part, &has)?;
            if self.prune {
                part.prune(&has);
            }
        }
        Ok(outline)
    }

    fn tokens(&self, part: &mut Part<'_>, has: &Has) -> Result<(), Failure> {
        for Declared { line, item } in &part.account.tokens {
            let mut same = has.tokens.iter().filter(|view| is_meant(item, view));
            match (same.next(), same.next()) {
                (None, _) => {
                    let (command, secret) = self.create(part.account.id, item)?;
                    let detail = grants(&item.grants);
                    part.add(*line, Action::Create, token_name(item), detail, command);
                    let made = part.outline.changes.last_mut();
                    made.expect("invariant: just added").secret = Some(secret);
                }
                (Some(view), None) => part.token(*line, item, view),
                (Some(one), Some(other)) => part.problem(*line, format!(
                    "{} is not one token but several, such as {} and {}: rename all but one, or \
                     revoke them",
                    token_name(item), one.id, other.id
                )),
            }
        }
        Ok(())
    }

    fn create(
        &self,
        account_id: AccountId,
        token: &declared::Token,
    ) -> Result<(Command, Secret), Failure> {
        let kind = if token.user_id.is_some() { TokenKind::Personal } else { TokenKind::Service };
        let (secret, verifier) = make_secret(kind, self.keys)?;
        let token = NewToken {
            account_id,
            name: token.name.clone(),
            user_id: token.user_id,
            state: TokenState::Active,
            created_at: self.now,
            not_before: token.not_before,
            expires_at: token.expires_at,
            allow_ips: token.allow_ips.clone().unwrap_or_default(),
            grants: token.grants.clone(),
            verifier,
        };
        Ok((Command::CreateToken(Box::new(token)), secret))
    }
}

/// What an account has.
#[derive(Default)]
struct Has {
    projects: Vec<ProjectView>,
    users: Vec<UserView>,
    ip_rules: Vec<IpRuleView>,
    ids: Vec<IdView>,
    /// Active ones that no rotation replaced.
    tokens: Vec<TokenView>,
    /// Replaced ones whose grace period may go on.
    replaced: Vec<TokenView>,
}

impl Has {
    fn of(store: &dyn Store, account: AccountId) -> Result<Self, StoreError> {
        let (mut tokens, mut replaced) = (Vec::new(), Vec::new());
        store.tokens(&TokenFilter { account_id: Some(account) }, &mut |view| {
            if view.state == TokenState::Active {
                let kept = if view.rotated_to.is_none() { &mut tokens } else { &mut replaced };
                kept.push(view);
            }
            Ok(())
        })?;
        Ok(Self {
            projects: store.projects(account)?,
            users: store.users(account)?,
            ip_rules: store.ip_rules(account)?,
            ids: store.ids(account)?,
            tokens,
            replaced,
        })
    }
}

/// The plan for one account.
struct Part<'p> {
    account: &'p declared::Account,
    line: usize,
    outline: &'p mut Outline,
}

impl Part<'_> {
    fn add(
        &mut self,
        line: usize,
        action: Action,
        subject: String,
        detail: String,
        command: Command,
    ) {
        let account_id = self.account.id;
        let secret = None;
        self.outline.changes.push(Change {
            line,
            action,
            account_id,
            subject,
            detail,
            command,
            secret,
        });
    }

    fn problem(&mut self, line: usize, message: String) {
        self.outline.problems.push(Problem { line, message });
    }

    fn account(&mut self, known: Option<&AccountView>) {
        let declared::Account { id, ref name, plan, state, .. } = *self.account;
        let (line, subject) = (self.line, format!("account {id}"));
        let Some(known) = known else {
            let closed = if state == AccountState::Closed { ", closed" } else { "" };
            let detail = format!("`{name}`, plan {plan}{closed}");
            let command = Command::CreateAccount { id, name: name.clone(), plan, state };
            return self.add(line, Action::Create, subject, detail, command);
        };
        if known.name != *name {
            let detail = format!("name `{}` -> `{name}`", known.name);
            let command = Command::RenameAccount { id, name: name.clone() };
            self.add(line, Action::Change, subject.clone(), detail, command);
        }
        if known.plan != plan {
            let detail = format!("plan {} -> {plan}", known.plan);
            self.add(line, Action::Change, subject.clone(), detail, Command::SetPlan { id, plan });
        }
        if known.state != state {
            let detail = match state {
                AccountState::Open => "closed -> open",
                AccountState::Closed => "open -> closed: its tokens are denied",
            };
            let command = Command::SetAccountState { id, state };
            self.add(line, Action::Change, subject, detail.to_owned(), command);
        }
    }

    fn projects(&mut self, has: &Has) {
        let account_id = self.account.id;
        for Declared { line, item } in &self.account.projects {
            let declared::Project { id, ref name } = *item;
            let subject = format!("project {id}");
            match has.projects.iter().find(|view| view.id == id) {
                None => {
                    let command = Command::CreateProject { account_id, id, name: name.clone() };
                    self.add(*line, Action::Create, subject, format!("`{name}`"), command);
                }
                Some(known) if known.name != *name => {
                    let detail = format!("name `{}` -> `{name}`", known.name);
                    let command = Command::RenameProject { account_id, id, name: name.clone() };
                    self.add(*line, Action::Change, subject, detail, command);
                }
                Some(_) => {}
            }
        }
    }

    fn users(&mut self, has: &Has) {
        let account_id = self.account.id;
        for Declared { line, item } in &self.account.users {
            let declared::User { id, ref name, licence, admin } = *item;
            let subject = format!("user {id}");
            let described = |name: &str, licence, admin| {
                let admin = if admin { ", admin" } else { "" };
                format!("`{name}`, licence {licence}{admin}")
            };
            let after = described(name, licence, admin);
            let name = name.clone();
            match has.users.iter().find(|view| view.id == id) {
                None => {
                    let command = Command::CreateUser { account_id, id, name, licence, admin };
                    self.add(*line, Action::Create, subject, after, command);
                }
                Some(known) => {
                    let before = described(&known.name, known.licence, known.admin);
                    if before != after {
                        let command = Command::ChangeUser { account_id, id, name, licence, admin };
                        let detail = format!("{before} -> {after}");
                        self.add(*line, Action::Change, subject, detail, command);
                    }
                }
            }
        }
    }

    fn ids(&mut self, has: &Has) {
        let account_id = self.account.id;
        for Declared { line, item } in &self.account.ids {
            let declared::Id { ref index, id, project_id, environment_category } = *item;
            let known = has.ids.iter().find(|view| view.index == *index && view.id == id);
            let described = |project, category: Option<_>| match category {
                Some(category) => format!("project {project}, {category}"),
                None => format!("project {project}"),
            };
            let after = described(project_id, environment_category);
            let before = known.map(|view| described(view.project_id, view.environment_category));
            if before.as_ref() == Some(&after) {
                continue;
            }
            let (action, detail) = match before {
                Some(before) => (Action::Change, format!("{before} -> {after}")),
                None => (Action::Create, after),
            };
            let index = index.clone();
            let subject = format!("{index} {id}");
            let command =
                Command::SetId { account_id, index, id, project_id, environment_category };
            self.add(*line, action, subject, detail, command);
        }
    }

    /// The rules, and whether they are in force. Of an account of which the file says nothing
    /// about them, nothing is removed: that would let everybody in.
    fn ip_rules(&mut self, has: &Has, known: Option<&AccountView>, prune: bool) {
        let account_id = self.account.id;
        let declared = &self.account.ip_rules;
        let says_nothing = declared.is_empty() && self.account.ip_rules_enabled.is_none();
        if prune && !says_nothing {
            for view in &has.ip_rules {
                if !declared.iter().any(|rule| rule.item.cidr == view.cidr) {
                    let command = Command::RemoveIpRule { account_id, cidr: view.cidr };
                    let subject = format!("IP rule {} {}", word(view.action), view.cidr);
                    self.add(self.line, Action::Remove, subject, String::new(), command);
                }
            }
        }
        for Declared { line, item } in declared {
            let declared::IpRule { action, cidr, ref name } = *item;
            let subject = format!("IP rule {} {cidr}", word(action));
            let add =
                |name: &str| Command::AddIpRule { account_id, action, cidr, name: name.to_owned() };
            let Some(view) = has.ip_rules.iter().find(|view| view.cidr == cidr) else {
                let name = name.as_deref().unwrap_or_default();
                let detail = if name.is_empty() { String::new() } else { format!("`{name}`") };
                self.add(*line, Action::Create, subject, detail, add(name));
                continue;
            };
            let name = name.as_deref().unwrap_or(&view.name);
            if view.action != action || view.name != name {
                let detail =
                    format!("{} `{}` -> {} `{name}`", word(view.action), view.name, word(action));
                let remove = Command::RemoveIpRule { account_id, cidr };
                self.add(*line, Action::Change, subject.clone(), detail, remove);
                self.add(*line, Action::Change, subject, "put in its place".to_owned(), add(name));
            }
        }
        let before = known.is_some_and(|known| known.ip_rules_enabled);
        if let Some(enabled) = self.account.ip_rules_enabled.filter(|enabled| *enabled != before) {
            let detail = if enabled { "put in force" } else { "put out of force" };
            let command = Command::EnableIpRules { account_id, enabled };
            self.add(self.line, Action::Change, "IP rules".to_owned(), detail.to_owned(), command);
        }
    }

    /// A token that is there: its grants can change, and nothing else.
    fn token(&mut self, line: usize, item: &declared::Token, view: &TokenView) {
        let mut fixed = Vec::new();
        let mut narrowing = view.allow_ips.clone();
        narrowing.sort();
        if item.allow_ips.as_ref().is_some_and(|wanted| *wanted != narrowing) {
            fixed.push("allow_ips");
        }
        if item.not_before.is_some() && item.not_before != view.not_before {
            fixed.push("not_before");
        }
        if item.expires_at.is_some() && item.expires_at != view.expires_at {
            fixed.push("expires_at");
        }
        if !fixed.is_empty() {
            return self.problem(
                line,
                format!(
                    "{} is token {}, which has another {}; that never changes: declare the token \
                 under another name, or revoke this one (`portcullis token revoke {}`) for \
                 another to be made",
                    token_name(item),
                    view.id,
                    fixed.join(" and "),
                    view.id
                ),
            );
        }
        let sorted = |grants: &[Grant]| grants.iter().map(format_grant).collect::<BTreeSet<_>>();
        if sorted(&item.grants) != sorted(&view.grants) {
            let detail = format!("{} -> {}", grants(&view.grants), grants(&item.grants));
            let command = Command::SetGrants { id: view.id, grants: item.grants.clone() };
            let subject = format!("{} ({})", token_name(item), view.id);
            self.add(line, Action::Change, subject, detail, command);
        }
    }

    /// What is not declared: tokens before their users, ids before their projects.
    fn prune(&mut self, has: &Has) {
        let (account_id, account, line) = (self.account.id, self.account, self.line);
        let declared =
            |view: &TokenView| account.tokens.iter().any(|one| is_meant(&one.item, view));
        let gone = has.tokens.iter().chain(&has.replaced).filter(|view| !declared(view));
        for view in gone {
            let owner = view
                .user_id
                .map_or("service token".to_owned(), |user| format!("token of user {user}"));
            let detail = "revoked, for good".to_owned();
            let command = Command::RevokeToken { id: view.id };
            self.add(
                line,
                Action::Remove,
                format!("{owner} `{}` ({})", view.name, view.id),
                detail,
                command,
            );
        }
        for view in &has.users {
            if !account.users.iter().any(|one| one.item.id == view.id) {
                let command = Command::RemoveUser { account_id, id: view.id };
                let detail = "with the personal tokens, if any".to_owned();
                self.add(
                    line,
                    Action::Remove,
                    format!("user {} `{}`", view.id, view.name),
                    detail,
                    command,
                );
            }
        }
        for view in &has.ids {
            let same = |one: &declared::Id| one.index == view.index && one.id == view.id;
            if !account.ids.iter().any(|one| same(&one.item)) {
                let command =
                    Command::RemoveId { account_id, index: view.index.clone(), id: view.id };
                self.add(
                    line,
                    Action::Remove,
                    format!("{} {}", view.index, view.id),
                    String::new(),
                    command,
                );
            }
        }
        for view in &has.projects {
            if !account.projects.iter().any(|one| one.item.id == view.id) {
                let command = Command::RemoveProject { account_id, id: view.id };
                let detail = "grants on it cover nothing then".to_owned();
                self.add(
                    line,
                    Action::Remove,
                    format!("project {} `{}`", view.id, view.name),
                    detail,
                    command,
                );
            }
        }
    }
}

fn is_meant(token: &declared::Token, view: &TokenView) -> bool {
    view.name == token.name && view.user_id == token.user_id
}

fn token_name(token: &declared::Token) -> String {
    let name = &token.name;
    token.user_id.map_or_else(
        || format!("service token `{name}`"),
        |user: UserId| format!("token of user {user} `{name}`"),
    )
}

fn grants(grants: &[Grant]) -> String {
    grants.iter().map(format_grant).collect::<Vec<_>>().join(" ")
}
