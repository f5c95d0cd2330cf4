//! Permission sets as data, compiled into bit sets over resources.
//!
//! A permission set gives reading (`R`) or writing (`W`, which implies `R`) on resources. What a
//! token holds is the union of its grants; there are no deny rules. Up to 64 resources and 255
//! sets fit, so that the whole check of a request is a handful of bitwise operations.

use std::collections::BTreeMap;
use std::fmt;

use super::record::{Category, Licence, Plan};

/// Most resources that permission sets and routes may name together.
pub const RESOURCES_LIMIT: usize = 64;
/// Most permission sets.
pub const SETS_LIMIT: usize = 255;

/// What a token of an `it` user can reach at most: account administration, nothing in projects.
/// (Self-service permissions, "IT licence".)
const IT_LICENCE_RESOURCES: [&str; 8] = [
    "Account settings",
    "Billing",
    "Connections",
    "Invitations",
    "Licenses",
    "Members",
    "Project (create)",
    "Service tokens",
];

/// Whether a set is about the whole account or can be scoped to a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Always the whole account.
    Account,
    /// All projects, or one for each grant.
    Project,
}

/// A permission set as written in `permission_sets.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionSetSpec {
    /// Its name, for instance `job_admin`.
    pub name: String,
    /// Account or project.
    pub family: Family,
    /// Resources that it may read.
    pub read: Vec<String>,
    /// Resources that it may write, and so read.
    pub write: Vec<String>,
    /// Resources that it may read and, in a grant's writable environment categories, write.
    pub environment_write: Vec<String>,
    /// Plans on which a service token may carry it.
    pub plans: Vec<Plan>,
}

/// Reading or writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `R`.
    Read,
    /// `W`, which implies `R`.
    Write,
}

/// Resources that may be read and written. Writing implies reading by construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    read: u64,
    write: u64,
}

impl Access {
    /// Nothing.
    pub const NONE: Self = Self { read: 0, write: 0 };
    /// Everything.
    pub(super) const ALL: Self = Self { read: u64::MAX, write: u64::MAX };

    /// What either of the two gives.
    #[inline]
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { read: self.read | other.read, write: self.write | other.write }
    }

    /// What both of the two give.
    #[inline]
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self { read: self.read & other.read, write: self.write & other.write }
    }

    /// Whether all of `needed` is given.
    #[inline]
    pub fn covers(self, needed: Self) -> bool {
        needed.read & !self.read == 0 && needed.write & !self.write == 0
    }

    /// What this gives and the other does not.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self { read: self.read & !other.read, write: self.write & !other.write }
    }

    /// How much it is, to compare: resources that may be written, then those that may be read.
    pub(super) fn breadth(self) -> (u32, u32) {
        (self.write.count_ones(), self.read.count_ones())
    }

    /// Resource by resource.
    pub(super) fn parts(self) -> impl Iterator<Item = Self> {
        let part = move |bit: u64| Self { read: self.read & bit, write: self.write & bit };
        (0..u64::BITS).map(move |at| part(1 << at)).filter(|part| *part != Self::NONE)
    }

    fn grant(&mut self, resource: ResourceId, level: Level) {
        self.read |= 1 << resource.0;
        if level == Level::Write {
            self.write |= 1 << resource.0;
        }
    }
}

/// Position of a resource in the bit sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ResourceId(u8);

/// Position of a permission set: ascending by name, so that positions in order are names in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub(crate) u8);

/// One compiled permission set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionSet {
    name: String,
    family: Family,
    access: Access,
    environment_write: Access,
    plans: u8,
}

impl PermissionSet {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Account or project.
    pub fn family(&self) -> Family {
        self.family
    }

    /// What it gives in any environment.
    #[inline]
    pub fn access(&self) -> Access {
        self.access
    }

    /// What it gives besides in a writable environment.
    #[inline]
    pub fn environment_write(&self) -> Access {
        self.environment_write
    }

    /// Whether a service token of an account on this plan may carry it.
    #[inline]
    pub fn allowed_on(&self, plan: Plan) -> bool {
        self.plans & plan_bit(plan) != 0
    }

    /// The plans on which a service token may carry it.
    pub fn plans(&self) -> impl Iterator<Item = Plan> + '_ {
        Plan::ALL.into_iter().filter(|plan| self.allowed_on(*plan))
    }
}

/// All permission sets, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionSets {
    resources: Vec<String>,
    sets: Vec<PermissionSet>,
    licence_bounds: [Access; 3],
}

/// Why permission sets cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermissionSetError {
    /// Two sets of one name.
    #[error("permission set `{0}` is defined twice")]
    Duplicate(String),
    /// A name that could not be written on a command line or in a header.
    #[error("permission set name `{0}` must be 1 to 64 characters of a-z, 0-9 and _")]
    Name(String),
    /// An account-family set with environment rights.
    #[error("permission set `{0}` is of the account family and cannot have `environment_write`")]
    AccountEnvironment(String),
    /// Too many sets.
    #[error("more than {SETS_LIMIT} permission sets")]
    TooManySets,
    /// Too many resources.
    #[error("more than {RESOURCES_LIMIT} resources are named")]
    TooManyResources,
}

impl PermissionSets {
    /// Compiles the sets.
    ///
    /// # Errors
    /// Every mistake, with the position in `specs` of the set that it is in.
    pub fn compile(
        mut specs: Vec<PermissionSetSpec>,
    ) -> Result<Self, Vec<(usize, PermissionSetError)>> {
        let errors = mistakes(&specs);
        if !errors.is_empty() {
            return Err(errors);
        }
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        let resources = resource_names(&specs);
        let lookup = |name: &String| {
            let position =
                resources.binary_search(name).expect("invariant: every name was collected");
            ResourceId(position as u8)
        };
        let sets = specs.iter().map(|spec| compile_set(spec, &lookup)).collect();
        let licence_bounds = Licence::ALL.map(|licence| licence_bound(licence, &resources));
        Ok(Self { resources, sets, licence_bounds })
    }

    /// The set of that name.
    pub fn find(&self, name: &str) -> Option<SetId> {
        let found = self.sets.binary_search_by(|set| set.name.as_str().cmp(name)).ok()?;
        Some(SetId(found as u8))
    }

    /// The set at that position.
    #[inline]
    pub fn set(&self, id: SetId) -> &PermissionSet {
        &self.sets[usize::from(id.0)]
    }

    /// Every set, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = &PermissionSet> {
        self.sets.iter()
    }

    /// Every resource that a set names, ascending.
    pub fn resources(&self) -> &[String] {
        &self.resources
    }

    /// The access that `resource:level` asks for; `None` for a resource that no set names.
    pub fn need(&self, resource: &str, level: Level) -> Option<Access> {
        let position =
            self.resources.binary_search_by(|known| known.as_str().cmp(resource)).ok()?;
        let mut access = Access::NONE;
        access.grant(ResourceId(position as u8), level);
        Some(access)
    }

    /// The most that a personal token of a user with this licence can reach.
    #[inline]
    pub fn licence_bound(&self, licence: Licence) -> Access {
        self.licence_bounds[licence as usize]
    }

    /// Names of the sets that a service token may carry on this plan, ascending.
    pub fn allowed_on(&self, plan: Plan) -> impl Iterator<Item = &str> {
        self.sets.iter().filter(move |set| set.allowed_on(plan)).map(PermissionSet::name)
    }

    /// Names of the sets that would give what is needed on their own, ascending.
    pub fn giving(&self, needed: Access) -> impl Iterator<Item = &str> {
        self.sets.iter().filter(move |set| set.access.covers(needed)).map(PermissionSet::name)
    }

    /// What is needed, as a person writes it: `Jobs:R, Runs:W`.
    pub fn describe(&self, needed: Access) -> String {
        let mut text = String::new();
        for (position, name) in self.resources.iter().enumerate() {
            let bit = 1 << position;
            let level = match (needed.write & bit != 0, needed.read & bit != 0) {
                (true, _) => "W",
                (false, true) => "R",
                (false, false) => continue,
            };
            let separator = if text.is_empty() { "" } else { ", " };
            text.push_str(&format!("{separator}{name}:{level}"));
        }
        text
    }
}

/// Environment categories as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Categories(pub(crate) u8);

impl Categories {
    /// The categories of a grant.
    pub fn of(categories: &[Category]) -> Self {
        Self(categories.iter().fold(0, |bits, category| bits | 1 << *category as u8))
    }

    /// Whether an environment of this category is writable. One without a category never is.
    #[inline]
    pub fn writable(self, category: Option<Category>) -> bool {
        let Some(category) = category else { return false };
        self.0 & (1 << category as u8 | 1 << Category::All as u8) != 0
    }

    /// The categories, in order.
    pub fn iter(self) -> impl Iterator<Item = Category> {
        Category::ALL.into_iter().filter(move |category| self.0 & 1 << *category as u8 != 0)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "R",
            Self::Write => "W",
        })
    }
}

fn plan_bit(plan: Plan) -> u8 {
    1 << plan as u8
}

fn mistakes(specs: &[PermissionSetSpec]) -> Vec<(usize, PermissionSetError)> {
    let mut errors = Vec::new();
    let mut seen = BTreeMap::new();
    for (position, spec) in specs.iter().enumerate() {
        let name = &spec.name;
        if !is_set_name(name) {
            errors.push((position, PermissionSetError::Name(name.clone())));
        }
        if seen.insert(name, position).is_some() {
            errors.push((position, PermissionSetError::Duplicate(name.clone())));
        }
        if spec.family == Family::Account && !spec.environment_write.is_empty() {
            errors.push((position, PermissionSetError::AccountEnvironment(name.clone())));
        }
    }
    if specs.len() > SETS_LIMIT {
        errors.push((SETS_LIMIT, PermissionSetError::TooManySets));
    }
    if resource_names(specs).len() > RESOURCES_LIMIT {
        errors.push((specs.len() - 1, PermissionSetError::TooManyResources));
    }
    errors
}

fn is_set_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn resource_names(specs: &[PermissionSetSpec]) -> Vec<String> {
    let mut names: Vec<String> = specs
        .iter()
        .flat_map(|spec| [&spec.read, &spec.write, &spec.environment_write])
        .flatten()
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}

fn compile_set(spec: &PermissionSetSpec, lookup: &impl Fn(&String) -> ResourceId) -> PermissionSet {
    let mut access = Access::NONE;
    let mut environment_write = Access::NONE;
    for resource in spec.read.iter().chain(&spec.environment_write) {
        access.grant(lookup(resource), Level::Read);
    }
    for resource in &spec.write {
        access.grant(lookup(resource), Level::Write);
    }
    for resource in &spec.environment_write {
        environment_write.grant(lookup(resource), Level::Write);
    }
    PermissionSet {
        name: spec.name.clone(),
        family: spec.family,
        access,
        environment_write,
        plans: spec.plans.iter().fold(0, |bits, plan| bits | plan_bit(*plan)),
    }
}

fn licence_bound(licence: Licence, resources: &[String]) -> Access {
    match licence {
        Licence::Developer => Access::ALL,
        Licence::ReadOnly => Access { read: u64::MAX, write: 0 },
        Licence::It => {
            let mut bound = Access::NONE;
            for (position, name) in resources.iter().enumerate() {
                if IT_LICENCE_RESOURCES.contains(&name.as_str()) {
                    bound.grant(ResourceId(position as u8), Level::Write);
                }
            }
            bound
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets() -> PermissionSets {
        let spec = |name: &str, family, read: &[&str], write: &[&str], environment: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            PermissionSetSpec {
                name: name.to_owned(),
                family,
                read: owned(read),
                write: owned(write),
                environment_write: owned(environment),
                plans: vec![Plan::Enterprise],
            }
        };
        PermissionSets::compile(vec![
            spec("job_admin", Family::Project, &["Projects"], &["Jobs", "Runs"], &[]),
            spec("analyst", Family::Project, &["Projects"], &[], &["Runs"]),
        ])
        .unwrap()
    }

    #[test]
    fn writing_implies_reading() {
        let sets = sets();
        let access = sets.set(sets.find("job_admin").unwrap()).access();
        assert!(access.covers(sets.need("Jobs", Level::Read).unwrap()));
        assert!(access.covers(sets.need("Jobs", Level::Write).unwrap()));
        assert!(!access.covers(sets.need("Projects", Level::Write).unwrap()));
    }

    #[test]
    fn environment_write_is_reading_until_the_environment_is_writable() {
        let sets = sets();
        let analyst = sets.set(sets.find("analyst").unwrap());
        let write = sets.need("Runs", Level::Write).unwrap();
        assert!(analyst.access().covers(sets.need("Runs", Level::Read).unwrap()));
        assert!(!analyst.access().covers(write));
        assert!(analyst.access().union(analyst.environment_write()).covers(write));
    }

    #[test]
    fn an_environment_without_a_category_is_never_writable() {
        let all = Categories::of(&[Category::All]);
        assert!(all.writable(Some(Category::Production)));
        assert!(!all.writable(None));
        assert!(!Categories::of(&[Category::Staging]).writable(Some(Category::Production)));
    }

    #[test]
    fn mistakes_are_all_reported_with_their_set() {
        let spec = |name: &str| PermissionSetSpec {
            name: name.to_owned(),
            family: Family::Account,
            read: vec![],
            write: vec![],
            environment_write: vec!["Jobs".to_owned()],
            plans: vec![],
        };
        let errors = PermissionSets::compile(vec![spec("a"), spec("a"), spec("B!")]).unwrap_err();
        let positions: Vec<usize> = errors.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, [0, 1, 1, 2, 2]);
    }

    #[test]
    fn a_need_is_described_as_a_person_writes_it() {
        let sets = sets();
        let need =
            sets.need("Jobs", Level::Read).unwrap().union(sets.need("Runs", Level::Write).unwrap());
        assert_eq!(sets.describe(need), "Jobs:R, Runs:W");
        assert_eq!(sets.giving(need).collect::<Vec<_>>(), ["job_admin"]);
    }
}
