//! Which secrets were lately found to be none of their candidates': so that who sends the same
//! wrong token again and again has it hashed once.
//!
//! An attacker can make endless mismatches, so this is of fixed size. It holds no secret, and a
//! change of any of the candidates makes it another question.

use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

use super::fixed::FixedMap;
use crate::core::digest::Digest;
use crate::core::index::Candidate;

/// How long a mismatch is remembered.
const MISMATCH_TTL: Duration = Duration::from_secs(30);
/// A quarter of how many are remembered at most: 65,536, in 1.5 MiB.
const SETS: usize = 16_384;

/// Mismatches by keyed digest and candidates.
pub(super) struct Mismatches {
    due: FixedMap,
    seed: RandomState,
}

impl Mismatches {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: FixedMap::new(SETS, now), seed: RandomState::default() }
    }

    /// Whether this secret was lately found to be none of these.
    pub(super) fn recall(&self, digest: &Digest, candidates: &[Candidate], now: Instant) -> bool {
        self.due.recall(self.key(digest, candidates)) > self.due.millis(now)
    }

    /// Keeps that every one of the candidates was hashed, and none matched.
    pub(super) fn remember(&self, digest: &Digest, candidates: &[Candidate], now: Instant) {
        let due = self.due.millis(now + MISMATCH_TTL);
        self.due.keep(self.key(digest, candidates), due);
    }

    /// 128 bits of the digest, one half mixed with who was asked about.
    fn key(&self, digest: &Digest, candidates: &[Candidate]) -> [u64; 2] {
        let named: Vec<_> =
            candidates.iter().map(|candidate| (candidate.token_id, candidate.version)).collect();
        let word = |at: usize| {
            let bytes = digest.0[at..at + 8].try_into().expect("invariant: 8 bytes of 32");
            u64::from_le_bytes(bytes)
        };
        [word(0) ^ self.seed.hash_one(named), word(8)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(token_id: u64, version: u64) -> Candidate {
        Candidate { token_id, account_id: 1, user_id: None, version, encoded: Some("x".into()) }
    }

    #[test]
    fn a_mismatch_is_remembered_for_its_time_and_its_candidates() {
        let start = Instant::now();
        let mismatches = Mismatches::new(start);
        let (digest, asked) = (Digest([7; 32]), [candidate(1, 5), candidate(2, 6)]);
        mismatches.remember(&digest, &asked, start);
        assert!(mismatches.recall(&digest, &asked, start + MISMATCH_TTL / 2));
        assert!(!mismatches.recall(&digest, &asked, start + MISMATCH_TTL));
        assert!(!mismatches.recall(&Digest([8; 32]), &asked, start));
        for other in [vec![candidate(1, 5)], vec![candidate(1, 9), candidate(2, 6)]] {
            assert!(!mismatches.recall(&digest, &other, start));
        }
    }
}
