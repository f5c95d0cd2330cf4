//! Connections for reading: a few kept open, and one that watches for commits.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::schema::{Purpose, connect};
use crate::store::StoreError;

/// Most connections kept open while nobody reads.
const IDLE_LIMIT: usize = 4;

/// Hands out connections for reading. No lock is held while somebody reads, so that a long
/// snapshot is in nobody's way.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    watch: Mutex<Watch>,
}

#[derive(Default)]
struct Watch {
    connection: Option<Connection>,
    /// Which file it is open on: an open file outlives its name.
    file: Option<FileId>,
    /// How often it was opened: a connection counts commits only since its own beginning.
    opened: u64,
}

impl Readers {
    /// Over the file, a first connection to which is open already.
    pub(super) fn new(path: PathBuf, first: Connection) -> Self {
        Self { path, idle: Mutex::new(vec![first]), watch: Mutex::default() }
    }

    /// Runs `read` in one read transaction: all that it sees is of one moment.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = lock(&self.idle).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path, Purpose::Read)?,
        };
        let transaction = connection.unchecked_transaction()?;
        let outcome = read(&transaction);
        let ended = transaction.finish();
        if ended.is_ok() {
            let mut idle = lock(&self.idle);
            if idle.len() < IDLE_LIMIT {
                idle.push(connection);
            }
        }
        outcome
    }

    /// A number that differs after any commit of another connection, here or elsewhere, and
    /// after another file has taken this one's name. The connection that asks never writes, so
    /// that every commit is another's.
    pub(super) fn data_version(&self) -> Result<u64, StoreError> {
        let mut watch = lock(&self.watch);
        let file = Some(FileId::of(&self.path)?);
        if watch.connection.is_none() || watch.file != file {
            lock(&self.idle).clear();
            watch.connection = Some(connect(&self.path, Purpose::Read)?);
            watch.file = file;
            watch.opened += 1;
        }
        let opened = watch.opened;
        let connection = watch.connection.as_ref().expect("invariant: opened above");
        let version: rusqlite::Result<u32> =
            connection.pragma_query_value(None, "data_version", |row| row.get(0));
        match version {
            Ok(version) => Ok(opened << 32 | u64::from(version)),
            Err(error) => {
                watch.connection = None;
                Err(error.into())
            }
        }
    }
}

/// What makes a file the same one whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> Result<Self, StoreError> {
        let found = std::fs::metadata(path).map_err(|error| {
            StoreError::Database(format!("{} cannot be looked at: {error}", path.display()))
        })?;
        Ok(Self { device: found.dev(), inode: found.ino() })
    }
}

/// What these locks guard is whole at any moment, also after a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
