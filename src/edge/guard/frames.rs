//! Frames of HTTP/2 as they go by (RFC 9113 section 4.1): only how many of them do no work.
//!
//! h2 bounds streams, resets and header blocks. Other frames cost it little each and nothing in
//! memory, but may come without end: pings, settings, priorities, windows, empty data, frames of
//! types that nobody knows (RFC 9113 section 10.5). They are paid for out of a balance, into which
//! requests, bytes either way, and time pay.

use std::time::{Duration, Instant};

/// What a connection begins with, in frames.
const BEGIN: i64 = 1000;

/// What a connection can save up, in frames.
const BALANCE_LIMIT: i64 = 10_000;

/// What a second pays, in frames.
const EACH_SECOND: i64 = 50;

/// What the head of a request pays, in frames.
const EACH_HEAD: i64 = 10;

/// How many bytes of a body pay for a frame: clients grant windows for what they read.
const BYTES_EACH: u64 = 512;

const FRAME_HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Follows the frames of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: usize,
    payload_left: u64,
    balance: i64,
    /// Bytes that have not paid yet.
    bytes: u64,
    paid: Instant,
}

impl Frames {
    /// Before the preface, of so many bytes.
    pub(super) fn after(preface: usize, now: Instant) -> Self {
        let header = [0; FRAME_HEADER_BYTES];
        let payload_left = preface as u64;
        Self { header, header_bytes: 0, payload_left, balance: BEGIN, bytes: 0, paid: now }
    }

    /// These bytes came in. `false` where there were too many frames that do no work.
    pub(super) fn pass(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.paid).as_secs();
        if seconds > 0 {
            self.paid += Duration::from_secs(seconds);
            self.pay(EACH_SECOND.saturating_mul(i64::try_from(seconds).unwrap_or(i64::MAX)));
        }
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let passed = self.payload_left.min(bytes.len() as u64);
                self.payload_left -= passed;
                bytes = &bytes[passed as usize..];
                continue;
            }
            let count = bytes.len().min(FRAME_HEADER_BYTES - self.header_bytes);
            self.header[self.header_bytes..][..count].copy_from_slice(&bytes[..count]);
            self.header_bytes += count;
            bytes = &bytes[count..];
            if self.header_bytes == FRAME_HEADER_BYTES {
                self.header_bytes = 0;
                self.begin();
            }
        }
        self.balance >= 0
    }

    /// So many bytes were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.bytes >= BYTES_EACH {
            self.pay((self.bytes / BYTES_EACH) as i64);
            self.bytes %= BYTES_EACH;
        }
    }

    fn begin(&mut self) {
        let [high, middle, low, kind, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.payload_left = u64::from(length);
        match kind {
            HEADERS => self.pay(EACH_HEAD),
            DATA if length > 0 => self.sent(length as usize),
            // h2 has limits for these.
            CONTINUATION => {}
            _ => self.balance -= 1,
        }
    }

    fn pay(&mut self, frames: i64) {
        self.balance = self.balance.saturating_add(frames).min(BALANCE_LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u32) -> Vec<u8> {
        let header = [&length.to_be_bytes()[1..], &[kind, 0, 0, 0, 0, 1]].concat();
        [header, vec![7; length as usize]].concat()
    }

    /// How many of these frames pass, cut up in pieces.
    fn passes(frames: impl Iterator<Item = Vec<u8>>, piece: usize) -> usize {
        let now = Instant::now();
        let mut followed = Frames::after(3, now);
        assert!(followed.pass(b"PRI", now));
        let is_passed =
            |frame: &Vec<u8>| frame.chunks(piece).all(|bytes| followed.pass(bytes, now));
        frames.take_while(is_passed).count()
    }

    #[test]
    fn frames_that_do_no_work_run_out_and_others_do_not() {
        for piece in [1, 4, 100] {
            for (kind, length) in
                [(6, 8), (4, 0), (4, 6), (2, 5), (8, 4), (3, 4), (0, 0), (0xbb, 50)]
            {
                let flood = std::iter::repeat_with(|| frame(kind, length));
                assert_eq!(passes(flood, piece), BEGIN as usize, "{kind}");
            }
            let heads = std::iter::repeat_with(|| frame(HEADERS, 20)).take(5000);
            assert_eq!(passes(heads, piece), 5000);
            let upload = std::iter::repeat_with(|| frame(DATA, 600)).take(5000);
            assert_eq!(passes(upload, piece), 5000);
        }
    }

    #[test]
    fn what_is_read_and_time_pay_for_frames() {
        let mut now = Instant::now();
        let mut frames = Frames::after(0, now);
        for _ in 0..20_000 {
            frames.sent(1024);
            assert!(frames.pass(&[frame(8, 4), frame(8, 4)].concat(), now));
        }
        for _ in 0..20_000 {
            now += Duration::from_secs(1);
            assert!(frames.pass(&frame(6, 8).repeat(EACH_SECOND as usize), now));
        }
    }
}
