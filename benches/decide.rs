//! What a decision costs, at three sizes, beside what it is made of: a keyed digest and reads of
//! memory that no cache holds.

// What is measured beside the times is printed beside them.
#![allow(clippy::print_stdout)]

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Bencher, BenchmarkId, Criterion, criterion_group, criterion_main};
use portcullis::core::decide::decide;
use portcullis::core::index::Index;
use portcullis::core::record::Timestamp;
use portcullis::core::verdict::{Reason, Verdict};

use support::{Draw, Request, Synthetic};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: Timestamp = Timestamp(1_700_000_000);
/// Requests that are brought into the cache before they are decided, as a front end does.
const BATCH: usize = 64;
/// A cache line.
const LINE_WORDS: usize = 8;
/// Far more than any cache holds.
const CHASE_BYTES: usize = 512 << 20;

fn decisions(criterion: &mut Criterion) {
    let policy = support::policy();
    for tokens in [10_000, 1_000_000, 10_000_000] {
        let synthetic = Synthetic::new(&policy, tokens);
        let index = synthetic.index();
        let (hits, misses) = (synthetic.hits(), synthetic.misses());
        check(&index, &hits, &misses);
        let bytes = index.memory_bytes() / tokens;
        let mut group = criterion.benchmark_group("decide");
        println!("decide: {tokens} tokens, {} accounts, {bytes} bytes a token", synthetic.accounts);
        for (name, requests) in [("allow", &hits), ("unknown", &misses)] {
            group.bench_function(BenchmarkId::new(name, tokens), |bencher| {
                decide_in_turn(bencher, &index, requests);
            });
        }
    }
}

fn check(index: &Index, hits: &[Request], misses: &[Request]) {
    let reason = |request: &Request| match decide(index, &request.facts(), NOW) {
        Verdict::Allow(permit) => permit.reason(),
        Verdict::Deny(denial) => denial.reason,
        Verdict::Slow(_) => Reason::LaneFull,
    };
    assert!(hits.iter().all(|request| reason(request) == Reason::Allow));
    assert!(misses.iter().all(|request| reason(request) == Reason::UnknownToken));
}

fn decide_in_turn(bencher: &mut Bencher<'_>, index: &Index, requests: &[Request]) {
    let mut batches = requests.chunks_exact(BATCH).cycle();
    bencher.iter_custom(|iterations| {
        let mut spent = Duration::ZERO;
        let mut left = iterations as usize;
        while left > 0 {
            let batch = batches.next().expect("more requests than a batch");
            let batch = &batch[..left.min(BATCH)];
            black_box(batch.iter().map(Request::touch).sum::<usize>());
            let start = Instant::now();
            for request in batch {
                black_box(decide(index, &black_box(request).facts(), NOW));
            }
            spent += start.elapsed();
            left -= batch.len();
        }
        spent
    });
}

/// The yardsticks: one dependent read of memory, and one digest.
fn parts(criterion: &mut Criterion) {
    let chase = chase();
    let mut at = 0;
    criterion.bench_function("decide/one_random_read", |bencher| {
        bencher.iter(|| {
            at = chase[at as usize * LINE_WORDS];
            at
        });
    });
    let policy = support::policy();
    let secret = support::secret(1);
    criterion.bench_function("decide/one_digest_of_53_bytes", |bencher| {
        bencher.iter(|| policy.keys.current().digest(black_box(secret.expose().as_bytes())));
    });
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

criterion_group! { name = benches; config = support::criterion(); targets = parts, decisions }
criterion_main!(benches);
