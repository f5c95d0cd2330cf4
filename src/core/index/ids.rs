//! The id index: which project an id in a path belongs to.

use crate::core::record::{AccountId, Category, IdRecord, ProjectId};
use crate::core::routes::{IndexNameId, Routes};

/// What a row is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct IdKey {
    pub(crate) account: AccountId,
    pub(crate) id: u64,
    pub(crate) index: IndexNameId,
}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdRow {
    pub(crate) project: ProjectId,
    pub(crate) category: Option<Category>,
}

impl IdKey {
    /// The key of a row; `None` where no route asks for that index.
    pub(super) fn of(account: AccountId, index: &str, id: u64, routes: &Routes) -> Option<Self> {
        Some(Self { account, id, index: routes.index_name(index)? })
    }
}

impl IdRow {
    pub(super) fn of(record: &IdRecord, routes: &Routes) -> Option<(IdKey, Self)> {
        let IdRecord { account_id, index, id, project_id, environment_category } = record;
        let key = IdKey::of(*account_id, index, *id, routes)?;
        Some((key, Self { project: *project_id, category: *environment_category }))
    }
}
