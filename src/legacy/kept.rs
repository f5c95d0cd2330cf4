//! What is kept of verifications: successes, mismatches, and who failed; never what an error
//! came to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::Job;
use super::lane::LaneVerdict;
use super::load::LaneStats;
use super::memory::{Memory, Remembered};
use super::mismatches::Mismatches;
use super::throttle::Throttle;

/// What the lane and its threads remember together.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) memory: Arc<Memory>,
    pub(super) mismatches: Arc<Mismatches>,
    pub(super) throttle: Arc<Throttle>,
    pub(super) stats: Arc<LaneStats>,
}

/// What trying the candidates came to.
pub(super) struct Finding {
    pub(super) verdict: LaneVerdict,
    /// Every candidate that was tried was tried to the end.
    pub(super) is_certain: bool,
    /// A match is not remembered beyond that.
    pub(super) until: Option<Instant>,
}

impl Finding {
    pub(super) fn of(verdict: LaneVerdict, is_certain: bool) -> Self {
        Self { verdict, is_certain, until: None }
    }
}

impl Kept {
    /// Nothing yet; successes for `ttl`, at most so many.
    pub(super) fn new(ttl: Duration, limit: usize, stats: Arc<LaneStats>) -> Self {
        let now = Instant::now();
        Self {
            memory: Arc::new(Memory::new(ttl, limit)),
            mismatches: Arc::new(Mismatches::new(now)),
            throttle: Arc::new(Throttle::new(now)),
            stats,
        }
    }

    /// Turns a job away.
    pub(super) fn shed(&self, job: Job, retry_after: Duration) {
        self.stats.shed();
        job.landing.land(LaneVerdict::Full { retry_after });
    }

    /// Keeps what was found.
    pub(super) fn keep(&self, job: &Job, finding: &Finding) {
        let now = Instant::now();
        match finding.verdict {
            LaneVerdict::Matched { token_id, version, ends } => {
                let remembered = Remembered { token_id, version, ends };
                self.memory.remember(job.landing.digest(), remembered, now, finding.until);
                self.stats.note_match(token_id, &job.secret);
            }
            LaneVerdict::Mismatch if finding.is_certain => {
                self.mismatches.remember(job.landing.digest(), &job.candidates, now);
                self.throttle.failed(job.client, job.account, now);
            }
            _ => {}
        }
    }
}
