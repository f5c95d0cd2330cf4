//! A map that is copied cheaply: a trie by hash, of which a change copies one path.
//!
//! Clones share everything. A change of one copies the branches from the root to one leaf where
//! somebody else still reads them, and that leaf: a few hundred words, however much the map holds.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::FixedState;

/// Bits of the hash by which a branch tells its children apart.
const BITS: u32 = 4;
/// Children of a branch.
const CHILDREN: usize = 1 << BITS;
/// Entries of a leaf before it becomes a branch.
const LEAF_LIMIT: usize = 16;
/// Where no bits are left to tell entries apart: a leaf there holds those of one hash.
const DEPTH_LIMIT: u32 = u64::BITS / BITS;

/// A persistent map.
#[derive(Clone, Debug)]
pub(super) struct Trie<K, V> {
    root: Node<K, V>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    Empty,
    Leaf(Arc<[(K, V)]>),
    Branch(Arc<[Node<K, V>; CHILDREN]>),
}

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self { root: Node::Empty, len: 0 }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Trie<K, V> {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        if self.is_empty() {
            return None;
        }
        let mut hash = hash(key);
        let mut node = &self.root;
        loop {
            match node {
                Node::Empty => return None,
                Node::Leaf(entries) => {
                    let entry = entries.iter().find(|(known, _)| known == key);
                    return entry.map(|(_, value)| value);
                }
                Node::Branch(children) => {
                    node = &children[place(hash, 0)];
                    hash >>= BITS;
                }
            }
        }
    }

    /// Puts a value in place of what was there; whether nothing was.
    pub(super) fn insert(&mut self, key: K, value: V) -> bool {
        let is_new = self.root.insert(hash(&key), 0, key, value);
        self.len += usize::from(is_new);
        is_new
    }

    /// Every key with its value, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut left = vec![&self.root];
        let leaves = std::iter::from_fn(move || {
            loop {
                match left.pop()? {
                    Node::Empty => {}
                    Node::Leaf(entries) => return Some(entries.iter()),
                    Node::Branch(children) => left.extend(children.iter()),
                }
            }
        });
        leaves.flatten().map(|(key, value)| (key, value))
    }

    /// What was put in since this map was as `before`, unless the value is the `same` again. Looks
    /// at what the two do not share alone.
    pub(super) fn since(&self, before: &Self, same: impl Fn(&V, &V) -> bool) -> Self {
        let mut changed = Self::default();
        let mut left = vec![(&self.root, &before.root)];
        while let Some(pair) = left.pop() {
            match pair {
                (Node::Empty, _) => {}
                (Node::Branch(now), Node::Branch(then)) if Arc::ptr_eq(now, then) => {}
                (Node::Branch(now), Node::Branch(then)) => {
                    left.extend(now.iter().zip(then.iter()));
                }
                (Node::Branch(now), then) => left.extend(now.iter().map(|child| (child, then))),
                (Node::Leaf(now), Node::Leaf(then)) if Arc::ptr_eq(now, then) => {}
                (Node::Leaf(now), _) => {
                    for (key, value) in now.iter() {
                        if !before.get(key).is_some_and(|then| same(value, then)) {
                            changed.insert(key.clone(), value.clone());
                        }
                    }
                }
            }
        }
        changed
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Node<K, V> {
    /// Whether the key is new. `depth` counts the branches above.
    fn insert(&mut self, hash: u64, depth: u32, key: K, value: V) -> bool {
        match self {
            Self::Empty => {
                *self = Self::Leaf([(key, value)].into());
                true
            }
            Self::Leaf(entries) => match entries.iter().position(|(known, _)| *known == key) {
                Some(position) => {
                    Arc::make_mut(entries)[position].1 = value;
                    false
                }
                None => {
                    let grown = entries.iter().cloned().chain([(key, value)]).collect();
                    *self = Self::holding(grown, depth);
                    true
                }
            },
            Self::Branch(children) => {
                let child = &mut Arc::make_mut(children)[place(hash, depth)];
                child.insert(hash, depth + 1, key, value)
            }
        }
    }

    /// A leaf, or as many branches as it takes for its leaves not to be too large.
    fn holding(entries: Vec<(K, V)>, depth: u32) -> Self {
        if entries.is_empty() {
            return Self::Empty;
        }
        if entries.len() <= LEAF_LIMIT || depth == DEPTH_LIMIT {
            return Self::Leaf(entries.into());
        }
        let mut parts: [Vec<(K, V)>; CHILDREN] = Default::default();
        for entry in entries {
            parts[place(hash(&entry.0), depth)].push(entry);
        }
        Self::Branch(Arc::new(parts.map(|part| Self::holding(part, depth + 1))))
    }
}

/// The same in every process: keys that outsiders choose are digests under a key of ours.
#[inline]
fn hash<K: Hash>(key: &K) -> u64 {
    FixedState::default().hash_one(key)
}

/// Which child, below so many branches.
#[inline]
fn place(hash: u64, depth: u32) -> usize {
    (hash >> (depth * BITS)) as usize % CHILDREN
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::collections::HashMap;

    /// Keys of which many have the same hash, or begin with the same bits of it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Crowded(u16);

    impl Hash for Crowded {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            (self.0 % 7).hash(state);
        }
    }

    fn is_the_map<K: Eq + Hash + Clone + std::fmt::Debug>(
        trie: &Trie<K, u32>,
        map: &HashMap<K, u32>,
        keys: impl Iterator<Item = K>,
    ) {
        assert_eq!((trie.len(), trie.is_empty()), (map.len(), map.is_empty()));
        for key in keys {
            assert_eq!(trie.get(&key), map.get(&key));
        }
        let entries: HashMap<K, u32> =
            trie.iter().map(|(key, value)| (key.clone(), *value)).collect();
        assert_eq!(trie.iter().count(), map.len());
        assert_eq!(&entries, map);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_trie_is_a_map(changes in vec((0_u16..3000, 0_u32..9), 0..5000)) {
            let (mut trie, mut map) = (Trie::default(), HashMap::new());
            for (key, value) in changes {
                prop_assert_eq!(trie.insert(key, value), map.insert(key, value).is_none());
            }
            is_the_map(&trie, &map, 0..3000);
        }

        #[test]
        fn keys_of_the_same_hash_are_kept_apart(changes in vec((0_u16..300, 0_u32..9), 0..600)) {
            let (mut trie, mut map) = (Trie::default(), HashMap::new());
            for (key, value) in changes {
                trie.insert(Crowded(key), value);
                map.insert(Crowded(key), value);
            }
            is_the_map(&trie, &map, (0..300).map(Crowded));
        }

        #[test]
        fn what_was_put_in_since_is_what_differs(
            before in vec((0_u16..900, 0_u32..9), 0..1500),
            after in vec((0_u16..1800, 0_u32..9), 0..300),
        ) {
            let mut trie = Trie::default();
            let mut map = HashMap::new();
            for (key, value) in before {
                trie.insert(key, value);
                map.insert(key, value);
            }
            let then = (trie.clone(), map.clone());
            for (key, value) in after {
                trie.insert(key, value);
                map.insert(key, value);
            }
            let since = trie.since(&then.0, PartialEq::eq);
            is_the_map(&then.0, &then.1, 0..1800);
            map.retain(|key, value| then.1.get(key) != Some(value));
            is_the_map(&since, &map, 0..1800);
        }
    }

    thread_local!(static CLONES: Cell<usize> = const { Cell::new(0) });

    /// Counts how often a value is copied.
    #[derive(Debug)]
    struct Counted;

    impl Clone for Counted {
        fn clone(&self) -> Self {
            CLONES.set(CLONES.get() + 1);
            Self
        }
    }

    /// Branches above the leaf of a key.
    fn depth<V>(trie: &Trie<u64, V>, key: u64) -> u32 {
        let (mut node, mut depth) = (&trie.root, 0);
        while let Node::Branch(children) = node {
            node = &children[place(hash(&key), depth)];
            depth += 1;
        }
        depth
    }

    #[test]
    fn a_change_copies_one_leaf_and_a_short_path_whatever_the_size() {
        let mut trie = Trie::default();
        for key in 0..200_000_u64 {
            // Read by somebody, so that nothing of it may be changed in place.
            let before = (key % 97 == 0).then(|| trie.clone());
            CLONES.set(0);
            trie.insert(key, Counted);
            let copied = CLONES.get();
            assert!(copied <= LEAF_LIMIT, "{copied} entries copied for the {key}th");
            drop(before);
        }
        let deepest = (0..200_000).map(|key| depth(&trie, key)).max().unwrap();
        assert!(deepest <= 6, "{deepest} branches of {CHILDREN} children are copied");
    }

    #[test]
    fn a_clone_does_not_see_later_changes() {
        let mut trie = Trie::default();
        trie.insert(1, "old");
        let before = trie.clone();
        trie.insert(1, "new");
        assert_eq!(before.get(&1), Some(&"old"));
        assert_eq!(trie.get(&1), Some(&"new"));
    }
}
