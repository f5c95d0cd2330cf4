//! An account as a decision sees it: one run of words, so that what belongs together is read
//! together.
//!
//! The words are: the number (two), flags, how many projects; the IP rules where they are in force
//! (few of them; of many, which are kept aside, the position); then the projects, ascending.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use std::net::IpAddr;

use crate::core::ip::{FewRules, IpRules};
use crate::core::record::{AccountId, AccountRecord, AccountState, Action, Plan, ProjectId};

const PLAN: u32 = 7;
const OPEN: u32 = 1 << 3;
const ENFORCED: u32 = 1 << 4;
const HAS_ALLOW: u32 = 1 << 5;
/// The rules are many.
const ASIDE: u32 = 1 << 6;
/// Projects take two words each.
const WIDE_PROJECTS: u32 = 1 << 7;
/// Words of the rules of IPv4, and of IPv6.
const V4_SHIFT: u32 = 8;
const V6_SHIFT: u32 = 20;
const RULE_WORDS: usize = (1 << 12) - 1;
/// The words before the rules.
const HEAD: usize = 4;

/// An account: what its tokens are judged by besides their own grants.
#[derive(Clone, Copy)]
pub struct Account<'i> {
    words: &'i [u32],
    /// The rules, where they are many.
    aside: Option<&'i Arc<IpRules>>,
}

/// The IP rules of an account.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rules<'i> {
    Few(FewRules<'i>),
    Many(&'i IpRules),
}

impl Rules<'_> {
    #[inline]
    pub(crate) fn admits(self, client: Option<IpAddr>) -> bool {
        match self {
            Self::Few(rules) => rules.admits(client),
            Self::Many(rules) => rules.admits(client),
        }
    }

    pub(crate) fn matching(self, client: IpAddr) -> Option<(Action, IpNet)> {
        match self {
            Self::Few(rules) => rules.matching(client),
            Self::Many(rules) => rules.matching(client),
        }
    }

    /// Every rule: for `explain`.
    pub(crate) fn to_vec(self) -> Vec<(Action, IpNet)> {
        match self {
            Self::Few(rules) => rules.iter().collect(),
            Self::Many(rules) => rules.iter().collect(),
        }
    }
}

impl<'i> Account<'i> {
    /// The account whose words begin here; `aside` has the rules of those with many.
    #[inline]
    pub(super) fn starting_at(words: &'i [u32], aside: &'i [Arc<IpRules>]) -> Self {
        let aside = (words[2] & ASIDE != 0).then(|| &aside[words[HEAD] as usize]);
        Self { words, aside }
    }

    /// Its number.
    #[inline]
    pub fn id(&self) -> AccountId {
        u64::from(self.words[0]) | u64::from(self.words[1]) << 32
    }

    /// What it has bought.
    #[inline]
    pub fn plan(&self) -> Plan {
        Plan::ALL[(self.flags() & PLAN) as usize]
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.flags() & OPEN != 0
    }

    /// Whether it is open and its subscription runs.
    #[inline]
    pub fn is_usable(&self) -> bool {
        self.is_open() && self.plan() != Plan::Cancelled
    }

    /// The IP rules, where they are in force.
    #[inline]
    pub(crate) fn ip_rules(&self) -> Option<Rules<'i>> {
        let flags = self.flags();
        if flags & ENFORCED == 0 {
            return None;
        }
        if let Some(rules) = self.aside {
            return Some(Rules::Many(rules));
        }
        let (v4, v6) = rule_words(flags);
        let (v4, v6) = self.words[HEAD..HEAD + v4 + v6].split_at(v4);
        Some(Rules::Few(FewRules { v4, v6, has_allow: flags & HAS_ALLOW != 0 }))
    }

    /// This account if it were on another plan: for `explain`.
    pub(crate) fn on_plan(&self, plan: Plan) -> OwnedAccount {
        let mut words = self.words().to_vec();
        words[2] = words[2] & !PLAN | plan as u32;
        OwnedAccount { words: words.into(), aside: self.aside.cloned() }
    }

    /// This account if the store knew this project of it: for `explain`.
    pub(crate) fn with_project(&self, project: ProjectId) -> OwnedAccount {
        let mut projects = self.projects().to_vec();
        projects.push(project);
        let mut words = self.words[..self.projects_start()].to_vec();
        words[2] &= !WIDE_PROJECTS;
        push_projects(&mut words, &projects);
        OwnedAccount { words: words.into(), aside: self.aside.cloned() }
    }

    /// Its first project.
    pub(crate) fn first_project(&self) -> Option<ProjectId> {
        self.projects().to_vec().first().copied()
    }

    /// Whether the store knows this project of it.
    #[inline]
    pub fn has_project(&self, project: ProjectId) -> bool {
        self.projects().contains(project)
    }

    /// Its words, to be kept elsewhere together with this list of what is kept aside.
    pub(super) fn words_with_aside(&self, list: &mut Vec<Arc<IpRules>>) -> Vec<u32> {
        let mut words = self.words().to_vec();
        if let Some(rules) = self.aside {
            words[HEAD] = list.len() as u32;
            list.push(rules.clone());
        }
        words
    }

    /// Its words, without what comes after them.
    fn words(&self) -> &'i [u32] {
        &self.words[..self.projects_start() + self.project_words()]
    }

    #[inline]
    fn flags(&self) -> u32 {
        self.words[2]
    }

    #[inline]
    fn projects(&self) -> Projects<'i> {
        let words = &self.words[self.projects_start()..][..self.project_words()];
        match self.flags() & WIDE_PROJECTS {
            0 => Projects::Narrow(words),
            _ => Projects::Wide(words.as_chunks().0),
        }
    }

    #[inline]
    fn projects_start(&self) -> usize {
        let (v4, v6) = rule_words(self.flags());
        HEAD + v4 + v6
    }

    #[inline]
    fn project_words(&self) -> usize {
        self.words[3] as usize * if self.flags() & WIDE_PROJECTS == 0 { 1 } else { 2 }
    }
}

/// The projects that the store knows, ascending.
#[derive(Clone, Copy)]
enum Projects<'i> {
    /// In a word each.
    Narrow(&'i [u32]),
    /// In two words each, the lower one first.
    Wide(&'i [[u32; 2]]),
}

impl Projects<'_> {
    #[inline]
    fn contains(self, project: ProjectId) -> bool {
        match self {
            Self::Narrow(projects) => {
                u32::try_from(project).is_ok_and(|project| projects.binary_search(&project).is_ok())
            }
            Self::Wide(projects) => projects.binary_search_by_key(&project, wide).is_ok(),
        }
    }

    fn to_vec(self) -> Vec<ProjectId> {
        match self {
            Self::Narrow(projects) => projects.iter().copied().map(u64::from).collect(),
            Self::Wide(projects) => projects.iter().map(wide).collect(),
        }
    }
}

impl fmt::Debug for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id())
            .field("plan", &self.plan())
            .field("open", &self.is_open())
            .field("ip_rules", &self.ip_rules())
            .finish_non_exhaustive()
    }
}

/// An account outside the base.
#[derive(Clone, Debug)]
pub(crate) struct OwnedAccount {
    words: Box<[u32]>,
    /// The rules, where they are many.
    aside: Option<Arc<IpRules>>,
}

impl OwnedAccount {
    pub(super) fn new(record: &AccountRecord) -> Self {
        let AccountRecord { id, plan, state, ip_rules_enabled, ip_rules, projects } = record;
        let mut words = vec![*id as u32, (id >> 32) as u32, *plan as u32, 0];
        if *state == AccountState::Open {
            words[2] |= OPEN;
        }
        let mut aside = None;
        if *ip_rules_enabled {
            let rules: Vec<_> = ip_rules.iter().map(|rule| (rule.action, rule.cidr)).collect();
            aside = push_rules(&mut words, IpRules::compile(&rules));
        }
        push_projects(&mut words, projects);
        Self { words: words.into(), aside: aside.map(Arc::new) }
    }

    pub(crate) fn view(&self) -> Account<'_> {
        Account { words: &self.words, aside: self.aside.as_ref() }
    }
}

/// Writes rules down behind the head; hands them back where they are too many.
fn push_rules(words: &mut Vec<u32>, rules: IpRules) -> Option<IpRules> {
    words[2] |= ENFORCED;
    let few = rules.few().filter(|few| few.v4.len().max(few.v6.len()) <= RULE_WORDS);
    let Some(FewRules { v4, v6, has_allow }) = few else {
        // The position takes the place of the rules of IPv4.
        words[2] |= ASIDE | 1 << V4_SHIFT;
        words.push(0);
        return Some(rules);
    };
    words[2] |= (v4.len() as u32) << V4_SHIFT | (v6.len() as u32) << V6_SHIFT;
    words[2] |= if has_allow { HAS_ALLOW } else { 0 };
    words.extend(v4);
    words.extend(v6);
    None
}

fn push_projects(words: &mut Vec<u32>, projects: &[ProjectId]) {
    let mut projects = projects.to_vec();
    projects.sort_unstable();
    projects.dedup();
    words[3] = projects.len() as u32;
    if projects.last().is_some_and(|last| u32::try_from(*last).is_err()) {
        words[2] |= WIDE_PROJECTS;
        words.extend(projects.iter().flat_map(|id| [*id as u32, (id >> 32) as u32]));
    } else {
        words.extend(projects.iter().map(|id| *id as u32));
    }
}

#[inline]
fn rule_words(flags: u32) -> (usize, usize) {
    ((flags >> V4_SHIFT) as usize & RULE_WORDS, (flags >> V6_SHIFT) as usize & RULE_WORDS)
}

fn wide(&[low, high]: &[u32; 2]) -> ProjectId {
    u64::from(low) | u64::from(high) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::record::IpRule;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn ip_rule() -> impl Strategy<Value = IpRule> {
        let cidr = prop_oneof![
            (0_u8..60, 8_u8..=32).prop_map(|(octet, length)| format!("10.{octet}.0.0/{length}")),
            (0_u8..60, 16_u8..=128).prop_map(|(word, length)| format!("2001:{word}::/{length}")),
        ];
        (any::<bool>(), cidr).prop_map(|(allow, cidr)| IpRule {
            action: if allow { Action::Allow } else { Action::Deny },
            cidr: cidr.parse::<IpNet>().unwrap().trunc(),
            name: String::new(),
        })
    }

    fn record() -> impl Strategy<Value = AccountRecord> {
        let projects = prop_oneof![
            proptest::collection::vec(0_u64..40, 0..9),
            proptest::collection::vec(prop_oneof![0_u64..40, any::<u64>()], 0..9),
        ];
        (
            any::<u64>(),
            0..Plan::ALL.len(),
            any::<bool>(),
            any::<bool>(),
            proptest::collection::vec(ip_rule(), 0..90),
            projects,
        )
            .prop_map(|(id, plan, open, ip_rules_enabled, ip_rules, projects)| {
                AccountRecord {
                    id,
                    plan: Plan::ALL[plan],
                    state: if open { AccountState::Open } else { AccountState::Closed },
                    ip_rules_enabled,
                    ip_rules,
                    projects,
                }
            })
    }

    fn assert_is(account: Account<'_>, record: &AccountRecord, clients: &[IpAddr]) {
        let open = record.state == AccountState::Open;
        assert_eq!(
            (account.id(), account.plan(), account.is_open()),
            (record.id, record.plan, open)
        );
        for project in record.projects.iter().copied().chain([0, 1, 39, u64::MAX, 1 << 32]) {
            assert_eq!(account.has_project(project), record.projects.contains(&project));
        }
        let rules: Vec<_> = record.ip_rules.iter().map(|rule| (rule.action, rule.cidr)).collect();
        let compiled = record.ip_rules_enabled.then(|| IpRules::compile(&rules));
        assert_eq!(account.ip_rules().is_some(), compiled.is_some());
        for client in clients {
            let every = |rules: Vec<_>| rules.into_iter().collect::<HashSet<_>>();
            assert_eq!(
                account.ip_rules().map(|rules| every(rules.to_vec())),
                compiled.as_ref().map(|rules| every(rules.iter().collect()))
            );
            let admits = account.ip_rules().map(|rules| rules.admits(Some(*client)));
            assert_eq!(admits, compiled.as_ref().map(|rules| rules.admits(Some(*client))));
            let matching = account.ip_rules().map(|rules| rules.matching(*client));
            assert_eq!(matching, compiled.as_ref().map(|rules| rules.matching(*client)));
        }
    }

    proptest! {
        #[test]
        fn an_account_is_its_record_wherever_its_words_are(
            records in proptest::collection::vec(record(), 1..6),
            octets in proptest::collection::vec((0_u8..60, any::<u8>()), 12),
        ) {
            let clients = octets.iter().flat_map(|(octet, last)| {
                let v4 = std::net::Ipv4Addr::new(10, *octet, 0, *last);
                let v6 = format!("2001:{octet}::{last:x}").parse().unwrap();
                [IpAddr::from(v4), IpAddr::from(v4.to_ipv6_mapped()), v6]
            });
            let clients: Vec<IpAddr> = clients.collect();
            let (mut run, mut aside, mut starts) = (Vec::new(), Vec::new(), Vec::new());
            for record in &records {
                let owned = OwnedAccount::new(record);
                assert_is(owned.view(), record, &clients);
                starts.push(run.len());
                run.extend(owned.view().words_with_aside(&mut aside));
            }
            for (start, record) in starts.iter().zip(&records) {
                let account = Account::starting_at(&run[*start..], &aside);
                assert_is(account, record, &clients);
                prop_assert!(run[*start..].starts_with(account.words()));
            }
        }
    }

    proptest! {
        #[test]
        fn what_if_an_account_had_one_more_project_or_another_plan(
            record in record(),
            project in prop_oneof![0_u64..40, any::<u64>()],
            plan in 0..Plan::ALL.len(),
        ) {
            let owned = OwnedAccount::new(&record);
            let with = AccountRecord {
                projects: record.projects.iter().copied().chain([project]).collect(),
                ..record.clone()
            };
            assert_is(owned.view().with_project(project).view(), &with, &[]);
            let first = with.projects.iter().min().copied();
            prop_assert_eq!(owned.view().with_project(project).view().first_project(), first);
            let on_plan = AccountRecord { plan: Plan::ALL[plan], ..record };
            assert_is(owned.view().on_plan(Plan::ALL[plan]).view(), &on_plan, &[]);
        }
    }

    #[test]
    fn an_account_without_rules_is_sixteen_bytes() {
        let account = AccountRecord {
            id: u64::MAX,
            plan: Plan::Team,
            state: AccountState::Open,
            ip_rules_enabled: false,
            ip_rules: Vec::new(),
            projects: Vec::new(),
        };
        assert_eq!(OwnedAccount::new(&account).view().words().len(), 4);
    }
}
