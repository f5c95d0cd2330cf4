//! What judging an address costs, by the number of rules, and what compiling them does.

// What is measured beside the times is printed beside them.
#![allow(clippy::print_stdout)]

mod support;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use criterion::{Bencher, BenchmarkId, Criterion, criterion_group, criterion_main};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis::core::ip::IpRules;
use portcullis::core::record::Action;

use support::{Draw, cpu_time};

/// Addresses judged in turn: enough of them that no branch predictor learns the order.
const ADDRESSES: usize = 1 << 14;
/// Accounts whose rules are asked in random order.
const ACCOUNTS: usize = 100_000;

/// One family's way of drawing rules and addresses.
struct Shape {
    name: &'static str,
    rule: fn(&mut Draw) -> IpNet,
    /// An address that no rule matches.
    miss: fn(&mut Draw) -> IpAddr,
}

const SHAPES: [Shape; 5] = [
    Shape { name: "v4", rule: v4_spread, miss: v4_miss },
    Shape { name: "v4_one_slash_8", rule: v4_clustered, miss: v4_miss },
    Shape { name: "v6", rule: v6_networks, miss: v6_miss },
    Shape { name: "v6_one_slash_32", rule: v6_clustered, miss: v6_miss },
    Shape { name: "v6_hosts", rule: v6_hosts, miss: v6_miss },
];

fn judge(criterion: &mut Criterion) {
    for shape in &SHAPES {
        for count in [1, 8, 32, 1_000, 100_000] {
            let rules = draw_rules(shape, count);
            let compiled = IpRules::compile(&rules);
            let mut draw = Draw(7);
            let hits = (0..ADDRESSES).map(|_| host_of(rules[draw.below(count)].1, &mut draw));
            let hits: Vec<IpAddr> = hits.collect();
            let misses: Vec<IpAddr> = (0..ADDRESSES).map(|_| (shape.miss)(&mut draw)).collect();
            let mut group = criterion.benchmark_group(format!("judge/{}", shape.name));
            for (name, addresses) in [("hit", hits), ("miss", misses)] {
                let mut turn = 0;
                group.bench_function(BenchmarkId::new(name, count), |bencher| {
                    iter(bencher, || {
                        turn = (turn + 1) % ADDRESSES;
                        compiled.judge(black_box(addresses[turn]))
                    });
                });
            }
        }
    }
}

fn compile(criterion: &mut Criterion) {
    for shape in &SHAPES {
        for count in [10_000, 100_000] {
            let rules = draw_rules(shape, count);
            criterion.bench_function(&format!("compile/{}/{count}", shape.name), |bencher| {
                bencher.iter(|| IpRules::compile(black_box(&rules)));
            });
        }
    }
}

/// Rules of many accounts, a few of either family each, asked in random order: what is measured
/// is mostly the way to an account that no cache holds.
fn accounts(criterion: &mut Criterion) {
    let mut draw = Draw(3);
    let rules = |draw: &mut Draw| {
        let (v4, v6) = (1 + draw.below(6), 1 + draw.below(3));
        let mut rules = draw_rules_by(draw, &SHAPES[0], v4);
        rules.extend(draw_rules_by(draw, &SHAPES[2], v6));
        rules
    };
    let lists: Vec<_> = (0..ACCOUNTS).map(|_| rules(&mut draw)).collect();
    let compiled: Vec<IpRules> = lists.iter().map(|list| IpRules::compile(list)).collect();
    let asked: Vec<(usize, IpAddr)> = (0..ADDRESSES)
        .map(|_| {
            let account = draw.below(ACCOUNTS);
            let rule = lists[account][draw.below(lists[account].len())];
            (account, host_of(rule.1, &mut draw))
        })
        .collect();
    let bytes: usize = compiled.iter().map(IpRules::heap_bytes).sum();
    let count: usize = lists.iter().map(Vec::len).sum();
    println!("ip_rules: {ACCOUNTS} accounts with {count} rules, {} bytes a rule", bytes / count);
    let mut turn = 0;
    criterion.bench_function(&format!("judge/one_of_{ACCOUNTS}_accounts"), |bencher| {
        iter(bencher, || {
            turn = (turn + 1) % ADDRESSES;
            let (account, address) = asked[turn];
            compiled[account].judge(black_box(address))
        });
    });
}

/// Measures CPU time, which others on the same machine hardly change.
fn iter<T>(bencher: &mut Bencher<'_>, mut routine: impl FnMut() -> T) {
    bencher.iter_custom(|iterations| {
        let start = cpu_time();
        (0..iterations).for_each(|_| drop(black_box(routine())));
        cpu_time() - start
    });
}

/// Three of four allow, at any depth, so that neighbours rarely have the same answer.
fn draw_rules(shape: &Shape, count: usize) -> Vec<(Action, IpNet)> {
    draw_rules_by(&mut Draw(1), shape, count)
}

fn draw_rules_by(draw: &mut Draw, shape: &Shape, count: usize) -> Vec<(Action, IpNet)> {
    let action = |draw: &mut Draw| if draw.below(4) == 0 { Action::Deny } else { Action::Allow };
    (0..count).map(|_| (action(draw), (shape.rule)(draw))).collect()
}

/// Anywhere under 128.0.0.0; misses come from above it.
fn v4_spread(draw: &mut Draw) -> IpNet {
    let length = 16 + draw.below(17) as u8;
    Ipv4Net::new_assert(Ipv4Addr::from_bits(draw.bits() as u32 >> 1), length).trunc().into()
}

fn v4_clustered(draw: &mut Draw) -> IpNet {
    let address = 10 << 24 | draw.bits() as u32 >> 8;
    Ipv4Net::new_assert(Ipv4Addr::from_bits(address), 24 + draw.below(9) as u8).trunc().into()
}

fn v4_miss(draw: &mut Draw) -> IpAddr {
    Ipv4Addr::from_bits(draw.bits() as u32 | 1 << 31).into()
}

/// /32 to /64 in 2000::/8; misses come from 2100::/8.
fn v6_networks(draw: &mut Draw) -> IpNet {
    let address = 0x20 << 120 | u128::from(draw.bits()) << 56;
    Ipv6Net::new_assert(Ipv6Addr::from_bits(address), 32 + draw.below(33) as u8).trunc().into()
}

/// /48 to /64 of one /32, but for a few of elsewhere.
fn v6_clustered(draw: &mut Draw) -> IpNet {
    let far = draw.below(100) == 0;
    let cluster = if far { 0x20 << 120 | u128::from(draw.bits()) << 56 } else { 0x2001_0db8 << 96 };
    let address = cluster | u128::from(draw.bits() as u32) << 64;
    Ipv6Net::new_assert(Ipv6Addr::from_bits(address), 48 + draw.below(17) as u8).trunc().into()
}

/// Hosts of one /64.
fn v6_hosts(draw: &mut Draw) -> IpNet {
    let address = 0x2001_0db8_u128 << 96 | u128::from(draw.bits());
    Ipv6Net::new_assert(Ipv6Addr::from_bits(address), 128).into()
}

fn v6_miss(draw: &mut Draw) -> IpAddr {
    Ipv6Addr::from_bits(0x21 << 120 | u128::from(draw.bits()) << 56).into()
}

fn host_of(net: IpNet, draw: &mut Draw) -> IpAddr {
    let bits = u128::from(draw.bits()) << 64 | u128::from(draw.bits());
    match net {
        IpNet::V4(net) => {
            let hosts = net.hostmask().to_bits() & bits as u32;
            Ipv4Addr::from_bits(net.addr().to_bits() | hosts).into()
        }
        IpNet::V6(net) => {
            let hosts = net.hostmask().to_bits() & bits;
            Ipv6Addr::from_bits(net.addr().to_bits() | hosts).into()
        }
    }
}

fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

criterion_group! { name = benches; config = config(); targets = judge, accounts, compile }
criterion_main!(benches);
