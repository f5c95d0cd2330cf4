//! The management API's listener towards clients that mean no good: what two parsers could read in
//! two ways is refused as at the gate, and whoever is silent loses the connection.

use serde_json::json;

use crate::support::{Authority, Connection, Control, Home};

/// A call that makes a token, with these lines in its head.
fn creation(control: &Control, name: &str, fields: &str, body: &str) -> String {
    let token = &control.admin;
    format!(
        "POST /api/v3/accounts/1/service-tokens/ HTTP/1.1\r\nHost: {name}\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\n{fields}\r\n{body}"
    )
}

#[test]
fn what_two_parsers_could_read_differently_is_refused_and_nothing_of_it_carried_out() {
    let control = Control::new();
    let grants = json!([{ "permission_set": "readonly" }]);
    let body = json!({ "name": "smuggled", "permission_grants": grants }).to_string();
    let length = format!("Content-Length: {}\r\n", body.len());
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let with = |fields: &str, body: &str| creation(&control, "a.example", fields, body);
    for request in [
        with(&format!("{length}Transfer-Encoding: chunked\r\n"), &chunked),
        with(&format!("{length}Content-Length: 1\r\n"), &body),
        with(&format!("X: a\n{length}"), &body),
        with(&format!("X : a\r\n{length}"), &body),
        creation(&control, "a.example\r\nHost: b.example", &length, &body),
        with("Transfer-Encoding: chunked, gzip\r\n", &chunked),
    ] {
        let mut connection = Connection::tcp(control.gate.control_address());
        connection.write(request.as_bytes());
        let refused = connection.response();
        assert_eq!(
            (refused.status, refused.header("connection")),
            (400, Some("close")),
            "{request}"
        );
        assert!(connection.is_closed(), "{request}");
    }
    let made = control.get("1/service-tokens/").text().contains("smuggled");
    assert!(!made, "a token was made by a request that was refused");
    let mut connection = Connection::tcp(control.gate.control_address());
    connection.write(with(&length, &body).as_bytes());
    assert_eq!(connection.response().status, 201, "in one way it is carried out");
}

#[test]
fn a_head_that_is_too_large_is_refused_with_the_documented_answer() {
    let control = Control::new();
    for fields in ["X: ".to_owned() + &"a".repeat(70_000) + "\r\n", "X: a\r\n".repeat(101)] {
        let mut connection = Connection::tcp(control.gate.control_address());
        connection.write(creation(&control, "a.example", &fields, "").as_bytes());
        let refused = connection.response();
        assert_eq!(refused.status, 431, "{refused:?}");
        assert_eq!(refused.json()["status"]["user_message"], "Request headers too large.");
        assert!(connection.is_closed());
    }
}

#[test]
fn whoever_begins_a_handshake_or_a_head_and_falls_silent_loses_the_connection() {
    let mut home = Home::new();
    let authority = Authority::new(home.folder(), "authority");
    authority.issue("control", "control", "IP:127.0.0.1");
    let plain = Control::new();
    home.set("control", "tls", r#"{ certificate = "control.crt", key = "control.key" }"#);
    let tls = Control::in_home(home);
    let mut silent = [
        Connection::tcp(plain.gate.control_address()),
        Connection::tcp(plain.gate.control_address()),
        Connection::tcp(tls.gate.control_address()),
    ];
    silent[1].write(b"GET /openapi.json HTTP/1.1\r\nHost: a.ex");
    silent[2].write(b"\x16\x03\x01");
    for connection in &mut silent {
        assert!(connection.is_closed());
    }
}
