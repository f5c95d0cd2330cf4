//! The id index: which project an id in a path belongs to.

use std::hash::BuildHasher as _;

use super::positions::Positions;
use super::prefetch::prefetch;
use super::runs::Runs;
use crate::core::record::{AccountId, Category, IdRecord, ProjectId};
use crate::core::routes::{IndexNameId, Routes};

/// What a row is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct IdKey {
    pub(crate) account: AccountId,
    pub(crate) id: u64,
    pub(crate) index: IndexNameId,
}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdRow {
    pub(crate) project: ProjectId,
    pub(crate) category: Option<Category>,
}

impl IdKey {
    /// The key of a row; `None` where no route asks for that index.
    pub(super) fn of(account: AccountId, index: &str, id: u64, routes: &Routes) -> Option<Self> {
        Some(Self { account, id, index: routes.index_name(index)? })
    }

    fn hash(&self) -> u64 {
        foldhash::fast::FixedState::default().hash_one(self)
    }
}

impl IdRow {
    pub(super) fn of(record: &IdRecord, routes: &Routes) -> Option<(IdKey, Self)> {
        let IdRecord { account_id, index, id, project_id, environment_category } = record;
        let key = IdKey::of(*account_id, index, *id, routes)?;
        Some((key, Self { project: *project_id, category: *environment_category }))
    }
}

/// The position of the index's name.
const NAME_SHIFT: u32 = 16;
/// A category's position, and one more; 0 for none.
const CATEGORY: u32 = 0xf;
/// Numbers take two words each.
const WIDE: u32 = 1 << 4;
/// There is no such row any more.
const GONE: u32 = 1 << 5;

/// The rows of a base, four words each where the numbers fit into 32 bits: what follows the name
/// and the category is the account, the id and the project.
#[derive(Debug, Default)]
pub(super) struct IdRows {
    rows: Runs<u32>,
    positions: Positions,
}

impl IdRows {
    /// None yet, and room for as many as another has.
    pub(super) fn like(other: &Self) -> Self {
        Self { rows: Runs::default(), positions: Positions::with_room(other.positions.len()) }
    }

    /// Puts a row in its place; `None` removes it.
    pub(super) fn put(&mut self, key: IdKey, row: Option<IdRow>) -> Option<()> {
        let position = self.rows.push(&pack(key, row))?;
        let Self { rows, positions } = self;
        let hash_of = |position| read(rows, position).0.hash();
        positions.insert(key.hash(), position, |at| read(rows, at).0 == key, hash_of);
        Some(())
    }

    #[inline]
    pub(super) fn find(&self, key: IdKey) -> Option<IdRow> {
        let found = self.positions.find(key.hash(), |at| read(&self.rows, at).0 == key)?;
        read(&self.rows, found).1
    }

    /// Asks memory for the row of a key.
    #[inline]
    pub(super) fn touch(&self, key: IdKey) {
        if let Some(position) = self.positions.first(key.hash()) {
            prefetch(&self.rows.starting_at(position)[0]);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (IdKey, IdRow)> {
        let rows = self.positions.iter().map(|position| read(&self.rows, position));
        rows.filter_map(|(key, row)| Some((key, row?)))
    }

    pub(super) fn shrink(&mut self) {
        self.rows.shrink();
        let Self { rows, positions } = self;
        positions.shrink(|position| read(rows, position).0.hash());
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.positions.memory_bytes()
    }
}

fn pack(key: IdKey, row: Option<IdRow>) -> Vec<u32> {
    let IdKey { account, id, index } = key;
    let project = row.map_or(0, |row| row.project);
    let numbers = [account, id, project];
    let category = row.and_then(|row| row.category).map_or(0, |category| category as u32 + 1);
    let gone = if row.is_none() { GONE } else { 0 };
    let head = u32::from(index.0) << NAME_SHIFT | category | gone;
    if numbers.iter().all(|number| u32::try_from(*number).is_ok()) {
        return [head].into_iter().chain(numbers.map(|number| number as u32)).collect();
    }
    let halves = numbers.iter().flat_map(|number| [*number as u32, (number >> 32) as u32]);
    [head | WIDE].into_iter().chain(halves).collect()
}

#[inline]
fn read(rows: &Runs<u32>, position: u32) -> (IdKey, Option<IdRow>) {
    let words = rows.starting_at(position);
    let head = words[0];
    let [account, id, project] = match head & WIDE {
        0 => [words[1], words[2], words[3]].map(u64::from),
        _ => [1, 3, 5].map(|at| u64::from(words[at]) | u64::from(words[at + 1]) << 32),
    };
    let key = IdKey { account, id, index: IndexNameId((head >> NAME_SHIFT) as u16) };
    let category = (head & CATEGORY).checked_sub(1).map(|at| Category::ALL[at as usize]);
    (key, (head & GONE == 0).then_some(IdRow { project, category }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0_u64..5, Just(u64::from(u32::MAX)), Just(1 << 32), Just(u64::MAX)]
    }

    fn key() -> impl Strategy<Value = IdKey> {
        let index = prop_oneof![0_u16..3, Just(u16::MAX)];
        (number(), number(), index).prop_map(|(account, id, index)| IdKey {
            account,
            id,
            index: IndexNameId(index),
        })
    }

    fn row() -> impl Strategy<Value = Option<IdRow>> {
        let category =
            proptest::option::of((0..Category::ALL.len()).prop_map(|at| Category::ALL[at]));
        let row = (number(), category).prop_map(|(project, category)| IdRow { project, category });
        proptest::option::of(row)
    }

    proptest! {
        #[test]
        fn rows_are_a_map(
            changes in proptest::collection::vec((key(), row()), 0..200),
            others in proptest::collection::vec(key(), 20),
        ) {
            let mut rows = IdRows::default();
            let mut map = HashMap::new();
            for (key, row) in &changes {
                rows.put(*key, *row).unwrap();
                match row {
                    Some(row) => map.insert(*key, *row),
                    None => map.remove(key),
                };
            }
            rows.shrink();
            for key in changes.iter().map(|(key, _)| key).chain(&others) {
                prop_assert_eq!(rows.find(*key), map.get(key).copied());
            }
            prop_assert_eq!(rows.iter().collect::<HashMap<_, _>>(), map);
        }
    }
}
