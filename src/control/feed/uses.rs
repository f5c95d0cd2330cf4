//! `POST /feed/usage`: how tokens were used at a gate, in numbered batches, so that one that is sent
//! again because its answer was lost does not count twice.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::control::answer::Answer;
use crate::control::call::Call;
use crate::control::error::ApiError;
use crate::core::record::Timestamp;
use crate::store::{COUNT_LIMIT, TokenUse, VerifyCost};
use crate::usage::{Cost, Told, Used};

/// Most gates whose last batch is remembered; with one more, all are forgotten.
const GATES_LIMIT: usize = 4_096;
/// Most bytes of what a gate calls itself.
const NAME_LIMIT: usize = 64;

/// How far ahead of this clock a gate's may be.
const AHEAD_LIMIT_SECONDS: i64 = 86_400;

/// The last batch of each gate.
#[derive(Debug, Default)]
pub(super) struct Batches(Mutex<HashMap<String, u64>>);

pub(super) fn record(call: &Call<'_>) -> Result<Answer, ApiError> {
    let Told { gate, batch, uses, costs } = call.body()?;
    if gate.len() > NAME_LIMIT {
        return Err(ApiError::field("gate", format!("longer than {NAME_LIMIT} bytes")));
    }
    check(&uses, &costs, call.now)?;
    let mut batches = call.feed.batches.0.lock().unwrap_or_else(PoisonError::into_inner);
    if batches.get(&gate).is_none_or(|last| *last < batch) {
        let uses: Vec<TokenUse> = uses.iter().map(TokenUse::from).collect();
        let costs: Vec<VerifyCost> = costs.iter().map(VerifyCost::from).collect();
        if !(uses.is_empty() && costs.is_empty()) {
            call.store.record_uses(&uses, &costs)?;
        }
        if batches.len() >= GATES_LIMIT {
            batches.clear();
        }
        batches.insert(gate, batch);
    }
    Ok(Answer::nothing())
}

/// Refuses what no gate could have counted. A time to come would also have the days before it
/// removed as if they were long ago.
fn check(uses: &[Used], costs: &[Cost], now: Timestamp) -> Result<(), ApiError> {
    for (position, used) in uses.iter().enumerate() {
        let of = |member: &str| format!("uses[{position}].{member}");
        check_time(&of("last_used_at"), used.last_used_at, now)?;
        check_count(&of("requests"), used.requests)?;
    }
    for (position, cost) in costs.iter().enumerate() {
        let of = |member: &str| format!("costs[{position}].{member}");
        check_time(&of("last_at"), cost.last_at, now)?;
        check_count(&of("verifications"), cost.verifications)?;
        check_count(&of("hash_micros"), cost.hash_micros)?;
    }
    Ok(())
}

fn check_time(field: &str, at: i64, now: Timestamp) -> Result<(), ApiError> {
    match at {
        ..0 => Err(ApiError::field(field, "before 1970")),
        at if at > now.0.saturating_add(AHEAD_LIMIT_SECONDS) => {
            Err(ApiError::field(field, "more than a day ahead of this clock"))
        }
        _ => Ok(()),
    }
}

fn check_count(field: &str, count: u64) -> Result<(), ApiError> {
    match count {
        0..=COUNT_LIMIT => Ok(()),
        _ => Err(ApiError::field(field, format!("more than {COUNT_LIMIT}"))),
    }
}
