//! An account's IP rules, and plain sets of prefixes, compiled.

use std::net::IpAddr;

use ipnet::IpNet;

use super::canonical;
use super::family::Family;
use super::few;
use super::prefix::Entry;
use crate::core::record::Action;

/// What a set of IP rules says about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// No rule matches.
    NoMatch,
    /// The most specific rule that matches allows it.
    Allowed,
    /// The most specific rule that matches denies it.
    Denied,
}

impl From<Action> for Judgement {
    #[inline]
    fn from(action: Action) -> Self {
        match action {
            Action::Allow => Self::Allowed,
            Action::Deny => Self::Denied,
        }
    }
}

impl From<Option<Action>> for Judgement {
    #[inline]
    fn from(action: Option<Action>) -> Self {
        action.map_or(Self::NoMatch, Self::from)
    }
}

impl Judgement {
    /// Whether a request is let in. Where no rule matches, it is unless some rule allows something
    /// else.
    #[inline]
    fn admits(self, has_allow: bool) -> bool {
        match self {
            Self::Allowed => true,
            Self::NoMatch => !has_allow,
            Self::Denied => false,
        }
    }
}

/// The IP rules of one account, compiled: immutable, 40 bytes and nothing on the heap when empty.
///
/// On the heap, a rule takes 4 to 8 bytes (IPv6: to 32) while its family has few, about 25
/// (IPv6: 65) once it has many, and at worst some 100 where clusters nest in clusters.
#[derive(Clone, Debug)]
pub struct IpRules {
    prefixes: Prefixes,
    has_allow: bool,
}

impl IpRules {
    /// Compiles rules, in any order. They should be canonical (see [`canonical`]), are made so
    /// if not, and a prefix that is both allowed and denied is denied.
    pub fn compile(rules: &[(Action, IpNet)]) -> Self {
        let prefixes = Prefixes::compile(rules.iter().copied());
        let has_allow = prefixes.iter().any(|(action, _)| action == Action::Allow);
        Self { prefixes, has_allow }
    }

    /// What the most specific rule that matches the address says. An IPv4-mapped IPv6 address
    /// is IPv4; no IPv6 prefix matches an IPv4 address.
    #[inline]
    pub fn judge(&self, address: IpAddr) -> Judgement {
        self.prefixes.judge(address)
    }

    /// Whether the rules, if they are enabled, let a request from this address in. Where no
    /// rule matches, they do unless some rule allows something else; an address that cannot be
    /// known (`None`, a unix socket) is kept out, even by an empty set.
    #[inline]
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.judge(address).admits(self.has_allow))
    }

    /// The rule that [`judge`](Self::judge) goes by; `None` for [`Judgement::NoMatch`]. For
    /// explaining: microseconds in a large set.
    pub fn matching(&self, address: IpAddr) -> Option<(Action, IpNet)> {
        self.prefixes.matching(address)
    }

    /// Every rule in canonical form, IPv4 before IPv6, otherwise in an order of no meaning.
    pub fn iter(&self) -> impl Iterator<Item = (Action, IpNet)> {
        self.prefixes.iter()
    }

    /// Whether any rule allows, so that an address that none matches is denied.
    #[inline]
    pub fn has_allow(&self) -> bool {
        self.has_allow
    }

    /// The rules as words that can be kept anywhere, where either family has few.
    pub fn few(&self) -> Option<FewRules<'_>> {
        let Self { prefixes, has_allow } = self;
        let (v4, v6) = (prefixes.v4.few()?, prefixes.v6.few()?);
        Some(FewRules { v4, v6, has_allow: *has_allow })
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.prefixes.heap_bytes()
    }
}

/// The IP rules of an account that has few, wherever their words are kept.
#[derive(Clone, Copy, Debug)]
pub struct FewRules<'a> {
    /// The rules of IPv4.
    pub v4: &'a [u32],
    /// The rules of IPv6.
    pub v6: &'a [u32],
    /// Whether any rule allows.
    pub has_allow: bool,
}

impl FewRules<'_> {
    /// See [`IpRules::admits`].
    #[inline]
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return false };
        let action = match Address::of(address) {
            Address::V4(address) => few::judge(self.v4, address),
            Address::V6(address) => few::judge(self.v6, address),
        };
        Judgement::from(action).admits(self.has_allow)
    }

    /// See [`IpRules::iter`].
    pub fn iter(&self) -> impl Iterator<Item = (Action, IpNet)> {
        let v4 = few::entries::<u32>(self.v4).into_iter().map(Entry::rule);
        v4.chain(few::entries::<u128>(self.v6).into_iter().map(Entry::rule))
    }

    /// See [`IpRules::matching`].
    pub fn matching(&self, address: IpAddr) -> Option<(Action, IpNet)> {
        match Address::of(address) {
            Address::V4(address) => few::rule(self.v4, address).map(Entry::rule),
            Address::V6(address) => few::rule(self.v6, address).map(Entry::rule),
        }
    }
}

/// An address as an integer of the family whose rules it is judged by.
enum Address {
    V4(u32),
    V6(u128),
}

impl Address {
    /// Tells mapped addresses apart on the integer, which `IpAddr::to_canonical` would take apart
    /// into octets first.
    #[inline]
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => match (address.to_bits() >> 32, address.to_bits()) {
                (0xffff, mapped) => Self::V4(mapped as u32),
                (_, address) => Self::V6(address),
            },
        }
    }
}

/// A set of prefixes, compiled: trusted proxies, or what a token's `allow_ips` narrow it to.
#[derive(Clone, Debug)]
pub struct PrefixSet(Prefixes);

impl PrefixSet {
    /// Compiles prefixes, in any order. They should be canonical (see [`canonical`]), and are
    /// made so if not.
    pub fn compile(prefixes: &[IpNet]) -> Self {
        Self(Prefixes::compile(prefixes.iter().map(|&prefix| (Action::Allow, prefix))))
    }

    /// Whether any prefix matches the address, an IPv4-mapped IPv6 one as IPv4.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.judge(address) == Judgement::Allowed
    }

    /// Every prefix in canonical form, IPv4 before IPv6, otherwise in an order of no meaning.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        self.0.iter().map(|(_, prefix)| prefix)
    }
}

/// Prefixes with actions, of both families.
#[derive(Clone, Debug)]
struct Prefixes {
    v4: Family<u32>,
    v6: Family<u128>,
}

impl Prefixes {
    fn compile(rules: impl Iterator<Item = (Action, IpNet)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (action, prefix) in rules {
            match canonical(prefix).unwrap_or(prefix) {
                IpNet::V4(net) => {
                    v4.push(Entry::new(net.addr().to_bits(), net.prefix_len(), action));
                }
                IpNet::V6(net) => {
                    v6.push(Entry::new(net.addr().to_bits(), net.prefix_len(), action));
                }
            }
        }
        Self { v4: Family::compile(v4), v6: Family::compile(v6) }
    }

    #[inline]
    fn judge(&self, address: IpAddr) -> Judgement {
        match Address::of(address) {
            Address::V4(address) => self.v4.judge(address),
            Address::V6(address) => self.v6.judge(address),
        }
    }

    fn matching(&self, address: IpAddr) -> Option<(Action, IpNet)> {
        match Address::of(address) {
            Address::V4(address) => self.v4.matching(address).map(Entry::rule),
            Address::V6(address) => self.v6.matching(address).map(Entry::rule),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Action, IpNet)> {
        let v4 = self.v4.entries().into_iter().map(Entry::rule);
        v4.chain(self.v6.entries().into_iter().map(Entry::rule))
    }

    fn heap_bytes(&self) -> usize {
        self.v4.heap_bytes() + self.v6.heap_bytes()
    }
}

#[cfg(test)]
mod tests;
