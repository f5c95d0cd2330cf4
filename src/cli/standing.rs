//! What an account allows at present, for telling which grants are suspended.

use std::collections::{HashMap, HashSet};

use crate::core::permissions::PermissionSets;
use crate::core::record::{AccountId, Grant, Plan, ProjectId};
use crate::store::{Store, StoreError, TokenView};

/// Plans and projects of accounts, read once each.
pub(super) struct Standings<'a> {
    store: &'a dyn Store,
    sets: &'a PermissionSets,
    known: HashMap<AccountId, Standing>,
}

/// Plan and projects of one account.
struct Standing {
    plan: Plan,
    projects: HashSet<ProjectId>,
}

impl<'a> Standings<'a> {
    pub(super) fn new(store: &'a dyn Store, sets: &'a PermissionSets) -> Self {
        Self { store, sets, known: HashMap::new() }
    }

    /// Which of a token's grants cover nothing at present, by position: those whose set is gone
    /// or whose project is, and on a service token those that the account's plan does not allow.
    pub(super) fn suspended(&mut self, token: &TokenView) -> Result<Vec<bool>, StoreError> {
        let sets = self.sets;
        let standing = self.of(token.account_id)?;
        let suspended = |grant: &Grant| {
            let Some(set) = sets.find(&grant.permission_set) else { return true };
            let beyond_plan = token.user_id.is_none() && !sets.set(set).allowed_on(standing.plan);
            let gone = grant.project_id.is_some_and(|id| !standing.projects.contains(&id));
            beyond_plan || gone
        };
        Ok(token.grants.iter().map(suspended).collect())
    }

    fn of(&mut self, account: AccountId) -> Result<&Standing, StoreError> {
        if !self.known.contains_key(&account) {
            let plan = self.store.account(account)?.plan;
            let projects = self.store.projects(account)?.into_iter().map(|view| view.id).collect();
            self.known.insert(account, Standing { plan, projects });
        }
        Ok(&self.known[&account])
    }
}
