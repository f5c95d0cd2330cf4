//! State by key in a fixed number of slots, shared by all workers: no lock and no allocation
//! once it is made, and no more memory whatever keys there are.
//!
//! Set-associative: a key can be in the slots of one set only, which a keyed hash says. A slot
//! whose state has run out says no more than an empty one and is the first to be taken over; else
//! the one that runs out first is. What that costs is said at [`WhenFull`]. Two workers that bring
//! in the same key at the same moment may give it two slots, of which one runs out unseen, and a
//! use that meets a take-over may be counted for the newcomer: an error of one use for each worker.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use super::gcra::until;

/// Slots of a table: 1 MiB.
pub(super) const KEYS_LIMIT: usize = 65_536;
/// Two cache lines, which are fetched together.
const WAYS: usize = 8;
/// No key.
const EMPTY: u64 = 0;
/// Take-overs that others may win before a slot is used as it is.
const ATTEMPTS: usize = 4;

/// What becomes of a key that finds every slot of its set in use by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// The one that has used least is forgotten, and the new one begins with nothing used: for
    /// keys that are known, of whom none may be refused for what others did.
    Forget,
    /// The new one begins with what the one that has used least had used (space saving, Metwally
    /// et al. 2005): nobody is ever counted too low, and no flood of keys makes a used one new.
    Inherit,
}

/// State by key. Keys are not 0.
pub(super) struct Table {
    sets: Box<[Set]>,
    hasher: std::hash::RandomState,
    when_full: WhenFull,
}

#[derive(Default)]
#[repr(align(128))]
struct Set([Slot; WAYS]);

#[derive(Default)]
struct Slot {
    key: AtomicU64,
    state: AtomicU64,
}

impl Table {
    pub(super) fn new(when_full: WhenFull) -> Self {
        Self::with_slots(KEYS_LIMIT, when_full)
    }

    fn with_slots(slots: usize, when_full: WhenFull) -> Self {
        let sets = (0..slots.div_ceil(WAYS).next_power_of_two()).map(|_| Set::default()).collect();
        Self { sets, hasher: std::hash::RandomState::new(), when_full }
    }

    /// The state of a key, if it has any.
    pub(super) fn find(&self, key: u64) -> Option<&AtomicU64> {
        let slot = self.set(key).0.iter().find(|slot| slot.key.load(Ordering::Relaxed) == key)?;
        Some(&slot.state)
    }

    /// The state of a key, which is given a slot where it has none.
    #[inline]
    pub(super) fn claim(&self, key: u64, now: u64) -> &AtomicU64 {
        let set = self.set(key);
        match set.0.iter().find(|slot| slot.key.load(Ordering::Relaxed) == key) {
            Some(slot) => &slot.state,
            None => self.take_over(set, key, now),
        }
    }

    #[cold]
    fn take_over<'t>(&self, set: &'t Set, key: u64, now: u64) -> &'t AtomicU64 {
        let mut slot = &set.0[0];
        for _ in 0..ATTEMPTS {
            slot = soonest(set);
            let before = slot.key.load(Ordering::Relaxed);
            let taken =
                slot.key.compare_exchange(before, key, Ordering::Relaxed, Ordering::Relaxed);
            match taken {
                Ok(_) => {
                    let in_use = until(slot.state.load(Ordering::Relaxed)) > now;
                    if in_use && self.when_full == WhenFull::Forget {
                        slot.state.store(0, Ordering::Relaxed);
                    }
                    return &slot.state;
                }
                // Another worker brought in the same key.
                Err(found) if found == key => return &slot.state,
                Err(_) => {}
            }
        }
        &slot.state
    }

    #[inline]
    fn set(&self, key: u64) -> &Set {
        debug_assert_ne!(key, EMPTY);
        let hash = self.hasher.hash_one(key) as usize;
        &self.sets[hash & (self.sets.len() - 1)]
    }
}

/// The slot whose state runs out first.
fn soonest(set: &Set) -> &Slot {
    let end = |slot: &&Slot| until(slot.state.load(Ordering::Relaxed));
    set.0.iter().min_by_key(end).expect("invariant: a set has slots")
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({} slots, {:?})", self.sets.len() * WAYS, self.when_full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(table: &Table, key: u64) -> Option<u64> {
        table.find(key).map(|state| state.load(Ordering::Relaxed))
    }

    fn put(table: &Table, key: u64, end: u64, now: u64) -> u64 {
        table.claim(key, now).fetch_max(end, Ordering::Relaxed)
    }

    #[test]
    fn a_set_is_two_cache_lines_and_a_table_a_mebibyte() {
        assert_eq!((size_of::<Set>(), align_of::<Set>()), (128, 128));
        let table = Table::new(WhenFull::Forget);
        assert_eq!(size_of_val(&*table.sets), 1 << 20);
    }

    #[test]
    fn what_has_run_out_gives_way_first() {
        let table = Table::with_slots(WAYS, WhenFull::Forget);
        (1..=8).for_each(|key| {
            put(&table, key, key * 10, 0);
        });
        assert_eq!(put(&table, 9, 500, 35), 10, "of key 1, which has run out");
        assert_eq!(state(&table, 1), None);
        assert!((2..=8).all(|key| state(&table, key) == Some(key * 10)));
    }

    #[test]
    fn where_nothing_has_run_out_a_known_key_begins_anew() {
        let table = Table::with_slots(WAYS, WhenFull::Forget);
        (1..=8).for_each(|key| {
            put(&table, key, 1_000 + key, 0);
        });
        assert_eq!(put(&table, 9, 2_000, 10), 0);
        assert_eq!((state(&table, 1), state(&table, 9)), (None, Some(2_000)));
    }

    #[test]
    fn where_nothing_has_run_out_an_address_takes_over_what_was_used() {
        let table = Table::with_slots(WAYS, WhenFull::Inherit);
        (1..=8).for_each(|key| {
            put(&table, key, 1_000 + key, 0);
        });
        assert_eq!(put(&table, 9, 0, 10), 1_001);
        assert_eq!((state(&table, 1), state(&table, 9)), (None, Some(1_001)));
    }

    #[test]
    fn workers_that_race_for_slots_lose_no_key_for_good() {
        // With so many sets, none gets more of the keys than it has slots.
        let table = Table::new(WhenFull::Forget);
        let use_all = || {
            (1..=1_000).for_each(|key| {
                put(&table, key, u64::MAX >> 1, 0);
            });
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(use_all);
            }
        });
        // One that was claimed may have lost its slot before it was used: it is there the next time.
        use_all();
        assert!((1..=1_000).all(|key| state(&table, key) == Some(u64::MAX >> 1)));
    }
}
