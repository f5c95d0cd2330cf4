//! `portcullis id-index`: which project an id in a path belongs to.

use clap::{Args, Subcommand};

use super::exit::Failure;
use super::session::Session;
use super::shape::IdShape;
use super::{table, values};
use crate::core::record::{AccountId, Category, ProjectId};
use crate::store::{Command, IdView, Outcome, Store};

/// Id-index rows: set, list and remove.
#[derive(Debug, Subcommand)]
pub(super) enum IdIndexCommand {
    /// Say which project an id belongs to, replacing what was said before
    #[command(after_help = "Example:\n  portcullis id-index set --account 1 job_id 77 42\n\n\
        In account 1, {job_id} 77 in a path belongs to project 42.")]
    Set(Set),
    /// List the rows of an account
    List {
        /// The account
        #[arg(long, value_name = "N")]
        account: AccountId,
    },
    /// Remove a row; requests with that id are then denied
    Remove {
        /// The account
        #[arg(long, value_name = "N")]
        account: AccountId,
        /// Name of the index, as routes name it
        index: String,
        /// The id in paths
        id: u64,
    },
}

/// A row to set.
#[derive(Debug, Args)]
pub(super) struct Set {
    /// The account
    #[arg(long, value_name = "N")]
    account: AccountId,
    /// Name of the index, as routes name it
    index: String,
    /// The id in paths
    id: u64,
    /// The project that it belongs to
    project: ProjectId,
    /// Category of its environment; without one, nothing that needs a writable environment is let through
    #[arg(long, value_parser = values::environment_category())]
    category: Option<Category>,
}

pub(super) fn run(command: IdIndexCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let store = session.open()?.store;
    let store: &dyn Store = &store;
    match command {
        IdIndexCommand::Set(row) => set(store, row, session),
        IdIndexCommand::List { account } => list(store, account, session),
        IdIndexCommand::Remove { account, index, id } => remove(store, account, index, id, session),
    }
}

fn set(store: &dyn Store, row: Set, session: &mut Session<'_>) -> Result<(), Failure> {
    let Set { account: account_id, index, id, project: project_id, category } = row;
    let environment_category = category;
    let view = IdView { account_id, index: index.clone(), id, project_id, environment_category };
    let command = Command::SetId { account_id, index, id, project_id, environment_category };
    let line = match store.apply(&session.actor(), command)? {
        Outcome::Changed { .. } => {
            format!("{} {id} of account {account_id} belongs to project {project_id}", view.index)
        }
        Outcome::Unchanged { .. } => "the row was like that already".to_owned(),
    };
    session.report(&IdShape::from(&view), &line)
}

fn list(store: &dyn Store, account: AccountId, session: &mut Session<'_>) -> Result<(), Failure> {
    let ids = store.ids(account)?;
    if session.json {
        return session.print_json(&ids.iter().map(IdShape::from).collect::<Vec<_>>());
    }
    let row = |view: &IdView| {
        vec![
            view.index.clone(),
            view.id.to_string(),
            view.project_id.to_string(),
            view.environment_category.map_or("-", Category::name).to_owned(),
        ]
    };
    let rows: Vec<_> = ids.iter().map(row).collect();
    session.print(&table::table(&["INDEX", "ID", "PROJECT", "CATEGORY"], &rows))
}

fn remove(
    store: &dyn Store,
    account_id: AccountId,
    index: String,
    id: u64,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let ids = store.ids(account_id)?;
    let row = ids.into_iter().find(|view| view.index == index && view.id == id);
    let line = format!("{index} {id} of account {account_id} removed");
    store.apply(&session.actor(), Command::RemoveId { account_id, index, id })?;
    match &row {
        Some(view) => session.report(&IdShape::from(view), &line),
        // Added by somebody else between the two calls; removed all the same.
        None => session.report(&serde_json::json!({ "account_id": account_id, "id": id }), &line),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::Exit;
    use crate::cli::harness::Harness;

    #[test]
    fn a_row_is_set_replaced_listed_and_removed() {
        let harness = Harness::with_account();
        harness.ok("id-index set --account 1 job_id 77 10");
        harness.ok("id-index set --account 1 job_id 77 11 --category staging");
        let row = json!({
            "account_id": 1, "index": "job_id", "id": 77, "project_id": 11,
            "environment_category": "staging"
        });
        assert_eq!(harness.json("id-index list --account 1 --json"), json!([row]));
        assert!(harness.ok("id-index list --account 1").stdout.contains("job_id  77  11"));
        let unknown = ["id-index", "set", "--account", "1", "job_id", "78", "99"];
        assert!(harness.run(&unknown).expect(Exit::Failed).stderr.contains("project list"));
        let all = ["id-index", "set", "--account", "1", "job_id", "78", "10", "--category", "all"];
        harness.run(&all).expect(Exit::Usage);
        assert_eq!(harness.json("id-index remove --account 1 job_id 77 --json"), row);
        let gone = harness.run(&["id-index", "remove", "--account", "1", "job_id", "77"]);
        assert!(gone.expect(Exit::Failed).stderr.contains("id-index list --account 1"));
    }
}
