//! How busy the lane is: what is told to metrics, and what is told to those it turns away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::task::Hashed;
use crate::cgroup;
use crate::config::Legacy;
use crate::core::record::TokenId;
use crate::core::token::Secret;

/// Least that a request that was turned away is asked to wait: one second, since `Retry-After`
/// has no smaller unit but zero.
const LEAST_RETRY: Duration = Duration::from_secs(1);
/// Weight of the latest verification in the mean: one part in this many.
const MEAN_WEIGHT: u64 = 8;

/// What came of asking an introspection endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The token is valid.
    Active,
    /// It is not.
    Inactive,
    /// No answer that says so or so.
    Error,
    /// It was not asked, since it had failed too often.
    Refused,
}

impl Asked {
    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Error => "error",
            Self::Refused => "refused",
        }
    }
}

/// What the lane tells as it happens. Called from the lane's threads and from request paths, so
/// an implementation must neither block nor panic.
pub trait LaneObserver: Send + Sync {
    /// This token's hash was computed, match or not, and took this many seconds, rests included.
    fn verified(&self, seconds: f64);
    /// So much CPU time went into this token's hash, computed to its end or not.
    fn hashed(&self, token: TokenId, cpu: Duration);
    /// This secret was found to be this token's.
    fn matched(&self, token: TokenId, secret: &Secret);
    /// An introspection endpoint was asked, and took so long.
    fn asked(&self, outcome: Asked, took: Duration);
    /// One request was turned away.
    fn shed(&self);
    /// So many verifications are waiting now.
    fn queue_depth(&self, depth: usize);
    /// A lane that is a process of its own can be asked from now on, or no longer.
    fn reached(&self, is_reached: bool);
    /// One request was answered, this many seconds of CPU time and of waiting after it came.
    fn answered(&self, cpu_seconds: f64, seconds: f64);
}

/// Observes nothing.
impl LaneObserver for () {
    fn verified(&self, _seconds: f64) {}
    fn hashed(&self, _token: TokenId, _cpu: Duration) {}
    fn matched(&self, _token: TokenId, _secret: &Secret) {}
    fn asked(&self, _outcome: Asked, _took: Duration) {}
    fn shed(&self) {}
    fn queue_depth(&self, _depth: usize) {}
    fn reached(&self, _is_reached: bool) {}
    fn answered(&self, _cpu_seconds: f64, _seconds: f64) {}
}

/// The lane's counters.
pub struct LaneStats {
    /// Threads, and the seconds of CPU time that they get a second, all together.
    threads: usize,
    rate: f64,
    deadline: Duration,
    shed: AtomicU64,
    mean_micros: AtomicU64,
    observer: Arc<dyn LaneObserver>,
}

impl LaneStats {
    /// Of a lane with these settings.
    pub(super) fn new(settings: &Legacy, observer: Arc<dyn LaneObserver>) -> Self {
        let threads = settings.threads.max(1);
        Self::of(threads, Self::rate_of(settings), settings.deadline, observer)
    }

    /// Seconds of CPU time that a lane in this process may use a second.
    pub(super) fn rate_of(settings: &Legacy) -> f64 {
        settings.cpu_share * cgroup::cpus()
    }

    /// Threads that may use `rate` seconds of CPU time a second, for requests that wait no
    /// longer than the deadline.
    fn of(threads: usize, rate: f64, deadline: Duration, observer: Arc<dyn LaneObserver>) -> Self {
        Self {
            threads,
            rate: rate.min(threads as f64),
            deadline,
            shed: AtomicU64::new(0),
            mean_micros: AtomicU64::new(0),
            observer,
        }
    }

    /// Requests turned away, since the start.
    pub fn shed_total(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Moving mean of the CPU time that one request costs, all its candidates together; zero
    /// before the first.
    pub fn mean_cost(&self) -> Duration {
        Duration::from_micros(self.mean_micros.load(Ordering::Relaxed))
    }

    /// When a request would probably be served that comes while so many wait: once they, and
    /// itself, have had their mean cost of the budget. Whole seconds, at least one.
    pub(super) fn retry_after(&self, waiting: usize) -> Duration {
        let estimate = self.mean_cost().as_secs_f64() * (waiting as f64 + 1.0) / self.rate;
        whole_seconds(Duration::try_from_secs_f64(estimate).unwrap_or(Duration::MAX))
    }

    /// How many may be served before a request that shall probably end within its deadline.
    pub(super) fn most_ahead(&self) -> usize {
        let mean = self.mean_cost().as_secs_f64();
        if mean == 0.0 {
            return usize::MAX;
        }
        let served = self.deadline.as_secs_f64() * self.rate / mean;
        (served as usize).saturating_sub(self.threads + 1)
    }

    pub(super) fn queued(&self, depth: usize) {
        self.observer.queue_depth(depth);
    }

    pub(super) fn shed(&self) {
        self.shed.fetch_add(1, Ordering::Relaxed);
        self.observer.shed();
    }

    /// Counts the hashes of one request, which was answered after so long.
    pub(super) fn note_hashed(&self, hashed: &Hashed, took: Duration) {
        for took in hashed.hashes.iter().filter_map(|hash| hash.took) {
            self.observer.verified(took.as_secs_f64());
        }
        if !hashed.hashes.is_empty() {
            self.note_request(hashed.cpu, took);
        }
    }

    pub(super) fn note_cost(&self, token: TokenId, cpu: Duration) {
        self.observer.hashed(token, cpu);
    }

    pub(super) fn note_match(&self, token: TokenId, secret: &Secret) {
        self.observer.matched(token, secret);
    }

    /// A lane of its own can be asked from now on, or no longer.
    pub(super) fn note_reached(&self, is_reached: bool) {
        self.observer.reached(is_reached);
    }

    pub(super) fn note_asked(&self, outcome: Asked, took: Duration) {
        self.observer.asked(outcome, took);
    }

    /// Counts one request's CPU time into the mean. Two threads may lose one of two samples,
    /// which an estimate can afford.
    fn note_request(&self, cost: Duration, took: Duration) {
        self.observer.answered(cost.as_secs_f64(), took.as_secs_f64());
        let sample = u64::try_from(cost.as_micros()).unwrap_or(u64::MAX).max(1);
        let mean = match self.mean_micros.load(Ordering::Relaxed) {
            0 => sample,
            mean => mean - mean / MEAN_WEIGHT + sample / MEAN_WEIGHT,
        };
        self.mean_micros.store(mean.max(1), Ordering::Relaxed);
    }
}

/// Rounded up: `Retry-After` has no smaller unit.
pub(super) fn whole_seconds(time: Duration) -> Duration {
    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    Duration::from_secs(seconds).max(LEAST_RETRY)
}

#[cfg(test)]
impl LaneStats {
    /// Of a lane that does nothing, and that nobody observes.
    pub(super) fn idle() -> Self {
        Self::of(1, 1.0, Duration::from_secs(10), Arc::new(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(threads: usize, rate: f64) -> LaneStats {
        LaneStats::of(threads, rate, Duration::from_secs(10), Arc::new(()))
    }

    fn note(stats: &LaneStats, millis: u64) {
        stats.note_request(Duration::from_millis(millis), Duration::from_secs(1));
    }

    #[test]
    fn the_estimate_is_mean_times_queue_over_budget_and_at_least_a_second() {
        let stats = stats(2, 0.5);
        assert_eq!(stats.retry_after(0), Duration::from_secs(1));
        note(&stats, 500);
        assert_eq!(stats.retry_after(0), Duration::from_secs(1));
        // Five times half a second, at half a CPU.
        assert_eq!(stats.retry_after(4), Duration::from_secs(5));
    }

    #[test]
    fn one_thread_uses_no_more_than_one_cpu_of_a_larger_budget() {
        let stats = stats(1, 8.0);
        note(&stats, 1000);
        assert_eq!(stats.retry_after(3), Duration::from_secs(4));
    }

    #[test]
    fn only_so_many_wait_as_the_budget_can_serve_before_the_deadline() {
        let stats = stats(1, 0.25);
        assert_eq!(stats.most_ahead(), usize::MAX);
        note(&stats, 250);
        // In ten seconds ten, of which one is being served and one is the request itself.
        assert_eq!(stats.most_ahead(), 8);
        (0..99).for_each(|_| note(&stats, 60_000));
        assert_eq!(stats.most_ahead(), 0);
    }

    #[test]
    fn the_mean_follows_what_requests_cost() {
        let stats = stats(1, 1.0);
        note(&stats, 800);
        assert_eq!(stats.mean_cost(), Duration::from_millis(800));
        note(&stats, 0);
        assert_eq!(stats.mean_cost(), Duration::from_millis(700));
    }
}
