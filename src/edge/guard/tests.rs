//! The guard by itself: what it refuses, what it passes, and that it does not matter how bytes
//! are cut up on their way.

mod hyper_reads;
mod messages;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::edge::deadline::Deadlines;

const LIMITS: HeadLimits = HeadLimits { bytes: 2048, fields: 20 };

/// What comes of all bytes at once: the messages whose heads were passed, or why not.
fn scan(bytes: &[u8]) -> Result<Vec<Framing>, Fault> {
    let mut framings = Vec::new();
    match Scanner::new(LIMITS).scan_messages(bytes, |_, framing| framings.push(framing)) {
        Scan::Pass | Scan::Hold(_) | Scan::Wait(_) => Ok(framings),
        Scan::RefuseHead(_, fault) | Scan::RefuseBody(_, fault) => Err(fault),
    }
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}").into_bytes()
}

#[track_caller]
fn assert_refused(fault: Fault, heads: &[&str]) {
    for head in heads {
        assert_eq!(scan(head.as_bytes()), Err(fault), "{head:?}");
    }
}

#[test]
fn one_space_stands_between_method_target_and_version() {
    assert_refused(
        Fault::RequestLine,
        &[
            "GET  / HTTP/1.1x\r\n\r\n",
            "GET /\r\n\r\n",
            "GET\r\n\r\n",
            "GET\t/ HTTP/1.1\r\n\r\n",
            " GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1 \r\n\r\n",
            "GET / HTTP/1.2\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / HTTP/01.1\r\n\r\n",
            "GET / http/1.1\r\n\r\n",
            "G(T / HTTP/1.1\r\n\r\n",
            "G\u{e9}T / HTTP/1.1\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\n\r\n",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\n\r\n",
            "\u{16}\u{3}\u{1}",
            "{\"json\": true}",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ],
    );
    assert_eq!(scan(b"\r\nGET / HTTP/1.0\r\n\r\n"), Ok(vec![Framing::Length(0)]));
    assert_eq!(scan(b"get / HTTP/1.1\r\n\r\n"), Ok(vec![Framing::Length(0)]));
}

#[test]
fn a_target_is_a_path_or_an_http_uri() {
    assert_refused(
        Fault::Target,
        &[
            "GET  / HTTP/1.1\r\n\r\n",
            "GET /  HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1, HTTP/1.1\r\n\r\n",
            "GET /a b HTTP/1.1\r\n\r\n",
            "GET /a\tb HTTP/1.1\r\n\r\n",
            "GET a HTTP/1.1\r\n\r\n",
            "GET ?a HTTP/1.1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
            "GET /#a HTTP/1.1\r\n\r\n",
            "GET /?a#b HTTP/1.1\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\n\r\n",
            "GET /?\u{e9} HTTP/1.1\r\n\r\n",
            "GET /<a> HTTP/1.1\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\n\r\n",
            "GET http:a HTTP/1.1\r\n\r\n",
            "GET http:/// HTTP/1.1\r\n\r\n",
            "GET http://?a HTTP/1.1\r\n\r\n",
            "GET http://a HTTP/1.1\r\n\r\n",
            "GET http://a?b HTTP/1.1\r\n\r\n",
            "GET http://a\\@b/ HTTP/1.1\r\n\r\n",
            "GET http://u@a/ HTTP/1.1\r\n\r\n",
            "GET a:80 HTTP/1.1\r\n\r\n",
            "GET http://]/b HTTP/1.1\r\n\r\n",
            "GET http://[a/b HTTP/1.1\r\n\r\n",
            "GET http://a:80:80/b HTTP/1.1\r\n\r\n",
            "GET http://a:t]:tt/b HTTP/1.1\r\n\r\n",
        ],
    );
    for target in ["/", "/a?b=c&d=[]|{}", "http://a:80/b", "HTTPS://[::1]/b"] {
        let head = format!("GET {target} HTTP/1.1\r\n\r\n");
        assert_eq!(scan(head.as_bytes()), Ok(vec![Framing::Length(0)]), "{target}");
    }
}

#[test]
fn lines_end_in_cr_lf_and_hold_no_other_control() {
    assert_refused(
        Fault::Control,
        &[
            "GET / HTTP/1.1\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\u{b}c\r\n\r\n",
            "GET / HTTP/1.1\r\nA: \u{7f}\r\n\r\n",
            "GET / HTTP/1.1\r\nA: \u{c}b\r\n\r\n",
        ],
    );
    assert_eq!(scan(b"GET / HTTP/1.1\r\nA:\tb \xe9\t\r\nB:\r\n\r\n"), Ok(vec![Framing::Length(0)]));
}

#[test]
fn a_field_is_a_name_a_colon_and_a_value_on_one_line() {
    assert_refused(
        Fault::Field,
        &[
            "GET / HTTP/1.1\r\n A: b\r\n\r\n",
            "GET / HTTP/1.1\r\n\tA: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n \r\n\r\n",
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\nA\t: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA b: c\r\n\r\n",
            "GET / HTTP/1.1\r\nA\r\n\r\n",
            "GET / HTTP/1.1\r\n: b\r\n\r\n",
            "GET / HTTP/1.1\r\n:\r\n\r\n",
            "GET / HTTP/1.1\r\nA\0: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA\u{e9}: b\r\n\r\n",
            "GET / HTTP/1.1\r\n\"A\": b\r\n\r\n",
        ],
    );
}

#[test]
fn the_length_of_a_body_is_one_plain_number() {
    assert_eq!(scan(&post("Content-Length: 3\r\n", "abc")), Ok(vec![Framing::Length(3)]));
    assert_eq!(scan(&post("content-length:\t3 \r\n", "abc")), Ok(vec![Framing::Length(3)]));
    assert_eq!(scan(&post("Content-Length: 0\r\n", "")), Ok(vec![Framing::Length(0)]));
    let too_large_for_a_signed_number = "9223372036854775808";
    for value in [
        "",
        "+3",
        "-3",
        "3,3",
        "3, 3",
        "3 3",
        "0x3",
        "3.0",
        "3e0",
        "03",
        "00",
        "\u{663}",
        "three",
        "3;",
        too_large_for_a_signed_number,
        "18446744073709551616",
    ] {
        let head = post(&format!("Content-Length: {value}\r\n"), "abc");
        assert_eq!(scan(&head), Err(Fault::Length), "{value}");
    }
    for fields in [
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\ncontent-length: 4\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    ] {
        assert_eq!(scan(&post(fields, "0\r\n\r\n")), Err(Fault::Length), "{fields}");
    }
}

#[test]
fn the_only_transfer_encoding_is_chunked_once_and_not_in_http_1_0() {
    for value in ["chunked", "Chunked", "CHUNKED", "\tchunked  "] {
        let head = post(&format!("Transfer-Encoding:{value}\r\n"), "0\r\n\r\n");
        assert_eq!(scan(&head), Ok(vec![Framing::Chunked]), "{value}");
    }
    for value in [
        "",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "chunked;q=1",
        "\"chunked\"",
        "xchunked",
        "chunkedx",
        "chunked chunked",
        "chun\u{212a}ed",
    ] {
        let head = post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
        assert_eq!(scan(&head), Err(Fault::TransferEncoding), "{value}");
    }
    let twice = post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n");
    assert_eq!(scan(&twice), Err(Fault::TransferEncoding));
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(scan(old), Err(Fault::TransferEncoding));
}

#[test]
fn chunks_are_followed_to_their_last_byte() {
    let next = "GET / HTTP/1.1\r\n\r\n";
    for body in [
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "3\r\n\r\n\r\r\n0\r\n\r\n",
        "A\r\n0123456789\r\n0000\r\n\r\n",
        "3;a=b;c=\"d\"\r\nabc\r\n0;e\r\n\r\n",
        "3 ;a\r\nabc\r\n0\t ;\r\n\r\n",
        "0\r\nA: b\r\nC:\r\n\r\n",
    ] {
        let bytes = post("Transfer-Encoding: chunked\r\n", &format!("{body}{next}"));
        assert_eq!(scan(&bytes), Ok(vec![Framing::Chunked, Framing::Length(0)]), "{body:?}");
    }
    for body in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "+3\r\n",
        "0x3\r\n",
        " 3\r\n",
        "3 \r\n",
        "3 3\r\n",
        "3\n",
        "3\rx",
        "3\r\nabcd",
        "3\r\nabc\n",
        "3\r\nabc0\r\n",
        "3\r\nabc\r\r",
        "3;a\nb\r\n",
        "3;a\rb\r\n",
        "3;a\0b\r\n",
        "10000000000000000\r\n",
        "00000000000000003\r\n",
    ] {
        let bytes = post("Transfer-Encoding: chunked\r\n", body);
        assert_eq!(scan(&bytes), Err(Fault::Chunk), "{body:?}");
    }
    for trailers in
        ["A : b\r\n", " A: b\r\n", "A: b\r\n c\r\n", "A: b\n", "A: \0\r\n", ":\r\n", "A\r\n"]
    {
        let bytes = post("Transfer-Encoding: chunked\r\n", &format!("0\r\n{trailers}\r\n"));
        assert_eq!(scan(&bytes), Err(Fault::Trailer), "{trailers:?}");
    }
    assert_eq!(scan(&post("Transfer-Encoding: chunked\r\n", "0\r\n\rx")), Err(Fault::Chunk));
}

#[test]
fn extensions_and_trailers_have_limits() {
    let chunked = |body: &str| scan(&post("Transfer-Encoding: chunked\r\n", body));
    assert_eq!(chunked(&format!("1;{}", "x".repeat(9000))), Err(Fault::Chunk));
    assert_eq!(chunked(&"1;xxxxxxxxx\r\n.\r\n".repeat(1000)), Err(Fault::Chunk));
    assert_eq!(chunked(&format!("1{}", " ".repeat(9000))), Err(Fault::Chunk));
    assert_eq!(chunked(&format!("0\r\nA: {}", "x".repeat(9000))), Err(Fault::Trailer));
    assert_eq!(chunked(&format!("0\r\n{}", "a:\r\n".repeat(65))), Err(Fault::Trailer));
}

#[test]
fn a_head_has_limits_that_hold_while_it_is_not_whole() {
    let head = |bytes: usize| {
        let rest = "GET / HTTP/1.1\r\nA: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(bytes - rest))
    };
    assert_eq!(scan(head(2048).as_bytes()), Ok(vec![Framing::Length(0)]));
    assert_eq!(scan(head(2049).as_bytes()), Err(Fault::HeadTooLarge));
    assert_eq!(scan(&head(2049).as_bytes()[..2048]), Err(Fault::HeadTooLarge));
    assert_eq!(scan("x".repeat(2048).as_bytes()), Err(Fault::HeadTooLarge));
    let fields = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a:\r\n".repeat(count));
    assert_eq!(scan(fields(20).as_bytes()), Ok(vec![Framing::Length(0)]));
    assert_eq!(scan(fields(21).as_bytes()), Err(Fault::HeadTooLarge));
}

/// What hyper would read of what a client sends in these pieces.
fn read_through(pieces: &[&[u8]]) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    read_agreed(None, pieces)
}

/// Likewise, where it was agreed what is spoken.
fn read_agreed(
    agreed: Option<Protocol>,
    pieces: &[&[u8]],
) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let deadlines = Rc::new(Deadlines::default());
    let connection = Rc::new(Connection::new(None, deadlines.watch(), Duration::from_secs(1)));
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let mut guard = Guard::new(server, connection, agreed, LIMITS);
        let mut read = Vec::new();
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            if let Err(error) = read_ready(&mut guard, &mut read).await {
                return (read, Some(error.kind()));
            }
        }
        (read, None)
    })
}

async fn read_ready(
    guard: &mut Guard<tokio::io::DuplexStream>,
    read: &mut Vec<u8>,
) -> std::io::Result<()> {
    let mut reading = std::pin::pin!(async {
        // As much room as hyper has at first, and as its detection of protocols has.
        let mut bytes = [0; 2048];
        let room = if read.is_empty() { 24 } else { bytes.len() };
        guard.read(&mut bytes[..room]).await.map(|count| bytes[..count].to_vec())
    });
    let polled = std::future::poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
    match polled {
        Poll::Pending => Ok(()),
        Poll::Ready(bytes) => {
            let bytes = bytes?;
            assert!(!bytes.is_empty());
            read.extend(bytes);
            Box::pin(read_ready(guard, read)).await
        }
    }
}

#[test]
fn a_head_is_passed_on_whole_however_it_comes() {
    let head = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(read_through(&[head]), (head.to_vec(), None));
    let bytes: Vec<&[u8]> = head.chunks(1).collect();
    assert_eq!(read_through(&bytes), (head.to_vec(), None));
    assert_eq!(read_through(&bytes[..head.len() - 1]), (vec![], None));
    assert_eq!(read_through(&[head, head, b"GET"]), (head.repeat(2), None));
}

#[test]
fn in_the_place_of_a_refused_head_comes_the_guard_s_own_request_and_nothing_after_it() {
    let good = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let bad = b"GET /b HTTP/1.1\r\nHost: a\nX: y\r\n\r\n";
    let refused = [&good[..], REFUSED].concat();
    assert_eq!(read_through(&[&[&good[..], bad, good].concat()]), (refused.clone(), None));
    assert_eq!(read_through(&[good, bad, good]), (refused.clone(), None));
    let bytes: Vec<&[u8]> = good.chunks(1).chain(bad.chunks(1)).chain(good.chunks(1)).collect();
    assert_eq!(read_through(&bytes), (refused, None));
}

#[test]
fn a_refused_body_breaks_off() {
    let head = &post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n")[..];
    let broken = Some(std::io::ErrorKind::InvalidData);
    assert_eq!(read_through(&[&[head, b"0\n\n"].concat()]), ([head, b"0"].concat(), broken));
    assert_eq!(read_through(&[head, b"0\n\n"]), ([head, b"0"].concat(), broken));
}

#[test]
fn what_follows_a_request_for_another_protocol_waits_for_the_answer() {
    let asks = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let follows = b"\x81\x00";
    assert_eq!(read_through(&[asks, follows]), (asks.to_vec(), None));
    assert_eq!(read_through(&[&[&asks[..], follows].concat()]), (asks.to_vec(), None));
    let framed = b"GET / HTTP/1.1\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(read_through(&[framed, follows]), ([&framed[..], follows].concat(), None));
}

#[test]
fn http_2_is_told_by_its_preface_and_passed_through() {
    let bytes = [PREFACE, b"\0\0\0\x04\0\0\0\0\0\n\0"].concat();
    assert_eq!(read_through(&[&bytes]), (bytes.clone(), None));
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read_through(&pieces), (bytes.clone(), None));
    assert_eq!(read_through(&[b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"]), (REFUSED.to_vec(), None));
}

#[test]
fn what_was_agreed_on_is_not_told_by_the_first_bytes() {
    let http1 = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(read_agreed(Some(Protocol::Http2), &[http1]), (http1.to_vec(), None));
    assert_eq!(read_agreed(Some(Protocol::Http1), &[http1]), (http1.to_vec(), None));
    assert_eq!(read_agreed(Some(Protocol::Http1), &[PREFACE]), (REFUSED.to_vec(), None));
}

#[test]
fn a_connection_that_begins_with_no_request_breaks_off_without_an_answer() {
    let foreign = b"INVALID CONNECTION PREFACE\r\n\r\n";
    let broken = Some(std::io::ErrorKind::InvalidData);
    assert_eq!(read_through(&[foreign]), (vec![], broken));
    let bytes: Vec<&[u8]> = foreign.chunks(1).collect();
    assert_eq!(read_through(&bytes), (vec![], broken));
    // Whoever was answered before understands an answer.
    let good = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let refused = [&good[..], REFUSED].concat();
    assert_eq!(read_through(&[&[&good[..], foreign].concat()]), (refused, None));
}

proptest::proptest! {
    #[test]
    fn it_does_not_matter_how_bytes_are_cut_up(
        bytes in messages::messages(),
        cuts in proptest::collection::vec(1..40_usize, 1..20),
    ) {
        let mut whole = Scanner::new(LIMITS);
        let mut pieces = Scanner::new(LIMITS);
        let expected = whole.scan(&bytes);
        let (mut at, mut end, mut cuts) = (0, 0, cuts.iter().cycle());
        let outcome = loop {
            end = (end + cuts.next().unwrap()).min(bytes.len());
            match pieces.scan(&bytes[at..end]) {
                Scan::Pass => at = end,
                Scan::Hold(from) => at += from,
                Scan::Wait(from) => break Scan::Wait(at + from),
                Scan::RefuseHead(from, fault) => break Scan::RefuseHead(at + from, fault),
                Scan::RefuseBody(from, fault) => break Scan::RefuseBody(at + from, fault),
            }
            if end == bytes.len() {
                break if at == end { Scan::Pass } else { Scan::Hold(at) };
            }
        };
        // What is at fault may be said earlier, and of another of several faults.
        let without_fault = |scan| match scan {
            Scan::RefuseHead(from, _) => Scan::RefuseHead(from, Fault::Field),
            scan => scan,
        };
        proptest::prop_assert_eq!(without_fault(outcome), without_fault(expected));
    }
}
