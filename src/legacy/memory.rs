//! Which secrets the lane has verified lately, by their keyed digest.
//!
//! Only successes are kept: an attacker can make endless mismatches, but no success. The memory
//! holds no secret, and what it says is void once the token has changed.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::core::digest::Digest;
use crate::core::record::{Timestamp, TokenId};

/// A verification that succeeded lately.
///
/// It is about the token as it was at `version`. A caller compares that with the version in its
/// index: where they differ, the token has changed since (its hash perhaps with it), and the
/// secret counts as not remembered. So nothing has to be forgotten when a token changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The token whose hash the secret matched.
    pub token_id: TokenId,
    /// Version of the token at the time.
    pub version: u64,
    /// First second at which that no longer holds, where a remote endpoint says one.
    pub ends: Option<Timestamp>,
}

/// Successes, each for the same time, and no more than a limit: the oldest goes first.
pub(super) struct Memory {
    ttl: Duration,
    limit: usize,
    entries: DashMap<[u8; 32], Entry, RandomState>,
    // Oldest first; as long as `entries` or longer, since a digest can be in it twice. Only the
    // lane's own threads take this lock.
    order: Mutex<VecDeque<([u8; 32], Instant)>>,
}

#[derive(Clone, Copy)]
struct Entry {
    remembered: Remembered,
    at: Instant,
    /// It ends before its time, with what it is about.
    until: Option<Instant>,
}

impl Memory {
    pub(super) fn new(ttl: Duration, limit: usize) -> Self {
        let entries = DashMap::with_hasher(RandomState::default());
        Self { ttl, limit, entries, order: Mutex::default() }
    }

    /// What is known of a digest at `now`.
    pub(super) fn recall(&self, digest: &Digest, now: Instant) -> Option<Remembered> {
        self.current(&*self.entries.get(&digest.0)?, now)
    }

    /// Whether a secret of this token, at this version, is known at `now`.
    pub(super) fn knows(&self, token_id: TokenId, version: u64, now: Instant) -> bool {
        self.entries.iter().any(|entry| {
            let is_it = |known: &Remembered| (known.token_id, known.version) == (token_id, version);
            self.current(&entry, now).is_some_and(|known| is_it(&known))
        })
    }

    /// How many secrets are known at `now`.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.entries.iter().filter(|entry| self.current(entry, now).is_some()).count()
    }

    /// Keeps a success from `now` on, and not beyond `until`.
    pub(super) fn remember(
        &self,
        digest: &Digest,
        remembered: Remembered,
        now: Instant,
        until: Option<Instant>,
    ) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        self.entries.insert(digest.0, Entry { remembered, at: now, until });
        order.push_back((digest.0, now));
        while let Some(&(oldest, at)) = order.front()
            && (order.len() > self.limit || !self.is_fresh(at, now))
        {
            order.pop_front();
            self.entries.remove_if(&oldest, |_, entry| entry.at == at);
        }
    }

    fn current(&self, entry: &Entry, now: Instant) -> Option<Remembered> {
        let has_ended = entry.until.is_some_and(|until| now >= until);
        (self.is_fresh(entry.at, now) && !has_ended).then_some(entry.remembered)
    }

    fn is_fresh(&self, at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(at) < self.ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(900);

    fn digest(number: u8) -> Digest {
        Digest([number; 32])
    }

    fn token(token_id: TokenId) -> Remembered {
        Remembered { token_id, version: 1, ends: None }
    }

    #[test]
    fn a_success_is_remembered_until_its_time_is_over() {
        let (memory, start) = (Memory::new(TTL, 10), Instant::now());
        memory.remember(&digest(1), token(7), start, None);
        let last = start + TTL - Duration::from_nanos(1);
        assert_eq!(memory.recall(&digest(1), last), Some(token(7)));
        assert!(memory.knows(7, 1, last) && !memory.knows(7, 2, last) && !memory.knows(8, 1, last));
        assert_eq!((memory.count(last), memory.count(start + TTL)), (1, 0));
        assert!(!memory.knows(7, 1, start + TTL));
        assert_eq!(memory.recall(&digest(1), start + TTL), None);
        assert_eq!(memory.recall(&digest(2), start), None);
    }

    #[test]
    fn what_ends_earlier_is_not_remembered_beyond_its_end() {
        let (memory, start) = (Memory::new(TTL, 10), Instant::now());
        let end = start + Duration::from_secs(5);
        memory.remember(&digest(1), token(7), start, Some(end));
        assert_eq!(memory.recall(&digest(1), end - Duration::from_nanos(1)), Some(token(7)));
        assert_eq!(memory.recall(&digest(1), end), None);
    }

    #[test]
    fn the_oldest_makes_room_for_the_newest() {
        let (memory, start) = (Memory::new(TTL, 2), Instant::now());
        for number in 1..=3 {
            memory.remember(&digest(number), token(u64::from(number)), start, None);
        }
        assert_eq!(memory.recall(&digest(1), start), None);
        assert_eq!(memory.recall(&digest(2), start), Some(token(2)));
        assert_eq!(memory.recall(&digest(3), start), Some(token(3)));
        assert_eq!(memory.entries.len(), 2);
    }

    #[test]
    fn what_is_verified_again_outlives_its_first_entry() {
        let (memory, start) = (Memory::new(TTL, 2), Instant::now());
        let later = start + Duration::from_secs(1);
        memory.remember(&digest(1), token(1), start, None);
        memory.remember(&digest(1), token(2), later, None);
        memory.remember(&digest(3), token(3), later, None);
        assert_eq!(memory.recall(&digest(1), later), Some(token(2)));
    }

    #[test]
    fn expired_entries_are_cleared_away() {
        let (memory, start) = (Memory::new(TTL, 10), Instant::now());
        memory.remember(&digest(1), token(1), start, None);
        memory.remember(&digest(2), token(2), start + TTL, None);
        assert_eq!(memory.entries.len(), 1);
    }

    #[test]
    fn without_time_nothing_is_remembered() {
        let (memory, start) = (Memory::new(Duration::ZERO, 10), Instant::now());
        memory.remember(&digest(1), token(1), start, None);
        assert_eq!(memory.recall(&digest(1), start), None);
        assert_eq!(memory.entries.len(), 0);
    }
}
