//! `…/legacy-report/`: the account's legacy tokens by use, and what they cost.

use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use super::query::Parameter;
use crate::core::permissions::Level;
use crate::core::record::Timestamp;
use crate::usage::{LegacyToken, report};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "GET",
            "/api/v3/accounts/{account_id}/legacy-report/",
            "Report legacy tokens",
            list,
        )
        .needs("Service tokens", Level::Read)
        .for_operator()
        .lists::<LegacyToken>()
        .query(&[Parameter::Since]),
    ]
}

/// What is saved is saved by rotating a token and those before it, also those of earlier pages.
fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    let since = Timestamp(call.now.0.saturating_sub(call.query.since));
    let uses = call.store.legacy_uses(Some(call.account()?), since, call.now)?;
    Answer::page(report(uses), call.query.page, std::convert::identity)
}
