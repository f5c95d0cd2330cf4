//! HTTP/2 in front and HTTP/1.1 behind: what one can say and the other must not hear.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::tools::succeed;
use crate::support::world::SERVICE;
use crate::support::{Gate, Home, Upstream, fixture, gate_before_upstream};

fn start() -> (Home, Upstream, Gate) {
    gate_before_upstream(|_| {})
}

/// What comes of a request that need not be a right one.
fn ask(gate: &Gate, asked: &Value) -> String {
    let mut command = fixture("raw_http2.py");
    command.arg(gate.address().port().to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{asked}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<Value> {
    let bearer = format!("Bearer {SERVICE}");
    let usual = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a.example"),
        (":path", path),
        ("authorization", bearer.as_str()),
    ];
    usual.iter().chain(more).map(|(name, value)| json!([name, value])).collect()
}

#[test]
fn what_http_1_would_read_otherwise_is_refused() {
    let (_home, upstream, gate) = start();
    let fields = [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("connection", "x-portcullis-account-id"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("x", "a\r\nx-injected: b"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x\r\ny", "a"),
        ("x: y", "a"),
        ("x y", "a"),
        ("X-Upper", "a"),
        ("", "a"),
        ("host", "b.example"),
        (":authority", "b.example"),
        (":path", "/free/y"),
        (":odd", "a"),
    ];
    for field in fields {
        let answer = ask(&gate, &json!(head("GET", "/free/x", &[field])));
        assert!(!answer.starts_with('2'), "{field:?}: {answer}");
    }
    let targets = [
        "/free/x\r\nx-injected: b",
        "/free/x HTTP/1.1\r\nHost: b",
        "/free/x y",
        "/free/\u{e9}",
        "/free/x?\u{e9}",
        "/free/../x",
        "free/x",
        "*",
        "",
        "http://b.example/free/x",
    ];
    for target in targets {
        let answer = ask(&gate, &json!(head("GET", target, &[])));
        assert!(!answer.starts_with('2'), "{target:?}: {answer}");
    }
    for method in ["GE T", "GET\r\nX: y", "CONNECT", ""] {
        let answer = ask(&gate, &json!(head(method, "/free/x", &[])));
        assert!(!answer.starts_with('2'), "{method:?}: {answer}");
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    assert_eq!(ask(&gate, &json!(head("GET", "/free/x", &[]))), "200 ok");
}

#[test]
fn a_length_that_is_not_the_body_s_never_becomes_a_complete_request() {
    let (_home, upstream, gate) = start();
    for (length, data) in
        [("3", "abcdef"), ("6", "abc"), ("-1", "abc"), ("3, 3", "abc"), ("x", "abc")]
    {
        let headers = head("POST", "/free/x", &[("content-length", length)]);
        let answer = ask(&gate, &json!({ "headers": headers, "data": data }));
        assert!(!answer.starts_with('2'), "{length} for {data}: {answer}");
    }
    let headers = head("POST", "/free/x", &[("content-length", "3"), ("content-length", "3")]);
    let answer = ask(&gate, &json!({ "headers": headers, "data": "abc" }));
    assert!(!answer.starts_with('2'), "{answer}");
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    let right = head("POST", "/free/x", &[("content-length", "3")]);
    assert_eq!(ask(&gate, &json!({ "headers": right, "data": "abc" })), "200 ok");
    assert_eq!(upstream.last().body, b"abc");
}

#[test]
fn trailers_of_http_2_carry_no_identity() {
    let (_home, upstream, gate) = start();
    let trailers =
        [["x-portcullis-account-id", "9"], ["authorization", "Bearer x"], ["x-sum", "1"]];
    let headers = head("POST", "/free/x", &[("te", "trailers")]);
    let answer = ask(&gate, &json!({ "headers": headers, "data": "abc", "trailers": trailers }));
    assert_eq!(answer, "200 ok");
    let names: Vec<_> = upstream.last().trailers.into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| name == "x-sum"), "{names:?}");
}

#[test]
fn floods_of_frames_end_their_connection_and_touch_nobody_else() {
    let (_home, upstream, gate) = start();
    let port = gate.address().port().to_string();
    let before = gate.resident_kib();
    let floods = [
        "rapid reset",
        "made you reset",
        "continuation",
        "empty continuation",
        "empty data",
        "ping",
        "settings",
        "priority",
        "window",
        "unknown",
    ];
    let kinds =
        floods.map(|kind| (kind, "flood")).into_iter().chain([("broken window", "protocol")]);
    for (count, (kind, cause)) in (1_u8..).zip(kinds) {
        let said = succeed(fixture("http2_flood.py").args([port.as_str(), kind]));
        let (end, seconds) = said.trim().split_once(' ').unwrap();
        assert_eq!(end, "ended", "{kind}");
        assert!(seconds.parse::<f64>().unwrap() < 1.0, "{kind}: {seconds} s");
        assert!(gate.resident_kib() < before + 32 * 1024, "{kind}");
        gate.expect_ended(cause, if cause == "flood" { f64::from(count) } else { 1.0 });
    }
    assert!(upstream.seen().is_empty());
}
