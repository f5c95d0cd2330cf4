//! One request: decided, then forwarded or refused, and counted.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, request};
use hyper::body::Incoming;

use super::body::GateBody;
use super::connection::Connection;
use super::facts::facts;
use super::guard::Fault;
use super::refusal::{Format, RETRY_AFTER_SECONDS, Refusal};
use super::streams::{Followed, Streams};
use super::worker::{Setup, Worker};
use crate::core::decide::{decide_recalling, resume};
use crate::core::digest::Digest;
use crate::core::facts::Facts;
use crate::core::index::Index;
use crate::core::record::Timestamp;
use crate::core::token::Secret;
use crate::core::verdict::{Denial, Lane, Permit, Reason, SlowRequest, Verdict};
use crate::legacy::{LaneVerdict, Remembered, VerifyRequest};
use crate::observe::metrics::Origin;
use crate::proxy::{Content, Dropped, Forwarding, Identity, Plan, Pool, forward};
use crate::time::now;

/// Answers one request. It is decided and, if it may be, sent to its upstream before this
/// returns; what is returned waits for the answer.
pub(crate) fn answer(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Response<GateBody>> + use<> {
    let started = Instant::now();
    let (head, incoming) = request.into_parts();
    let asked = Asked { head, incoming, decision_id: worker.ids.next(), started };
    let answer = match first(worker, connection, &asked) {
        First::Decided(decided) => Ok(act(worker, connection, asked, decided)),
        First::Slow(slow) => {
            Err(Box::pin(after_lane(worker.clone(), connection.clone(), asked, *slow)))
        }
    };
    async move {
        let answer = match answer {
            Ok(answer) => answer,
            Err(lane) => lane.await,
        };
        match answer {
            Answer::Own(response) => response,
            Answer::Upstream(passing) => passing.finish().await,
        }
    }
}

/// A request, from its first look to its answer.
struct Asked {
    head: request::Parts,
    incoming: Incoming,
    decision_id: HeaderValue,
    started: Instant,
}

/// Does what was decided.
fn act(worker: &Rc<Worker>, connection: &Rc<Connection>, asked: Asked, decided: Decided) -> Answer {
    let format = Format::of(&asked.head.headers);
    let Asked { head, incoming, decision_id, started } = asked;
    let (plan, upstream) = match decided {
        Decided::Forward(plan, upstream) => (plan, upstream),
        Decided::Refuse(refusal) => {
            let took = started.elapsed();
            return Answer::Own(own(worker, refusal, None, took, format, decision_id));
        }
    };
    let (pool, watch) = (plan.pool.clone(), worker.deadlines.watch());
    match forward(plan, head, incoming, format, watch, connection.watch.end()) {
        Ok(forwarding) => Answer::Upstream(Passing {
            worker: worker.clone(),
            connection: connection.clone(),
            forwarding,
            pool,
            upstream,
            decision_id,
            format,
            started,
        }),
        Err(refusal) => {
            let named = Some((upstream, pool.upstream().name.as_str()));
            Answer::Own(own(worker, refusal, named, started.elapsed(), format, decision_id))
        }
    }
}

/// An answer of the gate's own, counted. `took` is the gate's part of the time.
fn own(
    worker: &Worker,
    refusal: Refusal,
    upstream: Option<(usize, &str)>,
    took: Duration,
    format: Format,
    decision_id: HeaderValue,
) -> Response<GateBody> {
    worker.metrics.overhead(took);
    worker.metrics.answered(Origin::Gate, refusal.status().as_u16(), upstream);
    refusal.response(format, Some(decision_id))
}

/// Asks the lane, then does what was decided.
async fn after_lane(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    asked: Asked,
    slow: Slow,
) -> Answer {
    let decided = ask_lane(&worker, &connection, &asked, slow).await;
    act(&worker, &connection, asked, decided)
}

/// What a decision came to.
enum Answer {
    Own(Response<GateBody>),
    Upstream(Passing),
}

/// A request on its way to its upstream.
struct Passing {
    forwarding: Forwarding,
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    pool: Rc<Pool>,
    /// Position of the upstream.
    upstream: usize,
    decision_id: HeaderValue,
    format: Format,
    started: Instant,
}

impl Passing {
    async fn finish(self) -> Response<GateBody> {
        let Self { forwarding, worker, connection, pool, upstream, decision_id, format, started } =
            self;
        let before = forwarding.started().duration_since(started);
        let named = Some((upstream, pool.upstream().name.as_str()));
        match forwarding.await {
            Ok(forwarded) => {
                worker.metrics.upstream(forwarded.took);
                worker.metrics.overhead(started.elapsed().saturating_sub(forwarded.took));
                worker.metrics.answered(Origin::Upstream, forwarded.head.status.as_u16(), named);
                let body = match forwarded.content {
                    Content::Body(body) => GateBody::upstream(body),
                    Content::Switched(switched) => {
                        connection.switch(switched);
                        GateBody::empty()
                    }
                };
                Response::from_parts(forwarded.head, body)
            }
            Err(refusal) => own(&worker, refusal, named, before, format, decision_id),
        }
    }
}

/// What the first look at the index comes to. Not boxed: nearly every request is decided.
#[allow(clippy::large_enum_variant)]
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
fn first(worker: &Worker, connection: &Connection, asked: &Asked) -> First {
    let Asked { head, started, .. } = asked;
    let live = worker.shared.live();
    let setup = worker.setup(&live.config);
    let facts = facts_of(head, connection, &setup);
    // Other faults are told by the guard's own request, which has no host.
    if connection.fault_of(head) == Some(Fault::HeadTooLarge) {
        worker.metrics.decided(Reason::BadRequest, Lane::None, started.elapsed());
        return First::Decided(Decided::Refuse(Refusal::HeadTooLarge));
    }
    let Some(index) = &live.index else {
        let reason = facts.ambiguity.map_or(Reason::NoIndex, |_| Reason::BadRequest);
        let denial = deny(&facts, reason, Lane::None);
        let refused = refuse(worker, &setup, &facts, denial, RETRY_AFTER_SECONDS, *started);
        return First::Decided(refused);
    };
    let mut ends = None;
    let recall = |digest: &Digest| {
        let remembered = remembered(worker, index, digest)?;
        ends = remembered.ends;
        Some(remembered.token_id)
    };
    let verdict = match decide_recalling(index, &facts, now(), recall) {
        Verdict::Slow(request) => return slow(worker, &setup, &facts, request, *started),
        verdict => verdict,
    };
    First::Decided(conclude(worker, connection, asked, &setup, &facts, (verdict, ends)))
}

fn facts_of<'r>(
    head: &'r request::Parts,
    connection: &'r Connection,
    setup: &'r Setup,
) -> Facts<'r> {
    let client_names = connection.certificate().map_or(&[][..], |certificate| certificate.names());
    let credential_headers = &setup.config.gate.credential_headers;
    Facts { client_names, ..facts(head, connection.peer, credential_headers, &setup.trusted) }
}

/// What the lane remembers this secret to be, unless that has changed since.
fn remembered(worker: &Worker, index: &Index, digest: &Digest) -> Option<Remembered> {
    let remembered = worker.lane.load().as_ref()?.remembered(digest)?;
    let current = index.slow_version(remembered.token_id) == Some(remembered.version);
    current.then_some(remembered)
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
async fn ask_lane(worker: &Worker, connection: &Connection, asked: &Asked, slow: Slow) -> Decided {
    let Asked { head, started, .. } = asked;
    let Slow { request, secret, client } = slow;
    let SlowRequest { digest, candidates, .. } = request;
    let lane = worker.lane.load_full();
    let verdict = match &lane {
        Some(lane) => lane.verify(VerifyRequest { digest, secret, candidates, client }).await,
        None => LaneVerdict::Mismatch,
    };
    let live = worker.shared.live();
    let setup = worker.setup(&live.config);
    let facts = facts_of(head, connection, &setup);
    let refuse = |reason, retry_after| {
        refuse(worker, &setup, &facts, deny(&facts, reason, Lane::Slow), retry_after, *started)
    };
    match (verdict, &live.index) {
        (LaneVerdict::Matched { token_id, ends, .. }, Some(index)) => {
            let verdict = resume(index, &facts, token_id, Lane::Slow, now());
            conclude(worker, connection, asked, &setup, &facts, (verdict, ends))
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

/// What a verdict comes to. It holds until the time beside it, where the slow lane says one.
fn conclude(
    worker: &Worker,
    connection: &Connection,
    asked: &Asked,
    setup: &Setup,
    facts: &Facts<'_>,
    (verdict, ends): (Verdict<'_>, Option<Timestamp>),
) -> Decided {
    let started = asked.started;
    match verdict {
        Verdict::Allow(permit) => {
            if let Some(token) = permit.token() {
                worker.count_use(setup, token.id(), facts.client);
            }
            if let Err(refused) = setup.limits.admit(&permit, facts, Instant::now) {
                let wait = refused.retry_after_seconds;
                return refuse(worker, setup, facts, refused.denial, wait, started);
            }
            worker.metrics.decided(permit.reason(), permit.lane(), started.elapsed());
            let client = facts.client.map(|client| connection.client_text(client));
            let certificate = connection.certificate().cloned();
            let followed = permit.token().and_then(|token| {
                Followed::new(&asked.head, facts, certificate.clone(), token.id(), ends)
            });
            let plan = Plan {
                client,
                certificate,
                followed: followed.map(Rc::new),
                ..plan(setup, &permit, &worker.streams, &asked.decision_id)
            };
            Decided::Forward(plan, permit.upstream())
        }
        Verdict::Deny(denial) => {
            // Of a token that is not valid, nobody relies on anything.
            if let Some(caller) = denial.caller.filter(|_| denial.reason.status(false) != 401) {
                worker.count_use(setup, caller.token_id, facts.client);
            }
            refuse(worker, setup, facts, denial, RETRY_AFTER_SECONDS, started)
        }
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
fn plan(
    setup: &Setup,
    permit: &Permit<'_>,
    streams: &Rc<Streams>,
    decision_id: &HeaderValue,
) -> Plan {
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
        client: None,
        certificate: None,
        followed: None,
        streams: streams.clone(),
        dropped_headers: dropped_headers(setup, permit),
        body_limit: route_limit.or(setup.config.limits.body_bytes),
        is_legacy: matches!(permit.lane(), Lane::Cached | Lane::Slow),
    }
}

fn dropped_headers(setup: &Setup, permit: &Permit<'_>) -> Rc<Dropped> {
    match permit.reason() {
        Reason::Public => setup.dropped_on_public.clone(),
        _ => setup.dropped_headers.clone(),
    }
}
