//! Lines that are read but not yet applied, and what becomes of them.

use std::collections::HashSet;

use zeroize::Zeroizing;

use super::fields::Reason;
use super::line::Line;
use crate::cli::token::fast_verifiers;
use crate::core::digest::DigestKeys;
use crate::core::record::{AccountId, AccountState, Plan, ProjectId};
use crate::core::token::Secret;
use crate::store::{Command, ImportedToken, Outcome, StoreError};

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

/// Most accounts and projects that are remembered to have been asked for. Past that all are
/// forgotten, and asked for again where they are named again.
const KNOWN_LIMIT: usize = 1 << 16;

/// Plans what lines ask of the store, and makes what they name and the store lacks, if asked to.
pub(super) struct Planner<'a> {
    keys: &'a DigestKeys,
    /// The plan of accounts to make.
    create: Option<Plan>,
    /// Accounts and projects that are there or have been asked for.
    known: HashSet<(AccountId, Option<ProjectId>)>,
}

/// The commands of a batch, and which of its lines they are for.
pub(super) struct Plans {
    pub(super) commands: Vec<Command>,
    lines: Vec<Result<Planned, Reason>>,
}

/// The commands of one line: what it needs, then what it asks for.
struct Planned {
    commands: usize,
    /// Adding what is there in another form leaves it as it is.
    keeps_existing: bool,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Concluded {
    /// One for each line, in order.
    pub(super) fates: Vec<Fate>,
    /// Accounts and projects made on the way.
    pub(super) made: u64,
}

impl<'a> Planner<'a> {
    pub(super) fn new(keys: &'a DigestKeys, create: Option<Plan>) -> Self {
        Self { keys, create, known: HashSet::new() }
    }

    /// Takes what the lines ask for out of them.
    pub(super) fn plan(&mut self, batch: &mut [Numbered]) -> Plans {
        let mut commands = Vec::with_capacity(batch.len());
        let lines = batch
            .iter_mut()
            .map(|numbered| match &mut numbered.read {
                Ok(line) => Ok(self.plan_line(line, &mut commands)),
                Err(reason) => Err(std::mem::take(reason)),
            })
            .collect();
        Plans { commands, lines }
    }

    fn plan_line(&mut self, line: &mut Line, commands: &mut Vec<Command>) -> Planned {
        let before = commands.len();
        let keeps_existing = matches!(
            line.command,
            Command::CreateAccount { .. }
                | Command::CreateProject { .. }
                | Command::CreateUser { .. }
        );
        self.provide(line, commands);
        let command = std::mem::replace(&mut line.command, NOTHING);
        commands.push(self.as_import(command, line.secret.take(), line.suspended));
        Planned { commands: commands.len() - before, keeps_existing }
    }

    /// A secret that is known by another verifier is there already, so that a change of keys
    /// revives nothing. And no line puts IP rules out of force that an operator has enabled.
    fn as_import(&self, command: Command, secret: Option<Secret>, suspended: bool) -> Command {
        match command {
            Command::EnableIpRules { account_id, enabled: false } => {
                Command::KeepIpRules { account_id }
            }
            Command::CreateToken(token) if suspended || secret.is_some() => {
                // The first is the digest under the current key, which the token has itself.
                let others = |secret| fast_verifiers(self.keys, &secret).skip(1).collect();
                let aliases = secret.map(others).unwrap_or_default();
                Command::ImportToken(Box::new(ImportedToken { token: *token, suspended, aliases }))
            }
            other => other,
        }
    }

    /// Adds commands that make the account and the projects that the line needs. Where they are
    /// there, the commands change nothing.
    fn provide(&mut self, line: &Line, commands: &mut Vec<Command>) {
        let Some(plan) = self.create else { return };
        let id = line.account_id;
        if self.known.len() >= KNOWN_LIMIT {
            self.known.clear();
        }
        let makes_account = matches!(line.command, Command::CreateAccount { .. });
        if self.known.insert((id, None)) && !makes_account {
            let (name, state) = (format!("account {id}"), AccountState::Open);
            commands.push(Command::CreateAccount { id, name, plan, state });
        }
        if let Command::CreateProject { id: project, .. } = line.command {
            self.known.insert((id, Some(project)));
        }
        for project in &line.projects {
            if self.known.insert((id, Some(*project))) {
                let name = format!("project {project}");
                commands.push(Command::CreateProject { account_id: id, id: *project, name });
            }
        }
    }
}

impl Plans {
    /// What became of the lines. The store gives one outcome for each command.
    ///
    /// # Errors
    /// The database's: then it is not known what of this batch is stored, and nothing after it is.
    pub(super) fn conclude(
        self,
        outcomes: Vec<Result<Outcome, StoreError>>,
    ) -> Result<Concluded, StoreError> {
        let mut outcomes = outcomes.into_iter();
        let mut concluded = Concluded::default();
        for planned in self.lines {
            let fate = match planned {
                Ok(planned) => planned.conclude(&mut outcomes, &mut concluded.made)?,
                Err(reason) => Fate::Rejected(reason),
            };
            concluded.fates.push(fate);
        }
        Ok(concluded)
    }
}

impl Planned {
    fn conclude(
        &self,
        outcomes: &mut impl Iterator<Item = Result<Outcome, StoreError>>,
        made: &mut u64,
    ) -> Result<Fate, StoreError> {
        for _ in 1..self.commands {
            match outcomes.next() {
                Some(Ok(Outcome::Changed { .. })) => *made += 1,
                Some(Err(error @ StoreError::Database(_))) => return Err(error),
                // The line's own command then says what it lacks.
                Some(Ok(Outcome::Unchanged { .. }) | Err(_)) | None => {}
            }
        }
        match outcomes.next().expect("invariant: the store gives one outcome for each command") {
            Ok(Outcome::Changed { .. }) => Ok(Fate::Added),
            Ok(Outcome::Unchanged { .. }) => Ok(Fate::Unchanged),
            Err(StoreError::Conflict(_)) if self.keeps_existing => Ok(Fate::Unchanged),
            Err(error @ StoreError::Database(_)) => Err(error),
            Err(refusal) => Ok(Fate::Rejected(refusal.to_string())),
        }
    }
}

/// Left behind where a line's command was taken out.
const NOTHING: Command = Command::KeepIpRules { account_id: 0 };
