//! Many rules flattened: which range of addresses an address falls in, and what holds there.
//!
//! Nested prefixes cut the address space into at most `2n + 1` ranges, in each of which one rule
//! wins. Neighbours with the same answer are joined, and the ascending last addresses of the
//! ranges are found through tables: a node divides the stretch from its first to its last
//! boundary into equal slots, about as many as half its boundaries, and a slot with more than a
//! window of them is divided again by a node of its own. A look-up is one table in an evenly
//! spread set and one more for each scale of clustering. As a node spans exactly what it holds,
//! owners cannot make chains of empty nodes as they could in a trie: the size depends on the
//! number of rules, hardly on how they are spread.

use super::Judgement;
use super::prefix::{Entry, Word};

/// Boundaries compared at the end of a look-up, all of them at once.
const WINDOW: usize = 8;
/// Marks a slot that holds the number of a node, not of a range.
const IS_NODE: u32 = 1 << 31;
/// Judgements in one word of the packed list.
const PER_WORD: usize = 32;

/// The flattened rules of one family.
#[derive(Clone, Debug)]
pub(super) struct Steps<W> {
    /// The nodes, root first.
    nodes: Box<[Node<W>]>,
    /// The slots of all nodes: the number of a node, or of the first range that may hold an
    /// address of the slot, which then is one of that and the next `WINDOW`.
    slots: Box<[u32]>,
    /// Last addresses of the ranges, ascending, then a window of padding.
    lasts: Box<[W]>,
    /// The ranges' judgements, two bits each.
    judgements: Box<[u64]>,
}

/// A stretch of the address space, divided into slots of `2^shift` addresses. What lies before
/// or after it belongs to its first or last slot.
#[derive(Clone, Copy, Debug)]
struct Node<W> {
    base: W,
    slots_start: u32,
    slots_last: u32,
    shift: u8,
}

impl<W: Word> Steps<W> {
    /// Flattens rules that are in order of [`Entry::position`], each prefix once.
    pub(super) fn compile(entries: &[Entry<W>]) -> Self {
        let Ranges { mut lasts, judgements } = Ranges::of(entries);
        let (nodes, slots) = Tables::over(&lasts);
        lasts.extend([W::MAX; WINDOW]);
        Self {
            nodes: nodes.into_boxed_slice(),
            slots: slots.into_boxed_slice(),
            lasts: lasts.into_boxed_slice(),
            judgements: pack(&judgements),
        }
    }

    /// What holds for the address.
    #[inline]
    pub(super) fn judge(&self, address: W) -> Judgement {
        let mut node = 0;
        let start = loop {
            let slot = self.slots[self.nodes[node as usize].slot_of(address)];
            if slot & IS_NODE == 0 {
                break slot as usize;
            }
            node = slot & !IS_NODE;
        };
        let window = &self.lasts[start..start + WINDOW];
        unpack(&self.judgements, start + passed(window, address))
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let tables = size_of_val(&*self.nodes) + size_of_val(&*self.slots);
        tables + size_of_val(&*self.lasts) + size_of_val(&*self.judgements)
    }
}

impl<W: Word> Node<W> {
    #[inline]
    fn slot_of(&self, address: W) -> usize {
        let slot = address.steps_from(self.base, self.shift);
        self.slots_start as usize + slot.min(self.slots_last) as usize
    }
}

/// How many of the boundaries lie before the address. Compares with them all, since a branch for
/// each would be mispredicted more often than not; makes a mask, since the baseline target has
/// no instruction that counts bits, but one that finds the first.
#[inline]
fn passed<W: Word>(window: &[W], address: W) -> usize {
    let bits = window.iter().take(WINDOW).enumerate();
    let passed = bits.fold(0_u32, |mask, (at, &last)| mask | u32::from(last < address) << at);
    (!passed).trailing_zeros() as usize
}

/// The nodes and slots while they are made, and what is left to divide.
struct Tables<'a, W> {
    lasts: &'a [W],
    nodes: Vec<Node<W>>,
    slots: Vec<u32>,
    crowded: Vec<Crowded>,
}

/// A slot with more than a window of boundaries: those from `start` to before `end`.
struct Crowded {
    slot: usize,
    start: usize,
    end: usize,
}

impl<'a, W: Word> Tables<'a, W> {
    fn over(lasts: &'a [W]) -> (Vec<Node<W>>, Vec<u32>) {
        let mut tables = Self { lasts, nodes: Vec::new(), slots: Vec::new(), crowded: Vec::new() };
        // The last boundary is the end of the address space. No search has to pass it, and with
        // it the root would always span up to there.
        tables.divide(0, (lasts.len() - 1).max(1));
        while let Some(Crowded { slot, start, end }) = tables.crowded.pop() {
            tables.slots[slot] = number(tables.nodes.len()) | IS_NODE;
            tables.divide(start, end);
        }
        (tables.nodes, tables.slots)
    }

    /// Adds a node over some of the boundaries, at least one.
    fn divide(&mut self, start: usize, end: usize) {
        let (base, top) = (self.lasts[start], self.lasts[end - 1]);
        let bits = (end - start).ilog2().saturating_sub(1).max(1);
        let shift = top.bits_from(base).saturating_sub(bits as u8);
        let slots_last = top.steps_from(base, shift);
        let slots_start = number(self.slots.len());
        self.nodes.push(Node { base, slots_start, slots_last, shift });
        let mut from = start;
        for slot in 0..=slots_last {
            let inside = |last: &W| last.steps_from(base, shift) <= slot;
            let to = from + self.lasts[from..end].iter().take_while(|last| inside(last)).count();
            if to - from > WINDOW {
                self.crowded.push(Crowded { slot: self.slots.len(), start: from, end: to });
            }
            self.slots.push(number(from));
            from = to;
        }
    }
}

fn number(index: usize) -> u32 {
    let number = u32::try_from(index).ok().filter(|number| number & IS_NODE == 0);
    number.expect("invariant: a set has fewer than 2^28 rules")
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
