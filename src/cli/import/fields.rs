//! Taking an import line's object apart, key by key, strictly. Messages name keys, never values.

use serde_json::Value;

use super::redact::{Entries, HIDDEN};
use crate::config::suggest::closest;
use crate::core::record::Timestamp;
use crate::core::token::FOREIGN_LEN;
use crate::time::parse_time;

/// Why a line is refused. Holds nothing of the line but its keys.
pub(super) type Reason = String;

/// The entries of an object that have not been taken yet.
pub(super) struct Fields {
    entries: Vec<(String, Value)>,
    /// Keys that were asked for: what there could have been.
    known: Vec<&'static str>,
}

impl Fields {
    /// Everything is still to be taken.
    pub(super) fn new(Entries(entries): Entries) -> Self {
        Self { entries, known: Vec::with_capacity(16) }
    }

    /// Takes a value; `null` is as good as absent.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        let position = self.entries.iter().position(|(known, _)| known == key)?;
        Some(self.entries.swap_remove(position).1).filter(|value| !value.is_null())
    }

    /// A whole number that must be there.
    pub(super) fn number(&mut self, key: &'static str) -> Result<u64, Reason> {
        self.optional_number(key)?.ok_or_else(|| missing(key))
    }

    /// A whole number that may be absent.
    pub(super) fn optional_number(&mut self, key: &'static str) -> Result<Option<u64>, Reason> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| format!("`{key}` must be a whole number from 0"))
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, key: &'static str) -> Result<String, Reason> {
        self.optional_text(key)?.ok_or_else(|| missing(key))
    }

    /// A text that may be absent.
    pub(super) fn optional_text(&mut self, key: &'static str) -> Result<Option<String>, Reason> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{key}` must be a text")),
        }
    }

    /// `true` or `false`, where absent `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<bool, Reason> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(format!("`{key}` must be true or false")),
        }
    }

    /// A list, where absent an empty one.
    pub(super) fn list(&mut self, key: &'static str) -> Result<Vec<Value>, Reason> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(_) => Err(format!("`{key}` must be a list")),
        }
    }

    /// A time that may be absent.
    pub(super) fn optional_time(&mut self, key: &'static str) -> Result<Option<Timestamp>, Reason> {
        let Some(text) = self.optional_text(key)? else { return Ok(None) };
        parse_time(&text).map(Some).map_err(|why| format!("`{key}` is {why}"))
    }

    /// A time that must be there.
    pub(super) fn time(&mut self, key: &'static str) -> Result<Timestamp, Reason> {
        self.optional_time(key)?.ok_or_else(|| missing(key))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Result<Option<T>, Reason> {
        let Some(text) = self.optional_text(key)? else { return Ok(None) };
        one_of(&text, words).map(Some).ok_or_else(|| {
            let near = closest(&text, words.iter().map(|(word, _)| *word));
            let near = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
            expected(key, words) + &near
        })
    }

    /// One of a few words that must be there.
    pub(super) fn required_word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Result<T, Reason> {
        self.word(key, words)?.ok_or_else(|| missing(key))
    }

    /// Refuses a key that is near one of these, in place of which it was probably meant.
    pub(super) fn refuse_near(&self, keys: &[&str]) -> Result<(), Reason> {
        for (key, _) in &self.entries {
            if let Some(near) = closest(key, keys.iter().copied()) {
                return Err(format!("unknown key `{}`: did you mean `{near}`?", shown(key)));
            }
        }
        Ok(())
    }

    /// Refuses whatever was not asked for.
    pub(super) fn finish(self) -> Result<(), Reason> {
        let Some((key, _)) = self.entries.first() else { return Ok(()) };
        let known = self.known.iter().copied();
        let help = match closest(key, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected are {}", self.known.join(", ")),
        };
        Err(format!("unknown key `{}`: {help}", shown(key)))
    }
}

/// The value that a word stands for.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Option<T> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
}

/// What a key could have said.
pub(super) fn expected<T>(key: &str, words: &[(&'static str, T)]) -> Reason {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    format!("`{key}` must be one of {}", words.join(", "))
}

fn missing(key: &str) -> Reason {
    format!("`{key}` is missing")
}

/// A key that was given, unless it could be a secret in the wrong place.
pub(super) fn shown(key: &str) -> &str {
    if key.len() < *FOREIGN_LEN.start() && !key.chars().any(char::is_control) {
        key
    } else {
        HIDDEN
    }
}
