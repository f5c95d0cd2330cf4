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
    /// A place that was read from somewhere else; `None` where no store has this identity.
    pub fn new(store: String, epoch: u64, position: u64) -> Option<Self> {
        let is_identity =
            !store.is_empty() && store.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_identity.then_some(Self { store, epoch, position })
    }

    /// Identity of the store.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether this is an earlier place of the same store, in its epoch or in one before.
    pub fn is_before(&self, other: &Self) -> bool {
        self.store == other.store && (self.epoch, self.position) < (other.epoch, other.position)
    }

    /// Whether what is after `other` is after this as well, or nothing is.
    pub(crate) fn is_same_or_before(&self, other: &Self) -> bool {
        self == other || self.is_before(other)
    }

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
        let number = |text: &str| text.parse().map_err(|_| NotACursor);
        Self::new(store.to_owned(), number(epoch)?, number(position)?).ok_or(NotACursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_before_another_of_the_same_store_alone() {
        let place = |text: &str| text.parse::<Cursor>().unwrap();
        for (one, other, before) in [
            ("a.1.5", "a.1.6", true),
            ("a.1.9", "a.2.1", true),
            ("a.1.5", "a.1.5", false),
            ("a.2.1", "a.1.9", false),
            ("b.1.5", "a.1.6", false),
        ] {
            assert_eq!(place(one).is_before(&place(other)), before, "{one} {other}");
        }
    }

    #[test]
    fn a_cursor_survives_being_written_and_read() {
        let cursor = Cursor { store: "a1b2".to_owned(), epoch: 3, position: 42 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for broken in ["", "a.1", "a.1.2.3", ".1.2", "a.x.2", "a.1.-2"] {
            assert_eq!(broken.parse::<Cursor>(), Err(NotACursor), "{broken}");
        }
    }
}
