//! One request: decided, read, decided again by the newest index, carried out, noted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Request, Response, StatusCode, request};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use super::access::{Access, AccessIndex, CurrentAccess};
use super::answer::{Answer, Body};
use super::body;
use super::call::Call;
use super::error::ApiError;
use super::feed::Feed;
use super::operation::Operation;
use super::query::Query;
use crate::config::Config;
use crate::core::facts::{Credential, Facts};
use crate::core::path::{self, Allowed};
use crate::core::record::TokenId;
use crate::core::token::Secret;
use crate::core::verdict::{Caller, Denial, Lane, Reason, SlowRequest, Verdict};
use crate::edge::client_ip::TrustedProxies;
use crate::edge::connection::Connection;
use crate::edge::facts::facts;
use crate::edge::guard::Fault;
use crate::feed::Shared;
use crate::legacy::{self, LaneVerdict, VerifyRequest};
use crate::limits::{Refused, SharedLimits};
use crate::store::{Actor, Command, Cursor, Note, Store};
use crate::time::now;
use crate::tls::ServerTls;

/// Requests that are carried out at a time: each waits on a thread of its own for the store, which
/// writes what waits together.
const CALLS_LIMIT: usize = 128;
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// The management API.
pub(crate) struct Api {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    lane: Arc<ArcSwapOption<legacy::Lane>>,
    limits: Arc<SharedLimits>,
    access: CurrentAccess,
    feed: Feed,
    turns: Semaphore,
}

/// What a request is, besides its body.
struct Head {
    parts: request::Parts,
    peer: Option<IpAddr>,
}

/// A whole request, and what is known of it before it is carried out.
struct Asked {
    head: Head,
    /// The token that the slow lane found.
    recognised: Option<TokenId>,
    query: Query,
    body: Bytes,
}

impl Head {
    /// The facts by which it is decided. The configuration says whose word is taken about where
    /// it comes from; the credential is in `Authorization`.
    fn facts(&self, config: &Config) -> Facts<'_> {
        let facts = facts(&self.parts, self.peer, &[], &TrustedProxies::new(&config.client_ip));
        Facts { host: None, ..facts }
    }
}

impl Api {
    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Arc<dyn Store>,
        lane: Arc<ArcSwapOption<legacy::Lane>>,
        limits: Arc<SharedLimits>,
        feed: Feed,
    ) -> Self {
        let turns = Semaphore::new(CALLS_LIMIT);
        Self { shared, store, lane, limits, access: CurrentAccess::default(), feed, turns }
    }

    /// What new connections are to speak TLS with, where they are to.
    pub(super) fn tls(&self) -> Option<ServerTls> {
        self.shared.live().config.control_tls.clone()
    }

    /// Answers one request.
    pub(super) async fn answer(
        self: Arc<Self>,
        connection: &Connection,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        // Other faults are told by the guard's own request, which has no host.
        let answered = match connection.fault_of(&parts) {
            Some(Fault::HeadTooLarge) => Err(ApiError::HeadTooLarge),
            _ => self.serve(Head { parts, peer: connection.peer }, body).await,
        };
        answered.map_or_else(ApiError::response, Answer::response)
    }

    async fn serve(self: Arc<Self>, head: Head, body: Incoming) -> Result<Answer, ApiError> {
        let (operation, recognised) = match self.recognise(&head).await {
            Ok(recognised) => recognised,
            Err(error) => {
                let noted =
                    matches!(&error, ApiError::Denied { denial, .. } if denial.caller.is_some());
                return if noted { self.note_on_thread(head, error).await } else { Err(error) };
            }
        };
        let takes_body = TakesBody::of(operation);
        if takes_body != TakesBody::Never {
            let is_empty = hyper::body::Body::is_end_stream(&body);
            if !(is_empty && takes_body == TakesBody::Perhaps) {
                body::check_type(&head.parts.headers)?;
            }
        }
        let query = Query::parse(head.parts.uri.query(), &operation.query)?;
        let body = body::collect(body).await?;
        let asked = Arc::new(Asked { head, recognised, query, body });
        let mut answer = self.in_turn(&asked).await;
        while matches!(answer, Err(ApiError::Underway)) {
            self.feed.wait_for_snapshot().await;
            answer = self.in_turn(&asked).await;
        }
        let answer = answer?;
        match &asked.query {
            // Only whoever may have an answer waits for one.
            Query { after: Some(after), wait, .. }
                if answer.status() == StatusCode::NO_CONTENT && !wait.is_zero() =>
            {
                self.wait_for_changes(after, *wait).await;
                self.in_turn(&asked).await
            }
            _ => Ok(answer),
        }
    }

    /// Carries out what is asked, beside the runtime, once there is a place.
    async fn in_turn(self: &Arc<Self>, asked: &Arc<Asked>) -> Result<Answer, ApiError> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(ApiError::Busy) };
        let (api, asked) = (self.clone(), asked.clone());
        let called = tokio::task::spawn_blocking(move || {
            let outcome = api.carry_out(&asked);
            if let Err(error) = &outcome {
                api.note(&asked.head, error);
            }
            outcome
        });
        called.await.unwrap_or_else(|_| {
            Err(ApiError::Broken("a request was not carried out to its end".to_owned()))
        })
    }

    /// Waits until there may be something after the cursor. Without a turn: those who wait hold up
    /// nobody.
    async fn wait_for_changes(&self, after: &Cursor, at_most: Duration) {
        let mut reached = self.shared.reached();
        let has_more = |reached: &Option<Cursor>| {
            reached.as_ref().is_none_or(|reached| !reached.is_same_or_before(after))
        };
        // Neither the end of the wait nor that of the follower is an error: there is nothing then.
        let _ = tokio::time::timeout(at_most, reached.wait_for(has_more)).await;
    }

    /// Decides a first time, before the body is read, and asks the slow lane where it takes that.
    async fn recognise(
        &self,
        head: &Head,
    ) -> Result<(&'static Operation, Option<TokenId>), ApiError> {
        let (operation, slow) = match self.first(head)? {
            (operation, None) => return Ok((operation, None)),
            (operation, Some(slow)) => (operation, slow),
        };
        let lane = self.lane.load_full();
        let deny =
            |reason| Denial { reason, caller: None, accepted_scheme: true, lane: Lane::Slow };
        let Some(lane) = lane else { return Err(self.refused(head, deny(Reason::UnknownToken))) };
        match lane.verify(slow).await {
            LaneVerdict::Matched { token_id, .. } => Ok((operation, Some(token_id))),
            LaneVerdict::Mismatch => Err(self.refused(head, deny(Reason::LegacyMismatch))),
            LaneVerdict::Full { retry_after } => Err(ApiError::Denied {
                denial: deny(Reason::LaneFull),
                retry_after: retry_after.as_secs().max(1),
            }),
            LaneVerdict::Throttled { retry_after } => Err(ApiError::Denied {
                denial: deny(Reason::FailureLimited),
                retry_after: retry_after.as_secs().max(1),
            }),
            LaneVerdict::Timeout => Err(ApiError::Denied {
                denial: deny(Reason::LaneTimeout),
                retry_after: lane.retry_after().as_secs(),
            }),
        }
    }

    fn first(&self, head: &Head) -> Result<(&'static Operation, Option<VerifyRequest>), ApiError> {
        let live = self.shared.live();
        let facts = head.facts(&live.config);
        let access = self.access.under(&live.config);
        refuse_ambiguity(&facts)?;
        let operation = access.operation(&facts)?;
        let index = live.index.as_ref().map(|index| access.index(index));
        let Some(index) = index else { return Err(no_index(&facts).into()) };
        match index.decide(&facts, None, now()).0 {
            Verdict::Allow(_) => Ok((operation, None)),
            Verdict::Deny(denial) => Err(self.refused(head, denial)),
            Verdict::Slow(SlowRequest { digest, candidates, accepted_scheme }) => {
                let limits = self.limits.under(&live.config.limits);
                if let Some(retry_after) = limits.lane_closed(facts.client, Instant::now) {
                    let (reason, lane) = (Reason::FailureLimited, Lane::Slow);
                    let denial = Denial { reason, caller: None, accepted_scheme, lane };
                    return Err(ApiError::Denied { denial, retry_after });
                }
                let secret = secret(&facts)
                    .ok_or_else(|| ApiError::Broken("a token that is no text".to_owned()))?;
                Ok((
                    operation,
                    Some(VerifyRequest { digest, secret, candidates, client: facts.client }),
                ))
            }
        }
    }

    /// A refusal by the first decision: counted, where it is a credential that failed, with those
    /// that fail at the gate.
    fn refused(&self, head: &Head, denial: Denial) -> ApiError {
        let live = self.shared.live();
        let client = head.facts(&live.config).client;
        let limits = self.limits.under(&live.config.limits);
        match limits.fail(denial, client, Instant::now) {
            Some(Refused { denial, retry_after_seconds }) => {
                ApiError::Denied { denial, retry_after: retry_after_seconds }
            }
            None => denial.into(),
        }
    }

    /// Decides again, by what is in force now, and calls the handler with the permit.
    fn carry_out(&self, asked: &Asked) -> Result<Answer, ApiError> {
        let Asked { head, recognised, query, body } = asked;
        let live = self.shared.live().clone();
        let facts = head.facts(&live.config);
        let access: Arc<Access> = self.access.under(&live.config);
        let Some(index) = &live.index else { return Err(no_index(&facts).into()) };
        let judged: AccessIndex = access.index(index);
        let now = now();
        let (permit, own) = match judged.decide(&facts, *recognised, now) {
            (Verdict::Allow(permit), own) => (permit, own),
            (Verdict::Deny(denial), _) => return Err(denial.into()),
            // Recognised before, and changed since.
            (Verdict::Slow(_), _) => return Err(changed(&facts).into()),
        };
        let none = || ApiError::Broken("a permit without an operation".to_owned());
        let operation = access.permitted(&permit, own).ok_or_else(none)?;
        let lane = self.lane.load_full();
        let call = Call {
            operation,
            permit,
            config: &live.config,
            index,
            store: &self.store,
            feed: &self.feed,
            limits: &self.limits.under(&live.config.limits),
            lane: lane.as_deref(),
            path: facts.path,
            headers: &head.parts.headers,
            query,
            body,
            client: facts.client,
            now,
        };
        let administers = match (operation.manages_tokens, operation.is_of_feed) {
            (true, _) => call.require_administrator(),
            (false, true) => call.require_operator(),
            (false, false) => Ok(()),
        };
        let answer =
            administers.and_then(|()| (operation.handler)(&call)).inspect_err(|error| {
                if let (ApiError::Forbidden(why), Ok(token)) = (error, call.token()) {
                    let caller = Caller {
                        token_id: token.id(),
                        account_id: token.account().id(),
                        user_id: token.user().map(|user| user.id),
                    };
                    self.note_refusal(head, &caller, 403, why);
                }
            })?;
        tracing::debug!(
            method = operation.method,
            path = operation.path,
            status = answer.status().as_u16(),
            "managed"
        );
        Ok(answer)
    }

    async fn note_on_thread(
        self: Arc<Self>,
        head: Head,
        error: ApiError,
    ) -> Result<Answer, ApiError> {
        let noted = tokio::task::spawn_blocking(move || {
            self.note(&head, &error);
            error
        });
        Err(noted.await.unwrap_or_else(|_| ApiError::Broken("a note was not written".to_owned())))
    }

    /// Logs what failed here, and notes in the audit log what was refused to a caller who is known.
    fn note(&self, head: &Head, error: &ApiError) {
        let method = head.parts.method.as_str();
        match error {
            ApiError::Broken(why) => tracing::error!(method, why, "a management request failed"),
            ApiError::Denied { denial: Denial { caller: Some(caller), reason, .. }, .. } => {
                let status = reason.status(false);
                self.note_refusal(head, caller, status, reason.name());
            }
            _ => {}
        }
    }

    fn note_refusal(&self, head: &Head, caller: &Caller, status: u16, reason: &str) {
        let (method, path) = (head.parts.method.as_str(), head.parts.uri.path());
        tracing::info!(method, reason, token = caller.token_id, "a management request was refused");
        let live = self.shared.live().clone();
        let client = head.facts(&live.config).client;
        let name = self.store.token(caller.token_id).map(|token| token.name).unwrap_or_default();
        let actor = Actor::token(caller.token_id, name, client);
        let call = format!("{method} {path}");
        let note = Note::denied(Some(caller.account_id), &call, status, reason);
        if let Err(error) = self.store.apply(&actor, Command::Note(Box::new(note))) {
            tracing::error!(%error, "a refusal was not noted in the audit log");
        }
    }
}

/// Whether an operation takes a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TakesBody {
    Never,
    Perhaps,
    Always,
}

impl TakesBody {
    fn of(operation: &Operation) -> Self {
        match (operation.body, operation.is_body_optional) {
            (None, _) => Self::Never,
            (Some(_), true) => Self::Perhaps,
            (Some(_), false) => Self::Always,
        }
    }
}

fn refuse_ambiguity(facts: &Facts<'_>) -> Result<(), Denial> {
    match facts.ambiguity.is_some() || path::check(facts.path, Allowed::default()).is_err() {
        true => Err(denial(facts, Reason::BadRequest)),
        false => Ok(()),
    }
}

fn no_index(facts: &Facts<'_>) -> Denial {
    denial(facts, Reason::NoIndex)
}

fn changed(facts: &Facts<'_>) -> Denial {
    denial(facts, Reason::UnknownToken)
}

fn denial(facts: &Facts<'_>, reason: Reason) -> Denial {
    let accepted_scheme = facts.credential.has_accepted_scheme();
    Denial { reason, caller: None, accepted_scheme, lane: Lane::None }
}

fn secret(facts: &Facts<'_>) -> Option<Secret> {
    if matches!(facts.credential, Credential::Missing) {
        return None;
    }
    let secret = std::str::from_utf8(facts.credential.token().ok()?).ok()?;
    Secret::parse(secret.to_owned()).ok()
}
