//! Streams follow their token: what goes on for long is cut within a second when its token is
//! revoked, expires, or is used from where it may not be any more. gRPC with grpcio at both ends.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use crate::support::events::{CUT, cut, events, listening, listening_with};
use crate::support::tools::curl;
use crate::support::world::{FOREIGN, ROUTES, SERVICE};
use crate::support::{
    Gate, Home, Nginx, Peer, Request, Upstream, eventually, fixture, grpc, within,
};

fn start(upstream: &Upstream) -> (Home, Gate) {
    let mut home = Home::new();
    home.forward_to(upstream.address());
    let gate = Gate::start(&home);
    (home, gate)
}

#[test]
fn an_event_stream_ends_when_its_token_is_revoked_and_no_other_does() {
    let upstream = events();
    let (home, gate) = start(&upstream);
    let (id, token) = home.make_token(&["--grant", "job_admin"]);
    let mut connection = listening(&gate, &token);
    let mut other = listening(&gate, SERVICE);
    home.run(&["token", "revoke", &id.to_string()]);
    let (took, is_whole) = cut(&mut connection);
    assert!(took < CUT && !is_whole, "{took:?} {is_whole}");
    other.take(1000);
    let counted = || {
        let count = gate.metrics().sum("portcullis_streams_cut_total", &[("reason", "revoked")]);
        (count == 1.0).then_some(())
    };
    eventually("it is counted", counted);
}

#[test]
fn a_grpc_web_stream_over_http_1_does_not_end_as_if_it_were_whole_when_it_is_cut() {
    let upstream = events();
    let (home, gate) = start(&upstream);
    let (id, token) = home.make_token(&["--grant", "job_admin"]);
    // A refusal would have the status 200 as well.
    drop(listening(&gate, &token));
    let request = Request::get("/free/events").header("content-type", "application/grpc-web+proto");
    let mut connection = listening_with(&gate, &request.token(&token));
    home.run(&["token", "revoke", &id.to_string()]);
    let (took, is_whole) = cut(&mut connection);
    assert!(took < CUT && !is_whole, "{took:?} {is_whole}");
}

#[test]
fn an_event_stream_ends_when_its_token_expires() {
    let upstream = events();
    let (home, gate) = start(&upstream);
    let (_, token) = home.make_token(&["--grant", "job_admin", "--expires", "3s"]);
    let made = Instant::now();
    let mut connection = listening(&gate, &token);
    let (_, is_whole) = cut(&mut connection);
    let took = made.elapsed();
    assert!(!is_whole && took < Duration::from_secs(4) + CUT, "{took:?}");
}

#[test]
fn an_event_stream_ends_when_ip_rules_exclude_it() {
    let upstream = events();
    let (home, gate) = start(&upstream);
    let mut connection = listening(&gate, SERVICE);
    let mut foreign = listening(&gate, FOREIGN);
    home.run(&["ip-rule", "allow", "--account", "1", "192.0.2.0/24"]);
    home.run(&["ip-rule", "enable", "--account", "1"]);
    let (took, is_whole) = cut(&mut connection);
    assert!(took < CUT && !is_whole, "{took:?} {is_whole}");
    foreign.take(1000);
}

#[test]
fn over_http_2_only_the_stream_is_reset() {
    let upstream = events();
    let (home, gate) = start(&upstream);
    let (id, token) = home.make_token(&["--grant", "job_admin"]);
    drop(listening(&gate, &token));
    let mut command = curl();
    command.args(["--http2-prior-knowledge", "--no-buffer"]);
    command.args(["--header", &format!("Authorization: Bearer {token}")]);
    command.arg(gate.url("/free/events")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "data: x\n");
    drop(child.stdout.take());
    home.run(&["token", "revoke", &id.to_string()]);
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
}

/// A gate before an upstream, to which it speaks HTTP/2.
fn gate_before(upstream: &Peer) -> (Home, Gate) {
    let home = grpc::home(upstream.address());
    let gate = Gate::start(&home);
    (home, gate)
}

fn call(gate: &Gate, token: &str, kind: &str, count: &str) -> Vec<String> {
    grpc::call(gate.address(), token, kind, count)
}

#[test]
fn grpc_calls_of_all_four_kinds_pass_with_their_trailers() {
    let grpc = grpc::serve();
    let (_home, gate) = gate_before(&grpc);
    assert_eq!(call(&gate, SERVICE, "unary", "0"), ["echo hello", "kept", "status OK"]);
    assert_eq!(call(&gate, SERVICE, "down", "3"), ["0", "1", "2", "status OK"]);
    assert_eq!(call(&gate, SERVICE, "up", "4"), ["6", "status OK"]);
    let both = call(&gate, SERVICE, "both", "3");
    assert_eq!(both, ["echo 0", "echo 1", "echo 2", "status OK"]);
}

#[test]
fn a_grpc_call_that_is_denied_gets_a_status() {
    let grpc = grpc::serve();
    let (_home, gate) = gate_before(&grpc);
    assert_eq!(call(&gate, "", "unary", "0"), ["status UNAUTHENTICATED Invalid token."]);
    assert_eq!(
        call(&gate, "no-such-token-at-all", "both", "2"),
        ["status UNAUTHENTICATED Invalid token."]
    );
    drop(grpc);
    assert_eq!(call(&gate, SERVICE, "unary", "0"), ["status UNAVAILABLE Bad gateway."]);
}

/// A call that goes on for ever, from its first answer.
fn endless(gate: &Gate, token: &str, kind: &str, count: &str) -> (Child, BufReader<ChildStdout>) {
    let port = gate.address().port().to_string();
    let mut child =
        grpc::peer(&["call", &port, token, kind, count]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    (child, lines)
}

#[test]
fn a_grpc_call_ends_with_a_status_when_its_token_is_revoked() {
    let grpc = grpc::serve();
    let (home, gate) = gate_before(&grpc);
    for (kind, count) in [("down", "1000000"), ("both", "-1")] {
        let (id, token) = home.make_token(&["--grant", "job_admin"]);
        gate.wait_in_force(&token);
        let (mut child, lines) = endless(&gate, &token, kind, count);
        home.run(&["token", "revoke", &id.to_string()]);
        let began = Instant::now();
        let last = lines.lines().map_while(Result::ok).last().unwrap();
        assert_eq!(last, "status UNAUTHENTICATED Invalid token.", "{kind}");
        assert!(began.elapsed() < CUT, "{kind}: {:?}", began.elapsed());
        child.wait().unwrap();
    }
}

#[test]
fn a_grpc_call_ends_with_a_status_when_its_token_expires_or_ip_rules_exclude_it() {
    let grpc = grpc::serve();
    let (home, gate) = gate_before(&grpc);
    let made = Instant::now();
    let (_, token) = home.make_token(&["--grant", "job_admin", "--expires", "5s"]);
    gate.wait_in_force(&token);
    let (mut expiring, lines) = endless(&gate, &token, "down", "1000000");
    let last = lines.lines().map_while(Result::ok).last().unwrap();
    let lasted = made.elapsed();
    assert_eq!(last, "status UNAUTHENTICATED Invalid token.");
    assert!(lasted > Duration::from_secs(3) && lasted < Duration::from_secs(7), "{lasted:?}");
    expiring.wait().unwrap();

    let (_, token) = home.make_token(&["--grant", "job_admin"]);
    gate.wait_in_force(&token);
    let (mut excluded, lines) = endless(&gate, &token, "both", "-1");
    home.run(&["ip-rule", "allow", "--account", "1", "192.0.2.0/24"]);
    home.run(&["ip-rule", "enable", "--account", "1"]);
    let began = Instant::now();
    let last = lines.lines().map_while(Result::ok).last().unwrap();
    assert!(last.starts_with("status PERMISSION_DENIED"), "{last}");
    assert!(began.elapsed() < CUT, "{:?}", began.elapsed());
    excluded.wait().unwrap();
}

#[test]
fn what_a_call_that_is_cut_is_told_is_concealed_as_well() {
    let grpc = grpc::serve();
    for (kind, count) in [("down", "1000000"), ("up", "1000000000")] {
        let (mut home, gate) = gate_before(&grpc);
        home.set("gate", "conceal", "true");
        let port = gate.address().port().to_string();
        let mut call = grpc::peer(&["call", &port, SERVICE, kind, count]);
        let child = call.stdout(Stdio::piped()).spawn().unwrap();
        gate.expect_decisions("allow", 1.0);
        // Its grants do not reach so far as these routes ask for.
        home.write("routes.toml", ROUTES);
        assert_eq!(gate.admin_post("/reload", "").status, 200);
        let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let last = output.lines().last().unwrap();
        assert!(last.starts_with("status NOT_FOUND The requested resource"), "{kind}: {last}");
    }
}

#[test]
fn a_grpc_call_that_is_cut_is_not_written_to_though_its_client_hears_nothing() {
    for kind in ["sends", "waits"] {
        let folder = tempfile::tempdir().unwrap();
        let ends = folder.path().join("ends");
        let mut sink = fixture("http2_upstream.py");
        sink.arg("sink").arg(&ends);
        let sink = Peer::start(sink);
        let (home, gate) = gate_before(&sink);
        let (id, token) = home.make_token(&["--grant", "job_admin"]);
        gate.wait_in_force(&token);
        let mut client = fixture("grpc_deaf.py");
        client.args([&gate.address().port().to_string(), "/grpc.Service/both", &token, kind]);
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "answered\n");
        home.run(&["token", "revoke", &id.to_string()]);
        within(CUT, "the upstream hears that the call is cancelled", || {
            let ends = std::fs::read_to_string(&ends).unwrap_or_default();
            (ends == "reset 8\n").then_some(())
        });
        client.kill().unwrap();
        client.wait().unwrap();
    }
}

#[test]
fn a_connection_of_http_2_that_does_not_answer_any_more_gets_no_further_requests() {
    let mut silent = fixture("http2_upstream.py");
    silent.arg("silent");
    let silent = Peer::start(silent);
    let mut home = Home::new();
    home.forward_to(silent.address()).set("upstreams.api", "http2", "true");
    home.set("upstreams.api", "response_timeout", r#""300ms""#);
    let gate = Gate::start(&home);
    // One connection to the gate, so one worker, with the upstream's connections that it has.
    let mut connection = gate.connect();
    let statuses = [(); 4].map(|()| connection.send(&Request::get("/me/").token(SERVICE)).status);
    assert_eq!(statuses, [200, 504, 200, 504]);
}

#[test]
fn a_dead_connection_of_http_2_is_given_up_also_where_every_client_leaves_before() {
    let mut silent = fixture("http2_upstream.py");
    silent.arg("silent");
    let silent = Peer::start(silent);
    let mut home = Home::new();
    home.forward_to(silent.address()).set("upstreams.api", "http2", "true");
    home.set("upstreams.api", "response_timeout", r#""2s""#).set("gate", "workers", "1");
    let gate = Gate::start(&home);
    assert_eq!(gate.status("/me/", SERVICE), 200);
    let impatient = || {
        let mut command = curl();
        command.args([
            "--max-time",
            "0.3",
            "--header",
            &format!("Authorization: Bearer {SERVICE}"),
        ]);
        command.arg(gate.url("/me/")).output().unwrap().status.success().then_some(())
    };
    assert!(impatient().is_none(), "the connection is dead");
    eventually("another connection answers", impatient);
}

#[test]
fn http_2_is_spoken_to_an_upstream_with_and_without_tls() {
    let mut home = Home::new();
    let authority = crate::support::Authority::new(home.folder(), "authority");
    authority.issue("server", "server", "DNS:localhost");
    let path = |name: &str| home.path(name).display().to_string();
    let nginx = Nginx::start_http2(&format!(
        "ssl_certificate {};\nssl_certificate_key {};",
        path("server.crt"),
        path("server.key")
    ));
    home.forward_to(nginx.http2_address()).set("upstreams.api", "http2", "true");
    let gate = Gate::start(&home);
    for _ in 0..3 {
        assert_eq!(gate.get("/me/", SERVICE).text(), "account=1 authorization=\n");
    }
    let upload = Request::new("POST", "/me/").token(SERVICE).body(&[b'x'; 200_000]);
    assert_eq!(gate.send(&upload).status, 200);
    drop(gate);
    let endpoint = format!(r#"["https://localhost:{}"]"#, nginx.tls_address().port());
    home.set("upstreams.api", "endpoints", &endpoint);
    home.set("upstreams.api", "tls", r#"{ ca = "authority.crt" }"#);
    let gate = Gate::start(&home);
    for _ in 0..3 {
        assert_eq!(gate.get("/me/", SERVICE).text(), "account=1 authorization=\n");
    }
}
