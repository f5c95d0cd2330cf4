//! One limit and what each key has used of it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::gcra::Gcra;
use super::table::{Table, WhenFull};
use crate::config::Rate;

/// A limit by key. Times are nanoseconds since the limits' epoch.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(super) rate: Rate,
    gcra: Gcra,
    table: Table,
}

impl Counter {
    pub(crate) fn new(
        rate: Rate,
        cooldown: Option<std::time::Duration>,
        when_full: WhenFull,
    ) -> Self {
        Self { rate, gcra: Gcra::new(rate, cooldown), table: Table::new(when_full) }
    }

    /// Uses a key once; `Err`: not for so many nanoseconds.
    #[inline]
    pub(super) fn take(&self, key: u64, now: u64) -> Result<(), u64> {
        let cell = self.table.claim(key, now);
        let mut state = cell.load(Ordering::Relaxed);
        // Each time around, another worker has got on.
        loop {
            let taken = self.gcra.take(state, now);
            if taken.next == state {
                return taken.outcome;
            }
            let swapped =
                cell.compare_exchange_weak(state, taken.next, Ordering::Relaxed, Ordering::Relaxed);
            match swapped {
                Ok(_) => return taken.outcome,
                Err(found) => state = found,
            }
        }
    }

    /// Gives back what one use took. Another use that was refused meanwhile stays refused.
    pub(super) fn give_back(&self, key: u64) {
        if let Some(cell) = self.table.find(key) {
            change(cell, |state| self.gcra.give_back(state));
        }
    }

    /// Counts a use that has been made already, also where it is one too many.
    pub(crate) fn charge(&self, key: u64, now: u64) {
        change(self.table.claim(key, now), |state| self.gcra.charge(state, now));
    }

    /// What using a key would come to; uses nothing.
    #[inline]
    pub(crate) fn look(&self, key: u64, now: u64) -> Result<(), u64> {
        self.gcra.take(self.state(key), now).outcome
    }

    /// How often a key may be used at once by now.
    pub(super) fn left(&self, key: u64, now: u64) -> u64 {
        self.gcra.left(self.state(key), now)
    }

    #[inline]
    fn state(&self, key: u64) -> u64 {
        self.table.find(key).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

/// Changes a state, again where another worker got on meanwhile.
fn change(cell: &AtomicU64, next: impl Fn(u64) -> u64) {
    // What always says what comes next never fails.
    let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| Some(next(state)));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use super::*;

    #[test]
    fn workers_together_get_the_quota_and_not_one_more() {
        let rate = Rate { count: 1_000, per: Duration::from_secs(60) };
        let counter = Counter::new(rate, None, WhenFull::Forget);
        let granted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..1_000).filter(|_| counter.take(7, 1).is_ok()).for_each(|_| {
                        granted.fetch_add(1, Ordering::Relaxed);
                    });
                });
            }
        });
        assert_eq!(granted.into_inner(), 1_000);
        assert_eq!((counter.left(7, 1), counter.left(8, 1)), (0, 1_000));
    }

    #[test]
    fn what_is_given_back_can_be_used_again_but_ends_no_cooldown() {
        let rate = Rate { count: 1, per: Duration::from_secs(1) };
        let cooling = Counter::new(rate, Some(Duration::from_secs(5)), WhenFull::Forget);
        assert_eq!(cooling.take(1, 1), Ok(()));
        cooling.give_back(1);
        assert_eq!(cooling.take(1, 1), Ok(()));
        assert_eq!(cooling.take(1, 1), Err(5_000_000_000));
        cooling.give_back(1);
        assert!(cooling.take(1, 1).is_err());
        cooling.give_back(2);
        assert_eq!(cooling.left(2, 1), 1);
    }
}
