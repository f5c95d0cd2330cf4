//! What callers are told, byte for byte.

use std::process::Command;

use crate::support::tools::{curl, succeed};
use crate::support::upstream::closed_port;
use crate::support::world::{FOREIGN, JOBS, PERSONAL, READER, SERVICE};
use crate::support::{Gate, Home, Request, Response, Upstream};

const INVALID_TOKEN: &str = r#"{"status":{"code":401,"is_success":false,"user_message":"Invalid token.","developer_message":null},"data":null}"#;
const NOT_SCOPED: &str = r#"{"status":{"code":403,"is_success":false,"user_message":"Access denied: Token is not scoped to account.","developer_message":null},"data":null}"#;
const NO_PERMISSION: &str = r#"{"status":{"code":403,"is_success":false,"user_message":"Forbidden: You do not have permission to access this resource.","developer_message":null},"data":null}"#;
const CONCEALED: &str = r#"{"status":{"code":404,"is_success":false,"user_message":"The requested resource was not found. Please check that you have the proper permissions.","developer_message":null},"data":null}"#;

fn plain(code: u16, message: &str) -> String {
    format!(
        r#"{{"status":{{"code":{code},"is_success":false,"user_message":"{message}","developer_message":null}},"data":null}}"#
    )
}

fn start() -> (Home, Gate) {
    let home = Home::new();
    let gate = Gate::start(&home);
    (home, gate)
}

#[track_caller]
fn assert_answer(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status, response.text()), (status, body));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("content-type"), Some("application/json"));
    let id = response.header("x-portcullis-decision-id").unwrap();
    assert!(!id.is_empty());
}

#[test]
fn every_401_has_the_same_body_and_a_challenge() {
    let (_home, gate) = start();
    let missing = gate.send(&Request::get(JOBS));
    assert_answer(&missing, 401, INVALID_TOKEN);
    assert_eq!(missing.header("www-authenticate"), Some(r#"Bearer realm="portcullis""#));

    let basic =
        gate.send(&Request::get(JOBS).header("Authorization", "Basic abcdefghijklmnopqrst"));
    assert_answer(&basic, 401, INVALID_TOKEN);
    assert_eq!(basic.header("www-authenticate"), Some(r#"Bearer realm="portcullis""#));

    for scheme in ["Bearer", "Token"] {
        let value = format!("{scheme} a-token-that-nobody-has");
        let unknown = gate.send(&Request::get(JOBS).header("Authorization", &value));
        assert_answer(&unknown, 401, INVALID_TOKEN);
        assert_eq!(
            unknown.header("www-authenticate"),
            Some(r#"Bearer realm="portcullis", error="invalid_token""#)
        );
    }
}

#[test]
fn bodies_of_403_say_which_kind_of_denial_it_is() {
    let (_home, gate) = start();
    assert_answer(&gate.get("/api/v2/accounts/1/jobs/", FOREIGN), 403, NOT_SCOPED);
    assert_answer(&gate.get("/no/such/route", SERVICE), 403, NO_PERMISSION);
    let no_permission = gate.send(&Request::new("POST", JOBS).token(READER));
    assert_answer(&no_permission, 403, NO_PERMISSION);
    assert_eq!(no_permission.header("www-authenticate"), None);
}

#[test]
fn the_body_of_a_denial_by_address_says_whose_token_it_was() {
    let home = Home::new();
    home.run(&["ip-rule", "deny", "--account", "1", "127.0.0.0/8"]);
    home.run(&["ip-rule", "enable", "--account", "1"]);
    let gate = Gate::start(&home);
    assert_answer(
        &gate.get(JOBS, SERVICE),
        403,
        r#"{"status":{"code":403,"is_success":false,"user_message":"Forbidden: Access denied","developer_message":null},"data":{"account_id":1,"user_id":null,"is_service_token":true,"account_access_denied":true}}"#,
    );
    assert_answer(
        &gate.get(JOBS, PERSONAL),
        403,
        r#"{"status":{"code":403,"is_success":false,"user_message":"Forbidden: Access denied","developer_message":null},"data":{"account_id":1,"user_id":7,"is_service_token":false,"account_access_denied":true}}"#,
    );
}

#[test]
fn concealed_missing_permissions_look_like_missing_resources_and_nothing_else_does() {
    let mut home = Home::new();
    home.set("gate", "conceal", "true");
    let gate = Gate::start(&home);
    assert_answer(&gate.send(&Request::new("POST", JOBS).token(READER)), 404, CONCEALED);
    assert_answer(&gate.get("/no/such/route", SERVICE), 403, NO_PERMISSION);
    assert_answer(&gate.get(JOBS, FOREIGN), 403, NOT_SCOPED);
}

#[test]
fn errors_of_transport_have_the_envelope_too() {
    let mut home = Home::new();
    home.forward_to(closed_port()).set("limits", "body_bytes", "10");
    let gate = Gate::start(&home);
    assert_answer(&gate.send(&Request::get("/a//b")), 400, &plain(400, "Bad request."));
    assert_answer(&gate.get(JOBS, SERVICE), 502, &plain(502, "Bad gateway."));
    let large = Request::new("POST", JOBS).token(SERVICE).body(b"more than ten bytes");
    assert_answer(&gate.send(&large), 413, &plain(413, "Request body too large."));
}

#[test]
fn a_head_has_no_body_but_the_same_length() {
    let (_home, gate) = start();
    let head = gate.send(&Request::new("HEAD", JOBS));
    assert_eq!((head.status, head.body.len()), (401, 0));
    assert_eq!(head.header("content-length"), Some(INVALID_TOKEN.len().to_string().as_str()));
}

#[test]
fn problem_details_are_given_where_they_are_asked_for() {
    let (_home, gate) = start();
    let ask = |request: Request| gate.send(&request.header("Accept", "application/problem+json"));
    for (request, status, title, detail) in [
        (Request::get(JOBS), 401, "Unauthorized", "Invalid token."),
        (
            Request::get("/no/such/route").token(SERVICE),
            403,
            "Forbidden",
            "Forbidden: You do not have permission to access this resource.",
        ),
        (Request::get("/a/../b"), 400, "Bad Request", "Bad request."),
        (Request::get(JOBS).token(SERVICE), 502, "Bad Gateway", "Bad gateway."),
    ] {
        let response = ask(request);
        let id = response.header("x-portcullis-decision-id").unwrap();
        let expected = format!(
            r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}","decision_id":"{id}"}}"#
        );
        assert_eq!((response.status, response.text()), (status, expected.as_str()));
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
}

/// A gRPC call over HTTP/2 without TLS; what curl shows of the head.
fn call(gate: &Gate, path: &str, arguments: &[&str]) -> String {
    let mut command: Command = curl();
    command.args(["--http2-prior-knowledge", "--include", "--request", "POST"]);
    command.args(["--header", "Content-Type: application/grpc", "--data-binary", "x"]);
    succeed(command.args(arguments).arg(gate.url(path)))
}

#[test]
fn grpc_calls_get_their_status_in_a_trailers_only_response() {
    let mut home = Home::new();
    home.set("gate", "conceal", "true");
    let gate = Gate::start(&home);
    let bearer = format!("Authorization: Bearer {SERVICE}");
    let unauthenticated = call(&gate, "/grpc.Service/Call", &[]);
    assert!(unauthenticated.starts_with("HTTP/2 200"), "{unauthenticated}");
    assert!(unauthenticated.contains("grpc-status: 16"), "{unauthenticated}");
    assert!(unauthenticated.contains("content-type: application/grpc"), "{unauthenticated}");
    assert!(unauthenticated.ends_with("\r\n\r\n"), "no body: {unauthenticated}");
    let cases = [
        ("/grpc.Service/Call", "grpc-status: 5"),
        ("/grpc.Other/Call", "grpc-status: 7"),
        ("/grpc.Service//Call", "grpc-status: 13"),
        ("/open/anything", "grpc-status: 14"),
    ];
    for (path, expected) in cases {
        let answer = call(&gate, path, &["--header", &bearer]);
        assert!(answer.starts_with("HTTP/2 200"), "{path}: {answer}");
        assert!(answer.contains(expected), "{path}: {answer}");
        assert!(answer.contains("x-portcullis-decision-id: "), "{path}: {answer}");
    }
}

#[test]
fn unavailable_says_when_to_come_back() {
    let upstream = Upstream::start();
    let mut home = Home::new();
    home.forward_to(upstream.address());
    let store = rusqlite::Connection::open(home.path("portcullis.db")).unwrap();
    store.execute("UPDATE accounts SET plan = 'nonsense' WHERE id = 2", []).unwrap();
    let gate = Gate::launch(&home, &[]);
    let response = gate.get(JOBS, SERVICE);
    assert_answer(&response, 503, &plain(503, "Service unavailable."));
    assert_eq!(response.header("retry-after"), Some("1"));
}
