//! `portcullis audit list`, and how entries are shown.

use serde::Serialize;
use serde_json::Value;

use super::List;
use crate::cli::exit::Failure;
use crate::cli::session::{Opened, Session};
use crate::cli::table::{self, printable};
use crate::cli::values::Moment;
use crate::core::record::Timestamp;
use crate::store::{AuditEntry, AuditFilter, Store};
use crate::time::format_time;

/// Characters of a change that a table shows; `--json` has all of it.
const CHANGE_WIDTH: usize = 160;

/// An entry as JSON: the columns of the table.
#[derive(Serialize)]
struct EntryShape<'e> {
    sequence: u64,
    created_at: String,
    actor_type: &'e str,
    actor_id: Option<u64>,
    actor_name: &'e str,
    actor_ip: Option<&'e str>,
    event_type: &'e str,
    account_id: Option<u64>,
    subject_type: &'e str,
    subject_id: Option<&'e str>,
    before: Value,
    after: Value,
    key_id: &'e str,
    hash: String,
}

pub(super) fn run(list: List, session: &mut Session<'_>) -> Result<(), Failure> {
    let Opened { store, .. } = session.open()?;
    let now = session.around.now;
    let filter = AuditFilter {
        account_id: list.account,
        since: list.since.map(|moment| before(moment, now)),
        event: list.event,
        token: None,
        limit: list.limit,
    };
    show(&store.audit(&filter)?, list.limit, session)
}

/// Prints entries.
pub(super) fn show(
    entries: &[AuditEntry],
    limit: usize,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    if session.json {
        session.print_json(&entries.iter().map(EntryShape::from).collect::<Vec<_>>())?;
    } else {
        let heading =
            ["ENTRY", "TIME", "ACTOR", "ADDRESS", "EVENT", "ACCOUNT", "SUBJECT", "CHANGE"];
        let rows: Vec<_> = entries.iter().map(row).collect();
        session.print(&table::table(&heading, &rows))?;
    }
    if entries.len() == limit {
        session
            .say(&format!("{limit} entries are shown; --limit says how many, there may be more"));
    }
    Ok(())
}

/// A duration is counted back from now.
fn before(moment: Moment, now: Timestamp) -> Timestamp {
    match moment {
        Moment::In(seconds) => Timestamp(now.0.saturating_sub(seconds)),
        Moment::At(time) => time,
    }
}

impl<'e> From<&'e AuditEntry> for EntryShape<'e> {
    fn from(entry: &'e AuditEntry) -> Self {
        Self {
            sequence: entry.sequence,
            created_at: format_time(entry.created_at),
            actor_type: &entry.actor_type,
            actor_id: entry.actor_id,
            actor_name: &entry.actor_name,
            actor_ip: entry.actor_ip.as_deref(),
            event_type: &entry.event_type,
            account_id: entry.account_id,
            subject_type: &entry.subject_type,
            subject_id: entry.subject_id.as_deref(),
            before: parsed(entry.before.as_deref()),
            after: parsed(entry.after.as_deref()),
            key_id: &entry.key_id,
            hash: hex::encode(&entry.hash),
        }
    }
}

/// The JSON of a column; what is none, because somebody changed it, as a text.
fn parsed(column: Option<&str>) -> Value {
    column.map_or(Value::Null, |text| text.parse().unwrap_or_else(|_| text.into()))
}

fn row(entry: &AuditEntry) -> Vec<String> {
    let optional = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let cells = vec![
        entry.sequence.to_string(),
        format_time(entry.created_at),
        actor(entry),
        optional(entry.actor_ip.clone()),
        entry.event_type.clone(),
        optional(entry.account_id.map(|id| id.to_string())),
        subject(entry),
        change(entry),
    ];
    cells.into_iter().map(|cell| printable(&cell)).collect()
}

fn actor(entry: &AuditEntry) -> String {
    let AuditEntry { actor_type, actor_id, actor_name, .. } = entry;
    match actor_id {
        Some(id) if actor_type == "token" => format!("token {id} ({actor_name})"),
        _ => actor_name.clone(),
    }
}

fn subject(entry: &AuditEntry) -> String {
    match &entry.subject_id {
        Some(id) => format!("{} {id}", entry.subject_type),
        None => entry.subject_type.clone(),
    }
}

fn change(entry: &AuditEntry) -> String {
    let change = match (&entry.before, &entry.after) {
        (None, None) => "-".to_owned(),
        (Some(before), None) => format!("was {before}"),
        (None, Some(after)) => after.clone(),
        (Some(before), Some(after)) => format!("{before} -> {after}"),
    };
    if change.chars().count() <= CHANGE_WIDTH {
        return change;
    }
    let shown: String = change.chars().take(CHANGE_WIDTH - 1).collect();
    format!("{shown}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_back_and_a_time_is_itself() {
        let now = Timestamp(1_000_000);
        assert_eq!(before(Moment::In(7 * 86_400), now), Timestamp(1_000_000 - 7 * 86_400));
        assert_eq!(before(Moment::At(Timestamp(5)), now), Timestamp(5));
    }
}
