//! Grants as the index keeps them: two bytes each, and as many more as the project takes.

use crate::core::permissions::{Categories, PermissionSets, SetId};
use crate::core::record::{Grant, ProjectId};

/// Bytes of the project's number; [`ALL_PROJECTS`] where it is no project.
const LENGTH: u8 = 0xf;
const ALL_PROJECTS: u8 = 0xf;
/// A byte of categories follows, before the project.
const CATEGORIES: u8 = 1 << 4;
const LAST: u8 = 1 << 5;
/// Not a grant: what else there is about a token, before its grants.
pub(super) const ASIDE: u8 = 1 << 6;

/// A token's grants: packed up to the one that is marked as the last.
#[derive(Clone, Copy, Debug)]
pub struct Grants<'i> {
    bytes: &'i [u8],
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
    pub(super) const NONE: Grants<'static> = Grants { bytes: &[] };

    /// Grants whose first byte is the first of `bytes`; what comes after the last is not looked at.
    #[inline]
    pub(super) fn starting_at(bytes: &'i [u8]) -> Self {
        Self { bytes }
    }

    /// The grants, by project: those on all projects first.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = GrantView> + Clone + 'i {
        GrantIter { bytes: self.bytes }
    }

    /// The bytes, without what comes after the last.
    pub(super) fn bytes(self) -> &'i [u8] {
        let mut grants = GrantIter { bytes: self.bytes };
        let mut end = 0;
        while let Some((_, length)) = grants.next_with_length() {
            end += length;
        }
        &self.bytes[..end]
    }
}

#[derive(Clone)]
struct GrantIter<'i> {
    bytes: &'i [u8],
}

impl GrantIter<'_> {
    /// The next grant, and how many bytes it takes.
    #[inline]
    fn next_with_length(&mut self) -> Option<(GrantView, usize)> {
        let (&[set, head], mut rest) = self.bytes.split_first_chunk::<2>()?;
        let mut categories = Categories::default();
        if head & CATEGORIES != 0 {
            let (packed, after) = rest.split_first()?;
            categories = Categories(*packed);
            rest = after;
        }
        let mut project = None;
        if head & LENGTH != ALL_PROJECTS {
            let length = usize::from(head & LENGTH);
            project = Some(number(rest, length));
            rest = rest.get(length..)?;
        }
        let length = self.bytes.len() - rest.len();
        self.bytes = if head & LAST == 0 { rest } else { &[] };
        Some((GrantView { set: SetId(set), categories, project }, length))
    }
}

impl Iterator for GrantIter<'_> {
    type Item = GrantView;

    #[inline]
    fn next(&mut self) -> Option<GrantView> {
        self.next_with_length().map(|(grant, _)| grant)
    }
}

/// The number in the first `length` bytes, the lowest first.
#[inline]
fn number(bytes: &[u8], length: usize) -> u64 {
    // One read and a mask, but for what ends within eight bytes.
    if let Some(eight) = bytes.first_chunk::<8>() {
        return u64::from_le_bytes(*eight) & MASKS[length & 0xf];
    }
    let bytes = bytes.iter().take(length).rev();
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The lowest so many bytes.
const MASKS: [u64; 16] = {
    let mut masks = [u64::MAX; 16];
    let mut length = 0;
    while length < 8 {
        masks[length] = (1 << (8 * length)) - 1;
        length += 1;
    }
    masks
};

/// Packs grants by project, those on all projects first. Those of a permission set that is not
/// configured give nothing and are left out.
pub(super) fn pack(grants: &[Grant], sets: &PermissionSets, bytes: &mut Vec<u8>) {
    let mut last = None;
    let mut grants: Vec<&Grant> = grants.iter().collect();
    grants.sort_by_key(|grant| grant.project_id);
    for grant in grants {
        let Some(set) = sets.find(&grant.permission_set) else { continue };
        let categories = Categories::of(&grant.writable_environment_categories);
        let project = grant.project_id.unwrap_or_default().to_le_bytes();
        let length = 8 - project.iter().rev().take_while(|byte| **byte == 0).count();
        let kind = if grant.project_id.is_none() { ALL_PROJECTS } else { length as u8 };
        let has_categories = categories != Categories::default();
        last = Some(bytes.len() + 1);
        bytes.extend([set.0, if has_categories { kind | CATEGORIES } else { kind }]);
        bytes.extend(has_categories.then_some(categories.0));
        bytes.extend(&project[..length]);
    }
    if let Some(last) = last {
        bytes[last] |= LAST;
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

    fn sets() -> PermissionSets {
        let spec = |name: &str| PermissionSetSpec {
            name: name.to_owned(),
            family: Family::Project,
            read: vec![],
            write: vec![],
            environment_write: vec![],
            plans: vec![],
        };
        PermissionSets::compile(["a", "b"].map(spec).to_vec()).unwrap()
    }

    #[test]
    fn packed_grants_are_the_grants_whatever_follows_them() {
        let grants = [
            grant("b", None, &[Category::Staging, Category::Other]),
            grant("gone", None, &[]),
            grant("a", Some(0), &[]),
            grant("a", Some(255), &[]),
            grant("a", Some(1 << 40), &[]),
            grant("b", Some(u64::MAX), &Category::ALL),
        ];
        let mut packed = Vec::new();
        pack(&grants, &sets(), &mut packed);
        for after in 0..10 {
            let mut bytes = packed.clone();
            bytes.extend(std::iter::repeat_n(0xff, after));
            let view: Vec<GrantView> = Grants::starting_at(&bytes).iter().collect();
            let projects: Vec<Option<u64>> = view.iter().map(|grant| grant.project).collect();
            assert_eq!(projects, [None, Some(0), Some(255), Some(1 << 40), Some(u64::MAX)]);
            assert_eq!(view[0].set, SetId(1));
            let categories = Categories::of(&[Category::Staging, Category::Other]);
            assert_eq!(view[0].categories, categories);
            assert_eq!(view[4].categories, Categories::of(&Category::ALL));
            assert_eq!(Grants::starting_at(&bytes).bytes(), packed);
        }
    }

    #[test]
    fn a_grant_on_all_projects_takes_two_bytes_and_none_takes_none() {
        let mut packed = Vec::new();
        pack(&[grant("gone", None, &[])], &sets(), &mut packed);
        assert_eq!((packed.len(), Grants::NONE.iter().count()), (0, 0));
        pack(&[grant("a", None, &[])], &sets(), &mut packed);
        assert_eq!(packed.len(), 2);
    }
}
