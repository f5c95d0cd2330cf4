//! Tokens, service and personal ones alike: what is asked for, what is made, and what is shown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::error::ApiError;
use super::grants::{GrantRequest, GrantShape, read_grants, shape_of};
use super::words::{ACTIVE, CidrText, DELETED, ID_LIMIT};
use crate::core::ip::parse_cidr;
use crate::core::record::{AccountId, Grant, Timestamp, TokenId, TokenState, UserId};
use crate::core::token::{Secret, TokenKind};
use crate::secret;
use crate::store::{NewToken, Owner, TokenView, check_name};
use crate::time::{format_time, parse_time};

/// Sets that flags of the published record stand for.
const METADATA_ONLY: &str = "metadata_only";
const WEBHOOKS_ONLY: &str = "webhooks_only";

/// A token.
#[derive(Serialize, JsonSchema)]
pub(super) struct Token {
    id: TokenId,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    #[schemars(extend("format" = "date-time"))]
    updated_at: String,
    account_id: AccountId,
    /// The token's public id, which says nothing about its secret.
    uid: String,
    name: String,
    /// 1: active; 2: deleted, for good.
    state: u8,
    permission_grants: Vec<GrantShape>,
    /// Whether it has `metadata_only` and nothing else.
    metadata_only: bool,
    /// Whether it has `webhooks_only` and nothing else.
    webhooks_only: bool,
    /// The user, for a personal token.
    user_id: Option<UserId>,
    /// First moment at which it is valid.
    #[schemars(extend("format" = "date-time"))]
    not_before: Option<String>,
    /// First moment at which it is no longer valid.
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
    /// Addresses from which alone it may be used, after the account's own rules.
    allow_ips: Vec<String>,
    /// The token that replaced it in a rotation.
    rotated_to: Option<TokenId>,
}

/// A token that was just made.
#[derive(Serialize, JsonSchema)]
pub(super) struct CreatedToken {
    #[serde(flatten)]
    token: Token,
    /// The secret. It is stored nowhere and cannot be shown again.
    token_string: String,
}

/// A token to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateTokenRequest {
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    name: String,
    /// What it may do. Missing: a service token may do nothing at first, a personal one what the
    /// calling token may.
    permission_grants: Option<Vec<GrantRequest>>,
    /// Grants `metadata_only` besides.
    metadata_only: Option<bool>,
    /// Grants `webhooks_only` besides.
    webhooks_only: Option<bool>,
    /// First moment at which it is no longer valid; without, it always is.
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
    /// First moment at which it is valid; without, at once.
    #[schemars(extend("format" = "date-time"))]
    not_before: Option<String>,
    /// Addresses or CIDRs from which alone it may be used, after the account's own rules.
    allow_ips: Option<Vec<CidrText>>,
    /// Of the published record: empty.
    #[schemars(range(max = 0))]
    id: Option<u64>,
    /// Of the published record: empty.
    #[schemars(length(max = 0))]
    uid: Option<String>,
    /// Of the published record: empty, or the account of the path.
    #[schemars(range(max = ID_LIMIT))]
    account_id: Option<u64>,
    /// Of the published record: empty, or 1.
    #[schemars(range(max = 1))]
    state: Option<u8>,
}

/// What a token shall be called.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateTokenRequest {
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    name: String,
    /// Of the published record: empty, or the token's.
    #[schemars(range(max = ID_LIMIT))]
    id: Option<u64>,
    /// Of the published record: empty, or the token's.
    uid: Option<String>,
    /// Of the published record: empty, or the account of the path.
    #[schemars(range(max = ID_LIMIT))]
    account_id: Option<u64>,
    /// Of the published record: empty, or the token's.
    #[schemars(range(max = 2))]
    state: Option<u8>,
}

impl Token {
    pub(super) fn of(view: &TokenView) -> Self {
        let has_only = |set: &str| {
            !view.grants.is_empty() && view.grants.iter().all(|grant| grant.permission_set == set)
        };
        Self {
            id: view.id,
            created_at: format_time(view.created_at),
            updated_at: format_time(view.updated_at),
            account_id: view.account_id,
            uid: view.id.to_string(),
            name: view.name.clone(),
            state: state_of(view.state),
            permission_grants: view.grants.iter().map(shape_of).collect(),
            metadata_only: has_only(METADATA_ONLY),
            webhooks_only: has_only(WEBHOOKS_ONLY),
            user_id: view.user_id,
            not_before: view.not_before.map(format_time),
            expires_at: view.expires_at.map(format_time),
            allow_ips: view.allow_ips.iter().map(ToString::to_string).collect(),
            rotated_to: view.rotated_to,
        }
    }
}

impl CreatedToken {
    pub(super) fn of(view: &TokenView, secret: &Secret) -> Self {
        Self { token: Token::of(view), token_string: secret.expose().to_owned() }
    }
}

impl CreateTokenRequest {
    /// The grants that are asked for; `None` where nothing is said about them.
    pub(super) fn grants(&self, call: &Call<'_>) -> Result<Option<Vec<Grant>>, ApiError> {
        let mut grants = match &self.permission_grants {
            Some(asked) => Some(read_grants(asked, call, "permission_grants")?),
            None => None,
        };
        let flags = [(self.metadata_only, METADATA_ONLY), (self.webhooks_only, WEBHOOKS_ONLY)];
        for (_, set) in flags.into_iter().filter(|(flag, _)| *flag == Some(true)) {
            let grants = grants.get_or_insert_default();
            if !grants.iter().any(|grant| grant.permission_set == set) {
                grants.push(Grant {
                    permission_set: set.to_owned(),
                    project_id: None,
                    writable_environment_categories: Vec::new(),
                });
            }
        }
        Ok(grants)
    }

    /// The token with these grants and its secret.
    pub(super) fn token(
        self,
        call: &Call<'_>,
        owner: Owner,
        grants: Vec<Grant>,
    ) -> Result<(NewToken, Secret), ApiError> {
        check_name("a token", &self.name).map_err(ApiError::in_field("name"))?;
        agree("id", self.id, 0)?;
        agree("uid", self.uid.as_deref().filter(|uid| !uid.is_empty()), "")?;
        agree("account_id", self.account_id.filter(|id| *id != 0), call.account()?)?;
        agree("state", self.state.filter(|state| *state != 0), ACTIVE)?;
        let (kind, user_id) = match owner {
            Owner::Account => (TokenKind::Service, None),
            Owner::User(user) => (TokenKind::Personal, Some(user)),
        };
        let mut allow_ips = Vec::new();
        for (position, given) in self.allow_ips.unwrap_or_default().iter().enumerate() {
            let name = || format!("allow_ips[{position}]");
            let cidr = parse_cidr(&given.0);
            allow_ips.push(cidr.map_err(|why| ApiError::field(&name(), why.to_string()))?);
        }
        let (secret, verifier) = make_secret(kind, call)?;
        let token = NewToken {
            account_id: call.account()?,
            name: self.name,
            user_id,
            state: TokenState::Active,
            created_at: call.now,
            not_before: time("not_before", self.not_before.as_deref())?,
            expires_at: time("expires_at", self.expires_at.as_deref())?,
            allow_ips,
            grants,
            verifier,
        };
        Ok((token, secret))
    }
}

impl UpdateTokenRequest {
    /// The new name, once all else agrees with the token.
    pub(super) fn name(self, token: &TokenView) -> Result<String, ApiError> {
        check_name("a token", &self.name).map_err(ApiError::in_field("name"))?;
        agree("id", self.id.filter(|id| *id != 0), token.id)?;
        let uid = token.id.to_string();
        agree("uid", self.uid.as_deref().filter(|uid| !uid.is_empty()), &uid)?;
        agree("account_id", self.account_id.filter(|id| *id != 0), token.account_id)?;
        agree("state", self.state.filter(|state| *state != 0), state_of(token.state))?;
        Ok(self.name)
    }
}

/// A token of the account of the path, and of this owner.
pub(super) fn find(call: &Call<'_>, owner: Owner) -> Result<TokenView, ApiError> {
    let (account, id) = (call.account()?, call.id("id")?);
    let unknown = || ApiError::NotFound(format!("account {account} has no such token {id}"));
    let token = call.store.token(id).map_err(|error| match ApiError::from(error) {
        ApiError::NotFound(_) => unknown(),
        other => other,
    })?;
    let user = match owner {
        Owner::Account => None,
        Owner::User(user) => Some(user),
    };
    if token.account_id == account && token.user_id == user { Ok(token) } else { Err(unknown()) }
}

/// A secret of ours and the digest that stands for it.
pub(super) fn make_secret(
    kind: TokenKind,
    call: &Call<'_>,
) -> Result<(Secret, crate::core::record::Verifier), ApiError> {
    secret::make(kind, &call.config.keys)
        .map_err(|error| ApiError::Broken(format!("no random bytes: {error}")))
}

/// Refuses a field of the published record that says something else than is so.
pub(super) fn agree<T: PartialEq + Copy>(
    name: &str,
    given: Option<T>,
    expected: T,
) -> Result<(), ApiError> {
    if given.is_none_or(|given| given == expected) {
        return Ok(());
    }
    Err(ApiError::field(name, "cannot be chosen or changed: leave it out"))
}

/// `state` of the published record.
pub(super) fn state_of(state: TokenState) -> u8 {
    match state {
        TokenState::Active => ACTIVE,
        TokenState::Revoked => DELETED,
    }
}

fn time(name: &str, given: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let read = given.map(parse_time).transpose();
    read.map_err(|why| ApiError::field(name, why.to_string()))
}
