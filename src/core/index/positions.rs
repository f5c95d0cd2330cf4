//! From a key to the position of its run, where the run itself says what its key is.
//!
//! Open addressing: a look-up begins at the place that the key's hash gives, and goes on to the
//! next until it finds the key or a free place. Four bytes a place, and no key is kept twice.

use super::partition::scale;

/// A free place: no position is as great.
const FREE: u32 = u32::MAX;
/// Places for every key, in hundredths, once nothing more is added.
const ROOM_PERCENT: usize = 140;
/// Fewest places.
const LEAST: usize = 4;

/// Positions by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions {
    places: Vec<u32>,
    len: usize,
}

impl Positions {
    /// The position whose run has the key.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.place_of(hash, is_it).ok().map(|place| self.places[place])
    }

    /// The position where the search for a hash begins, which most often is that of its key.
    #[inline]
    pub(super) fn first(&self, hash: u64) -> Option<u32> {
        let place = begin(hash, self.places.len())?;
        Some(self.places[place]).filter(|position| *position != FREE)
    }

    /// Notes where a key's run is, and returns where it was.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        position: u32,
        is_it: impl Fn(u32) -> bool,
        hash_of: impl Fn(u32) -> u64,
    ) -> Option<u32> {
        if (self.len + 1) * 4 > self.places.len() * 3 {
            self.resize((self.places.len() * 2).max(LEAST), hash_of);
        }
        match self.place_of(hash, is_it) {
            Ok(place) => Some(std::mem::replace(&mut self.places[place], position)),
            Err(place) => {
                self.places[place] = position;
                self.len += 1;
                None
            }
        }
    }

    /// Room for so many keys, so that adding them copies nothing.
    pub(super) fn with_room(keys: usize) -> Self {
        Self { places: vec![FREE; fitting(keys)], len: 0 }
    }

    /// Gives back the room for more.
    pub(super) fn shrink(&mut self, hash_of: impl Fn(u32) -> u64) {
        if fitting(self.len) < self.places.len() {
            self.resize(fitting(self.len), hash_of);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.places.iter().copied().filter(|position| *position != FREE)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<u32>()
    }

    /// The place of the key, or else the free one where it would be.
    #[inline]
    fn place_of(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Result<usize, usize> {
        let Some(first) = begin(hash, self.places.len()) else { return Err(0) };
        let mut place = first;
        loop {
            match self.places[place] {
                FREE => return Err(place),
                position if is_it(position) => return Ok(place),
                _ => place = if place + 1 == self.places.len() { 0 } else { place + 1 },
            }
        }
    }

    fn resize(&mut self, places: usize, hash_of: impl Fn(u32) -> u64) {
        let before = std::mem::replace(&mut self.places, vec![FREE; places]);
        for position in before.into_iter().filter(|position| *position != FREE) {
            let place = self.place_of(hash_of(position), |_| false);
            let place = place.expect_err("invariant: nothing is it, and there is room");
            self.places[place] = position;
        }
    }
}

/// Places for so many keys.
fn fitting(keys: usize) -> usize {
    keys * ROOM_PERCENT / 100 + usize::from(keys > 0)
}

/// Where among `places` a hash falls, by its leading bits; `None` where there are none.
#[inline]
fn begin(hash: u64, places: usize) -> Option<usize> {
    (places != 0).then(|| scale(hash, places).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// Hashes of few bits, so that keys get into each other's way.
        #[test]
        fn positions_are_a_map(
            keys in proptest::collection::vec(0_u64..400, 0..900),
            bits in 1_u32..64,
        ) {
            let hash = |key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> bits << bits;
            let mut positions = Positions::default();
            let mut map = HashMap::new();
            for (position, key) in keys.iter().enumerate() {
                let is_it = |at: u32| keys[at as usize] == *key;
                let hash_of = |at: u32| hash(keys[at as usize]);
                let before = positions.insert(hash(*key), position as u32, is_it, hash_of);
                prop_assert_eq!(before, map.insert(*key, position as u32));
            }
            positions.shrink(|at| hash(keys[at as usize]));
            prop_assert_eq!(positions.iter().count(), map.len());
            for key in 0..400 {
                let found = positions.find(hash(key), |at| keys[at as usize] == key);
                prop_assert_eq!(found, map.get(&key).copied());
            }
        }
    }
}
