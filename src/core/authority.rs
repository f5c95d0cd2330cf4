//! Who may hand out what: nobody gives a token more than they hold themselves.
//!
//! What is asked for is compared with what the giver's own grants come to, in the scope of each
//! grant asked for: bits of permission, on all projects or one, in each environment category. The
//! giver's suspended grants give nothing, and a user's licence bounds what a personal token holds,
//! by the functions that decisions use.

use super::decide::held;
use super::index::{Policy, Token};
use super::permissions::{Access, Categories, PermissionSet};
use super::record::{Category, Grant};

/// A grant that is more than its giver holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{permission_set}` on {scope} gives {lacking}, which the calling token does not hold there"
)]
pub struct Excess {
    /// Its position among the grants asked for.
    pub position: usize,
    permission_set: String,
    scope: String,
    lacking: String,
}

/// Checks that the token holds everything that each of the grants would give.
///
/// # Errors
/// The first grant that is more. One of a set that there is not is more than anybody holds.
pub fn authority(policy: &Policy, giver: &Token<'_>, asked: &[Grant]) -> Result<(), Excess> {
    asked.iter().enumerate().try_for_each(|(position, grant)| {
        let sets = &policy.permission_sets;
        let lacking = match sets.find(&grant.permission_set) {
            Some(id) => lacking(policy, giver, sets.set(id), grant).map(|it| sets.describe(it)),
            None => Some("what no permission set of this name says".to_owned()),
        };
        lacking.map_or(Ok(()), |lacking| {
            let permission_set = grant.permission_set.clone();
            Err(Excess { position, permission_set, scope: scope(grant), lacking })
        })
    })
}

/// What the grant would give and the giver does not hold; `None` where that is nothing.
fn lacking(
    policy: &Policy,
    giver: &Token<'_>,
    set: &PermissionSet,
    grant: &Grant,
) -> Option<Access> {
    let writable = Categories::of(&grant.writable_environment_categories);
    Category::ALL
        .into_iter()
        .filter(|category| *category != Category::All)
        .filter(|category| writable.writable(Some(*category)))
        .map(|category| (Some(category), set.access().union(set.environment_write())))
        .chain([(None, set.access())])
        .map(|(category, wanted)| wanted.without(holds(policy, giver, grant, category)))
        .find(|lacking| *lacking != Access::NONE)
}

/// What the giver holds in the scope of a grant: all projects, or the one that it names.
fn holds(policy: &Policy, giver: &Token<'_>, grant: &Grant, category: Option<Category>) -> Access {
    held(policy, giver, category, |own| own.project.is_none() || own.project == grant.project_id)
        .unwrap_or(Access::NONE)
}

fn scope(grant: &Grant) -> String {
    grant.project_id.map_or_else(|| "all projects".to_owned(), |id| format!("project {id}"))
}
