//! `portcullis token revoke`.

use crate::cli::exit::Failure;
use crate::cli::session::{Opened, Session};
use crate::cli::shape::TokenShape;
use crate::cli::standing::Standings;
use crate::core::record::TokenId;
use crate::store::{Command, Outcome, Store, StoreError};

/// Revokes all that can be, then fails with those that cannot: in an emergency one mistyped
/// number must not keep the others valid.
pub(super) fn run(ids: &[TokenId], session: &mut Session<'_>) -> Result<(), Failure> {
    let Opened { config, store } = session.open()?;
    let commands = ids.iter().map(|id| Command::RevokeToken { id: *id }).collect();
    let outcomes = store.apply_all(&session.actor(), commands);
    let mut refusals: Vec<StoreError> = Vec::new();
    let mut revoked = Vec::new();
    for (id, outcome) in ids.iter().zip(outcomes) {
        match outcome {
            Ok(Outcome::Changed { .. }) => session.say(&format!("token {id} revoked")),
            Ok(Outcome::Unchanged { .. }) => session.say(&format!("token {id} was revoked before")),
            Err(refusal) => {
                refusals.push(refusal);
                continue;
            }
        }
        revoked.push(store.token(*id)?);
    }
    if session.json {
        let mut standings = Standings::new(&store, &config.permission_sets);
        let suspended: Vec<_> =
            revoked.iter().map(|view| standings.suspended(view)).collect::<Result<_, _>>()?;
        let shapes = revoked.iter().zip(&suspended).map(|(v, s)| TokenShape::listed(v, s));
        session.print_json(&shapes.collect::<Vec<_>>())?;
    }
    let Some((last, others)) = refusals.split_last() else { return Ok(()) };
    for refusal in others {
        session.say(&format!("portcullis: {refusal}"));
    }
    Err(last.clone().into())
}
