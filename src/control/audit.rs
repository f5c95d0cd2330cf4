//! `…/audit-logs/`: who changed what in the account, the latest first.

use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use crate::core::permissions::Level;
use crate::core::record::AccountId;
use crate::store::{AuditEntry, AuditFilter};
use crate::time::format_time;

/// How many entries back a page may begin: they are read on the way.
const OFFSET_LIMIT: u64 = 100_000;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "GET",
            "/api/v3/accounts/{account_id}/audit-logs/",
            "List audit log entries",
            list,
        )
        .needs("Audit logs", Level::Read)
        .lists::<AuditLog>(),
    ]
}

/// An entry of the audit log.
#[derive(Serialize, JsonSchema)]
struct AuditLog {
    /// Its number in the log.
    id: String,
    account_id: Option<AccountId>,
    /// `operator`, `token` or `system`: what kind of actor did it.
    source: String,
    service: &'static str,
    actor: Actor,
    event_type: String,
    /// The event in words.
    event_label: String,
    event_context: Context,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
}

#[derive(Serialize, JsonSchema)]
struct Actor {
    actor_type: String,
    /// The operator's user id, or the token's number.
    actor_id: Option<u64>,
    actor_name: String,
    /// From where; none for the command line.
    actor_ip: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Context {
    subject_type: String,
    subject_id: Option<String>,
    before: serde_json::Value,
    after: serde_json::Value,
}

impl From<AuditEntry> for AuditLog {
    fn from(entry: AuditEntry) -> Self {
        let parsed = |text: Option<String>| {
            text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
        };
        Self {
            id: entry.sequence.to_string(),
            account_id: entry.account_id,
            source: entry.actor_type.clone(),
            service: "portcullis",
            actor: Actor {
                actor_type: entry.actor_type,
                actor_id: entry.actor_id,
                actor_name: entry.actor_name,
                actor_ip: entry.actor_ip,
            },
            event_label: entry.event_type.replace(['.', '_'], " "),
            event_type: entry.event_type,
            event_context: Context {
                subject_type: entry.subject_type,
                subject_id: entry.subject_id,
                before: parsed(entry.before),
                after: parsed(entry.after),
            },
            created_at: format_time(entry.created_at),
        }
    }
}

fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    let (account, page) = (call.account()?, call.query.page);
    if page.offset > OFFSET_LIMIT {
        return Err(ApiError::field("offset", format!("at most {OFFSET_LIMIT} here")));
    }
    let filter = AuditFilter {
        account_id: Some(account),
        since: None,
        event: None,
        token: None,
        limit: (page.offset + page.limit) as usize,
    };
    let entries = call.store.audit(&filter)?.into_iter().rev().skip(page.offset as usize);
    Answer::list(entries.map(AuditLog::from).collect(), call.store.audit_count(account)?)
}
