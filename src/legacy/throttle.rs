//! Who has failed too often lately: for addresses and accounts the lane is closed for a while
//! before anything is hashed.
//!
//! Beside `[limits] failed_credentials`, which counts every 401 of an address: here it is sooner,
//! before one address has used up what may be tried against an account, and its owner with it.
//!
//! Counted as rate limits are, in memory of fixed size; what it forgets is forgiven.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::Rate;
use crate::core::record::AccountId;
use crate::limits::{Counter, WhenFull, client_key, id_key};

/// Wrong tokens, all different, that one address may have hashed at once; then one more each
/// [`ADDRESS_INTERVAL`].
const ADDRESS_FAILURES: u32 = 20;
const ADDRESS_INTERVAL: Duration = Duration::from_secs(3);
/// Likewise that may be hashed against one account's tokens, from anywhere.
const ACCOUNT_FAILURES: u32 = 60;
const ACCOUNT_INTERVAL: Duration = Duration::from_secs(1);

/// Failures by address and by account.
pub(super) struct Throttle {
    began: Instant,
    addresses: Counter,
    accounts: Counter,
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
        let counter = |failures: u32, interval: Duration| {
            let rate = Rate { count: failures.into(), per: interval * failures };
            Counter::new(rate, None, WhenFull::Forget)
        };
        Self {
            began: now,
            addresses: counter(ADDRESS_FAILURES, ADDRESS_INTERVAL),
            accounts: counter(ACCOUNT_FAILURES, ACCOUNT_INTERVAL),
        }
    }

    /// Lets a guess from this address at this account through, or says for how long it does not.
    pub(super) fn check(
        &self,
        client: Option<IpAddr>,
        account: AccountId,
        now: Instant,
    ) -> Result<(), Throttled> {
        let now = self.nanos(now);
        if client.is_some() {
            let waited = self.addresses.look(client_key(client), now);
            waited.map_err(|wait| Throttled::Address(Duration::from_nanos(wait)))?;
        }
        let waited = self.accounts.look(id_key(account), now);
        waited.map_err(|wait| Throttled::Account(Duration::from_nanos(wait)))
    }

    /// Counts a guess that was hashed and failed.
    pub(super) fn failed(&self, client: Option<IpAddr>, account: AccountId, now: Instant) {
        let now = self.nanos(now);
        if client.is_some() {
            self.addresses.charge(client_key(client), now);
        }
        self.accounts.charge(id_key(account), now);
    }

    fn nanos(&self, now: Instant) -> u64 {
        // 584 years.
        now.saturating_duration_since(self.began).as_nanos() as u64
    }
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
