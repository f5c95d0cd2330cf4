//! `portcullis user`: the users of an account, to whom personal tokens belong.

use clap::{Args, Subcommand};

use super::exit::Failure;
use super::session::Session;
use super::shape::UserShape;
use super::which::Which;
use super::{table, values};
use crate::core::record::{AccountId, Licence, UserId};
use crate::store::{Command, Outcome, Store, UserView};

/// Users: create, list and remove.
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user to an account
    Create(Create),
    /// List the users of an account
    List {
        /// The account
        #[arg(long, value_name = "N")]
        account: AccountId,
    },
    /// Remove a user and revoke the user's personal tokens
    Remove(Which),
}

/// A user to add.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// The account
    #[arg(long, value_name = "N")]
    account: AccountId,
    /// The user's number, unique within the account
    #[arg(long, value_name = "N")]
    id: UserId,
    /// The user's name
    #[arg(long)]
    name: String,
    /// The user's licence; it bounds what the user's personal tokens can do
    #[arg(long, value_parser = values::licence())]
    licence: Licence,
    /// The user administers the account
    #[arg(long)]
    admin: bool,
}

pub(super) fn run(command: UserCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let store = session.open()?.store;
    let store: &dyn Store = &store;
    match command {
        UserCommand::Create(user) => create(store, user, session),
        UserCommand::List { account } => list(store, account, session),
        UserCommand::Remove(which) => remove(store, which.account, which.id(), session),
    }
}

fn create(store: &dyn Store, user: Create, session: &mut Session<'_>) -> Result<(), Failure> {
    let Create { account: account_id, id, name, licence, admin } = user;
    let view = UserView { account_id, id, name: name.clone(), licence, admin };
    let command = Command::CreateUser { account_id, id, name, licence, admin };
    let line = match store.apply(&session.actor(), command)? {
        Outcome::Changed { .. } => format!("user {id} of account {account_id} created"),
        Outcome::Unchanged { .. } => format!("user {id} of account {account_id} is there already"),
    };
    session.report(&UserShape::from(&view), &line)
}

fn list(store: &dyn Store, account: AccountId, session: &mut Session<'_>) -> Result<(), Failure> {
    let users = store.users(account)?;
    if session.json {
        return session.print_json(&users.iter().map(UserShape::from).collect::<Vec<_>>());
    }
    let row = |view: &UserView| {
        vec![
            view.id.to_string(),
            view.licence.to_string(),
            if view.admin { "yes" } else { "no" }.to_owned(),
            view.name.clone(),
        ]
    };
    let rows: Vec<_> = users.iter().map(row).collect();
    session.print(&table::table(&["ID", "LICENCE", "ADMIN", "NAME"], &rows))
}

fn remove(
    store: &dyn Store,
    account_id: AccountId,
    id: UserId,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let users = store.users(account_id)?;
    store.apply(&session.actor(), Command::RemoveUser { account_id, id })?;
    let line =
        format!("user {id} of account {account_id} removed, with the personal tokens revoked");
    match users.iter().find(|view| view.id == id) {
        Some(view) => session.report(&UserShape::from(view), &line),
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
    fn removing_a_user_revokes_the_users_tokens() {
        let harness = Harness::with_account();
        let ann = json!({
            "account_id": 1, "id": 7, "name": "Ann", "licence": "developer", "admin": true
        });
        assert_eq!(harness.json("user list --account 1 --json"), json!([ann]));
        assert!(harness.ok("user list --account 1").stdout.contains("7   developer  yes    Ann"));
        let token = harness.json("token create --account 1 --name t --user 7 --grant developer");
        assert!(token["token"].as_str().unwrap().starts_with("ptu_"));
        assert_eq!(harness.json("user remove --account 1 7 --json"), ann);
        let shown = harness.json(&format!("token show {} --json", token["id"]));
        assert_eq!(shown["state"], "revoked");
        let again = harness.run(&["user", "remove", "--account", "1", "--id", "7"]);
        assert!(again.expect(Exit::Failed).stderr.contains("user list --account 1"));
    }
}
