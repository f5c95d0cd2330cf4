//! What a decision costs, at three sizes, beside what it is made of: a keyed digest and reads of
//! memory that no cache holds.
//!
//! All times are CPU time of the measuring thread. At the end, decisions and yardsticks are
//! measured in turn, a few milliseconds each, and the medians printed side by side: on a machine
//! that is shared, only such ratios mean anything.

// What is measured beside the times is printed beside them.
#![allow(clippy::print_stdout)]

mod support;

use std::collections::HashSet;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Bencher, BenchmarkId, Criterion, criterion_group, criterion_main};
use portcullis::core::decide::decide;
use portcullis::core::index::Index;
use portcullis::core::record::{Record, TokenState};
use portcullis::core::verdict::Reason;

use support::{Draw, NOW, Request, Synthetic, cpu_time};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests that are brought into the cache before they are decided, as a front end does.
const BATCH: usize = 128;
/// A cache line.
const LINE_WORDS: usize = 8;
/// Far more than any cache of one machine holds.
const CHASE_BYTES: usize = 1 << 30;
/// Changes in the overlay beside which decisions are measured.
const OVERLAY: usize = 4096;
/// Rounds of taking turns, and batches of each in a round.
const ROUNDS: usize = 201;
const BATCHES: usize = 8;

fn decisions(criterion: &mut Criterion) {
    let mut yardsticks = Yardsticks::new();
    criterion.bench_function("decide/one_random_read", |bencher| {
        bencher.iter_custom(|iterations| yardsticks.reads(iterations as usize));
    });
    criterion.bench_function("decide/one_digest_of_53_bytes", |bencher| {
        bencher.iter_custom(|iterations| yardsticks.digests(iterations as usize));
    });
    let policy = support::policy();
    for tokens in [10_000, 1_000_000, 10_000_000] {
        let synthetic = Synthetic::new(&policy, tokens);
        let index = synthetic.index();
        let (hits, misses) = (synthetic.hits(&index), synthetic.misses());
        assert!(misses.iter().all(|request| request.reason(&index) != Reason::Allow));
        let changed = index.apply(&changes(&synthetic), 2);
        assert_eq!(changed.overlay_entries(), OVERLAY);
        describe(&synthetic, &index, &hits);
        let mut group = criterion.benchmark_group("decide");
        let measured = [
            ("allow", &index, &hits),
            ("unknown", &index, &misses),
            ("allow_4096_changes", &changed, &hits),
        ];
        for (name, index, requests) in measured {
            group.bench_function(BenchmarkId::new(name, tokens), |bencher| {
                decide_in_turn(bencher, index, requests);
            });
        }
        group.finish();
        for (name, index, requests) in measured {
            yardsticks.beside(&format!("{name}/{tokens}"), index, requests);
        }
    }
}

fn describe(synthetic: &Synthetic, index: &Index, hits: &[Request]) {
    let Synthetic { tokens, accounts, .. } = synthetic;
    let routes = |request: &Request| {
        let (method, path) = request.target();
        let shape: Vec<&str> =
            path.split('/').filter(|part| part.parse::<u64>().is_err()).collect();
        (method.to_owned(), shape.join("/"))
    };
    let routes: HashSet<_> = hits.iter().map(routes).collect();
    let memory = support::describe(&index.memory(), *tokens);
    println!("decide: {tokens} tokens, {accounts} accounts, {memory}");
    println!("decide: {} requests in random order, of {} shapes", hits.len(), routes.len());
}

/// Tokens that expire: none of them is presented at 10 million tokens, some are below.
fn changes(synthetic: &Synthetic) -> Vec<Record> {
    let step = synthetic.tokens / OVERLAY;
    let expiring = |number| {
        let mut token = synthetic.token(number);
        token.state = TokenState::Active;
        token.expires_at = Some(portcullis::core::record::Timestamp(NOW.0 + 1));
        Record::Token(token)
    };
    (0..OVERLAY).map(|number| expiring(number * step)).collect()
}

fn decide_in_turn(bencher: &mut Bencher<'_>, index: &Index, requests: &[Request]) {
    let mut batches = requests.chunks_exact(BATCH).cycle();
    bencher.iter_custom(|iterations| {
        let mut spent = Duration::ZERO;
        let mut left = iterations as usize;
        while left > 0 {
            let batch = batches.next().expect("more requests than a batch");
            let batch = &batch[..left.min(BATCH)];
            spent += decide_all(index, batch);
            left -= batch.len();
        }
        spent
    });
}

fn decide_all(index: &Index, batch: &[Request]) -> Duration {
    black_box(batch.iter().map(Request::touch).sum::<usize>());
    let start = cpu_time();
    for request in batch {
        black_box(decide(index, &black_box(request).facts(), NOW));
    }
    cpu_time() - start
}

/// What decisions are compared with: one read of memory on which the next one depends, and one
/// digest.
struct Yardsticks {
    chase: Vec<u64>,
    at: u64,
    policy: std::sync::Arc<portcullis::core::index::Policy>,
    secret: portcullis::core::token::Secret,
}

impl Yardsticks {
    fn new() -> Self {
        let (policy, secret) = (support::policy(), support::secret(1));
        Self { chase: chase(), at: 0, policy, secret }
    }

    fn reads(&mut self, count: usize) -> Duration {
        let start = cpu_time();
        for _ in 0..count {
            self.at = self.chase[self.at as usize * LINE_WORDS];
        }
        black_box(self.at);
        cpu_time() - start
    }

    fn digests(&self, count: usize) -> Duration {
        let start = cpu_time();
        for _ in 0..count {
            let secret = black_box(self.secret.expose().as_bytes());
            black_box(self.policy.keys.current().digest(secret));
        }
        cpu_time() - start
    }

    /// Measures decisions and yardsticks in turn, and prints the medians.
    fn beside(&mut self, name: &str, index: &Index, requests: &[Request]) {
        let mut batches = requests.chunks_exact(BATCH).cycle();
        let mut next = || batches.next().expect("more requests than a batch");
        let count = BATCH * BATCHES;
        let mut rounds = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            let decided = (0..BATCHES).map(|_| decide_all(index, next())).sum::<Duration>();
            let spent = [decided, self.reads(count), self.digests(count)];
            for (times, spent) in rounds.iter_mut().zip(spent) {
                times.push(spent.as_secs_f64() * 1e9 / count as f64);
            }
        }
        let [decision, read, digest] = rounds.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        println!(
            "decide/{name}: {decision:.0} ns a decision beside {read:.0} ns a random read and {digest:.0} ns a digest: {:.2} reads, {:.2} times two reads and a digest",
            decision / read,
            decision / (2.0 * read + digest),
        );
    }
}

/// The first word of each line says which line comes next; one cycle through all of them.
fn chase() -> Vec<u64> {
    let lines = CHASE_BYTES / LINE_WORDS / size_of::<u64>();
    let mut next: Vec<u64> = (0..lines as u64).collect();
    Draw(5).shuffle(&mut next);
    let mut words = vec![0; lines * LINE_WORDS];
    for (line, next) in next.into_iter().enumerate() {
        words[line * LINE_WORDS] = next;
    }
    words
}

criterion_group! { name = benches; config = support::criterion(); targets = decisions }
criterion_main!(benches);
