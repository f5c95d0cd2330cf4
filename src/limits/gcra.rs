//! The generic cell rate algorithm (ITU-T I.371, annex A, as virtual scheduling): what a key has
//! used is one number, the time at which all of it is made up for.
//!
//! A key that has used nothing may use its whole quota at once; from then on one more each
//! interval. So a window of one period that begins with an unused quota sees at most twice the
//! quota less one, and no longer stretch sees more than the rate and one quota.

use crate::config::Rate;

/// Set while a key is cooling down; the rest of the word is then the end of that.
const COOLING: u64 = 1 << 63;
const TIME: u64 = COOLING - 1;

/// A limit, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gcra {
    interval: u64,
    /// The quota times the interval: at most a nanosecond for each request longer than the period.
    window: u64,
    /// 0: none.
    cooldown: u64,
}

/// What comes of using a key once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The key's state from now on.
    pub(super) next: u64,
    /// `Err`: not to be used, for so many nanoseconds.
    pub(super) outcome: Result<(), u64>,
}

impl Gcra {
    pub(super) fn new(rate: Rate, cooldown: Option<std::time::Duration>) -> Self {
        // Rounded up: never more than what is configured.
        let interval = nanos(rate.per).div_ceil(rate.count);
        Self { interval, window: interval * rate.count, cooldown: cooldown.map_or(0, nanos) }
    }

    /// Uses a key once. A refusal uses nothing, but may begin a cooldown.
    #[inline]
    pub(super) fn take(&self, state: u64, now: u64) -> Taken {
        let until = state & TIME;
        if state & COOLING != 0 && until > now {
            return Taken { next: state, outcome: Err(until - now) };
        }
        let used_until = until.max(now) + self.interval;
        let end = now + self.window;
        if used_until <= end {
            Taken { next: used_until, outcome: Ok(()) }
        } else if self.cooldown > 0 {
            Taken { next: COOLING | (now + self.cooldown), outcome: Err(self.cooldown) }
        } else {
            Taken { next: state, outcome: Err(used_until - end) }
        }
    }

    /// Counts a use that has been made already, also where it is one too many.
    pub(super) fn charge(&self, state: u64, now: u64) -> u64 {
        let until = state & TIME;
        if state & COOLING != 0 && until > now {
            return state;
        }
        until.max(now) + self.interval
    }

    /// Gives back what one use took.
    pub(super) fn give_back(&self, state: u64) -> u64 {
        if state & COOLING != 0 { state } else { state.saturating_sub(self.interval) }
    }

    /// How often a key may be used at once by now.
    pub(super) fn left(&self, state: u64, now: u64) -> u64 {
        if state & COOLING != 0 && until(state) > now {
            return 0;
        }
        (now + self.window).saturating_sub(until(state).max(now)) / self.interval
    }
}

/// From when on a state says no more than none would.
#[inline]
pub(super) fn until(state: u64) -> u64 {
    state & TIME
}

fn nanos(duration: std::time::Duration) -> u64 {
    // Longer than any that the configuration accepts.
    u64::try_from(duration.as_nanos()).unwrap_or(TIME >> 2)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn limit(count: u64, per: u64, cooldown: Option<u64>) -> Gcra {
        let rate = Rate { count, per: Duration::from_nanos(per) };
        Gcra::new(rate, cooldown.map(Duration::from_nanos))
    }

    /// Virtual scheduling with the sum of all that was used written out: no clever word, no
    /// rounding, and a list of what was granted instead of a number.
    struct Oracle {
        quota: u128,
        interval: u128,
        cooldown: u128,
        granted: Vec<u128>,
        cooling_until: u128,
    }

    impl Oracle {
        /// When all that was granted is made up for, one at a time, each an interval.
        fn made_up_at(&self) -> u128 {
            self.granted.iter().fold(0, |until, at| until.max(*at) + self.interval)
        }

        fn take(&mut self, now: u128) -> Result<(), u128> {
            if now < self.cooling_until {
                return Err(self.cooling_until - now);
            }
            let backlog = self.made_up_at().saturating_sub(now);
            let over = backlog + self.interval;
            let most = self.quota * self.interval;
            if over <= most {
                self.granted.push(now);
                return Ok(());
            }
            if self.cooldown == 0 {
                return Err(over - most);
            }
            self.cooling_until = now + self.cooldown;
            Err(self.cooldown)
        }
    }

    proptest! {
        #[test]
        fn it_grants_what_virtual_scheduling_grants(
            quota in 1_u64..20,
            interval in 1_u64..50,
            slack in 0_u64..20,
            cooldown in prop_oneof![Just(0_u64), 1_000_u64..3_000],
            gaps in proptest::collection::vec(0_u64..120, 1..200),
        ) {
            // Periods that are no multiple of the quota as well.
            let per = (quota * interval).saturating_sub(slack.min(quota - 1));
            let gcra = limit(quota, per, (cooldown > 0).then_some(cooldown));
            prop_assert_eq!(gcra.interval, interval);
            let mut oracle = Oracle {
                quota: quota.into(),
                interval: interval.into(),
                cooldown: cooldown.into(),
                granted: vec![],
                cooling_until: 0,
            };
            let (mut state, mut now) = (0, 5);
            for gap in gaps {
                now += gap;
                let left = gcra.left(state, now);
                let taken = gcra.take(state, now);
                prop_assert_eq!(left > 0, taken.outcome.is_ok());
                let expected = oracle.take(now.into()).map_err(|wait| wait as u64);
                prop_assert_eq!(taken.outcome, expected);
                state = taken.next;
                if taken.outcome.is_ok() {
                    prop_assert_eq!(gcra.left(state, now), left - 1);
                    prop_assert_eq!(gcra.left(gcra.give_back(state), now), left);
                }
            }
        }

        #[test]
        fn whoever_waits_as_told_is_let_in_and_a_moment_earlier_is_not(
            quota in 1_u64..20,
            per in 20_u64..5_000,
            cooldown in prop_oneof![Just(0_u64), 5_000_u64..9_000],
            gaps in proptest::collection::vec(0_u64..40, 20..100),
        ) {
            let gcra = limit(quota, per, (cooldown > 0).then_some(cooldown));
            let (mut state, mut now) = (0, 1);
            for gap in gaps {
                now += gap;
                let taken = gcra.take(state, now);
                state = taken.next;
                if let Err(wait) = taken.outcome {
                    prop_assert!(wait > 0);
                    prop_assert!(gcra.take(state, now + wait - 1).outcome.is_err());
                    prop_assert!(gcra.take(state, now + wait).outcome.is_ok());
                    now += wait;
                }
            }
        }

        #[test]
        fn no_stretch_sees_more_than_its_rate_and_one_quota(
            quota in 1_u64..20,
            per in 20_u64..5_000,
            gaps in proptest::collection::vec(0_u64..200, 1..200),
        ) {
            let gcra = limit(quota, per, None);
            let (mut state, mut now, mut granted) = (0, 1, Vec::new());
            for gap in gaps {
                now += gap;
                let taken = gcra.take(state, now);
                state = taken.next;
                granted.extend(taken.outcome.is_ok().then_some(now));
            }
            for (first, from) in granted.iter().enumerate() {
                for (last, to) in granted.iter().enumerate().skip(first) {
                    let seen = (last - first + 1) as u64;
                    prop_assert!(seen <= quota + (to - from) * quota / per);
                }
            }
        }
    }

    #[test]
    fn an_unused_quota_may_be_used_at_once_and_then_one_each_interval() {
        let gcra = limit(3, 300, None);
        let mut state = 0;
        for _ in 0..3 {
            let taken = gcra.take(state, 1_000);
            assert_eq!(taken.outcome, Ok(()));
            state = taken.next;
        }
        assert_eq!(gcra.take(state, 1_000).outcome, Err(100));
        assert_eq!(gcra.take(state, 1_099).outcome, Err(1));
        assert_eq!(gcra.take(state, 1_100).outcome, Ok(()));
        assert_eq!(gcra.left(state, 1_300), 3);
    }

    #[test]
    fn a_use_that_was_made_counts_also_where_it_is_one_too_many() {
        let gcra = limit(2, 200, None);
        let state = (0..3).fold(0, |state, _| gcra.charge(state, 1_000));
        assert_eq!(gcra.take(state, 1_000).outcome, Err(200));
        let cooling = limit(1, 100, Some(500));
        let state = cooling.take(cooling.take(0, 1_000).next, 1_010).next;
        assert_eq!(cooling.charge(state, 1_020), state);
    }

    #[test]
    fn a_cooldown_is_not_made_longer_by_who_keeps_asking() {
        let gcra = limit(1, 100, Some(500));
        let state = gcra.take(0, 1_000).next;
        let cooling = gcra.take(state, 1_010);
        assert_eq!(cooling.outcome, Err(500));
        assert_eq!(gcra.take(cooling.next, 1_400), Taken { next: cooling.next, outcome: Err(110) });
        assert_eq!(gcra.left(cooling.next, 1_400), 0);
        assert_eq!(gcra.take(cooling.next, 1_510).outcome, Ok(()));
    }
}
