//! Copies of a store in a file of their own: making them, and checking one before it is restored.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::feed;
use super::schema::{self, Purpose};
use super::views;
use crate::core::record::Timestamp;
use crate::store::{Contents, Cursor, StoreError};

/// Where `meta` of a backup keeps when it was made.
const MADE_AT: &str = "backup_made_at";

/// What is in a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFacts {
    /// Which store, which epoch of it, and how far it had come.
    pub cursor: Cursor,
    /// When it was made; `None` for a file that was copied by other means.
    pub made_at: Option<Timestamp>,
    /// How many accounts there are.
    pub accounts: u64,
    /// How many tokens there are.
    pub tokens: u64,
    /// Ids of the keys that the digests of its active tokens were made with.
    pub key_ids: Vec<String>,
}

/// Writes a copy of one moment of the store at `from` into the file at `to`, which is empty or not
/// there, without keeping anybody waiting. A file that it makes is as readable as the process makes
/// files.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let connection = schema::connect(from, Purpose::Write)?;
    connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    Ok(())
}

/// Notes in a copy when it was made, and reads what is in it.
pub(super) fn finish(copy: &Path, now: Timestamp) -> Result<BackupFacts, StoreError> {
    let connection = schema::connect(copy, Purpose::Write)?;
    connection.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
        (MADE_AT, now.0.to_string()),
    )?;
    facts(&connection)
}

/// Checks the file at `from`, page by page and row by row, and copies it to `to`, an empty file,
/// where it is brought up to date when it is opened. The file itself is only read.
pub(super) fn take_in(from: &Path, to: &Path) -> Result<(), StoreError> {
    let unusable = |error: rusqlite::Error| {
        StoreError::Database(format!("{} cannot be used: {error}", from.display()))
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(from, flags).map_err(unusable)?;
    schema::version(&connection, from)?;
    check(&connection, from)?;
    connection.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map_err(unusable)?;
    Ok(())
}

/// What is in the copy of a backup. It must be of the present schema.
pub(super) fn facts(connection: &Connection) -> Result<BackupFacts, StoreError> {
    let Contents { cursor, accounts, tokens, ids: _ } = feed::contents(connection)?;
    let made_at: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [MADE_AT], |row| row.get(0))
        .optional()?;
    Ok(BackupFacts {
        cursor,
        made_at: made_at.and_then(|text| text.parse().ok()).map(Timestamp),
        accounts,
        tokens,
        key_ids: views::collect(
            connection,
            "SELECT DISTINCT key_id FROM tokens WHERE key_id IS NOT NULL AND state = 'active'
             ORDER BY key_id",
            [],
            |row| Ok(row.get(0)?),
        )?,
    })
}

/// Looks for damage: everything that SQLite can find, and rows that name what is not there.
fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let damaged = |what: &str| {
        StoreError::Database(format!(
            "{} is damaged and was not restored: {what}; take another backup",
            path.display()
        ))
    };
    let found: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|error| damaged(&error.to_string()))?;
    if found != "ok" {
        // Only the first line, which names pages and indexes: never what is in them.
        return Err(damaged(found.lines().next().unwrap_or_default()));
    }
    let dangling: Option<String> = connection
        .query_row("PRAGMA foreign_key_check", [], |row| row.get(0))
        .optional()
        .map_err(|error| damaged(&error.to_string()))?;
    match dangling {
        Some(table) => Err(damaged(&format!("rows of `{table}` name what is not there"))),
        None => Ok(()),
    }
}
