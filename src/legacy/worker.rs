//! The lane's threads: they take requests off the queue, hash, and tell the result.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::{Budget, Meter};
use super::load::LaneStats;
use super::queue::{Queue, Waiting};
use super::scratch::{SCRATCH_BYTES, Scratch};
use super::task::{HashCost, Hashed, Outcome, Parts, Task, with_hash};
use super::verifier::{Bounds, Pace, PasswordHash, Progress, Unverified, VerifierError};
use crate::core::index::Candidate;
use crate::core::token::Secret;

/// Compares a secret with one candidate's hash, asking between its slices whether to go on.
pub(crate) type Check =
    dyn Fn(&Candidate, &Secret, &mut Pace<'_>) -> Result<bool, CheckError> + Send + Sync;

/// Why a candidate could be neither matched nor excluded by hashing.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// Its hash cannot be read, so that no secret matches it.
    #[error(transparent)]
    Hash(#[from] VerifierError),
    /// It was not computed to its end.
    #[error(transparent)]
    Unverified(#[from] Unverified),
}

/// Compares by the candidate's password hash, which has to be within the bounds.
pub(super) fn password_check(bounds: Bounds) -> Arc<Check> {
    let scratch = Scratch::new(SCRATCH_BYTES);
    Arc::new(move |candidate, secret, pace| {
        let hash = PasswordHash::parse(candidate.encoded.as_deref().unwrap_or_default(), &bounds)?;
        let _reserved = scratch.reserve(hash.memory_bytes());
        Ok(hash.verify_paced(secret.expose().as_bytes(), pace)?)
    })
}

/// What one of the lane's threads needs.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) queue: Arc<Queue<Box<dyn Task>>>,
    pub(super) check: Arc<Check>,
    pub(super) budget: Arc<Budget>,
    pub(super) stats: Arc<LaneStats>,
}

/// How trying the candidates went so far.
struct Tried {
    outcome: Outcome,
    hashes: Vec<HashCost>,
}

impl Worker {
    /// Serves the queue until the lane is gone.
    pub(super) fn run(&self) {
        lower_priority();
        while let Some(task) = self.queue.pop() {
            self.stats.queued(self.queue.len());
            let mut meter = Meter::start(&self.budget);
            self.serve(task, &mut meter);
            // Paid when the task is done: whoever waits has waited long enough.
            self.queue.rest(meter.pay());
        }
    }

    /// A panic ends the task, as unavailable, and not the thread.
    fn serve(&self, mut task: Box<dyn Task>, meter: &mut Meter<'_>) {
        let tried = catch_unwind(AssertUnwindSafe(|| self.try_candidates(task.parts(), meter)));
        let Tried { outcome, hashes } = tried.unwrap_or_else(|_| {
            tracing::error!(
                tokens = ?token_ids(task.parts().candidates),
                "verifying a password hash panicked; the request was answered as unavailable"
            );
            Tried { outcome: Outcome::Unavailable, hashes: Vec::new() }
        });
        let retry_after = self.stats.retry_after(self.queue.len());
        task.answer(Hashed { outcome, cpu: meter.total(), hashes, retry_after });
    }

    /// Tries the candidates in order for as long as someone waits.
    fn try_candidates(&self, parts: Parts<'_>, meter: &mut Meter<'_>) -> Tried {
        let Parts { secret, candidates, asker } = parts;
        let mut tried =
            Tried { outcome: Outcome::Mismatch { is_certain: true }, hashes: Vec::new() };
        for (position, candidate) in with_hash(candidates).enumerate() {
            if asker.is_over() {
                tried.outcome = Outcome::Unavailable;
                break;
            }
            let (checked, cost) = self.check(candidate, secret, asker, meter);
            tried.hashes.push(cost);
            match checked {
                Ok(true) => {
                    tried.outcome = Outcome::Matched(position);
                    break;
                }
                Ok(false) => {}
                Err(error) => {
                    tried.failed(error);
                    note_failure(candidate, error);
                }
            }
        }
        tried
    }

    fn check(
        &self,
        candidate: &Candidate,
        secret: &Secret,
        asker: &mut dyn Waiting,
        meter: &mut Meter<'_>,
    ) -> (Result<bool, CheckError>, HashCost) {
        let (began, before) = (Instant::now(), meter.total());
        let mut pace = |progress| self.pace(progress, asker, meter);
        let checked = (self.check)(candidate, secret, &mut pace);
        let cpu = meter.total().saturating_sub(before);
        let took: Option<Duration> = checked.is_ok().then(|| began.elapsed());
        (checked, HashCost { cpu, took })
    }

    /// Between two slices: rests until what was used is paid, and stops a hash that nobody waits
    /// for. One that is half done is finished, since whoever asked will ask again.
    fn pace(
        &self,
        progress: Progress,
        asker: &mut dyn Waiting,
        meter: &mut Meter<'_>,
    ) -> ControlFlow<()> {
        self.queue.rest(meter.pay());
        let go_on = !self.queue.is_closed() && (progress.is_past_half() || !asker.is_over());
        if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

impl Tried {
    /// Notes that a hash was not computed. Whether others match is still to be seen.
    fn failed(&mut self, error: CheckError) {
        let was_computed = matches!(self.outcome, Outcome::Mismatch { .. });
        self.outcome = match error {
            CheckError::Hash(_) if was_computed => Outcome::Mismatch { is_certain: false },
            CheckError::Hash(_) | CheckError::Unverified(_) => Outcome::Unavailable,
        };
    }
}

fn note_failure(candidate: &Candidate, error: CheckError) {
    match error {
        CheckError::Unverified(Unverified::Stopped) => {}
        error => tracing::warn!(token = candidate.token_id, %error, "cannot verify a token"),
    }
}

fn token_ids(candidates: &[Candidate]) -> Vec<u64> {
    candidates.iter().map(|candidate| candidate.token_id).collect()
}

/// Gives this thread the lowest priority, so that it runs on what the reactors leave. Where it
/// may not, the lane still works, at the reactors' expense.
#[cfg(target_os = "linux")]
fn lower_priority() {
    const LOWEST: i32 = 19;
    // On Linux a thread has its own nice value, addressed by its thread id.
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), LOWEST) {
        tracing::warn!(%error, "the slow lane's threads keep the normal priority");
    }
}

/// Elsewhere a nice value is the whole process's, so it is left alone.
#[cfg(not(target_os = "linux"))]
fn lower_priority() {}
