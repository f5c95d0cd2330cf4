//! Who may call what: the route tables of the API, compiled under a configuration, and the
//! decision about a call, which is the gate's own.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::OPERATOR_ACCOUNT;
use super::error::ApiError;
use super::operation::{OPERATIONS, Operation};
use crate::config::Config;
use crate::core::decide::{decide, resume};
use crate::core::facts::Facts;
use crate::core::index::{Index, Policy};
use crate::core::permissions::PermissionSets;
use crate::core::record::{Timestamp, TokenId};
use crate::core::routes::{Lookup, RequiresSpec, RouteSpec, Routes, Unmatched};
use crate::core::verdict::{Denial, Lane, Permit, Reason, Verdict};

/// Methods that an `Allow` header may name.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// The route tables under one configuration.
#[derive(Debug)]
pub(super) struct Access {
    config: Arc<Config>,
    own: Table,
    /// For tokens of the operator's account: the accounts are others', so that step 7 of the
    /// decision has nothing to compare.
    operator: Table,
}

/// A policy whose routes are operations.
#[derive(Debug)]
struct Table {
    policy: Arc<Policy>,
    /// The operation of each route.
    operations: Vec<&'static Operation>,
}

/// The tables that are in force, made anew when the configuration has changed.
#[derive(Debug, Default)]
pub(super) struct CurrentAccess(ArcSwapOption<Access>);

impl CurrentAccess {
    pub(super) fn under(&self, config: &Arc<Config>) -> Arc<Access> {
        if let Some(access) = &*self.0.load()
            && Arc::ptr_eq(&access.config, config)
        {
            return access.clone();
        }
        let access = Arc::new(Access::new(config.clone()));
        self.0.store(Some(access.clone()));
        access
    }
}

/// An index under the tables.
pub(super) struct AccessIndex {
    own: Index,
    operator: Index,
}

impl Access {
    fn new(config: Arc<Config>) -> Self {
        let own = Table::new(&config, OPERATIONS.iter(), |operation| operation.route());
        let operator = OPERATIONS.iter().filter(|operation| operation.for_operator);
        let operator = Table::new(&config, operator, |operation| RouteSpec {
            path: operation.path.replace("{account_id}", "{other_account_id}"),
            ..operation.route()
        });
        Self { config, own, operator }
    }

    /// The gate's index under these tables. No route of them looks ids up, so that it does not
    /// matter which id indexes the rows were compiled for.
    pub(super) fn index(&self, index: &Index) -> AccessIndex {
        AccessIndex {
            own: index.with_policy(self.own.policy.clone()),
            operator: index.with_policy(self.operator.policy.clone()),
        }
    }

    /// The operation that a request asks for.
    pub(super) fn operation(&self, facts: &Facts<'_>) -> Result<&'static Operation, ApiError> {
        let routes = &self.own.policy.routes;
        match routes.lookup(facts.method, None, facts.path) {
            Lookup::Route(route, _) => Ok(self.own.operations[route.position()]),
            Lookup::NoPath => Err(ApiError::NoPath),
            Lookup::MethodNotInTable => {
                let has = |method: &&str| {
                    matches!(routes.lookup(method, None, facts.path), Lookup::Route(..))
                };
                let allowed: Vec<&str> = METHODS.into_iter().filter(has).collect();
                Err(ApiError::Method(allowed.join(", ")))
            }
        }
    }

    /// The operation of a permit.
    pub(super) fn permitted(&self, permit: &Permit<'_>, own: bool) -> Option<&'static Operation> {
        let table = if own { &self.own } else { &self.operator };
        table.operations.get(permit.route()?.position()).copied()
    }
}

impl AccessIndex {
    /// Decides about a call. `recognised`: the token that the slow lane found. `bool`: whether the
    /// permit is by the table of the token's own account.
    pub(super) fn decide(
        &self,
        facts: &Facts<'_>,
        recognised: Option<TokenId>,
        now: Timestamp,
    ) -> (Verdict<'_>, bool) {
        let by = |index| judge(index, facts, recognised, now);
        match by(&self.own) {
            Verdict::Deny(denial) if is_operators(&denial) => match by(&self.operator) {
                // Whatever is not for the operator is another account's.
                Verdict::Deny(other) if other.reason == Reason::NoRoute => {
                    (Verdict::Deny(denial), true)
                }
                verdict => (verdict, false),
            },
            verdict => (verdict, true),
        }
    }
}

fn judge<'i>(
    index: &'i Index,
    facts: &Facts<'_>,
    recognised: Option<TokenId>,
    now: Timestamp,
) -> Verdict<'i> {
    match recognised {
        Some(token) => resume(index, facts, token, Lane::Slow, now),
        None => decide(index, facts, now),
    }
}

fn is_operators(denial: &Denial) -> bool {
    let caller = denial.caller.map(|caller| caller.account_id);
    denial.reason == Reason::WrongAccount && caller == Some(OPERATOR_ACCOUNT)
}

impl Table {
    /// Leaves out what nobody could be permitted: an operation that needs a resource which no
    /// permission set names.
    fn new(
        config: &Config,
        operations: impl Iterator<Item = &'static Operation>,
        route: impl Fn(&Operation) -> RouteSpec,
    ) -> Self {
        let sets = &config.permission_sets;
        let operations: Vec<_> =
            operations.filter(|operation| can_be_held(&operation.requires, sets)).collect();
        let specs: Vec<_> = operations.iter().map(|operation| route(operation)).collect();
        let routes = Routes::compile(&specs, sets, Unmatched::Deny)
            .expect("invariant: a test compiles every operation's route");
        let policy = Arc::new(Policy { routes: Arc::new(routes), ..config.policy() });
        Self { policy, operations }
    }
}

/// The resources that operations need and no permission set names: nobody can call those.
pub(crate) fn unnamed_resources(sets: &PermissionSets) -> BTreeSet<&'static str> {
    let needs = OPERATIONS.iter().filter_map(|operation| match &operation.requires {
        RequiresSpec::All(needs) => Some(needs),
        RequiresSpec::Authenticated | RequiresSpec::Public | RequiresSpec::OwnUser => None,
    });
    let unnamed = |(resource, level): &&(String, _)| sets.need(resource, *level).is_none();
    needs.flatten().filter(unnamed).map(|(resource, _)| resource.as_str()).collect()
}

fn can_be_held(requires: &RequiresSpec, sets: &PermissionSets) -> bool {
    match requires {
        RequiresSpec::All(needs) => {
            needs.iter().all(|(resource, level)| sets.need(resource, *level).is_some())
        }
        RequiresSpec::Authenticated | RequiresSpec::Public | RequiresSpec::OwnUser => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::permissions::PermissionSetSpec;

    fn compile(sets: &PermissionSets) -> usize {
        let operations = OPERATIONS.iter().filter(|it| can_be_held(&it.requires, sets));
        let specs: Vec<_> = operations.map(Operation::route).collect();
        Routes::compile(&specs, sets, Unmatched::Deny).unwrap().len()
    }

    #[test]
    fn every_operation_has_a_route_where_the_sets_name_its_resource() {
        let resources: Vec<String> = OPERATIONS
            .iter()
            .filter_map(|operation| match &operation.requires {
                RequiresSpec::All(needs) => Some(needs[0].0.clone()),
                _ => None,
            })
            .collect();
        let spec = |write| PermissionSetSpec {
            name: "everything".to_owned(),
            family: crate::core::permissions::Family::Account,
            read: vec![],
            write,
            environment_write: vec![],
            plans: vec![],
        };
        let all = PermissionSets::compile(vec![spec(resources)]).unwrap();
        assert_eq!(compile(&all), OPERATIONS.len());
        let none = PermissionSets::compile(vec![spec(vec!["Runs".to_owned()])]).unwrap();
        assert!((1..OPERATIONS.len()).contains(&compile(&none)));
        assert!(unnamed_resources(&all).is_empty());
        assert!(unnamed_resources(&none).contains("Service tokens"));
    }
}
