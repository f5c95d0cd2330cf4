//! For how long nobody has used a token, as far as can be known.

use crate::core::record::Timestamp;
use crate::store::{TokenUse, TokenView};

/// Since when a token has been silent: its last use; without any, when it was made or counting
/// began, since nothing is known of the time before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence(Timestamp);

impl Silence {
    /// Of this token.
    pub(crate) fn of(view: &TokenView, used: Option<&TokenUse>, counted_since: Timestamp) -> Self {
        Self(used.map_or(view.created_at.max(counted_since), |used| used.last_used_at))
    }

    /// Since when.
    pub(crate) fn since(self) -> Timestamp {
        self.0
    }

    /// Whether it has lasted for so many seconds.
    pub(crate) fn lasts(self, seconds: i64, now: Timestamp) -> bool {
        self.0.0 <= now.0.saturating_sub(seconds)
    }
}
