//! The CPU time that the lane may use: a token bucket that all its threads pay into debt.
//!
//! Under a container's quota the lowest priority is not enough: what the lane uses up of the
//! quota, everyone is throttled for. So each thread measures its own CPU time and rests until
//! what it has used is paid.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What the lane may use at once after a rest: its share of this time, one period of the
/// kernel's quota.
const BURST: Duration = Duration::from_millis(100);

/// CPU time, earned at a fixed rate.
pub(super) struct Budget {
    rate: f64,
    account: Mutex<Account>,
}

struct Account {
    /// Seconds of CPU time; negative where more was used than earned.
    balance: f64,
    at: Instant,
}

impl Budget {
    /// Earns `rate` seconds of CPU time a second, which must be above zero.
    pub(super) fn new(rate: f64, now: Instant) -> Self {
        let account = Account { balance: rate * BURST.as_secs_f64(), at: now };
        Self { rate, account: Mutex::new(account) }
    }

    /// Where a thread begins to use time: what was earned up to `now` beyond the burst is lost.
    fn begin(&self, now: Instant) {
        self.settle(Duration::ZERO, now);
    }

    /// Pays for time used up to `now`, and gives how long to rest until there is no debt.
    fn pay(&self, used: Duration, now: Instant) -> Duration {
        let balance = self.settle(used, now);
        Duration::try_from_secs_f64(-balance / self.rate).unwrap_or(Duration::ZERO)
    }

    /// Adds what was earned and takes off what was used. What is earned while a long hash is
    /// computed goes to its cost before the rest of it may be lost.
    fn settle(&self, used: Duration, now: Instant) -> f64 {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.saturating_duration_since(account.at).as_secs_f64() * self.rate;
        let balance = account.balance + earned - used.as_secs_f64();
        account.at = account.at.max(now);
        account.balance = balance.min(self.rate * BURST.as_secs_f64());
        account.balance
    }
}

/// What one thread has used and not yet paid.
pub(super) struct Meter<'b> {
    budget: &'b Budget,
    paid_until: Duration,
    spent: Duration,
}

impl<'b> Meter<'b> {
    /// Counts what this thread uses from here on.
    pub(super) fn start(budget: &'b Budget) -> Self {
        budget.begin(Instant::now());
        Self { budget, paid_until: thread_time(), spent: Duration::ZERO }
    }

    /// Pays for what was used since the last time, and gives how long to rest.
    pub(super) fn pay(&mut self) -> Duration {
        let until = thread_time();
        let used = until.saturating_sub(self.paid_until);
        self.paid_until = until;
        self.spent += used;
        self.budget.pay(used, Instant::now())
    }

    /// All that was used so far, paid or not.
    pub(super) fn total(&self) -> Duration {
        self.spent + thread_time().saturating_sub(self.paid_until)
    }
}

/// CPU time of this thread.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn what_is_used_beyond_the_burst_is_rested_for() {
        let start = Instant::now();
        let budget = Budget::new(0.25, start);
        // A quarter of 100 ms is there at once.
        assert_eq!(budget.pay(millis(25), start), Duration::ZERO);
        assert_eq!(budget.pay(millis(10), start), millis(40));
        assert_eq!(budget.pay(millis(10), start + millis(40)), millis(40));
    }

    #[test]
    fn a_long_rest_earns_no_more_than_the_burst() {
        let start = Instant::now();
        let budget = Budget::new(0.5, start);
        budget.begin(start + 60 * SECOND);
        // Of the second used, 50 ms were there and half a second was earned on the way.
        assert_eq!(budget.pay(SECOND, start + 61 * SECOND), millis(900));
    }

    #[test]
    fn threads_share_one_budget() {
        let start = Instant::now();
        let budget = Budget::new(1.0, start);
        assert_eq!(budget.pay(millis(150), start), millis(50));
        assert_eq!(budget.pay(millis(150), start), millis(200));
    }

    #[test]
    fn over_time_the_rate_is_kept_to_whatever_single_hashes_cost() {
        let start = Instant::now();
        let budget = Budget::new(0.2, start);
        let (mut now, mut used) = (start, Duration::ZERO);
        for cost in [3_u64, 700, 1, 40, 250].into_iter().cycle().take(500) {
            budget.begin(now);
            used += millis(cost);
            now += millis(cost);
            now += budget.pay(millis(cost), now);
        }
        let share = used.as_secs_f64() / now.duration_since(start).as_secs_f64();
        assert!((0.199..0.202).contains(&share), "{share}");
    }

    #[test]
    fn a_meter_counts_what_its_thread_computes_and_not_what_it_waits() {
        let budget = Budget::new(1.0, Instant::now());
        let mut meter = Meter::start(&budget);
        std::thread::park_timeout(millis(20));
        meter.pay();
        let waited = meter.total();
        let mut sum = 0_u64;
        while meter.total() < waited + millis(5) {
            sum = std::hint::black_box(sum).wrapping_add(1);
            meter.pay();
        }
        assert!(waited < millis(20), "{waited:?}");
    }
}
