//! The client's address out of a forwarding header, and prefixes out of text.
//!
//! The first line of an input is the peer, the second the trusted prefixes with blanks between
//! them; each further line is one field of the header.

#![no_main]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;
use portcullis::config::{ClientIp, ClientIpHeader};
use portcullis::core::ip::{Judgement, PrefixSet, canonical, parse_cidr};
use portcullis::core::record::Action;
use portcullis::edge::client_address;

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let peer = lines.next().unwrap_or_default();
    let trusted = lines.next().unwrap_or_default();
    // What no header can hold does not get as far.
    let holds = |c: char| c == '\t' || !c.is_control();
    let fields: Vec<&str> = lines.filter(|line| line.chars().all(holds)).take(16).collect();
    let prefixes: Vec<IpNet> =
        trusted.split(' ').take(32).filter_map(|text| parse_cidr(text).ok()).collect();
    for prefix in trusted.split(' ').chain([peer]).filter_map(|text| parse_cidr(text).ok()) {
        a_prefix_is_what_it_shows(prefix);
    }
    let Ok(peer) = peer.parse::<IpAddr>() else { return };
    matched_as_one_by_one(&prefixes, peer);
    let of = |header| {
        let settings = ClientIp { trusted_proxies: prefixes.clone(), header };
        client_address(&settings, peer, &fields)
    };
    let is_trusted = |address: IpAddr| contains(&prefixes, address);
    let found = of(ClientIpHeader::XForwardedFor);
    assert_eq!(found.ok(), walked(&fields, peer, &is_trusted, hop), "x-forwarded-for");
    let found = of(ClientIpHeader::Forwarded);
    assert_eq!(found.ok(), walked(&fields, peer, &is_trusted, forwarded), "forwarded");
});

/// Read again it is the same, its address is in it, and no IPv4 address hides in IPv6.
fn a_prefix_is_what_it_shows(prefix: IpNet) {
    assert_eq!(parse_cidr(&prefix.to_string()), Ok(prefix));
    assert_eq!(canonical(prefix), Ok(prefix));
    assert_eq!(prefix.addr(), prefix.network());
    if let IpAddr::V6(address) = prefix.addr() {
        assert!(address.to_ipv4_mapped().is_none() || prefix.prefix_len() == 0, "{prefix}");
    }
}

/// An IPv4-mapped address is IPv4, and no IPv6 prefix has one of those.
fn contains(prefixes: &[IpNet], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&address.to_canonical()))
}

fn matched_as_one_by_one(prefixes: &[IpNet], address: IpAddr) {
    assert_eq!(PrefixSet::compile(prefixes).contains(address), contains(prefixes, address));
    let rules: Vec<(Action, IpNet)> = prefixes
        .iter()
        .enumerate()
        .map(|(at, prefix)| (if at % 2 == 0 { Action::Allow } else { Action::Deny }, *prefix))
        .collect();
    let rules_here = rules.iter().filter(|(_, prefix)| contains(&[*prefix], address));
    // Of equal prefixes the one that denies counts.
    let best = rules_here.max_by_key(|(action, prefix)| (prefix.prefix_len(), *action));
    let expected = match best {
        None => Judgement::NoMatch,
        Some((Action::Allow, _)) => Judgement::Allowed,
        Some((Action::Deny, _)) => Judgement::Denied,
    };
    assert_eq!(portcullis::core::ip::IpRules::compile(&rules).judge(address), expected);
}

/// All hops in a row, from the right, until one that nobody vouches for.
fn walked(
    fields: &[&str],
    peer: IpAddr,
    is_trusted: &dyn Fn(IpAddr) -> bool,
    read: fn(&str) -> Option<IpAddr>,
) -> Option<IpAddr> {
    if !is_trusted(peer) {
        return Some(peer);
    }
    let hops: Vec<&str> = fields.iter().flat_map(|field| field.split(',')).collect();
    let mut client = peer.to_canonical();
    let mut any = false;
    for hop in hops.iter().rev() {
        any = true;
        client = read(hop.trim())?;
        if !is_trusted(client) {
            return Some(client);
        }
    }
    Some(if any { client } else { peer })
}

fn hop(text: &str) -> Option<IpAddr> {
    let plain = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let found = plain.or_else(with_port).or_else(|| bracketed().map(IpAddr::V6))?;
    Some(found.to_canonical())
}

/// One element of RFC 7239 section 4: pairs with semicolons between them, `for` exactly once.
fn forwarded(element: &str) -> Option<IpAddr> {
    let pairs: Option<Vec<(&str, &str)>> =
        element.split(';').map(|pair| pair.split_once('=')).collect();
    let mut named: Vec<&str> = Vec::new();
    for (name, value) in pairs? {
        if name.trim().eq_ignore_ascii_case("for") {
            named.push(value.trim());
        }
    }
    let [value] = named[..] else { return None };
    if value.starts_with('"') {
        return hop(value.strip_prefix('"')?.strip_suffix('"')?);
    }
    hop(value)
}
