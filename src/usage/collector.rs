//! Adds up what workers hand over, and writes it to the store.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;

use super::lane_tally::{LaneTally, Upgraded};
use super::tally::Batch;
use crate::core::record::{Timestamp, TokenId};
use crate::feed::Shared;
use crate::store::{Actor, Command, Outcome, Store, StoreError, TokenUse, VerifyCost};

/// Where the use of tokens is written.
pub(crate) trait Recorder: Send {
    /// Adds what was used, and what verifying legacy tokens cost, since the last time, or nothing
    /// of it.
    ///
    /// # Errors
    /// Why not; then it is told again later.
    fn record(&mut self, uses: &[TokenUse], costs: &[VerifyCost]) -> Result<(), StoreError>;

    /// Has commands carried out. One result for each, in order.
    fn apply_all(
        &mut self,
        actor: &Actor,
        commands: Vec<Command>,
    ) -> Vec<Result<Outcome, StoreError>>;
}

impl Recorder for Arc<dyn Store> {
    fn record(&mut self, uses: &[TokenUse], costs: &[VerifyCost]) -> Result<(), StoreError> {
        self.record_uses(uses, costs)
    }

    fn apply_all(
        &mut self,
        actor: &Actor,
        commands: Vec<Command>,
    ) -> Vec<Result<Outcome, StoreError>> {
        (**self).apply_all(actor, commands)
    }
}

/// Batches that wait for the collector; a worker whose batch does not fit tries at its next tick.
const QUEUE_LIMIT: usize = 64;
/// Tokens that are counted between two writes; with more, it is written ahead of time.
const TOKENS_LIMIT: usize = 262_144;
/// Tokens in one transaction, so that commands that write wait for few milliseconds, and in what is
/// told to a control, which takes 256 KiB.
const ROWS_LIMIT: usize = 1_000;
/// How often it is looked whether it is time to write.
const LOOK: Duration = Duration::from_millis(250);

/// The thread that adds up and writes.
#[derive(Debug)]
pub(crate) struct Collector {
    sender: SyncSender<Batch>,
    thread: JoinHandle<()>,
}

impl Collector {
    /// Starts the thread, named `usage`. It ends when nobody can hand over any more, after it has
    /// written everything.
    ///
    /// # Errors
    /// The operating system's, where it has no thread to give.
    pub(crate) fn start(
        shared: Arc<Shared>,
        recorder: Box<dyn Recorder>,
        lane: Arc<LaneTally>,
    ) -> io::Result<Self> {
        let (sender, batches) = sync_channel(QUEUE_LIMIT);
        let run = move || {
            let pending = Pending { uses: HashMap::default(), lane, recorder, day: 0, lost: 0 };
            collect(&batches, pending, &shared);
        };
        let thread = std::thread::Builder::new().name("usage".to_owned()).spawn(run)?;
        Ok(Self { sender, thread })
    }

    /// For a worker to hand over to.
    pub(crate) fn sender(&self) -> SyncSender<Batch> {
        self.sender.clone()
    }

    /// The thread, to wait for, and no longer in anybody's way to end.
    pub(crate) fn into_thread(self) -> JoinHandle<()> {
        self.thread
    }
}

fn collect(batches: &Receiver<Batch>, mut pending: Pending, shared: &Shared) {
    let mut written = Instant::now();
    loop {
        match batches.recv_timeout(LOOK) {
            Ok(batch) => pending.add(batch),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                pending.upgrade();
                pending.write();
                return;
            }
        }
        pending.upgrade();
        let interval = shared.live().config.usage.interval;
        if written.elapsed() >= interval || pending.uses.len() >= TOKENS_LIMIT {
            pending.write();
            written = Instant::now();
        }
    }
}

/// What is to be written, all of one day.
struct Pending {
    uses: HashMap<TokenId, TokenUse, FixedState>,
    lane: Arc<LaneTally>,
    recorder: Box<dyn Recorder>,
    day: i64,
    lost: u64,
}

impl Pending {
    fn add(&mut self, batch: Batch) {
        let day = batch.at.0.div_euclid(86_400);
        if day != self.day {
            self.write();
            self.day = day;
        }
        self.lost += batch.lost;
        for used in batch.uses {
            if self.uses.len() >= TOKENS_LIMIT && !self.uses.contains_key(&used.token) {
                self.lost += u64::from(used.requests);
                continue;
            }
            let of = self.uses.entry(used.token).or_insert(TokenUse {
                token_id: used.token,
                requests: 0,
                last_used_at: Timestamp(0),
                last_address: None,
            });
            of.requests += u64::from(used.requests);
            // Batches of different workers may come out of order.
            if batch.at >= of.last_used_at {
                of.last_used_at = batch.at;
                of.last_address = used.address.or(of.last_address);
            }
        }
    }

    /// Has tokens become fast ones, as soon as the lane has told so. One that cannot be written
    /// is told again when the token is verified the next time.
    fn upgrade(&mut self) {
        let upgrades = self.lane.take_upgrades();
        if upgrades.is_empty() {
            return;
        }
        let command = |upgraded: &Upgraded| Command::UpgradeToken {
            id: upgraded.token_id,
            verifier: upgraded.verifier.clone(),
        };
        let commands = upgrades.iter().map(command).collect();
        let outcomes = self.recorder.apply_all(&Actor::system("slow lane"), commands);
        for (Upgraded { token_id, .. }, outcome) in upgrades.iter().zip(outcomes) {
            let token = *token_id;
            match outcome {
                Ok(Outcome::Changed { .. }) => {
                    tracing::info!(token, "a legacy token is fast now");
                }
                Ok(Outcome::Unchanged { .. }) => {}
                Err(error) => {
                    tracing::warn!(token, %error, "a legacy token is not upgraded");
                }
            }
        }
    }

    /// Writes as much as can be. What cannot is kept for the next time.
    fn write(&mut self) {
        self.write_uses();
        let costs = self.lane.take_costs();
        let mut chunks = costs.chunks(ROWS_LIMIT);
        while let Some(chunk) = chunks.next() {
            if let Err(error) = self.recorder.record(&[], chunk) {
                tracing::warn!(%error, "what tokens cost could not be written; trying again");
                chunk.iter().chain(chunks.flatten()).for_each(|cost| self.lane.add(*cost));
                return;
            }
        }
    }

    fn write_uses(&mut self) {
        if std::mem::take(&mut self.lost) > 0 {
            tracing::warn!("more tokens were used than can be counted: some requests are left out");
        }
        let mut uses: Vec<TokenUse> = std::mem::take(&mut self.uses).into_values().collect();
        // Rows of neighbours are in the same pages.
        uses.sort_unstable_by_key(|used| used.token_id);
        let mut chunks = uses.chunks(ROWS_LIMIT);
        while let Some(chunk) = chunks.next() {
            if let Err(error) = self.recorder.record(chunk, &[]) {
                self.keep(chunk.iter().chain(chunks.flatten()), &error);
                return;
            }
        }
    }

    fn keep<'u>(&mut self, uses: impl Iterator<Item = &'u TokenUse>, error: &StoreError) {
        tracing::warn!(%error, "the use of tokens could not be written; trying again");
        self.uses = uses.map(|used| (used.token_id, *used)).collect();
    }
}
