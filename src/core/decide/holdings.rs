//! What a token's grants give, and what the upstream is told of it.

use std::fmt::Write as _;

use super::Granted;
use crate::core::index::{GrantView, Policy, Token};
use crate::core::permissions::{Access, Categories};
use crate::core::record::{Category, ProjectId};

/// The union of the grants that count and are let through by the filter; `None` without any.
#[inline]
pub(in crate::core) fn held(
    policy: &Policy,
    token: &Token<'_>,
    category: Option<Category>,
    covers: impl Fn(&GrantView) -> bool,
) -> Option<Access> {
    let mut union = None;
    for grant in token.grants.iter().filter(|grant| covers(grant) && counts(policy, token, grant)) {
        let access = gives(policy, &grant, category);
        union = Some(union.map_or(access, |union: Access| union.union(access)));
    }
    union.map(|union| bounded(policy, token, union))
}

/// What is left within the bounds of the user's licence.
#[inline]
pub(super) fn bounded(policy: &Policy, token: &Token<'_>, access: Access) -> Access {
    match token.user {
        Some(user) => access.intersection(policy.permission_sets.licence_bound(user.licence)),
        None => access,
    }
}

/// Whether a grant counts: a service token's does only while its account's plan allows the set.
#[inline]
pub(super) fn counts(policy: &Policy, token: &Token<'_>, grant: &GrantView) -> bool {
    token.user.is_some() || policy.permission_sets.set(grant.set).allowed_on(token.account.plan())
}

#[inline]
pub(super) fn gives(policy: &Policy, grant: &GrantView, category: Option<Category>) -> Access {
    let set = policy.permission_sets.set(grant.set);
    match grant.categories != Categories::default() && grant.categories.writable(category) {
        true => set.access().union(set.environment_write()),
        false => set.access(),
    }
}

/// The projects, ascending, in which the token's grants on them, with those on all projects,
/// give what is needed. Linear: an index keeps a token's grants by project.
pub(super) fn projects_with<'t>(
    policy: &'t Policy,
    token: &'t Token<'t>,
    need: Access,
) -> impl Iterator<Item = ProjectId> + 't {
    let counting = token.grants.iter().filter(move |grant| counts(policy, token, grant));
    let everywhere = counting
        .clone()
        .filter(|grant| grant.project.is_none())
        .fold(Access::NONE, |union, grant| union.union(gives(policy, &grant, None)));
    let on_one = move |grant: GrantView| Some((grant.project?, gives(policy, &grant, None)));
    let mut grants = counting.filter_map(on_one).peekable();
    std::iter::from_fn(move || {
        loop {
            let (project, mut held) = grants.next()?;
            while let Some((_, more)) = grants.next_if(|(on, _)| *on == project) {
                held = held.union(more);
            }
            if bounded(policy, token, everywhere.union(held)).covers(need) {
                return Some(project);
            }
        }
    })
}

pub(in crate::core) fn write_projects(
    policy: &Policy,
    token: &Token<'_>,
    granted: &Granted,
    out: &mut String,
) -> bool {
    match granted {
        Granted::Plain => return false,
        Granted::AllProjects => out.push('*'),
        Granted::Projects(need) => {
            for (position, project) in projects_with(policy, token, *need).enumerate() {
                let separator = if position == 0 { "" } else { "," };
                // Writing to a string cannot fail.
                let _ = write!(out, "{separator}{project}");
            }
        }
    }
    true
}

pub(in crate::core) fn write_permission_sets(policy: &Policy, token: &Token<'_>, out: &mut String) {
    let mut sets = [0_u64; 4];
    for grant in token.grants.iter().filter(|grant| counts(policy, token, grant)) {
        sets[usize::from(grant.set.0) / 64] |= 1 << (grant.set.0 % 64);
    }
    let mut separator = "";
    // Positions of sets are in the order of their names.
    for (position, set) in policy.permission_sets.iter().enumerate() {
        if sets[position / 64] >> (position % 64) & 1 != 0 {
            out.push_str(separator);
            out.push_str(set.name());
            separator = ",";
        }
    }
}
