//! What may be shown of a line that was refused: everything but what could recognise a token.
//!
//! Of an object, the verifiers' values are taken out, and so is any longer text where it does not
//! belong. Of a line that is no JSON object nobody knows what is what, so any run of 16 or more of
//! the characters that a token may have is taken out, unless it is a known key, a time or a CIDR.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::core::ip::parse_cidr;
use crate::core::token::{FOREIGN_LEN, SELECTOR_LIMIT, has_our_prefix};
use crate::time::parse_time;

/// Stands for what was taken out.
pub(super) const HIDDEN: &str = "…";

/// Keys whose values are verifiers.
const VERIFIERS: [&str; 4] = ["token", "digest", "sha256", "hash"];
/// Keys whose values are names that people chose.
const NAMES: [&str; 3] = ["name", "index", "permission_set"];
/// Every other key of the import format.
const OTHERS: [&str; 22] = [
    "type",
    "id",
    "plan",
    "state",
    "account_id",
    "licence",
    "admin",
    "action",
    "cidr",
    "enabled",
    "project_id",
    "environment_category",
    "created_at",
    "expires_at",
    "not_before",
    "user_id",
    "allow_ips",
    "grants",
    "writable_environment_categories",
    "introspect",
    "selector",
    "suspended",
];

/// An object's entries in the order in which they were written, also those that repeat a key.
pub(super) struct Entries(pub(super) Vec<(String, Value)>);

/// A refused line without anything that could recognise a token.
pub(super) fn redact(line: &str) -> String {
    match serde_json::from_str::<Entries>(line) {
        Ok(Entries(entries)) => {
            let shown = entries.into_iter().map(|(key, value)| redact_entry(&key, value));
            serde_json::to_string(&Entries(shown.collect())).unwrap_or_else(|_| HIDDEN.to_owned())
        }
        Err(_) => hide_runs(line),
    }
}

/// Takes tokens of ours, also cut off or mistyped ones, out of a text that is otherwise shown.
pub(in crate::cli) fn hide_tokens(text: &str) -> String {
    let is_token = |run: &str| {
        let found = ["pts_", "ptu_"].into_iter().find_map(|prefix| run.find(prefix));
        found.is_some_and(|at| has_our_prefix(&run.as_bytes()[at..]) && run.len() - at >= 16)
    };
    replace_runs(text, is_token)
}

fn redact_entry(key: &str, value: Value) -> (String, Value) {
    let shown = if VERIFIERS.contains(&key) {
        hide_unless_null(value)
    } else if key == "selector" && value.as_str().is_some_and(|text| text.len() > SELECTOR_LIMIT) {
        // More of the token's beginning than a selector may have.
        hide_unless_null(value)
    } else if NAMES.contains(&key) {
        redact_value(value, hide_tokens)
    } else {
        redact_value(value, hide_runs)
    };
    (if is_key(key) { key.to_owned() } else { hide_runs(key) }, shown)
}

fn hide_unless_null(value: Value) -> Value {
    if value.is_null() { value } else { Value::String(HIDDEN.to_owned()) }
}

fn redact_value(value: Value, text: fn(&str) -> String) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value,
        Value::Number(number) => {
            let digits = number.to_string();
            if digits.len() < 20 { Value::Number(number) } else { Value::String(HIDDEN.to_owned()) }
        }
        Value::String(given) => Value::String(text(&given)),
        Value::Array(values) => {
            Value::Array(values.into_iter().map(|value| redact_value(value, text)).collect())
        }
        Value::Object(entries) => {
            Value::Object(entries.into_iter().map(|(key, v)| redact_entry(&key, v)).collect())
        }
    }
}

/// Takes out of a text whatever could be a token.
pub(super) fn hide_runs(text: &str) -> String {
    replace_runs(text, |run| run.len() >= *FOREIGN_LEN.start() && !is_harmless(run))
}

fn is_harmless(run: &str) -> bool {
    is_key(run) || parse_time(run).is_ok() || parse_cidr(run).is_ok()
}

/// Whether it is a key of the import format.
fn is_key(text: &str) -> bool {
    VERIFIERS.contains(&text) || NAMES.contains(&text) || OTHERS.contains(&text)
}

/// Replaces the runs of characters that a token may have for which `hide` says so. A quotation
/// mark ends a run unless it is escaped, and then is part of what could be a token.
fn replace_runs(text: &str, hide: impl Fn(&str) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut run = String::new();
    for character in text.chars() {
        let in_run = character.is_ascii_graphic() && (character != '"' || run.ends_with('\\'));
        if in_run {
            run.push(character);
            continue;
        }
        shown.push_str(if hide(&run) { HIDDEN } else { &run });
        run.clear();
        shown.push(character);
    }
    shown.push_str(if hide(&run) { HIDDEN } else { &run });
    shown
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::with_capacity(12);
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "MARKED~secret{0123456789}";

    #[test]
    fn no_line_shows_a_secret_wherever_it_stands() {
        let lines = [
            r#"{"token":"S","account_id":1}"#,
            r#"{"tokn":"S"}"#,
            r#"{"S":1}"#,
            r#"{"account_id":"S","name":"ci"}"#,
            r#"{"grants":[{"permission_set":"x","token":"S"}]}"#,
            r#"{"grants":[{"S":{"hash":"S"}}]}"#,
            r#"{"digest":["S"],"digest":"k1:S"}"#,
            r#"{"token":"S""#,
            r#"{token:S}"#,
            r#""S""#,
            r#"["S"]"#,
            "S",
            r#"{"name":"x","token":"\"S"#,
        ];
        for line in lines {
            let shown = redact(&line.replace('S', SECRET));
            assert!(!shown.contains("MARKED") && !shown.contains("56789"), "{line}: {shown}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let line = r#"{"account_id":1,"name":"nightly deployment job","token":"x","cidr":"2001:db8:1234::/48","created_at":"2024-05-01T00:00:00Z"}"#;
        assert_eq!(redact(line), line.replace(r#""x""#, "\"…\""));
        let broken = r#"{"account_id":1,"writable_environment_categories":["all"],"name":"ci""#;
        assert_eq!(redact(broken), broken);
    }

    #[test]
    fn a_token_of_ours_is_hidden_in_any_text() {
        let text = "unexpected argument 'pts_0123456789abcdef' found";
        assert_eq!(hide_tokens(text), "unexpected argument … found");
        assert_eq!(hide_tokens("use pts_ or ptu_ tokens"), "use pts_ or ptu_ tokens");
    }
}
