//! The store in a SQLite database.

/// The store in a SQLite database: one file, one writer, readers beside it.
pub struct SqliteStore {}
