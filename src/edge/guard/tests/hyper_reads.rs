//! The guard against hyper's own reading: what it passes, hyper reads the same.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Mutex;

use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::{Framing, LIMITS, Scan, Scanner};

/// A request, as one of the two reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    line: String,
    fields: Vec<(String, Vec<u8>)>,
    /// `None` where it is not whole.
    body: Option<Vec<u8>>,
}

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

/// What the guard takes bytes for, and how many of them it passes.
fn guard_reads(bytes: &[u8]) -> (usize, Vec<Read>) {
    let mut heads = Vec::new();
    let scan = Scanner::new(LIMITS).scan_messages(bytes, |end, framing| heads.push((end, framing)));
    let passed = match scan {
        Scan::Pass => bytes.len(),
        Scan::Hold(from) | Scan::RefuseHead(from, _) | Scan::RefuseBody(from, _) => from,
    };
    let mut start = 0;
    let mut reads = Vec::new();
    for (end, framing) in heads {
        let (body, length) = body(&bytes[end..passed], framing);
        reads.push(Read { body, ..head(&bytes[start..end]) });
        start = end + length;
    }
    (passed, reads)
}

fn head(bytes: &[u8]) -> Read {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.trim_start().trim_end_matches("\r\n").split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        let value = value.trim_matches([' ', '\t']).chars().map(|byte| byte as u8).collect();
        (name.to_ascii_lowercase(), value)
    };
    let mut fields: Vec<_> = lines.map(field).collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    Read { line, fields, body: None }
}

/// A body, and how many of the bytes it takes.
fn body(bytes: &[u8], framing: Framing) -> (Option<Vec<u8>>, usize) {
    match framing {
        Framing::Length(length) => {
            let length = length as usize;
            (bytes.get(..length).map(<[u8]>::to_vec), length)
        }
        Framing::Chunked => chunks(bytes)
            .map_or((None, bytes.len()), |(body, left)| (Some(body), bytes.len() - left.len())),
    }
}

/// The plainest reader of chunks. `None` where they are not whole.
fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    fn line<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let line = &bytes[..end];
        *bytes = &bytes[end + 2..];
        Some(line)
    }
    let mut body = Vec::new();
    loop {
        let size = line(&mut bytes)?.split(|byte| b"; \t".contains(byte)).next()?;
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend(bytes.get(..size)?);
        bytes = bytes.get(size + 2..)?;
    }
    while !line(&mut bytes)?.is_empty() {}
    Some((body, bytes))
}

/// What hyper takes bytes for.
fn hyper_reads(bytes: &[u8]) -> Vec<Read> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let reads = Rc::new(Mutex::new(Vec::new()));
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1024 * 1024);
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
            let reads = reads.clone();
            async move {
                let (head, body) = request.into_parts();
                let read = as_read(&head);
                let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
                reads.lock().unwrap().push(Read { body, ..read });
                Ok::<_, Infallible>(http::Response::new(http_body_util::Empty::<&[u8]>::new()))
            }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        let serving = builder.half_close(true).serve_connection(TokioIo::new(server), service);
        // A head or body that is not whole ends it with an error.
        let _ = serving.await;
    });
    let reads = reads.lock().unwrap();
    reads.clone()
}

fn as_read(head: &http::request::Parts) -> Read {
    let line = format!("{} {} {:?}", head.method, head.uri, head.version);
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    let mut fields: Vec<_> = head.headers.iter().map(field).collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    Read { line, fields, body: None }
}

/// Whether a request of this kind is the last of its connection: HTTP/1.0, where it does not ask
/// for another one, and `close`.
fn up_to_the_last(mut reads: Vec<Read>) -> Vec<Read> {
    let is_last = |read: &Read| {
        let keeps = read
            .fields
            .iter()
            .any(|(name, value)| name == "connection" && value.eq_ignore_ascii_case(b"keep-alive"));
        (read.line.ends_with("HTTP/1.0") && !keeps) || read.body.is_none()
    };
    if let Some(last) = reads.iter().position(is_last) {
        reads.truncate(last + 1);
    }
    reads
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn what_the_guard_passes_hyper_reads_the_same(bytes in messages()) {
        let (passed, expected) = guard_reads(&bytes);
        let reads = hyper_reads(&bytes[..passed]);
        prop_assert_eq!(reads, up_to_the_last(expected), "{:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn messages_are_of_both_kinds() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut passed, mut refused, mut bodies) = (0, 0, 0);
    for _ in 0..1000 {
        let bytes = messages().new_tree(&mut runner).unwrap().current();
        match Scanner::new(LIMITS).scan(&bytes) {
            Scan::Pass | Scan::Hold(_) => passed += 1,
            Scan::RefuseHead(..) | Scan::RefuseBody(..) => refused += 1,
        }
        bodies += guard_reads(&bytes).1.iter().filter(|read| read.body.is_some()).count();
    }
    assert!(passed > 200 && refused > 200 && bodies > 300, "{passed} {refused} {bodies}");
}
