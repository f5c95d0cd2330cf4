//! Grants as the index keeps them: one word each, two for the rare project id past 48 bits.

use crate::core::permissions::{Categories, PermissionSets, SetId};
use crate::core::record::{Grant, ProjectId};

const CATEGORIES_SHIFT: u32 = 8;
const LAST: u64 = 1 << 13;
const ALL_PROJECTS: u64 = 1 << 14;
/// The project id does not fit beside the rest: it is the next word.
const WIDE: u64 = 1 << 15;
const PROJECT_SHIFT: u32 = 16;
const PROJECT_LIMIT: u64 = 1 << (64 - PROJECT_SHIFT);

/// A token's grants: packed words up to the one that is marked as the last.
#[derive(Clone, Copy, Debug)]
pub struct Grants<'i> {
    words: &'i [u64],
}

/// One grant, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantView {
    /// The permission set.
    pub set: SetId,
    /// Environment categories in which it may write.
    pub categories: Categories,
    /// The project; `None` for all.
    pub project: Option<ProjectId>,
}

impl<'i> Grants<'i> {
    pub(super) const NONE: Grants<'static> = Grants { words: &[] };

    /// Grants whose first word is the first of `words`; what comes after the last is not looked at.
    #[inline]
    pub(super) fn starting_at(words: &'i [u64]) -> Self {
        Self { words }
    }

    /// The grants, by project: those on all projects first.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = GrantView> + Clone + 'i {
        GrantIter { words: self.words }
    }

    /// The words, without what comes after the last.
    pub(super) fn words(self) -> &'i [u64] {
        let mut length = 0;
        while let Some(word) = self.words.get(length) {
            length += 1 + usize::from(word & WIDE != 0);
            if word & LAST != 0 {
                break;
            }
        }
        &self.words[..length]
    }
}

#[derive(Clone)]
struct GrantIter<'i> {
    words: &'i [u64],
}

impl Iterator for GrantIter<'_> {
    type Item = GrantView;

    #[inline]
    fn next(&mut self) -> Option<GrantView> {
        let (word, mut rest) = self.words.split_first()?;
        let mut project = (word & ALL_PROJECTS == 0).then_some(word >> PROJECT_SHIFT);
        if word & WIDE != 0 {
            let (wide, after) = rest.split_first()?;
            project = Some(*wide);
            rest = after;
        }
        self.words = if word & LAST == 0 { rest } else { &[] };
        Some(GrantView {
            set: SetId(*word as u8),
            categories: Categories((word >> CATEGORIES_SHIFT) as u8 & 0x1f),
            project,
        })
    }
}

/// Packs grants by project, those on all projects first. Those of a permission set that is not
/// configured give nothing and are left out.
pub(super) fn pack(grants: &[Grant], sets: &PermissionSets, words: &mut Vec<u64>) {
    let mut last = None;
    let mut grants: Vec<&Grant> = grants.iter().collect();
    grants.sort_by_key(|grant| grant.project_id);
    for grant in grants {
        let Some(set) = sets.find(&grant.permission_set) else { continue };
        let categories = Categories::of(&grant.writable_environment_categories);
        let head = u64::from(set.0) | u64::from(categories.0) << CATEGORIES_SHIFT;
        last = Some(words.len());
        match grant.project_id {
            None => words.push(head | ALL_PROJECTS),
            Some(project) if project < PROJECT_LIMIT => words.push(head | project << PROJECT_SHIFT),
            Some(project) => words.extend([head | WIDE, project]),
        }
    }
    if let Some(last) = last {
        words[last] |= LAST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::permissions::{Family, PermissionSetSpec};
    use crate::core::record::Category;

    fn grant(set: &str, project_id: Option<u64>, categories: &[Category]) -> Grant {
        Grant {
            permission_set: set.to_owned(),
            project_id,
            writable_environment_categories: categories.to_vec(),
        }
    }

    #[test]
    fn packed_grants_are_the_grants() {
        let sets = PermissionSets::compile(
            ["a", "b"]
                .map(|name| PermissionSetSpec {
                    name: name.to_owned(),
                    family: Family::Project,
                    read: vec![],
                    write: vec![],
                    environment_write: vec![],
                    plans: vec![],
                })
                .to_vec(),
        )
        .unwrap();
        let grants = [
            grant("b", None, &[Category::Staging, Category::Other]),
            grant("gone", None, &[]),
            grant("a", Some(0), &[]),
            grant("a", Some(PROJECT_LIMIT - 1), &[]),
            grant("b", Some(u64::MAX), &Category::ALL),
        ];
        let mut words = vec![7];
        pack(&grants, &sets, &mut words);
        let end = words.len();
        pack(&grants[..1], &sets, &mut words);
        let view: Vec<GrantView> = Grants::starting_at(&words[1..]).iter().collect();
        let projects: Vec<Option<u64>> = view.iter().map(|grant| grant.project).collect();
        assert_eq!(projects, [None, Some(0), Some(PROJECT_LIMIT - 1), Some(u64::MAX)]);
        assert_eq!(view[0].set, SetId(1));
        assert_eq!(view[0].categories, Categories::of(&[Category::Staging, Category::Other]));
        assert_eq!(view[3].categories, Categories::of(&Category::ALL));
        assert_eq!(Grants::starting_at(&words[1..]).words().len(), end - 1);
        assert_eq!(Grants::NONE.iter().count(), 0);
    }
}
