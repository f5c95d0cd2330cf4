//! When tokens were last used, and for how long they have been silent.

use std::collections::HashMap;

use crate::core::record::{Timestamp, TokenId};
use crate::store::{Store, StoreError, TokenFilter, TokenUse, TokenView};
use crate::time::format_time;
use crate::usage::Silence;

/// The use of some tokens.
pub(super) struct Uses {
    by_token: HashMap<TokenId, TokenUse>,
    counted_since: Timestamp,
}

impl Uses {
    /// Of those that the filter lets through.
    pub(super) fn of(store: &dyn Store, filter: &TokenFilter) -> Result<Self, StoreError> {
        Self::new(store.token_uses(filter)?, store)
    }

    /// Of one.
    pub(super) fn of_one(store: &dyn Store, id: TokenId) -> Result<Self, StoreError> {
        Self::new(store.token_use(id)?, store)
    }

    fn new(
        uses: impl IntoIterator<Item = TokenUse>,
        store: &dyn Store,
    ) -> Result<Self, StoreError> {
        let by_token = uses.into_iter().map(|used| (used.token_id, used)).collect();
        Ok(Self { by_token, counted_since: store.uses_since()? })
    }

    pub(super) fn find(&self, id: TokenId) -> Option<&TokenUse> {
        self.by_token.get(&id)
    }

    /// Since when a token is silent.
    pub(super) fn silence(&self, view: &TokenView) -> Silence {
        Silence::of(view, self.find(view.id), self.counted_since)
    }
}

/// A time of last use and from where, for people.
pub(super) fn last_use(used: Option<&TokenUse>) -> String {
    let Some(used) = used else { return "never".to_owned() };
    let time = format_time(used.last_used_at);
    used.last_address.map_or(time.clone(), |address| format!("{time} from {address}"))
}

/// How a token that was rotated ends.
#[derive(Debug)]
pub(super) struct Rotation {
    silent_since: Timestamp,
    silent_enough: bool,
    last_use: String,
}

impl Rotation {
    /// Of a token that was rotated, which has to be silent for so many seconds.
    pub(super) fn of(view: &TokenView, uses: &Uses, silent: i64, now: Timestamp) -> Option<Self> {
        view.rotated_to?;
        let silence = uses.silence(view);
        Some(Self {
            silent_since: silence.since(),
            silent_enough: silence.lasts(silent, now),
            last_use: last_use(uses.find(view.id)),
        })
    }

    /// Whether nobody seems to rely on it any more.
    pub(super) fn may_be_revoked(&self) -> bool {
        self.silent_enough
    }
}

impl std::fmt::Display for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.silent_enough {
            true => write!(f, "yes, silent since {}", format_time(self.silent_since)),
            false if self.last_use == "never" => write!(
                f,
                "no: never used, but that is known only since {}",
                format_time(self.silent_since)
            ),
            false => write!(f, "no: last used {}", self.last_use),
        }
    }
}
