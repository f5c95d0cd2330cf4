//! Requests for the guard, most of them odd, and what comes of them.

use proptest::prelude::*;

use super::hyper_reads::{bodies, compare};
use super::{LIMITS, Scan, Scanner};

/// Requests, most of them with something about them that some parser reads in another way.
pub(super) fn messages() -> impl Strategy<Value = Vec<u8>> {
    let messages =
        proptest::collection::vec(message(), 1..4).prop_map(|messages| messages.concat());
    let change = (any::<proptest::sample::Index>(), any::<u8>(), 0..8_u8);
    (messages, change).prop_map(|(mut bytes, (index, byte, change))| {
        let odd = *b"\r\n \t:;,\0#%0aAxX-_\x7f\xe9".get(usize::from(byte) % 20).unwrap_or(&byte);
        let position = index.index(bytes.len());
        match change {
            0 => bytes[position] = odd,
            1 => bytes.insert(position, odd),
            2 => drop(bytes.remove(position)),
            3 => bytes.truncate(position),
            _ => {}
        }
        bytes
    })
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => Just("GET / HTTP/1.1"),
        4 => Just("POST /a?b=c HTTP/1.1"),
        1 => Just("\r\nPUT /a HTTP/1.1"),
        1 => Just("GET /a HTTP/1.0"),
        1 => Just("M-SEARCH http://a/b HTTP/1.1"),
        1 => Just("GET /a#b HTTP/1.1"),
        1 => Just("GET * HTTP/1.1"),
    ];
    let field = prop_oneof![
        6 => Just("Host: a"),
        4 => Just("A: b"),
        1 => Just("a:\t b \u{e9} c\t "),
        1 => Just("B:"),
        1 => Just(" folded"),
        1 => Just("A : b"),
        1 => Just("Content-Length: 3"),
        1 => Just("Content-Length: 03"),
        1 => Just("Content_Length: 3"),
        1 => Just("Transfer-Encoding: Chunked"),
        1 => Just("Transfer-Encoding: gzip, chunked"),
        1 => Just("Connection: keep-alive"),
    ];
    let body = prop_oneof![
        Just(("", "")),
        Just(("Content-Length: 5\r\n", "a\r\nbc")),
        Just(("Content-Length: 4\r\n", "0\r\n\r")),
        Just(("Transfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        Just(("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n00\r\n\r\n")),
        Just((
            "transfer-encoding:chunked\r\n",
            "a;b=c\r\n0123456789\r\n1 ;\r\nx\r\n0\r\nT: u\r\n\r\n"
        )),
    ];
    let end = prop_oneof![12 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r\r\n")];
    let fields = proptest::collection::vec((field, end), 0..4);
    (line, fields, body).prop_map(|(line, fields, (framing, body))| {
        let fields: String = fields.iter().map(|(field, end)| format!("{field}{end}")).collect();
        format!("{line}\r\n{fields}{framing}\r\n{body}").into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn what_the_guard_passes_hyper_reads_the_same(bytes in messages()) {
        compare(&bytes);
    }
}

#[test]
fn messages_are_of_both_kinds() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut passed, mut refused, mut whole) = (0, 0, 0);
    for _ in 0..1000 {
        let bytes = messages().new_tree(&mut runner).unwrap().current();
        match Scanner::new(LIMITS).scan(&bytes) {
            Scan::Pass | Scan::Hold(_) | Scan::Wait(_) => passed += 1,
            Scan::RefuseHead(..) | Scan::RefuseBody(..) => refused += 1,
        }
        whole += bodies(&bytes);
    }
    assert!(passed > 200 && refused > 200 && whole > 300, "{passed} {refused} {whole}");
}
