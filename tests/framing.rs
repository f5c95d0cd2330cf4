//! Messages of HTTP/1 that two parsers could read in two ways, over raw sockets: each is refused
//! with the documented answer and the connection closed, or arrives as one request.

use crate::support::world::SERVICE;
use crate::support::{Connection, Gate, Home, Response, Upstream, gate_before_upstream};

const BAD_REQUEST: &str = r#"{"status":{"code":400,"is_success":false,"user_message":"Bad request.","developer_message":null},"data":null}"#;
const HEAD_TOO_LARGE: &str = r#"{"status":{"code":431,"is_success":false,"user_message":"Request headers too large.","developer_message":null},"data":null}"#;

fn start() -> (Home, Upstream, Gate) {
    gate_before_upstream(|_| {})
}

/// A head with a valid credential and these lines, without the empty line at its end.
fn head(line: &str, fields: &str) -> String {
    format!("{line}\r\nHost: a.example\r\nAuthorization: Bearer {SERVICE}\r\n{fields}")
}

/// A request without a body that is let through.
fn plain() -> String {
    head("GET /free/plain HTTP/1.1", "\r\n")
}

/// What is answered to these bytes, on a connection that is closed after it.
#[track_caller]
fn last_answer(connection: &mut Connection, shown: &str) -> Response {
    let response = connection.read_response(false);
    let response = response.unwrap_or_else(|| panic!("no answer to {shown:?}"));
    assert!(connection.is_closed(), "the connection goes on after {shown:?}");
    response
}

#[track_caller]
fn assert_bad_request(response: &Response, shown: &str) {
    assert_eq!(response.status, 400, "{shown:?}");
    assert_eq!(response.text(), BAD_REQUEST, "{shown:?}");
    assert_eq!(response.header("connection"), Some("close"), "{shown:?}");
    assert_eq!(response.header("cache-control"), Some("no-store"), "{shown:?}");
    assert_eq!(response.header("content-type"), Some("application/json"), "{shown:?}");
    assert!(response.header("x-portcullis-decision-id").is_some(), "{shown:?}");
}

/// Sends each on a connection of its own, with another request behind it: neither arrives.
#[track_caller]
fn assert_all_refused(requests: impl IntoIterator<Item = Vec<u8>>) {
    let (_home, upstream, gate) = start();
    let mut count = 0;
    for request in requests {
        let shown = String::from_utf8_lossy(&request).into_owned();
        let mut connection = gate.connect();
        connection.write(&[&request[..], plain().as_bytes()].concat());
        assert_bad_request(&last_answer(&mut connection, &shown), &shown);
        count += 1;
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    gate.expect_decisions("bad_request", f64::from(count));
}

fn with_fields(fields: &str, body: &str) -> Vec<u8> {
    format!("{}\r\n{body}", head("POST /free/x HTTP/1.1", fields)).into_bytes()
}

#[test]
fn a_length_said_in_two_ways_is_refused() {
    let fields = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nX: y\r\ncontent-length: 0\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 05\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 5e0\r\n",
        "Content-Length: five\r\n",
        "Content-Length: \r\n",
        "Content-Length: 5;\r\n",
        "Content-Length: \"5\"\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length: \u{665}\r\n",
        "Content-Length:\u{b}5\r\n",
        "Content-Length:\u{a0}5\r\n",
    ];
    assert_all_refused(fields.map(|fields| with_fields(fields, "0\r\n\r\n")));
}

#[test]
fn a_transfer_encoding_that_is_not_plainly_chunked_is_refused() {
    let values = [
        " gzip, chunked",
        " chunked, gzip",
        " chunked, identity",
        " identity",
        " identity, chunked",
        " chunked, chunked",
        " chunked,",
        " ,chunked",
        " chunked;q=1",
        " chunked; a",
        " \"chunked\"",
        " 'chunked'",
        " xchunked",
        " chunkedx",
        " chunk",
        " chunked chunked",
        " cow",
        "",
        " ",
        " \u{b}chunked",
        " \u{c}chunked",
        " \u{a0}chunked",
        " chunked\0",
        " chunked\u{1}",
        " chunKed\u{212a}",
        " ch\u{dc}nked",
        " [chunked]",
        " chunked\r\nTransfer-Encoding: chunked",
        " chunked\r\nTransfer-Encoding: identity",
        " identity\r\nTransfer-Encoding: chunked",
        " x\r\nTransfer-Encoding: chunked",
    ];
    let request = |value: &str| {
        with_fields(&format!("Transfer-Encoding:{value}\r\n"), "3\r\nabc\r\n0\r\n\r\n")
    };
    let old = head("POST /free/x HTTP/1.0", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_all_refused(values.map(request).into_iter().chain([old.into_bytes()]));
}

#[test]
fn lines_that_end_or_begin_in_another_way_are_refused() {
    let fields = [
        "X: y\n",
        "X: y\nContent-Length: 5\r\n",
        "\nX: y\r\n",
        "X: y\r\r\n",
        "X: y\rContent-Length: 5\r\n",
        "X: y\rz\r\n",
        "X: y\r\n z\r\n",
        "X: y\r\n\tz\r\n",
        "X: y\r\n \r\n",
        "X:\r\n y\r\n",
        " X: y\r\n",
        "\tX: y\r\n",
        "X : y\r\n",
        "X\t: y\r\n",
        "Content-Length : 5\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding\u{b}: chunked\r\n",
        "Transfer-Encoding\u{a0}: chunked\r\n",
        "Transfer-Encoding\0: chunked\r\n",
        "Transfer-Encoding\r\n : chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
        "X: y\0z\r\n",
        "X: y\u{1}z\r\n",
        "X: y\u{7f}z\r\n",
        "X\r\n",
        ": y\r\n",
        "X Y: z\r\n",
        "X(: y\r\n",
        "X,Y: z\r\n",
        "X=Y\r\n",
        "\u{e9}: y\r\n",
        "\0X: y\r\n",
    ];
    let requests = fields.map(|fields| with_fields(fields, ""));
    let bare = [
        format!("GET /free/x HTTP/1.1\nHost: a\nAuthorization: Bearer {SERVICE}\n\n"),
        format!("GET /free/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SERVICE}\r\n\n"),
        format!("\n{}", plain()),
        format!("\r\n\r\n{}", plain()),
        format!(" {}", plain()),
        format!("\0{}", plain()),
    ];
    assert_all_refused(requests.into_iter().chain(bare.map(String::into_bytes)));
}

#[test]
fn a_request_line_of_another_form_is_refused() {
    let lines = [
        "GET /free/x",
        "GET /free/x HTTP/0.9",
        "GET /free/x HTTP/1.2",
        "GET /free/x HTTP/2.0",
        "GET /free/x HTTP/11",
        "GET /free/x HTTP/1.10",
        "GET /free/x HTTP/1.1 ",
        "GET /free/x http/1.1",
        "GET /free/x HTTPS/1.1",
        "GET /free/x ICAP/1.1",
        "GET  /free/x HTTP/1.1",
        "GET /free/x  HTTP/1.1",
        "GET\t/free/x HTTP/1.1",
        "GET /free/x\tHTTP/1.1",
        "GET /free/x y HTTP/1.1",
        "GET /free/x HTTP/1.1 HTTP/1.1",
        "G ET /free/x HTTP/1.1",
        "GE\u{a0}T /free/x HTTP/1.1",
        "GET: /free/x HTTP/1.1",
        "\"GET\" /free/x HTTP/1.1",
        "GET",
        " ",
        "GET free/x HTTP/1.1",
        "GET ?x HTTP/1.1",
        "GET * HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET /free/x#y HTTP/1.1",
        "GET /free/x?y#z HTTP/1.1",
        "GET #/free/x HTTP/1.1",
        "GET /free/\u{e9} HTTP/1.1",
        "GET /free/x?\u{e9} HTTP/1.1",
        "GET /free/x?\u{1}y HTTP/1.1",
        "GET /free/<x> HTTP/1.1",
        "GET a.example:80 HTTP/1.1",
        "CONNECT a.example:443 HTTP/1.1",
        "CONNECT /free/x HTTP/1.1",
        "GET ftp://a.example/free/x HTTP/1.1",
        "GET file:///free/x HTTP/1.1",
        "GET http:/free/x HTTP/1.1",
        "GET http:///free/x HTTP/1.1",
        "GET http://a.example HTTP/1.1",
        "GET http://a.example?x HTTP/1.1",
        "GET http://b.example/free/x HTTP/1.1",
        "GET http://u@a.example/free/x HTTP/1.1",
        "GET http://a.example@b.example/free/x HTTP/1.1",
        "GET http://a.example\\free/x HTTP/1.1",
        "PRI * HTTP/2.0",
    ];
    assert_all_refused(lines.map(|line| head(line, "\r\n").into_bytes()));
}

#[test]
fn what_begins_with_no_request_at_all_is_closed_without_an_answer() {
    let (_home, upstream, gate) = start();
    let mut connection = gate.connect();
    let foreign = format!("INVALID CONNECTION PREFACE\r\n\r\n{}", plain());
    connection.write(foreign.as_bytes());
    assert!(connection.read_response(false).is_none());
    assert!(connection.is_closed());
    assert!(upstream.seen().is_empty());
}

#[test]
fn broken_chunks_are_answered_and_never_become_a_complete_request() {
    let (_home, upstream, gate) = start();
    let head = head("POST /free/x HTTP/1.1", "Transfer-Encoding: chunked\r\n\r\n");
    for body in [
        "x\r\n",
        "\r\n",
        "-1\r\na\r\n0\r\n\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "1_0\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "2\r\na\r\n0\r\n\r\n",
        "1;x\ny\r\na\r\n0\r\n\r\n",
        "1;x\ry\r\na\r\n0\r\n\r\n",
        "1;x\0y\r\na\r\n0\r\n\r\n",
        "10000000000000001\r\na\r\n0\r\n\r\n",
        "fffffffffffffffff\r\na\r\n0\r\n\r\n",
        "1\r\na\r\n0\n\n",
        "1\r\na\r\n0\r\n\n",
        "1\r\na\r\n0\r\nX : y\r\n\r\n",
        "1\r\na\r\n0\r\nX: y\n\r\n",
        "1\r\na\r\n0\r\nX: y\r\n z\r\n\r\n",
        "1\r\na\r\n0\r\nX\r\n\r\n",
        "1\r\na\r\n0\r\n\0: x\r\n\r\n",
    ] {
        let mut connection = gate.connect();
        connection.write(format!("{head}{body}{}", plain()).as_bytes());
        let response = last_answer(&mut connection, body);
        assert_eq!((response.status, response.text()), (400, BAD_REQUEST), "{body:?}");
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    assert_eq!(gate.send(&crate::support::Request::get("/free/x").token(SERVICE)).text(), "ok");
}

#[test]
fn what_is_unusual_and_plain_arrives_as_one_request_and_so_does_the_next() {
    let (_home, upstream, gate) = start();
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let cases = [
        (head("GET /free/x HTTP/1.1", "Content-Length: 3\r\n\r\nabc"), "abc"),
        (head("GET /free/x HTTP/1.1", &format!("{chunked}3\r\nabc\r\n0\r\n\r\n")), "abc"),
        (
            head("POST /free/x HTTP/1.1", &format!("{chunked}0003;a=\"b\"\r\nabc\r\n00\r\n\r\n")),
            "abc",
        ),
        (head("POST /free/x HTTP/1.1", &format!("{chunked}0\r\nX: y\r\n\r\n")), ""),
        (head("POST /free/x HTTP/1.1", "content-length:3\r\n\r\nabc"), "abc"),
        (
            head(
                "POST /free/x HTTP/1.1",
                "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            ),
            "0\r\n\r\n",
        ),
        (head("POST /free/x HTTP/1.1", "Content_Length: 9\r\nContent-Length: 3\r\n\r\nabc"), "abc"),
        (
            head(
                "POST /free/x HTTP/1.1",
                "Connection: content-length\r\nContent-Length: 3\r\n\r\nabc",
            ),
            "abc",
        ),
        (
            head(
                "POST /free/x HTTP/1.1",
                "Connection: transfer-encoding\r\nContent-Length: 3\r\n\r\nabc",
            ),
            "abc",
        ),
        (head("POST /free/x HTTP/1.1", "X: a\u{e9}b \t\r\nY:\r\n\r\n"), ""),
        (format!("\r\n{}", head("GET /free/x HTTP/1.1", "\r\n")), ""),
        (head("BREW /free/x HTTP/1.1", "\r\n"), ""),
        (head("GET http://a.example/free/x HTTP/1.1", "\r\n"), ""),
    ];
    for (number, (request, body)) in cases.iter().enumerate() {
        let mut connection = gate.connect();
        connection.write(format!("{request}{}", plain()).as_bytes());
        for _ in 0..2 {
            assert_eq!(connection.response().text(), "ok", "{request}");
        }
        let seen = upstream.seen();
        assert_eq!(seen.len(), 2 * number + 2, "{request}");
        assert_eq!(seen[2 * number].body, body.as_bytes(), "{request}");
        assert_eq!(seen[2 * number + 1].line, "GET /free/plain HTTP/1.1", "{request}");
    }
}

#[test]
fn requests_before_a_refused_one_are_answered_first_and_none_after_it() {
    let (_home, upstream, gate) = start();
    let bad = with_fields("X : y\r\n", "");
    let mut connection = gate.connect();
    connection.write(&[plain().as_bytes(), plain().as_bytes(), &bad, plain().as_bytes()].concat());
    assert_eq!(connection.response().text(), "ok");
    assert_eq!(connection.response().text(), "ok");
    assert_bad_request(&last_answer(&mut connection, "the bad one"), "the bad one");
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_head_is_judged_alike_however_it_is_cut_up() {
    let (_home, upstream, gate) = start();
    let good = head("POST /free/x HTTP/1.1", "Content-Length: 3\r\n\r\nabc");
    let bad = with_fields("X: y\nContent-Length: 3\r\n", "abc");
    for (bytes, status) in [(good.as_bytes(), 200), (&bad[..], 400)] {
        let mut connection = gate.connect();
        for byte in bytes.chunks(7) {
            // What is refused is refused before its end.
            let _ = connection.try_write(byte);
        }
        assert_eq!(connection.response().status, status);
    }
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(upstream.last().body, b"abc");
}

#[test]
fn a_client_that_goes_on_sending_still_reads_the_refusal() {
    let (_home, upstream, gate) = start();
    let bad = with_fields("X : y\r\n", &"x".repeat(3_000_000));
    let mut connection = gate.connect();
    connection.write(&bad);
    assert_bad_request(&connection.response(), "the bad one");
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_head_over_the_limits_is_431_with_a_body() {
    let (_home, upstream, gate) = gate_before_upstream(|home| {
        home.set("limits", "header_bytes", "4096").set("limits", "headers", "20");
    });
    let large = format!("X: {}\r\n", "x".repeat(4096));
    let endless = "x".repeat(4096);
    for fields in [&large, &endless, &"a: b\r\n".repeat(19)] {
        let mut connection = gate.connect();
        connection.write(&with_fields(fields, ""));
        let response = last_answer(&mut connection, "a large one");
        assert_eq!((response.status, response.text()), (431, HEAD_TOO_LARGE));
    }
    assert!(upstream.seen().is_empty());
    assert_eq!(gate.send(&crate::support::Request::get("/free/x").token(SERVICE)).status, 200);
}

#[test]
fn a_client_that_waits_is_told_to_go_on_only_when_its_request_was_let_through() {
    let (_home, upstream, gate) = start();
    let expects = "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut denied = gate.connect();
    denied.write(format!("POST /free/x HTTP/1.1\r\nHost: a.example\r\n{expects}").as_bytes());
    assert_eq!(denied.response().status, 401);
    let mut allowed = gate.connect();
    allowed.write(head("POST /free/x HTTP/1.1", expects).as_bytes());
    assert_eq!(allowed.response().status, 100);
    allowed.write(b"abc");
    assert_eq!(allowed.response().status, 200);
    assert_eq!(upstream.last().body, b"abc");
    assert_eq!(upstream.last().header("expect"), None);
}
