//! Failed credentials, by the address that they came from.
//!
//! An IPv6 client owns its /64 and could come from any address in it, so that the /64 is what
//! counts. An address that cannot be known (a unix socket) is one address like others.
//!
//! There may be more addresses than slots, and an attacker has as many as they like. So that none
//! of them becomes new by crowding itself out, an address that takes over a slot takes over what
//! was failed there: it is counted too high by at most the average of its set, never too low. Who
//! is counted too high gets 429 instead of 401 for a credential that is wrong anyway.

use std::net::IpAddr;

use super::counter::Counter;
use super::table::WhenFull;
use crate::config::Rate;

/// `::/8` is reserved (RFC 4291 section 4): IPv4 addresses and the unknown one have the room in
/// it that no client's /64 has.
const UNKNOWN: u64 = 1 << 32;

/// Failed credentials, by address.
#[derive(Debug)]
pub(super) struct Failures {
    counter: Counter,
}

impl Failures {
    pub(super) fn new(rate: Rate) -> Self {
        Self { counter: Counter::new(rate, None, WhenFull::Inherit) }
    }

    pub(super) fn rate(&self) -> Rate {
        self.counter.rate
    }

    /// Counts a failure; `Err`: there were too many before, for so many more nanoseconds.
    pub(super) fn note(&self, address: Option<IpAddr>, now: u64) -> Result<(), u64> {
        self.counter.take(client_key(address), now)
    }

    /// Whether the next failure would be one too many, and for how many nanoseconds.
    pub(super) fn look(&self, address: Option<IpAddr>, now: u64) -> Result<(), u64> {
        self.counter.look(client_key(address), now)
    }
}

/// What an address is counted by, an IPv6 one by its /64: not 0.
pub(crate) fn client_key(address: Option<IpAddr>) -> u64 {
    let bits = match address.map(|address| address.to_canonical()) {
        None => UNKNOWN,
        Some(IpAddr::V4(address)) => u64::from(address.to_bits()),
        Some(IpAddr::V6(address)) => (address.to_bits() >> 64) as u64,
    };
    // Of `::/64`, no address but ::1 is a client's, and of ffff:…::/64, which is multicast, none.
    bits.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn failures(count: u64) -> Failures {
        Failures::new(Rate { count, per: Duration::from_secs(60) })
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// The numbered /64 of an attacker's /32.
    fn network(number: u32) -> Option<IpAddr> {
        let bits = 0x2001_0db8_u128 << 96 | u128::from(number) << 64 | u128::from(number);
        Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_and_mapped_ones_are_ipv4() {
        assert_eq!(
            client_key(address("2001:db8::1")),
            client_key(address("2001:db8::ffff:ffff:ffff:ffff"))
        );
        assert_ne!(client_key(address("2001:db8::1")), client_key(address("2001:db8:0:1::1")));
        assert_eq!(client_key(address("::ffff:192.0.2.1")), client_key(address("192.0.2.1")));
        let different = ["192.0.2.1", "192.0.2.2", "2001:db8::", "fe80::1", "64:ff9b::c000:201"];
        let keys = different.map(address).into_iter().chain([None]).map(client_key);
        assert_eq!(keys.collect::<HashSet<_>>().len(), 6);
    }

    #[test]
    fn each_address_has_its_own_limit() {
        let failures = failures(3);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert!((0..3).all(|_| failures.note(one, SECOND).is_ok()));
        assert_eq!(failures.look(one, SECOND), Err(20 * SECOND));
        assert_eq!(failures.note(one, SECOND), Err(20 * SECOND));
        assert_eq!(failures.note(other, SECOND), Ok(()));
        assert_eq!(failures.look(one, 21 * SECOND), Ok(()));
    }

    #[test]
    fn a_million_addresses_take_no_more_memory_and_are_all_within_their_limit() {
        let failures = failures(100);
        let before = format!("{failures:?}");
        for number in 0..1_000_000 {
            assert_eq!(failures.note(network(number), SECOND), Ok(()), "address {number}");
        }
        assert_eq!(format!("{failures:?}"), before);
    }

    #[test]
    fn a_flood_of_addresses_makes_no_limited_one_new() {
        let failures = failures(100);
        let limited = address("192.0.2.1");
        while failures.note(limited, SECOND).is_ok() {}
        for number in 0..1_000_000 {
            let _ = failures.note(network(number), SECOND);
        }
        // It still has its slot, since those around it have failed less; and without it, what
        // it took over would have counted.
        assert!(failures.look(limited, SECOND).is_err());
    }

    #[test]
    fn addresses_that_crowd_each_other_out_have_no_more_guesses_than_the_slots() {
        let failures = failures(2);
        let all = (0..4 * crate::limits::table::KEYS_LIMIT as u32).map(network);
        let granted =
            (0..4).flat_map(|_| all.clone()).filter(|from| failures.note(*from, SECOND).is_ok());
        assert!(granted.count() <= 2 * crate::limits::table::KEYS_LIMIT);
    }

    #[test]
    fn ipv4_addresses_do_not_stand_for_networks_of_clients() {
        let highest = client_key(Some(IpAddr::V4(Ipv4Addr::BROADCAST)));
        assert!(highest <= UNKNOWN && client_key(None) > highest);
        assert!(client_key(address("100::1")) > client_key(None));
    }
}
