//! What counting the use of a token costs a request, and handing counts over a worker.

mod support;

use std::net::IpAddr;
use std::sync::mpsc::sync_channel;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::usage::Tally;

use support::NOW;

fn count(criterion: &mut Criterion) {
    let client = Some(IpAddr::from([192, 0, 2, 7]));
    for tokens in [1_u64, 100, 4_000] {
        let (sender, _batches) = sync_channel(1);
        let mut tally = Tally::new(sender);
        let mut turn = (0..tokens).cycle();
        criterion.bench_function(&format!("usage/count_of_{tokens}"), |bencher| {
            bencher.iter(|| tally.count(turn.next().unwrap_or_default(), client));
        });
    }
}

fn flush(criterion: &mut Criterion) {
    let (sender, batches) = sync_channel(1);
    let mut tally = Tally::new(sender);
    criterion.bench_function("usage/hand_over_100", |bencher| {
        bencher.iter(|| {
            (0..100).for_each(|token| tally.count(token, None));
            tally.flush(NOW);
            batches.try_recv()
        });
    });
}

criterion_group! { name = benches; config = support::criterion(); targets = count, flush }
criterion_main!(benches);
