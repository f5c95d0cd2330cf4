//! A copy of the store on which a command can be tried.

use super::exit::Failure;
use super::session::store_path;
use super::whole_file::folder_of;
use crate::config::Config;
use crate::store::SqliteStore;

/// A copy of the store that is gone afterwards.
pub(super) struct Scratch {
    pub(super) store: SqliteStore,
    _folder: tempfile::TempDir,
}

impl Scratch {
    /// Copies the store beside itself, where there is room for it and nobody else may look.
    pub(super) fn of(store: &SqliteStore, config: &Config) -> Result<Self, Failure> {
        let beside = folder_of(store_path(config)?);
        let folder = tempfile::Builder::new()
            .prefix(".portcullis-dry-run-")
            .tempdir_in(beside)
            .map_err(|error| Failure::file(beside, "written", &error))?;
        let copy = folder.path().join("store.db");
        store.copy_to(&copy)?;
        Ok(Self {
            store: SqliteStore::open(&copy, crate::app::store_rules(config))?,
            _folder: folder,
        })
    }
}
