//! One worker's counts since it last handed them over.

use std::net::IpAddr;
use std::sync::mpsc::{SyncSender, TrySendError};

use crate::core::record::{Timestamp, TokenId};

/// Tokens that a worker counts before it hands over ahead of time.
const TOKENS_LIMIT: usize = 4_096;
/// Twice as many places, so that a search is short.
const PLACES: usize = 2 * TOKENS_LIMIT;
const EMPTY: u16 = u16::MAX;

/// What is handed over.
#[derive(Debug)]
pub struct Batch {
    /// When it is handed over. Requests to different workers within a tick of each other are told
    /// in either order.
    pub at: Timestamp,
    /// Each token once.
    pub uses: Vec<Use>,
    /// Requests that could not be counted.
    pub lost: u64,
}

/// The requests of one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The token.
    pub token: TokenId,
    /// How many since the last time.
    pub requests: u32,
    /// Where the last one came from, as far as that can be known.
    pub address: Option<IpAddr>,
}

/// Counts by token: open addressing over positions, so that what is handed over is one vector.
/// Fixed in size. Where the receiver is behind and there is no more room, requests are lost to the
/// count, and how many is told.
#[derive(Debug)]
pub struct Tally {
    places: Box<[u16; PLACES]>,
    uses: Vec<Use>,
    lost: u64,
    receiver: SyncSender<Batch>,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(receiver: SyncSender<Batch>) -> Self {
        Self { places: Box::new([EMPTY; PLACES]), uses: Vec::new(), lost: 0, receiver }
    }

    /// Counts a request.
    #[inline]
    pub fn count(&mut self, token: TokenId, address: Option<IpAddr>) {
        // Fibonacci hashing: ids are consecutive, and none of an attacker's choice.
        let hash = token.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACES.ilog2());
        let mut place = hash as usize;
        // Ends: half of the places are empty.
        while let Some(found) = self.uses.get_mut(usize::from(self.places[place])) {
            if found.token == token {
                found.requests = found.requests.saturating_add(1);
                found.address = address;
                return;
            }
            place = (place + 1) % PLACES;
        }
        self.add(place, Use { token, requests: 1, address });
    }

    #[cold]
    fn add(&mut self, place: usize, first: Use) {
        if self.uses.len() == TOKENS_LIMIT {
            self.lost += 1;
            return;
        }
        self.places[place] = self.uses.len() as u16;
        self.uses.push(first);
    }

    /// Whether it is time to hand over before the tick.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.uses.len() >= TOKENS_LIMIT
    }

    /// Hands over what was counted. A receiver that is behind gets it later.
    pub fn flush(&mut self, at: Timestamp) {
        if self.uses.is_empty() && self.lost == 0 {
            return;
        }
        let capacity = self.uses.len();
        let uses = std::mem::replace(&mut self.uses, Vec::with_capacity(capacity));
        match self.receiver.try_send(Batch { at, uses, lost: self.lost }) {
            Ok(()) => {
                self.places.fill(EMPTY);
                self.lost = 0;
            }
            // Without a receiver nothing will ever be taken over.
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                self.uses = batch.uses;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::mpsc::sync_channel;

    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn address(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    proptest! {
        #[test]
        fn it_counts_what_a_map_counts(
            requests in proptest::collection::vec((0_u64..300, 0_u8..4, any::<bool>()), 0..2_000),
        ) {
            let (sender, receiver) = sync_channel(1);
            let mut tally = Tally::new(sender);
            let mut counted: HashMap<TokenId, (u32, Option<IpAddr>)> = HashMap::new();
            let mut expected = counted.clone();
            for (token, last, flush) in requests {
                // Far apart and near to each other.
                let token = if token % 2 == 0 { token } else { token << 40 };
                tally.count(token, address(last));
                let of = expected.entry(token).or_default();
                *of = (of.0 + 1, address(last));
                if flush {
                    tally.flush(NOW);
                    take(&receiver, &mut counted);
                }
            }
            tally.flush(NOW);
            take(&receiver, &mut counted);
            prop_assert_eq!(counted, expected);
        }
    }

    fn take(
        receiver: &std::sync::mpsc::Receiver<Batch>,
        into: &mut HashMap<TokenId, (u32, Option<IpAddr>)>,
    ) {
        for used in receiver.try_iter().flat_map(|batch| batch.uses) {
            let of = into.entry(used.token).or_default();
            *of = (of.0 + used.requests, used.address);
        }
    }

    #[test]
    fn where_nobody_takes_over_counting_goes_on_and_new_tokens_are_lost_in_the_end() {
        let (sender, receiver) = sync_channel(1);
        let mut tally = Tally::new(sender);
        tally.count(1, None);
        tally.flush(NOW);
        (0..5_000).for_each(|token| tally.count(token, None));
        tally.flush(NOW);
        assert!(tally.is_full());
        tally.count(7, None);
        assert_eq!(receiver.recv().unwrap().uses.len(), 1);
        tally.flush(NOW);
        let batch = receiver.recv().unwrap();
        assert_eq!((batch.uses.len(), batch.lost), (TOKENS_LIMIT, 5_000 - TOKENS_LIMIT as u64));
        assert_eq!(batch.uses[7], Use { token: 7, requests: 2, address: None });
        tally.count(9, address(1));
        tally.flush(NOW);
        assert_eq!(receiver.recv().unwrap().lost, 0);
    }
}
