//! A place in a store's change log, opaque to everyone else.

use std::fmt;
use std::str::FromStr;

/// Which store, which epoch of it, and how far. A restore starts a new epoch, so that a place in
/// the history that it discarded is recognised as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) store: String,
    pub(crate) epoch: u64,
    pub(crate) position: u64,
}

impl Cursor {
    /// How far, for people and metrics: the number of the last change.
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.store, self.epoch, self.position)
    }
}

/// A text that no store gave out as a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let mut parts = text.split('.');
        let (Some(store), Some(epoch), Some(position), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotACursor);
        };
        if store.is_empty() || !store.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(NotACursor);
        }
        Ok(Self {
            store: store.to_owned(),
            epoch: epoch.parse().map_err(|_| NotACursor)?,
            position: position.parse().map_err(|_| NotACursor)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_being_written_and_read() {
        let cursor = Cursor { store: "a1b2".to_owned(), epoch: 3, position: 42 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for broken in ["", "a.1", "a.1.2.3", ".1.2", "a.x.2", "a.1.-2"] {
            assert_eq!(broken.parse::<Cursor>(), Err(NotACursor), "{broken}");
        }
    }
}
