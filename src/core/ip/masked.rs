//! Up to eight rules as networks and masks.
//!
//! A head (how many, which of them deny, how many words a network takes), then the networks, the
//! most specific first, then their masks. A look-up compares with all of them, whatever comes of
//! each: nothing in it has to be predicted.

use std::ops::BitAnd;

use super::prefix::{Entry, Word};
use crate::core::record::Action;

/// Most rules: each has one bit of the head.
pub(super) const LIMIT: usize = 8;
/// Tells the head from that of a group.
pub(super) const MARK: u32 = 1 << 31;

const COUNT_SHIFT: u32 = 16;
const WIDTH_SHIFT: u32 = 20;
const FIELD: u32 = 0xf;

/// Packs rules, each prefix once, in any order: at most [`LIMIT`].
pub(super) fn pack<W: Word>(mut entries: Vec<Entry<W>>) -> Box<[u32]> {
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.position().1));
    let longest = entries.first().map_or(0, |entry| entry.position().1);
    let width = usize::from(longest).div_ceil(32).clamp(1, 4).next_power_of_two();
    let denies = |(at, entry): (usize, &Entry<W>)| match entry.action() {
        Action::Allow => 0,
        Action::Deny => 1 << at,
    };
    let denies: u32 = entries.iter().enumerate().map(denies).sum();
    let head = (width as u32) << WIDTH_SHIFT | (entries.len() as u32) << COUNT_SHIFT | denies;
    let mut words = vec![MARK | head];
    let networks = entries.iter().map(|entry| entry.first());
    let masks = entries.iter().map(|entry| W::MAX.network(entry.position().1));
    networks.chain(masks).for_each(|value| words.extend(&value.words()[..width]));
    words.into()
}

/// What the most specific rule that matches does.
#[inline]
pub(super) fn judge<W: Word>(words: &[u32], address: W) -> Option<Action> {
    let rules = Rules::of(words)?;
    rules.first_match(address).map(|at| rules.action(at))
}

/// The most specific rule that matches.
pub(super) fn rule<W: Word>(words: &[u32], address: W) -> Option<Entry<W>> {
    let rules = Rules::of(words)?;
    rules.first_match(address).map(|at| rules.entry(at))
}

/// Every rule.
pub(super) fn entries<W: Word>(words: &[u32]) -> impl Iterator<Item = Entry<W>> {
    Rules::of(words).into_iter().flat_map(|rules| (0..rules.count).map(move |at| rules.entry(at)))
}

#[derive(Clone, Copy)]
struct Rules<'a> {
    head: u32,
    count: usize,
    width: usize,
    networks: &'a [u32],
    masks: &'a [u32],
}

impl<'a> Rules<'a> {
    #[inline]
    fn of(words: &'a [u32]) -> Option<Self> {
        let (&head, rest) = words.split_first()?;
        let count = (head >> COUNT_SHIFT & FIELD) as usize;
        let width = (head >> WIDTH_SHIFT & FIELD) as usize;
        let (networks, masks) = rest.split_at(count * width);
        Some(Self { head, count, width, networks, masks: &masks[..count * width] })
    }

    #[inline]
    fn first_match<W: Word>(&self, address: W) -> Option<usize> {
        let [first, second, third, fourth] = address.words();
        let matches = match self.width {
            1 => matches(self.networks.iter().copied(), self.masks.iter().copied(), first),
            2 => {
                let values = |words: &'a [u32]| words.as_chunks().0.iter().map(pair);
                matches(values(self.networks), values(self.masks), pair(&[first, second]))
            }
            _ => {
                let values = |words: &'a [u32]| words.as_chunks().0.iter().map(four);
                let wanted = four(&[first, second, third, fourth]);
                matches(values(self.networks), values(self.masks), wanted)
            }
        };
        (matches != 0).then_some(matches.trailing_zeros() as usize)
    }

    #[inline]
    fn action(&self, at: usize) -> Action {
        if self.head >> at & 1 == 0 { Action::Allow } else { Action::Deny }
    }

    fn entry<W: Word>(&self, at: usize) -> Entry<W> {
        let words = at * self.width..(at + 1) * self.width;
        let length: u32 = self.masks[words.clone()].iter().map(|mask| mask.count_ones()).sum();
        Entry::new(W::of_words(&self.networks[words]), length as u8, self.action(at))
    }
}

/// A bit for each network that the address is in.
#[inline]
fn matches<T: Copy + PartialEq + BitAnd<Output = T>>(
    networks: impl Iterator<Item = T>,
    masks: impl Iterator<Item = T>,
    address: T,
) -> u32 {
    let rules = networks.zip(masks).enumerate();
    rules.fold(0, |found, (at, (network, mask))| found | u32::from(address & mask == network) << at)
}

#[inline]
fn pair(&[first, second]: &[u32; 2]) -> u64 {
    u64::from(first) | u64::from(second) << 32
}

#[inline]
fn four(&[first, second, third, fourth]: &[u32; 4]) -> u128 {
    u128::from(pair(&[first, second])) | u128::from(pair(&[third, fourth])) << 64
}
