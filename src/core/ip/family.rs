//! The rules of one address family: a short list, or tables once there are many.

use super::Judgement;
use super::prefix::{Entry, Word};
use super::steps::Steps;

/// Up to here, going through the list costs no more than the tables.
pub(super) const FEW_LIMIT: usize = 16;

/// The compiled rules of one family, each prefix once.
#[derive(Clone, Debug)]
pub(super) enum Family<W: Word> {
    /// Most specific first: the first match wins.
    Few(Box<[Entry<W>]>),
    /// Flattened for judging.
    Many(Box<Many<W>>),
}

/// Many rules, twice: flattened, which forgets which rule gave an answer, and as they came.
#[derive(Clone, Debug)]
pub(super) struct Many<W: Word> {
    steps: Steps<W>,
    /// In order of [`Entry::position`].
    entries: Box<[Entry<W>]>,
}

impl<W: Word> Family<W> {
    /// Compiles rules in any order. Of equal prefixes one is kept, with the stricter action.
    pub(super) fn compile(mut entries: Vec<Entry<W>>) -> Self {
        entries.sort_unstable_by_key(|entry| entry.position());
        entries.dedup_by(|later, kept| {
            let equal = later.position() == kept.position();
            if equal {
                kept.restrict(later.action());
            }
            equal
        });
        if entries.len() > FEW_LIMIT {
            let steps = Steps::compile(&entries);
            return Self::Many(Box::new(Many { steps, entries: entries.into_boxed_slice() }));
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.position().1));
        Self::Few(entries.into_boxed_slice())
    }

    /// What the most specific matching rule says.
    #[inline]
    pub(super) fn judge(&self, address: W) -> Judgement {
        match self {
            Self::Few(entries) => first_match(entries, address)
                .map_or(Judgement::NoMatch, |entry| entry.action().into()),
            Self::Many(many) => many.steps.judge(address),
        }
    }

    /// The most specific matching rule. Slower than [`Family::judge`]: it is for people.
    pub(super) fn matching(&self, address: W) -> Option<Entry<W>> {
        match self {
            Self::Few(entries) => first_match(entries, address),
            Self::Many(many) => many.matching(address),
        }
    }

    /// Every rule, in an order of no meaning.
    pub(super) fn entries(&self) -> &[Entry<W>] {
        match self {
            Self::Few(entries) => entries,
            Self::Many(many) => &many.entries,
        }
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(self.entries())
            + match self {
                Self::Few(_) => 0,
                Self::Many(many) => size_of_val(&**many) + many.steps.heap_bytes(),
            }
    }
}

impl<W: Word> Many<W> {
    fn matching(&self, address: W) -> Option<Entry<W>> {
        let find = |length: u8| {
            let wanted = (address.network(length), length);
            self.entries.binary_search_by_key(&wanted, |entry| entry.position()).ok()
        };
        (0..=W::BITS).rev().find_map(find).map(|at| self.entries[at])
    }
}

#[inline]
fn first_match<W: Word>(entries: &[Entry<W>], address: W) -> Option<Entry<W>> {
    entries.iter().copied().find(|entry| entry.contains(address))
}
