//! The lane: threads of its own behind a bounded queue, for verifications that take long.
//!
//! A bulkhead: whatever legacy tokens cost, requests with fast tokens do not wait for it. What
//! the queue cannot hold, or could not serve in time, is turned away at once, with an estimate of
//! when to come back; and who guesses is, before anything is hashed.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::flight::{Boarding, Flights};
use super::introspection::{Introspector, hand_over};
use super::job::{HashJob, Job};
use super::kept::Kept;
use super::load::{LaneObserver, LaneStats, whole_seconds};
use super::memory::Remembered;
use super::remote::Remote;
use super::task::{Hasher, with_hash};
use super::threads::Threads;
use super::throttle::Throttled;
use super::verifier::Bounds;
use super::worker::{Check, password_check};
use crate::config::Legacy;
use crate::core::digest::Digest;
use crate::core::index::Candidate;
use crate::core::record::{Timestamp, TokenId};
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
    /// Whoever asks, where that is known.
    pub client: Option<IpAddr>,
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
        /// First second at which that no longer holds, where a remote endpoint says one.
        ends: Option<Timestamp>,
    },
    /// The secret is none of the candidates'. Remembered for a short time.
    Mismatch,
    /// The queue has no place, or too many are waiting before it, or too many wrong tokens were
    /// tried against the account: nothing was hashed.
    Full {
        /// When it is worth trying again: whole seconds, at least one.
        retry_after: Duration,
    },
    /// Too many wrong tokens came from this address: nothing was hashed.
    Throttled {
        /// When it is worth trying again: whole seconds, at least one.
        retry_after: Duration,
    },
    /// No result within the deadline, or the hash could not be computed: neither a match nor
    /// a mismatch. A hash that is half done by then is finished, and remembered if it matches.
    Timeout,
}

/// The slow lane, as a gate has it: what it remembers, and who hashes. Threads of its own end with
/// it, after the slice of a hash that each is at.
///
/// [`Self::verify`] can be awaited on any tokio runtime that has its timer enabled.
pub struct Lane {
    hasher: Box<dyn Hasher>,
    flights: Arc<Flights>,
    kept: Kept,
    introspector: Option<Arc<Introspector>>,
    deadline: Duration,
}

impl Lane {
    /// Starts the threads that hash, or the one that asks a lane at `[legacy] socket`.
    ///
    /// # Errors
    /// The operating system's, where it starts no more threads.
    pub fn start(settings: &Legacy, observer: Arc<dyn LaneObserver>) -> io::Result<Arc<Self>> {
        match &settings.socket {
            None => Self::start_with(settings, observer, password_check(Bounds::default())),
            Some(socket) => Self::of(settings, observer, |stats| {
                Ok(Box::new(Remote::start(socket, settings, stats)?))
            }),
        }
    }

    /// The token that a secret was lately verified to be, by the keyed digest of the secret.
    /// To be compared with the token's version in the index: see [`Remembered`].
    pub fn remembered(&self, digest: &Digest) -> Option<Remembered> {
        self.kept.memory.recall(digest, Instant::now())
    }

    /// Whether any secret was lately verified to be this token's, at this version of it. Looks
    /// through all that is remembered: for people who ask.
    pub fn has_verified(&self, token: TokenId, version: u64) -> bool {
        self.kept.memory.knows(token, version, Instant::now())
    }

    /// How many secrets are remembered: of legacy tokens in use. Looks through all of them.
    pub fn remembered_count(&self) -> usize {
        self.kept.memory.count(Instant::now())
    }

    /// Verifies a secret, or waits for the same verification that is already under way.
    ///
    /// Returns within the deadline and never blocks the thread. Dropping the future is fine:
    /// others who wait for the same get their answer, and what nobody waits for is not begun.
    pub async fn verify(&self, request: VerifyRequest) -> LaneVerdict {
        let verdict = tokio::time::timeout(self.deadline, self.answer(request)).await;
        verdict.unwrap_or(LaneVerdict::Timeout)
    }

    /// What the lane has done.
    pub fn stats(&self) -> &LaneStats {
        &self.kept.stats
    }

    /// Verifications that wait.
    pub fn queue_depth(&self) -> usize {
        self.hasher.waiting()
    }

    /// When a request that is not served now would probably be.
    pub fn retry_after(&self) -> Duration {
        self.hasher.retry_after()
    }

    pub(crate) fn start_with(
        settings: &Legacy,
        observer: Arc<dyn LaneObserver>,
        check: Arc<Check>,
    ) -> io::Result<Arc<Self>> {
        Self::of(settings, observer, |stats| Ok(Box::new(Threads::start(settings, stats, check)?)))
    }

    fn of(
        settings: &Legacy,
        observer: Arc<dyn LaneObserver>,
        hasher: impl FnOnce(Arc<LaneStats>) -> io::Result<Box<dyn Hasher>>,
    ) -> io::Result<Arc<Self>> {
        let stats = Arc::new(LaneStats::new(settings, observer));
        let hasher = hasher(stats.clone())?;
        let kept = Kept::new(settings.cache_ttl, REMEMBERED_LIMIT, stats);
        let ask = |remote| Introspector::start(remote, settings.queue_limit, kept.clone());
        let introspector = settings.introspection.as_ref().map(ask).transpose()?;
        Ok(Arc::new(Self {
            hasher,
            flights: Arc::default(),
            kept,
            introspector,
            deadline: settings.deadline,
        }))
    }

    async fn answer(&self, request: VerifyRequest) -> LaneVerdict {
        let VerifyRequest { digest, secret, candidates, client } = request;
        let Some(account) = candidates.first().map(|candidate| candidate.account_id) else {
            return LaneVerdict::Mismatch;
        };
        let candidates: Arc<[Candidate]> = candidates.into();
        loop {
            if let Some(known) = self.without_hashing(&digest, &candidates, client) {
                return known;
            }
            let recall = || self.recall_one_of(&digest, &candidates);
            match self.flights.board(&digest, &candidates, recall) {
                Boarding::Remembered(remembered) => return remembered.matched(),
                Boarding::First(landing, answer) => {
                    let submitted = Instant::now();
                    let is_certain = true;
                    self.submit(Job {
                        landing,
                        secret,
                        candidates,
                        client,
                        account,
                        submitted,
                        is_certain,
                    });
                    return landed(answer).await;
                }
                Boarding::Same(answer) => return landed(answer).await,
                Boarding::Other(answer) => {
                    landed(answer).await;
                }
            }
        }
    }

    /// What can be said before anything is hashed. What is remembered goes before what is
    /// throttled: a token that is known is never refused for what others did.
    fn without_hashing(
        &self,
        digest: &Digest,
        candidates: &[Candidate],
        client: Option<IpAddr>,
    ) -> Option<LaneVerdict> {
        if let Some(remembered) = self.recall_one_of(digest, candidates) {
            return Some(remembered.matched());
        }
        let now = Instant::now();
        if self.kept.mismatches.recall(digest, candidates, now) {
            return Some(LaneVerdict::Mismatch);
        }
        let account = candidates.first()?.account_id;
        let throttled = self.kept.throttle.check(client, account, now).err()?;
        self.kept.stats.shed();
        Some(match throttled {
            Throttled::Address(time) => LaneVerdict::Throttled { retry_after: whole_seconds(time) },
            Throttled::Account(time) => LaneVerdict::Full { retry_after: whole_seconds(time) },
        })
    }

    /// What is remembered, if it is of a candidate as it is now.
    fn recall_one_of(&self, digest: &Digest, candidates: &[Candidate]) -> Option<Remembered> {
        let remembered = self.remembered(digest)?;
        candidates.iter().any(|candidate| candidate.is(remembered)).then_some(remembered)
    }

    fn submit(&self, job: Job) {
        let introspector = self.introspector.clone();
        if with_hash(&job.candidates).next().is_none() {
            return hand_over(introspector.as_deref(), job, &self.kept, self.retry_after());
        }
        self.hasher.submit(Box::new(HashJob { job, kept: self.kept.clone(), introspector }));
    }
}

impl Remembered {
    fn matched(self) -> LaneVerdict {
        let Self { token_id, version, ends } = self;
        LaneVerdict::Matched { token_id, version, ends }
    }
}

impl Candidate {
    /// That the secret is this one's, until it `ends`.
    pub(super) fn matched(&self, ends: Option<Timestamp>) -> LaneVerdict {
        LaneVerdict::Matched { token_id: self.token_id, version: self.version, ends }
    }

    fn is(&self, remembered: Remembered) -> bool {
        (self.token_id, self.version) == (remembered.token_id, remembered.version)
    }
}

/// The verdict of a flight, once it has landed.
async fn landed(mut answer: watch::Receiver<Option<LaneVerdict>>) -> LaneVerdict {
    let verdict = answer.wait_for(Option::is_some).await;
    verdict.ok().and_then(|verdict| *verdict).unwrap_or(LaneVerdict::Timeout)
}

#[cfg(test)]
mod tests;
