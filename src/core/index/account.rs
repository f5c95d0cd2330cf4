//! An account as a decision sees it.

use super::token::sorted;
use crate::core::ip::IpRules;
use crate::core::record::{AccountId, AccountRecord, AccountState, Plan, ProjectId};

/// An account: what its tokens are judged by besides their own grants. One cache line, since every
/// decision reads an account that no cache holds.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Account {
    pub(crate) id: AccountId,
    pub(crate) plan: Plan,
    pub(crate) open: bool,
    /// The IP rules, where they are in force.
    pub(crate) ip_rules: Option<IpRules>,
    /// Few decisions ask: behind one pointer of a word, `None` where there are none.
    projects: Option<Box<Projects>>,
}

/// The projects that the store knows, ascending.
#[derive(Clone, Debug)]
struct Projects(Box<[ProjectId]>);

impl Account {
    pub(super) fn new(record: &AccountRecord) -> Self {
        let AccountRecord { id, plan, state, ip_rules_enabled, ip_rules, projects } = record;
        let rules = || ip_rules.iter().map(|rule| (rule.action, rule.cidr)).collect::<Vec<_>>();
        Self {
            id: *id,
            plan: *plan,
            open: *state == AccountState::Open,
            ip_rules: ip_rules_enabled.then(|| IpRules::compile(&rules())),
            projects: (!projects.is_empty()).then(|| Box::new(Projects(sorted(projects)))),
        }
    }

    /// Its number.
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// What it has bought.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Whether it is open and its subscription runs.
    #[inline]
    pub fn is_usable(&self) -> bool {
        self.open && self.plan != Plan::Cancelled
    }

    /// This account if it were on another plan: for `explain`.
    pub(crate) fn on_plan(&self, plan: Plan) -> Self {
        Self { plan, ..self.clone() }
    }

    /// This account if the store knew this project of it: for `explain`.
    pub(crate) fn with_project(&self, project: ProjectId) -> Self {
        let mut projects = self.projects.as_ref().map_or(Vec::new(), |known| known.0.to_vec());
        projects.push(project);
        Self { projects: Some(Box::new(Projects(sorted(&projects)))), ..self.clone() }
    }

    /// Its first project.
    pub(crate) fn first_project(&self) -> Option<ProjectId> {
        self.projects.as_ref()?.0.first().copied()
    }

    /// Whether the store knows this project of it.
    #[inline]
    pub fn has_project(&self, project: ProjectId) -> bool {
        let known = |projects: &Projects| projects.0.binary_search(&project).is_ok();
        self.projects.as_deref().is_some_and(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_one_cache_line() {
        assert_eq!((size_of::<Account>(), align_of::<Account>()), (64, 64));
    }
}
