//! When not to ask an endpoint that fails: others need not wait to be told so.

use std::time::{Duration, Instant};

/// Failures in a row after which nobody is asked for a while.
const FAILURES: u32 = 5;
/// The first pause; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A circuit breaker: closed, or open until some time; then one trial at a time.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    pause: Duration,
    /// When it was given up: what is asked from then on is a trial.
    opened: Option<Instant>,
    open_until: Option<Instant>,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self { failures: 0, pause: FIRST_PAUSE, opened: None, open_until: None }
    }

    /// Whether the endpoint may be asked now.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match self.open_until {
            Some(until) if now < until => false,
            Some(_) => {
                // This one is the trial; the next is not before it had its time.
                self.open_until = Some(now + self.pause);
                true
            }
            None => true,
        }
    }

    /// It answered. Whether it had been given up.
    pub(super) fn succeeded(&mut self) -> bool {
        let was_open = self.open_until.is_some();
        *self = Self::new();
        was_open
    }

    /// It did not answer what it was asked at `began`. Whether it is given up with this.
    pub(super) fn failed(&mut self, began: Instant, now: Instant) -> bool {
        if let Some(opened) = self.opened {
            // What was under way already when it was given up says nothing new.
            if began >= opened {
                self.pause = (2 * self.pause).min(LONGEST_PAUSE);
                self.open_until = Some(now + self.pause);
            }
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES {
            return false;
        }
        self.opened = Some(now);
        self.open_until = Some(now + self.pause);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(now: Instant) -> Breaker {
        let mut breaker = Breaker::new();
        for failure in 1..=FAILURES {
            assert!(breaker.admits(now));
            assert_eq!(breaker.failed(now, now), failure == FAILURES);
        }
        breaker
    }

    #[test]
    fn after_some_failures_in_a_row_nobody_is_asked_and_then_one_at_a_time() {
        let start = Instant::now();
        let mut breaker = open(start);
        assert!(!breaker.admits(start + FIRST_PAUSE / 2));
        assert!(breaker.admits(start + FIRST_PAUSE));
        assert!(!breaker.admits(start + FIRST_PAUSE), "one trial");
        assert!(breaker.succeeded() && breaker.admits(start + FIRST_PAUSE));
        assert!(!breaker.failed(start, start), "counted from the beginning");
    }

    #[test]
    fn each_failed_trial_doubles_the_pause_up_to_a_limit() {
        let mut now = Instant::now();
        let mut breaker = open(now);
        for pause in [1, 2, 4, 8, 16, 30, 30].map(|halves| halves * Duration::from_millis(500)) {
            assert!(!breaker.admits(now + pause - Duration::from_millis(1)));
            now += pause;
            assert!(breaker.admits(now));
            assert!(!breaker.failed(now, now));
        }
    }

    #[test]
    fn failures_that_were_under_way_when_it_opened_do_not_lengthen_the_pause() {
        let before = Instant::now();
        let start = before + Duration::from_millis(1);
        let mut breaker = open(start);
        for _ in 0..3 * FAILURES {
            assert!(!breaker.failed(before, start + FIRST_PAUSE / 2));
        }
        let trial = start + FIRST_PAUSE;
        assert!(breaker.admits(trial));
        assert!(!breaker.failed(trial, trial));
        assert!(breaker.admits(trial + 2 * FIRST_PAUSE), "doubled once");
    }

    #[test]
    fn a_success_in_between_keeps_it_closed() {
        let (now, mut breaker) = (Instant::now(), Breaker::new());
        for _ in 0..3 * FAILURES {
            assert!(breaker.admits(now) && !breaker.failed(now, now) && !breaker.succeeded());
        }
    }
}
