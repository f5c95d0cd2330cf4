//! Adding to the audit log, inside the writer's transaction.

use rusqlite::types::Value as Column;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use serde_json::{Value, json};

use super::rows::damaged;
use crate::store::audit::{AuditKeys, BROKEN_EVENT, Field, Head, HeadCheck, Link};
use crate::store::{Actor, StoreError};

/// Where `meta` keeps the sealed head.
const HEAD: &str = "audit_head";

/// What is added to the log.
pub(super) struct Entry<'e> {
    pub(super) at: i64,
    pub(super) actor: &'e Actor,
    pub(super) event: &'e str,
    pub(super) account: Option<i64>,
    /// A kind, or a kind, a colon and which one.
    pub(super) subject: &'e str,
    pub(super) before: Value,
    pub(super) after: Value,
}

/// The audit log as one transaction adds to it: what it adds is chained at once, and the head is
/// sealed at the end.
pub(super) struct Trail<'a> {
    connection: &'a Connection,
    keys: &'a AuditKeys,
    /// The last entry, once there was something to add.
    end: Option<Link>,
}

impl<'a> Trail<'a> {
    pub(super) fn new(connection: &'a Connection, keys: &'a AuditKeys) -> Self {
        Self { connection, keys, end: None }
    }

    /// Adds an entry.
    pub(super) fn add(&mut self, entry: &Entry<'_>) -> Result<(), StoreError> {
        let end = match self.end {
            Some(end) => end,
            None => self.begin(entry)?,
        };
        self.end = Some(self.insert(&end, entry)?);
        Ok(())
    }

    /// Where the log ends now; for [`Self::take_back`].
    pub(super) fn end(&self) -> Option<Link> {
        self.end
    }

    /// After what was added since has been rolled back.
    pub(super) fn take_back(&mut self, end: Option<Link>) {
        self.end = end;
    }

    /// Seals the head, if anything was added.
    pub(super) fn seal(self) -> Result<(), StoreError> {
        let Some(end) = self.end else { return Ok(()) };
        write_head(self.connection, self.keys, &store_id(self.connection)?, &end)
    }

    /// Finds the end. Where it is not as the last writer left it, that is noted first: nothing
    /// sealed from now on may vouch for what somebody else put there.
    fn begin(&self, entry: &Entry<'_>) -> Result<Link, StoreError> {
        let store = store_id(self.connection)?;
        let last = last_link(self.connection)?;
        let (end, problem) = match read_head(self.connection)? {
            Some(head) => {
                let end = last.unwrap_or_else(|| Link::genesis(&store));
                (end, problem(self.keys, &head, &store, &end))
            }
            None => (last.unwrap_or_else(|| Link::genesis(&store)), Some("the head is gone")),
        };
        let Some(problem) = problem else { return Ok(end) };
        let note = Entry {
            at: entry.at,
            actor: &Actor::system("store"),
            event: BROKEN_EVENT,
            account: None,
            subject: "audit_log",
            before: Value::Null,
            after: json!({ "problem": problem }),
        };
        self.insert(&end, &note)
    }

    fn insert(&self, end: &Link, entry: &Entry<'_>) -> Result<Link, StoreError> {
        let key = self.keys.current();
        let sequence = end.sequence.checked_add(1).filter(|next| i64::try_from(*next).is_ok());
        let sequence = sequence.ok_or_else(|| damaged("the number of an audit entry"))?;
        let columns = columns(sequence as i64, entry, key.id());
        let fields: Vec<Field<'_>> = columns.iter().map(field).collect();
        let hash = end.hash_next(&fields);
        let seal = key.seal(&hash);
        let held = [Column::Blob(hash.to_vec()), Column::Blob(seal.to_vec())];
        self.connection
            .prepare_cached(
                "INSERT INTO audit_log (sequence, created_at, actor_type, actor_id, actor_name,
                     actor_ip, event_type, account_id, subject_type, subject_id, before, after,
                     key_id, hash, seal)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?
            .execute(params_from_iter(columns.iter().chain(&held)))?;
        Ok(Link { sequence, hash, seal })
    }
}

/// Begins the log of a new store: sealed, though there is nothing in it.
pub(super) fn begin_log(
    connection: &Connection,
    keys: &AuditKeys,
    store: &str,
) -> Result<(), StoreError> {
    write_head(connection, keys, store, &Link::genesis(store))
}

/// Chains what was written before there was a chain, as it is found, in the order in which it was
/// written.
pub(super) fn adopt_log(connection: &Connection, keys: &AuditKeys) -> Result<(), StoreError> {
    let found = connection
        .query_row("SELECT value FROM meta WHERE key = 'store_id'", [], |row| row.get(0))
        .optional()?;
    // A store that is being made has no identity yet, and nothing in its log.
    let Some(store): Option<String> = found else { return Ok(()) };
    let mut trail = Trail::new(connection, keys);
    trail.end = Some(Link::genesis(&store));
    let mut statement = connection.prepare(
        "SELECT at, actor, event, account_id, subject, detail FROM unchained_log ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (event, subject, detail): (String, String, String) =
            (row.get(2)?, row.get(4)?, row.get(5)?);
        let mut detail: Value = detail.parse().map_err(|_| damaged("an audit entry"))?;
        let actor = Actor { name: row.get(1)?, ..Actor::operator() };
        trail.add(&Entry {
            at: row.get(0)?,
            actor: &actor,
            event: &event,
            account: row.get(3)?,
            subject: &subject,
            before: detail["before"].take(),
            after: detail["after"].take(),
        })?;
    }
    trail.seal()
}

pub(super) fn store_id(connection: &Connection) -> Result<String, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT value FROM meta WHERE key = 'store_id'")?;
    statement
        .query_row([], |row| row.get(0))
        .optional()?
        .ok_or_else(|| damaged("the identity of the store"))
}

/// The sealed head; `None` also where what is in its place is none.
pub(super) fn read_head(connection: &Connection) -> Result<Option<Head>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    let text: Option<String> = statement.query_row([HEAD], |row| row.get(0)).optional()?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// The columns that an entry's hash covers, in the order of the table.
fn columns(sequence: i64, entry: &Entry<'_>, key_id: &str) -> [Column; 13] {
    let Actor { kind, id, name, address, bulk: _ } = entry.actor;
    let (subject, subject_id) = match entry.subject.split_once(':') {
        Some((kind, id)) => (kind, Some(id)),
        None => (entry.subject, None),
    };
    let optional = |text: Option<&str>| text.map_or(Column::Null, |text| Column::Text(text.into()));
    let json = |value: &Value| match value {
        Value::Null => Column::Null,
        value => Column::Text(value.to_string()),
    };
    [
        Column::Integer(sequence),
        Column::Integer(entry.at),
        Column::Text(kind.name().to_owned()),
        id.map_or(Column::Null, |id| Column::Integer(id as i64)),
        Column::Text(name.clone()),
        address.map_or(Column::Null, |address| Column::Text(address.to_string())),
        Column::Text(entry.event.to_owned()),
        entry.account.map_or(Column::Null, Column::Integer),
        Column::Text(subject.to_owned()),
        optional(subject_id),
        json(&entry.before),
        json(&entry.after),
        Column::Text(key_id.to_owned()),
    ]
}

fn field(column: &Column) -> Field<'_> {
    match column {
        Column::Null => Field::Null,
        Column::Integer(number) => Field::Integer(*number),
        Column::Real(number) => Field::Real(*number),
        Column::Text(text) => Field::Text(text.as_bytes()),
        Column::Blob(bytes) => Field::Blob(bytes),
    }
}

fn last_link(connection: &Connection) -> Result<Option<Link>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, hash, seal FROM audit_log WHERE sequence > 0
         ORDER BY sequence DESC LIMIT 1",
    )?;
    let found = statement.query_row([], |row| {
        let sequence: i64 = row.get(0)?;
        let (hash, seal): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
        // Whatever has another length is no hash, and then the head does not fit it.
        let (hash, seal) =
            (hash.try_into().unwrap_or_default(), seal.try_into().unwrap_or_default());
        Ok(Link { sequence: sequence as u64, hash, seal })
    });
    Ok(found.optional()?)
}

/// What is wrong with the end of the log, if anything.
fn problem(keys: &AuditKeys, head: &Head, store: &str, end: &Link) -> Option<&'static str> {
    if head.end != end.anchor() {
        return Some("the last entry is not the one that the head names");
    }
    match keys.check_head(head, store, end) {
        HeadCheck::Good => None,
        HeadCheck::UnknownKey => Some("the head is sealed by a key that is not in digest.key"),
        HeadCheck::Wrong => Some("the seal of the head is not that of its key"),
    }
}

fn write_head(
    connection: &Connection,
    keys: &AuditKeys,
    store: &str,
    end: &Link,
) -> Result<(), StoreError> {
    let head = keys.current().head(store, end);
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(params![HEAD, head.to_string()])?;
    Ok(())
}
