//! `…/service-tokens/{id}/usage/`: when a token was last used, and whether it may be deleted.

use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use super::query::Parameter;
use super::tokens::find;
use crate::core::permissions::Level;
use crate::core::record::TokenId;
use crate::store::Owner;
use crate::time::format_time;
use crate::usage::Silence;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "GET",
            "/api/v3/accounts/{account_id}/service-tokens/{id}/usage/",
            "Read the use of a service token",
            read,
        )
        .needs("Service tokens", Level::Read)
        .query(&[Parameter::Silent])
        .answers::<Usage>(200),
    ]
}

/// How a token is used.
#[derive(Serialize, JsonSchema)]
struct Usage {
    id: TokenId,
    /// Requests since counting began, also those that a step after the third refused.
    requests: u64,
    #[schemars(extend("format" = "date-time"))]
    last_used_at: Option<String>,
    /// Where the last request came from, as far as that can be known.
    last_address: Option<String>,
    /// When counting began: of the time before, nothing is known.
    #[schemars(extend("format" = "date-time"))]
    counted_since: String,
    /// Since when it is silent, as far as can be known.
    #[schemars(extend("format" = "date-time"))]
    silent_since: String,
    /// The token that replaced it in a rotation.
    rotated_to: Option<TokenId>,
    /// It was replaced, and has been silent for as long as `silent` says.
    may_be_deleted: bool,
}

fn read(call: &Call<'_>) -> Result<Answer, ApiError> {
    let token = find(call, Owner::Account)?;
    let used = call.store.token_use(token.id)?;
    let counted_since = call.store.uses_since()?;
    let silence = Silence::of(&token, used.as_ref(), counted_since);
    let is_silent = silence.lasts(call.query.silent, call.now);
    Answer::one(Usage {
        id: token.id,
        requests: used.as_ref().map_or(0, |used| used.requests),
        last_used_at: used.as_ref().map(|used| format_time(used.last_used_at)),
        last_address: used.and_then(|used| used.last_address).map(|address| address.to_string()),
        counted_since: format_time(counted_since),
        silent_since: format_time(silence.since()),
        rotated_to: token.rotated_to,
        may_be_deleted: token.rotated_to.is_some() && is_silent,
    })
}
