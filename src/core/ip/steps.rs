//! Many rules flattened: which range of addresses an address falls in, and what holds there.
//!
//! Nested prefixes cut the address space into at most `2n + 1` ranges, in each of which one rule
//! wins. Neighbours with the same answer are joined, and the last addresses of the ranges are
//! kept in a static search tree of cache-line blocks. Unlike a trie, its size depends only on
//! the number of rules, never on how an owner spreads them, and so does the time of a look-up.

use super::Judgement;
use super::prefix::{Entry, Word};

/// Enough for more ranges than `2n + 1` of any number of rules that fits in memory.
const LAYERS_LIMIT: usize = 12;
/// Judgements in one word of the packed list.
const PER_WORD: usize = 32;

/// The flattened rules of one family. `B`: last addresses in a block.
#[derive(Clone, Debug)]
pub(super) struct Steps<W, const B: usize> {
    /// The layers of the tree one after the other, root first.
    blocks: Box<[Block<W, B>]>,
    /// Where each layer begins in `blocks`.
    layers: [u32; LAYERS_LIMIT],
    /// How many of them there are.
    height: u8,
    /// The ranges' judgements, two bits each.
    judgements: Box<[u64]>,
}

/// Ascending last addresses of ranges (or, above the lowest layer, of whole blocks).
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Block<W, const B: usize>([W; B]);

impl<W: Word, const B: usize> Steps<W, B> {
    /// Flattens rules that are in order of [`Entry::position`], each prefix once.
    pub(super) fn compile(entries: &[Entry<W>]) -> Self {
        let ranges = Ranges::of(entries);
        let judgements = pack(&ranges.judgements);
        let mut layers = vec![layer::<W, B>(&ranges.lasts, B)];
        let mut lasts = last_of_each(&ranges.lasts, B);
        while lasts.len() > 1 {
            layers.push(layer(&lasts, B + 1));
            lasts = last_of_each(&lasts, B + 1);
        }
        let mut starts = [0; LAYERS_LIMIT];
        let mut blocks = Vec::with_capacity(layers.iter().map(Vec::len).sum());
        for (start, layer) in starts.iter_mut().zip(layers.iter().rev()) {
            *start = u32::try_from(blocks.len()).expect("invariant: fewer rules than addresses");
            blocks.extend_from_slice(layer);
        }
        Self {
            blocks: blocks.into_boxed_slice(),
            layers: starts,
            height: layers.len() as u8,
            judgements,
        }
    }

    /// What holds for the address.
    #[inline]
    pub(super) fn judge(&self, address: W) -> Judgement {
        let mut block = 0;
        let mut range = 0;
        for &start in self.layers.iter().take(usize::from(self.height)) {
            let passed = self.blocks[start as usize + block].passed(address);
            range = block * B + passed;
            block = block * (B + 1) + passed;
        }
        unpack(&self.judgements, range)
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.blocks) + size_of_val(&*self.judgements)
    }
}

impl<W: Word, const B: usize> Block<W, B> {
    /// How many of the ranges lie wholly before the address. Compares with them all, since a
    /// branch for each would be mispredicted more often than not.
    #[inline]
    fn passed(&self, address: W) -> usize {
        // A mask rather than a count: the baseline target has no instruction that counts bits,
        // but one that finds the first.
        let bits = self.0.iter().enumerate();
        let passed = bits.fold(0_u32, |mask, (at, &last)| mask | u32::from(last < address) << at);
        (!passed).trailing_zeros() as usize
    }
}

/// The ranges in ascending order, from the first address to the last without a gap.
struct Ranges<W> {
    lasts: Vec<W>,
    judgements: Vec<Judgement>,
}

impl<W: Word> Ranges<W> {
    fn of(entries: &[Entry<W>]) -> Self {
        let capacity = 2 * entries.len() + 1;
        let mut ranges =
            Self { lasts: Vec::with_capacity(capacity), judgements: Vec::with_capacity(capacity) };
        // The rules around the present position, the innermost on top.
        let mut open: Vec<Entry<W>> = Vec::with_capacity(usize::from(W::BITS) + 1);
        for &entry in entries {
            while let Some(inner) = open.pop_if(|inner| inner.last() < entry.first()) {
                ranges.extend_to(inner.last(), inner.action().into());
            }
            if let Some(last) = entry.first().before() {
                ranges.extend_to(last, judgement_of(open.last()));
            }
            open.push(entry);
        }
        while let Some(inner) = open.pop() {
            ranges.extend_to(inner.last(), inner.action().into());
        }
        ranges.extend_to(W::MAX, Judgement::NoMatch);
        ranges
    }

    /// Says what holds from where the ranges end to `last`, if that is any further.
    fn extend_to(&mut self, last: W, judgement: Judgement) {
        match (self.lasts.last_mut(), self.judgements.last()) {
            (Some(end), _) if *end >= last => {}
            (Some(end), Some(&previous)) if previous == judgement => *end = last,
            _ => {
                self.lasts.push(last);
                self.judgements.push(judgement);
            }
        }
    }
}

fn judgement_of<W: Word>(innermost: Option<&Entry<W>>) -> Judgement {
    innermost.map_or(Judgement::NoMatch, |entry| entry.action().into())
}

/// A layer of the tree. In the lowest, a block has `B` ranges; above, `B` separators between
/// `B + 1` blocks, the last of which needs none.
fn layer<W: Word, const B: usize>(lasts: &[W], fanout: usize) -> Vec<Block<W, B>> {
    lasts.chunks(fanout).map(|group| padded(&group[..group.len().min(B)])).collect()
}

fn last_of_each<W: Word>(lasts: &[W], fanout: usize) -> Vec<W> {
    lasts.chunks(fanout).filter_map(|group| group.last().copied()).collect()
}

/// Pads with the last address: none comes after it, so that no search goes past the last range.
fn padded<W: Word, const B: usize>(lasts: &[W]) -> Block<W, B> {
    let mut block = [W::MAX; B];
    block[..lasts.len()].copy_from_slice(lasts);
    Block(block)
}

fn pack(judgements: &[Judgement]) -> Box<[u64]> {
    let word = |chunk: &[Judgement]| {
        chunk.iter().rev().fold(0, |word, &judgement| word << 2 | judgement as u64)
    };
    judgements.chunks(PER_WORD).map(word).collect()
}

#[inline]
fn unpack(words: &[u64], range: usize) -> Judgement {
    match words[range / PER_WORD] >> (range % PER_WORD * 2) & 3 {
        0 => Judgement::NoMatch,
        1 => Judgement::Allowed,
        _ => Judgement::Denied,
    }
}
