//! What the framing guard costs a request, by the size of its head.

mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portcullis::edge::guard::{HeadLimits, Scan, Scanner};

/// A head of so many bytes, in fields as clients send them.
fn head(bytes: usize) -> Vec<u8> {
    let mut head = b"GET /api/v2/accounts/1/jobs/?limit=100&order_by=-id HTTP/1.1\r\n\
        Host: cloud.example.com\r\nUser-Agent: python-requests/2.32.5\r\n\
        Accept-Encoding: gzip, deflate, br\r\nAccept: */*\r\nConnection: keep-alive\r\n\
        Authorization: Bearer pts_0123456789abcdefghijABCDEFGHIJ0123456789abcdefghi\r\n"
        .to_vec();
    let field = b"X-Request-Id: 7f3c1d3e-8f0a-4c55-9a39-2f0d6c1b7e10\r\n";
    while head.len() + field.len() + 7 < bytes {
        head.extend(field);
    }
    let rest = bytes - head.len() - "X: \r\n\r\n".len();
    head.extend(format!("X: {}\r\n\r\n", "x".repeat(rest)).bytes());
    head
}

fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing");
    let limits = HeadLimits { bytes: 65_536, fields: 100 };
    for bytes in [300, 500, 2000] {
        let head = head(bytes);
        assert_eq!(head.len(), bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &head, |bencher, head| {
            let mut scanner = Scanner::new(limits);
            bencher.iter(|| assert_eq!(scanner.scan(black_box(head)), Scan::Pass));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = framing }
criterion_main!(benches);
