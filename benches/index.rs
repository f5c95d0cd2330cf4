//! What it costs to build an index, to apply changes to it and to fold them into its base.

// What is measured beside the times is printed beside them.
#![allow(clippy::print_stdout)]

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use portcullis::core::index::Index;
use portcullis::core::record::{Record, TokenState};

use support::Synthetic;

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Overlay entries at which folding is measured.
const OVERLAY: usize = 4096;

fn build(criterion: &mut Criterion) {
    let policy = support::policy();
    for tokens in [100_000, 1_000_000] {
        let synthetic = Synthetic::new(&policy, tokens);
        let records: Vec<Record> = synthetic.records().collect();
        let bytes = synthetic.index().memory_bytes() / tokens;
        println!("index: {tokens} tokens, {bytes} bytes a token");
        criterion.bench_function(&format!("index/build/{tokens}"), |bencher| {
            bencher.iter_batched(
                || records.clone(),
                |records| Index::build(policy.clone(), records, 1),
                BatchSize::PerIteration,
            );
        });
    }
}

fn change(criterion: &mut Criterion) {
    let synthetic = Synthetic::new(&support::policy(), 1_000_000);
    let index = synthetic.index();
    let revocations = revocations(&synthetic);
    for (name, before) in [("empty", 0), ("full", OVERLAY)] {
        let index = index.apply(&revocations[..before], 2);
        for count in [1, 1000] {
            let changes = &revocations[OVERLAY..OVERLAY + count];
            let id = format!("index/apply_to_{name}_overlay/{count}");
            criterion.bench_function(&id, |bencher| {
                bencher.iter(|| black_box(&index).apply(changes, 3));
            });
        }
        if before != 0 {
            assert_eq!(index.overlay_entries(), OVERLAY);
            criterion.bench_function("index/fold/1000000", |bencher| {
                bencher.iter_with_large_drop(|| black_box(&index).fold());
            });
        }
    }
}

fn revocations(synthetic: &Synthetic) -> Vec<Record> {
    let numbers = (0..synthetic.tokens).step_by(97).take(OVERLAY + 1000);
    let revoked = |number| {
        let mut token = synthetic.token(number);
        token.state = TokenState::Revoked;
        Record::Token(token)
    };
    numbers.map(revoked).collect()
}

fn config() -> Criterion {
    support::criterion().sample_size(10).measurement_time(Duration::from_secs(4))
}

criterion_group! { name = benches; config = config(); targets = build, change }
criterion_main!(benches);
