//! Few rules in one run of words, which can be copied to anywhere: for instance behind the account
//! that they are of. Up to eight lie as masks, more of them in groups.

use super::prefix::{Entry, Word};
use super::{groups, masked};
use crate::core::record::Action;

/// Packs rules, each prefix once, in any order: fewer than 2^15.
pub(super) fn pack<W: Word>(entries: Vec<Entry<W>>) -> Box<[u32]> {
    match entries.len() {
        0 => Box::default(),
        1..=masked::LIMIT => masked::pack(entries),
        _ => groups::pack(entries),
    }
}

/// What the most specific rule that matches does.
#[inline]
pub(super) fn judge<W: Word>(words: &[u32], address: W) -> Option<Action> {
    match *words.first()? & masked::MARK {
        0 => groups::judge(words, address),
        _ => masked::judge(words, address),
    }
}

/// The most specific rule that matches.
pub(super) fn rule<W: Word>(words: &[u32], address: W) -> Option<Entry<W>> {
    match *words.first()? & masked::MARK {
        0 => groups::rule(words, address),
        _ => masked::rule(words, address),
    }
}

/// Every rule.
pub(super) fn entries<W: Word>(words: &[u32]) -> Vec<Entry<W>> {
    match words.first() {
        None => Vec::new(),
        Some(head) if head & masked::MARK == 0 => groups::entries(words).collect(),
        Some(_) => masked::entries(words).collect(),
    }
}
