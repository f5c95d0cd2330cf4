//! A map of fixed size from keys to times: full, it forgets what is due first.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Places that a key can be at.
const WAYS: usize = 4;

/// Times by key. What has been forgotten and what was never known are the same: zero.
pub(super) struct FixedMap {
    began: Instant,
    sets: Mutex<Box<[[Slot; WAYS]]>>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    key: [u64; 2],
    millis: u64,
}

impl FixedMap {
    /// Holds `sets` times four keys, in 96 bytes a set.
    pub(super) fn new(sets: usize, now: Instant) -> Self {
        let sets = vec![[Slot::default(); WAYS]; sets.max(1)].into_boxed_slice();
        Self { began: now, sets: Mutex::new(sets) }
    }

    /// Milliseconds from the beginning to `now`.
    pub(super) fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began) + Duration::from_millis(1);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// The time kept for a key, in milliseconds from the beginning; zero where there is none.
    pub(super) fn recall(&self, key: [u64; 2]) -> u64 {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let set = &sets[place(key, sets.len())];
        set.iter().find(|slot| slot.key == key).map_or(0, |slot| slot.millis)
    }

    /// Keeps a time for a key, in place of what is due first.
    pub(super) fn keep(&self, key: [u64; 2], millis: u64) {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let set = place(key, sets.len());
        let set = &mut sets[set];
        let known = set.iter().position(|slot| slot.key == key);
        let first_due = || (0..WAYS).min_by_key(|at| set[*at].millis);
        let Some(at) = known.or_else(first_due) else { return };
        set[at] = Slot { key, millis };
    }
}

/// Keys are keyed digests or seeded hashes: nobody outside can choose where they fall.
fn place(key: [u64; 2], sets: usize) -> usize {
    (key[0] % sets as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_forgets_what_is_due_first() {
        let map = FixedMap::new(1, Instant::now());
        for number in 1..=4 {
            map.keep([number, 0], 10 * number);
        }
        map.keep([1, 0], 100);
        map.keep([5, 0], 7);
        assert_eq!([1, 2, 3, 4, 5].map(|number| map.recall([number, 0])), [100, 0, 30, 40, 7]);
    }
}
