//! The decision: steps 0 to 8, in their order, each a function that passes or gives a reason.
//!
//! [`decide`] reads one index and allocates nothing on the way to a permit. [`explain`] walks the
//! same functions with a trace that writes down what they say.
//!
//! What each step finds is put into words in `describe`, and what would change it in `fix`, only
//! where somebody listens.
//!
//! [`explain`]: super::explain

mod describe;
mod fix;
mod holdings;
mod ids;
mod narrowest;
mod permission;
mod steps;

pub use fix::Fix;
pub(super) use fix::unknown as fix_unknown;
pub(super) use holdings::{held, write_permission_sets, write_projects};
pub(super) use permission::Granted;
pub use permission::PROJECTS_HEADER_BYTES;

use describe::{describe_credential, describe_recalled, describe_unknown};
use ids::id;
use permission::permission;
use steps::{account, account_scope, ip_rules, route, validity};

use super::digest::Digest;
use super::facts::{CredentialError, Facts};
use super::index::{IdKey, Index, Sought, Token};
use super::path::{self, Allowed};
use super::record::{Timestamp, TokenId};
use super::routes::{Captures, Lookup, Project, Requires, Route};
use super::token::{FOREIGN_LEN, Malformed, has_our_prefix};
use super::verdict::{Bearer, Caller, Denial, Lane, Permit, Reason, SlowRequest, Verdict};

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
    /// 9: rate limits, which are judged after a decision: see [`crate::limits`].
    RateLimits,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 10] = [
        Self::Request,
        Self::Credential,
        Self::Token,
        Self::Validity,
        Self::Account,
        Self::IpRules,
        Self::Route,
        Self::AccountScope,
        Self::Permission,
        Self::RateLimits,
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
            Self::RateLimits => "rate_limits",
        }
    }
}

/// Writes down what the steps find; [`NoTrace`] compiles to nothing.
pub(super) trait Trace {
    fn pass(&mut self, step: Step, detail: impl FnOnce() -> String);
    fn fail(&mut self, step: Step, detail: impl FnOnce() -> String, fix: impl FnOnce() -> Fix);
}

/// Writes nothing down.
pub(super) struct NoTrace;

impl Trace for NoTrace {
    #[inline]
    fn pass(&mut self, _: Step, _: impl FnOnce() -> String) {}
    #[inline]
    fn fail(&mut self, _: Step, _: impl FnOnce() -> String, _: impl FnOnce() -> Fix) {}
}

/// Decides about a request by one index.
#[inline]
pub fn decide<'i>(index: &'i Index, facts: &Facts<'_>, now: Timestamp) -> Verdict<'i> {
    decide_recalling(index, facts, now, |_| None)
}

/// Likewise, where the slow lane remembers secrets: `recall` is asked by a secret's keyed digest,
/// before it is looked for whose it could be. It gives the token, if that has not changed since.
#[inline]
pub fn decide_recalling<'i>(
    index: &'i Index,
    facts: &Facts<'_>,
    now: Timestamp,
    recall: impl FnOnce(&Digest) -> Option<TokenId>,
) -> Verdict<'i> {
    judge(index, facts, now, recall, &mut NoTrace)
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
        match index.find_slow(token).or_else(|| upgraded(index, facts, token)) {
            Some(token) => admit(index, facts, &target, token, lane, now, trace),
            None => Err(refuse(facts, Reason::UnknownToken, None, lane)),
        }
    });
    judged.map_or_else(Verdict::Deny, Verdict::Allow)
}

/// The token that the slow lane recognised, where it has become a fast one meanwhile.
#[cold]
fn upgraded<'i>(index: &'i Index, facts: &Facts<'_>, id: TokenId) -> Option<Token<'i>> {
    let secret = facts.credential.token().ok()?;
    index.find_secret(secret).filter(|token| token.id == id)
}

pub(super) fn judge<'i, T: Trace>(
    index: &'i Index,
    facts: &Facts<'_>,
    now: Timestamp,
    recall: impl FnOnce(&Digest) -> Option<TokenId>,
    trace: &mut T,
) -> Verdict<'i> {
    // Memory brings what the look-up needs meanwhile: the token's slot while credential and path
    // are checked, and what that points to while the route is found.
    let mut sought = seek(index, facts);
    let presented = facts.credential.token();
    let request = canonical(index, facts, trace).and_then(|forms| {
        sought.iter_mut().for_each(|sought| index.approach(sought));
        target(index, facts, forms, trace)
    });
    let judged = request.and_then(|target| {
        if let Some(permit) = public(index, &target) {
            return Ok(Verdict::Allow(permit));
        }
        seek_id(index, facts, &target);
        let case = Case { index, facts, target: &target };
        let secret = credential(&case, presented, trace)?;
        // It was begun for every credential that can pass.
        let sought = sought.unwrap_or_else(|| index.seek_at_once(secret));
        match index.find_sought(&sought, secret) {
            Some(token) => {
                trace.pass(Step::Token, || format!("token {}, found by digest", token.id));
                admit(index, facts, &target, token, Lane::Fast, now, trace).map(Verdict::Allow)
            }
            None => match recalled(index, secret, &sought.digest, recall) {
                Some(token) => {
                    trace.pass(Step::Token, || describe_recalled(&token));
                    admit(index, facts, &target, token, Lane::Cached, now, trace)
                        .map(Verdict::Allow)
                }
                None => unknown(&case, secret, sought.digest, now, trace).map(Verdict::Slow),
            },
        }
    });
    judged.unwrap_or_else(Verdict::Deny)
}

/// Begins to look up what is presented as a token, unless it is far too long for one.
#[inline]
fn seek<'i>(index: &'i Index, facts: &Facts<'_>) -> Option<Sought<'i>> {
    let presented = facts.credential.presented().ok()?;
    (presented.len() <= *FOREIGN_LEN.end()).then(|| index.seek(presented))
}

/// Begins to look up the id that the project follows from, in the account that the path names: it
/// is the token's, or the request is refused before.
#[inline]
fn seek_id(index: &Index, facts: &Facts<'_>, target: &Target<'_>) {
    let seek = |route: &Route| {
        let Project::Index { index: name, capture } = &route.project else { return None };
        let account = path_account(facts, target)?;
        let id = id(target.captures.text(facts.path, *capture))?;
        let key = IdKey { account, id, index: *name };
        index.seek_id(key);
        Some(())
    };
    target.route.and_then(seek);
}

/// What is decided about.
#[derive(Clone, Copy)]
pub(super) struct Case<'c> {
    pub(super) index: &'c Index,
    pub(super) facts: &'c Facts<'c>,
    pub(super) target: &'c Target<'c>,
}

/// What the request asks for.
pub(super) struct Target<'i> {
    route: Option<&'i Route>,
    captures: Captures,
    barred: Option<Barred<'i>>,
}

/// Why a path that is in the route table has no route for a request.
#[derive(Clone, Copy)]
pub(super) enum Barred<'i> {
    /// It is there with other methods.
    Method,
    /// The client's certificate bears none of the names that this one asks for.
    Certificate(&'i Route),
}

/// Step 0.
pub(super) fn request<'i, T: Trace>(
    index: &'i Index,
    facts: &Facts<'_>,
    trace: &mut T,
) -> Result<Target<'i>, Denial> {
    let forms = canonical(index, facts, trace)?;
    target(index, facts, forms, trace)
}

/// Step 0, what holds for every route: which forms its path has that few may have.
#[inline]
fn canonical<T: Trace>(index: &Index, facts: &Facts<'_>, trace: &mut T) -> Result<Allowed, Denial> {
    if let Some(ambiguity) = facts.ambiguity {
        let fix = "the client must send one unambiguous message";
        return Err(bad_request(facts, trace, &ambiguity, fix));
    }
    path::check(facts.path, index.policy().allow_in_path).map_err(|error| {
        bad_request(facts, trace, &error, "the client must send the canonical path")
    })
}

/// Step 0, what is asked for.
#[inline]
fn target<'i, T: Trace>(
    index: &'i Index,
    facts: &Facts<'_>,
    forms: Allowed,
    trace: &mut T,
) -> Result<Target<'i>, Denial> {
    let policy = index.policy();
    let target = match policy.routes.lookup(facts.method, facts.host, facts.path) {
        Lookup::Route(route, captures) => Target { route: Some(route), captures, barred: None },
        Lookup::MethodNotInTable => {
            Target { route: None, captures: Captures::default(), barred: Some(Barred::Method) }
        }
        Lookup::NoPath => Target { route: None, captures: Captures::default(), barred: None },
    };
    if !forms.is_none() && target.route.is_some_and(|route| route.captures) {
        let detail = "such a path is not let through to routes with captures";
        let fix = "the client must send the canonical path";
        return Err(bad_request(facts, trace, &detail, fix));
    }
    trace.pass(Step::Request, || "one message, canonical path".to_owned());
    match target.route {
        Some(route) if !route.admits(facts.client_names) => {
            let barred = Some(Barred::Certificate(route));
            Ok(Target { route: None, captures: Captures::default(), barred })
        }
        _ => Ok(target),
    }
}

fn bad_request<T: Trace>(
    facts: &Facts<'_>,
    trace: &mut T,
    detail: &dyn std::fmt::Display,
    fix: &str,
) -> Denial {
    trace.fail(Step::Request, || detail.to_string(), || Fix::advice(fix));
    refuse(facts, Reason::BadRequest, None, Lane::None)
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
fn credential<P, T: Trace>(
    case: &Case<'_>,
    presented: Result<P, CredentialError>,
    trace: &mut T,
) -> Result<P, Denial> {
    match presented {
        Ok(presented) => {
            trace.pass(Step::Credential, || "exactly one, well formed".to_owned());
            Ok(presented)
        }
        Err(error) => {
            trace.fail(
                Step::Credential,
                || describe_credential(error).to_owned(),
                || fix::credential(case, error),
            );
            Err(refuse(case.facts, credential_reason(error), None, Lane::None))
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

/// The token that the slow lane remembers a secret to be.
#[cold]
fn recalled<'i>(
    index: &'i Index,
    secret: &[u8],
    digest: &Digest,
    recall: impl FnOnce(&Digest) -> Option<TokenId>,
) -> Option<Token<'i>> {
    if index.policy().candidates_limit == 0 || !index.has_slow() || has_our_prefix(secret) {
        return None;
    }
    index.find_slow(recall(digest)?)
}

/// Step 2, where the index does not have the token: a case for the slow lane, or unknown.
#[cold]
fn unknown<T: Trace>(
    case: &Case<'_>,
    secret: &[u8],
    digest: Digest,
    now: Timestamp,
    trace: &mut T,
) -> Result<SlowRequest, Denial> {
    let Case { index, facts, target } = *case;
    let candidates = match index.policy().candidates_limit == 0 || has_our_prefix(secret) {
        true => Vec::new(),
        false => index.candidates(secret, path_account(facts, target), now),
    };
    if candidates.is_empty() {
        trace.fail(Step::Token, || describe_unknown(index, secret), || fix::unknown(case));
        return Err(refuse(facts, Reason::UnknownToken, None, Lane::Fast));
    }
    trace.pass(Step::Token, || format!("slow lane: {} candidates by hash", candidates.len()));
    Ok(SlowRequest { digest, candidates, accepted_scheme: facts.credential.has_accepted_scheme() })
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
    let case = Case { index, facts, target };
    let refused = |reason| refuse(facts, reason, Some(&token), lane);
    validity(&case, &token, now, trace).map_err(refused)?;
    account(&case, &token, trace).map_err(refused)?;
    ip_rules(&case, &token, trace).map_err(refused)?;
    let upstream = route(&case, trace).map_err(refused)?;
    account_scope(&case, &token, trace).map_err(refused)?;
    let granted = permission(&case, &token, trace).map_err(refused)?;
    Ok(Permit {
        policy: index.policy(),
        route: target.route,
        upstream,
        bearer: Some(Bearer { token, granted }),
        lane,
    })
}

fn refuse(facts: &Facts<'_>, reason: Reason, token: Option<&Token<'_>>, lane: Lane) -> Denial {
    Denial {
        reason,
        caller: token.map(Caller::of),
        accepted_scheme: facts.credential.has_accepted_scheme(),
        lane,
    }
}
