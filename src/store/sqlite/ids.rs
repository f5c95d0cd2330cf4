//! Commands about an account's id index.

use rusqlite::params;
use serde_json::{Value, json};

use super::accounts::{CHANGED, UNCHANGED};
use super::execute::{Event, Executor, Subject};
use super::views;
use crate::core::record::{AccountId, Category, ProjectId};
use crate::store::{IdView, Outcome, StoreError, check};

impl Executor<'_> {
    pub(super) fn set_id(
        &mut self,
        account: AccountId,
        index: &str,
        id: u64,
        project_id: ProjectId,
        environment_category: Option<Category>,
    ) -> Result<Outcome, StoreError> {
        let account_number = self.account_number(account)?;
        let number = check::number("id", id)?;
        check::name("an id index", index)?;
        check::environment_category(environment_category)?;
        let before = views::find_id(self.connection, account_number, index, number)?;
        let after = IdView {
            account_id: account,
            index: index.to_owned(),
            id,
            project_id,
            environment_category,
        };
        if before.as_ref() == Some(&after) {
            return Ok(UNCHANGED);
        }
        self.require_project(account, project_id)?;
        self.run(
            "INSERT OR REPLACE INTO id_index
                 (account_id, index_name, id, project_id, environment_category)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                account_number,
                index,
                number,
                project_id as i64,
                environment_category.map(Category::name)
            ],
        )?;
        self.log(&Subject::Id { account: account_number, index, id: number })?;
        self.audit(&Event { name: "id_index.set", account }, || {
            (subject(index, id), describe(before.as_ref()), describe(Some(&after)))
        })?;
        Ok(CHANGED)
    }

    pub(super) fn remove_id(
        &mut self,
        account: AccountId,
        index: &str,
        id: u64,
    ) -> Result<Outcome, StoreError> {
        let account_number = self.account_number(account)?;
        let number = check::number("id", id)?;
        let before = views::find_id(self.connection, account_number, index, number)?;
        let Some(before) = before else {
            return Err(StoreError::NotFound(format!(
                "account {account} has no such id {id} in that index: see `portcullis id-index \
                 list --account {account}`"
            )));
        };
        self.delete_id(account_number, index, number)?;
        self.audit(&Event { name: "id_index.removed", account }, || {
            (subject(index, id), describe(Some(&before)), Value::Null)
        })?;
        Ok(CHANGED)
    }

    /// Removes the rows that point to a project and says which they were.
    pub(super) fn remove_ids_of_project(
        &mut self,
        account: i64,
        project: i64,
    ) -> Result<Vec<String>, StoreError> {
        let rows = views::collect(
            self.connection,
            "SELECT index_name, id FROM id_index WHERE account_id = ?1 AND project_id = ?2
             ORDER BY index_name, id",
            [account, project],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)),
        )?;
        for (index, id) in &rows {
            self.delete_id(account, index, *id)?;
        }
        Ok(rows.into_iter().map(|(index, id)| format!("{index}/{id}")).collect())
    }

    fn delete_id(&mut self, account: i64, index: &str, id: i64) -> Result<(), StoreError> {
        self.run(
            "DELETE FROM id_index WHERE account_id = ?1 AND index_name = ?2 AND id = ?3",
            params![account, index, id],
        )?;
        self.log(&Subject::Id { account, index, id })?;
        Ok(())
    }
}

fn subject(index: &str, id: u64) -> String {
    format!("id:{index}/{id}")
}

fn describe(row: Option<&IdView>) -> Value {
    row.map_or(Value::Null, |row| {
        json!({
            "project_id": row.project_id,
            "environment_category": row.environment_category,
        })
    })
}
