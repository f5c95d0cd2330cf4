//! Connections that go on in another protocol: WebSocket with the package `websockets` at both
//! ends, others over raw sockets.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::tools::succeed;
use crate::support::upstream::read_request;
use crate::support::world::SERVICE;
use crate::support::{Connection, Gate, Home, Peer, Request, Upstream, fixture};

/// A WebSocket server.
struct Server(Peer);

impl Server {
    fn start() -> Self {
        Self(Peer::start(peer(&["serve"])))
    }

    fn gate(&self) -> (Home, Gate) {
        let mut home = Home::new();
        home.forward_to(self.0.address());
        let gate = Gate::start(&home);
        (home, gate)
    }
}

fn peer(arguments: &[&str]) -> Command {
    let mut command = fixture("websocket.py");
    command.args(arguments);
    command
}

fn port(gate: &Gate) -> String {
    gate.address().port().to_string()
}

#[test]
fn messages_of_every_size_pass_both_ways() {
    let server = Server::start();
    let (_home, gate) = server.gate();
    assert_eq!(succeed(&mut peer(&["echo", &port(&gate), SERVICE])).trim(), "14");
}

#[test]
fn who_may_not_pass_gets_an_answer_of_http() {
    let server = Server::start();
    let (_home, gate) = server.gate();
    let answer = succeed(&mut peer(&["echo", &port(&gate), "no-such-token-at-all"]));
    assert_eq!(answer.trim(), "refused 401");
}

/// A client that waits on an open WebSocket, and what it says from then on.
fn waiting(gate: &Gate, token: &str, path: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    gate.wait_in_force(token);
    let mut command = peer(&["wait", &port(gate), token, path]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "open");
    (child, lines)
}

#[test]
fn a_websocket_gets_a_close_frame_when_its_token_is_revoked() {
    let server = Server::start();
    let (home, gate) = server.gate();
    // Silent, and in the middle of one frame after another.
    for path in ["/free/silent", "/free/talking"] {
        let (id, token) = home.make_token(&["--grant", "job_admin"]);
        let (mut child, mut lines) = waiting(&gate, &token, path);
        home.run(&["token", "revoke", &id.to_string()]);
        let began = Instant::now();
        assert_eq!(lines.next().unwrap().unwrap(), "1008 Invalid token.", "{path}");
        assert!(began.elapsed() < Duration::from_secs(1), "{path}: {:?}", began.elapsed());
        child.wait().unwrap();
    }
}

#[test]
fn a_websocket_gets_a_close_frame_when_its_token_expires_or_ip_rules_exclude_it() {
    let server = Server::start();
    let (home, gate) = server.gate();
    let made = Instant::now();
    let (_, token) = home.make_token(&["--grant", "job_admin", "--expires", "5s"]);
    let (mut expiring, mut lines) = waiting(&gate, &token, "/free/silent");
    assert_eq!(lines.next().unwrap().unwrap(), "1008 Invalid token.");
    let lasted = made.elapsed();
    assert!(lasted > Duration::from_secs(3) && lasted < Duration::from_secs(7), "{lasted:?}");
    expiring.wait().unwrap();

    let (_, token) = home.make_token(&["--grant", "job_admin"]);
    let (mut excluded, mut lines) = waiting(&gate, &token, "/free/silent");
    home.run(&["ip-rule", "allow", "--account", "1", "192.0.2.0/24"]);
    home.run(&["ip-rule", "enable", "--account", "1"]);
    let began = Instant::now();
    let closed = lines.next().unwrap().unwrap();
    assert!(closed.starts_with("1008 ") && !closed.contains("Invalid token"), "{closed}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    excluded.wait().unwrap();
}

/// An upstream that switches to whatever it is asked for, and then gives every byte back.
fn echo() -> Upstream {
    Upstream::raw(|mut stream| {
        let mut buffer = Vec::new();
        let Some(seen) = read_request(&mut stream, &mut buffer) else { return };
        assert!(buffer.is_empty(), "there were bytes before the answer: {buffer:?}");
        let protocol = seen.header("upgrade").unwrap_or("none");
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\
             X-Portcullis-Token-Id: 9\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..count]).unwrap();
        }
    })
}

fn start(upstream: &Upstream) -> (Home, Gate) {
    let mut home = Home::new();
    home.forward_to(upstream.address());
    let gate = Gate::start(&home);
    (home, gate)
}

fn asking(protocol: &str) -> Request {
    Request::get("/free/x")
        .token(SERVICE)
        .header("Connection", "Upgrade")
        .header("Upgrade", protocol)
}

#[test]
fn another_protocol_passes_once_the_upstream_has_switched_and_not_a_byte_before() {
    let upstream = echo();
    let (_home, gate) = start(&upstream);
    let mut connection = gate.connect();
    // What looks like a request is none here.
    let early = b"GET / HTTP/1.1\n\n";
    connection.write(&[&asking("odd/1").bytes()[..], early].concat());
    let response = connection.response();
    assert_eq!(response.status, 101);
    assert_eq!(response.header("upgrade"), Some("odd/1"));
    assert_eq!(response.header("connection"), Some("upgrade"));
    assert_eq!(response.header("x-portcullis-token-id"), None);
    assert_eq!(connection.take(early.len()), early);
    for size in [1, 1000, 100_000] {
        connection.write(&vec![7; size]);
        assert_eq!(connection.take(size), vec![7; size]);
    }
}

#[test]
fn http_2_is_never_switched_to_and_an_answer_without_a_switch_leaves_http() {
    let upstream = Upstream::start();
    let (_home, gate) = start(&upstream);
    for protocol in ["h2c", "HTTP/2.0", "websocket, h2c", "odd"] {
        let mut connection = gate.connect();
        // The next request waits for the answer, and is one all the same.
        let next = Request::get("/free/next").token(SERVICE);
        connection.write(&[asking(protocol).bytes(), next.bytes()].concat());
        assert_eq!([connection.response().status, connection.response().status], [200, 200]);
        let seen = upstream.seen();
        let asked = &seen[seen.len() - 2];
        assert_eq!(asked.header("upgrade"), (protocol == "odd").then_some("odd"), "{protocol}");
        assert_eq!(upstream.last().line, "GET /free/next HTTP/1.1");
    }
    let mut denied = gate.connect();
    let bare = Request::get("/free/x").header("Connection", "upgrade").header("Upgrade", "odd");
    assert_eq!(denied.send(&bare).status, 401);
    assert_eq!(denied.send(&Request::get("/free/x").token(SERVICE)).status, 200);
}

#[test]
fn a_switch_that_was_not_asked_for_is_a_bad_gateway() {
    let upstream = Upstream::answering(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
    );
    let (_home, gate) = start(&upstream);
    assert_eq!(gate.get("/free/x", SERVICE).status, 502);
    let mut connection = Connection::tcp(gate.address());
    assert_eq!(connection.send(&asking("odd")).status, 502);
}
