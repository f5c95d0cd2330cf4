//! One permitted call, as its handler sees it.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use serde::de::DeserializeOwned;

use super::OPERATOR_ACCOUNT;
use super::body;
use super::error::ApiError;
use super::feed::Feed;
use super::operation::Operation;
use super::query::Query;
use crate::config::Config;
use crate::core::authority::authority;
use crate::core::index::{Index, Token};
use crate::core::record::{AccountId, Grant, Licence, Timestamp};
use crate::core::verdict::Permit;
use crate::legacy::Lane;
use crate::limits::Limits;
use crate::store::{Actor, Command, Outcome, Store};

/// A call whose caller has the permit for it.
pub(super) struct Call<'c> {
    pub(super) operation: &'static Operation,
    pub(super) permit: Permit<'c>,
    pub(super) config: &'c Config,
    /// The gate's own index.
    pub(super) index: &'c Index,
    pub(super) store: &'c Arc<dyn Store>,
    /// What gates that follow are told from.
    pub(super) feed: &'c Feed,
    /// The gate's rate limits.
    pub(super) limits: &'c Limits,
    /// The gate's slow lane.
    pub(super) lane: Option<&'c Lane>,
    pub(super) path: &'c str,
    pub(super) headers: &'c HeaderMap,
    pub(super) query: &'c Query,
    pub(super) body: &'c [u8],
    /// The caller's address.
    pub(super) client: Option<IpAddr>,
    pub(super) now: Timestamp,
}

impl<'c> Call<'c> {
    /// The account that the path names. Compared with the token's by the decision.
    pub(super) fn account(&self) -> Result<AccountId, ApiError> {
        self.id("account_id")
    }

    /// A number that the path has.
    pub(super) fn id(&self, capture: &str) -> Result<u64, ApiError> {
        let text = self.text(capture);
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        let number = is_number.then(|| text.parse().ok()).flatten();
        number.ok_or_else(|| ApiError::NotFound(format!("`{capture}` of the path is no number")))
    }

    /// A segment of the path, as it was sent.
    pub(super) fn text(&self, capture: &str) -> &'c str {
        let pattern = self.operation.path.split('/');
        let is_it = |part: &str| {
            part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) == Some(capture)
        };
        let found = pattern.zip(self.path.split('/')).find(|(part, _)| is_it(part));
        found.map_or("", |(_, segment)| segment)
    }

    /// The body, of exactly this shape.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        body::parse(self.body)
    }

    /// The caller's token. Every operation but the public one has one.
    pub(super) fn token(&self) -> Result<&Token<'c>, ApiError> {
        let none = || ApiError::Broken("an operation for tokens was public".to_owned());
        self.permit.token().ok_or_else(none)
    }

    /// Who calls, for the audit log.
    pub(super) fn actor(&self) -> Result<Actor, ApiError> {
        let id = self.token()?.id();
        Ok(Actor::token(id, self.store.token(id)?.name, self.client))
    }

    /// Has a command carried out in the caller's name.
    pub(super) fn apply(&self, command: Command) -> Result<u64, ApiError> {
        let (Outcome::Changed { id } | Outcome::Unchanged { id }) =
            self.store.apply(&self.actor()?, command)?;
        Ok(id)
    }

    /// Refuses grants that are more than the caller holds.
    pub(super) fn require_authority(&self, grants: &[Grant], field: &str) -> Result<(), ApiError> {
        authority(self.index.policy(), self.token()?, grants)
            .map_err(|excess| ApiError::excess(field, &excess))
    }

    /// Refuses tokens of other accounts than the operator's.
    pub(super) fn require_operator(&self) -> Result<(), ApiError> {
        match self.token()?.account().id() {
            OPERATOR_ACCOUNT => Ok(()),
            _ => Err(ApiError::Forbidden(
                "the feed is everybody's: it is for tokens of the operator's account 0".to_owned(),
            )),
        }
    }

    /// Refuses a personal token whose user may not manage service tokens.
    pub(super) fn require_administrator(&self) -> Result<(), ApiError> {
        let token = self.token()?;
        let Some(user) = token.user() else { return Ok(()) };
        let view = self.store.user(token.account().id(), user.id)?;
        if view.admin && view.licence == Licence::Developer {
            return Ok(());
        }
        Err(ApiError::Forbidden(
            "service tokens are managed with a service token, or with a personal token of a user \
             who administers the account and has a Developer licence"
                .to_owned(),
        ))
    }
}
