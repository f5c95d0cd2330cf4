//! `legacy report`: legacy tokens by use, what they cost, and what rotating them would save.

use schemars::JsonSchema;
use serde::Serialize;

use crate::core::record::{AccountId, TokenId};
use crate::store::LegacyUse;

/// A legacy token that was used, or guessed at.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct LegacyToken {
    pub(crate) id: TokenId,
    pub(crate) account_id: AccountId,
    pub(crate) name: String,
    /// Requests with it.
    pub(crate) requests: u64,
    /// How often it was verified, for these requests or for guesses at it.
    pub(crate) verifications: u64,
    /// Requests that were answered from memory: at least those beyond its verifications.
    pub(crate) remembered: u64,
    /// CPU time that its hash took for that.
    pub(crate) hash_seconds: f64,
    /// What rotating this token and those before it would save, in CPU time.
    pub(crate) saved_seconds: f64,
    /// The same as a share of what all of them cost, 0 to 1.
    pub(crate) saved_share: f64,
}

/// The tokens in the order in which they are given, with what rotating each and those before it
/// would save.
pub(crate) fn report(uses: Vec<LegacyUse>) -> Vec<LegacyToken> {
    let total: u64 = uses.iter().map(|used| used.hash_micros).sum();
    let mut saved = 0;
    let line = |used: LegacyUse| {
        saved += used.hash_micros;
        LegacyToken {
            id: used.token_id,
            account_id: used.account_id,
            name: used.name,
            requests: used.requests,
            verifications: used.verifications,
            remembered: used.requests.saturating_sub(used.verifications),
            hash_seconds: seconds(used.hash_micros),
            saved_seconds: seconds(saved),
            saved_share: saved as f64 / total.max(1) as f64,
        }
    };
    uses.into_iter().map(line).collect()
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(token_id: TokenId, hash_micros: u64) -> LegacyUse {
        let name = String::new();
        LegacyUse { token_id, account_id: 1, name, requests: 1, verifications: 1, hash_micros }
    }

    #[test]
    fn what_is_saved_adds_up_to_everything() {
        let report = report(vec![used(1, 3_000_000), used(2, 0), used(3, 1_000_000)]);
        let saved: Vec<_> =
            report.iter().map(|token| (token.saved_seconds, token.saved_share)).collect();
        assert_eq!(saved, [(3.0, 0.75), (3.0, 0.75), (4.0, 1.0)]);
    }

    #[test]
    fn where_nothing_was_hashed_nothing_is_saved() {
        assert_eq!(report(vec![used(1, 0)])[0].saved_share, 0.0);
        assert_eq!(report(Vec::new()), []);
    }
}
