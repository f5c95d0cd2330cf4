//! `portcullis token create`.

use clap::Args;
use ipnet::IpNet;

use super::{make_secret, print_issued};
use crate::cli::exit::Failure;
use crate::cli::session::{Opened, Session};
use crate::cli::values::{self, Moment};
use crate::core::grant::parse_grant;
use crate::core::ip::parse_cidr;
use crate::core::record::{AccountId, Grant, Timestamp, TokenState, UserId};
use crate::core::token::TokenKind;
use crate::store::{Command, NewToken, Outcome, Store};
use crate::time::parse_time_or_date;

/// A token to make.
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// The account
    #[arg(long, value_name = "N")]
    account: AccountId,
    /// The token's name
    #[arg(long)]
    name: String,
    /// A permission set, on all projects or one, with writable environment categories; may be repeated
    #[arg(
        long,
        required = true,
        num_args = 1..,
        value_name = "SET[:PROJECT][@CATEGORY+CATEGORY]",
        value_parser = parse_grant
    )]
    grant: Vec<Grant>,
    /// The user whose personal token it is; without, it is a service token
    #[arg(long, value_name = "N")]
    user: Option<UserId>,
    /// Addresses from which alone it may be used, after the account's own IP rules; may be repeated
    #[arg(long, value_name = "CIDR", num_args = 1.., value_parser = parse_cidr)]
    allow_ip: Vec<IpNet>,
    /// When it expires: a duration from now, or a time; without, never
    #[arg(long, value_name = "30d|TIME", value_parser = values::moment)]
    expires: Option<Moment>,
    /// From when it is valid; without, at once
    #[arg(long, value_name = "TIME", value_parser = parse_time_or_date)]
    not_before: Option<Timestamp>,
}

pub(super) fn run(create: Create, session: &mut Session<'_>) -> Result<(), Failure> {
    let Opened { config, store } = session.open()?;
    let now = session.around.now;
    let kind = if create.user.is_some() { TokenKind::Personal } else { TokenKind::Service };
    let (secret, verifier) = make_secret(kind, &config.keys)?;
    let token = NewToken {
        account_id: create.account,
        name: create.name,
        user_id: create.user,
        state: TokenState::Active,
        created_at: now,
        not_before: create.not_before,
        expires_at: create.expires.map(|moment| moment.from(now)),
        allow_ips: create.allow_ip,
        grants: create.grant,
        verifier,
    };
    let expired = token.expires_at.is_some_and(|expiry| expiry <= now);
    let outcome = store.apply(&session.actor(), Command::CreateToken(Box::new(token)))?;
    let (Outcome::Changed { id } | Outcome::Unchanged { id }) = outcome;
    print_issued(&secret, &store.token(id)?, session)?;
    if expired {
        session.say("it has expired already: every request with it is denied");
    }
    Ok(())
}
