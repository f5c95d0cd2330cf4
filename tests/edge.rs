//! The edge: what is ambiguous is refused, and where requests come from.

use crate::support::gate::socket_path;
use crate::support::world::{FOREIGN, JOBS, NARROW, SERVICE};
use crate::support::{Connection, Gate, Home, Request, Upstream, gate_before_upstream};

fn start() -> (Home, Upstream, Gate) {
    gate_before_upstream(|_| {})
}

/// Sends exact bytes; the status of the answer, which must be the connection's last.
#[track_caller]
fn refused(gate: &Gate, bytes: &[u8]) -> u16 {
    let mut connection = gate.connect();
    connection.write(bytes);
    let shown = String::from_utf8_lossy(bytes);
    let response = connection.read_response(false).unwrap_or_else(|| panic!("no answer: {shown}"));
    assert!(connection.is_closed(), "the connection goes on after {shown}");
    response.status
}

#[test]
fn paths_that_two_parsers_could_read_differently_are_refused_and_never_forwarded() {
    let (_home, upstream, gate) = start();
    let paths = [
        "/free/./x",
        "/free/../x",
        "/free/x/..",
        "/free/x/.",
        "/free//x",
        "//free/x",
        "/free\\x",
        "/free/x;y",
        "/free/%zz",
        "/free/%4",
        "/free/%",
        "/free/%2e%2e/x",
        "/free/%2E/x",
        "/free/%41",
        "/free/%7e",
        "/free/a%2Fb",
        "/free/a%2fb",
        "/free/a%5Cb",
        "/free/a%5cb",
        "/free/a%00b",
        "/free/\u{e9}",
        "/free/x/%2e",
        "free/x",
        "*",
    ];
    for path in paths {
        let request = Request::get(path).token(SERVICE);
        assert_eq!(refused(&gate, &request.bytes()), 400, "{path}");
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

#[test]
fn canonical_encodings_are_forwarded_byte_for_byte() {
    let (_home, upstream, gate) = start();
    for path in [
        "/free/%20x",
        "/free/%C3%A9",
        "/free/%c3%a9",
        "/free/a%3Fb",
        "/free/a%25b",
        "/free/:@!$&'()*+,=~-._",
        "/free/..x",
        "/free/x..",
        "/free/.x",
    ] {
        assert_eq!(gate.status(path, SERVICE), 200, "{path}");
        assert_eq!(upstream.last().line, format!("GET {path} HTTP/1.1"));
    }
}

#[test]
fn path_forms_that_are_allowed_pass_to_routes_without_captures_only() {
    let (_home, upstream, gate) = gate_before_upstream(|home| {
        home.set("gate", "allow_in_path", r#"["//", ";", "%2F"]"#);
    });
    for path in ["/free/a//b", "/free/a;b", "/free/a%2Fb", "/free/a%2fb"] {
        assert_eq!(gate.status(path, SERVICE), 200, "{path}");
        assert_eq!(upstream.last().line, format!("GET {path} HTTP/1.1"));
    }
    let count = upstream.seen().len();
    for path in [
        "/free/a%5Cb",
        "/free/../b",
        "/api/v2/accounts/1/jobs/77;x/",
        "/api/v2/accounts/1/jobs/7%2F7/",
        "/api/v2/accounts/1//jobs/",
    ] {
        assert_eq!(gate.status(path, SERVICE) / 100, 4, "{path}");
    }
    assert_eq!(upstream.seen().len(), count);
}

#[test]
fn what_is_encoded_twice_reaches_no_capture() {
    let (_home, upstream, gate) = start();
    let twice = "/api/v2/accounts/1/jobs/%252e%252e/";
    assert_eq!(gate.status(twice, SERVICE), 400);
    assert_eq!(gate.status("/api/v2/accounts/%2531/jobs/", SERVICE), 400);
    assert!(upstream.seen().is_empty());
    assert_eq!(gate.status("/free/%252e", SERVICE), 200);
    assert_eq!(upstream.last().line, "GET /free/%252e HTTP/1.1");
}

#[test]
fn a_host_is_there_once_and_agrees_with_the_target() {
    let (_home, upstream, gate) = start();
    let head = format!("Authorization: Bearer {SERVICE}\r\n");
    let bad = [
        format!("GET /free/x HTTP/1.1\r\n{head}\r\n"),
        format!("GET /free/x HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n{head}\r\n"),
        format!("GET /free/x HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n{head}\r\n"),
        format!("GET /free/x HTTP/1.1\r\nHost: user@a.example\r\n{head}\r\n"),
        format!("GET /free/x HTTP/1.1\r\nHost: a.example, b.example\r\n{head}\r\n"),
        format!("GET /free/x HTTP/1.1\r\nHost: \r\n{head}\r\n"),
        format!("GET /free/x HTTP/1.1\r\nHost: a.example:80x\r\n{head}\r\n"),
        format!("GET /free/x HTTP/1.1\r\nHost: a.example:\r\n{head}\r\n"),
        format!("GET /free/x HTTP/1.1\r\nHost: [a.example]\r\n{head}\r\n"),
        format!("GET http://a.example/free/x HTTP/1.1\r\nHost: b.example\r\n{head}\r\n"),
        format!("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n{head}\r\n"),
        format!("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n{head}\r\n"),
    ];
    for request in &bad {
        assert_eq!(refused(&gate, request.as_bytes()), 400, "{request}");
    }
    assert!(upstream.seen().is_empty());
    let absolute =
        Request::get("http://a.example/free/x?y").token(SERVICE).header("Host", "A.example");
    assert_eq!(gate.send(&absolute).status, 200);
    assert_eq!(upstream.last().line, "GET /free/x?y HTTP/1.1");
}

#[test]
fn heads_that_cannot_be_read_in_one_way_are_refused_and_never_forwarded() {
    let (_home, upstream, gate) = start();
    let head =
        format!("POST /free/x HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer {SERVICE}\r\n");
    let chunked = "3\r\nabc\r\n0\r\n\r\n";
    let bad = [
        format!("{head}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        format!("{head}Content-Length: 3, 4\r\n\r\nabcd"),
        format!("{head}Content-Length: +3\r\n\r\nabc"),
        format!("{head}Content-Length: -1\r\n\r\n"),
        format!("{head}Content-Length: 0x3\r\n\r\nabc"),
        format!("{head}Content-Length: 99999999999999999999\r\n\r\nabc"),
        format!("{head}Transfer-Encoding: gzip, chunked\r\n\r\n{chunked}"),
        format!("{head}Transfer-Encoding: chunked, chunked\r\n\r\n{chunked}"),
        format!("{head}Transfer-Encoding: identity\r\n\r\n"),
        format!("{head}Transfer-Encoding: xchunked\r\n\r\n{chunked}"),
        format!("{head}Transfer-Encoding : chunked\r\n\r\n{chunked}"),
        format!("{head}X-A: b\r\n c\r\n\r\n"),
        format!("{head}X-A : b\r\n\r\n"),
        format!("{head} X-A: b\r\n\r\n"),
        format!("{head}X-A: b\0c\r\n\r\n"),
        format!("{head}X-A: b\rc\r\n\r\n"),
        format!("{head}No-Colon\r\n\r\n"),
        format!("{head}: empty\r\n\r\n"),
    ];
    for request in &bad {
        assert_eq!(refused(&gate, request.as_bytes()), 400, "{request:?}");
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

#[test]
fn broken_chunks_never_become_a_complete_request() {
    let (_home, upstream, gate) = start();
    let head = format!(
        "POST /free/x HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer {SERVICE}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    for body in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
    ] {
        let mut connection = gate.connect();
        connection.write(format!("{head}{body}").as_bytes());
        if let Some(response) = connection.read_response(false) {
            assert_eq!(response.status, 400, "{body:?}");
        }
        assert!(connection.is_closed(), "{body:?}");
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

#[test]
fn a_doubled_credential_is_refused_however_it_is_doubled() {
    let (_home, upstream, gate) = gate_before_upstream(|home| {
        home.set("gate", "credential_headers", r#"["x-api-key"]"#);
    });
    let both = [
        Request::get(JOBS).token(SERVICE).token(FOREIGN),
        Request::get(JOBS).token(SERVICE).header("x-api-key", SERVICE),
        Request::get(JOBS).header("x-api-key", SERVICE).header("X-Api-Key", SERVICE),
        Request::get(JOBS).header("x-api-key", SERVICE).header("authorization", ""),
    ];
    for request in &both {
        assert_eq!(gate.send(request).status, 401, "{request:?}");
    }
    gate.expect_decisions("multiple_credentials", 4.0);
    let comma = format!("Bearer {SERVICE}, Bearer {SERVICE}");
    assert_eq!(gate.send(&Request::get(JOBS).header("Authorization", &comma)).status, 401);
    let bearer = format!("Bearer {SERVICE}");
    assert_eq!(gate.send(&Request::get(JOBS).header("x-api-key", &bearer)).status, 401);
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_project_in_the_query_is_named_once_and_plainly() {
    let (_home, upstream, gate) = start();
    let cases = [
        (NARROW, "?project_id=10", 200),
        (NARROW, "?project_id=11", 403),
        (NARROW, "?other=1&project_id=10", 200),
        (NARROW, "", 403),
        (SERVICE, "", 200),
        (SERVICE, "?project_id=10", 200),
        (NARROW, "?project_id=10&project_id=10", 400),
        (NARROW, "?project_id=10&project_id=11", 400),
        (NARROW, "?project_id=1%30", 400),
        (NARROW, "?project%5Fid=10", 400),
        (NARROW, "?project_id=10&project%5fid=11", 400),
        (SERVICE, "?%70roject_id=11", 400),
    ];
    let mut passed = 0;
    for (token, query, status) in cases {
        let path = format!("/api/v2/accounts/1/search/{query}");
        assert_eq!(gate.status(&path, token), status, "{token} {query}");
        passed += usize::from(status == 200);
    }
    assert_eq!(upstream.seen().len(), passed);
}

/// The address that the upstream is told, or the status of the refusal.
fn told(gate: &Gate, upstream: &Upstream, fields: &[(&str, &str)]) -> Result<String, u16> {
    let mut request = Request::get("/me/").token(SERVICE);
    for (name, value) in fields {
        request = request.header(name, value);
    }
    let response = gate.send(&request);
    match response.status {
        200 => Ok(upstream.last().header("x-forwarded-for").unwrap().to_owned()),
        status => Err(status),
    }
}

#[test]
fn nobody_is_believed_about_addresses_unless_trusted() {
    let (_home, upstream, gate) = start();
    let fields = [("X-Forwarded-For", "9.9.9.9"), ("Forwarded", "for=8.8.8.8")];
    assert_eq!(told(&gate, &upstream, &fields), Ok("127.0.0.1".to_owned()));
    assert_eq!(
        told(&gate, &upstream, &[("X-Forwarded-For", "nonsense")]),
        Ok("127.0.0.1".to_owned())
    );
}

#[test]
fn x_forwarded_for_is_walked_from_the_right_through_trusted_proxies() {
    let (_home, upstream, gate) = gate_before_upstream(|home| {
        home.set("client_ip", "trusted_proxies", r#"["127.0.0.0/8", "10.0.0.0/8"]"#);
    });
    let cases: &[(&[&str], Result<&str, u16>)] = &[
        (&[], Ok("127.0.0.1")),
        (&["9.9.9.9"], Ok("9.9.9.9")),
        (&["9.9.9.9, 10.0.0.1"], Ok("9.9.9.9")),
        (&["1.1.1.1, 9.9.9.9, 10.0.0.1"], Ok("9.9.9.9")),
        (&["forged, 9.9.9.9"], Ok("9.9.9.9")),
        (&["1.1.1.1", "9.9.9.9, 10.0.0.2"], Ok("9.9.9.9")),
        (&["10.0.0.7, 10.0.0.1"], Ok("10.0.0.7")),
        (&["2001:db8::1"], Ok("2001:db8::1")),
        (&["::ffff:9.9.9.9"], Ok("9.9.9.9")),
        (&["nonsense"], Err(400)),
        (&["9.9.9.9, nonsense, 10.0.0.1"], Err(400)),
        (&["9.9.9.9, "], Err(400)),
        (&["unknown"], Err(400)),
    ];
    for (values, expected) in cases {
        let fields: Vec<_> = values.iter().map(|value| ("X-Forwarded-For", *value)).collect();
        let expected = expected.map(str::to_owned);
        assert_eq!(told(&gate, &upstream, &fields), expected, "{values:?}");
    }
}

#[test]
fn forwarded_is_walked_likewise_where_it_is_the_configured_header() {
    let (_home, upstream, gate) = gate_before_upstream(|home| {
        home.set("client_ip", "trusted_proxies", r#"["127.0.0.0/8", "10.0.0.0/8"]"#);
        home.set("client_ip", "header", r#""forwarded""#);
    });
    let cases = [
        ("for=9.9.9.9", Ok("9.9.9.9")),
        ("for=9.9.9.9;proto=https, for=10.0.0.1;by=10.0.0.2", Ok("9.9.9.9")),
        ("For=\"9.9.9.9:1234\"", Ok("9.9.9.9")),
        ("for=\"[2001:db8::1]:80\"", Ok("2001:db8::1")),
        ("proto=https", Err(400)),
        ("for=_hidden", Err(400)),
        ("for=unknown", Err(400)),
    ];
    for (value, expected) in cases {
        let fields = [("Forwarded", value), ("X-Forwarded-For", "1.1.1.1")];
        assert_eq!(told(&gate, &upstream, &fields), expected.map(str::to_owned), "{value}");
    }
}

#[test]
fn ip_rules_judge_the_address_that_trusted_proxies_tell() {
    let (home, _upstream, gate) = gate_before_upstream(|home| {
        home.set("client_ip", "trusted_proxies", r#"["127.0.0.0/8"]"#);
    });
    home.run(&["ip-rule", "allow", "--account", "1", "9.9.9.0/24"]);
    home.run(&["ip-rule", "enable", "--account", "1"]);
    let ask = |address: &str| {
        gate.send(&Request::get("/me/").token(SERVICE).header("X-Forwarded-For", address)).status
    };
    crate::support::eventually("the rules are in force", || (ask("8.8.8.8") == 403).then_some(()));
    assert_eq!([ask("9.9.9.9"), ask("9.9.9.9, 8.8.8.8"), ask("::ffff:9.9.9.1")], [200, 403, 200]);
}

#[test]
fn on_a_unix_socket_the_address_is_unknown_and_enabled_rules_deny_it() {
    let (home, upstream, gate) = gate_before_upstream(|home| {
        let socket = socket_path(home);
        home.set("gate", "listen", &format!(r#"["127.0.0.1:0", "unix:{}"]"#, socket.display()));
        home.run(&["ip-rule", "allow", "--account", "2", "0.0.0.0/0", "::/0"]);
        home.run(&["ip-rule", "enable", "--account", "2"]);
    });
    let mut connection = Connection::unix(&socket_path(&home));
    let response =
        connection.send(&Request::get("/me/").token(SERVICE).header("X-Forwarded-For", "9.9.9.9"));
    assert_eq!(response.status, 200);
    assert_eq!(upstream.last().header("x-forwarded-for"), None);
    assert_eq!(connection.send(&Request::get("/me/").token(FOREIGN)).status, 403);
    assert_eq!(gate.status("/me/", FOREIGN), 200);
    gate.expect_one_decision("ip_denied");
}
