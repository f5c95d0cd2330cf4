//! How busy the lane is: what is told to metrics, and what is told to those it turns away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Least that a request that was turned away is asked to wait: one second, since `Retry-After`
/// has no smaller unit but zero.
const LEAST_RETRY: Duration = Duration::from_secs(1);
/// Weight of the latest verification in the mean: one part in this many.
const MEAN_WEIGHT: u64 = 8;

/// What the lane tells as it happens. Called from the lane's threads and from request paths, so
/// an implementation must neither block nor panic.
pub trait LaneObserver: Send + Sync {
    /// One hash was computed, match or not, and took this many seconds.
    fn verified(&self, seconds: f64);
    /// One request was turned away because the queue is full.
    fn shed(&self);
    /// So many verifications are waiting now. Threads may call this out of order: a scrape
    /// that wants the exact number reads [`LaneStats::queue_depth`].
    fn queue_depth(&self, depth: usize);
}

/// Observes nothing.
impl LaneObserver for () {
    fn verified(&self, _seconds: f64) {}
    fn shed(&self) {}
    fn queue_depth(&self, _depth: usize) {}
}

/// The lane's counters.
pub struct LaneStats {
    threads: u32,
    queued: AtomicUsize,
    shed: AtomicU64,
    mean_micros: AtomicU64,
    observer: Arc<dyn LaneObserver>,
}

impl LaneStats {
    pub(super) fn new(threads: usize, observer: Arc<dyn LaneObserver>) -> Self {
        Self {
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            queued: AtomicUsize::new(0),
            shed: AtomicU64::new(0),
            mean_micros: AtomicU64::new(0),
            observer,
        }
    }

    /// Verifications that wait for a thread.
    pub fn queue_depth(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Requests turned away because the queue was full, since the start.
    pub fn shed_total(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Moving mean of what one request costs a thread, all its candidates together; zero before
    /// the first.
    pub fn mean_verification(&self) -> Duration {
        Duration::from_micros(self.mean_micros.load(Ordering::Relaxed))
    }

    /// When a request that is turned away now would probably be served: once what waits, and
    /// itself, have had their mean time on the threads. Whole seconds, at least one.
    pub fn retry_after(&self) -> Duration {
        let waiting = u32::try_from(self.queue_depth()).unwrap_or(u32::MAX).saturating_add(1);
        let estimate = self.mean_verification().saturating_mul(waiting) / self.threads;
        let whole_seconds = estimate.as_secs() + u64::from(estimate.subsec_nanos() > 0);
        Duration::from_secs(whole_seconds).max(LEAST_RETRY)
    }

    pub(super) fn enter_queue(&self) {
        let depth = self.queued.fetch_add(1, Ordering::Relaxed) + 1;
        self.observer.queue_depth(depth);
    }

    pub(super) fn leave_queue(&self) {
        let depth = self.queued.fetch_sub(1, Ordering::Relaxed) - 1;
        self.observer.queue_depth(depth);
    }

    /// A request that had entered the queue found no place in it.
    pub(super) fn turn_away(&self) {
        self.leave_queue();
        self.shed.fetch_add(1, Ordering::Relaxed);
        self.observer.shed();
    }

    pub(super) fn note_hash(&self, took: Duration) {
        self.observer.verified(took.as_secs_f64());
    }

    /// Counts one request's time into the mean. Two threads may lose one of two samples, which
    /// an estimate can afford.
    pub(super) fn note_verification(&self, took: Duration) {
        let sample = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let mean = match self.mean_micros.load(Ordering::Relaxed) {
            0 => sample,
            mean => mean - mean / MEAN_WEIGHT + sample / MEAN_WEIGHT,
        };
        self.mean_micros.store(mean.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_mean_times_queue_over_threads_and_at_least_a_second() {
        let stats = LaneStats::new(2, Arc::new(()));
        assert_eq!(stats.retry_after(), Duration::from_secs(1));
        stats.note_verification(Duration::from_millis(500));
        assert_eq!(stats.retry_after(), Duration::from_secs(1));
        for _ in 0..9 {
            stats.enter_queue();
        }
        // Ten times half a second on two threads is 2.5 seconds.
        assert_eq!(stats.retry_after(), Duration::from_secs(3));
    }

    #[test]
    fn the_mean_follows_what_verifications_cost() {
        let stats = LaneStats::new(1, Arc::new(()));
        stats.note_verification(Duration::from_millis(800));
        assert_eq!(stats.mean_verification(), Duration::from_millis(800));
        stats.note_verification(Duration::ZERO);
        assert_eq!(stats.mean_verification(), Duration::from_millis(700));
    }
}
