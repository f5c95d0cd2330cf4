//! Rules as prefixes of one length and action together.
//!
//! A group is a head (length, action, how many) and its networks, each in as many words as its
//! length takes; the most specific groups come first. A look-up masks the address once for a group
//! and compares it with all of the group's networks at a time.

use super::prefix::{Entry, Word};
use crate::core::record::Action;

const DENY: u32 = 1 << 8;
const COUNT_SHIFT: u32 = 16;

/// Packs rules, each prefix once, in any order: fewer than 2^15.
pub(super) fn pack<W: Word>(mut entries: Vec<Entry<W>>) -> Box<[u32]> {
    let group = |entry: &Entry<W>| (std::cmp::Reverse(entry.position().1), entry.action());
    entries.sort_by_key(group);
    let mut words = Vec::new();
    for entries in entries.chunk_by(|one, other| group(one) == group(other)) {
        let (length, action) = (entries[0].position().1, entries[0].action());
        let deny = if action == Action::Deny { DENY } else { 0 };
        words.push(u32::from(length) | deny | (entries.len() as u32) << COUNT_SHIFT);
        for entry in entries {
            words.extend(&entry.first().words()[..width(length)]);
        }
    }
    words.into()
}

/// What the most specific rule that matches does.
#[inline]
pub(super) fn judge<W: Word>(words: &[u32], address: W) -> Option<Action> {
    matching(words, address).map(|group| group.action)
}

/// The most specific rule that matches.
pub(super) fn rule<W: Word>(words: &[u32], address: W) -> Option<Entry<W>> {
    matching(words, address).map(|group| Entry::new(address, group.length, group.action))
}

/// Every rule.
pub(super) fn entries<W: Word>(words: &[u32]) -> impl Iterator<Item = Entry<W>> {
    let mut rest = words;
    let groups = std::iter::from_fn(move || Group::take(&mut rest));
    groups.flat_map(|group| {
        let networks = group.networks.chunks_exact(width(group.length));
        networks.map(move |words| Entry::new(W::of_words(words), group.length, group.action))
    })
}

/// Rules of one length and action.
#[derive(Clone, Copy)]
struct Group<'a> {
    length: u8,
    action: Action,
    networks: &'a [u32],
}

impl<'a> Group<'a> {
    /// Takes the first group off the words.
    #[inline]
    fn take(words: &mut &'a [u32]) -> Option<Self> {
        let (head, rest) = words.split_first()?;
        let length = *head as u8;
        let (networks, rest) = rest.split_at((head >> COUNT_SHIFT) as usize * width(length));
        *words = rest;
        let action = if head & DENY == 0 { Action::Allow } else { Action::Deny };
        Some(Self { length, action, networks })
    }

    #[inline]
    fn contains<W: Word>(&self, address: W) -> bool {
        let wanted = address.network(self.length).words();
        match width(self.length) {
            1 => has::<1>(self.networks, wanted),
            2 => has::<2>(self.networks, wanted),
            3 => has::<3>(self.networks, wanted),
            _ => has::<4>(self.networks, wanted),
        }
    }
}

/// Without a way out before the end: then the compiler compares several at a time.
#[inline]
fn has<const WIDTH: usize>(networks: &[u32], wanted: [u32; 4]) -> bool {
    let differs =
        |words: &[u32; WIDTH]| (0..WIDTH).fold(0, |all, at| all | (words[at] ^ wanted[at]));
    let (networks, _) = networks.as_chunks::<WIDTH>();
    networks.iter().fold(false, |found, words| found | (differs(words) == 0))
}

#[inline]
fn matching<W: Word>(mut words: &[u32], address: W) -> Option<Group<'_>> {
    loop {
        let group = Group::take(&mut words)?;
        if group.contains(address) {
            return Some(group);
        }
    }
}

/// Words of a network: the leading ones that its length takes, at least one.
#[inline]
fn width(length: u8) -> usize {
    usize::from(length).div_ceil(32).clamp(1, 4)
}
