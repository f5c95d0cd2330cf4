//! What is computed from a token's bytes: its keyed digest, and the checksum of ours.

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::core::digest::DigestKey;
use portcullis::core::token;

fn digest(criterion: &mut Criterion) {
    let key = DigestKey::new("bench", [7; 32]);
    for length in [53, 64, 512] {
        let secret = vec![b'x'; length];
        criterion.bench_function(&format!("digest/keyed/{length}"), |bencher| {
            bencher.iter(|| key.digest(black_box(&secret)));
        });
    }
    let ours = support::secret(1);
    let changed = ours.expose().replace(&ours.expose()[50..], "zzz");
    for (name, text) in [("right", ours.expose()), ("wrong", &changed)] {
        criterion.bench_function(&format!("digest/checksum/{name}"), |bencher| {
            bencher.iter(|| token::check(black_box(text.as_bytes())));
        });
    }
}

criterion_group! { name = benches; config = support::criterion(); targets = digest }
criterion_main!(benches);
