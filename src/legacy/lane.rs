//! The lane: threads of its own behind a bounded queue, for verifications that take long.
//!
//! A bulkhead: whatever legacy tokens cost, requests with fast tokens do not wait for it. What
//! the queue cannot hold is turned away at once, with an estimate of when to come back.

use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::flight::{Boarding, Flights, Landing};
use super::load::{LaneObserver, LaneStats};
use super::memory::{Memory, Remembered};
use super::verifier::Bounds;
use super::worker::{Check, Job, Worker, password_check};
use crate::config::Legacy;
use crate::core::digest::Digest;
use crate::core::index::Candidate;
use crate::core::record::TokenId;
use crate::core::token::Secret;

/// Most successes that are remembered at a time; about 150 bytes each.
const REMEMBERED_LIMIT: usize = 100_000;

/// A secret to be compared with the hashes of those tokens that it may be.
pub struct VerifyRequest {
    /// Keyed digest of the secret, under the current key: what verifications are joined and
    /// remembered by.
    pub digest: Digest,
    /// The secret as presented.
    pub secret: Secret,
    /// The tokens, in the order in which they are tried.
    pub candidates: Vec<Candidate>,
}

/// What came of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneVerdict {
    /// The secret is this token's. Remembered.
    Matched {
        /// The token.
        token_id: TokenId,
        /// The candidate's version.
        version: u64,
    },
    /// The secret is none of the candidates'. Not remembered.
    Mismatch,
    /// The queue was full: nothing was tried.
    Full {
        /// When it is worth trying again: whole seconds, at least one.
        retry_after: Duration,
    },
    /// No result within the deadline, or the hash could not be computed: neither a match nor
    /// a mismatch. A verification that goes on past the deadline is remembered if it matches.
    Timeout,
}

/// The slow lane. Its threads end with it, after the hash that each is at.
///
/// [`Self::verify`] can be awaited on any tokio runtime that has its timer enabled.
pub struct Lane {
    queue: SyncSender<Job>,
    flights: Arc<Flights>,
    memory: Arc<Memory>,
    stats: Arc<LaneStats>,
    deadline: Duration,
    candidates_limit: usize,
}

impl Lane {
    /// Starts the threads, named `legacy-0` and on, at the lowest priority.
    ///
    /// # Errors
    /// The operating system's, where it starts no more threads.
    pub fn start(settings: &Legacy, observer: Arc<dyn LaneObserver>) -> io::Result<Arc<Self>> {
        Self::start_with(settings, observer, password_check(Bounds::default()))
    }

    /// The token that a secret was lately verified to be, by the keyed digest of the secret.
    /// To be compared with the token's version in the index: see [`Remembered`].
    pub fn remembered(&self, digest: &Digest) -> Option<Remembered> {
        self.memory.recall(digest, Instant::now())
    }

    /// Verifies a secret, or waits for the same verification that is already under way.
    ///
    /// Returns within the deadline and never blocks the thread. Dropping the future is fine:
    /// others who wait for the same get their answer, and what nobody waits for is not begun.
    /// Candidates beyond `candidates_limit` are not tried.
    pub async fn verify(&self, request: VerifyRequest) -> LaneVerdict {
        let verdict = tokio::time::timeout(self.deadline, self.answer(request)).await;
        verdict.unwrap_or(LaneVerdict::Timeout)
    }

    /// How busy the lane is.
    pub fn stats(&self) -> &LaneStats {
        &self.stats
    }

    pub(crate) fn start_with(
        settings: &Legacy,
        observer: Arc<dyn LaneObserver>,
        check: Arc<Check>,
    ) -> io::Result<Arc<Self>> {
        let threads = settings.threads.max(1);
        let (queue, jobs) = sync_channel(settings.queue_limit);
        let worker = Worker {
            queue: Arc::new(Mutex::new(jobs)),
            check,
            memory: Arc::new(Memory::new(settings.cache_ttl, REMEMBERED_LIMIT)),
            stats: Arc::new(LaneStats::new(threads, observer)),
        };
        for number in 0..threads {
            spawn(number, worker.clone())?;
        }
        Ok(Arc::new(Self {
            queue,
            flights: Arc::default(),
            memory: worker.memory,
            stats: worker.stats,
            deadline: settings.deadline,
            candidates_limit: settings.candidates_limit.max(1),
        }))
    }

    async fn answer(&self, request: VerifyRequest) -> LaneVerdict {
        let VerifyRequest { digest, secret, mut candidates } = request;
        if candidates.is_empty() {
            return LaneVerdict::Mismatch;
        }
        candidates.truncate(self.candidates_limit);
        let candidates: Arc<[Candidate]> = candidates.into();
        loop {
            let recall = || self.recall_one_of(&digest, &candidates);
            match self.flights.board(&digest, &candidates, recall) {
                Boarding::Remembered(Remembered { token_id, version }) => {
                    return LaneVerdict::Matched { token_id, version };
                }
                Boarding::First(landing, answer) => {
                    self.submit(landing, secret, candidates);
                    return landed(answer).await;
                }
                Boarding::Same(answer) => return landed(answer).await,
                Boarding::Other(answer) => {
                    landed(answer).await;
                }
            }
        }
    }

    /// What is remembered, if it is of a candidate as it is now.
    fn recall_one_of(&self, digest: &Digest, candidates: &[Candidate]) -> Option<Remembered> {
        let remembered = self.remembered(digest)?;
        candidates.iter().any(|candidate| candidate.is(remembered)).then_some(remembered)
    }

    fn submit(&self, landing: Landing, secret: Secret, candidates: Arc<[Candidate]>) {
        self.stats.enter_queue();
        match self.queue.try_send(Job { landing, secret, candidates }) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => {
                self.stats.turn_away();
                let retry_after = self.stats.retry_after();
                job.landing.land(LaneVerdict::Full { retry_after });
            }
            // The threads are gone; dropping the job answers it as unavailable.
            Err(TrySendError::Disconnected(_)) => self.stats.leave_queue(),
        }
    }
}

impl Candidate {
    pub(super) fn matched(&self) -> LaneVerdict {
        LaneVerdict::Matched { token_id: self.token_id, version: self.version }
    }

    fn is(&self, remembered: Remembered) -> bool {
        (self.token_id, self.version) == (remembered.token_id, remembered.version)
    }
}

fn spawn(number: usize, worker: Worker) -> io::Result<()> {
    let builder = thread::Builder::new().name(format!("legacy-{number}"));
    builder.spawn(move || worker.run()).map(drop)
}

/// The verdict of a flight, once it has landed.
async fn landed(mut answer: watch::Receiver<Option<LaneVerdict>>) -> LaneVerdict {
    let verdict = answer.wait_for(Option::is_some).await;
    verdict.ok().and_then(|verdict| *verdict).unwrap_or(LaneVerdict::Timeout)
}

#[cfg(test)]
mod tests;
