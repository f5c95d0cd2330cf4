//! One request: decided, then forwarded or refused, and counted.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Request, Response, request};
use hyper::body::Incoming;

use super::body::GateBody;
use super::connection::Connection;
use super::facts::facts;
use super::refusal::{Format, Refusal};
use super::worker::{Setup, Worker};
use crate::core::decide::{decide, resume};
use crate::core::facts::Facts;
use crate::core::index::Index;
use crate::core::record::{Timestamp, TokenId};
use crate::core::token::Secret;
use crate::core::verdict::{Denial, Lane, Permit, Reason, SlowRequest, Verdict};
use crate::legacy::{LaneVerdict, VerifyRequest};
use crate::observe::metrics::Origin;
use crate::proxy::{Identity, Plan, forward};

/// Seconds after which a caller may try again where nothing better is known.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Answers one request.
pub(crate) async fn answer(
    worker: &Rc<Worker>,
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<GateBody> {
    let started = Instant::now();
    let (head, incoming) = request.into_parts();
    let decision_id = worker.ids.next();
    let decided = match first(worker, connection, &head, &decision_id, started) {
        First::Decided(decided) => decided,
        First::Slow(slow) => {
            Box::pin(ask_lane(worker, connection, &head, &decision_id, started, *slow)).await
        }
    };
    match decided {
        Decided::Forward(plan, upstream) => {
            pass_on(worker, connection, plan, upstream, head, incoming, started).await
        }
        Decided::Refuse(refusal) => {
            worker.metrics.answered(Origin::Gate, refusal.status().as_u16(), None);
            worker.metrics.overhead(started.elapsed());
            refusal.response(Format::of(&head.headers), Some(decision_id))
        }
    }
}

/// Forwards a request that was permitted; `upstream` is the position of its upstream.
async fn pass_on(
    worker: &Worker,
    connection: &Connection,
    plan: Plan,
    upstream: usize,
    head: request::Parts,
    incoming: Incoming,
    started: Instant,
) -> Response<GateBody> {
    let format = Format::of(&head.headers);
    let (pool, decision_id) = (plan.pool.clone(), plan.decision_id.clone());
    let named = Some((upstream, pool.upstream().name.as_str()));
    let deciding = started.elapsed();
    let watch = worker.deadlines.watch();
    match forward(plan, head, incoming, watch, &connection.watch).await {
        Ok(forwarded) => {
            worker.metrics.upstream(forwarded.took);
            worker.metrics.overhead(started.elapsed().saturating_sub(forwarded.took));
            worker.metrics.answered(Origin::Upstream, forwarded.head.status.as_u16(), named);
            Response::from_parts(forwarded.head, GateBody::upstream(forwarded.body))
        }
        Err(refusal) => {
            worker.metrics.overhead(deciding);
            worker.metrics.answered(Origin::Gate, refusal.status().as_u16(), named);
            refusal.response(format, Some(decision_id))
        }
    }
}

/// What the first look at the index comes to.
enum First {
    Decided(Decided),
    Slow(Box<Slow>),
}

/// What is to be done with a request, independent of the index.
enum Decided {
    /// To be forwarded, to the upstream at this position.
    Forward(Plan, usize),
    Refuse(Refusal),
}

/// A question for the slow lane.
struct Slow {
    request: SlowRequest,
    secret: Secret,
    client: Option<IpAddr>,
}

/// The first decision. The index is borrowed only here, never across a wait.
fn first(
    worker: &Worker,
    connection: &Connection,
    head: &request::Parts,
    decision_id: &HeaderValue,
    started: Instant,
) -> First {
    let live = worker.shared.live();
    let setup = worker.setup(&live.config);
    let facts = facts(head, connection.peer, &setup.config.gate.credential_headers, &setup.trusted);
    let Some(index) = &live.index else {
        let reason = facts.ambiguity.map_or(Reason::NoIndex, |_| Reason::BadRequest);
        let denial = deny(&facts, reason, Lane::None);
        return First::Decided(refuse(
            worker,
            &setup,
            &facts,
            denial,
            RETRY_AFTER_SECONDS,
            started,
        ));
    };
    let verdict = match decide(index, &facts, now()) {
        Verdict::Slow(request) => match remembered(worker, index, &request) {
            Some(token) => resume(index, &facts, token, Lane::Cached, now()),
            None => return slow(worker, &setup, &facts, request, started),
        },
        verdict => verdict,
    };
    First::Decided(conclude(worker, &setup, &facts, verdict, decision_id, started))
}

/// The token that the lane remembers this secret to be, unless it has changed since.
fn remembered(worker: &Worker, index: &Index, request: &SlowRequest) -> Option<TokenId> {
    let remembered = worker.lane.load().as_ref()?.remembered(&request.digest)?;
    let current = index.slow_version(remembered.token_id) == Some(remembered.version);
    current.then_some(remembered.token_id)
}

fn slow(
    worker: &Worker,
    setup: &Setup,
    facts: &Facts<'_>,
    request: SlowRequest,
    started: Instant,
) -> First {
    if let Some(wait) = setup.limits.lane_closed(facts.client, Instant::now) {
        let denial = deny(facts, Reason::FailureLimited, Lane::Slow);
        return First::Decided(refuse(worker, setup, facts, denial, wait, started));
    }
    let secret = facts.credential.token().ok().and_then(|secret| std::str::from_utf8(secret).ok());
    match secret.map(|secret| Secret::parse(secret.to_owned())) {
        Some(Ok(secret)) if worker.lane.load().is_some() => {
            First::Slow(Box::new(Slow { request, secret, client: facts.client }))
        }
        _ => {
            let denial = deny(facts, Reason::UnknownToken, Lane::Slow);
            First::Decided(refuse(worker, setup, facts, denial, RETRY_AFTER_SECONDS, started))
        }
    }
}

/// Waits for the slow lane, then decides again by what is in force by then.
async fn ask_lane(
    worker: &Worker,
    connection: &Connection,
    head: &request::Parts,
    decision_id: &HeaderValue,
    started: Instant,
    slow: Slow,
) -> Decided {
    let Slow { request, secret, client } = slow;
    let SlowRequest { digest, candidates, .. } = request;
    let lane = worker.lane.load_full();
    let verdict = match &lane {
        Some(lane) => lane.verify(VerifyRequest { digest, secret, candidates, client }).await,
        None => LaneVerdict::Mismatch,
    };
    let live = worker.shared.live();
    let setup = worker.setup(&live.config);
    let facts = facts(head, connection.peer, &setup.config.gate.credential_headers, &setup.trusted);
    let refuse = |reason, retry_after| {
        refuse(worker, &setup, &facts, deny(&facts, reason, Lane::Slow), retry_after, started)
    };
    match (verdict, &live.index) {
        (LaneVerdict::Matched { token_id, .. }, Some(index)) => {
            let verdict = resume(index, &facts, token_id, Lane::Slow, now());
            conclude(worker, &setup, &facts, verdict, decision_id, started)
        }
        (LaneVerdict::Matched { .. }, None) => refuse(Reason::NoIndex, RETRY_AFTER_SECONDS),
        (LaneVerdict::Mismatch, _) => refuse(Reason::LegacyMismatch, RETRY_AFTER_SECONDS),
        (LaneVerdict::Full { retry_after }, _) => {
            refuse(Reason::LaneFull, retry_after.as_secs().max(RETRY_AFTER_SECONDS))
        }
        (LaneVerdict::Throttled { retry_after }, _) => {
            refuse(Reason::FailureLimited, retry_after.as_secs().max(RETRY_AFTER_SECONDS))
        }
        (LaneVerdict::Timeout, _) => {
            let retry_after = lane.map_or(RETRY_AFTER_SECONDS, |lane| lane.retry_after().as_secs());
            refuse(Reason::LaneTimeout, retry_after)
        }
    }
}

fn conclude(
    worker: &Worker,
    setup: &Setup,
    facts: &Facts<'_>,
    verdict: Verdict<'_>,
    decision_id: &HeaderValue,
    started: Instant,
) -> Decided {
    match verdict {
        Verdict::Allow(permit) => {
            if let Err(refused) = setup.limits.admit(&permit, facts, Instant::now) {
                let wait = refused.retry_after_seconds;
                return refuse(worker, setup, facts, refused.denial, wait, started);
            }
            worker.metrics.decided(permit.reason(), permit.lane(), started.elapsed());
            Decided::Forward(plan(setup, &permit, facts, decision_id), permit.upstream())
        }
        Verdict::Deny(denial) => refuse(worker, setup, facts, denial, RETRY_AFTER_SECONDS, started),
        // Only a first decision asks the lane.
        Verdict::Slow(_) => {
            let denial = deny(facts, Reason::UnknownToken, Lane::Slow);
            refuse(worker, setup, facts, denial, RETRY_AFTER_SECONDS, started)
        }
    }
}

fn refuse(
    worker: &Worker,
    setup: &Setup,
    facts: &Facts<'_>,
    denial: Denial,
    retry_after: u64,
    started: Instant,
) -> Decided {
    let limited = setup.limits.fail(denial, facts.client, Instant::now);
    let (denial, retry_after) = limited
        .map_or((denial, retry_after), |refused| (refused.denial, refused.retry_after_seconds));
    worker.metrics.decided(denial.reason, denial.lane, started.elapsed());
    tracing::debug!(
        reason = denial.reason.name(),
        token = denial.caller.map(|caller| caller.token_id),
        account = denial.caller.map(|caller| caller.account_id),
        "denied"
    );
    Decided::Refuse(Refusal::Denied { denial, conceal: setup.config.gate.conceal, retry_after })
}

fn deny(facts: &Facts<'_>, reason: Reason, lane: Lane) -> Denial {
    Denial { reason, caller: None, accepted_scheme: facts.credential.has_accepted_scheme(), lane }
}

/// What a permit comes to. Only with a permit is there a plan, and only by a plan is a request
/// forwarded.
fn plan(setup: &Setup, permit: &Permit<'_>, facts: &Facts<'_>, decision_id: &HeaderValue) -> Plan {
    let identity = permit.token().map(|token| {
        let mut permission_sets = String::new();
        permit.write_permission_sets(&mut permission_sets);
        let mut projects = String::new();
        let deferred = permit.write_projects(&mut projects);
        Identity {
            account_id: token.account().id(),
            token_id: token.id(),
            user_id: token.user().map(|user| user.id),
            permission_sets,
            projects: deferred.then_some(projects),
        }
    });
    let route_limit = permit.route().and_then(|route| route.body_bytes());
    Plan {
        pool: setup.upstreams.pool(permit.upstream()).clone(),
        identity,
        decision_id: decision_id.clone(),
        client: facts.client,
        credential_headers: credentials_to_strip(setup, permit),
        body_limit: route_limit.or(setup.config.limits.body_bytes),
        is_legacy: matches!(permit.lane(), Lane::Cached | Lane::Slow),
    }
}

fn credentials_to_strip(setup: &Setup, permit: &Permit<'_>) -> Rc<[http::HeaderName]> {
    match permit.reason() {
        Reason::Public => setup.every_credential_header.clone(),
        _ => setup.credential_headers.clone(),
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(since.as_secs() as i64)
}
