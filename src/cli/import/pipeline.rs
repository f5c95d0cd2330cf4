//! From lines to the store: while it works on a batch, the next one is read.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde_json::{Value, json};

use super::Summary;
use super::batch::{Concluded, Fate, Numbered, Planner, Plans};
use super::line::Line;
use super::progress::Progress;
use super::rejects::Rejects;
use super::source::{Source, Step};
use crate::cli::exit::Failure;
use crate::cli::session::Session;
use crate::core::digest::DigestKeys;
use crate::core::record::Plan;
use crate::store::{Actor, Command, Note, Outcome, Store, StoreError};

/// Most lines that are applied together. Two batches at a time are in memory.
const BATCH_LINES: usize = 8_000;
/// Bytes of lines at which a batch is applied though it has fewer.
const BATCH_BYTES: u64 = 8 << 20;
/// An input of fewer lines is numbered change by change, so that gates have it in force at once;
/// after a larger one they take a snapshot.
const BULK_LINES: usize = 1_000;

/// What an import works with.
pub(super) struct Settings<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) keys: &'a DigestKeys,
    /// The plan of accounts to make.
    pub(super) create_accounts: Option<Plan>,
    /// Its bytes, where that is known.
    pub(super) size: Option<u64>,
    pub(super) dry_run: bool,
}

/// Commands on their way to the store, and what came of them on the way back.
type Work = (Actor, Vec<Command>);
type Outcomes = Vec<Result<Outcome, StoreError>>;

/// Imports everything that the source has.
pub(super) fn import_all(
    source: Source<'_>,
    rejects: Rejects,
    settings: &Settings<'_>,
    session: &mut Session<'_>,
) -> Result<Summary, Failure> {
    let mut importer = Importer {
        source,
        planner: Planner::new(settings.keys, settings.create_accounts),
        rejects,
        progress: Progress::new(settings.size),
        summary: Summary::default(),
        made: 0,
        actor: None,
    };
    let outcome = std::thread::scope(|scope| {
        let (commands, received) = sync_channel::<Work>(1);
        let (answer, answers) = sync_channel(1);
        let store = settings.store;
        scope.spawn(move || apply(store, &received, &answer));
        importer.run(&Worker { commands, answers }, session)
    });
    // Also after a failure: what was stored before it must reach the gates.
    if importer.actor.as_ref().is_some_and(|actor| actor.bulk) && importer.has_changed() {
        settings.store.rebase()?;
    }
    if importer.has_changed() {
        let note = Command::Note(Box::new(importer.note(outcome.is_ok())));
        settings.store.apply(&session.actor(), note)?;
    }
    session.say_raw(importer.progress.wipe());
    outcome?;
    importer.finish(settings.dry_run, session)
}

/// Applies batch after batch, until there are no more.
fn apply(store: &dyn Store, commands: &Receiver<Work>, answer: &SyncSender<Outcomes>) {
    while let Ok((actor, commands)) = commands.recv() {
        if answer.send(store.apply_all(&actor, commands)).is_err() {
            return;
        }
    }
}

/// The thread that applies batches.
struct Worker {
    commands: SyncSender<Work>,
    answers: Receiver<Outcomes>,
}

/// A batch that the store works on.
struct Sent {
    batch: Vec<Numbered>,
    plans: Plans,
}

/// Reads batches, has them applied, and notes what became of them.
struct Importer<'a> {
    source: Source<'a>,
    planner: Planner<'a>,
    rejects: Rejects,
    progress: Progress,
    summary: Summary,
    /// Accounts and projects made on the way.
    made: u64,
    actor: Option<Actor>,
}

impl Importer<'_> {
    fn run(&mut self, store: &Worker, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut sent: Option<Sent> = None;
        loop {
            let next = self.next_batch(session);
            if let Some(sent) = sent.take() {
                self.settle(sent, store, session)?;
            }
            let mut batch = next?;
            if batch.is_empty() {
                return Ok(());
            }
            let operator = || actor_for(&batch, session.actor());
            let actor = self.actor.get_or_insert_with(operator).clone();
            let mut plans = self.planner.plan(&mut batch);
            let commands = std::mem::take(&mut plans.commands);
            store.commands.send((actor, commands)).map_err(|_| stopped())?;
            sent = Some(Sent { batch, plans });
        }
    }

    /// The next lines that ask for something; nothing at the end.
    fn next_batch(&mut self, session: &mut Session<'_>) -> Result<Vec<Numbered>, Failure> {
        let mut batch = Vec::with_capacity(BATCH_LINES);
        let end = self.source.bytes() + BATCH_BYTES;
        // The second condition: a batch that is cut short must still tell a large input.
        while batch.len() < BATCH_LINES && (self.source.bytes() < end || batch.len() < BULK_LINES) {
            match self.source.next(session)? {
                Step::Found(numbered) => batch.push(*numbered),
                Step::Nothing => {}
                Step::End => break,
            }
        }
        Ok(batch)
    }

    fn settle(
        &mut self,
        Sent { batch, plans }: Sent,
        store: &Worker,
        session: &mut Session<'_>,
    ) -> Result<(), Failure> {
        let outcomes = store.answers.recv().map_err(|_| stopped())?;
        let Concluded { fates, made } = plans.conclude(outcomes)?;
        self.made += made;
        for (numbered, fate) in batch.iter().zip(fates) {
            self.summary.lines += 1;
            match fate {
                Fate::Added => self.summary.added += 1,
                Fate::Unchanged => self.summary.unchanged += 1,
                Fate::Rejected(reason) => self.reject(numbered, &reason, session)?,
            }
        }
        if session.around.stderr_is_terminal
            && let Some(line) = self.progress.line(self.summary.lines, self.source.bytes())
        {
            session.say_raw(&line);
        }
        Ok(())
    }

    fn reject(
        &mut self,
        numbered: &Numbered,
        reason: &str,
        session: &mut Session<'_>,
    ) -> Result<(), Failure> {
        self.summary.rejected += 1;
        let text = numbered.text.as_deref().map(String::as_str);
        self.rejects
            .push(numbered.number, reason, text, session.around.stderr)
            .map_err(|error| rejects_failed(&error))
    }

    /// What the audit log says of the whole import, whose changes have entries of their own.
    fn note(&self, finished: bool) -> Note {
        let (file, digest) = self.source.name_and_digest();
        let Summary { lines, added, unchanged, rejected } = self.summary;
        Note {
            event: if finished { "import.finished" } else { "import.interrupted" },
            account_id: None,
            subject: "import".to_owned(),
            before: Value::Null,
            after: json!({
                "file": file,
                "blake3": digest.to_hex().as_str(),
                "lines": lines,
                "added": added,
                "unchanged": unchanged,
                "rejected": rejected,
                "accounts_and_projects_made": self.made,
            }),
        }
    }

    fn has_changed(&self) -> bool {
        self.summary.added + self.made > 0
    }

    fn finish(mut self, dry_run: bool, session: &mut Session<'_>) -> Result<Summary, Failure> {
        let rejects = self.rejects.finish().map_err(|error| rejects_failed(&error))?;
        let Summary { lines, added, unchanged, rejected } = self.summary;
        let would = if dry_run { " (dry run: nothing was changed)" } else { "" };
        session.say(&format!(
            "{lines} lines: {added} added, {unchanged} unchanged, {rejected} rejected{would}"
        ));
        if let Some(path) = rejects {
            session.say(&format!("what was rejected, and why, is in {}", path.display()));
        }
        if self.made > 0 {
            session.say(&format!("{} accounts and projects were made for them", self.made));
        }
        Ok(self.summary)
    }
}

/// The first batch tells how large the input is: if it is a small one, it is all of it. A token
/// that was rotated before it became valid is taken back only as part of a bulk import.
fn actor_for(first: &[Numbered], operator: Actor) -> Actor {
    let never_valid = |numbered: &Numbered| numbered.read.as_ref().is_ok_and(Line::is_never_valid);
    if first.len() >= BULK_LINES || first.iter().any(never_valid) {
        operator.in_bulk()
    } else {
        operator
    }
}

fn stopped() -> Failure {
    Failure::failed("the thread that writes to the store has ended")
}

fn rejects_failed(error: &std::io::Error) -> Failure {
    Failure::failed(format!("the rejects cannot be written: {error}"))
}
