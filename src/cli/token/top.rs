//! `portcullis token top`: the tokens with the most requests.

use clap::Args;
use serde::Serialize;

use crate::cli::exit::Failure;
use crate::cli::session::{Opened, Session};
use crate::cli::table;
use crate::cli::values::{self, Moment};
use crate::core::record::{AccountId, TokenId};
use crate::store::{Store, TopToken};
use crate::time::format_time;

/// Which tokens to count.
#[derive(Debug, Args)]
pub(in crate::cli) struct Top {
    /// From this day on, UTC: a duration before now, or a time
    #[arg(long, value_name = "7d|TIME", default_value = "7d", value_parser = values::moment)]
    since: Moment,
    /// Of this account only
    #[arg(long, value_name = "N")]
    account: Option<AccountId>,
    /// So many tokens at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// One of them.
#[derive(Serialize)]
struct Shape<'v> {
    id: TokenId,
    account_id: AccountId,
    name: &'v str,
    requests: u64,
    last_used_at: String,
    last_address: Option<String>,
}

impl<'v> From<&'v TopToken> for Shape<'v> {
    fn from(top: &'v TopToken) -> Self {
        let TopToken { account_id, name, used } = top;
        Self {
            id: used.token_id,
            account_id: *account_id,
            name,
            requests: used.requests,
            last_used_at: format_time(used.last_used_at),
            last_address: used.last_address.map(|address| address.to_string()),
        }
    }
}

pub(super) fn run(top: &Top, session: &mut Session<'_>) -> Result<(), Failure> {
    let Opened { store, .. } = session.open()?;
    let since = top.since.before(session.around.now);
    let tokens = store.top_tokens(top.account, since, top.limit)?;
    let shapes: Vec<Shape<'_>> = tokens.iter().map(Shape::from).collect();
    if session.json {
        return session.print_json(&shapes);
    }
    let row = |shape: &Shape<'_>| {
        vec![
            shape.id.to_string(),
            shape.account_id.to_string(),
            shape.requests.to_string(),
            shape.last_used_at.clone(),
            shape.last_address.clone().unwrap_or_else(|| "-".to_owned()),
            table::printable(shape.name),
        ]
    };
    let heading = ["ID", "ACCOUNT", "REQUESTS", "LAST USED", "FROM", "NAME"];
    session.print(&table::table(&heading, &shapes.iter().map(row).collect::<Vec<_>>()))
}
