//! A part of the token table: a perfect hash of its digests, and the slots where it points.
//!
//! The digests of a partition are put into buckets of two on average. For each bucket a pilot is
//! searched, a byte that sends all of its digests to places that are still free, the largest
//! buckets first, while there is most room. A look-up computes the bucket, reads its pilot,
//! computes the place and compares. One bucket in some thousand finds no pilot: its tokens are
//! strays, looked up by binary search. Whoever could choose digests could make strays, no more.

use super::prefetch::prefetch;
use super::table::{Bits, Slot};

/// Digests of a bucket, on average.
const BUCKET_TOKENS: usize = 2;
/// Buckets of more are not tried.
const BUCKET_LIMIT: usize = 16;
/// One place in so many is left free.
const FREE_PART: usize = 50;
/// The pilot of a bucket whose tokens are strays.
const STRAYS: u8 = u8::MAX;

/// A part of the token table.
#[derive(Debug)]
pub(super) struct Partition {
    pilots: Box<[u8]>,
    slots: Box<[Slot]>,
    /// Ascending by digest.
    strays: Box<[Slot]>,
}

impl Partition {
    /// The partition of these slots in a table of so many partitions. Of two slots with the same
    /// digest, the later one is kept.
    pub(super) fn new(slots: &[Slot], partitions: usize) -> Self {
        let mut placing = Placing::of(slots, partitions);
        let buckets = placing.buckets();
        for size in (1..=BUCKET_LIMIT).rev() {
            for bucket in 0..buckets {
                if placing.size(bucket) == size {
                    placing.place(bucket);
                }
            }
        }
        for bucket in 0..buckets {
            if placing.size(bucket) > BUCKET_LIMIT {
                placing.give_up(bucket);
            }
        }
        placing.finish()
    }

    /// `rest` is what [`scale`] left when it chose this partition.
    #[inline]
    pub(super) fn find(&self, bits: Bits, rest: u64) -> Option<&Slot> {
        let pilot = self.pilots[scale(rest, self.pilots.len()).0];
        if pilot == STRAYS {
            return self.find_stray(bits);
        }
        let slot = &self.slots[place(bits, pilot, self.slots.len())];
        (slot.bits == bits && slot.is_taken()).then_some(slot)
    }

    #[inline]
    pub(super) fn touch(&self, bits: Bits, rest: u64) {
        let pilot = self.pilots[scale(rest, self.pilots.len()).0];
        prefetch(&self.slots[place(bits, pilot, self.slots.len())]);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.is_taken()).chain(&self.strays)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.pilots) + size_of_val(&*self.slots) + size_of_val(&*self.strays)
    }

    #[cold]
    fn find_stray(&self, bits: Bits) -> Option<&Slot> {
        let found = self.strays.binary_search_by_key(&bits, |slot| slot.bits).ok()?;
        Some(&self.strays[found])
    }
}

/// Where in a stretch of so many a number falls, taken as a fraction, and what is left of it.
#[inline]
pub(super) fn scale(number: u64, length: usize) -> (usize, u64) {
    let product = u128::from(number) * length as u128;
    ((product >> 64) as usize, product as u64)
}

/// Where a pilot sends a digest: by its second word, as the first has chosen the bucket.
#[inline]
fn place(bits: Bits, pilot: u8, places: usize) -> usize {
    let turned = bits[1] ^ (u64::from(pilot) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    scale(turned.wrapping_mul(0xd134_2543_de82_ef95), places).0
}

/// A partition while places are sought.
struct Placing<'s> {
    slots: &'s [Slot],
    /// Where each bucket's members begin, and the end.
    starts: Vec<u32>,
    /// Positions in `slots`, by bucket.
    members: Vec<u32>,
    pilots: Vec<u8>,
    placed: Vec<Slot>,
    strays: Vec<Slot>,
}

impl<'s> Placing<'s> {
    fn of(slots: &'s [Slot], partitions: usize) -> Self {
        let buckets = slots.len() / BUCKET_TOKENS + 1;
        let bucket_of = |slot: &Slot| scale(scale(slot.bits[0], partitions).1, buckets).0;
        let mut ends = vec![0_u32; buckets + 1];
        slots.iter().for_each(|slot| ends[bucket_of(slot)] += 1);
        let mut end = 0;
        for bucket in &mut ends {
            end += *bucket;
            *bucket = end;
        }
        // From the last slot to the first, so that within a bucket they stay in order; each
        // bucket's end thereby becomes its start.
        let mut members = vec![0; slots.len()];
        for (position, slot) in slots.iter().enumerate().rev() {
            let end = &mut ends[bucket_of(slot)];
            *end -= 1;
            members[*end as usize] = position as u32;
        }
        Self {
            slots,
            starts: ends,
            members,
            pilots: vec![0; buckets],
            placed: vec![Slot::EMPTY; slots.len() + slots.len() / FREE_PART + 1],
            strays: Vec::new(),
        }
    }

    fn buckets(&self) -> usize {
        self.pilots.len()
    }

    fn size(&self, bucket: usize) -> usize {
        (self.starts[bucket + 1] - self.starts[bucket]) as usize
    }

    /// Finds a pilot and puts the bucket's slots where it sends them.
    fn place(&mut self, bucket: usize) {
        let slots = self.newest(bucket);
        let places = self.placed.len();
        let mut found = [0; BUCKET_LIMIT];
        let suits = |pilot: &u8| {
            for (at, slot) in slots.iter().enumerate() {
                let place = place(slot.bits, *pilot, places);
                if self.placed[place].is_taken() || found[..at].contains(&place) {
                    return false;
                }
                found[at] = place;
            }
            true
        };
        let Some(pilot) = (0..STRAYS).find(suits) else { return self.give_up(bucket) };
        self.pilots[bucket] = pilot;
        for (place, slot) in found.into_iter().zip(slots) {
            self.placed[place] = slot;
        }
    }

    fn give_up(&mut self, bucket: usize) {
        self.pilots[bucket] = STRAYS;
        let slots = self.newest(bucket);
        self.strays.extend(slots);
    }

    /// A bucket's slots, by digest, of those with the same digest the last one.
    fn newest(&self, bucket: usize) -> Vec<Slot> {
        let members = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
        let newest_first = self.members[members].iter().rev();
        let mut slots: Vec<Slot> = newest_first.map(|at| self.slots[*at as usize]).collect();
        slots.sort_by_key(|slot| slot.bits);
        slots.dedup_by_key(|slot| slot.bits);
        slots
    }

    fn finish(mut self) -> Partition {
        self.strays.sort_unstable_by_key(|slot| slot.bits);
        Partition {
            pilots: self.pilots.into(),
            slots: self.placed.into(),
            strays: self.strays.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(count: u64, bits: impl Fn(u64) -> Bits) -> Vec<Slot> {
        let slot = |id| Slot { bits: bits(id), id: id as u32, account: 0, ..Slot::EMPTY };
        (0..count).map(slot).collect()
    }

    fn assert_finds(partition: &Partition, slots: &[Slot]) {
        for slot in slots {
            let found = partition.find(slot.bits, scale(slot.bits[0], 1).1);
            assert_eq!(found.map(|found| found.id), Some(slot.id));
        }
    }

    #[test]
    fn hardly_any_token_is_a_stray() {
        let spread = |id: u64| {
            let digest = blake3::hash(&id.to_be_bytes());
            let word =
                |at: usize| u64::from_be_bytes(digest.as_bytes()[at..at + 8].try_into().unwrap());
            [word(0), word(8)]
        };
        let slots = slots(40_000, spread);
        let partition = Partition::new(&slots, 1);
        assert_finds(&partition, &slots);
        assert!(partition.strays.len() < 80, "{}", partition.strays.len());
    }

    #[test]
    fn digests_that_all_fall_into_one_bucket_are_found_as_strays() {
        let slots = slots(300, |id| [7, id]);
        let partition = Partition::new(&slots, 1);
        assert_eq!(partition.strays.len(), 300);
        assert_finds(&partition, &slots);
        assert!(partition.find([7, 300], scale(7, 1).1).is_none());
    }

    #[test]
    fn digests_that_no_pilot_takes_apart_are_found_as_strays() {
        let slots = slots(4, |id| [id << 40, 9]);
        let partition = Partition::new(&slots, 1);
        assert_finds(&partition, &slots);
        assert_eq!(partition.iter().count(), 4);
    }
}
