//! The database file: making it, opening it, and bringing its schema up to date.

use std::cell::Cell;
use std::fs::{OpenOptions, remove_file};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::trail;
use crate::store::{AuditKeys, StoreError};

/// The steps that make the schema what it is, in order. What is released is never edited: a
/// change is a new one at the end. `PRAGMA user_version` counts those that were taken.
const MIGRATIONS: [Migration; 5] = [
    Migration { sql: include_str!("migrations/0001_initial.sql"), then: None },
    Migration {
        sql: include_str!("migrations/0002_audit_chain.sql"),
        then: Some(|connection, keys| {
            trail::adopt_log(connection, keys)?;
            Ok(connection.execute_batch("DROP TABLE unchained_log")?)
        }),
    },
    Migration { sql: include_str!("migrations/0003_management.sql"), then: None },
    Migration { sql: include_str!("migrations/0004_token_uses.sql"), then: None },
    Migration { sql: include_str!("migrations/0005_legacy.sql"), then: None },
];

/// One step from one version of the schema to the next.
struct Migration {
    sql: &'static str,
    /// What SQL alone cannot do.
    then: Option<Then>,
}

type Then = fn(&Connection, &AuditKeys) -> Result<(), StoreError>;

/// `PTCL`, in the file's header: tells this store's files from other SQLite databases.
const APPLICATION_ID: i64 = 0x5054_434c;
/// How long a write waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements that a connection keeps; there are fewer.
const STATEMENTS_LIMIT: usize = 128;

/// Pause between two attempts to get the lock. SQLite's own handler waits up to 100 ms, so that it
/// would hardly ever find the short gaps that a bulk import leaves.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// Called while another connection is in the way; whether to try again.
fn wait_for_others(attempts: i32) -> bool {
    thread_local!(static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) });
    let now = Instant::now();
    if attempts == 0 {
        BEGAN.set(Some(now));
    }
    let patient = BEGAN.get().is_none_or(|began| now - began < BUSY_TIMEOUT);
    if patient {
        std::thread::sleep(BUSY_PAUSE);
    }
    patient
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reading; an attempt to write is an error.
    Read,
    /// Writing.
    Write,
}

/// Makes the file, readable for its owner alone, with an empty store of a new identity.
pub(super) fn create(path: &Path, keys: &AuditKeys) -> Result<(), StoreError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => StoreError::Conflict(format!(
            "{} exists already and is not overwritten: choose another place or remove it",
            path.display()
        )),
        _ => StoreError::Database(format!("{} cannot be made: {error}", path.display())),
    })?;
    fill(path, keys).inspect_err(|_| {
        // Nobody can have used it yet; a half-made file would be in the way of the next attempt.
        let _ = remove_file(path);
    })
}

/// Opens the file for reading, after checking that it is a store of a version that this program
/// knows and bringing it up to date.
pub(super) fn open(path: &Path, keys: &AuditKeys) -> Result<Connection, StoreError> {
    let exists = path.try_exists().map_err(|error| {
        StoreError::Database(format!("{} cannot be reached: {error}", path.display()))
    })?;
    if !exists {
        return Err(StoreError::NotFound(format!(
            "there is no store at {}: run `portcullis init DIR` to make one, or correct \
             `[store] url`",
            path.display()
        )));
    }
    let connection = connect(path, Purpose::Read)?;
    if version(&connection, path)? < MIGRATIONS.len() {
        migrate(&mut connect(path, Purpose::Write)?, path, keys)?;
    }
    Ok(connection)
}

/// Opens a connection to a file that exists.
pub(super) fn connect(path: &Path, purpose: Purpose) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
        .and_then(|mut connection| {
            prepare(&mut connection, purpose)?;
            Ok(connection)
        })
        .map_err(|error| {
            StoreError::Database(format!("{} cannot be opened: {error}", path.display()))
        })
}

fn prepare(connection: &mut Connection, purpose: Purpose) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait_for_others))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_LIMIT);
    connection.execute_batch(
        "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;",
    )?;
    match purpose {
        Purpose::Read => connection.execute_batch("PRAGMA query_only = ON;"),
        // An import touches index pages all over the file: a larger cache (KiB) and rarer
        // checkpoints (pages) write each of them less often.
        Purpose::Write => connection.execute_batch(
            "PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 16000; \
             PRAGMA journal_size_limit = 67108864;",
        ),
    }
}

fn fill(path: &Path, keys: &AuditKeys) -> Result<(), StoreError> {
    let mut connection = connect(path, Purpose::Write)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA application_id = {APPLICATION_ID};"
    ))?;
    migrate(&mut connection, path, keys)?;
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| {
        StoreError::Database(format!("the operating system gives no random bytes: {error}"))
    })?;
    let id = hex::encode(id);
    let transaction = connection.transaction()?;
    transaction.execute(
        "INSERT INTO meta (key, value) VALUES ('store_id', ?1), ('epoch', '1')",
        params![id],
    )?;
    trail::begin_log(&transaction, keys, &id)?;
    Ok(transaction.commit()?)
}

pub(super) fn version(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    let unusable =
        |why: &str| StoreError::Database(format!("{} cannot be used: {why}", path.display()));
    let read = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let application = read("application_id").map_err(|error| unusable(&error.to_string()))?;
    let version = usize::try_from(read("user_version")?).unwrap_or(usize::MAX);
    if application != APPLICATION_ID || version == 0 {
        return Err(unusable("it is not a store that `portcullis init` made"));
    }
    if version > MIGRATIONS.len() {
        return Err(unusable(&format!(
            "its schema has version {version}, this program knows versions up to {}: use the \
             newer program that wrote it",
            MIGRATIONS.len()
        )));
    }
    Ok(version)
}

fn migrate(connection: &mut Connection, path: &Path, keys: &AuditKeys) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again under the lock: another process may have done it meanwhile.
    let done: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (position, step) in MIGRATIONS.iter().enumerate().skip(done as usize) {
        let taken = transaction.execute_batch(step.sql).map_err(StoreError::from);
        let then = |()| step.then.map_or(Ok(()), |then| then(&transaction, keys));
        taken.and_then(then).map_err(|error| {
            StoreError::Database(format!(
                "{} cannot be brought to schema version {}: {error}",
                path.display(),
                position + 1
            ))
        })?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    Ok(transaction.commit()?)
}
