//! `portcullis token`: making, showing, revoking, rotating and recognising tokens.

mod create;
mod list;
mod revoke;
mod rotate;
mod top;
mod uses;
mod verify;

#[cfg(test)]
mod tests;

use clap::Subcommand;
use serde::Serialize;

use super::exit::Failure;
use super::session::Session;
use super::values;
use crate::core::digest::DigestKeys;
use crate::core::record::{AccountId, TokenId, Verifier};
use crate::core::token::{Secret, TokenKind};
use crate::secret;
use crate::store::TokenView;
use crate::time::format_time;

pub(super) use crate::secret::digest_of;
pub(super) use create::Create;
pub(super) use list::standing;
pub(super) use top::Top;
pub(super) use verify::{fast_verifiers, find, find_fast, read_secret};

/// Tokens: create, list, show, top, revoke, rotate and verify.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print its secret, once
    #[command(after_help = "Examples:\n  \
        portcullis token create --account 1 --name ci --grant job_admin:42 --expires 90d\n  \
        portcullis token create --account 1 --name laptop --user 7 --grant developer@development\n\n\
        Prints one JSON object. The secret in it is kept nowhere: what is stored is a digest.")]
    Create(Box<Create>),
    /// List the tokens of an account, or those that nobody uses
    List {
        /// The account
        #[arg(long, value_name = "N", required_unless_present = "unused")]
        account: Option<AccountId>,
        /// Only valid tokens that have been silent for so long
        #[arg(long, value_name = "90d", value_parser = values::seconds)]
        unused: Option<i64>,
    },
    /// Show one token, never its secret; of a rotated one, whether it may be revoked
    Show {
        /// The token's number
        id: TokenId,
        /// How long a rotated token has to be silent before it may be revoked
        #[arg(long, value_name = "24h", default_value = "24h", value_parser = values::seconds)]
        silent: i64,
    },
    /// The tokens with the most requests
    Top(Top),
    /// Revoke tokens, for good
    Revoke {
        /// Numbers of the tokens
        #[arg(required = true)]
        id: Vec<TokenId>,
    },
    /// Make a token of the same grants and let the old one expire after a grace period
    #[command(
        after_help = "The old token's expiry becomes the earlier of its own and now + grace. \
        To end it at once: --grace 0s."
    )]
    Rotate {
        /// The old token's number
        id: TokenId,
        /// How long the old token stays valid
        #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = values::seconds)]
        grace: i64,
    },
    /// Say which token a secret is, and whether it is valid: exit 4 if not
    #[command(after_help = "Example:\n  portcullis token verify - < secret.txt\n\n\
        The secret is read from standard input, one line: on the command line others could see it.")]
    Verify {
        /// `-`: read the secret from standard input
        #[arg(value_name = "-", required = true, num_args = 1..)]
        source: Vec<String>,
    },
}

pub(super) fn run(command: TokenCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(create) => create::run(*create, session),
        TokenCommand::List { account, unused } => list::list(account, unused, session),
        TokenCommand::Show { id, silent } => list::show(id, silent, session),
        TokenCommand::Top(top) => top::run(&top, session),
        TokenCommand::Revoke { id } => revoke::run(&id, session),
        TokenCommand::Rotate { id, grace } => rotate::run(id, grace, session),
        TokenCommand::Verify { source } => verify::run(&source, session),
    }
}

/// What making a token prints: the only time that its secret is seen.
#[derive(Serialize)]
pub(super) struct Issued<'v> {
    id: TokenId,
    token: &'v str,
    name: &'v str,
    account_id: AccountId,
    created_at: String,
    expires_at: Option<String>,
}

impl<'v> Issued<'v> {
    pub(super) fn of(secret: &'v Secret, view: &'v TokenView) -> Self {
        Self {
            id: view.id,
            token: secret.expose(),
            name: &view.name,
            account_id: view.account_id,
            created_at: format_time(view.created_at),
            expires_at: view.expires_at.map(format_time),
        }
    }
}

/// Tokens, by their numbers, whose secrets could not be printed.
pub(super) fn unprinted(ids: &str) -> Failure {
    Failure::failed(format!(
        "token {ids} was made but its secret could not be printed; revoke it, `portcullis token \
         revoke {ids}`, and make another"
    ))
}

/// A secret of ours and the digest that stands for it.
pub(super) fn make_secret(
    kind: TokenKind,
    keys: &DigestKeys,
) -> Result<(Secret, Verifier), Failure> {
    secret::make(kind, keys).map_err(|error| {
        Failure::failed(format!("the operating system gives no random bytes: {error}"))
    })
}

/// Prints a new token with its secret. If that fails nobody has the secret, so say what is left.
pub(super) fn print_issued(
    secret: &Secret,
    view: &TokenView,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    session.print_json(&Issued::of(secret, view)).map_err(|_| unprinted(&view.id.to_string()))?;
    session.say("the secret is shown this once: it is stored nowhere and cannot be shown again");
    Ok(())
}
