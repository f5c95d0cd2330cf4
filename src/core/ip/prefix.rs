//! Prefixes packed for the compiled rules: an address as one integer, its length and an action.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::core::record::Action;

/// An address of one family as an unsigned integer, first octet in the highest bits.
pub(super) trait Word: Copy + Ord {
    /// The longest prefix.
    const BITS: u8;
    /// The last address.
    const MAX: Self;

    /// The address with its host bits cleared.
    fn network(self, length: u8) -> Self;

    /// The address with its host bits set.
    fn last(self, length: u8) -> Self;

    /// The address before this one; `None` before the first.
    fn before(self) -> Option<Self>;

    /// How many steps of `2^shift` addresses, less than all of them, lie between `base` and this
    /// one: 0 before `base`, `u32::MAX` for more than fit.
    fn steps_from(self, base: Self, shift: u8) -> u32;

    /// How many bits the distance from `base` takes.
    fn bits_from(self, base: Self) -> u8;

    /// The prefix as the outside writes it.
    fn prefix(self, length: u8) -> IpNet;

    /// The address in words, first octet in the highest bits of the first one, then zeros.
    fn words(self) -> [u32; 4];

    /// The address whose leading words these are; all others are zero.
    fn of_words(words: &[u32]) -> Self;
}

impl Word for u32 {
    const BITS: u8 = 32;
    const MAX: Self = Self::MAX;

    #[inline]
    fn network(self, length: u8) -> Self {
        self & !hosts_v4(length)
    }

    fn last(self, length: u8) -> Self {
        self | hosts_v4(length)
    }

    fn before(self) -> Option<Self> {
        self.checked_sub(1)
    }

    #[inline]
    fn steps_from(self, base: Self, shift: u8) -> u32 {
        self.saturating_sub(base) >> shift
    }

    fn bits_from(self, base: Self) -> u8 {
        <Self as Word>::BITS - self.saturating_sub(base).leading_zeros() as u8
    }

    fn prefix(self, length: u8) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(self), length))
    }

    #[inline]
    fn words(self) -> [u32; 4] {
        [self, 0, 0, 0]
    }

    fn of_words(words: &[u32]) -> Self {
        words.first().copied().unwrap_or(0)
    }
}

impl Word for u128 {
    const BITS: u8 = 128;
    const MAX: Self = Self::MAX;

    #[inline]
    fn network(self, length: u8) -> Self {
        // Of two shifts by a variable and a look-up, the look-up is the quicker by far.
        self & MASKS_V6[usize::from(length)]
    }

    fn last(self, length: u8) -> Self {
        self | hosts_v6(length)
    }

    fn before(self) -> Option<Self> {
        self.checked_sub(1)
    }

    #[inline]
    fn steps_from(self, base: Self, shift: u8) -> u32 {
        u32::try_from(self.saturating_sub(base) >> shift).unwrap_or(u32::MAX)
    }

    fn bits_from(self, base: Self) -> u8 {
        <Self as Word>::BITS - self.saturating_sub(base).leading_zeros() as u8
    }

    fn prefix(self, length: u8) -> IpNet {
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(self), length))
    }

    #[inline]
    fn words(self) -> [u32; 4] {
        [96, 64, 32, 0].map(|shift| (self >> shift) as u32)
    }

    fn of_words(words: &[u32]) -> Self {
        let words = words.iter().zip([96, 64, 32, 0]);
        words.fold(0, |address, (word, shift)| address | Self::from(*word) << shift)
    }
}

/// One rule, packed: 8 bytes for IPv4, 20 for IPv6.
///
/// The packing saves 12 bytes of padding an IPv6 rule; fields are copied out, never borrowed.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
pub(super) struct Entry<W> {
    network: W,
    length: u8,
    action: Action,
}

impl<W: Word> Entry<W> {
    /// A rule; host bits of `address` do not count.
    pub(super) fn new(address: W, length: u8, action: Action) -> Self {
        Self { network: address.network(length), length, action }
    }

    /// What the rule does.
    #[inline]
    pub(super) fn action(self) -> Action {
        self.action
    }

    /// First address of the prefix.
    pub(super) fn first(self) -> W {
        self.network
    }

    /// Last address of the prefix.
    pub(super) fn last(self) -> W {
        self.network.last(self.length)
    }

    /// By first address, then enclosing before enclosed; equal only for equal prefixes.
    pub(super) fn position(self) -> (W, u8) {
        (self.network, self.length)
    }

    /// The rule as the outside writes it.
    pub(super) fn rule(self) -> (Action, IpNet) {
        (self.action, self.network.prefix(self.length))
    }

    /// Takes the stricter action of the two.
    pub(super) fn restrict(&mut self, other: Action) {
        self.action = self.action.max(other);
    }
}

/// The host bits of a prefix; shifting twice as many bits keeps /0 from overflowing.
#[inline]
fn hosts_v4(length: u8) -> u32 {
    (u64::from(u32::MAX) >> length) as u32
}

/// Network bits by length of the prefix; as long as a `u8` goes, so that no index is out of it.
const MASKS_V6: &[u128; 256] = &{
    let mut masks = [u128::MAX; 256];
    let mut length = 0;
    while length < 128 {
        masks[length] = !(u128::MAX >> length);
        length += 1;
    }
    masks
};

fn hosts_v6(length: u8) -> u128 {
    u128::MAX.checked_shr(u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_right_at_both_ends() {
        assert_eq!([0, 1, 31, 32].map(hosts_v4), [u32::MAX, u32::MAX >> 1, 1, 0]);
        assert_eq!([0, 1, 127, 128].map(hosts_v6), [u128::MAX, u128::MAX >> 1, 1, 0]);
    }

    #[test]
    fn entries_are_packed() {
        assert_eq!(size_of::<Entry<u32>>(), 8);
        assert_eq!(size_of::<Entry<u128>>(), 20);
    }

    #[test]
    fn deny_is_the_stricter_action() {
        let mut entry = Entry::new(0_u32, 0, Action::Deny);
        entry.restrict(Action::Allow);
        assert_eq!(entry.action(), Action::Deny);
        let mut entry = Entry::new(0_u32, 0, Action::Allow);
        entry.restrict(Action::Deny);
        assert_eq!(entry.action(), Action::Deny);
    }
}
