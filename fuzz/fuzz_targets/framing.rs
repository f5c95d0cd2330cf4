//! The framing guard against hyper: what it passes, hyper reads the same, and it does not matter how
//! the bytes are cut up.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::edge::guard::{Framing, HeadLimits, Scan, Scanner};

#[path = "../../src/edge/guard/tests/hyper_reads.rs"]
mod hyper_reads;

const LIMITS: HeadLimits = HeadLimits { bytes: 2048, fields: 20 };

fuzz_target!(|bytes: &[u8]| {
    // The first byte says into how many.
    let Some((pieces, bytes)) = bytes.split_first() else { return };
    hyper_reads::compare(bytes);
    let whole = Scanner::new(LIMITS).scan(bytes);
    assert_eq!(in_pieces(bytes, usize::from(*pieces).max(1)), place(whole), "{bytes:?}");
});

/// Where it ends, and how. What is at fault may be said earlier, and of another of several faults.
fn place(scan: Scan) -> (usize, u8) {
    match scan {
        Scan::Pass => (0, 0),
        Scan::Hold(from) => (from, 1),
        Scan::Wait(from) => (from, 2),
        Scan::RefuseHead(from, _) => (from, 3),
        Scan::RefuseBody(from, _) => (from, 4),
    }
}

fn in_pieces(bytes: &[u8], size: usize) -> (usize, u8) {
    let mut scanner = Scanner::new(LIMITS);
    let (mut start, mut end) = (0, 0);
    while end < bytes.len() {
        end = bytes.len().min(end + size);
        match scanner.scan(&bytes[start..end]) {
            Scan::Pass => start = end,
            Scan::Hold(from) => start += from,
            other => {
                let (from, kind) = place(other);
                return (start + from, kind);
            }
        }
    }
    if start == end { (0, 0) } else { (start, 1) }
}
