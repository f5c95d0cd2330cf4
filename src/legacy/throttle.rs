//! Who has failed too often lately: for addresses and accounts the lane is closed for a while
//! before anything is hashed.
//!
//! The generic cell rate algorithm: a failure moves a key's time on by one interval, and a key
//! whose time is a whole burst ahead waits. Of fixed size; what it forgets is forgiven.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

use super::fixed::FixedMap;
use crate::core::record::AccountId;

/// Wrong tokens, all different, that one address may have hashed at once; then one more each
/// [`ADDRESS_INTERVAL`].
const ADDRESS_FAILURES: u32 = 20;
const ADDRESS_INTERVAL: Duration = Duration::from_secs(3);
/// Likewise that may be hashed against one account's tokens, from anywhere.
const ACCOUNT_FAILURES: u32 = 60;
const ACCOUNT_INTERVAL: Duration = Duration::from_secs(1);
/// A quarter of the addresses, and of the accounts, that are remembered at most: 16,384 each.
const SETS: usize = 4_096;

/// Failures by address and by account.
pub(super) struct Throttle {
    addresses: FixedMap,
    accounts: FixedMap,
    seed: RandomState,
}

/// Who has failed too often, and when the lane is open to them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Throttled {
    /// The address.
    Address(Duration),
    /// Whoever guesses at this account's tokens.
    Account(Duration),
}

impl Throttle {
    pub(super) fn new(now: Instant) -> Self {
        let seed = RandomState::default();
        Self { addresses: FixedMap::new(SETS, now), accounts: FixedMap::new(SETS, now), seed }
    }

    /// Lets a guess from this address at this account through, or says for how long it does not.
    pub(super) fn check(
        &self,
        client: Option<IpAddr>,
        account: AccountId,
        now: Instant,
    ) -> Result<(), Throttled> {
        let wait = |map: &FixedMap, key, failures, interval: Duration| {
            let most = map.millis(now) + u64::from(failures) * millis(interval);
            // A time that is one interval short of a burst ahead has room for one failure.
            let over = (map.recall(key) + millis(interval)).saturating_sub(most);
            (over > 0).then(|| Duration::from_millis(over))
        };
        if let Some(client) = client {
            let key = self.key(client_key(client));
            if let Some(time) = wait(&self.addresses, key, ADDRESS_FAILURES, ADDRESS_INTERVAL) {
                return Err(Throttled::Address(time));
            }
        }
        match wait(&self.accounts, self.key(account), ACCOUNT_FAILURES, ACCOUNT_INTERVAL) {
            Some(time) => Err(Throttled::Account(time)),
            None => Ok(()),
        }
    }

    /// Counts a guess that was hashed and failed.
    pub(super) fn failed(&self, client: Option<IpAddr>, account: AccountId, now: Instant) {
        let count = |map: &FixedMap, key, interval| {
            let present = map.millis(now);
            map.update(key, |time| time.max(present) + millis(interval));
        };
        if let Some(client) = client {
            count(&self.addresses, self.key(client_key(client)), ADDRESS_INTERVAL);
        }
        count(&self.accounts, self.key(account), ACCOUNT_INTERVAL);
    }

    fn key(&self, of: impl std::hash::Hash) -> [u64; 2] {
        let hash = self.seed.hash_one(of);
        [hash, !hash]
    }
}

/// An IPv6 client has at least a whole /64 to send from.
fn client_key(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_that_fails_too_often_waits_and_others_do_not() {
        let start = Instant::now();
        let throttle = Throttle::new(start);
        let guesser = address("192.0.2.1");
        for account in 0..u64::from(ADDRESS_FAILURES) {
            assert_eq!(throttle.check(guesser, account, start), Ok(()));
            throttle.failed(guesser, account, start);
        }
        assert_eq!(throttle.check(guesser, 99, start), Err(Throttled::Address(ADDRESS_INTERVAL)));
        assert_eq!(throttle.check(address("192.0.2.2"), 99, start), Ok(()));
        assert_eq!(throttle.check(guesser, 99, start + ADDRESS_INTERVAL), Ok(()));
        throttle.failed(guesser, 99, start + ADDRESS_INTERVAL);
        assert!(throttle.check(guesser, 99, start + ADDRESS_INTERVAL).is_err());
    }

    #[test]
    fn an_account_guessed_at_from_everywhere_waits_and_others_do_not() {
        let start = Instant::now();
        let throttle = Throttle::new(start);
        for number in 0..ACCOUNT_FAILURES {
            let client = Some(IpAddr::from(number.to_be_bytes()));
            assert_eq!(throttle.check(client, 7, start), Ok(()));
            throttle.failed(client, 7, start);
        }
        let fresh = address("192.0.2.1");
        assert_eq!(throttle.check(fresh, 7, start), Err(Throttled::Account(ACCOUNT_INTERVAL)));
        assert_eq!(throttle.check(fresh, 8, start), Ok(()));
        assert_eq!(throttle.check(fresh, 7, start + ACCOUNT_INTERVAL), Ok(()));
    }

    #[test]
    fn ipv6_addresses_of_one_network_are_one_client() {
        let start = Instant::now();
        let throttle = Throttle::new(start);
        for number in 0..ADDRESS_FAILURES {
            throttle.failed(address(&format!("2001:db8::{number:x}")), number.into(), start);
        }
        assert!(throttle.check(address("2001:db8::ffff:1"), 99, start).is_err());
        assert!(throttle.check(address("2001:db8:0:1::1"), 99, start).is_ok());
    }
}
