//! Lines that are read but not yet applied, and what becomes of them.

use std::collections::{HashMap, HashSet};

use zeroize::Zeroizing;

use super::fields::Reason;
use super::line::Line;
use crate::cli::token::fast_verifiers;
use crate::core::digest::DigestKeys;
use crate::core::record::{AccountId, AccountState, Plan, ProjectId};
use crate::core::token::Secret;
use crate::store::{Actor, Command, Outcome, Store, StoreError};

/// A line with its number.
pub(super) struct Numbered {
    pub(super) number: u64,
    /// For the rejects; `None` where it is no text or too long.
    pub(super) text: Option<Zeroizing<String>>,
    pub(super) read: Result<Line, Reason>,
}

/// What became of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Something was added or set.
    Added,
    /// It was there.
    Unchanged,
    /// It was refused.
    Rejected(Reason),
}

/// Applies batches, and makes what lines name and the store lacks, if asked to.
pub(super) struct Applier<'a> {
    store: &'a dyn Store,
    keys: &'a DigestKeys,
    /// The plan of accounts to make.
    create: Option<Plan>,
    /// What is known to be there: only kept where missing things are made. Takes some 16 bytes
    /// for each project of each account that is named.
    known: HashMap<AccountId, HashSet<ProjectId>>,
    /// Accounts and projects made on the way.
    pub(super) made: u64,
}

/// The commands of one line: what it needs, then what it asks for.
struct Planned {
    commands: usize,
    /// What becomes of the line, where that is known without applying it.
    settled: Option<Fate>,
    /// Adding what is there in another form leaves it as it is.
    keeps_existing: bool,
}

impl<'a> Applier<'a> {
    pub(super) fn new(store: &'a dyn Store, keys: &'a DigestKeys, create: Option<Plan>) -> Self {
        Self { store, keys, create, known: HashMap::new(), made: 0 }
    }

    /// Applies a batch. One fate for each line, in order.
    ///
    /// # Errors
    /// The database's: then it is not known what of this batch is stored, and nothing after it is.
    pub(super) fn apply(
        &mut self,
        batch: &mut [Numbered],
        actor: &Actor,
    ) -> Result<Vec<Fate>, StoreError> {
        let mut commands = Vec::with_capacity(batch.len());
        let mut plans = Vec::with_capacity(batch.len());
        for numbered in batch.iter_mut() {
            let plan = match &mut numbered.read {
                Ok(line) => Ok(self.plan(line, &mut commands)?),
                Err(reason) => Err(std::mem::take(reason)),
            };
            plans.push(plan);
        }
        let mut outcomes = self.store.apply_all(actor, commands).into_iter();
        let mut fates = Vec::with_capacity(plans.len());
        for plan in plans {
            fates.push(match plan {
                Ok(plan) => self.conclude(plan, &mut outcomes)?,
                Err(reason) => Fate::Rejected(reason),
            });
        }
        Ok(fates)
    }

    fn plan(
        &mut self,
        line: &mut Line,
        commands: &mut Vec<Command>,
    ) -> Result<Planned, StoreError> {
        let before = commands.len();
        let keeps_existing = matches!(
            line.command,
            Command::CreateAccount { .. }
                | Command::CreateProject { .. }
                | Command::CreateUser { .. }
        );
        let settled = self.settle(line)?;
        if settled.is_none() {
            self.provide(line, commands)?;
            commands.push(std::mem::replace(&mut line.command, NOTHING));
        }
        Ok(Planned { commands: commands.len() - before, settled, keeps_existing })
    }

    /// A secret that is known by another verifier is there already, so that a change of keys
    /// revives nothing. And no line puts IP rules out of force that an operator has enabled.
    fn settle(&self, line: &Line) -> Result<Option<Fate>, StoreError> {
        if let Some(secret) = &line.secret {
            return self.find_otherwise(line.account_id, secret);
        }
        let Command::EnableIpRules { account_id, enabled: false } = line.command else {
            return Ok(None);
        };
        match self.store.account(account_id) {
            Ok(account) => Ok(account.ip_rules_enabled.then_some(Fate::Unchanged)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn find_otherwise(
        &self,
        account: AccountId,
        secret: &Secret,
    ) -> Result<Option<Fate>, StoreError> {
        // The first is the digest under the current key, for which the store itself looks.
        for verifier in fast_verifiers(self.keys, secret).skip(1) {
            let Some(view) = self.store.token_by_verifier(&verifier)? else { continue };
            if view.account_id == account {
                return Ok(Some(Fate::Unchanged));
            }
            return Ok(Some(Fate::Rejected(format!(
                "token {} of account {} has the same secret: a secret can be one token's only",
                view.id, view.account_id
            ))));
        }
        Ok(None)
    }

    /// Adds commands that make the account and the projects that the line needs.
    fn provide(&mut self, line: &Line, commands: &mut Vec<Command>) -> Result<(), StoreError> {
        let Some(plan) = self.create else { return Ok(()) };
        let id = line.account_id;
        let makes_account = matches!(line.command, Command::CreateAccount { .. });
        let there = self.is_there(id)?;
        if !there && !makes_account {
            let (name, state) = (format!("account {id}"), AccountState::Open);
            commands.push(Command::CreateAccount { id, name, plan, state });
        }
        let projects = self.known.entry(id).or_default();
        if let Command::CreateProject { id, .. } = line.command {
            projects.insert(id);
        }
        for project in &line.projects {
            if projects.insert(*project) {
                let name = format!("project {project}");
                commands.push(Command::CreateProject { account_id: id, id: *project, name });
            }
        }
        Ok(())
    }

    fn is_there(&mut self, account: AccountId) -> Result<bool, StoreError> {
        if self.known.contains_key(&account) {
            return Ok(true);
        }
        match self.store.projects(account) {
            Ok(projects) => {
                self.known.insert(account, projects.into_iter().map(|view| view.id).collect());
                Ok(true)
            }
            Err(StoreError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn conclude(
        &mut self,
        plan: Planned,
        outcomes: &mut impl Iterator<Item = Result<Outcome, StoreError>>,
    ) -> Result<Fate, StoreError> {
        if let Some(fate) = plan.settled {
            return Ok(fate);
        }
        for _ in 1..plan.commands {
            match outcomes.next() {
                Some(Ok(Outcome::Changed { .. })) => self.made += 1,
                Some(Err(error @ StoreError::Database(_))) => return Err(error),
                // The line's own command then says what it lacks.
                Some(Ok(Outcome::Unchanged { .. }) | Err(_)) | None => {}
            }
        }
        match outcomes.next().expect("invariant: the store gives one outcome for each command") {
            Ok(Outcome::Changed { .. }) => Ok(Fate::Added),
            Ok(Outcome::Unchanged { .. }) => Ok(Fate::Unchanged),
            Err(StoreError::Conflict(_)) if plan.keeps_existing => Ok(Fate::Unchanged),
            Err(error @ StoreError::Database(_)) => Err(error),
            Err(refusal) => Ok(Fate::Rejected(refusal.to_string())),
        }
    }
}

/// Left behind where a line's command was taken out.
const NOTHING: Command = Command::EnableIpRules { account_id: 0, enabled: false };
