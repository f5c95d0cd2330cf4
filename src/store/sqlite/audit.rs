//! What is read of the audit log.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::rows::{number, optional_number};
use super::trail::{read_head, store_id};
use crate::core::record::{AccountId, Timestamp};
use crate::store::audit::{Columns, Field, Link, Walk};
use crate::store::{Anchor, AuditEntry, AuditFilter, AuditKeys, AuditReport, StoreError};

/// Every column, in the order that the hashes have; the first [`COVERED`] are what they cover.
const COLUMNS: &str = "sequence, created_at, actor_type, actor_id, actor_name, actor_ip,
    event_type, account_id, subject_type, subject_id, before, after, key_id, hash, seal";
const COVERED: usize = 13;
const EVENT: usize = 6;
const KEY_ID: usize = 12;

/// The last entries that the filter lets through, oldest first.
pub(super) fn entries(
    connection: &Connection,
    filter: &AuditFilter,
) -> Result<Vec<AuditEntry>, StoreError> {
    let AuditFilter { account_id, since, event, token, limit } = filter;
    let traces = token.as_ref();
    let fingerprints = traces.map(|traces| traces.fingerprints.join("\n"));
    let sql = format!(
        "SELECT {COLUMNS} FROM audit_log
         WHERE (?1 IS NULL OR account_id = ?1) AND (?2 IS NULL OR created_at >= ?2)
           AND (?3 IS NULL OR event_type = ?3
                OR substr(event_type, 1, length(?3) + 1) = ?3 || '.')
           AND (NOT ?4 OR {ABOUT_TOKEN})
         ORDER BY sequence DESC LIMIT ?7"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![
        account_id.map(|id| id as i64),
        since.map(|at| at.0),
        event,
        traces.is_some(),
        traces.and_then(|traces| traces.id).map(|id| id as i64),
        fingerprints.unwrap_or_default(),
        i64::try_from(*limit).unwrap_or(i64::MAX),
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read_entry(row)?);
    }
    found.reverse();
    Ok(found)
}

/// How many entries concern the account.
pub(super) fn count(connection: &Connection, account: AccountId) -> Result<u64, StoreError> {
    let Ok(account) = i64::try_from(account) else { return Ok(0) };
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM audit_log WHERE account_id = ?1")?
        .query_row([account], |row| row.get(0))?;
    Ok(count as u64)
}

/// About the token of number `?5`, or one with a fingerprint among the lines of `?6`, or done with
/// it. An import names the tokens that it brought by the first and the last number.
const ABOUT_TOKEN: &str = "
    (subject_type = 'token' AND subject_id = CAST(?5 AS TEXT))
    OR (actor_type = 'token' AND actor_id = ?5)
    OR (subject_type = 'token' AND after ->> '$.rotated_to' = ?5)
    OR (subject_type = 'import' AND ?5 BETWEEN after ->> '$.tokens.first'
        AND after ->> '$.tokens.last')
    OR (subject_type = 'token' AND instr(?6, after ->> '$.fingerprint') > 0)";

/// Goes along the whole chain, or what follows `start`.
pub(super) fn verify(
    connection: &Connection,
    keys: &AuditKeys,
    start: Option<&Anchor>,
    expected: &[Anchor],
) -> Result<AuditReport, StoreError> {
    let store = store_id(connection)?;
    let start = start.map_or(Ok(Link::genesis(&store)), |anchor| link_at(connection, anchor))?;
    let mut walk = Walk::begin(keys, &store, start, expected);
    // Numbers that are never given are before the first: they are in the way of no gap.
    let sql =
        format!("SELECT {COLUMNS} FROM audit_log WHERE ?1 = 0 OR sequence > ?1 ORDER BY sequence");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([start.sequence as i64])?;
    while let Some(row) = rows.next()? {
        let mut fields = [Field::Null; COVERED + 2];
        for (column, field) in fields.iter_mut().enumerate() {
            *field = read_field(row.get_ref(column)?);
        }
        walk.entry(&Columns {
            covered: &fields[..COVERED],
            sequence: fields[0],
            event: fields[EVENT],
            key_id: fields[KEY_ID],
            hash: fields[COVERED],
            seal: fields[COVERED + 1],
        });
    }
    Ok(walk.finish(read_head(connection)?.as_ref()))
}

fn link_at(connection: &Connection, anchor: &Anchor) -> Result<Link, StoreError> {
    let other = || {
        StoreError::Conflict(format!(
            "entry {} of the audit log is not the one with this hash, or is not there: verify the \
             whole log, without a place to begin after",
            anchor.sequence
        ))
    };
    let sequence = i64::try_from(anchor.sequence).map_err(|_| other())?;
    let mut statement =
        connection.prepare("SELECT seal FROM audit_log WHERE sequence = ?1 AND hash = ?2")?;
    let mut rows = statement.query(params![sequence, anchor.hash])?;
    let row = rows.next()?.ok_or_else(other)?;
    let seal = row.get::<_, [u8; 32]>(0).map_err(|_| other())?;
    Ok(Link { sequence: anchor.sequence, hash: anchor.hash, seal })
}

fn read_entry(row: &Row<'_>) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        sequence: number(row, 0)?,
        created_at: Timestamp(row.get(1)?),
        actor_type: row.get(2)?,
        actor_id: optional_number(row, 3)?,
        actor_name: row.get(4)?,
        actor_ip: row.get(5)?,
        event_type: row.get(EVENT)?,
        account_id: optional_number(row, 7)?,
        subject_type: row.get(8)?,
        subject_id: row.get(9)?,
        before: row.get(10)?,
        after: row.get(11)?,
        key_id: row.get(KEY_ID)?,
        hash: row.get(COVERED)?,
    })
}

fn read_field(value: ValueRef<'_>) -> Field<'_> {
    match value {
        ValueRef::Null => Field::Null,
        ValueRef::Integer(number) => Field::Integer(number),
        ValueRef::Real(number) => Field::Real(number),
        ValueRef::Text(text) => Field::Text(text),
        ValueRef::Blob(bytes) => Field::Blob(bytes),
    }
}
