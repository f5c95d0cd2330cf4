//! What is noted in the audit log though it changes nothing else.

use serde_json::{Value, json};

use crate::core::record::AccountId;

/// Longest text of a caller's that a note repeats, in bytes.
const TEXT_LIMIT: usize = 1024;

/// An entry of the audit log for something that is no change of the store's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What happened, in the style of the published events.
    pub event: &'static str,
    /// The account that it concerns.
    pub account_id: Option<AccountId>,
    /// What it happened to: a kind, or a kind, a colon and which one.
    pub subject: String,
    /// What was. Never a secret.
    pub before: Value,
    /// What is now. Never a secret.
    pub after: Value,
}

impl Note {
    /// A management call that was refused to an authenticated caller, who is the actor. `call` is
    /// the method and the path, without a query; `reason` says which rule refused it.
    pub fn denied(account_id: Option<AccountId>, call: &str, status: u16, reason: &str) -> Self {
        Self {
            event: "management.denied",
            account_id,
            subject: format!("call:{}", shortened(call)),
            before: Value::Null,
            after: json!({ "status": status, "reason": shortened(reason) }),
        }
    }
}

/// The beginning of a text that may be long: whoever calls decides how long.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_LIMIT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_cannot_make_a_note_long() {
        let long = "ü".repeat(5_000);
        let note = Note::denied(Some(1), &long, 403, &long);
        assert!(note.subject.len() <= TEXT_LIMIT + 5, "{}", note.subject.len());
        assert!(note.after.to_string().len() < 2 * TEXT_LIMIT);
    }
}
