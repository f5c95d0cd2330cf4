//! A request of the gate's to the slow lane, and what is done with what hashing came to.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::flight::Landing;
use super::introspection::{Introspector, asks, hand_over};
use super::kept::{Finding, Kept};
use super::lane::LaneVerdict;
use super::task::{Hashed, Outcome, Parts, Task, with_hash};
use crate::core::index::Candidate;
use crate::core::record::AccountId;
use crate::core::token::Secret;

/// One request.
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

/// A request that is to be hashed first.
pub(super) struct HashJob {
    pub(super) job: Job,
    pub(super) kept: Kept,
    /// Who is asked about tokens without a hash.
    pub(super) introspector: Option<Arc<Introspector>>,
}

impl Task for HashJob {
    fn account(&self) -> AccountId {
        self.job.account
    }

    fn parts(&mut self) -> Parts<'_> {
        let Job { landing, secret, candidates, .. } = &mut self.job;
        Parts { secret, candidates, asker: landing }
    }

    fn answer(self: Box<Self>, hashed: Hashed) {
        let Self { job, kept, introspector } = *self;
        note(&kept, &job, &hashed);
        let finding = match hashed.outcome {
            Outcome::Full => return kept.shed(job, hashed.retry_after),
            outcome => finding(outcome, &job.candidates),
        };
        if finding.verdict == LaneVerdict::Mismatch && asks(&job.candidates) {
            let job = Job { is_certain: finding.is_certain, ..job };
            return hand_over(introspector.as_deref(), job, &kept, hashed.retry_after);
        }
        kept.keep(&job, &finding);
        job.landing.land(finding.verdict);
    }
}

fn finding(outcome: Outcome, candidates: &[Candidate]) -> Finding {
    match outcome {
        Outcome::Matched(position) => match with_hash(candidates).nth(position) {
            Some(candidate) => Finding::of(candidate.matched(None), true),
            None => Finding::of(LaneVerdict::Timeout, false),
        },
        Outcome::Mismatch { is_certain } => Finding::of(LaneVerdict::Mismatch, is_certain),
        Outcome::Unavailable | Outcome::Full => Finding::of(LaneVerdict::Timeout, false),
    }
}

fn note(kept: &Kept, job: &Job, hashed: &Hashed) {
    for (candidate, hash) in with_hash(&job.candidates).zip(&hashed.hashes) {
        kept.stats.note_cost(candidate.token_id, hash.cpu);
    }
    kept.stats.note_hashed(hashed, job.submitted.elapsed());
}
