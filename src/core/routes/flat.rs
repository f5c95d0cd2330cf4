//! The tree of segments as it is looked up: arrays without pointers, literals compared as integers.

use super::matching::Captures;

/// No child, no route.
pub(super) const NONE: u32 = u32::MAX;

/// The nodes and what they lead to.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) nodes: Box<[FlatNode]>,
    pub(super) literals: Literals,
    /// Methods with their routes.
    pub(super) ends: Box<[(MethodId, u32)]>,
    pub(super) methods: MethodNames,
}

/// One segment position. Two of them in a cache line.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlatNode {
    pub(super) capture: u32,
    pub(super) end: Ends,
    pub(super) rest: Ends,
    pub(super) has_literals: bool,
}

/// The routes that end at a node: a range of those with a method, and the one for any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) start: u32,
    pub(super) len: u32,
    pub(super) any: u32,
}

impl Ends {
    fn some(self) -> Option<Self> {
        (self.len != 0 || self.any != NONE).then_some(self)
    }
}

impl Nodes {
    /// The route at an end for a method.
    pub(super) fn route(&self, ends: Ends, method: &str) -> Option<u32> {
        let explicit = &self.ends[ends.start as usize..][..ends.len as usize];
        let find = |method: &str| {
            let id = self.methods.find(method)?;
            explicit.iter().find(|(known, _)| *known == id).map(|(_, route)| *route)
        };
        let found = find(method).or_else(|| (method == "HEAD").then(|| find("GET"))?);
        found.or((ends.any != NONE).then_some(ends.any))
    }

    /// The end of the most specific match of `path[start..]` below a node. Recurses where a
    /// segment leaves a choice: the depth is that of the table, not of the path, and a node is
    /// visited at most once for a path.
    pub(super) fn walk(
        &self,
        mut node: u32,
        path: &[u8],
        mut start: usize,
        captures: &mut Captures,
    ) -> Option<Ends> {
        loop {
            let at = &self.nodes[node as usize];
            if start >= path.len() {
                return at.end.some().or(at.rest.some());
            }
            let end = segment_end(path, start);
            if end == start {
                return at.rest.some();
            }
            let literal = match at.has_literals {
                true => self.literals.find(node, &path[start..end]),
                false => NONE,
            };
            let choice = literal != NONE && at.capture != NONE;
            if choice || at.rest.some().is_some() {
                return self.choose(at, literal, path, (start, end), captures);
            }
            if literal == NONE {
                if at.capture == NONE {
                    return None;
                }
                captures.push(start, end);
            }
            node = if literal == NONE { at.capture } else { literal };
            start = end + 1;
        }
    }

    /// Literal before capture before rest.
    fn choose(
        &self,
        at: &FlatNode,
        literal: u32,
        path: &[u8],
        (start, end): (usize, usize),
        captures: &mut Captures,
    ) -> Option<Ends> {
        let before = captures.len();
        if literal != NONE
            && let Some(found) = self.walk(literal, path, end + 1, captures)
        {
            return Some(found);
        }
        captures.truncate(before);
        if at.capture != NONE {
            captures.push(start, end);
            if let Some(found) = self.walk(at.capture, path, end + 1, captures) {
                return Some(found);
            }
            captures.truncate(before);
        }
        at.rest.some()
    }
}

/// Position of the slash that ends the segment at `start`, or of the path's end. Looks at eight
/// bytes at a time.
#[inline]
fn segment_end(path: &[u8], start: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let mut at = start;
    while let Some(bytes) = path[at..].first_chunk::<8>() {
        let differing = u64::from_le_bytes(*bytes) ^ (ONES * u64::from(b'/'));
        // The lowest byte without a difference sets its highest bit; those below it set none.
        let slashes = differing.wrapping_sub(ONES) & !differing & ONES << 7;
        if slashes != 0 {
            return at + slashes.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    path[at..].iter().position(|byte| *byte == b'/').map_or(path.len(), |slash| at + slash)
}

/// A text of up to 16 bytes as two integers, which with its length tell it from any other; of a
/// longer one the two ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Packed {
    head: u64,
    tail: u64,
    len: u32,
}

/// Longest text that its packed form tells apart.
const PACKED_LIMIT: u32 = 16;

impl Packed {
    #[inline]
    fn of(text: &[u8]) -> Self {
        let len = text.len() as u32;
        if let (Some(head), Some(tail)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            return Self { head: u64::from_le_bytes(*head), tail: u64::from_le_bytes(*tail), len };
        }
        if let (Some(head), Some(tail)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
            let (head, tail) = (u32::from_le_bytes(*head), u32::from_le_bytes(*tail));
            return Self { head: head.into(), tail: tail.into(), len };
        }
        let byte = |at: usize| text.get(at).map_or(0, |byte| u64::from(*byte));
        Self { head: byte(0) | byte(1) << 8 | byte(2) << 16, tail: 0, len }
    }

    /// A hash, the same in every run: the table is the operator's, so that no request can be
    /// made to collide more often than the literals do.
    #[inline]
    fn hash(self, node: u32) -> u64 {
        let left = self.head ^ 0x9e37_79b9_7f4a_7c15 ^ u64::from(self.len) << 56;
        let right = self.tail ^ 0xbf58_476d_1ce4_e5b9 ^ u64::from(node) << 32;
        let product = u128::from(left) * u128::from(right);
        product as u64 ^ (product >> 64) as u64
    }
}

/// The literal children of all nodes, in one table of open addressing.
#[derive(Debug)]
pub(super) struct Literals {
    places: Box<[Literal]>,
    /// The texts of those that are longer than their packed form, one after the other.
    texts: Box<str>,
}

#[derive(Clone, Copy, Debug)]
struct Literal {
    packed: Packed,
    node: u32,
    child: u32,
    text: u32,
}

const VACANT: Literal =
    Literal { packed: Packed { head: 0, tail: 0, len: 0 }, node: NONE, child: NONE, text: 0 };

impl Literals {
    /// The children of these nodes, by these texts.
    pub(super) fn of<'t>(children: impl Iterator<Item = (u32, &'t str, u32)>) -> Self {
        let children: Vec<_> = children.collect();
        let mut places = vec![VACANT; (children.len() * 2).next_power_of_two()];
        let mut texts = String::new();
        for (node, text, child) in children {
            let packed = Packed::of(text.as_bytes());
            let mut place = packed.hash(node) as usize & (places.len() - 1);
            while places[place].child != NONE {
                place = (place + 1) & (places.len() - 1);
            }
            places[place] = Literal { packed, node, child, text: texts.len() as u32 };
            if packed.len > PACKED_LIMIT {
                texts.push_str(text);
            }
        }
        Self { places: places.into(), texts: texts.into() }
    }

    #[inline]
    fn find(&self, node: u32, segment: &[u8]) -> u32 {
        let packed = Packed::of(segment);
        let mut place = packed.hash(node) as usize;
        // Half of the places are vacant: there is an end.
        loop {
            let literal = &self.places[place & (self.places.len() - 1)];
            let same = literal.packed == packed && literal.node == node;
            if literal.child == NONE || (same && self.is_text(literal, segment)) {
                return literal.child;
            }
            place += 1;
        }
    }

    #[inline]
    fn is_text(&self, literal: &Literal, segment: &[u8]) -> bool {
        literal.packed.len <= PACKED_LIMIT
            || self.texts.as_bytes()[literal.text as usize..].starts_with(segment)
    }
}

/// Position of a method among those that routes name.
pub(super) type MethodId = u32;

/// The methods that routes name.
#[derive(Debug, Default)]
pub(super) struct MethodNames(Vec<(Packed, Box<str>)>);

impl MethodNames {
    /// The id of a method, which it gets if it has none.
    pub(super) fn add(&mut self, method: &str) -> MethodId {
        self.find(method).unwrap_or_else(|| {
            self.0.push((Packed::of(method.as_bytes()), method.into()));
            self.0.len() as MethodId - 1
        })
    }

    fn find(&self, method: &str) -> Option<MethodId> {
        let packed = Packed::of(method.as_bytes());
        let is = |(known, name): &(Packed, Box<str>)| {
            *known == packed && (known.len <= PACKED_LIMIT || **name == *method)
        };
        self.0.iter().position(is).map(|at| at as MethodId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn literals_are_a_map(
            children in proptest::collection::btree_map((0_u32..4, "[ab]{1,9}|[a-z]{1,40}"), 0_u32..99, 0..300),
            others in proptest::collection::vec((0_u32..5, "[ab]{0,9}|[a-z]{1,40}"), 0..200),
        ) {
            let rows = children.iter().map(|((node, text), child)| (*node, text.as_str(), *child));
            let literals = Literals::of(rows);
            for (node, text) in children.keys().cloned().chain(others) {
                let found = literals.find(node, text.as_bytes());
                prop_assert_eq!(found, children.get(&(node, text)).copied().unwrap_or(NONE));
            }
        }

        #[test]
        fn a_packed_text_of_up_to_sixteen_bytes_is_told_from_any_other(
            texts in proptest::collection::vec("[ab]{0,16}", 2..200),
        ) {
            let mut packed = BTreeMap::new();
            for text in texts {
                let Packed { head, tail, len } = Packed::of(text.as_bytes());
                let known = packed.entry((head, tail, len)).or_insert_with(|| text.clone());
                prop_assert_eq!(&*known, &text);
            }
        }

        #[test]
        fn segments_end_at_slashes(path in "[a/]{0,40}", start in 0_usize..40) {
            let start = start.min(path.len());
            let slash = path[start..].find('/').map_or(path.len(), |at| start + at);
            prop_assert_eq!(segment_end(path.as_bytes(), start), slash);
        }
    }

    #[test]
    fn two_nodes_share_a_cache_line() {
        assert_eq!(size_of::<FlatNode>(), 32);
    }
}
