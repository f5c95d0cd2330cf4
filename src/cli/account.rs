//! `portcullis account`: who owns tokens, projects and IP rules.

use clap::Subcommand;
use serde::Serialize;

use super::exit::Failure;
use super::session::Session;
use super::shape::{AccountShape, word};
use super::{table, values};
use crate::core::record::{AccountId, AccountState, Plan};
use crate::store::{AccountView, Command, Outcome, Store};

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
    let outcome = store.apply(&session.actor(), command)?;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::Exit;
    use crate::cli::harness::Harness;

    #[test]
    fn an_account_is_created_once_listed_shown_changed_closed_and_opened() {
        let harness = Harness::new();
        let create = "account create --id 5 --name Acme --plan starter";
        assert!(harness.ok(create).stderr.contains("account 5 created"));
        assert!(harness.ok(create).stderr.contains("already"));
        let list = harness.json("account list --json");
        let acme = json!({"id": 5, "name": "Acme", "plan": "starter", "state": "open"});
        assert_eq!(list[1], acme);
        assert_eq!(harness.json("--json account set-plan 5 team")["plan"], "team");
        harness.ok("account close 5");
        assert!(harness.ok("account show 5").stdout.contains("state: closed"));
        harness.ok("account open 5");
        assert_eq!(harness.json("account show 5 --json")["state"], "open");
        let table = harness.ok("account list").stdout;
        assert!(table.contains("5   team             open   disabled  Acme"), "{table}");
    }

    #[test]
    fn an_unknown_account_and_a_taken_number_fail_and_say_what_to_do() {
        let harness = Harness::with_account();
        for command in ["account show 9", "account close 9", "account set-plan 9 team"] {
            let arguments: Vec<_> = command.split(' ').collect();
            let ran = harness.run(&arguments).expect(Exit::Failed);
            assert!(ran.stderr.starts_with("portcullis: "), "{ran:?}");
            assert!(ran.stderr.contains("portcullis account list"), "{ran:?}");
        }
        let taken = ["account", "create", "--id", "1", "--name", "Other", "--plan", "team"];
        assert!(harness.run(&taken).expect(Exit::Failed).stderr.contains("account show 1"));
        let plan = ["account", "set-plan", "1", "gold"];
        assert!(harness.run(&plan).expect(Exit::Usage).stderr.contains("enterprise_plus"));
    }
}
