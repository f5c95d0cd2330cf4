//! Scanning text for tokens, beside the bare search for a byte that is not there.

mod support;

use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::scan::{Finder, Scanner};

/// Bytes of text that are scanned.
const BYTES: usize = 8 << 20;

/// Source text of this project, over and over.
fn text() -> Vec<u8> {
    let sources = [
        include_str!("../src/core/token.rs"),
        include_str!("../src/cli/scan.rs"),
        include_str!("../README.md"),
        include_str!("../Cargo.lock"),
    ];
    sources.concat().into_bytes().into_iter().cycle().take(BYTES).collect()
}

fn scan(criterion: &mut Criterion) {
    let text = text();
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Bytes(BYTES as u64));
    group.bench_function("memchr", |bencher| {
        bencher.iter(|| memchr::memchr(0, black_box(&text)));
    });
    let (finder, mut places) = (Finder::new(), Vec::new());
    group.bench_function("finder", |bencher| {
        bencher.iter(|| {
            finder.find(black_box(&text), &mut places);
            places.len()
        });
    });
    let mut scanner = Scanner::new();
    group.bench_function("scanner", |bencher| {
        bencher.iter(|| {
            let found = &mut |_, _: &[u8]| ControlFlow::Continue(());
            scanner.scan(&mut black_box(&*text), found).expect("a slice can be read")
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = scan }
criterion_main!(benches);
