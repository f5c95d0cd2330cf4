//! `POST /feed/usage`: how tokens were used at a gate, in numbered batches, so that one that is sent
//! again because its answer was lost does not count twice.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::control::answer::Answer;
use crate::control::call::Call;
use crate::control::error::ApiError;
use crate::store::{TokenUse, VerifyCost};
use crate::usage::{Told, Used};

/// Most gates whose last batch is remembered; with one more, all are forgotten.
const GATES_LIMIT: usize = 4_096;
/// Most bytes of what a gate calls itself.
const NAME_LIMIT: usize = 64;

/// The last batch of each gate.
#[derive(Debug, Default)]
pub(super) struct Batches(Mutex<HashMap<String, u64>>);

pub(super) fn record(call: &Call<'_>) -> Result<Answer, ApiError> {
    let Told { gate, batch, uses, costs } = call.body()?;
    if gate.len() > NAME_LIMIT {
        return Err(ApiError::field("gate", format!("longer than {NAME_LIMIT} bytes")));
    }
    let future = |used: &Used| used.last_used_at > call.now.0.saturating_add(86_400);
    if let Some(position) = uses.iter().position(future) {
        let field = format!("uses[{position}].last_used_at");
        return Err(ApiError::field(&field, "more than a day ahead of this clock"));
    }
    let mut batches = call.feed.batches.0.lock().unwrap_or_else(PoisonError::into_inner);
    if batches.get(&gate).is_none_or(|last| *last < batch) {
        let uses: Vec<TokenUse> = uses.iter().map(TokenUse::from).collect();
        let costs: Vec<VerifyCost> = costs.iter().map(VerifyCost::from).collect();
        if !uses.is_empty() {
            call.store.record_uses(&uses)?;
        }
        if !costs.is_empty() {
            call.store.record_costs(&costs)?;
        }
        if batches.len() >= GATES_LIMIT {
            batches.clear();
        }
        batches.insert(gate, batch);
    }
    Ok(Answer::nothing())
}
