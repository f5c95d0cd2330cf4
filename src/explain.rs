//! Explaining a decision from outside: for `portcullis explain` and the admin listener.

use std::net::IpAddr;
use std::time::Instant;

use crate::config::Config;
use crate::core::explain::{Explained, Explanation, explain, explain_token};
use crate::core::facts::{Credential, Facts};
use crate::core::index::{Candidate, Index};
use crate::core::record::{Timestamp, TokenId};
use crate::core::token::Secret;
use crate::legacy::{Bounds, PasswordHash};
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

impl Question {
    /// Walks through the decision, rate limits included where they are counted; uses up no quota.
    /// A legacy token is hashed here, on the caller's thread.
    ///
    /// # Errors
    /// [`QuestionError`].
    pub fn answer(
        &self,
        index: &Index,
        config: &Config,
        store: Option<&dyn Store>,
        limits: Option<&Limits>,
    ) -> Result<Explanation, QuestionError> {
        let mut explanation = self.decision(index, config, store)?;
        match limits {
            Some(limits) => limits.explain(&mut explanation, self.client, Instant::now()),
            None => explain_without_counts(&mut explanation, &config.limits),
        }
        Ok(explanation)
    }

    fn decision(
        &self,
        index: &Index,
        config: &Config,
        store: Option<&dyn Store>,
    ) -> Result<Explanation, QuestionError> {
        let conceal = config.gate.conceal;
        match &self.bearer {
            Bearer::Id(id) => {
                let view = store.ok_or(QuestionError::NoStore)?.token(*id)?;
                let token = index.find_verifier(*id, &view.verifier);
                let token = token.ok_or(QuestionError::NotIndexed(*id))?;
                Ok(explain_token(index, &self.facts(Credential::Missing), token, self.at, conceal))
            }
            Bearer::Secret(secret) => {
                let header = zeroize::Zeroizing::new(format!("Bearer {}", *secret.0));
                let facts = self.facts(Credential::Authorization(header.as_bytes()));
                Ok(match explain(index, &facts, self.at, conceal) {
                    Explained::Done(explanation) => explanation,
                    Explained::Slow(pending) => match self.recognise(&pending.request.candidates) {
                        Some(token) => pending.recognised(index, &facts, token, self.at),
                        None => pending.mismatched(index, &facts),
                    },
                })
            }
        }
    }

    fn recognise(&self, candidates: &[Candidate]) -> Option<TokenId> {
        let Bearer::Secret(secret) = &self.bearer else { return None };
        let secret = Secret::parse(secret.0.to_string()).ok()?;
        let matches = |encoded: &str| {
            PasswordHash::parse(encoded, &Bounds::default())
                .is_ok_and(|hash| hash.verify(secret.expose().as_bytes()))
        };
        let hashed = |candidate: &&Candidate| candidate.encoded.as_deref().is_some_and(matches);
        // The endpoint is not asked: what is said holds where it takes the token for valid.
        let asked = |candidate: &&Candidate| candidate.encoded.is_none();
        let found = candidates.iter().find(hashed).or_else(|| candidates.iter().find(asked));
        found.map(|found| found.token_id)
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
        }
    }
}
