//! The base's token table: where a digest leads, without a search.
//!
//! A digest's leading bits say in which partition its token is; there it has one place
//! (`partition.rs`). A look-up reads one byte of a small table, and one slot: hits and misses cost
//! the same single cache line.

use std::ops::RangeInclusive;

use super::partition::{Partition, scale};

/// The first 128 bits of a digest: what the index tells tokens apart by. It is made with a key
/// that nobody outside has, or of 256 random bits: one guess hits one of so many tokens with a
/// chance of that number in 2^128.
pub(super) type Bits = [u64; 2];

/// Tokens of a partition, on average: what making one takes fits into a cache.
const PARTITION_TOKENS: usize = 1 << 14;
/// Tokens in a chunk while the table is made: little enough that a chunk which is begun for each
/// partition does not matter.
const CHUNK: usize = 1 << 10;

/// One token. Half a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct Slot {
    pub(super) bits: Bits,
    /// Its number, or [`WIDE_ID`].
    pub(super) id: u32,
    /// Position of its account, or [`VACANT`].
    pub(super) account: u32,
    /// First second at which it is no longer valid; [`NEVER`] where it does not expire.
    pub(super) expires: u32,
    /// Position of its details, or [`NOTHING`], and in the highest bit whether it is revoked.
    pub(super) details: u32,
}

/// The number takes more than 32 bits: it is among the details.
pub(super) const WIDE_ID: u32 = u32::MAX;
/// No account has this position: no token is here.
const VACANT: u32 = u32::MAX;
/// Does not expire before 2106.
pub(super) const NEVER: u32 = u32::MAX;
/// Neither grants nor anything else that few have.
pub(super) const NOTHING: u32 = REVOKED - 1;
/// The token is revoked.
pub(super) const REVOKED: u32 = 1 << 31;

impl Slot {
    pub(super) const EMPTY: Self =
        Self { bits: [0; 2], id: 0, account: VACANT, expires: 0, details: NOTHING };

    #[inline]
    pub(super) fn is_taken(&self) -> bool {
        self.account != VACANT
    }

    /// Position of its details.
    #[inline]
    pub(super) fn details(&self) -> Option<u32> {
        let position = self.details & !REVOKED;
        (position != NOTHING).then_some(position)
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    partitions: Box<[Partition]>,
    len: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let partitions = self.partitions.iter().map(Partition::memory_bytes);
        partitions.sum::<usize>() + size_of_val(&*self.partitions)
    }

    #[inline]
    pub(super) fn find(&self, bits: Bits) -> Option<&Slot> {
        let (partition, rest) = scale(bits[0], self.partitions.len());
        self.partitions[partition].find(bits, rest)
    }

    /// Asks memory for the slot that [`Table::find`] will read.
    #[inline]
    pub(super) fn touch(&self, bits: Bits) {
        let (partition, rest) = scale(bits[0], self.partitions.len());
        self.partitions[partition].touch(bits, rest);
    }

    /// A table of about `len` slots, made partition by partition: `fill` is asked in turn for the
    /// slots whose digests begin in a range, each digest once. Nothing but one partition's slots
    /// is in memory twice.
    pub(super) fn by_ranges<E>(
        len: usize,
        mut fill: impl FnMut(RangeInclusive<u64>, &mut Vec<Slot>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let count = partitions(len);
        let (mut slots, mut total) = (Vec::new(), 0);
        let partition = |number| {
            slots.clear();
            fill(range(number, count), &mut slots)?;
            total += slots.len();
            Ok(Partition::new(&slots, count))
        };
        let partitions = (0..count).map(partition).collect::<Result<Box<[Partition]>, E>>()?;
        Ok(Self { partitions, len: total })
    }

    /// The slots whose digests begin in a range, in no order.
    pub(super) fn range(&self, range: RangeInclusive<u64>) -> impl Iterator<Item = &Slot> {
        let count = self.partitions.len();
        let partitions = scale(*range.start(), count).0..=scale(*range.end(), count).0;
        let slots = self.partitions[partitions].iter().flat_map(Partition::iter);
        slots.filter(move |slot| range.contains(&slot.bits[0]))
    }

    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.range(0..=u64::MAX)
    }
}

/// Partitions of a table of so many slots.
fn partitions(len: usize) -> usize {
    len.div_ceil(PARTITION_TOKENS).max(1)
}

/// The first words of digests that [`scale`] puts into this partition of so many.
fn range(number: usize, count: usize) -> RangeInclusive<u64> {
    let start = |number: usize| ((number as u128) << 64).div_ceil(count as u128);
    start(number) as u64..=(start(number + 1) - 1) as u64
}

/// Collects slots. What it holds moves into the table chunk by chunk, so that both together are
/// never much more than one of them.
#[derive(Debug, Default)]
pub(super) struct TableBuilder {
    slots: Chunked,
}

impl TableBuilder {
    pub(super) fn push(&mut self, slot: Slot) {
        self.slots.push(slot);
    }

    /// The table, each slot changed like this. Of two slots with the same digest, the later one
    /// given is kept.
    pub(super) fn finish(self, change: impl Fn(&mut Slot)) -> Table {
        let len = self.slots.0.iter().map(Vec::len).sum::<usize>();
        let count = partitions(len);
        let mut whole = Vec::new();
        let partition = |slots: Chunked| {
            whole.clear();
            slots.0.into_iter().for_each(|chunk| whole.extend(chunk));
            whole.iter_mut().for_each(&change);
            Partition::new(&whole, count)
        };
        let partitions: Box<[Partition]> = self.divide(count).into_iter().map(partition).collect();
        let len = partitions.iter().map(|partition| partition.iter().count()).sum();
        Table { partitions, len }
    }

    /// The slots by partition, in the order in which they came.
    fn divide(self, count: usize) -> Vec<Chunked> {
        let mut divided: Vec<Chunked> =
            std::iter::repeat_with(Chunked::default).take(count).collect();
        for slot in self.slots.0.into_iter().flatten() {
            divided[scale(slot.bits[0], count).0].push(slot);
        }
        divided
    }
}

/// Slots in chunks, so that none is copied when there are more, and memory comes and goes with
/// them.
#[derive(Debug, Default)]
struct Chunked(Vec<Vec<Slot>>);

impl Chunked {
    fn push(&mut self, slot: Slot) {
        match self.0.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(slot),
            // The first one grows as it is filled: most indexes are small.
            None => self.0.push(vec![slot]),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(slot);
                self.0.push(chunk);
            }
        }
    }
}

/// A time as the table keeps it: whole seconds from 1970 to 2106.
pub(super) fn pack_time(seconds: i64) -> u32 {
    u32::try_from(seconds.max(0)).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn table(tokens: &[Bits]) -> (Table, HashMap<Bits, u32>) {
        let mut builder = TableBuilder::default();
        let mut map = HashMap::new();
        for (id, bits) in tokens.iter().enumerate() {
            let id = id as u32;
            builder.push(Slot { bits: *bits, id, account: 0, ..Slot::EMPTY });
            map.insert(*bits, id);
        }
        (builder.finish(|_| ()), map)
    }

    fn assert_holds(table: &Table, map: &HashMap<Bits, u32>) {
        assert_eq!((table.len(), table.iter().count()), (map.len(), map.len()));
        for (bits, id) in map {
            assert_eq!(table.find(*bits).map(|slot| slot.id), Some(*id), "{bits:?}");
        }
    }

    proptest! {
        /// Some digests are alike in their first half, as none that is made with a key would be.
        #[test]
        fn a_table_finds_what_was_put_in_and_nothing_else(
            tokens in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..600),
            alike in proptest::collection::vec((0_u64..3, 0_u64..40), 0..200),
            last in proptest::collection::vec((u64::MAX - 20..=u64::MAX, 0_u64..3), 0..40),
            others in proptest::collection::vec((any::<u64>(), 0_u64..40), 0..200),
        ) {
            let bits: Vec<Bits> =
                tokens.into_iter().chain(alike).chain(last).map(|(high, low)| [high, low]).collect();
            let (table, map) = table(&bits);
            assert_holds(&table, &map);
            for (high, low) in others.into_iter().chain([(0, 0), (u64::MAX, u64::MAX)]) {
                for bits in [[high, low], [high % 3, low]] {
                    let found = table.find(bits).map(|slot| slot.id);
                    prop_assert_eq!(found, map.get(&bits).copied());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn ranges_of_partitions_are_where_digests_are_scaled_to(word: u64, count in 1_usize..900) {
            let (number, _) = scale(word, count);
            prop_assert!(range(number, count).contains(&word));
            prop_assert_eq!(*range(count - 1, count).end(), u64::MAX);
            if number > 0 {
                let before = range(number - 1, count);
                prop_assert_eq!(*before.end() + 1, *range(number, count).start());
            }
        }
    }

    #[test]
    fn a_table_made_by_ranges_of_another_holds_the_same() {
        let tokens: Vec<Bits> = (0..90_000_u64)
            .map(|id| [id.wrapping_mul(0x9e37_79b9_7f4a_7c15), id.wrapping_mul(0xd134_2543)])
            .collect();
        let (table, map) = table(&tokens);
        for len in [1, 40_000, 90_000, 400_000] {
            let copied = Table::by_ranges(len, |range, slots| {
                slots.extend(table.range(range));
                Ok::<_, std::convert::Infallible>(())
            });
            assert_holds(&copied.unwrap(), &map);
        }
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        let table = TableBuilder::default().finish(|_| ());
        assert_eq!(table.len(), 0);
        for bits in [[0, 0], [u64::MAX, u64::MAX], [1 << 63, 7]] {
            assert!(table.find(bits).is_none());
        }
    }

    #[test]
    fn a_table_of_several_partitions_is_packed_and_finds_every_token() {
        let mut draw = Draw(1);
        let mut draw = || draw.bits();
        let mut tokens: Vec<Bits> = (0..100_000).map(|_| [draw(), draw()]).collect();
        // Some once more.
        tokens.extend_from_within(..1000);
        let (table, map) = table(&tokens);
        assert_holds(&table, &map);
        assert!((0..100_000).all(|_| table.find([draw(), draw()]).is_none()));
        let bytes = table.memory_bytes();
        assert!(bytes < 34 * map.len(), "{bytes}");
    }

    #[test]
    fn two_slots_are_a_cache_line() {
        assert_eq!((size_of::<Slot>(), align_of::<Slot>()), (32, 32));
    }
}
