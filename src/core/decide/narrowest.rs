//! The grants that give just what one request needs: for a new token, where `explain` proposes one.

use super::permission::{Need, Scope, scope};
use super::{Case, Target};
use crate::core::index::Account;
use crate::core::permissions::{Access, Family, PermissionSet, PermissionSets};
use crate::core::record::{Category, Plan, ProjectId, UserId};

/// What a request needs of whatever token comes with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    need: Access,
    scope: Scope,
    /// The user whose personal token it has to be.
    pub(super) user: Option<UserId>,
}

/// Grants as the command line takes them.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) grants: Vec<String>,
    /// The project that must be known first.
    pub(super) unknown_project: Option<ProjectId>,
}

impl Wanted {
    /// `None` where no grant would do: the request does not say what it is about.
    pub(super) fn of(case: &Case<'_>, account: Account<'_>) -> Option<Self> {
        let any = Self { need: Access::NONE, scope: Scope::Any, user: None };
        let Target { route: Some(route), captures, .. } = case.target else { return Some(any) };
        let need = match Need::of(route) {
            Need::Held(need) => need,
            Need::OwnUser(capture) => {
                let user = super::id(captures.text(case.facts.path, capture))?;
                return Some(Self { user: Some(user), ..any });
            }
            Need::AnyToken => return Some(any),
        };
        let scope = scope(case.index, account, route, case.target, case.facts).ok()?;
        Some(Self { need, scope, user: None })
    }

    /// The narrowest grants on a service token of an account on this plan.
    pub(super) fn on_plan(
        &self,
        sets: &PermissionSets,
        account: Account<'_>,
        plan: Plan,
    ) -> Option<Choice> {
        self.choose(sets, account, Access::ALL, |set| set.allowed_on(plan))
    }

    /// The narrowest grants on a personal token whose user's licence reaches that far.
    pub(super) fn within(
        &self,
        sets: &PermissionSets,
        account: Account<'_>,
        bound: Access,
    ) -> Option<Choice> {
        self.choose(sets, account, bound, |_| true)
    }

    /// One set that is enough, or the narrowest for each thing that is needed, if that is less.
    fn choose(
        &self,
        sets: &PermissionSets,
        account: Account<'_>,
        bound: Access,
        allows: impl Fn(&PermissionSet) -> bool,
    ) -> Option<Choice> {
        let sets = || sets.iter().filter(|set| allows(set));
        let offers = || sets().flat_map(|set| self.offers(set, bound));
        let best = |need: Access| {
            offers().filter(|offer| offer.gives.covers(need)).min_by_key(Offer::breadth)
        };
        let whole = best(self.need).map(|offer| vec![offer]);
        let parts: Option<Vec<Offer<'_>>> = self.need.parts().map(best).collect();
        let parts = parts.filter(|parts| !parts.is_empty()).map(|mut parts| {
            parts.sort_by_key(|offer| (offer.set.name(), offer.category));
            parts.dedup_by_key(|offer| (offer.set.name(), offer.category));
            parts
        });
        let offers = whole.into_iter().chain(parts).min_by_key(|offers| breadth(offers))?;
        let project = self.project(account);
        let grants = offers.iter().map(|offer| offer.grant(project)).collect();
        let named = project.filter(|_| offers.iter().any(Offer::is_of_a_project));
        let unknown_project = named.or(self.uncovered()).filter(|id| !account.has_project(*id));
        Some(Choice { grants, unknown_project })
    }

    fn offers<'s>(&self, set: &'s PermissionSet, bound: Access) -> Vec<Offer<'s>> {
        let plain = Offer { set, category: None, gives: set.access().intersection(bound) };
        let Scope::One { category: Some(category), .. } = self.scope else { return vec![plain] };
        let gives = set.access().union(set.environment_write()).intersection(bound);
        match set.environment_write() == Access::NONE {
            true => vec![plain],
            false => vec![plain, Offer { set, category: Some(category), gives }],
        }
    }

    /// The project to grant on; where any would do, one that is there.
    fn project(&self, account: Account<'_>) -> Option<ProjectId> {
        match self.scope {
            Scope::All => None,
            Scope::One { project, .. } => Some(project),
            Scope::Any | Scope::Defer => account.first_project(),
        }
    }

    /// The project that a grant on all projects does not cover, since it is not known.
    fn uncovered(&self) -> Option<ProjectId> {
        match self.scope {
            Scope::One { project, covered_by_all: false, .. } => Some(project),
            _ => None,
        }
    }
}

/// The plan with the fewest permission sets of those with one that is enough.
pub(super) fn smallest_plan(
    sets: &PermissionSets,
    is_enough: impl Fn(Plan) -> bool,
) -> Option<Plan> {
    let open = Plan::ALL.into_iter().filter(|plan| *plan != Plan::Cancelled);
    open.filter(|plan| is_enough(*plan)).min_by_key(|plan| sets.allowed_on(*plan).count())
}

/// A permission set, perhaps with a writable environment, and what it gives.
struct Offer<'s> {
    set: &'s PermissionSet,
    category: Option<Category>,
    gives: Access,
}

/// How much several give together.
fn breadth(offers: &[Offer<'_>]) -> impl Ord + use<> {
    let gives = offers.iter().fold(Access::NONE, |all, offer| all.union(offer.gives));
    let whole_account = offers.iter().filter(|offer| !offer.is_of_a_project()).count();
    (whole_account, gives.breadth(), offers.len())
}

impl<'s> Offer<'s> {
    fn is_of_a_project(&self) -> bool {
        self.set.family() == Family::Project
    }

    /// What the narrower one has less of, by weight; the name decides between equals.
    fn breadth(&self) -> impl Ord + use<'s> {
        (!self.is_of_a_project(), self.gives.breadth(), self.set.name(), self.category)
    }

    fn grant(&self, project: Option<ProjectId>) -> String {
        let mut text = self.set.name().to_owned();
        if let Some(project) = project.filter(|_| self.is_of_a_project()) {
            text.push_str(&format!(":{project}"));
        }
        if let Some(category) = self.category {
            text.push_str(&format!("@{category}"));
        }
        text
    }
}
