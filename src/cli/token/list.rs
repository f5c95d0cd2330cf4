//! `portcullis token list` and `show`: everything but the secret.

use std::io::Write;

use crate::cli::exit::Failure;
use crate::cli::grant::format_grant;
use crate::cli::session::{Opened, Session};
use crate::cli::shape::{TokenShape, word};
use crate::cli::standing::Standings;
use crate::cli::table;
use crate::core::record::{AccountId, Timestamp, TokenId, TokenState};
use crate::store::{Store, TokenFilter, TokenView};
use crate::time::format_time;

/// Lists the tokens of an account.
pub(super) fn list(account: AccountId, session: &mut Session<'_>) -> Result<(), Failure> {
    let Opened { config, store } = session.open()?;
    store.account(account)?;
    let mut standings = Standings::new(&store, &config.permission_sets);
    if session.json {
        return list_json(&store, account, &mut standings, session);
    }
    let mut views = Vec::new();
    store.tokens(&TokenFilter { account_id: Some(account) }, &mut |view| {
        views.push(view);
        Ok(())
    })?;
    let now = session.around.now;
    let mut rows = Vec::with_capacity(views.len());
    for view in &views {
        let suspended = standings.suspended(view)?;
        rows.push(row(view, &suspended, now));
    }
    let heading = ["ID", "STATE", "OWNER", "VERIFIER", "CREATED", "EXPIRES", "GRANTS", "NAME"];
    session.print(&table::table(&heading, &rows))
}

/// Shows one token.
pub(super) fn show(id: TokenId, session: &mut Session<'_>) -> Result<(), Failure> {
    let Opened { config, store } = session.open()?;
    let view = store.token(id)?;
    let suspended = Standings::new(&store, &config.permission_sets).suspended(&view)?;
    if session.json {
        return session.print_json(&TokenShape::listed(&view, &suspended));
    }
    let now = session.around.now;
    session.print(&table::fields(&[
        ("id", view.id.to_string()),
        ("account_id", view.account_id.to_string()),
        ("name", view.name.clone()),
        ("state", standing(&view, now)),
        ("owner", owner(&view)),
        ("verifier", view.verifier.kind().to_owned()),
        ("created_at", format_time(view.created_at)),
        ("not_before", view.not_before.map_or_else(|| "-".to_owned(), format_time)),
        ("expires_at", view.expires_at.map_or_else(|| "never".to_owned(), format_time)),
        ("allow_ips", table::joined(view.allow_ips.iter().map(ToString::to_string))),
        ("grants", grants(&view, &suspended)),
        ("rotated_to", view.rotated_to.map_or_else(|| "-".to_owned(), |id| id.to_string())),
    ]))
}

/// Writes the array piece by piece: an account may have very many tokens.
fn list_json(
    store: &dyn Store,
    account: AccountId,
    standings: &mut Standings<'_>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let out = &mut session.around.stdout;
    let mut written = out.write_all(b"[");
    let mut separator = "";
    store.tokens(&TokenFilter { account_id: Some(account) }, &mut |view| {
        let suspended = standings.suspended(&view)?;
        let shape = TokenShape::listed(&view, &suspended);
        if written.is_ok() {
            written = write!(out, "{separator}")
                .and_then(|()| Ok(serde_json::to_writer(&mut *out, &shape)?));
            separator = ",";
        }
        Ok(())
    })?;
    written.map_err(|error| Failure::output(&error))?;
    session.print("]\n")
}

fn row(view: &TokenView, suspended: &[bool], now: Timestamp) -> Vec<String> {
    vec![
        view.id.to_string(),
        standing(view, now),
        owner(view),
        view.verifier.kind().to_owned(),
        format_time(view.created_at),
        view.expires_at.map_or_else(|| "never".to_owned(), format_time),
        grants(view, suspended),
        view.name.clone(),
    ]
}

/// The state with what time has made of it.
pub(in crate::cli) fn standing(view: &TokenView, now: Timestamp) -> String {
    let state = word(view.state);
    match view.state {
        TokenState::Revoked => state,
        TokenState::Active if view.expires_at.is_some_and(|end| end <= now) => "expired".to_owned(),
        TokenState::Active if view.not_before.is_some_and(|start| now < start) => {
            "not yet valid".to_owned()
        }
        TokenState::Active => state,
    }
}

fn owner(view: &TokenView) -> String {
    view.user_id.map_or_else(|| "service".to_owned(), |user| format!("user {user}"))
}

fn grants(view: &TokenView, suspended: &[bool]) -> String {
    table::joined(view.grants.iter().zip(suspended).map(|(grant, suspended)| {
        let mark = if *suspended { " (suspended)" } else { "" };
        format!("{}{mark}", format_grant(grant))
    }))
}
