//! The contract's statements about IP rules, one by one, and everything against a plain oracle.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::super::family::FEW_LIMIT;
use super::super::parse_cidr;
use super::*;
use crate::draw::Draw;
use Action::{Allow, Deny};

type Rule = (Action, IpNet);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn rules(list: &[(Action, &str)]) -> Vec<Rule> {
    list.iter().map(|&(action, cidr)| (action, parse_cidr(cidr).unwrap())).collect()
}

/// Each statement must hold for a short list and for the tables: the second set has so many
/// rules more, all of them elsewhere.
fn small_and_large(list: &[(Action, &str)]) -> [IpRules; 2] {
    let small = rules(list);
    let mut large = small.clone();
    for octet in 0..2 * FEW_LIMIT {
        large.extend(rules(&[
            (Deny, &format!("203.0.113.{}", 2 * octet)),
            (Deny, &format!("2001:db8:ffff::{:x}", 2 * octet)),
        ]));
    }
    [IpRules::compile(&small), IpRules::compile(&large)]
}

fn assert_admits(list: &[(Action, &str)], addresses: &[(&str, bool)]) {
    for set in small_and_large(list) {
        for &(address, admitted) in addresses {
            assert_eq!(set.admits(Some(ip(address))), admitted, "{address} by {list:?}");
        }
    }
}

#[test]
fn a_narrower_deny_wins_over_a_wider_allow() {
    let list = [
        (Allow, "10.0.0.0/8"),
        (Deny, "10.1.0.0/16"),
        (Allow, "2001:db8::/32"),
        (Deny, "2001:db8:1::/48"),
    ];
    assert_admits(
        &list,
        &[
            ("10.0.255.255", true),
            ("10.1.0.0", false),
            ("10.1.255.255", false),
            ("10.2.0.0", true),
            ("2001:db8:0:ffff::", true),
            ("2001:db8:1::", false),
            ("2001:db8:2::", true),
        ],
    );
}

#[test]
fn a_narrower_allow_wins_over_a_wider_deny() {
    let list = [
        (Deny, "10.0.0.0/8"),
        (Allow, "10.1.0.0/16"),
        (Deny, "10.1.2.3"),
        (Allow, "2001:db8::7"),
        (Deny, "2001:db8::/32"),
    ];
    assert_admits(
        &list,
        &[
            ("10.0.0.1", false),
            ("10.1.2.2", true),
            ("10.1.2.3", false),
            ("10.1.2.4", true),
            ("2001:db8::6", false),
            ("2001:db8::7", true),
            ("2001:db8::8", false),
        ],
    );
}

#[test]
fn the_order_of_the_rules_does_not_matter() {
    let mut list = rules(&[(Allow, "10.0.0.0/8"), (Deny, "10.1.0.0/16"), (Allow, "10.1.2.0/24")]);
    for _ in 0..3 {
        list.rotate_left(1);
        let set = IpRules::compile(&list);
        assert!(set.admits(Some(ip("10.1.2.3"))));
        assert!(!set.admits(Some(ip("10.1.3.3"))));
    }
}

#[test]
fn without_a_match_a_set_that_allows_anything_denies() {
    assert_admits(
        &[(Allow, "192.0.2.0/24")],
        &[("192.0.2.1", true), ("192.0.3.1", false), ("2001:db8::1", false)],
    );
    assert_admits(&[(Allow, "2001:db8::/48")], &[("2001:db8::1", true), ("192.0.2.1", false)]);
    assert_admits(
        &[(Allow, "192.0.2.0/24"), (Deny, "198.51.100.0/24")],
        &[("198.51.100.1", false), ("8.8.8.8", false)],
    );
}

#[test]
fn without_a_match_a_set_that_only_denies_lets_in() {
    assert_admits(
        &[(Deny, "192.0.2.0/24")],
        &[("192.0.2.1", false), ("192.0.3.1", true), ("2001:db8::1", true)],
    );
}

#[test]
fn an_empty_set_lets_everyone_in_who_has_an_address() {
    let set = IpRules::compile(&[]);
    assert!(set.admits(Some(ip("192.0.2.1"))) && set.admits(Some(ip("::1"))));
    assert!(!set.has_allow());
    assert_eq!((set.iter().count(), set.prefixes.heap_bytes()), (0, 0));
}

#[test]
fn an_address_that_cannot_be_known_is_kept_out() {
    for list in [&[][..], &[(Allow, "0.0.0.0/0"), (Allow, "::/0")], &[(Deny, "192.0.2.1")]] {
        assert!(small_and_large(list).iter().all(|set| !set.admits(None)));
    }
    assert!(!IpRules::compile(&[]).admits(None));
}

#[test]
fn a_mapped_address_is_ipv4() {
    let list = [(Allow, "192.0.2.0/24"), (Deny, "::/0"), (Deny, "::/64")];
    assert_admits(
        &list,
        &[("::ffff:192.0.2.1", true), ("::ffff:c000:201", true), ("::ffff:192.0.3.1", false)],
    );
    // Compatible and translated addresses are not mapped ones.
    assert_admits(&[(Deny, "192.0.2.1")], &[("::192.0.2.1", true), ("64:ff9b::192.0.2.1", true)]);
}

#[test]
fn a_mapped_prefix_is_ipv4_whether_or_not_it_came_canonical() {
    assert_admits(
        &[(Deny, "::ffff:192.0.2.0/120")],
        &[("192.0.2.255", false), ("::ffff:192.0.2.0", false), ("192.0.3.0", true)],
    );
    let raw: IpNet = "::ffff:192.0.2.7/120".parse().unwrap();
    let set = IpRules::compile(&[(Deny, raw)]);
    assert!(!set.admits(Some(ip("192.0.2.200"))));
    assert_eq!(set.iter().collect::<Vec<_>>(), rules(&[(Deny, "192.0.2.0/24")]));
}

#[test]
fn the_whole_of_ipv6_holds_no_ipv4_and_the_other_way_round() {
    assert_admits(
        &[(Deny, "::/0")],
        &[("::", false), ("ffff::", false), ("192.0.2.1", true), ("::ffff:192.0.2.1", true)],
    );
    assert_admits(
        &[(Deny, "0.0.0.0/0")],
        &[
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("::ffff:192.0.2.1", false),
            ("::", true),
        ],
    );
}

#[test]
fn single_addresses_match_themselves_alone() {
    let all_ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let list = [
        (Deny, "0.0.0.0"),
        (Deny, "192.0.2.7/32"),
        (Deny, "255.255.255.255"),
        (Deny, "::"),
        (Deny, "2001:db8::7/128"),
        (Deny, all_ones),
    ];
    assert_admits(
        &list,
        &[
            ("0.0.0.0", false),
            ("0.0.0.1", true),
            ("192.0.2.6", true),
            ("192.0.2.7", false),
            ("192.0.2.8", true),
            ("255.255.255.254", true),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", true),
            ("2001:db8::6", true),
            ("2001:db8::7", false),
            ("2001:db8::8", true),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", true),
            (all_ones, false),
        ],
    );
}

#[test]
fn host_bits_do_not_count() {
    let raw = ["10.1.2.3/8", "2001:db8::1/32"].map(|cidr| (Deny, cidr.parse().unwrap()));
    let set = IpRules::compile(&raw);
    assert!(!set.admits(Some(ip("10.255.0.0"))) && !set.admits(Some(ip("2001:db8:ffff::"))));
    assert_eq!(
        set.iter().collect::<Vec<_>>(),
        rules(&[(Deny, "10.0.0.0/8"), (Deny, "2001:db8::/32")])
    );
}

#[test]
fn a_prefix_in_both_lists_is_denied_once() {
    for pair in [[Allow, Deny], [Deny, Allow]] {
        let list = pair.map(|action| (action, parse_cidr("10.0.0.0/8").unwrap()));
        let set = IpRules::compile(&list);
        assert_eq!(set.judge(ip("10.0.0.1")), Judgement::Denied);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(Deny, list[0].1)]);
        assert!(!set.has_allow());
    }
}

#[test]
fn matching_names_the_most_specific_rule() {
    let list = [(Allow, "10.0.0.0/8"), (Deny, "10.1.0.0/16"), (Allow, "10.1.2.3"), (Allow, "::/0")];
    for set in small_and_large(&list) {
        let expected = |at: usize| Some(rules(&list)[at]);
        assert_eq!(set.matching(ip("10.9.9.9")), expected(0));
        assert_eq!(set.matching(ip("::ffff:10.1.9.9")), expected(1));
        assert_eq!(set.matching(ip("10.1.2.3")), expected(2));
        assert_eq!(set.matching(ip("2001:db8::")), expected(3));
        assert_eq!(set.matching(ip("11.0.0.0")), None);
    }
}

#[test]
fn a_prefix_set_holds_what_any_of_its_prefixes_holds() {
    let set = PrefixSet::compile(
        &["10.0.0.0/8", "10.1.0.0/16", "::1/128"].map(|cidr| parse_cidr(cidr).unwrap()),
    );
    assert!(
        ["10.1.2.3", "10.2.0.0", "::ffff:10.0.0.1", "::1"]
            .iter()
            .all(|text| set.contains(ip(text)))
    );
    assert!(["11.0.0.0", "::2", "::"].iter().all(|text| !set.contains(ip(text))));
    assert_eq!(set.iter().count(), 3);
    assert!(!PrefixSet::compile(&[]).contains(ip("10.0.0.1")));
}

#[test]
fn a_set_is_small_inline() {
    assert!(size_of::<IpRules>() <= 40, "{}", size_of::<IpRules>());
    assert!(size_of::<PrefixSet>() <= 32, "{}", size_of::<PrefixSet>());
}

/// The plainest reading of the contract.
fn oracle(list: &[Rule], address: IpAddr) -> Option<Rule> {
    let address = address.to_canonical();
    let matching = list.iter().copied().filter(|(_, net)| net.contains(&address));
    matching.max_by_key(|&(action, net)| (net.prefix_len(), action))
}

fn judgement(rule: Option<Rule>) -> Judgement {
    rule.map_or(Judgement::NoMatch, |(action, _)| action.into())
}

fn assert_agrees(set: &IpRules, list: &[Rule], address: IpAddr) {
    let expected = oracle(list, address);
    assert_eq!(set.matching(address), expected, "{address}");
    assert_eq!(set.judge(address), judgement(expected), "{address}");
}

/// The rules as a compiled set should give them back: in order, the stricter of equal prefixes.
fn expected_rules(list: &[Rule]) -> Vec<(IpNet, Action)> {
    let mut unique: Vec<_> = list.iter().map(|&(action, net)| (net, action)).collect();
    unique.sort_by_key(|&(net, action)| (net, std::cmp::Reverse(action)));
    unique.dedup_by_key(|&mut (net, _)| net);
    unique
}

fn given_back(set: &IpRules) -> Vec<(IpNet, Action)> {
    let mut rules: Vec<_> = set.iter().map(|(action, net)| (net, action)).collect();
    rules.sort_unstable();
    rules
}

/// Both ends of a rule, the addresses beside them, and one inside.
fn boundary(net: IpNet, pick: u8) -> IpAddr {
    let (first, last) = (bits_of(net.network()), bits_of(net.broadcast()));
    let bits = match pick % 5 {
        0 => first,
        1 => last,
        2 => first.wrapping_sub(1),
        3 => last.wrapping_add(1),
        _ => first + (last - first) / 2,
    };
    match net {
        IpNet::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn v4_net(bits: u32, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(bits), length).unwrap().trunc())
}

fn v6_net(bits: u128, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new(Ipv6Addr::from_bits(bits), length).unwrap().trunc())
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Allow), Just(Deny)]
}

/// Prefixes from a space so small that many nest or touch, and some from the whole of it.
fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        4 => (any::<u8>(), 22_u8..=32).prop_map(|(low, length)| v4_net(10 << 24 | u32::from(low) << 2, length)),
        2 => (any::<u32>(), 0_u8..=32).prop_map(|(bits, length)| v4_net(bits, length)),
        1 => (0_u32..4, 30_u8..=32).prop_map(|(low, length)| v4_net(!low, length)),
        4 => (any::<u8>(), any::<u8>(), 48_u8..=128).prop_map(|(high, low, length)| {
            v6_net(0x2001_0db8 << 96 | u128::from(high & 3) << 64 | u128::from(low), length)
        }),
        2 => (any::<u128>(), 0_u8..=128).prop_map(|(bits, length)| v6_net(bits, length)),
        1 => (0_u128..4, 126_u8..=128).prop_map(|(low, length)| v6_net(!low, length)),
    ]
}

fn rule_list() -> impl Strategy<Value = Vec<Rule>> {
    let rule = || (action(), prefix());
    prop_oneof![
        prop::collection::vec(rule(), 0..2 * FEW_LIMIT),
        prop::collection::vec(rule(), 2 * FEW_LIMIT..6 * FEW_LIMIT),
        prop::collection::vec(rule(), 100..800),
    ]
    .prop_map(|list| {
        list.into_iter().map(|(action, net)| (action, canonical(net).unwrap_or(net))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn any_set_judges_as_the_oracle_does(
        list in rule_list(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 64),
        anywhere in prop::collection::vec((any::<u32>(), any::<u128>()), 8),
    ) {
        let set = IpRules::compile(&list);
        let near = picks.iter().filter(|_| !list.is_empty());
        for address in near.map(|(index, pick)| boundary(index.get(&list).1, *pick)) {
            assert_agrees(&set, &list, address);
        }
        for (v4, v6) in anywhere {
            let v4 = Ipv4Addr::from_bits(v4);
            assert_agrees(&set, &list, v4.into());
            assert_agrees(&set, &list, v4.to_ipv6_mapped().into());
            assert_agrees(&set, &list, Ipv6Addr::from_bits(v6).into());
        }
    }

    #[test]
    fn any_set_admits_as_the_contract_says(list in rule_list(), v4: u32, v6: u128) {
        let set = IpRules::compile(&list);
        let any_allow = expected_rules(&list).iter().any(|&(_, action)| action == Allow);
        prop_assert_eq!(set.has_allow(), any_allow);
        for address in [Ipv4Addr::from_bits(v4).into(), Ipv6Addr::from_bits(v6).into()] {
            let admitted = oracle(&list, address).map_or(!any_allow, |(action, _)| action == Allow);
            prop_assert_eq!(set.admits(Some(address)), admitted);
        }
    }

    #[test]
    fn any_set_gives_its_rules_back(list in rule_list()) {
        let set = IpRules::compile(&list);
        prop_assert_eq!(given_back(&set), expected_rules(&list));
        let again = IpRules::compile(&set.iter().collect::<Vec<_>>());
        prop_assert_eq!(given_back(&again), given_back(&set));
    }

    #[test]
    fn any_prefix_set_holds_what_its_prefixes_hold(
        list in rule_list(),
        index: prop::sample::Index,
        pick: u8,
    ) {
        let prefixes: Vec<IpNet> = list.iter().map(|&(_, net)| net).collect();
        let set = PrefixSet::compile(&prefixes);
        if !prefixes.is_empty() {
            let address = boundary(*index.get(&prefixes), pick);
            prop_assert_eq!(set.contains(address), oracle(&list, address).is_some());
        }
    }
}

/// Every size around the list's limit and the tables' window, and each address.
#[test]
fn every_number_of_separate_hosts_is_judged_right() {
    for count in (0..160).chain([280, 281, 288, 289, 290, 300, 364, 365, 366]) {
        let action = |at: u32| if at.is_multiple_of(3) { Deny } else { Allow };
        let v4 = (0..count).map(|at| (action(at), v4_net(2 * at + 1, 32)));
        let v6 = (0..count).map(|at| (action(at), v6_net(u128::from(2 * at + 1) << 64, 128)));
        let set = IpRules::compile(&v4.chain(v6).collect::<Vec<_>>());
        for at in 0..=2 * count + 1 {
            let listed = at % 2 == 1 && at / 2 < count;
            let expected = if listed { action(at / 2).into() } else { Judgement::NoMatch };
            assert_eq!(set.judge(Ipv4Addr::from_bits(at).into()), expected, "{at} of {count}");
            let v6 = Ipv6Addr::from_bits(u128::from(at) << 64);
            assert_eq!(set.judge(v6.into()), expected, "{v6} of {count}");
        }
    }
}

#[test]
fn the_deepest_nesting_is_judged_right() {
    let action = |length: u8| if length.is_multiple_of(2) { Allow } else { Deny };
    let v4 = (0..=32).map(|length| (action(length), v4_net(u32::MAX, length)));
    let v6 = (0..=128).map(|length| (action(length), v6_net(0, length)));
    let list: Vec<Rule> = v4.chain(v6).collect();
    let set = IpRules::compile(&list);
    for bit in 0..32 {
        assert_agrees(&set, &list, Ipv4Addr::from_bits(!(1 << bit)).into());
    }
    for bit in 0..128 {
        assert_agrees(&set, &list, Ipv6Addr::from_bits(1 << bit).into());
    }
    assert_agrees(&set, &list, ip("255.255.255.255"));
    assert_agrees(&set, &list, ip("::"));
}

fn draw_list(count: usize, family: impl Fn(&mut Draw) -> IpNet) -> Vec<Rule> {
    let draw = &mut Draw(1);
    let action = |draw: &mut Draw| if draw.bits().is_multiple_of(4) { Deny } else { Allow };
    (0..count).map(|_| (action(draw), family(draw))).collect()
}

fn wide_v4(draw: &mut Draw) -> IpNet {
    v4_net(draw.bits() as u32, 8 + (draw.bits() % 25) as u8)
}

fn wide_v6(draw: &mut Draw) -> IpNet {
    v6_net(0x2 << 124 | u128::from(draw.bits()) << 40, 20 + (draw.bits() % 109) as u8)
}

fn assert_agrees_on_samples(list: &[Rule], samples: usize) -> IpRules {
    let set = IpRules::compile(list);
    assert_eq!(given_back(&set), expected_rules(list));
    let draw = &mut Draw(99);
    for _ in 0..samples {
        let net = list[draw.bits() as usize % list.len()].1;
        assert_agrees(&set, list, boundary(net, draw.bits() as u8));
        assert_agrees(&set, list, boundary(v4_net(draw.bits() as u32, 32), 0));
    }
    set
}

#[test]
fn ten_thousand_rules_are_judged_right_in_well_under_a_mebibyte() {
    for family in [wide_v4, wide_v6] {
        let set = assert_agrees_on_samples(&draw_list(10_000, family), 300);
        let bytes = set.prefixes.heap_bytes();
        assert!(bytes < 640 << 10, "{bytes}");
    }
}

/// What would make a trie of chains: hosts at every distance from their neighbours at once.
#[test]
fn hosts_at_every_scale_are_judged_right_and_cost_little_more() {
    let scales = |draw: &mut Draw| {
        let cluster = u128::from(draw.bits() % 80) << 121;
        v6_net(cluster | 1 << (draw.bits() % 121), 128)
    };
    let lists = [
        draw_list(20_000, scales),
        draw_list(20_000, |draw| {
            let low = draw.bits() >> (draw.bits() % 64);
            v6_net(0x2001_0db8 << 96 | u128::from(low), 128)
        }),
        draw_list(20_000, |draw| v4_net((draw.bits() as u32) >> (draw.bits() % 32), 32)),
    ];
    for list in lists {
        let set = assert_agrees_on_samples(&list, 300);
        let bytes = set.prefixes.heap_bytes();
        let rules = set.iter().count();
        assert!(bytes < 128 * rules, "{bytes} for {rules}");
    }
}

#[test]
fn a_hundred_thousand_rules_are_judged_right() {
    let mixed = |draw: &mut Draw| {
        if draw.bits().is_multiple_of(2) { wide_v4(draw) } else { wide_v6(draw) }
    };
    assert_agrees_on_samples(&draw_list(100_000, mixed), 100);
}
