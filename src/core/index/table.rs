//! The base's token table: one contiguous array, ordered by digest, looked up by its bits.
//!
//! A digest is uniform, so its leading bits already are the place where to look; slots are placed
//! there or just after, in the order of their digests. A look-up reads on from that place until
//! it finds the digest or a greater one: hits and misses cost the same one or two cache lines.

/// The first 128 bits of a digest: what the index tells tokens apart by.
pub(super) type Bits = [u64; 2];

/// Slots for every token, in hundredths.
const ROOM_PERCENT: usize = 125;

/// One token. 40 bytes, so that a look-up touches as little memory as possible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) bits: Bits,
    pub(super) id: u64,
    pub(super) account: u32,
    /// Offset of the first word of its grants, or [`NOTHING`].
    pub(super) grants: u32,
    /// First second at which it is no longer valid; [`NEVER`] where it does not expire.
    pub(super) expires: u32,
    /// Position of its extra, or [`NO_EXTRA`], and in the highest bit whether it is revoked.
    pub(super) extra: u32,
}

/// No grants.
pub(super) const NOTHING: u32 = u32::MAX;
/// Does not expire before 2106.
pub(super) const NEVER: u32 = u32::MAX;
/// Neither a user nor a first second nor a narrowing.
pub(super) const NO_EXTRA: u32 = REVOKED - 1;
/// The token is revoked.
pub(super) const REVOKED: u32 = 1 << 31;

/// No digest is as great: a look-up stops there.
const EMPTY: Slot = Slot {
    bits: [u64::MAX; 2],
    id: u64::MAX,
    account: 0,
    grants: NOTHING,
    expires: 0,
    extra: NO_EXTRA,
};

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    slots: Box<[Slot]>,
    /// Places that a digest's leading bits can point to.
    places: u64,
    len: usize,
}

impl Table {
    /// Places the slots. Of two with the same digest, the later one given is kept.
    pub(super) fn new(mut tokens: Vec<Slot>) -> Self {
        tokens.sort_by_key(|slot| slot.bits);
        tokens.reverse();
        tokens.dedup_by_key(|slot| slot.bits);
        let len = tokens.len();
        let places = (len * ROOM_PERCENT / 100).max(1) as u64;
        let mut slots = Vec::with_capacity(places as usize + 64);
        // Reversed, so that taken from the end they come in ascending order.
        while let Some(slot) = tokens.pop() {
            let place = place(slot.bits, places);
            if slots.len() < place {
                slots.resize(place, EMPTY);
            }
            slots.push(slot);
        }
        slots.resize(slots.len().max(places as usize) + 1, EMPTY);
        Self { slots: slots.into_boxed_slice(), places, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn memory_bytes(&self) -> usize {
        std::mem::size_of_val(&*self.slots)
    }

    #[inline]
    pub(super) fn find(&self, bits: Bits) -> Option<&Slot> {
        // An empty slot is greater than any digest, so that it ends the search like a greater one.
        for slot in &self.slots[place(bits, self.places)..] {
            if slot.bits[0] < bits[0] {
                continue;
            }
            if slot.bits == bits {
                return Some(slot).filter(|slot| slot.id != EMPTY.id);
            }
            if slot.bits > bits {
                return None;
            }
        }
        None
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.id != EMPTY.id)
    }
}

/// Where the digest belongs if nothing is in the way: its leading bits as a fraction of `places`.
#[inline]
fn place(bits: Bits, places: u64) -> usize {
    ((u128::from(bits[0]) * u128::from(places)) >> 64) as usize
}

/// A time as the table keeps it: whole seconds from 1970 to 2106.
pub(super) fn pack_time(seconds: i64) -> u32 {
    u32::try_from(seconds.max(0)).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn slot(bits: Bits, id: u64) -> Slot {
        Slot { bits, id, ..EMPTY }
    }

    proptest! {
        #[test]
        fn a_table_finds_what_was_put_in_and_nothing_else(
            tokens in proptest::collection::vec((any::<u64>(), 0_u64..3), 0..600),
            crowded in proptest::collection::vec((u64::MAX - 20..=u64::MAX, 0_u64..3), 0..40),
            others in proptest::collection::vec((any::<u64>(), 0_u64..3), 0..200),
        ) {
            let mut map = HashMap::new();
            let mut slots = Vec::new();
            for (id, (high, low)) in tokens.into_iter().chain(crowded).enumerate() {
                map.insert([high, low], id as u64);
                slots.push(slot([high, low], id as u64));
            }
            let table = Table::new(slots);
            prop_assert_eq!(table.len(), map.len());
            prop_assert_eq!(table.iter().count(), map.len());
            for (bits, id) in &map {
                prop_assert_eq!(table.find(*bits).map(|slot| slot.id), Some(*id));
            }
            for (high, low) in others {
                let found = table.find([high, low]).map(|slot| slot.id);
                prop_assert_eq!(found, map.get(&[high, low]).copied());
            }
        }
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        let table = Table::new(Vec::new());
        assert!(table.find([0, 0]).is_none());
        assert!(table.find([u64::MAX, u64::MAX]).is_none());
    }

    #[test]
    fn a_slot_is_forty_bytes() {
        assert_eq!(size_of::<Slot>(), 40);
    }
}
