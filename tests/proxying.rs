//! Forwarding: bodies that stream, connections that are kept, upstreams that fail.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::tools::{curl, h2load, succeed};
use crate::support::upstream::{closed_port, read_head, read_request};
use crate::support::world::{JOBS, SERVICE};
use crate::support::{Connection, Gate, Home, Next, Nginx, Request, Upstream, eventually, within};

/// What a streamed body is made of.
const LARGE: u64 = 200 * 1024 * 1024;
/// What the gate may grow by while a large body passes, in KiB.
const GROWTH_LIMIT_KIB: u64 = 32 * 1024;

fn start_with(upstream: &Upstream, configure: impl FnOnce(&mut Home)) -> (Home, Gate) {
    let mut home = Home::new();
    home.forward_to(upstream.address());
    configure(&mut home);
    let gate = Gate::start(&home);
    (home, gate)
}

fn start(upstream: &Upstream) -> (Home, Gate) {
    start_with(upstream, |_| {})
}

fn free(path: &str) -> Request {
    Request::get(path).token(SERVICE)
}

/// Reads a body of known length to its end, counting.
fn drain(stream: &mut TcpStream, already: usize, total: u64, count: &AtomicU64) {
    let mut bytes = vec![0; 256 * 1024];
    count.fetch_add(already as u64, Ordering::Relaxed);
    while count.load(Ordering::Relaxed) < total {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(read) => count.fetch_add(read as u64, Ordering::Relaxed),
        };
    }
}

#[test]
fn a_large_upload_streams_through_without_being_kept() {
    let received = Arc::new(AtomicU64::new(0));
    let count = received.clone();
    let upstream = Upstream::raw(move |mut stream| {
        let mut buffer = Vec::new();
        if read_head(&mut stream, &mut buffer).is_some() {
            drain(&mut stream, buffer.len(), LARGE, &count);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
        }
    });
    let (_home, gate) = start(&upstream);
    let before = gate.resident_kib();
    let mut most = before;
    let mut connection = gate.connect();
    let head =
        Request::new("POST", JOBS).token(SERVICE).header("Content-Length", &LARGE.to_string());
    connection.write(&head.bytes());
    let chunk = vec![b'x'; 1024 * 1024];
    for megabyte in 0..LARGE / chunk.len() as u64 {
        connection.write(&chunk);
        if megabyte % 20 == 0 {
            most = most.max(gate.resident_kib());
        }
    }
    assert_eq!(connection.response().text(), "done");
    assert_eq!(received.load(Ordering::Relaxed), LARGE);
    assert!(most - before < GROWTH_LIMIT_KIB, "from {before} to {most} KiB");
}

#[test]
fn a_large_download_streams_through_without_being_kept() {
    let upstream = Upstream::raw(|mut stream| {
        let mut buffer = Vec::new();
        while read_request(&mut stream, &mut buffer).is_some() {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let chunk = vec![b'x'; 1024 * 1024];
            for _ in 0..LARGE / chunk.len() as u64 {
                if stream.write_all(&chunk).is_err() {
                    return;
                }
            }
        }
    });
    let (_home, gate) = start(&upstream);
    let before = gate.resident_kib();
    let mut most = before;
    let mut stream = TcpStream::connect(gate.address()).unwrap();
    stream.write_all(&free(JOBS).bytes()).unwrap();
    let mut buffer = Vec::new();
    assert!(read_head(&mut stream, &mut buffer).unwrap().starts_with("HTTP/1.1 200"));
    let mut received = buffer.len() as u64;
    let mut bytes = vec![0; 1024 * 1024];
    let mut looked = 0;
    while received < LARGE {
        let read = stream.read(&mut bytes).unwrap();
        assert_ne!(read, 0);
        received += read as u64;
        if received / (20 << 20) > looked {
            looked = received / (20 << 20);
            most = most.max(gate.resident_kib());
        }
    }
    assert!(most - before < GROWTH_LIMIT_KIB, "from {before} to {most} KiB");
}

#[test]
fn a_client_that_does_not_read_holds_back_the_upstream() {
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let upstream = Upstream::raw(move |mut stream| {
        let mut buffer = Vec::new();
        if read_request(&mut stream, &mut buffer).is_none() {
            return;
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let chunk = vec![b'x'; 64 * 1024];
        while count.load(Ordering::Relaxed) < LARGE && stream.write_all(&chunk).is_ok() {
            count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
    });
    let (_home, gate) = start(&upstream);
    let before = gate.resident_kib();
    let mut connection = gate.connect();
    connection.write(&free(JOBS).bytes());
    assert!(connection.read_head().is_some());
    // Until nothing has moved for a while: all buffers on the way are full.
    let mut last = (0, Instant::now());
    eventually("the upstream is held back", || {
        let now = sent.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (now > 0 && last.1.elapsed() > Duration::from_millis(300)).then_some(())
    });
    assert!(
        sent.load(Ordering::Relaxed) < LARGE / 2,
        "{} bytes went",
        sent.load(Ordering::Relaxed)
    );
    assert!(gate.resident_kib() - before < GROWTH_LIMIT_KIB);
    assert_eq!(gate.metrics().value("portcullis_config_last_reload_successful"), 1.0);
}

#[test]
fn a_body_passes_as_it_comes_not_when_it_is_complete() {
    let upstream = Upstream::raw(|mut stream| {
        let mut buffer = Vec::new();
        if read_head(&mut stream, &mut buffer).is_none() {
            return;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        // An echo: each chunk of the request is a chunk of the answer.
        let mut bytes = [0; 1024];
        buffer.clear();
        while let Ok(read) = stream.read(&mut bytes) {
            if read == 0 || stream.write_all(&bytes[..read]).is_err() {
                return;
            }
        }
    });
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    let head = Request::new("POST", JOBS).token(SERVICE).header("Transfer-Encoding", "chunked");
    connection.write(&head.bytes());
    assert!(connection.read_head().unwrap().starts_with("HTTP/1.1 200"));
    for letter in ["a", "b", "c"] {
        connection.write(format!("1\r\n{letter}\r\n").as_bytes());
        assert_eq!(connection.take(6), format!("1\r\n{letter}\r\n").as_bytes());
    }
}

#[test]
fn chunked_bodies_pass_both_ways_with_trailers() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
         5\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 11\r\nx-portcullis-user-id: 99\r\n\r\n",
    );
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    let request = Request::new("POST", JOBS)
        .token(SERVICE)
        .header("Transfer-Encoding", "chunked")
        .header("TE", "trailers")
        .header("Trailer", "x-end")
        .raw_body(b"3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nx-end: yes\r\n\r\n");
    for _ in 0..2 {
        let response = connection.send(&request);
        assert_eq!((response.status, response.text()), (200, "hello world"));
        assert_eq!(response.trailers, [("x-sum".to_owned(), "11".to_owned())]);
        let seen = upstream.last();
        assert_eq!(seen.body, b"abcdefg");
        assert_eq!(seen.trailers, [("x-end".to_owned(), "yes".to_owned())]);
    }
}

#[test]
fn a_body_without_a_length_passes_with_every_method() {
    let upstream = Upstream::start();
    let (_home, gate) = start(&upstream);
    for method in ["GET", "POST"] {
        let request = Request::new(method, "/free/x")
            .token(SERVICE)
            .header("Transfer-Encoding", "chunked")
            .raw_body(b"3\r\nabc\r\n0\r\n\r\n");
        assert_eq!(gate.send(&request).status, 200);
        assert_eq!(upstream.last().body, b"abc", "{method}");
    }
}

#[test]
fn an_upstream_that_says_two_lengths_is_502() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
    );
    let (_home, gate) = start(&upstream);
    assert_eq!(gate.send(&free(JOBS)).status, 502);
}

#[test]
fn an_upstream_of_http_1_0_does_not_end_the_client_s_connection() {
    let upstream = Upstream::scripted(|_, stream| {
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil the end").unwrap();
        Next::Close
    });
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    for _ in 0..2 {
        assert_eq!(connection.send(&free(JOBS)).text(), "until the end");
    }
}

#[test]
fn lengths_pass_as_lengths() {
    let upstream = Upstream::start();
    let (_home, gate) = start(&upstream);
    let response = gate.send(&Request::new("POST", JOBS).token(SERVICE).body(b"12345"));
    assert_eq!(response.header("content-length"), Some("2"));
    let seen = upstream.last();
    assert_eq!((seen.header("content-length"), seen.body.as_slice()), (Some("5"), &b"12345"[..]));
    assert_eq!(seen.header("transfer-encoding"), None);
    gate.send(&Request::new("POST", JOBS).token(SERVICE).body(b""));
    assert_eq!(upstream.last().header("content-length"), Some("0"));
    gate.send(&free(JOBS));
    assert_eq!(upstream.last().header("content-length"), None);
}

#[test]
fn expect_100_continue_is_answered_before_the_body_is_sent() {
    let upstream = Upstream::start();
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    let head = Request::new("POST", JOBS)
        .token(SERVICE)
        .header("Expect", "100-continue")
        .header("Content-Length", "4");
    connection.write(&head.bytes());
    assert_eq!(connection.response().status, 100);
    connection.write(b"body");
    assert_eq!(connection.response().status, 200);
    assert_eq!(upstream.last().body, b"body");

    let body = "x".repeat(2 * 1024 * 1024);
    std::fs::write(_home.path("body"), &body).unwrap();
    let mut command = curl();
    command.args(["--header", "Expect: 100-continue", "--expect100-timeout", "15"]);
    command.args(["--header", &format!("Authorization: Bearer {SERVICE}")]);
    command.arg("--data-binary").arg(format!("@{}", _home.path("body").display()));
    let started = Instant::now();
    assert_eq!(succeed(command.arg(gate.url(JOBS))), "ok");
    assert!(started.elapsed() < Duration::from_secs(10), "curl had to give up waiting");
    assert_eq!(upstream.last().body.len(), body.len());
}

#[test]
fn a_refused_request_is_not_asked_for_its_body() {
    let upstream = Upstream::start();
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    let head = Request::new("POST", JOBS)
        .token("a-token-that-nobody-has")
        .header("Expect", "100-continue")
        .header("Content-Length", "4");
    connection.write(&head.bytes());
    assert_eq!(connection.response().status, 401);
}

#[test]
fn answers_without_bodies_keep_their_meaning() {
    let upstream = Upstream::scripted(|seen, stream| {
        let status = seen.line.split("status=").nth(1).and_then(|rest| rest.split(' ').next());
        let answer = match status {
            Some("204") => "HTTP/1.1 204 No Content\r\nx-kind: none\r\n\r\n",
            Some("304") => "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 5\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n",
        };
        stream.write_all(answer.as_bytes()).unwrap();
        Next::Keep
    });
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    let none = connection.send(&free(&format!("{JOBS}?status=204")));
    assert_eq!((none.status, none.header("x-kind")), (204, Some("none")));
    assert_eq!(none.header("content-length"), None);
    let unchanged = connection.send(&free(&format!("{JOBS}?status=304")));
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some("\"1\"")));
    let head = connection.send(&Request::new("HEAD", JOBS).token(SERVICE));
    assert_eq!((head.status, head.header("content-length")), (200, Some("12345")));
    assert!(head.body.is_empty());
    assert_eq!(connection.send(&free(&format!("{JOBS}?status=204"))).status, 204);
    assert_eq!(upstream.connections(), 1, "such answers leave the upstream's connection usable");
}

#[test]
fn interim_answers_of_the_upstream_do_not_end_the_exchange() {
    let upstream = Upstream::answering(
        "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    );
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    connection.write(&free(JOBS).bytes());
    let mut response = connection.response();
    while response.status < 200 {
        response = connection.response();
    }
    assert_eq!((response.status, response.text()), (200, "ok"));
}

#[test]
fn a_body_that_ends_with_its_connection_is_passed_on_whole() {
    let upstream = Upstream::scripted(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").unwrap();
        Next::Close
    });
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    for _ in 0..2 {
        assert_eq!(connection.send(&free(JOBS)).text(), "until the end");
    }
}

#[test]
fn a_body_that_breaks_off_is_not_passed_on_as_complete() {
    for head in ["content-length: 10", "transfer-encoding: chunked"] {
        let upstream = Upstream::scripted(move |_, stream| {
            let body = if head.starts_with('c') { "12345" } else { "5\r\n12345\r\n" };
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes())
                .unwrap();
            Next::Close
        });
        let (_home, gate) = start(&upstream);
        let mut connection = gate.connect();
        connection.write(&free(JOBS).bytes());
        let received = String::from_utf8(connection.rest()).unwrap();
        let (_, body) = received.split_once("\r\n\r\n").unwrap();
        assert!(!body.ends_with("0\r\n\r\n") && body.len() < 13, "{received}");
    }
}

#[test]
fn connections_are_kept_on_both_sides() {
    let upstream = Upstream::start();
    let (_home, gate) = start_with(&upstream, |home| {
        home.set("gate", "workers", "1");
    });
    let mut connection = gate.connect();
    for _ in 0..50 {
        assert_eq!(connection.send(&free(JOBS)).status, 200);
    }
    assert_eq!(connection.send(&Request::get(JOBS)).status, 401, "a refusal keeps it too");
    assert_eq!(connection.send(&free(JOBS)).status, 200);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_kept_connection_that_the_upstream_closed_is_not_a_failure() {
    let (ended, was_ended) = std::sync::mpsc::channel();
    let ended = std::sync::Mutex::new(ended);
    let upstream = Upstream::scripted(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Once the gate has closed its side, it knows.
        let _ = stream.read_to_end(&mut Vec::new());
        let _ = ended.lock().unwrap().send(());
        Next::Close
    });
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    for number in 0..20 {
        assert_eq!(connection.send(&free(JOBS)).status, 200, "request {number}");
        was_ended.recv_timeout(Duration::from_secs(10)).expect("the gate closes its side");
    }
}

#[test]
fn an_idle_connection_that_the_upstream_closes_on_a_request_is_not_a_failure() {
    let upstream = Upstream::raw(|mut stream| {
        let mut buffer = Vec::new();
        if read_request(&mut stream, &mut buffer).is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        }
        // The next request is read and left without an answer.
        let _ = read_request(&mut stream, &mut buffer);
    });
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    assert_eq!(connection.send(&free(JOBS)).status, 200);
    let idle_since = Instant::now();
    eventually("the upstream's connection is idle", || {
        (idle_since.elapsed() > Duration::from_millis(700)).then_some(())
    });
    assert_eq!(connection.send(&free(JOBS)).status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let upstream = Upstream::scripted(|seen, stream| {
        let number = seen.line.split("n=").nth(1).unwrap().split(' ').next().unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{number}", number.len());
        stream.write_all(answer.as_bytes()).unwrap();
        Next::Keep
    });
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    let mut bytes = Vec::new();
    for number in 0..20 {
        let request =
            if number % 5 == 4 { Request::get(JOBS) } else { free(&format!("{JOBS}?n={number}")) };
        bytes.extend(request.bytes());
    }
    connection.write(&bytes);
    for number in 0..20 {
        let response = connection.response();
        match number % 5 {
            4 => assert_eq!(response.status, 401),
            _ => assert_eq!(response.text(), number.to_string()),
        }
    }
}

#[test]
fn a_client_of_http_1_0_gets_an_answer_that_it_understands() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    let request = format!(
        "GET {JOBS} HTTP/1.0\r\nHost: a.example\r\nAuthorization: Bearer {SERVICE}\r\n\r\n"
    );
    connection.write(request.as_bytes());
    let answer = String::from_utf8(connection.rest()).unwrap();
    assert!(answer.contains(" 200 OK\r\n"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("transfer-encoding"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[test]
fn an_upstream_that_is_down_is_502_and_the_gate_s_own_answer() {
    let mut home = Home::new();
    home.forward_to(closed_port());
    let gate = Gate::start(&home);
    assert_eq!(gate.status(JOBS, SERVICE), 502);
    let labels = [("origin", "gate"), ("code_class", "5xx"), ("upstream", "api")];
    eventually("it is counted", || {
        (gate.metrics().sum("portcullis_requests_total", &labels) == 1.0).then_some(())
    });
    gate.expect_one_decision("allow");
}

#[test]
fn an_upstream_s_own_errors_are_its_own() {
    let upstream =
        Upstream::answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy");
    let (_home, gate) = start(&upstream);
    let response = gate.get(JOBS, SERVICE);
    assert_eq!((response.status, response.text()), (503, "busy"));
    let labels = [("origin", "upstream"), ("code_class", "5xx"), ("upstream", "api")];
    eventually("it is counted", || {
        (gate.metrics().sum("portcullis_requests_total", &labels) == 1.0).then_some(())
    });
}

#[test]
fn an_upstream_that_speaks_nonsense_or_hangs_up_is_502() {
    for answer in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ] {
        let upstream = Upstream::scripted(move |_, stream| {
            let _ = stream.write_all(answer.as_bytes());
            Next::Close
        });
        let (_home, gate) = start(&upstream);
        assert_eq!(gate.status(JOBS, SERVICE), 502, "{answer:?}");
        assert_eq!(upstream.seen().len(), 1, "a request that was sent is not sent again");
    }
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_504() {
    let upstream = Upstream::raw(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let (_home, gate) = start_with(&upstream, |home| {
        home.set("upstreams.api", "response_timeout", r#""200ms""#);
    });
    let (response, took) =
        within(Duration::from_secs(5), "an answer", || Some(gate.get(JOBS, SERVICE)));
    assert_eq!(response.status, 504);
    assert!(took >= Duration::from_millis(150), "{took:?}");
}

#[test]
fn an_upstream_that_cannot_be_reached_in_time_is_504() {
    // A listener whose queue is full answers no further handshake.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        held.push(stream);
    }
    let mut home = Home::new();
    home.forward_to(address).set("upstreams.api", "connect_timeout", r#""200ms""#);
    let gate = Gate::start(&home);
    assert_eq!(gate.status(JOBS, SERVICE), 504);
}

#[test]
fn a_body_that_stalls_is_cut_off() {
    let upstream = Upstream::raw(|mut stream| {
        let mut buffer = Vec::new();
        if read_request(&mut stream, &mut buffer).is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345").unwrap();
            let _ = stream.read_to_end(&mut buffer);
        }
    });
    let (_home, gate) = start_with(&upstream, |home| {
        home.set("upstreams.api", "idle_timeout", r#""300ms""#);
    });
    let mut connection = gate.connect();
    connection.write(&free(JOBS).bytes());
    assert!(connection.read_head().unwrap().contains(" 200 "));
    assert_eq!(connection.rest(), b"12345");
}

#[test]
fn an_upload_that_stalls_is_cut_off() {
    let upstream = Upstream::start();
    let (_home, gate) = start_with(&upstream, |home| {
        home.set("upstreams.api", "idle_timeout", r#""300ms""#);
        home.set("upstreams.api", "response_timeout", r#""300ms""#);
    });
    let mut connection = gate.connect();
    let head = Request::new("POST", JOBS).token(SERVICE).header("Content-Length", "10");
    connection.write(&head.raw_body(b"12345").bytes());
    if let Some(response) = connection.read_response(false) {
        assert!(response.status >= 400, "{response:?}");
    }
    assert!(connection.is_closed());
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_body_over_the_limit_is_413_whether_its_length_is_said_or_not() {
    let upstream = Upstream::start();
    let (_home, gate) = start_with(&upstream, |home| {
        home.set("limits", "body_bytes", "100");
    });
    let declared = Request::new("POST", JOBS).token(SERVICE).body(&[b'x'; 101]);
    assert_eq!(gate.send(&declared).status, 413);
    assert_eq!(upstream.connections(), 0, "what says that it is too large is not begun");
    let streamed = Request::new("POST", JOBS)
        .token(SERVICE)
        .header("Transfer-Encoding", "chunked")
        .raw_body(format!("40\r\n{0}\r\n40\r\n{0}\r\n0\r\n\r\n", "x".repeat(64)).as_bytes());
    assert_eq!(gate.send(&streamed).status, 413);
    assert!(upstream.seen().is_empty(), "the upstream gets no complete request");
    let at_limit = Request::new("POST", JOBS).token(SERVICE).body(&[b'x'; 100]);
    assert_eq!(gate.send(&at_limit).status, 200);
    let of_route = Request::new("POST", "/small/").token(SERVICE).body(&[b'x'; 11]);
    assert_eq!(gate.send(&of_route).status, 413, "a route's own limit");
    let within_route = Request::new("POST", "/small/").token(SERVICE).body(&[b'x'; 10]);
    assert_eq!(gate.send(&within_route).status, 200);
}

#[test]
fn a_client_that_is_still_sending_gets_the_refusal() {
    let upstream = Upstream::start();
    let (_home, gate) = start_with(&upstream, |home| {
        home.set("limits", "body_bytes", "100");
    });
    let body = vec![b'x'; 5 * 1024 * 1024];
    let upload = |token: &str| Request::new("POST", JOBS).token(token).body(&body);
    for (request, status) in [(upload(SERVICE), 413), (upload("a-token-that-nobody-has"), 401)] {
        let mut connection = gate.connect();
        // The gate may have ended the connection by the time that all is sent.
        let _ = connection.try_write(&request.bytes());
        assert_eq!(connection.response().status, status);
    }
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let upstream = Upstream::start();
    let (_home, gate) = start_with(&upstream, |home| {
        home.set("limits", "header_bytes", "8192").set("limits", "headers", "20");
    });
    let large = free(JOBS).header("X-Large", &"x".repeat(10_000));
    assert_eq!(gate.send(&large).status, 431);
    let many =
        (0..30).fold(free(JOBS), |request, number| request.header(&format!("x-{number}"), "1"));
    assert_eq!(gate.send(&many).status, 431);
    let fits =
        (0..15).fold(free(JOBS), |request, number| request.header(&format!("x-{number}"), "1"));
    assert_eq!(gate.send(&fits).status, 200);
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn requests_are_spread_over_endpoints_and_go_to_those_that_answer() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let mut home = Home::new();
    home.set("gate", "workers", "1");
    let endpoints = format!(
        r#"["http://{}", "http://{}", "http://{}"]"#,
        one.address(),
        closed_port(),
        two.address()
    );
    home.set("upstreams.api", "endpoints", &endpoints);
    let gate = Gate::start(&home);
    for _ in 0..30 {
        assert_eq!(gate.status(JOBS, SERVICE), 200);
    }
    let (one, two) = (one.seen().len(), two.seen().len());
    assert_eq!(one + two, 30);
    assert!(one >= 5 && two >= 5, "{one} and {two}");
}

#[test]
fn a_head_that_comes_too_slowly_is_not_waited_for() {
    let upstream = Upstream::start();
    let (_home, gate) = start_with(&upstream, |home| {
        home.set("limits", "header_timeout", r#""300ms""#);
    });
    let started = Instant::now();
    let mut silent = gate.connect();
    let mut slow = gate.connect();
    slow.write(b"GET / HTTP/1.1\r\nHost: a");
    let mut trickling = gate.connect();
    trickling.write(b"GET / HTTP/1.1\r\n");
    let end = eventually("a trickle is ended", || {
        trickling.try_write(b"x: y\r\n").is_err().then(|| started.elapsed())
    });
    assert!(end < Duration::from_secs(5), "{end:?}");
    let _ = slow.rest();
    let _ = silent.rest();
    gate.expect_ended("head_timeout", 3.0);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    assert_eq!(gate.status(JOBS, SERVICE), 200);
}

#[test]
fn connections_beyond_the_limit_wait_for_a_place() {
    let upstream = Upstream::start();
    let (_home, gate) = start_with(&upstream, |home| {
        home.set("limits", "connections", "2");
    });
    let mut first = gate.connect();
    let mut second = gate.connect();
    assert_eq!(first.send(&free(JOBS)).status, 200);
    assert_eq!(second.send(&free(JOBS)).status, 200);
    let mut third = gate.connect();
    third.write(&free(JOBS).bytes());
    assert_eq!(first.send(&free(JOBS)).status, 200);
    assert_eq!(upstream.seen().len(), 3, "the third waits");
    drop(first);
    assert_eq!(third.response().status, 200);
}

#[test]
fn a_client_that_goes_away_does_not_hold_the_upstream() {
    let (ended, was_ended) = std::sync::mpsc::channel();
    let ended = std::sync::Mutex::new(ended);
    let upstream = Upstream::raw(move |mut stream| {
        let mut buffer = Vec::new();
        if read_request(&mut stream, &mut buffer).is_some() {
            let _ = stream.read_to_end(&mut buffer);
            let _ = ended.lock().unwrap().send(());
        }
    });
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    connection.write(&free(JOBS).bytes());
    eventually("the upstream has it", || (upstream.connections() == 1).then_some(()));
    drop(connection);
    was_ended.recv_timeout(Duration::from_secs(10)).expect("the upstream's connection ends");
}

#[test]
fn http_2_and_http_1_clients_are_served_on_one_port() {
    let nginx = Nginx::start();
    nginx.serve_file("page", b"a page of nginx");
    let mut home = Home::new();
    home.forward_to(nginx.address());
    let gate = Gate::start(&home);
    let bearer = format!("Authorization: Bearer {SERVICE}");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let mut command = curl();
        command.args([version, "--header", &bearer]).arg(gate.url("/free/page"));
        assert_eq!(succeed(&mut command), "a page of nginx", "{version}");
    }
    let mut command = h2load();
    command.args(["-n", "2000", "-c", "4", "-m", "20", "-H", &bearer]).arg(gate.url("/free/page"));
    let report = succeed(&mut command);
    assert!(report.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{report}");
    assert!(report.contains("2000 2xx"), "{report}");
}

#[test]
fn a_body_of_http_2_reaches_an_upstream_of_http_1() {
    let upstream = Upstream::start();
    let (home, gate) = start(&upstream);
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    std::fs::write(home.path("body"), &body).unwrap();
    let mut command = curl();
    command.args([
        "--http2-prior-knowledge",
        "--header",
        &format!("Authorization: Bearer {SERVICE}"),
    ]);
    command.args(["--header", "Cookie: a=1", "--header", "Cookie: b=2"]);
    command.arg("--data-binary").arg(format!("@{}", home.path("body").display()));
    assert_eq!(succeed(command.arg(gate.url(JOBS))), "ok");
    let seen = upstream.last();
    assert!(seen.body == body, "{} bytes", seen.body.len());
    assert_eq!(seen.header("host"), Some(gate.address().to_string().as_str()));
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
}

#[test]
fn a_unix_socket_can_be_an_upstream() {
    let home_folder = tempfile::tempdir().unwrap();
    let path = home_folder.path().join("upstream.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        let _ = stream.read(&mut bytes).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nunix").unwrap();
    });
    let mut home = Home::new();
    home.set("upstreams.api", "endpoints", &format!(r#"["unix:{}"]"#, path.display()));
    let gate = Gate::start(&home);
    assert_eq!(Connection::tcp(gate.address()).send(&free(JOBS)).text(), "unix");
}
