//! What step 9 costs: without limits, with one, with two, and for a credential that fails.

mod support;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use portcullis::core::decide::decide;
use portcullis::core::index::Index;
use portcullis::core::verdict::{Denial, Lane, Permit, Reason, Verdict};
use portcullis::limits::{Limits, SharedLimits};

use support::{NOW, Request, Synthetic};

const TOKENS: usize = 10_000;
const ACCOUNT: (&str, &str) = ("PORTCULLIS_LIMITS__GROUPS__DEFAULT__ACCOUNT", "1000000/1s");
const TOKEN: (&str, &str) = ("PORTCULLIS_LIMITS__GROUPS__DEFAULT__TOKEN", "1000000/1s");

struct World {
    limits: Arc<Limits>,
    index: Index,
    requests: Vec<Request>,
}

impl World {
    fn new(variables: &[(&str, &str)]) -> Self {
        let config = support::sample_config_with(variables);
        let limits = SharedLimits::new(Instant::now()).under(&config.limits);
        let synthetic = Synthetic::new(&Arc::new(config.policy()), TOKENS);
        let index = synthetic.index();
        let requests = synthetic.hits(&index);
        Self { limits, index, requests }
    }

    /// Permits of many tokens, in turn.
    fn admit(&self, bencher: &mut Bencher<'_>) {
        let facts: Vec<_> = self.requests.iter().take(4_096).map(Request::facts).collect();
        let permits: Vec<Permit<'_>> = facts
            .iter()
            .map(|facts| match decide(&self.index, facts, NOW) {
                Verdict::Allow(permit) => permit,
                other => panic!("{other:?}"),
            })
            .collect();
        let mut turn = (0..permits.len()).cycle();
        // The clock is not what is measured, but time has to go on.
        let (start, mut passed) = (Instant::now(), Duration::ZERO);
        bencher.iter(|| {
            let at = turn.next().unwrap_or_default();
            passed += Duration::from_micros(2);
            black_box(self.limits.admit(&permits[at], &facts[at], || start + passed))
        });
    }
}

fn admit(criterion: &mut Criterion) {
    for (name, variables) in
        [("none", &[][..]), ("account", &[ACCOUNT]), ("account_and_token", &[ACCOUNT, TOKEN])]
    {
        let world = World::new(variables);
        criterion.bench_function(&format!("limits/{name}"), |bencher| world.admit(bencher));
    }
}

fn failures(criterion: &mut Criterion) {
    let limits = SharedLimits::new(Instant::now()).under(&support::sample_config().limits);
    let denial = Denial {
        reason: Reason::UnknownToken,
        caller: None,
        accepted_scheme: true,
        lane: Lane::Fast,
    };
    let now = Instant::now();
    for (name, addresses) in [("one_address", 1), ("a_million_addresses", 1_000_000_u32)] {
        let mut turn = (0..addresses).cycle();
        criterion.bench_function(&format!("limits/failure_of_{name}"), |bencher| {
            bencher.iter(|| {
                let address = IpAddr::V4(Ipv4Addr::from_bits(turn.next().unwrap_or_default()));
                black_box(limits.fail(denial, Some(address), || now))
            });
        });
    }
}

criterion_group! { name = benches; config = support::criterion(); targets = admit, failures }
criterion_main!(benches);
