//! `portcullis token rotate`.

use super::{make_secret, print_issued};
use crate::cli::exit::Failure;
use crate::cli::session::{Opened, Session};
use crate::core::record::{Timestamp, TokenId};
use crate::core::token::TokenKind;
use crate::store::{Command, Outcome, Store};
use crate::time::format_time;

pub(super) fn run(id: TokenId, grace: i64, session: &mut Session<'_>) -> Result<(), Failure> {
    let Opened { config, store } = session.open()?;
    let now = session.around.now;
    let old = store.token(id)?;
    let kind = if old.user_id.is_some() { TokenKind::Personal } else { TokenKind::Service };
    let (secret, verifier) = make_secret(kind, &config.keys)?;
    let old_expires_at = Timestamp(now.0.saturating_add(grace));
    let rotate =
        Command::RotateToken { id, verifier, created_at: now, old_expires_at, grants: None };
    let (Outcome::Changed { id: new } | Outcome::Unchanged { id: new }) =
        store.apply(&session.actor(), rotate)?;
    print_issued(&secret, &store.token(new)?, session)?;
    if let Some(expiry) = store.token(id)?.expires_at {
        session.say(&format!("the old token {id} expires at {}", format_time(expiry)));
    }
    Ok(())
}
