//! The decision: steps 0 to 8, in their order, each a function that passes or gives a reason.
//!
//! [`decide`] reads one index and allocates nothing on the way to a permit. [`explain`] walks the
//! same functions with a trace that writes down what they say.
//!
//! [`explain`]: super::explain

use std::fmt::Write as _;

use super::facts::{CredentialError, Facts};
use super::index::{GrantView, IdKey, Index, Policy, Token};
use super::path;
use super::permissions::{Access, Categories};
use super::record::{Category, ProjectId, Timestamp, TokenId};
use super::routes::{CaptureId, Captures, Lookup, Project, Requires, Route, Unmatched};
use super::token::{Malformed, has_our_prefix};
use super::verdict::{Bearer, Caller, Denial, Lane, Permit, Reason, SlowRequest, Verdict};

/// Longest `x-portcullis-projects` value, in bytes; a token with more cannot be deferred.
pub const PROJECTS_HEADER_BYTES: usize = 4096;

/// A step of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// 0: one unambiguous message with a canonical path.
    Request,
    /// 1: exactly one credential.
    Credential,
    /// 2: a known token.
    Token,
    /// 3: neither revoked nor outside its time.
    Validity,
    /// 4: the account is open.
    Account,
    /// 5: IP rules.
    IpRules,
    /// 6: a route.
    Route,
    /// 7: the token's own account.
    AccountScope,
    /// 8: permission.
    Permission,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 9] = [
        Self::Request,
        Self::Credential,
        Self::Token,
        Self::Validity,
        Self::Account,
        Self::IpRules,
        Self::Route,
        Self::AccountScope,
        Self::Permission,
    ];

    /// The name in `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Credential => "credential",
            Self::Token => "token",
            Self::Validity => "validity",
            Self::Account => "account",
            Self::IpRules => "ip_rules",
            Self::Route => "route",
            Self::AccountScope => "account_scope",
            Self::Permission => "permission",
        }
    }
}

/// Writes down what the steps find; [`NoTrace`] compiles to nothing.
pub(super) trait Trace {
    fn pass(&mut self, step: Step, detail: impl FnOnce() -> String);
    fn fail(&mut self, step: Step, detail: impl FnOnce() -> String, fix: impl FnOnce() -> String);
}

/// Writes nothing down.
pub(super) struct NoTrace;

impl Trace for NoTrace {
    #[inline]
    fn pass(&mut self, _: Step, _: impl FnOnce() -> String) {}
    #[inline]
    fn fail(&mut self, _: Step, _: impl FnOnce() -> String, _: impl FnOnce() -> String) {}
}

/// Decides about a request by one index.
#[inline]
pub fn decide<'i>(index: &'i Index, facts: &Facts<'_>, now: Timestamp) -> Verdict<'i> {
    judge(index, facts, now, &mut NoTrace)
}

/// Decides again about a request whose token the slow lane has recognised: from step 3, by the
/// newest index, in which the token may be revoked by now.
pub fn resume<'i>(
    index: &'i Index,
    facts: &Facts<'_>,
    token: TokenId,
    lane: Lane,
    now: Timestamp,
) -> Verdict<'i> {
    let trace = &mut NoTrace;
    let judged = request(index, facts, trace).and_then(|target| {
        // The newest index may have other routes.
        if let Some(permit) = public(index, &target) {
            return Ok(permit);
        }
        match index.find_slow(token) {
            Some(token) => admit(index, facts, &target, token, lane, now, trace),
            None => Err(refuse(facts, Reason::UnknownToken, None, lane)),
        }
    });
    judged.map_or_else(Verdict::Deny, Verdict::Allow)
}

pub(super) fn judge<'i, T: Trace>(
    index: &'i Index,
    facts: &Facts<'_>,
    now: Timestamp,
    trace: &mut T,
) -> Verdict<'i> {
    let judged = request(index, facts, trace).and_then(|target| {
        if let Some(permit) = public(index, &target) {
            return Ok(Verdict::Allow(permit));
        }
        let secret = credential(facts, trace)?;
        match index.find_secret(secret) {
            Some(token) => {
                trace.pass(Step::Token, || format!("token {}, found by digest", token.id));
                admit(index, facts, &target, token, Lane::Fast, now, trace).map(Verdict::Allow)
            }
            None => unknown(index, facts, &target, secret, now, trace).map(Verdict::Slow),
        }
    });
    judged.unwrap_or_else(Verdict::Deny)
}

/// What the request asks for.
pub(super) struct Target<'i> {
    route: Option<&'i Route>,
    captures: Captures,
    method_missing: bool,
}

/// Step 0.
pub(super) fn request<'i, T: Trace>(
    index: &'i Index,
    facts: &Facts<'_>,
    trace: &mut T,
) -> Result<Target<'i>, Denial> {
    let policy = index.policy();
    let bad = |trace: &mut T, detail: &dyn std::fmt::Display, fix: &str| {
        trace.fail(Step::Request, || detail.to_string(), || fix.to_owned());
        refuse(facts, Reason::BadRequest, None, Lane::None)
    };
    if let Some(ambiguity) = facts.ambiguity {
        return Err(bad(trace, &ambiguity, "the client must send one unambiguous message"));
    }
    let forms = path::check(facts.path, policy.allow_in_path)
        .map_err(|error| bad(trace, &error, "the client must send the canonical path"))?;
    let target = match policy.routes.lookup(facts.method, facts.host, facts.path) {
        Lookup::Route(route, captures) => {
            Target { route: Some(route), captures, method_missing: false }
        }
        Lookup::MethodNotInTable => {
            Target { route: None, captures: Captures::default(), method_missing: true }
        }
        Lookup::NoPath => {
            Target { route: None, captures: Captures::default(), method_missing: false }
        }
    };
    if !forms.is_none() && target.route.is_some_and(|route| route.captures) {
        let detail = "`allow_in_path` does not hold on routes with captures";
        return Err(bad(trace, &detail, "the client must send the canonical path"));
    }
    trace.pass(Step::Request, || "one message, canonical path".to_owned());
    Ok(target)
}

/// Past step 0 nothing else is asked on a public route.
pub(super) fn public<'i>(index: &'i Index, target: &Target<'i>) -> Option<Permit<'i>> {
    let route = target.route.filter(|route| route.requires == Requires::Public)?;
    Some(Permit {
        policy: index.policy(),
        route: Some(route),
        upstream: route.upstream,
        bearer: None,
        lane: Lane::None,
    })
}

/// Step 1.
#[inline]
fn credential<'r, T: Trace>(facts: &Facts<'r>, trace: &mut T) -> Result<&'r [u8], Denial> {
    match facts.credential.token() {
        Ok(secret) => {
            trace.pass(Step::Credential, || "exactly one, well formed".to_owned());
            Ok(secret)
        }
        Err(error) => {
            trace.fail(
                Step::Credential,
                || describe_credential(error).to_owned(),
                || "send `Authorization: Bearer TOKEN`, once".to_owned(),
            );
            Err(refuse(facts, credential_reason(error), None, Lane::None))
        }
    }
}

fn credential_reason(error: CredentialError) -> Reason {
    match error {
        CredentialError::Missing => Reason::NoCredential,
        CredentialError::Several => Reason::MultipleCredentials,
        CredentialError::Malformed(Malformed::Checksum) => Reason::BadChecksum,
        CredentialError::Scheme | CredentialError::Malformed(_) => Reason::MalformedCredential,
    }
}

fn describe_credential(error: CredentialError) -> &'static str {
    match error {
        CredentialError::Missing => "no credential",
        CredentialError::Several => "more than one credential",
        CredentialError::Scheme => {
            "the scheme is neither `Bearer` nor `Token`, or no token follows it"
        }
        CredentialError::Malformed(Malformed::Length) => {
            "a token made elsewhere has 16 to 512 bytes"
        }
        CredentialError::Malformed(Malformed::Alphabet) => {
            "a token has only the bytes 0x21 to 0x7E"
        }
        CredentialError::Malformed(Malformed::Checksum) => {
            "the prefix is ours but the checksum is wrong: mistyped or cut off"
        }
    }
}

/// Step 2, where the index does not have the token: a case for the slow lane, or unknown.
#[cold]
fn unknown<T: Trace>(
    index: &Index,
    facts: &Facts<'_>,
    target: &Target<'_>,
    secret: &[u8],
    now: Timestamp,
    trace: &mut T,
) -> Result<SlowRequest, Denial> {
    let candidates = match index.policy().candidates_limit == 0 || has_our_prefix(secret) {
        true => Vec::new(),
        false => index.candidates(secret, path_account(facts, target), now),
    };
    if candidates.is_empty() {
        trace.fail(Step::Token, || "no token has this digest, and none could have this hash".to_owned(), || {
            "use a token of `portcullis token list`, or make one: `portcullis token create --account N --name NAME --grant SET`".to_owned()
        });
        return Err(refuse(facts, Reason::UnknownToken, None, Lane::Fast));
    }
    trace.pass(Step::Token, || format!("slow lane: {} candidates by hash", candidates.len()));
    Ok(SlowRequest {
        digest: index.policy().keys.current().digest(secret),
        candidates,
        accepted_scheme: facts.credential.has_accepted_scheme(),
    })
}

fn path_account(facts: &Facts<'_>, target: &Target<'_>) -> Option<u64> {
    let capture = target.route?.account?;
    id(target.captures.text(facts.path, capture))
}

/// Steps 3 to 8, for a token that is known.
pub(super) fn admit<'i, T: Trace>(
    index: &'i Index,
    facts: &Facts<'_>,
    target: &Target<'i>,
    token: Token<'i>,
    lane: Lane,
    now: Timestamp,
    trace: &mut T,
) -> Result<Permit<'i>, Denial> {
    let refused = |reason| refuse(facts, reason, Some(&token), lane);
    validity(&token, now, trace).map_err(refused)?;
    account(&token, trace).map_err(refused)?;
    ip_rules(&token, facts, trace).map_err(refused)?;
    let upstream = route(index, target, trace).map_err(refused)?;
    account_scope(&token, target, facts, trace).map_err(refused)?;
    let granted = permission(index, &token, target, facts, trace).map_err(refused)?;
    Ok(Permit {
        policy: index.policy(),
        route: target.route,
        upstream,
        bearer: Some(Bearer { token, granted }),
        lane,
    })
}

/// Step 3.
#[inline]
fn validity<T: Trace>(token: &Token<'_>, now: Timestamp, trace: &mut T) -> Result<(), Reason> {
    let (reason, since) = if token.revoked {
        (Reason::Revoked, None)
    } else if let Some(from) = token.not_before.filter(|from| now < *from) {
        (Reason::NotYetValid, Some(from))
    } else if let Some(until) = token.expires.filter(|until| now >= *until) {
        (Reason::Expired, Some(until))
    } else {
        trace.pass(Step::Validity, || "active, and within its time".to_owned());
        return Ok(());
    };
    trace.fail(
        Step::Validity,
        || match (reason, since) {
            (Reason::NotYetValid, Some(at)) => format!("not valid before {at}"),
            (Reason::Expired, Some(at)) => format!("expired at {at}"),
            _ => "revoked, for good".to_owned(),
        },
        || {
            format!(
                "make a new one: `portcullis token create --account {} --name NAME --grant SET`",
                token.account.id()
            )
        },
    );
    Err(reason)
}

/// Step 4.
#[inline]
fn account<T: Trace>(token: &Token<'_>, trace: &mut T) -> Result<(), Reason> {
    let account = token.account;
    if account.is_usable() {
        trace.pass(Step::Account, || {
            format!("account {} is open, plan {}", account.id(), account.plan())
        });
        return Ok(());
    }
    let id = account.id();
    match account.open {
        true => trace.fail(
            Step::Account,
            || format!("the plan of account {id} is cancelled"),
            || format!("`portcullis account set-plan {id} PLAN`"),
        ),
        false => trace.fail(
            Step::Account,
            || format!("account {id} is closed"),
            || format!("`portcullis account open {id}`"),
        ),
    }
    Err(Reason::AccountClosed)
}

/// Step 5.
#[inline]
fn ip_rules<T: Trace>(token: &Token<'_>, facts: &Facts<'_>, trace: &mut T) -> Result<(), Reason> {
    let client =
        || facts.client.map_or("an unknown address".to_owned(), |client| client.to_string());
    let id = token.account.id();
    if let Some(rules) = &token.account.ip_rules
        && !rules.admits(facts.client)
    {
        let why = || match facts.client.and_then(|client| rules.matching(client)) {
            Some((action, cidr)) => format!(
                "{}: the rule {action:?} {cidr} of account {id} matches most specifically",
                client()
            ),
            None => {
                format!("{}: no rule of account {id} matches, and it has allow rules", client())
            }
        };
        trace.fail(Step::IpRules, why, || {
            format!("`portcullis ip-rule allow --account {id} {}`", client())
        });
        return Err(Reason::IpDenied);
    }
    if let Some(narrowing) = token.allow_ips
        && !facts.client.is_some_and(|client| narrowing.contains(client))
    {
        trace.fail(Step::IpRules, || format!("{}: outside the token's own allow_ips", client()), || {
            format!("make a token that may be used from there: `portcullis token create --account {id} --allow-ip {} …`", client())
        });
        return Err(Reason::TokenIpDenied);
    }
    trace.pass(Step::IpRules, || match token.account.ip_rules {
        Some(_) => format!("{} is let in by the rules of account {id}", client()),
        None => format!("the rules of account {id} are not enabled"),
    });
    Ok(())
}

/// Step 6: gives the upstream.
#[inline]
fn route<T: Trace>(index: &Index, target: &Target<'_>, trace: &mut T) -> Result<usize, Reason> {
    if let Some(route) = target.route {
        trace.pass(Step::Route, || route.path().to_owned());
        return Ok(route.upstream);
    }
    match index.policy().routes.unmatched() {
        Unmatched::Authenticated { upstream } if !target.method_missing => {
            trace.pass(Step::Route, || "none, but any valid token may pass unmatched".to_owned());
            Ok(upstream)
        }
        Unmatched::Authenticated { .. } | Unmatched::Deny => {
            let detail = || match target.method_missing {
                true => "the path is in the route table, but not with this method".to_owned(),
                false => "no route has this host and path".to_owned(),
            };
            trace.fail(Step::Route, detail, || {
                "add a [[route]] to routes.toml, then reload".to_owned()
            });
            Err(Reason::NoRoute)
        }
    }
}

/// Step 7.
#[inline]
fn account_scope<T: Trace>(
    token: &Token<'_>,
    target: &Target<'_>,
    facts: &Facts<'_>,
    trace: &mut T,
) -> Result<(), Reason> {
    let Some(capture) = target.route.and_then(|route| route.account) else {
        trace.pass(Step::AccountScope, || "the path names no account".to_owned());
        return Ok(());
    };
    let text = target.captures.text(facts.path, capture);
    let own = token.account.id();
    if id(text) == Some(own) {
        trace.pass(Step::AccountScope, || format!("account {own} is the token's"));
        return Ok(());
    }
    trace.fail(
        Step::AccountScope,
        || format!("the path names account {text}, the token is of account {own}"),
        || format!("use a token of account {text}, or the path of account {own}"),
    );
    Err(Reason::WrongAccount)
}

/// What step 8 found, for the upstream to be told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Granted {
    /// Nothing to tell.
    Plain,
    /// All projects.
    AllProjects,
    /// Those projects in which the token has this access.
    Projects(Access),
}

/// Step 8.
#[inline]
fn permission<T: Trace>(
    index: &Index,
    token: &Token<'_>,
    target: &Target<'_>,
    facts: &Facts<'_>,
    trace: &mut T,
) -> Result<Granted, Reason> {
    let Some(route) = target.route else {
        trace.pass(Step::Permission, || "any valid token".to_owned());
        return Ok(Granted::Plain);
    };
    let need = match &route.requires {
        Requires::Permission(need) => *need,
        Requires::OwnUser(capture) => return own_user(token, target, facts, *capture, trace),
        Requires::Authenticated if matches!(route.project, Project::All | Project::Path(_)) => {
            trace.pass(Step::Permission, || "any valid token".to_owned());
            return Ok(Granted::Plain);
        }
        Requires::Authenticated | Requires::Public => Access::NONE,
    };
    let policy = index.policy();
    let scope = scope(index, token, route, target, facts);
    let granted = scope
        .and_then(|scope| holds(policy, token, route, scope, need).ok_or(Reason::NoPermission));
    match granted {
        Ok(_) => trace.pass(Step::Permission, || describe_need(policy, need)),
        Err(reason) => trace.fail(
            Step::Permission,
            || describe_lack(policy, token, route, scope, need, reason),
            || suggest_grant(policy, token, scope, need),
        ),
    }
    granted
}

fn own_user<T: Trace>(
    token: &Token<'_>,
    target: &Target<'_>,
    facts: &Facts<'_>,
    capture: CaptureId,
    trace: &mut T,
) -> Result<Granted, Reason> {
    let wanted = target.captures.text(facts.path, capture);
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
        || format!("use a personal token of user {wanted}"),
    );
    Err(Reason::NoPermission)
}

/// Which grants count for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
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
fn scope(
    index: &Index,
    token: &Token<'_>,
    route: &Route,
    target: &Target<'_>,
    facts: &Facts<'_>,
) -> Result<Scope, Reason> {
    let capture =
        |capture| id(target.captures.text(facts.path, capture)).ok_or(Reason::NoPermission);
    let one = |project, category| Scope::One {
        project,
        category,
        covered_by_all: route.account.is_some() || token.account.has_project(project),
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
            let key = IdKey { account: token.account.id(), id: capture(*from)?, index: *name };
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

/// The union of the grants that count and are let through by the filter; `None` without any.
#[inline]
fn held(
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
fn bounded(policy: &Policy, token: &Token<'_>, access: Access) -> Access {
    match token.user {
        Some(user) => access.intersection(policy.permission_sets.licence_bound(user.licence)),
        None => access,
    }
}

/// Whether a grant counts: a service token's does only while its account's plan allows the set.
#[inline]
fn counts(policy: &Policy, token: &Token<'_>, grant: &GrantView) -> bool {
    token.user.is_some() || policy.permission_sets.set(grant.set).allowed_on(token.account.plan())
}

#[inline]
fn gives(policy: &Policy, grant: &GrantView, category: Option<Category>) -> Access {
    let set = policy.permission_sets.set(grant.set);
    match grant.categories != Categories::default() && grant.categories.writable(category) {
        true => set.access().union(set.environment_write()),
        false => set.access(),
    }
}

/// The projects, ascending, in which the token's grants on them, with those on all projects,
/// give what is needed. Linear: an index keeps a token's grants by project.
fn projects_with<'t>(
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

pub(super) fn write_projects(
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

pub(super) fn write_permission_sets(policy: &Policy, token: &Token<'_>, out: &mut String) {
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

/// An id of a path: `0|[1-9][0-9]{0,18}`.
#[inline]
pub(super) fn id(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 19 || (bytes[0] == b'0' && bytes.len() > 1) {
        return None;
    }
    bytes.iter().try_fold(0_u64, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0'))
    })
}

/// The id in a query parameter. Twice, or so encoded that another parser could see it where this
/// one does not: a bad request.
fn query_id(query: Option<&str>, parameter: &str) -> Result<Option<ProjectId>, Reason> {
    let mut found = None;
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Some parsers also end a parameter at `;`.
        let hidden = pair.contains(';') && pair.split(';').any(|part| named(part, parameter));
        let encoded = name.contains(['%', '+']) && decodes_to(name, parameter);
        if hidden || encoded {
            return Err(Reason::BadRequest);
        }
        if name != parameter {
            continue;
        }
        if found.replace(value).is_some() || value.contains(['%', '+']) {
            return Err(Reason::BadRequest);
        }
    }
    // Not before the end: what is there twice is a bad request, whatever the first one says.
    found.map(|value| id(value).ok_or(Reason::NoPermission)).transpose()
}

fn named(pair: &str, parameter: &str) -> bool {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    name == parameter || decodes_to(name, parameter)
}

/// Whether a percent-encoded name is the parameter's once decoded, in any case.
fn decodes_to(name: &str, parameter: &str) -> bool {
    let mut bytes = name.bytes();
    let decoded = std::iter::from_fn(|| match bytes.next()? {
        b'%' => {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            Some((high << 4 | low) as u8)
        }
        b'+' => Some(b' '),
        byte => Some(byte),
    });
    decoded.eq(parameter.bytes())
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

fn refuse(facts: &Facts<'_>, reason: Reason, token: Option<&Token<'_>>, lane: Lane) -> Denial {
    Denial {
        reason,
        caller: token.map(|token| Caller {
            token_id: token.id,
            account_id: token.account.id(),
            user_id: token.user.map(|user| user.id),
        }),
        accepted_scheme: facts.credential.has_accepted_scheme(),
        lane,
    }
}

fn describe_need(policy: &Policy, need: Access) -> String {
    match need == Access::NONE {
        true => "any grant".to_owned(),
        false => format!("the grants give {}", policy.permission_sets.describe(need)),
    }
}

fn describe_lack(
    policy: &Policy,
    token: &Token<'_>,
    route: &Route,
    scope: Result<Scope, Reason>,
    need: Access,
    reason: Reason,
) -> String {
    if reason == Reason::BadRequest {
        return "the project's query parameter is there twice, or encoded".to_owned();
    }
    let place = match scope {
        Err(_) => match &route.project {
            Project::Index { index, .. } => {
                let index = policy.routes.name_of(*index);
                return format!(
                    "the id in the path is not in index {index} of account {}",
                    token.account.id()
                );
            }
            _ => return "the project id is not a number".to_owned(),
        },
        Ok(Scope::All) => "on all projects".to_owned(),
        Ok(Scope::One { project, category, .. }) => match category {
            Some(category) => format!("on project {project}, environment category {category}"),
            None => format!("on project {project}"),
        },
        Ok(Scope::Any | Scope::Defer) => "on any project".to_owned(),
    };
    let suspended = token.grants.iter().filter(|grant| !counts(policy, token, grant)).count();
    let suspended = match suspended {
        0 => String::new(),
        count => format!(
            "; {count} grants are suspended, since plan {} does not allow them",
            token.account.plan()
        ),
    };
    format!(
        "{} is needed {place}, and the grants do not give it{suspended}",
        policy.permission_sets.describe(need)
    )
}

fn suggest_grant(
    policy: &Policy,
    token: &Token<'_>,
    scope: Result<Scope, Reason>,
    need: Access,
) -> String {
    let account = token.account.id();
    let project = match scope {
        Ok(Scope::One { project, .. }) => format!(":{project}"),
        Ok(_) => String::new(),
        Err(Reason::BadRequest) => {
            return "the client must send the parameter once, unencoded".to_owned();
        }
        Err(_) => {
            return format!(
                "where the id is right: `portcullis id-index set --account {account} INDEX ID PROJECT`"
            );
        }
    };
    let plan = token.account.plan();
    let mut sets = policy.permission_sets.giving(need).filter(|name| {
        let allowed = |id| policy.permission_sets.set(id).allowed_on(plan);
        token.user.is_some() || policy.permission_sets.find(name).is_some_and(allowed)
    });
    match sets.next() {
        Some(set) => format!(
            "a token with such a grant: `portcullis token create --account {account} --name NAME --grant {set}{project}`; other sets that give it: {}",
            sets.collect::<Vec<_>>().join(", ")
        ),
        None => format!(
            "no permission set that plan {plan} allows gives it: `portcullis account set-plan {account} PLAN`"
        ),
    }
}
