//! `portcullis project`: the projects of an account.

use clap::Subcommand;

use super::exit::Failure;
use super::session::Session;
use super::shape::ProjectShape;
use super::table;
use super::which::Which;
use crate::core::record::{AccountId, ProjectId};
use crate::store::{Command, Outcome, ProjectView, Store};

/// Projects: create, list and remove.
#[derive(Debug, Subcommand)]
pub(super) enum ProjectCommand {
    /// Add a project to an account
    Create {
        /// The account
        #[arg(long, value_name = "N")]
        account: AccountId,
        /// The project's number, unique within the account
        #[arg(long, value_name = "N")]
        id: ProjectId,
        /// The project's name
        #[arg(long)]
        name: String,
    },
    /// List the projects of an account
    List {
        /// The account
        #[arg(long, value_name = "N")]
        account: AccountId,
    },
    /// Remove a project and its rows of the id index; grants on it stay and cover nothing
    Remove(Which),
}

pub(super) fn run(command: ProjectCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let store = session.open()?.store;
    let store: &dyn Store = &store;
    match command {
        ProjectCommand::Create { account, id, name } => create(store, account, id, name, session),
        ProjectCommand::List { account } => list(store, account, session),
        ProjectCommand::Remove(which) => remove(store, which.account, which.id(), session),
    }
}

fn create(
    store: &dyn Store,
    account_id: AccountId,
    id: ProjectId,
    name: String,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let view = ProjectView { account_id, id, name: name.clone() };
    let outcome = store.apply(&session.actor(), Command::CreateProject { account_id, id, name })?;
    let line = match outcome {
        Outcome::Changed { .. } => format!("project {id} of account {account_id} created"),
        Outcome::Unchanged { .. } => {
            format!("project {id} of account {account_id} is there already")
        }
    };
    session.report(&ProjectShape::from(&view), &line)
}

fn list(store: &dyn Store, account: AccountId, session: &mut Session<'_>) -> Result<(), Failure> {
    let projects = store.projects(account)?;
    if session.json {
        return session.print_json(&projects.iter().map(ProjectShape::from).collect::<Vec<_>>());
    }
    let row = |view: &ProjectView| vec![view.id.to_string(), view.name.clone()];
    let rows: Vec<_> = projects.iter().map(row).collect();
    session.print(&table::table(&["ID", "NAME"], &rows))
}

fn remove(
    store: &dyn Store,
    account_id: AccountId,
    id: ProjectId,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let projects = store.projects(account_id)?;
    store.apply(&session.actor(), Command::RemoveProject { account_id, id })?;
    let line = format!("project {id} of account {account_id} removed");
    match projects.iter().find(|view| view.id == id) {
        Some(view) => session.report(&ProjectShape::from(view), &line),
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
    fn projects_are_listed_and_removed_by_number_with_or_without_the_option() {
        let harness = Harness::with_account();
        let ten = json!({"account_id": 1, "id": 10, "name": "ten"});
        assert_eq!(harness.json("project list --account 1 --json")[0], ten);
        assert_eq!(harness.json("--json project remove --account 1 --id 10"), ten);
        harness.ok("project remove --account 1 11");
        assert_eq!(harness.ok("project list --account 1").stdout, "ID  NAME\n");
        let ran = harness.run(&["project", "remove", "--account", "1", "11"]).expect(Exit::Failed);
        assert!(ran.stderr.contains("project list --account 1"), "{ran:?}");
        harness.run(&["project", "remove", "--account", "1"]).expect(Exit::Usage);
    }
}
