//! The lane's threads: they take requests off the queue, hash, and tell the result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::flight::Landing;
use super::lane::LaneVerdict;
use super::load::LaneStats;
use super::memory::{Memory, Remembered};
use super::verifier::{Bounds, OutOfMemory, PasswordHash, VerifierError};
use crate::core::index::Candidate;
use crate::core::token::Secret;

/// One request to the lane's threads.
pub(super) struct Job {
    pub(super) landing: Landing,
    pub(super) secret: Secret,
    pub(super) candidates: Arc<[Candidate]>,
}

/// Compares a secret with one candidate's hash.
pub(crate) type Check = dyn Fn(&Candidate, &Secret) -> Result<bool, CheckError> + Send + Sync;

/// Why a candidate could be neither matched nor excluded by hashing.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// Its hash cannot be read, so that no secret matches it.
    #[error(transparent)]
    Hash(#[from] VerifierError),
    /// The memory for it could not be had.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

/// Compares by the candidate's password hash, which has to be within the bounds.
pub(super) fn password_check(bounds: Bounds) -> Arc<Check> {
    Arc::new(move |candidate, secret| {
        let hash = PasswordHash::parse(&candidate.encoded, &bounds)?;
        Ok(hash.try_verify(secret.expose().as_bytes())?)
    })
}

/// What one of the lane's threads needs.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) queue: Arc<Mutex<Receiver<Job>>>,
    pub(super) check: Arc<Check>,
    pub(super) memory: Arc<Memory>,
    pub(super) stats: Arc<LaneStats>,
}

impl Worker {
    /// Serves the queue until the lane is gone.
    pub(super) fn run(&self) {
        lower_priority();
        while let Some(job) = self.next() {
            self.stats.leave_queue();
            self.serve(job);
        }
    }

    fn next(&self) -> Option<Job> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.recv().ok()
    }

    /// A panic ends the flight, as unavailable, and not the thread.
    fn serve(&self, mut job: Job) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.judge(&mut job)));
        let verdict = outcome.unwrap_or_else(|_| {
            tracing::error!(
                tokens = ?token_ids(&job.candidates),
                "verifying a password hash panicked; the request was answered as unavailable"
            );
            LaneVerdict::Timeout
        });
        if let LaneVerdict::Matched { token_id, version } = verdict {
            let remembered = Remembered { token_id, version };
            self.memory.remember(job.landing.digest(), remembered, Instant::now());
        }
        job.landing.land(verdict);
    }

    /// Tries the candidates in order for as long as someone waits.
    fn judge(&self, job: &mut Job) -> LaneVerdict {
        if job.landing.is_abandoned() {
            return LaneVerdict::Timeout;
        }
        let began = Instant::now();
        let verdict = self.first_match(job);
        self.stats.note_verification(began.elapsed());
        verdict
    }

    fn first_match(&self, job: &mut Job) -> LaneVerdict {
        let mut failed = LaneVerdict::Mismatch;
        for candidate in job.candidates.iter() {
            if job.landing.is_abandoned() {
                return LaneVerdict::Timeout;
            }
            match self.timed_check(candidate, &job.secret) {
                Ok(true) => return candidate.matched(),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(token = candidate.token_id, %error, "cannot verify a token");
                    if matches!(error, CheckError::Memory(_)) {
                        failed = LaneVerdict::Timeout;
                    }
                }
            }
        }
        failed
    }

    fn timed_check(&self, candidate: &Candidate, secret: &Secret) -> Result<bool, CheckError> {
        let began = Instant::now();
        let outcome = (self.check)(candidate, secret)?;
        self.stats.note_hash(began.elapsed());
        Ok(outcome)
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
