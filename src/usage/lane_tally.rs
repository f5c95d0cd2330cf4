//! What the slow lane has to tell the store, until the collector takes it: what verifying tokens
//! cost, and which tokens are to become fast ones. Only the lane's own threads put something in.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::core::record::{Timestamp, TokenId, Verifier};
use crate::store::VerifyCost;

/// Tokens whose cost is counted between two writes; that of others is lost to the count.
const TOKENS_LIMIT: usize = 65_536;
/// Upgrades that wait. One that finds no place is asked for again when its token is verified the
/// next time.
const UPGRADES_LIMIT: usize = 1_024;

/// A token whose secret was verified, and by which digest it is known from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// The token.
    pub token_id: TokenId,
    /// The digest of its secret.
    pub verifier: Verifier,
}

/// What the lane tells. Whoever writes it to the store does so without holding it.
#[derive(Debug, Default)]
pub struct LaneTally {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    costs: HashMap<TokenId, VerifyCost, FixedState>,
    upgrades: HashMap<TokenId, Upgraded, FixedState>,
}

impl LaneTally {
    /// Counts one verification of a token, and the CPU time that it took.
    pub fn count(&self, token_id: TokenId, cpu: Duration, at: Timestamp) {
        let micros = u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX);
        self.add(VerifyCost { token_id, verifications: 1, hash_micros: micros, last_at: at });
    }

    /// Asks for a token to become a fast one.
    pub fn upgrade(&self, upgraded: Upgraded) {
        let upgrades = &mut self.lock().upgrades;
        if upgrades.len() < UPGRADES_LIMIT {
            upgrades.insert(upgraded.token_id, upgraded);
        }
    }

    /// Takes what was counted.
    pub(super) fn take_costs(&self) -> Vec<VerifyCost> {
        std::mem::take(&mut self.lock().costs).into_values().collect()
    }

    /// Takes the tokens that are to become fast ones.
    pub(super) fn take_upgrades(&self) -> Vec<Upgraded> {
        std::mem::take(&mut self.lock().upgrades).into_values().collect()
    }

    /// Counts this as well: also what was taken and could not be written.
    pub(super) fn add(&self, cost: VerifyCost) {
        let costs = &mut self.lock().costs;
        let has_place = costs.len() < TOKENS_LIMIT;
        match costs.entry(cost.token_id) {
            Entry::Occupied(known) => {
                let known = known.into_mut();
                known.verifications += cost.verifications;
                known.hash_micros = known.hash_micros.saturating_add(cost.hash_micros);
                known.last_at = known.last_at.max(cost.last_at);
            }
            Entry::Vacant(place) if has_place => drop(place.insert(cost)),
            Entry::Vacant(_) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::digest::Digest;

    fn upgraded(token_id: TokenId) -> Upgraded {
        let verifier = Verifier::Digest { key_id: "k".to_owned(), digest: Digest([0; 32]) };
        Upgraded { token_id, verifier }
    }

    #[test]
    fn costs_add_up_also_with_what_was_put_back() {
        let tally = LaneTally::default();
        tally.count(7, Duration::from_millis(2), Timestamp(1_000));
        let [taken] = tally.take_costs()[..] else { panic!("one token") };
        tally.count(7, Duration::from_millis(3), Timestamp(900));
        tally.add(taken);
        let sum = VerifyCost {
            token_id: 7,
            verifications: 2,
            hash_micros: 5_000,
            last_at: Timestamp(1_000),
        };
        assert_eq!(tally.take_costs(), [sum]);
        assert_eq!(tally.take_costs(), []);
    }

    #[test]
    fn tokens_and_upgrades_are_bounded_and_each_upgrade_waits_once() {
        let tally = LaneTally::default();
        for token in 0..2 * TOKENS_LIMIT as u64 {
            tally.count(token, Duration::ZERO, Timestamp(0));
        }
        assert_eq!(tally.take_costs().len(), TOKENS_LIMIT);
        (0..4).for_each(|token| tally.upgrade(upgraded(token / 2)));
        assert_eq!(tally.take_upgrades().len(), 2);
        (0..2 * UPGRADES_LIMIT as u64).for_each(|token| tally.upgrade(upgraded(token)));
        assert_eq!(tally.take_upgrades().len(), UPGRADES_LIMIT);
        assert_eq!(tally.take_upgrades(), []);
    }
}
