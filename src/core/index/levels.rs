//! A map that is copied cheaply: what changes often is small, what is large changes seldom.
//!
//! An insertion copies at most the first level if someone else still reads it. A full level is
//! merged into the next, which is copied then, once in as many insertions as the level holds.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::FixedState;

/// Entries that the first and second level hold before they are merged into the next. The third
/// is bounded by folding the overlay into a new base.
const LEVEL_LIMITS: [usize; 2] = [32, 1024];

type Level<K, V> = Arc<HashMap<K, V, FixedState>>;

/// A persistent map of three levels. Cloning shares all of them.
#[derive(Clone, Debug)]
pub(super) struct Levels<K, V> {
    levels: [Level<K, V>; 3],
    empty: bool,
}

impl<K, V> Default for Levels<K, V> {
    fn default() -> Self {
        Self { levels: Default::default(), empty: true }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Levels<K, V> {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.empty
    }

    /// Entries in all levels; a key that is in several counts as many times.
    pub(super) fn len(&self) -> usize {
        self.levels.iter().map(|level| level.len()).sum()
    }

    #[inline]
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        if self.empty {
            return None;
        }
        self.levels.iter().find_map(|level| level.get(key))
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.empty = false;
        Arc::make_mut(&mut self.levels[0]).insert(key, value);
        for (position, limit) in LEVEL_LIMITS.into_iter().enumerate() {
            if self.levels[position].len() <= limit {
                return;
            }
            let full = std::mem::take(&mut self.levels[position]);
            let next = Arc::make_mut(&mut self.levels[position + 1]);
            next.extend(Arc::unwrap_or_clone(full));
        }
    }

    /// Every key once, with its newest value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let levels = &self.levels;
        levels.iter().enumerate().flat_map(move |(position, level)| {
            let newer = &levels[..position];
            level.iter().filter(move |(key, _)| !newer.iter().any(|level| level.contains_key(*key)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn levels_are_a_map(changes in proptest::collection::vec((0_u16..3000, 0_u32..9), 0..5000)) {
            let mut levels = Levels::default();
            let mut map = HashMap::new();
            for (key, value) in changes {
                levels.insert(key, value);
                map.insert(key, value);
            }
            prop_assert_eq!(levels.is_empty(), map.is_empty());
            for key in 0..3000 {
                prop_assert_eq!(levels.get(&key), map.get(&key));
            }
            let entries: HashMap<u16, u32> = levels.iter().map(|(key, value)| (*key, *value)).collect();
            prop_assert_eq!(levels.iter().count(), map.len());
            prop_assert_eq!(entries, map);
        }
    }

    #[test]
    fn a_clone_does_not_see_later_changes() {
        let mut levels = Levels::default();
        levels.insert(1, "old");
        let before = levels.clone();
        levels.insert(1, "new");
        assert_eq!(before.get(&1), Some(&"old"));
        assert_eq!(levels.get(&1), Some(&"new"));
    }
}
