//! The rules of one address family: a short list, or tables once there are many.

use super::Judgement;
use super::few;
use super::prefix::{Entry, Word};
use super::steps::Steps;

/// Up to here, going through a list costs no more than the tables, of which the first look-up
/// that finds none in a cache waits for several in turn.
pub(super) const FEW_LIMIT: usize = 32;

/// The compiled rules of one family, each prefix once.
#[derive(Clone, Debug)]
pub(super) enum Family<W: Word> {
    /// In one run of words.
    Few(Box<[u32]>),
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
        Self::Few(few::pack(entries))
    }

    /// What the most specific matching rule says.
    #[inline]
    pub(super) fn judge(&self, address: W) -> Judgement {
        match self {
            Self::Few(words) => few::judge(words, address).into(),
            Self::Many(many) => many.steps.judge(address),
        }
    }

    /// The most specific matching rule. Slower than [`Family::judge`]: it is for people.
    pub(super) fn matching(&self, address: W) -> Option<Entry<W>> {
        match self {
            Self::Few(words) => few::rule(words, address),
            Self::Many(many) => many.matching(address),
        }
    }

    /// Every rule, in an order of no meaning.
    pub(super) fn entries(&self) -> Vec<Entry<W>> {
        match self {
            Self::Few(words) => few::entries(words),
            Self::Many(many) => many.entries.to_vec(),
        }
    }

    /// The words of [`few`], where there are few rules.
    pub(super) fn few(&self) -> Option<&[u32]> {
        match self {
            Self::Few(words) => Some(words),
            Self::Many(_) => None,
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Few(words) => size_of_val(&**words),
            Self::Many(many) => {
                size_of_val(&**many) + size_of_val(&*many.entries) + many.steps.heap_bytes()
            }
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
