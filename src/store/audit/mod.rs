//! The audit log: who changed what, when and from where, so chained that a change of the log
//! itself is found.
//!
//! What holds an entry in its place is in `chain`; going along the chain and finding what does
//! not hold is in `walk`. Both know nothing of a database.

mod chain;
mod note;
mod walk;

#[cfg(test)]
mod tests;

pub use chain::{Anchor, AnchorError, AuditKeys};
pub use note::Note;
pub use walk::{AuditReport, Finding, FindingKind};

pub(super) use chain::{Field, Head, HeadCheck, Link};
pub(super) use walk::{BROKEN_EVENT, Columns, Walk};

use crate::core::record::{AccountId, Timestamp, TokenId, Verifier};

/// An entry of the audit log as it is shown. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number: the first is 1, and none is left out.
    pub sequence: u64,
    /// When.
    pub created_at: Timestamp,
    /// `operator`, `token` or `system`.
    pub actor_type: String,
    /// The operator's user id, or the token's number.
    pub actor_id: Option<u64>,
    /// What the actor is called.
    pub actor_name: String,
    /// From where; none for the command line.
    pub actor_ip: Option<String>,
    /// What happened, for instance `service_token.created`.
    pub event_type: String,
    /// The account that it happened to.
    pub account_id: Option<AccountId>,
    /// What kind of thing it happened to.
    pub subject_type: String,
    /// Which of them.
    pub subject_id: Option<String>,
    /// What was, as JSON.
    pub before: Option<String>,
    /// What is now, as JSON.
    pub after: Option<String>,
    /// Key that sealed it.
    pub key_id: String,
    /// Its hash, over everything above and the entry before.
    pub hash: Vec<u8>,
}

/// Which entries to show: the last ones that fit.
#[derive(Clone, Debug)]
pub struct AuditFilter {
    /// Of this account only.
    pub account_id: Option<AccountId>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Of this event, or of all whose name begins with it and a dot.
    pub event: Option<String>,
    /// About this token, or done with it.
    pub token: Option<TokenTraces>,
    /// At most so many.
    pub limit: usize,
}

/// How a token may appear in the audit log.
#[derive(Clone, Debug, Default)]
pub struct TokenTraces {
    /// Its number, where the store knows the token.
    pub id: Option<TokenId>,
    /// What [`AuditKeys::fingerprint`] makes of each verifier that it could have.
    pub fingerprints: Vec<String>,
}

impl AuditKeys {
    /// What stands for a token in the entry of its making, so that the token is found there also
    /// when the store has lost it. `None` where what recognises it could be guessed.
    pub fn fingerprint(&self, verifier: &Verifier) -> Option<String> {
        self.fingerprints(verifier).next()
    }

    /// The fingerprint under each key, the current one first.
    pub fn fingerprints<'k>(
        &'k self,
        verifier: &Verifier,
    ) -> impl Iterator<Item = String> + use<'k> {
        let bytes = match verifier {
            Verifier::Digest { digest, .. } => Some(digest.0),
            Verifier::Sha256(sha256) => Some(*sha256),
            Verifier::Hash { .. } | Verifier::Introspect { .. } => None,
        };
        bytes.into_iter().flat_map(|bytes| self.fingerprints_of(bytes))
    }
}
