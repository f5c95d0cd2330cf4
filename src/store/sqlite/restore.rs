//! Putting a backup in the place of a store.
//!
//! The store's file stays the same one, and what is in it is exchanged in one transaction: programs
//! that have it open see either the old or the new, lose no write to a file without a name, and
//! followers see the new epoch. Where there is no file that could be kept, the copy takes its place.

use std::collections::HashMap;
use std::fs::{OpenOptions, remove_file, rename};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use serde_json::json;

use super::backup;
use super::execute::{Event, Executor, write_bulk_marker};
use super::schema::{self, Purpose};
use super::trail::Trail;
use super::views;
use crate::core::record::Timestamp;
use crate::store::{Actor, Bulk, Rules, StoreError};

/// How a backup is restored.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Who does it.
    pub actor: Actor,
    /// Now.
    pub now: Timestamp,
    /// Whether what was revoked, shortened or closed since the backup works again.
    pub revive: bool,
}

/// What restoring changes, apart from what it brings back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Whether the backup is one of this store.
    pub same_store: bool,
    /// Entries of the audit log since the backup: what they did is undone.
    pub changes: u64,
    /// Tokens made since, which will be unknown.
    pub tokens: u64,
}

/// What has been kept of the store that was replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Tokens of the backup that stay revoked.
    pub revoked: u64,
    /// Tokens of the backup that expire as early as they came to.
    pub expiring: u64,
    /// Revoked tokens that the backup does not know.
    pub unknown: u64,
    /// Accounts that stay closed or cancelled.
    pub accounts: u64,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The epoch that begins.
    pub epoch: u64,
    /// What has been kept.
    pub carried: Carried,
}

/// Compares the store at `live` with a copy of a backup.
pub(super) fn compare(live: &Path, copy: &Path) -> Result<Difference, StoreError> {
    let connection = attach(live, copy)?;
    let same_store = is_same_store(&connection)?;
    if !same_store {
        return Ok(Difference::default());
    }
    let number =
        |sql: &str| connection.query_row(sql, [], |row| Ok(row.get::<_, i64>(0)?.max(0) as u64));
    Ok(Difference {
        same_store,
        changes: number(
            "SELECT (SELECT count(*) FROM main.audit_log) - (SELECT count(*) FROM backup.audit_log)",
        )?,
        tokens: number(
            "SELECT count(*) FROM main.tokens
             WHERE id > (SELECT coalesce(max(id), 0) FROM backup.tokens)",
        )?,
    })
}

/// Exchanges what is in the store at `live` for what is in the copy of a backup. What is replaced
/// is written to `kept` first.
pub(super) fn exchange(
    live: &Path,
    copy: &Path,
    kept: &Path,
    rules: &Rules,
    restore: &Restore,
) -> Result<Restored, StoreError> {
    let connection = attach(live, copy)?;
    // Tables are emptied and filled in any order.
    connection.execute_batch("PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE")?;
    keep(live, kept)?;
    let exchanged = exchange_within(&connection, rules, restore)
        .and_then(|restored| Ok(connection.execute_batch("COMMIT").map(|()| restored)?));
    exchanged.inspect_err(|_| {
        // Nothing was replaced: the first error says why.
        let _ = remove_file(kept);
    })
}

/// Makes the copy of a backup the store at `live`, where there is none.
pub(super) fn place(
    copy: &Path,
    live: &Path,
    rules: &Rules,
    restore: &Restore,
) -> Result<Restored, StoreError> {
    let connection = schema::connect(copy, Purpose::Write)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE")?;
    let before = epoch(&connection, "main")?;
    let epoch = next_epoch(before, restore.now);
    count_uses_anew(&connection, restore.now)?;
    conclude(&connection, rules, restore, epoch, Carried::default())?;
    connection.execute_batch("COMMIT")?;
    // The last connection that is closed leaves everything in the file itself.
    connection.close().map_err(|(_, error)| StoreError::from(error))?;
    let failed = |error: std::io::Error| {
        StoreError::Database(format!("{} cannot be made: {error}", live.display()))
    };
    std::fs::File::open(copy).and_then(|file| file.sync_all()).map_err(failed)?;
    std::fs::hard_link(copy, live).map_err(failed)?;
    Ok(Restored { epoch, carried: Carried::default() })
}

/// Gives what there is of the files of a store another name. Whether the main one was there.
pub(super) fn set_aside(live: &Path, kept: &Path) -> Result<bool, StoreError> {
    let named = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let mut moved = Vec::new();
    // The main file last: what SQLite finds beside one that comes later, it writes into that.
    for suffix in ["-wal", "-shm", ""] {
        let (from, to) = (named(live, suffix), named(kept, suffix));
        match rename(&from, &to) {
            Ok(()) => moved.push((from, to)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                // Without its log, a store would be what it was before the last changes.
                for (from, to) in moved.iter().rev() {
                    rename(to, from).map_err(|error| set_aside_error(to, &error))?;
                }
                return Err(set_aside_error(&from, &error));
            }
        }
    }
    Ok(moved.iter().any(|(from, _)| from == live))
}

fn set_aside_error(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Database(format!("{} cannot be renamed: {error}", path.display()))
}

/// A connection to the store with the copy of the backup beside it, as `backup`.
fn attach(live: &Path, copy: &Path) -> Result<Connection, StoreError> {
    let connection = schema::connect(live, Purpose::Write)?;
    connection.execute("ATTACH ?1 AS backup", [copy.to_string_lossy()])?;
    Ok(connection)
}

fn is_same_store(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT (SELECT value FROM main.meta WHERE key = 'store_id')
                    = (SELECT value FROM backup.meta WHERE key = 'store_id')";
    Ok(connection.query_row(sql, [], |row| row.get::<_, Option<bool>>(0))?.unwrap_or(false))
}

/// Copies what is about to be replaced, into a new file for its owner alone.
fn keep(live: &Path, kept: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| {
        StoreError::Database(format!("{} cannot be written: {error}", kept.display()))
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(kept);
    let file = file.map_err(failed)?;
    let copied = backup::copy(live, kept).and_then(|()| file.sync_all().map_err(failed));
    copied.inspect_err(|_| {
        // Part of a copy is of no use, and takes room that there may be too little of.
        let _ = remove_file(kept);
    })
}

fn exchange_within(
    connection: &Connection,
    rules: &Rules,
    restore: &Restore,
) -> Result<Restored, StoreError> {
    let same_store = is_same_store(connection)?;
    let carried =
        if restore.revive { Carried::default() } else { carry_over(connection, same_store)? };
    let before = epoch(connection, "main")?.max(epoch(connection, "backup")?);
    let epoch = next_epoch(before, restore.now);
    exchange_tables(connection, same_store)?;
    if !same_store {
        count_uses_anew(connection, restore.now)?;
    }
    conclude(connection, rules, restore, epoch, carried)?;
    Ok(Restored { epoch, carried })
}

/// No epoch comes twice, also where the store that knew of later ones is lost.
fn next_epoch(before: u64, now: Timestamp) -> u64 {
    before.saturating_add(1).max(now.0.unsigned_abs())
}

fn epoch(connection: &Connection, schema: &str) -> Result<u64, StoreError> {
    let sql = format!("SELECT CAST(value AS INTEGER) FROM {schema}.meta WHERE key = 'epoch'");
    Ok(connection.query_row(&sql, [], |row| Ok(row.get::<_, i64>(0)? as u64))?)
}

/// Takes from the copy what has been taken away since: nothing is ever revived.
fn carry_over(connection: &Connection, same_store: bool) -> Result<Carried, StoreError> {
    find_same(connection, same_store)?;
    let run = |sql: &str| Ok::<_, StoreError>(connection.execute(sql, [])? as u64);
    let revoked =
        run("UPDATE backup.tokens SET state = 'revoked' WHERE state = 'active' AND id IN
             (SELECT taken FROM temp.same JOIN main.tokens r ON r.id = known
              WHERE r.state = 'revoked')")?;
    let expiring = run("UPDATE backup.tokens AS b SET expires_at = r.earliest FROM
             (SELECT taken, min(expires_at) AS earliest FROM temp.same
              JOIN main.tokens ON id = known WHERE expires_at IS NOT NULL GROUP BY taken) AS r
         WHERE b.id = r.taken AND (b.expires_at IS NULL OR b.expires_at > r.earliest)")?;
    let accounts =
        run("UPDATE backup.accounts SET state = 'closed' WHERE state = 'open' AND id IN
             (SELECT id FROM main.accounts WHERE state = 'closed')")?
            + run(
                "UPDATE backup.accounts SET plan = 'cancelled' WHERE plan <> 'cancelled' AND id IN
             (SELECT id FROM main.accounts WHERE plan = 'cancelled')",
            )?;
    let unknown = if same_store { carry_unknown(connection)? } else { 0 };
    Ok(Carried { revoked, expiring, unknown, accounts })
}

/// Pairs tokens of which something may have been taken away with those of the backup: by what
/// recognises their secret, and, in one store, by their number.
fn find_same(connection: &Connection, same_store: bool) -> Result<(), StoreError> {
    connection.execute_batch("CREATE TEMP TABLE same (known INTEGER, taken INTEGER)")?;
    let restricted = "(r.state = 'revoked' OR r.expires_at IS NOT NULL)";
    for column in ["digest", "sha256", "hash", "upgraded_from"] {
        let sql = format!(
            "INSERT INTO temp.same SELECT r.id, b.id FROM main.tokens r
             JOIN backup.tokens b ON b.{column} = r.{column} WHERE {restricted}"
        );
        connection.execute(&sql, [])?;
    }
    let sql = format!(
        "INSERT INTO temp.same SELECT r.id, b.id FROM main.tokens r
         JOIN backup.tokens b ON b.id = r.id WHERE ?1 AND {restricted}"
    );
    connection.execute(&sql, [same_store])?;
    for (one, other) in [("main", "backup"), ("backup", "main")] {
        pair_upgraded(connection, one, other)?;
    }
    Ok(())
}

/// Pairs tokens that were upgraded in one of the two with those that still have the hash in the
/// other.
fn pair_upgraded(connection: &Connection, upgraded: &str, slow: &str) -> Result<(), StoreError> {
    let marks = views::collect(
        connection,
        &format!("SELECT upgraded_from, id FROM {upgraded}.tokens WHERE upgraded_from IS NOT NULL"),
        [],
        |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?)),
    )?;
    if marks.is_empty() {
        return Ok(());
    }
    let marks: HashMap<_, _> = marks.into_iter().collect();
    let hashes = format!("SELECT hash, id FROM {slow}.tokens WHERE hash IS NOT NULL");
    let mut statement = connection.prepare(&hashes)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (hash, id): (String, i64) = (row.get(0)?, row.get(1)?);
        if let Some(other) = marks.get(&views::hash_mark(&hash)[..]) {
            let pair = if slow == "backup" { [*other, id] } else { [id, *other] };
            connection.execute("INSERT INTO temp.same VALUES (?1, ?2)", pair)?;
        }
    }
    Ok(())
}

/// Adds the revoked tokens that the backup does not know, so that no import brings them to life.
fn carry_unknown(connection: &Connection) -> Result<u64, StoreError> {
    connection.execute_batch(
        "CREATE TEMP TABLE added AS SELECT id FROM main.tokens r
             WHERE r.state = 'revoked' AND r.account_id IN (SELECT id FROM backup.accounts)
             AND NOT EXISTS (SELECT 1 FROM backup.tokens b WHERE b.id = r.id)
             AND NOT EXISTS (SELECT 1 FROM temp.same WHERE known = r.id);
         INSERT INTO backup.tokens SELECT * FROM main.tokens WHERE id IN temp.added;
         INSERT INTO backup.grants SELECT * FROM main.grants WHERE token_id IN temp.added;
         UPDATE backup.tokens SET rotated_to = NULL
             WHERE id IN temp.added AND rotated_to NOT IN (SELECT id FROM backup.tokens);",
    )?;
    Ok(connection.query_row("SELECT count(*) FROM temp.added", [], |row| row.get::<_, i64>(0))?
        as u64)
}

/// What of one store only grows, so that the present one has whatever a backup has.
const GROWING: [&str; 3] = ["audit_log", "token_uses", "token_use_days"];

/// Empties every table and fills it from the copy. Numbers that were given are not given again,
/// since what SQLite remembers of them never goes down.
fn exchange_tables(connection: &Connection, same_store: bool) -> Result<(), StoreError> {
    let tables: Vec<String> = views::collect(
        connection,
        "SELECT name FROM backup.sqlite_master
         WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_' AND name <> 'meta'",
        [],
        |row| Ok(row.get(0)?),
    )?;
    for table in tables.iter().filter(|table| !(same_store && GROWING.contains(&table.as_str()))) {
        connection.execute_batch(&format!(
            "DELETE FROM main.\"{table}\";
             INSERT INTO main.\"{table}\" SELECT * FROM backup.\"{table}\""
        ))?;
    }
    // What else is known of the store itself goes with its audit log.
    connection.execute_batch(if same_store {
        "DELETE FROM main.token_uses WHERE token_id NOT IN (SELECT id FROM main.tokens);
         DELETE FROM main.token_use_days WHERE token_id NOT IN (SELECT id FROM main.tokens)"
    } else {
        "DELETE FROM main.meta; INSERT INTO main.meta SELECT * FROM backup.meta"
    })?;
    Ok(())
}

/// Of what was used between the backup and now nothing is known, and no token counts as unused for
/// that.
fn count_uses_anew(connection: &Connection, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE main.meta SET value = ?1 WHERE key = 'uses_since'";
    connection.execute(sql, [now.0.to_string()])?;
    Ok(())
}

/// Begins the epoch, and notes it for followers and in the audit log.
fn conclude(
    connection: &Connection,
    rules: &Rules,
    restore: &Restore,
    epoch: u64,
    carried: Carried,
) -> Result<(), StoreError> {
    connection.execute_batch("DELETE FROM main.meta WHERE key = 'backup_made_at'")?;
    connection.execute(
        "UPDATE main.meta SET value = ?1 WHERE key = 'epoch'",
        params![epoch.to_string()],
    )?;
    let position = write_bulk_marker(connection, Bulk::Done)?;
    if carried != Carried::default() {
        // A verification that was remembered for one of them before must not count any more.
        connection.execute(
            "UPDATE main.tokens SET version = ?1 WHERE id IN (SELECT taken FROM temp.same)",
            [position],
        )?;
    }
    let trail = Trail::new(connection, &rules.audit_keys);
    let mut executor = Executor::new(connection, rules, &restore.actor, trail);
    executor.audit(&Event { name: "store.restored", account: 0 }, || {
        let after = json!({
            "epoch": epoch,
            "kept_revoked": carried.revoked + carried.unknown,
            "kept_expiring": carried.expiring,
            "kept_closed": carried.accounts,
            "revived": restore.revive,
        });
        ("store".to_owned(), json!(null), after)
    })?;
    executor.finish()?.seal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_cannot_be_set_aside_keeps_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let (live, kept) = (folder.path().join("live.db"), folder.path().join("kept.db"));
        for name in ["live.db", "live.db-wal", "live.db-shm"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        // No file takes the place of a folder.
        std::fs::create_dir(&kept).unwrap();
        let error = set_aside(&live, &kept).unwrap_err().to_string();
        assert!(error.contains("live.db cannot be renamed"), "{error}");
        for name in ["live.db", "live.db-wal", "live.db-shm"] {
            assert_eq!(std::fs::read_to_string(folder.path().join(name)).unwrap(), name);
        }
        std::fs::remove_dir(&kept).unwrap();
        assert!(set_aside(&live, &kept).unwrap());
        assert!(!live.exists() && kept.exists() && folder.path().join("kept.db-wal").exists());
        assert!(!set_aside(&live, &kept).unwrap());
    }
}
