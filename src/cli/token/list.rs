//! `portcullis token list` and `show`: everything but the secret.

use std::io::Write;

use super::uses::{Rotation, Uses, last_use};
use crate::cli::exit::Failure;
use crate::cli::session::{Opened, Session};
use crate::cli::shape::{TokenShape, word};
use crate::cli::standing::Standings;
use crate::cli::table;
use crate::core::grant::format_grant;
use crate::core::record::{AccountId, Timestamp, TokenId, TokenState};
use crate::store::{Store, TokenFilter, TokenUse, TokenView};
use crate::time::format_time;

/// Lists the tokens of an account, or of all those that have been silent for so many seconds.
pub(super) fn list(
    account: Option<AccountId>,
    unused: Option<i64>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let Opened { config, store } = session.open()?;
    let filter = TokenFilter { account_id: account };
    let uses = Uses::of(&store, &filter)?;
    let now = session.around.now;
    let wanted = |view: &TokenView| {
        unused.is_none_or(|seconds| is_valid(view, now) && uses.silence(view).lasts(seconds, now))
    };
    let mut standings = Standings::new(&store, &config.permission_sets);
    let list = List { store: &store, filter, uses: &uses, wanted: &wanted };
    if session.json {
        return list.print_json(&mut standings, session);
    }
    let mut rows = Vec::new();
    for view in &list.views()? {
        rows.push(row(view, &standings.suspended(view)?, uses.find(view.id), now));
    }
    session.print(&table::table(&HEADING, &rows))
}

const HEADING: [&str; 10] = [
    "ID",
    "STATE",
    "OWNER",
    "VERIFIER",
    "CREATED",
    "EXPIRES",
    "LAST USED",
    "REQUESTS",
    "GRANTS",
    "NAME",
];

/// Shows one token. Of one that was rotated, also whether it has been silent for so many seconds.
pub(super) fn show(id: TokenId, silent: i64, session: &mut Session<'_>) -> Result<(), Failure> {
    let Opened { config, store } = session.open()?;
    let view = store.token(id)?;
    let uses = Uses::of_one(&store, id)?;
    let suspended = Standings::new(&store, &config.permission_sets).suspended(&view)?;
    let now = session.around.now;
    let end = Rotation::of(&view, &uses, silent, now);
    if session.json {
        let shape = TokenShape::listed(&view, &suspended).with_use(uses.find(id));
        return session
            .print_json(&shape.with_rotation(end.as_ref().map(Rotation::may_be_revoked)));
    }
    let used = uses.find(id);
    let mut fields = vec![
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
        ("last_used", last_use(used)),
        ("requests", used.map_or(0, |used| used.requests).to_string()),
        ("rotated_to", view.rotated_to.map_or_else(|| "-".to_owned(), |id| id.to_string())),
    ];
    fields.extend(end.map(|end| ("may_be_revoked", end.to_string())));
    session.print(&table::fields(&fields))
}

/// What is listed.
struct List<'l> {
    store: &'l dyn Store,
    filter: TokenFilter,
    uses: &'l Uses,
    wanted: &'l dyn Fn(&TokenView) -> bool,
}

impl List<'_> {
    fn views(&self) -> Result<Vec<TokenView>, Failure> {
        let mut views = Vec::new();
        self.store.tokens(&self.filter, &mut |view| {
            views.extend((self.wanted)(&view).then_some(view));
            Ok(())
        })?;
        Ok(views)
    }

    /// Writes the array piece by piece: an account may have very many tokens.
    fn print_json(
        &self,
        standings: &mut Standings<'_>,
        session: &mut Session<'_>,
    ) -> Result<(), Failure> {
        let out = &mut session.around.stdout;
        let mut written = out.write_all(b"[");
        let mut separator = "";
        self.store.tokens(&self.filter, &mut |view| {
            if !(self.wanted)(&view) {
                return Ok(());
            }
            let suspended = standings.suspended(&view)?;
            let shape = TokenShape::listed(&view, &suspended).with_use(self.uses.find(view.id));
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
}

fn row(
    view: &TokenView,
    suspended: &[bool],
    used: Option<&TokenUse>,
    now: Timestamp,
) -> Vec<String> {
    vec![
        view.id.to_string(),
        standing(view, now),
        owner(view),
        view.verifier.kind().to_owned(),
        format_time(view.created_at),
        view.expires_at.map_or_else(|| "never".to_owned(), format_time),
        last_use(used),
        used.map_or(0, |used| used.requests).to_string(),
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

fn is_valid(view: &TokenView, now: Timestamp) -> bool {
    view.state == TokenState::Active && view.expires_at.is_none_or(|end| now < end)
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
