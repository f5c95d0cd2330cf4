//! `portcullis export`: the whole store, or one account, as lines that `import` reads.
//!
//! Kinds come in an order in which everything is there before it is named. Each kind is read in
//! one go; a token whose account was made meanwhile is left out rather than exported without it.

use std::collections::HashSet;
use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::exit::Failure;
use super::session::{Opened, Session};
use super::shape::{
    AccountShape, IdShape, IpRuleShape, IpRulesShape, ProjectShape, TokenShape, UserShape,
};
use super::standing::Standings;
use crate::core::record::AccountId;
use crate::store::{AccountView, Store, StoreError, TokenFilter};

/// What to export.
#[derive(Debug, Args)]
#[command(after_help = "Lines are JSON whatever --json says. Digests and hashes are in them, \
    secrets are not. A grant that covers nothing at present is marked \"suspended\":true, and \
    import takes it back as it is.\n\n\
    Example:\n  portcullis export --account 1 > account-1.jsonl")]
pub(super) struct Export {
    /// Only this account
    #[arg(long, value_name = "N")]
    account: Option<AccountId>,
}

/// A line with its type first.
#[derive(Serialize)]
struct Typed<T> {
    r#type: &'static str,
    #[serde(flatten)]
    thing: T,
}

pub(super) fn run(export: &Export, session: &mut Session<'_>) -> Result<(), Failure> {
    let Opened { config, store } = session.open()?;
    let store: &dyn Store = &store;
    let accounts = match export.account {
        Some(id) => vec![store.account(id)?],
        None => store.accounts()?,
    };
    let out = &mut *session.around.stdout;
    write_accounts(store, &accounts, out)?;
    let mut standings = Standings::new(store, &config.permission_sets);
    let filter = TokenFilter { account_id: export.account };
    write_tokens(store, &accounts, &filter, &mut standings, out)?;
    out.flush().map_err(|error| Failure::output(&error))
}

fn write_accounts(
    store: &dyn Store,
    accounts: &[AccountView],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    for account in accounts {
        write_line(out, "account", AccountShape::from(account))?;
    }
    for account in accounts {
        for view in store.projects(account.id)? {
            write_line(out, "project", ProjectShape::from(&view))?;
        }
    }
    for account in accounts {
        for view in store.users(account.id)? {
            write_line(out, "user", UserShape::from(&view))?;
        }
    }
    for account in accounts {
        for view in store.ip_rules(account.id)? {
            write_line(out, "ip_rule", IpRuleShape::exported(&view))?;
        }
    }
    for account in accounts {
        let enabled = store.account(account.id)?.ip_rules_enabled;
        write_line(out, "ip_rules", IpRulesShape { account_id: account.id, enabled })?;
    }
    for account in accounts {
        for view in store.ids(account.id)? {
            write_line(out, "id", IdShape::from(&view))?;
        }
    }
    Ok(())
}

fn write_tokens(
    store: &dyn Store,
    accounts: &[AccountView],
    filter: &TokenFilter,
    standings: &mut Standings<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let exported: HashSet<AccountId> = accounts.iter().map(|account| account.id).collect();
    let mut failure = None;
    let outcome = store.tokens(filter, &mut |view| {
        if !exported.contains(&view.account_id) {
            return Ok(());
        }
        let suspended = standings.suspended(&view)?;
        write_line(out, "token", TokenShape::exported(&view, &suspended)).map_err(|why| {
            failure = Some(why);
            // Only to stop: the failure above is what is reported.
            StoreError::Database("the output failed".to_owned())
        })
    });
    match failure {
        Some(failure) => Err(failure),
        None => Ok(outcome?),
    }
}

fn write_line(
    out: &mut dyn Write,
    kind: &'static str,
    thing: impl Serialize,
) -> Result<(), Failure> {
    let line = serde_json::to_string(&Typed { r#type: kind, thing })
        .map_err(|error| Failure::failed(format!("cannot be written as JSON: {error}")))?;
    out.write_all(line.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .map_err(|error| Failure::output(&error))
}
