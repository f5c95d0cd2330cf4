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

/// Looks in which memory must not have fallen.
const STILL: usize = 60;
/// Overlay entries at which folding is measured.
const OVERLAY: usize = 4096;

fn build(criterion: &mut Criterion) {
    let policy = support::policy();
    for tokens in [100_000, 1_000_000] {
        let synthetic = Synthetic::new(&policy, tokens);
        let records: Vec<Record> = synthetic.records().collect();
        let memory = support::describe(&synthetic.index().memory(), tokens);
        println!("index: {tokens} tokens, {memory}");
        criterion.bench_function(&format!("index/build/{tokens}"), |bencher| {
            bencher.iter_batched(
                || records.clone(),
                |records| Index::build(policy.clone(), records, 1),
                BatchSize::PerIteration,
            );
        });
    }
}

/// What is resident at most while a new index is made beside the one in force, as a multiple of
/// the latter, and afterwards.
fn peaks(_: &mut Criterion) {
    let synthetic = Synthetic::new(&support::policy(), 1_000_000);
    let before = resident("VmRSS");
    let index = synthetic.index();
    let index = index.apply(&revocations(&synthetic)[..OVERLAY], 2);
    let whole = index.memory().total() as f64;
    let print = |what: &str, bytes: usize| {
        println!(
            "index: {what}: {:.2} times the index",
            bytes.saturating_sub(before) as f64 / whole
        );
    };
    print("after it was built, resident", settled());
    for (name, make) in [
        ("fold", &(|| index.fold().expect("accounts come first")) as &dyn Fn() -> Index),
        ("snapshot", &|| synthetic.index()),
    ] {
        // Resets the high-water mark (proc_pid_clear_refs(5)).
        std::fs::write("/proc/self/clear_refs", "5").expect("Linux lets a process do that");
        let next = make();
        print(&format!("{name}, with the old one, at most"), resident("VmHWM"));
        drop(next);
        print("afterwards, resident", settled());
    }
}

/// What is resident once the allocator has given back what was freed, which it does a little
/// later, and only while it is asked for something.
fn settled() -> usize {
    let (mut least, mut still) = (usize::MAX, 0);
    while still < STILL {
        drop(std::hint::black_box(vec![1_u8; 1 << 20]));
        std::thread::sleep(Duration::from_millis(50));
        let now = resident("VmRSS");
        still = if now < least { 0 } else { still + 1 };
        least = least.min(now);
    }
    resident("VmRSS")
}

/// A field of this process's status, in bytes.
fn resident(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    let kibibytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<usize>().ok());
    kibibytes.expect("a number") << 10
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

criterion_group! { name = benches; config = config(); targets = peaks, build, change }
criterion_main!(benches);
