//! `…/rotate/`: a new secret with the same rights, and a grace period for the old one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::grants::{GrantShape, shape_of};
use super::operation::Operation;
use super::tokens::{CreatedToken, find, make_secret};
use crate::config::duration::parse_duration;
use crate::core::permissions::Level;
use crate::core::record::{Grant, Timestamp, TokenId};
use crate::core::routes::RequiresSpec;
use crate::core::token::TokenKind;
use crate::store::{Command, Owner, TokenView};
use crate::time::format_time;

/// How long the old token stays valid where nothing is said.
const GRACE_SECONDS: i64 = 7 * 86_400;

pub(super) fn operations() -> Vec<Operation> {
    let rotate = |path, summary, handler| {
        Operation::new("POST", path, summary, handler)
            .may_take::<RotateRequest>()
            .answers::<RotatedToken>(201)
    };
    vec![
        rotate(
            "/api/v3/accounts/{account_id}/service-tokens/{id}/rotate/",
            "Rotate a service token",
            service,
        )
        .needs("Service tokens", Level::Write)
        .managing_tokens(),
        rotate(
            "/api/v3/accounts/{account_id}/users/{user_id}/account-apikeys/{id}/rotate/",
            "Rotate a personal token",
            personal,
        )
        .requires(RequiresSpec::OwnUser),
    ]
}

/// How to rotate.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RotateRequest {
    /// How long the old token stays valid at most: `90s`, `15m`, `2h`, `7d`; 7d without.
    #[schemars(regex(pattern = r"^[0-9]{1,6}(s|m|h)$|^[0-9]{1,4}d$"))]
    grace: Option<String>,
}

/// The token that takes over.
#[derive(Serialize, JsonSchema)]
struct RotatedToken {
    #[serde(flatten)]
    created: CreatedToken,
    /// The token that it replaces.
    rotated_from: TokenId,
    /// First moment at which the old token is no longer valid.
    #[schemars(extend("format" = "date-time"))]
    old_expires_at: Option<String>,
    /// What the new token may do and the old one may not, and the other way round: nothing.
    grants_diff: GrantsDiff,
}

#[derive(Serialize, JsonSchema)]
struct GrantsDiff {
    added: Vec<GrantShape>,
    removed: Vec<GrantShape>,
}

fn service(call: &Call<'_>) -> Result<Answer, ApiError> {
    rotate(call, &find(call, Owner::Account)?, TokenKind::Service)
}

fn personal(call: &Call<'_>) -> Result<Answer, ApiError> {
    rotate(call, &find(call, Owner::User(call.id("user_id")?))?, TokenKind::Personal)
}

/// The successor's secret is handed out: the caller must hold all that it gives. That is judged by
/// the grants that the store then finds unchanged, or does nothing.
fn rotate(call: &Call<'_>, old: &TokenView, kind: TokenKind) -> Result<Answer, ApiError> {
    let grace = grace(call)?;
    call.require_authority(&old.grants, "permission_grants")?;
    let (secret, verifier) = make_secret(kind, call)?;
    let id = call.apply(Command::RotateToken {
        id: old.id,
        verifier,
        created_at: call.now,
        old_expires_at: Timestamp(call.now.0.saturating_add(grace)),
        grants: Some(old.grants.clone()),
    })?;
    let (old, new) = (call.store.token(old.id)?, call.store.token(id)?);
    Answer::created(RotatedToken {
        created: CreatedToken::of(&new, &secret),
        rotated_from: old.id,
        old_expires_at: old.expires_at.map(format_time),
        grants_diff: GrantsDiff {
            added: missing(&new.grants, &old.grants),
            removed: missing(&old.grants, &new.grants),
        },
    })
}

fn grace(call: &Call<'_>) -> Result<i64, ApiError> {
    let request: RotateRequest = match call.body.is_empty() {
        true => RotateRequest::default(),
        false => call.body()?,
    };
    let Some(grace) = request.grace else { return Ok(GRACE_SECONDS) };
    let grace = parse_duration(&grace).map_err(|why| ApiError::field("grace", why.to_string()))?;
    Ok(i64::try_from(grace.as_secs()).unwrap_or(i64::MAX))
}

fn missing(grants: &[Grant], others: &[Grant]) -> Vec<GrantShape> {
    grants.iter().filter(|grant| !others.contains(grant)).map(shape_of).collect()
}
