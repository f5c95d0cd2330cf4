//! `portcullis audit find`: what became of a token of which one has the secret, say a leaked one.

use super::{Find, list};
use crate::cli::exit::Failure;
use crate::cli::session::{Opened, Session};
use crate::cli::token::{fast_verifiers, find, read_secret};
use crate::store::{AuditFilter, AuditKeys, Store, TokenTraces};

pub(super) fn run(arguments: &Find, session: &mut Session<'_>) -> Result<(), Failure> {
    if arguments.token != ["-"] {
        // What was given may be a secret: it is not repeated.
        return Err(Failure::usage(
            "audit find takes `--token -` and reads the secret from standard input: on the \
             command line it could be seen by others",
        ));
    }
    let Opened { config, store } = session.open()?;
    let secret = read_secret(session)?.map_err(|why| Failure::usage(why.to_string()))?;
    let view = find(&store, &config.keys, &secret, session)?;
    let keys = AuditKeys::from(&*config.keys);
    let fingerprints =
        fast_verifiers(&config.keys, &secret).flat_map(|verifier| keys.fingerprints(&verifier));
    let token =
        TokenTraces { id: view.as_ref().map(|view| view.id), fingerprints: fingerprints.collect() };
    let filter = AuditFilter {
        account_id: None,
        since: None,
        event: None,
        token: Some(token),
        limit: arguments.limit,
    };
    let entries = store.audit(&filter)?;
    session.say(&match &view {
        Some(view) => format!("it is token {} of account {}", view.id, view.account_id),
        None => "no token in the store has this secret".to_owned(),
    });
    list::show(&entries, arguments.limit, session)
}
