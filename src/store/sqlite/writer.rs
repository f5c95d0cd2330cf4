//! The one thread that writes, and the group commit.
//!
//! A commit waits for the disk. Whatever is queued when one ends goes into the next one
//! together, so that a hundred callers wait for two commits instead of a hundred.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rusqlite::Connection;

use super::execute::{Executor, write_bulk_marker};
use super::feed::HISTORY_LIMIT;
use super::readers::lock;
use super::schema::{Purpose, connect};
use super::trail::Trail;
use super::uses;
use crate::store::{Actor, Bulk, Command, Outcome, Rules, StoreError, TokenUse, VerifyCost};

/// Most callers whose work waits in the queue; the next ones wait to get in.
const QUEUE_LIMIT: usize = 1024;
/// Commands after which a group takes in no further work.
const GROUP_LIMIT: usize = 16_384;

/// How long one transaction of a bulk import takes in commands. With its commit, others wait for
/// a little more than that before they come to write.
const BULK_TRANSACTION: Duration = Duration::from_millis(40);
/// Pause after each of them: longer than others wait between two attempts ([`super::schema`]), so
/// that whoever waits gets in.
const BULK_PAUSE: Duration = Duration::from_millis(4);

/// One outcome for each command.
type Outcomes = Vec<Result<Outcome, StoreError>>;

/// Something to be written.
pub(super) enum Work {
    /// Commands, in order.
    Commands {
        /// Who does it.
        actor: Actor,
        /// What.
        commands: Vec<Command>,
    },
    /// How tokens were used, and what verifying them cost.
    Uses(Vec<TokenUse>, Vec<VerifyCost>),
    /// A rebase marker in the change log.
    Rebase,
}

impl Work {
    fn is_bulk(&self) -> bool {
        matches!(self, Self::Commands { actor, .. } if actor.bulk)
    }

    fn size(&self) -> usize {
        match self {
            Self::Commands { commands, .. } => commands.len(),
            Self::Uses(uses, costs) => uses.len() + costs.len(),
            Self::Rebase => 1,
        }
    }
}

/// Takes work to the writing thread, which is started by the first of it.
pub(super) struct Writer {
    path: PathBuf,
    rules: Arc<ArcSwap<Rules>>,
    running: Mutex<Option<Running>>,
}

struct Running {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
}

struct Job {
    work: Work,
    reply: SyncSender<Result<Outcomes, StoreError>>,
}

impl Writer {
    pub(super) fn new(path: PathBuf, rules: Arc<ArcSwap<Rules>>) -> Self {
        Self { path, rules, running: Mutex::new(None) }
    }

    /// Has the work written and returns when it is durable.
    pub(super) fn submit(&self, work: Work) -> Result<Outcomes, StoreError> {
        let (reply, answer) = sync_channel(1);
        self.send(Job { work, reply })?;
        answer.recv().unwrap_or_else(|_| {
            Err(StoreError::Database(
                "the writing thread ended before it answered; look whether the change is there \
                 before you repeat it"
                    .to_owned(),
            ))
        })
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs()?;
        let Err(returned) = jobs.send(job) else { return Ok(()) };
        // The thread had ended over an earlier failure: this job has not begun, so try once more.
        let jobs = self.restart()?;
        jobs.send(returned.0).map_err(|_| {
            StoreError::Database("the writing thread ends as soon as it starts".to_owned())
        })
    }

    fn jobs(&self) -> Result<SyncSender<Job>, StoreError> {
        let mut running = lock(&self.running);
        if let Some(running) = &*running {
            return Ok(running.jobs.clone());
        }
        Ok(running.insert(self.start()?).jobs.clone())
    }

    fn restart(&self) -> Result<SyncSender<Job>, StoreError> {
        let mut running = lock(&self.running);
        if running.as_ref().is_some_and(|running| running.thread.is_finished()) {
            *running = None;
        }
        match &*running {
            Some(running) => Ok(running.jobs.clone()),
            None => Ok(running.insert(self.start()?).jobs.clone()),
        }
    }

    fn start(&self) -> Result<Running, StoreError> {
        self.start_over(connect(&self.path, Purpose::Write)?)
    }

    fn start_over(&self, connection: Connection) -> Result<Running, StoreError> {
        let (jobs, queue) = sync_channel(QUEUE_LIMIT);
        let rules = Arc::clone(&self.rules);
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(&connection, &rules, &queue))
            .map_err(|error| StoreError::Database(format!("no thread for writing: {error}")))?;
        Ok(Running { jobs, thread })
    }
}

impl Drop for Writer {
    /// Waits for the thread to close its connection, so that the file is at rest afterwards.
    fn drop(&mut self) {
        if let Some(Running { jobs, thread }) = lock(&self.running).take() {
            drop(jobs);
            let _ = thread.join();
        }
    }
}

/// Writes until nobody can send work any more, or until the connection cannot be used further.
fn run(connection: &Connection, rules: &ArcSwap<Rules>, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let (bulk, single): (Vec<_>, Vec<_>) =
            gather(first, queue).into_iter().partition(|job| job.work.is_bulk());
        let rules = rules.load();
        if !single.is_empty() {
            let outcome = commit(connection, &rules, &single);
            let usable = is_usable(connection);
            answer(single, outcome);
            if !usable {
                return;
            }
        }
        for job in bulk {
            let outcomes = commit_bulk(connection, &rules, &job.work);
            // A caller that no longer waits is no error.
            let _ = job.reply.send(Ok(outcomes));
            if !is_usable(connection) {
                return;
            }
        }
    }
}

/// Whether the connection can begin another transaction, once what failed is taken back.
fn is_usable(connection: &Connection) -> bool {
    connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok()
}

/// Writes a bulk import's commands in transactions so short that nobody else waits long. After an
/// error the commands that are not stored have it as their outcome.
fn commit_bulk(connection: &Connection, rules: &Rules, work: &Work) -> Outcomes {
    let Work::Commands { actor, commands } = work else { return Outcomes::new() };
    let mut outcomes = Outcomes::with_capacity(commands.len());
    while outcomes.len() < commands.len() {
        match commit_some(connection, rules, actor, &commands[outcomes.len()..]) {
            Ok(done) => outcomes.extend(done),
            Err(error) => {
                outcomes.resize(commands.len(), Err(error));
                break;
            }
        }
        thread::sleep(BULK_PAUSE);
    }
    outcomes
}

/// Writes as many of the commands as one transaction takes, at least one.
fn commit_some(
    connection: &Connection,
    rules: &Rules,
    actor: &Actor,
    commands: &[Command],
) -> Result<Outcomes, StoreError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let began = Instant::now();
    let trail = Trail::new(connection, &rules.audit_keys);
    let mut executor = Executor::new(connection, rules, actor, trail);
    let mut outcomes = Outcomes::new();
    for command in commands {
        outcomes.push(executor.apply(command)?);
        if began.elapsed() >= BULK_TRANSACTION {
            break;
        }
    }
    executor.finish()?.seal()?;
    trim_history(connection)?;
    connection.execute_batch("COMMIT")?;
    Ok(outcomes)
}

fn gather(first: Job, queue: &Receiver<Job>) -> Vec<Job> {
    let mut size = first.work.size();
    let mut group = vec![first];
    while size < GROUP_LIMIT
        && let Ok(job) = queue.try_recv()
    {
        size += job.work.size();
        group.push(job);
    }
    group
}

/// Writes a group in one transaction. An error concerns all of it: nothing of it is stored.
fn commit(
    connection: &Connection,
    rules: &Rules,
    group: &[Job],
) -> Result<Vec<Outcomes>, StoreError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let mut trail = Trail::new(connection, &rules.audit_keys);
    let mut outcomes = Vec::with_capacity(group.len());
    for job in group {
        let (trail_so_far, outcome) = perform(connection, rules, trail, &job.work)?;
        trail = trail_so_far;
        outcomes.push(outcome);
    }
    trail.seal()?;
    trim_history(connection)?;
    connection.execute_batch("COMMIT")?;
    Ok(outcomes)
}

fn perform<'a>(
    connection: &'a Connection,
    rules: &'a Rules,
    trail: Trail<'a>,
    work: &'a Work,
) -> Result<(Trail<'a>, Outcomes), StoreError> {
    let (actor, commands) = match work {
        Work::Commands { actor, commands } => (actor, commands),
        Work::Uses(uses, costs) => {
            uses::record(connection, uses, costs)?;
            return Ok((trail, Outcomes::new()));
        }
        Work::Rebase => {
            write_bulk_marker(connection, Bulk::Done)?;
            return Ok((trail, vec![Ok(Outcome::Changed { id: 0 })]));
        }
    };
    let mut executor = Executor::new(connection, rules, actor, trail);
    let outcomes =
        commands.iter().map(|command| executor.apply(command)).collect::<Result<_, _>>()?;
    Ok((executor.finish()?, outcomes))
}

/// Followers that are further behind take a snapshot, so older entries serve nobody.
fn trim_history(connection: &Connection) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM changes WHERE position <= (SELECT max(position) FROM changes) - ?1",
        )?
        .execute([HISTORY_LIMIT])?;
    Ok(())
}

/// A caller that no longer waits is no error: the work was done all the same.
fn answer(group: Vec<Job>, outcome: Result<Vec<Outcomes>, StoreError>) {
    match outcome {
        Ok(outcomes) => {
            for (job, outcomes) in group.into_iter().zip(outcomes) {
                let _ = job.reply.send(Ok(outcomes));
            }
        }
        Err(error) => {
            for job in group {
                let _ = job.reply.send(Err(error.clone()));
            }
        }
    }
}

#[cfg(test)]
impl Writer {
    /// Whether the thread was started.
    pub(super) fn is_running(&self) -> bool {
        lock(&self.running).is_some()
    }

    /// Puts a thread that has ended in the place of the one that runs.
    pub(super) fn kill(&self) {
        let (jobs, queue) = sync_channel(1);
        drop(queue);
        let thread = thread::spawn(|| {});
        while !thread.is_finished() {
            thread::yield_now();
        }
        *lock(&self.running) = Some(Running { jobs, thread });
    }

    /// Lets the file of a thread that is started now grow no further.
    pub(super) fn limit_pages(&self) {
        let connection = connect(&self.path, Purpose::Write).expect("invariant: the file is there");
        connection.execute_batch("PRAGMA max_page_count = 1").expect("invariant: a known pragma");
        *lock(&self.running) = Some(self.start_over(connection).expect("invariant: threads start"));
    }
}
