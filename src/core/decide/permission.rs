//! Step 8: whether the grants that cover the request's project give what the route requires.

use super::describe::{describe_lack, describe_need};
use super::holdings::{held, projects_with};
use super::ids::{digits, id, query_id};
use super::{Case, Step, Target, Trace, fix};
use crate::core::facts::Facts;
use crate::core::index::{Account, GrantView, IdKey, Index, Policy, Token};
use crate::core::permissions::Access;
use crate::core::record::{Category, ProjectId};
use crate::core::routes::{CaptureId, Project, Requires, Route};
use crate::core::verdict::Reason;

/// Longest `x-portcullis-projects` value, in bytes; a token with more cannot be deferred.
pub const PROJECTS_HEADER_BYTES: usize = 4096;

/// What step 8 found, for the upstream to be told.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) enum Granted {
    /// Nothing to tell.
    Plain,
    /// All projects.
    AllProjects,
    /// Those projects in which the token has this access.
    Projects(Access),
}

/// What step 8 asks of a token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    /// To be valid.
    AnyToken,
    /// To be of the user whom the path names.
    OwnUser(CaptureId),
    /// To hold this access in the request's project.
    Held(Access),
}

impl Need {
    /// Of a request by this route.
    #[inline]
    pub(super) fn of(route: &Route) -> Self {
        match &route.requires {
            Requires::Permission(need) => Self::Held(*need),
            Requires::OwnUser(capture) => Self::OwnUser(*capture),
            Requires::Authenticated if matches!(route.project, Project::All | Project::Path(_)) => {
                Self::AnyToken
            }
            Requires::Authenticated | Requires::Public => Self::Held(Access::NONE),
        }
    }
}

/// Step 8.
#[inline]
pub(super) fn permission<T: Trace>(
    case: &Case<'_>,
    token: &Token<'_>,
    trace: &mut T,
) -> Result<Granted, Reason> {
    let Case { index, facts, target } = *case;
    let Some(route) = target.route else {
        trace.pass(Step::Permission, || "any valid token".to_owned());
        return Ok(Granted::Plain);
    };
    let need = match Need::of(route) {
        Need::Held(need) => need,
        Need::OwnUser(capture) => return own_user(case, token, capture, trace),
        Need::AnyToken => {
            trace.pass(Step::Permission, || "any valid token".to_owned());
            return Ok(Granted::Plain);
        }
    };
    let policy = index.policy();
    let scope = scope(index, token.account, route, target, facts);
    let granted = scope
        .and_then(|scope| holds(policy, token, route, scope, need).ok_or(Reason::NoPermission));
    match granted {
        Ok(_) => trace.pass(Step::Permission, || describe_need(policy, need)),
        Err(_) => trace.fail(
            Step::Permission,
            || describe_lack(case, token, route, scope, need),
            || fix::lack(case, token, scope, need),
        ),
    }
    granted
}

fn own_user<T: Trace>(
    case: &Case<'_>,
    token: &Token<'_>,
    capture: CaptureId,
    trace: &mut T,
) -> Result<Granted, Reason> {
    let wanted = case.target.captures.text(case.facts.path, capture);
    if token.user.is_some_and(|user| Some(user.id) == id(wanted)) {
        trace.pass(Step::Permission, || format!("user {wanted} is the token's"));
        return Ok(Granted::Plain);
    }
    trace.fail(
        Step::Permission,
        || match token.user {
            Some(user) => format!("the path names user {wanted}, the token is of user {}", user.id),
            None => "only a personal token may, and this is a service token".to_owned(),
        },
        || fix::own_user(case, token, wanted),
    );
    Err(Reason::NoPermission)
}

/// Which grants count for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those on all projects.
    All,
    /// Those on this project, and those on all if they cover it.
    One { project: ProjectId, category: Option<Category>, covered_by_all: bool },
    /// Those on any one project.
    Any,
    /// Likewise, and the upstream is told which.
    Defer,
}

#[inline]
pub(super) fn scope(
    index: &Index,
    account: Account<'_>,
    route: &Route,
    target: &Target<'_>,
    facts: &Facts<'_>,
) -> Result<Scope, Reason> {
    let capture =
        |capture| id(target.captures.text(facts.path, capture)).ok_or(Reason::NoPermission);
    let one = |project, category| Scope::One {
        project,
        category,
        covered_by_all: route.account.is_some() || account.has_project(project),
    };
    Ok(match &route.project {
        Project::All => Scope::All,
        Project::Any => Scope::Any,
        Project::Defer if route.enforces_projects => Scope::Defer,
        Project::Defer => Scope::All,
        Project::Path(project) => one(capture(*project)?, None),
        Project::Query(parameter) => match query_id(facts.query, parameter)? {
            Some(project) => one(project, None),
            None => Scope::All,
        },
        Project::Index { index: name, capture: from } => {
            let key = IdKey { account: account.id(), id: capture(*from)?, index: *name };
            let row = index.id_row(key).ok_or(Reason::NoPermission)?;
            one(row.project, row.category)
        }
    })
}

/// Whether the token's grants give what is needed in the scope.
#[inline]
fn holds(
    policy: &Policy,
    token: &Token<'_>,
    route: &Route,
    scope: Scope,
    need: Access,
) -> Option<Granted> {
    match scope {
        Scope::All => {
            let held = held(policy, token, None, |grant| grant.project.is_none())?;
            // An upstream that enforces nothing is told all the same what holds.
            let granted =
                if route.project == Project::Defer { Granted::AllProjects } else { Granted::Plain };
            held.covers(need).then_some(granted)
        }
        Scope::One { project, category, covered_by_all } => {
            let covers =
                |grant: &GrantView| grant.project.map_or(covered_by_all, |on| on == project);
            held(policy, token, category, covers)?.covers(need).then_some(Granted::Plain)
        }
        Scope::Any => {
            let everywhere = held(policy, token, None, |grant| grant.project.is_none());
            let somewhere = || projects_with(policy, token, need).next().is_some();
            (everywhere.is_some_and(|held| held.covers(need)) || somewhere())
                .then_some(Granted::Plain)
        }
        Scope::Defer => {
            let everywhere = held(policy, token, None, |grant| grant.project.is_none());
            if everywhere.is_some_and(|held| held.covers(need)) {
                return Some(Granted::AllProjects);
            }
            let bytes: usize =
                projects_with(policy, token, need).map(|project| digits(project) + 1).sum();
            (1..=PROJECTS_HEADER_BYTES + 1).contains(&bytes).then_some(Granted::Projects(need))
        }
    }
}
