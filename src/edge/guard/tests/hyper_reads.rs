//! The guard against hyper's own reading: what it passes, hyper reads the same.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Mutex;

use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
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

/// Panics where the two read what the guard passes of these bytes in two ways.
pub(super) fn compare(bytes: &[u8]) {
    let (passed, expected) = guard_reads(bytes);
    let reads = hyper_reads(&bytes[..passed]);
    assert_eq!(reads, up_to_the_last(expected), "{:?}", String::from_utf8_lossy(bytes));
}

/// Complete bodies that the guard reads in these bytes.
#[cfg(test)]
pub(super) fn bodies(bytes: &[u8]) -> usize {
    guard_reads(bytes).1.iter().filter(|read| read.body.is_some()).count()
}

/// What the guard takes bytes for, and how many of them it passes.
fn guard_reads(bytes: &[u8]) -> (usize, Vec<Read>) {
    let mut heads = Vec::new();
    let scan = Scanner::new(LIMITS).scan_messages(bytes, |end, framing| heads.push((end, framing)));
    let passed = match scan {
        Scan::Pass => bytes.len(),
        Scan::Hold(from)
        | Scan::Wait(from)
        | Scan::RefuseHead(from, _)
        | Scan::RefuseBody(from, _) => from,
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
    let line = with_lower_scheme(lines.next().unwrap());
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        let value = value.trim_matches([' ', '\t']).chars().map(|byte| byte as u8).collect();
        (name.to_ascii_lowercase(), value)
    };
    let mut fields: Vec<_> = lines.map(field).collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    Read { line, fields, body: None }
}

/// hyper writes a scheme, which is the same in any case, in lower case; nothing of it goes on.
fn with_lower_scheme(line: &str) -> String {
    let Some(end) = line.find("://") else { return line.to_owned() };
    let start = line[..end].find(' ').map_or(0, |space| space + 1);
    if line[start..].starts_with('/') {
        return line.to_owned();
    }
    format!("{}{}{}", &line[..start], line[start..end].to_ascii_lowercase(), &line[end..])
}

/// A body, and how many of the bytes it takes.
fn body(bytes: &[u8], framing: Framing) -> (Option<Vec<u8>>, usize) {
    match framing {
        Framing::Upgrade => (Some(Vec::new()), 0),
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

/// As hyper, which takes no request after one that is the last of its connection: by what its
/// `Connection` fields say one after the other, HTTP/1.0 beginning with `close`.
fn up_to_the_last(mut reads: Vec<Read>) -> Vec<Read> {
    let says = |value: &[u8], word: &str| {
        let is_visible = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        let mut words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        is_visible && words.any(|said| said.eq_ignore_ascii_case(word.as_bytes()))
    };
    let is_last = |read: &Read| {
        let mut goes_on = !read.line.ends_with("HTTP/1.0");
        for (_, value) in read.fields.iter().filter(|(name, _)| name == "connection") {
            goes_on = if goes_on { !says(value, "close") } else { says(value, "keep-alive") };
        }
        !goes_on || read.body.is_none()
    };
    if let Some(last) = reads.iter().position(is_last) {
        reads.truncate(last + 1);
    }
    reads
}
