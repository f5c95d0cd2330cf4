//! An account's IP rules, and plain sets of prefixes, compiled.

use std::net::IpAddr;

use ipnet::IpNet;

use super::canonical;
use super::family::Family;
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

/// The IP rules of one account, compiled: immutable, 40 bytes and nothing on the heap when empty.
///
/// On the heap, a rule takes 8 bytes (IPv6: 20) while its family has few, at most 17 (IPv6: 58)
/// once it has many, however they are spread over the address space.
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
        match address.map(|address| self.judge(address)) {
            Some(Judgement::Allowed) => true,
            Some(Judgement::NoMatch) => !self.has_allow,
            Some(Judgement::Denied) | None => false,
        }
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

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Prefixes with actions, of both families. A block of the tree is one cache line for IPv4, two
/// for IPv6, which are fetched as a pair.
#[derive(Clone, Debug)]
struct Prefixes {
    v4: Family<u32, 16>,
    v6: Family<u128, 8>,
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
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.judge(address.to_bits()),
            IpAddr::V6(address) => self.v6.judge(address.to_bits()),
        }
    }

    fn matching(&self, address: IpAddr) -> Option<(Action, IpNet)> {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.matching(address.to_bits()).map(Entry::rule),
            IpAddr::V6(address) => self.v6.matching(address.to_bits()).map(Entry::rule),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Action, IpNet)> {
        let v4 = self.v4.entries().iter().map(|entry| entry.rule());
        v4.chain(self.v6.entries().iter().map(|entry| entry.rule()))
    }

    fn len(&self) -> usize {
        self.v4.entries().len() + self.v6.entries().len()
    }

    /// Bytes on the heap.
    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        self.v4.heap_bytes() + self.v6.heap_bytes()
    }
}

#[cfg(test)]
mod tests;
