//! `portcullis audit`: who changed what, and whether the log of it is still what was written.

mod find;
mod list;
mod verify;

#[cfg(test)]
mod tests;

use clap::{Args, Subcommand};

use super::exit::Failure;
use super::session::Session;
use super::values::{self, Moment};
use crate::core::record::AccountId;
use crate::store::Anchor;

/// The audit log: list, find, verify.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List the last entries, the newest at the end
    #[command(after_help = "Examples:\n  \
        portcullis audit list --since 7d\n  \
        portcullis audit list --account 1 --event service_token\n\n\
        Each change has an entry, but for those of a bulk import: each of its transactions has one, \
        import.applied, with what was done how often, the numbers of the new tokens, and a digest \
        of everything that was written. import.finished has the digest of the file.")]
    List(List),
    /// Find what concerns a token, and what was done with it
    #[command(after_help = "Example:\n  portcullis audit find --token - < secret.txt\n\n\
        The secret is read from standard input, one line; it is neither kept nor shown.")]
    Find(Find),
    /// Check that nothing in the log was changed, removed, moved or added: exit 5 if so
    #[command(after_help = "It prints the head, SEQUENCE:HASH. Keep it where those who can write \
        the store cannot: a log that was put back to an earlier state, head and all, is found by \
        --expect alone.")]
    Verify(Verify),
}

/// Which entries to list.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Of this account only
    #[arg(long, value_name = "N")]
    account: Option<AccountId>,
    /// Not older than this: a duration before now, or a time
    #[arg(long, value_name = "7d|TIME", value_parser = values::moment)]
    since: Option<Moment>,
    /// Of this event, or of all that begin so: service_token, service_token.revoked
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
}

/// Which token to look for.
#[derive(Debug, Args)]
pub(super) struct Find {
    /// `-`: read the secret from standard input
    #[arg(long, value_name = "-", required = true, num_args = 1..)]
    token: Vec<String>,
    /// At most so many entries, the newest
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
}

/// What must be in the log.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// An entry that must be in the log: a head that was printed earlier; may be repeated
    #[arg(long, value_name = "SEQUENCE:HASH", num_args = 1..)]
    expect: Vec<Anchor>,
    /// Check only what comes after this entry, which was checked earlier
    #[arg(long, value_name = "SEQUENCE:HASH")]
    after: Option<Anchor>,
}

pub(super) fn run(command: AuditCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        AuditCommand::List(list) => list::run(list, session),
        AuditCommand::Find(find) => find::run(&find, session),
        AuditCommand::Verify(verify) => verify::run(&verify, session),
    }
}
