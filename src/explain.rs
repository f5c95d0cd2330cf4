//! Explaining a decision from outside: for `portcullis explain` and the admin listener.

use std::net::IpAddr;
use std::time::Instant;

use crate::config::Config;
use crate::core::digest::Digest;
use crate::core::explain::{Explained, Explanation, Recognition, explain_recalling, explain_token};
use crate::core::facts::{Credential, Facts};
use crate::core::index::{Candidate, Index};
use crate::core::record::{Timestamp, TokenId, Verifier};
use crate::core::token::Secret;
use crate::legacy::{Bounds, Lane, PasswordHash, thread_time};
use crate::limits::{Limits, explain_without_counts};
use crate::store::{Store, StoreError};

/// What would come of this request?
#[derive(Debug)]
pub struct Question {
    /// Whose token.
    pub bearer: Bearer,
    /// The method.
    pub method: String,
    /// The path, perhaps with a query.
    pub path: String,
    /// The client's address; `None` where it cannot be known.
    pub client: Option<IpAddr>,
    /// The names of the client's certificate, as [`Facts`] has them.
    pub client_names: Vec<String>,
    /// The host.
    pub host: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// A token, by its secret or by its number.
#[derive(Debug)]
pub enum Bearer {
    /// What would be sent after `Bearer`: perhaps not a token at all.
    Secret(Presented),
    /// The token of this number.
    Id(TokenId),
}

/// A secret as presented, checked only by the decision. Wiped when dropped.
pub struct Presented(zeroize::Zeroizing<String>);

impl Presented {
    /// What would follow `Bearer`.
    pub fn new(text: String) -> Self {
        Self(zeroize::Zeroizing::new(text))
    }
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Presented(redacted)")
    }
}

/// Why a question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// There is no index yet.
    #[error("there is no index yet: /readyz says what the gate waits for")]
    NoIndex,
    /// A gate that follows a control knows tokens by what recognises them, not by number.
    #[error("this gate has no store to look a number up in: give the token itself")]
    NoStore,
    /// The token's key is no longer configured, or the index has not caught up with the store.
    #[error(
        "token {0} is in the store but not in the index: its digest key is not in digest.key, or the index has yet to follow"
    )]
    NotIndexed(TokenId),
    /// The store does not know the token, or does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a gate that runs knows besides.
#[derive(Clone, Copy)]
pub struct Running<'g> {
    /// What of its limits is used up.
    pub limits: &'g Limits,
    /// What its slow lane remembers.
    pub lane: Option<&'g Lane>,
}

impl Question {
    /// Walks through the decision, rate limits included where they are counted; uses up no quota.
    /// A legacy token that no slow lane remembers is hashed here, on the caller's thread.
    ///
    /// # Errors
    /// [`QuestionError`].
    pub fn answer(
        &self,
        index: &Index,
        config: &Config,
        store: Option<&dyn Store>,
        gate: Option<Running<'_>>,
    ) -> Result<Explanation, QuestionError> {
        let lane = gate.and_then(|gate| gate.lane);
        let mut explanation = self.decision(index, config, store, lane)?;
        match gate {
            Some(gate) => gate.limits.explain(&mut explanation, self.client, Instant::now()),
            None => explain_without_counts(&mut explanation, &config.limits),
        }
        Ok(explanation)
    }

    fn decision(
        &self,
        index: &Index,
        config: &Config,
        store: Option<&dyn Store>,
        lane: Option<&Lane>,
    ) -> Result<Explanation, QuestionError> {
        let conceal = config.gate.conceal;
        match &self.bearer {
            Bearer::Id(id) => {
                let view = store.ok_or(QuestionError::NoStore)?.token(*id)?;
                let token = index.find_verifier(*id, &view.verifier);
                let token = token.ok_or(QuestionError::NotIndexed(*id))?;
                let version = index.slow_version(*id);
                let is_remembered = lane
                    .zip(version)
                    .is_some_and(|(lane, version)| lane.has_verified(*id, version));
                let how =
                    if is_remembered { Some(Recognition::Memory) } else { by(&view.verifier) };
                let facts = self.facts(Credential::Missing);
                Ok(explain_token(index, &facts, (token, how), self.at, conceal))
            }
            Bearer::Secret(secret) => {
                let header = zeroize::Zeroizing::new(format!("Bearer {}", *secret.0));
                let facts = self.facts(Credential::Authorization(header.as_bytes()));
                let recall = |digest: &Digest| remembered(lane?, index, digest);
                Ok(match explain_recalling(index, &facts, self.at, conceal, recall) {
                    Explained::Done(explanation) => explanation,
                    Explained::Slow(pending) => match self.recognise(&pending.request.candidates) {
                        Some(token) => pending.recognised(index, &facts, token, self.at),
                        None => pending.mismatched(index, &facts),
                    },
                })
            }
        }
    }

    /// Whose the secret is, by the first hash that matches.
    fn recognise(&self, candidates: &[Candidate]) -> Option<(TokenId, Recognition)> {
        let Bearer::Secret(secret) = &self.bearer else { return None };
        let secret = Secret::parse(secret.0.to_string()).ok()?;
        let hashed = |candidate: &Candidate| {
            let how = verified(candidate.encoded.as_deref()?, &secret)?;
            Some((candidate.token_id, how))
        };
        // The endpoint is not asked: what is said holds where it takes the token for valid.
        let asked = |candidate: &Candidate| {
            candidate.encoded.is_none().then_some((candidate.token_id, Recognition::Introspection))
        };
        candidates.iter().find_map(hashed).or_else(|| candidates.iter().find_map(asked))
    }

    fn facts<'q>(&'q self, credential: Credential<'q>) -> Facts<'q> {
        let (path, query) = match self.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.path.as_str(), None),
        };
        Facts {
            ambiguity: None,
            method: &self.method,
            path,
            query,
            host: self.host.as_deref(),
            credential,
            client: self.client.map(|client| client.to_canonical()),
            client_names: &self.client_names,
        }
    }
}

/// The token that a lane remembers a secret to be, unless that has changed since.
fn remembered(lane: &Lane, index: &Index, digest: &Digest) -> Option<TokenId> {
    let remembered = lane.remembered(digest)?;
    let is_current = index.slow_version(remembered.token_id) == Some(remembered.version);
    is_current.then_some(remembered.token_id)
}

/// By what a legacy token would be recognised.
fn by(verifier: &Verifier) -> Option<Recognition> {
    match verifier {
        Verifier::Hash { encoded, .. } => {
            let hash = PasswordHash::parse(encoded, &Bounds::default()).ok()?;
            Some(Recognition::Hash { form: hash.form(), cost: hash.cost(), cpu_seconds: None })
        }
        Verifier::Introspect { .. } => Some(Recognition::Introspection),
        Verifier::Digest { .. } | Verifier::Sha256(_) => None,
    }
}

/// The hash, and what verifying it cost, where the secret is the one that was hashed.
fn verified(encoded: &str, secret: &Secret) -> Option<Recognition> {
    let hash = PasswordHash::parse(encoded, &Bounds::default()).ok()?;
    let before = thread_time();
    let is_it = hash.verify(secret.expose().as_bytes());
    let cpu_seconds = Some(thread_time().saturating_sub(before).as_secs_f64());
    is_it.then(|| Recognition::Hash { form: hash.form(), cost: hash.cost(), cpu_seconds })
}
