//! `portcullis account`: who owns tokens, projects and IP rules.

use clap::Subcommand;
use serde::Serialize;

use super::exit::Failure;
use super::session::Session;
use super::shape::{AccountShape, word};
use super::{table, values};
use crate::core::record::{AccountId, AccountState, Plan};
use crate::store::{AccountView, Actor, Command, Outcome, Store};

/// Accounts: create, list, show, change plan, close and open.
#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Add an account; its IP rules are not in force
    Create {
        /// Its number, as it appears in paths
        #[arg(long, value_name = "N")]
        id: AccountId,
        /// Its name
        #[arg(long)]
        name: String,
        /// What it has bought; decides which permission sets its service tokens may carry
        #[arg(long, value_parser = values::plan())]
        plan: Plan,
    },
    /// List all accounts
    List,
    /// Show one account
    Show {
        /// The account's number
        #[arg(value_name = "ACCOUNT")]
        id: AccountId,
    },
    /// Change the plan; grants of service tokens that it does not allow are suspended
    SetPlan {
        /// The account's number
        #[arg(value_name = "ACCOUNT")]
        id: AccountId,
        /// The new plan
        #[arg(value_parser = values::plan())]
        plan: Plan,
    },
    /// Close an account: all its tokens are denied until it is opened again
    Close {
        /// The account's number
        #[arg(value_name = "ACCOUNT")]
        id: AccountId,
    },
    /// Open a closed account
    Open {
        /// The account's number
        #[arg(value_name = "ACCOUNT")]
        id: AccountId,
    },
}

/// An account for `show` and after a change.
#[derive(Serialize)]
struct Shown<'v> {
    #[serde(flatten)]
    account: AccountShape<'v>,
    ip_rules_enabled: bool,
}

pub(super) fn run(command: AccountCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let store = session.open()?.store;
    let store: &dyn Store = &store;
    match command {
        AccountCommand::List => list(store, session),
        AccountCommand::Show { id } => show(store, id, session),
        AccountCommand::Create { id, name, plan } => {
            let create = Command::CreateAccount { id, name, plan, state: AccountState::Open };
            change(store, id, create, &format!("account {id} created"), session)
        }
        AccountCommand::SetPlan { id, plan } => {
            let line = format!("account {id} is now on plan {plan}");
            change(store, id, Command::SetPlan { id, plan }, &line, session)
        }
        AccountCommand::Close { id } => {
            let close = Command::SetAccountState { id, state: AccountState::Closed };
            change(store, id, close, &format!("account {id} closed"), session)
        }
        AccountCommand::Open { id } => {
            let open = Command::SetAccountState { id, state: AccountState::Open };
            change(store, id, open, &format!("account {id} opened"), session)
        }
    }
}

fn list(store: &dyn Store, session: &mut Session<'_>) -> Result<(), Failure> {
    let accounts = store.accounts()?;
    if session.json {
        return session.print_json(&accounts.iter().map(AccountShape::from).collect::<Vec<_>>());
    }
    let row = |view: &AccountView| {
        vec![
            view.id.to_string(),
            view.plan.to_string(),
            word(view.state),
            on_or_off(view.ip_rules_enabled).to_owned(),
            view.name.clone(),
        ]
    };
    let rows: Vec<_> = accounts.iter().map(row).collect();
    session.print(&table::table(&["ID", "PLAN", "STATE", "IP RULES", "NAME"], &rows))
}

fn show(store: &dyn Store, id: AccountId, session: &mut Session<'_>) -> Result<(), Failure> {
    let view = store.account(id)?;
    if session.json {
        return session.print_json(&shown(&view));
    }
    session.print(&table::fields(&[
        ("id", view.id.to_string()),
        ("name", view.name.clone()),
        ("plan", view.plan.to_string()),
        ("state", word(view.state)),
        ("ip_rules", on_or_off(view.ip_rules_enabled).to_owned()),
    ]))
}

fn change(
    store: &dyn Store,
    id: AccountId,
    command: Command,
    line: &str,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let outcome = store.apply(&Actor::operator(), command)?;
    let line = match outcome {
        Outcome::Changed { .. } => line.to_owned(),
        Outcome::Unchanged { .. } => format!("account {id} was like that already"),
    };
    session.report(&shown(&store.account(id)?), &line)
}

fn shown(view: &AccountView) -> Shown<'_> {
    Shown { account: view.into(), ip_rules_enabled: view.ip_rules_enabled }
}

/// Whether IP rules are in force, as people call it.
pub(super) fn on_or_off(enabled: bool) -> &'static str {
    if enabled { "enabled" } else { "disabled" }
}
