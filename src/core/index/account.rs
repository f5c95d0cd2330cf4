//! An account as a decision sees it.

use super::token::sorted;
use crate::core::ip::IpRules;
use crate::core::record::{AccountId, AccountRecord, AccountState, Plan, ProjectId};

/// An account: what its tokens are judged by besides their own grants.
#[derive(Clone, Debug)]
pub struct Account {
    pub(crate) id: AccountId,
    pub(crate) plan: Plan,
    pub(crate) open: bool,
    /// The IP rules, where they are in force.
    pub(crate) ip_rules: Option<IpRules>,
    projects: Box<[ProjectId]>,
}

impl Account {
    pub(super) fn new(record: &AccountRecord) -> Self {
        let AccountRecord { id, plan, state, ip_rules_enabled, ip_rules, projects } = record;
        let rules = || ip_rules.iter().map(|rule| (rule.action, rule.cidr)).collect::<Vec<_>>();
        Self {
            id: *id,
            plan: *plan,
            open: *state == AccountState::Open,
            ip_rules: ip_rules_enabled.then(|| IpRules::compile(&rules())),
            projects: sorted(projects),
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

    /// Whether the store knows this project of it.
    #[inline]
    pub fn has_project(&self, project: ProjectId) -> bool {
        self.projects.binary_search(&project).is_ok()
    }
}
