//! The lane's threads: they take requests off the queue, hash, and tell the result.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::budget::{Budget, Meter};
use super::flight::Landing;
use super::introspection::{Introspector, asks, hand_over};
use super::kept::{Finding, Kept};
use super::lane::LaneVerdict;
use super::queue::{Queue, Waiting};
use super::scratch::{SCRATCH_BYTES, Scratch};
use super::verifier::{Bounds, Pace, PasswordHash, Progress, Unverified, VerifierError};
use crate::core::index::Candidate;
use crate::core::record::AccountId;
use crate::core::token::Secret;

/// One request to the lane's threads.
pub(super) struct Job {
    pub(super) landing: Landing,
    pub(super) secret: Secret,
    pub(super) candidates: Arc<[Candidate]>,
    pub(super) client: Option<IpAddr>,
    pub(super) account: AccountId,
    pub(super) submitted: Instant,
    /// No hash of them was left undone.
    pub(super) is_certain: bool,
}

impl Waiting for Job {
    fn is_over(&mut self) -> bool {
        self.landing.is_abandoned()
    }
}

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
    pub(super) queue: Arc<Queue<Job>>,
    pub(super) check: Arc<Check>,
    pub(super) budget: Arc<Budget>,
    pub(super) kept: Kept,
    /// Who is asked about tokens without a hash.
    pub(super) introspector: Option<Arc<Introspector>>,
}

impl Worker {
    /// Serves the queue until the lane is gone.
    pub(super) fn run(&self) {
        lower_priority();
        while let Some(job) = self.queue.pop() {
            self.kept.stats.queued(self.queue.len());
            let mut meter = Meter::start(&self.budget);
            self.serve(job, &mut meter);
            self.queue.rest(meter.pay());
        }
    }

    /// A panic ends the flight, as unavailable, and not the thread.
    fn serve(&self, mut job: Job, meter: &mut Meter<'_>) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.judge(&mut job, meter)));
        let finding = outcome.unwrap_or_else(|_| {
            tracing::error!(
                tokens = ?token_ids(&job.candidates),
                "verifying a password hash panicked; the request was answered as unavailable"
            );
            Finding::of(LaneVerdict::Timeout, false)
        });
        if let Some(job) = self.hand_on(job, &finding) {
            self.kept.keep(&job, &finding);
            job.landing.land(finding.verdict);
        }
    }

    /// Hands the job on where no hash matched and some candidate can only be asked about. Gives it
    /// back where it is done.
    fn hand_on(&self, job: Job, finding: &Finding) -> Option<Job> {
        if finding.verdict != LaneVerdict::Mismatch || !asks(&job.candidates) {
            return Some(job);
        }
        let job = Job { is_certain: finding.is_certain, ..job };
        hand_over(self.introspector.as_deref(), job, &self.kept, self.queue.len());
        None
    }

    /// Tries the candidates in order for as long as someone waits.
    fn judge(&self, job: &mut Job, meter: &mut Meter<'_>) -> Finding {
        if job.landing.is_abandoned() {
            return Finding::of(LaneVerdict::Timeout, false);
        }
        let finding = self.first_match(job, meter);
        // Paid when the job is done: whoever waits has waited long enough.
        self.kept.stats.note_request(meter.total(), job.submitted.elapsed());
        finding
    }

    fn first_match(&self, job: &mut Job, meter: &mut Meter<'_>) -> Finding {
        let Job { landing, secret, candidates, .. } = job;
        let mut finding = Finding::of(LaneVerdict::Mismatch, true);
        for candidate in candidates.iter().filter(|candidate| candidate.encoded.is_some()) {
            let (began, before) = (Instant::now(), meter.total());
            let mut pace = |progress| self.pace(progress, landing, meter);
            let checked = (self.check)(candidate, secret, &mut pace);
            self.kept.stats.note_cost(candidate.token_id, meter.total().saturating_sub(before));
            match checked {
                Ok(true) => {
                    self.kept.stats.note_hash(began.elapsed());
                    return Finding::of(candidate.matched(None), true);
                }
                Ok(false) => self.kept.stats.note_hash(began.elapsed()),
                Err(error) => {
                    finding.is_certain = false;
                    if matches!(error, CheckError::Unverified(_)) {
                        finding.verdict = LaneVerdict::Timeout;
                    }
                    note_failure(candidate, error);
                }
            }
            if landing.is_abandoned() {
                return Finding::of(LaneVerdict::Timeout, false);
            }
        }
        finding
    }

    /// Between two slices: rests until what was used is paid, and stops a hash that nobody waits
    /// for. One that is half done is finished, since whoever asked will ask again.
    fn pace(
        &self,
        progress: Progress,
        landing: &mut Landing,
        meter: &mut Meter<'_>,
    ) -> ControlFlow<()> {
        self.queue.rest(meter.pay());
        let go_on = !self.queue.is_closed() && (progress.is_past_half() || !landing.is_abandoned());
        if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
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
