//! Tokens that only an OAuth 2.0 server recognises, asked by RFC 7662.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::events::{CUT, cut, events, listening};
use crate::support::upstream::read_request;
use crate::support::world::{JOBS, SERVICE, legacy_line, token_line, token_line_of};
use crate::support::{
    Authority, Connection, Gate, Home, Peer, Request, Upstream, eventually, fixture, within,
};

const ACCOUNTS: &str = r#"{"type":"account","id":1,"name":"One","plan":"enterprise","state":"open"}
{"type":"account","id":2,"name":"Two","plan":"enterprise","state":"open"}
{"type":"user","account_id":1,"id":7,"name":"seven","licence":"developer","admin":true}
"#;
/// The client's secret, as the server has it: encoded once more in `Basic`.
const SECRET: &str = "p:ss wörd%";

/// An authorization server, Authlib's.
struct Issuer {
    peer: Peer,
    folder: PathBuf,
}

impl Issuer {
    fn start(home: &Home) -> Self {
        Self::at(home.folder().to_owned(), 0)
    }

    fn at(folder: PathBuf, port: u16) -> Self {
        Self::with(folder, port, &[])
    }

    /// Likewise; with `[certificate, key, client_ca]` over TLS, from clients that show one.
    fn with(folder: PathBuf, port: u16, tls: &[&str]) -> Self {
        let mut command = fixture("introspection/server.py");
        command.arg(port.to_string());
        command.args(["state", "fault", "seen"].map(|file| folder.join(file)));
        command.args(tls.iter().map(|file| folder.join(file)));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Self { peer: Peer::start(command), folder }
    }

    /// A token of this client, by the client credentials grant (RFC 6749, section 4.4).
    fn issue(&self, client: &str, scope: &str, lifetime: u32) -> String {
        let basic = STANDARD.encode(format!("{client}:secret-of-{client}"));
        let body = format!("grant_type=client_credentials&scope={scope}&lifetime={lifetime}");
        let request = Request::new("POST", "/oauth/token")
            .header("Authorization", &format!("Basic {basic}"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body.as_bytes());
        let response = Connection::tcp(self.peer.address()).send(&request);
        assert_eq!(response.status, 200, "{response:?}");
        response.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// From now on it fails like that; with nothing it works again.
    fn fail(&self, how: &str) {
        std::fs::write(self.folder.join("fault"), how).unwrap();
    }

    /// The tokens that it was asked about.
    fn seen(&self) -> Vec<String> {
        let seen = std::fs::read_to_string(self.folder.join("seen")).unwrap_or_default();
        seen.lines().map(str::to_owned).collect()
    }

    /// Ends it, and says where it was.
    fn kill(self) -> (PathBuf, u16) {
        (self.folder, self.peer.address().port())
    }
}

fn remote(name: &str, members: &str) -> String {
    legacy_line(name, &format!(r#""introspect":true,"selector":"old_"{members}"#))
}

/// A gate that asks a server, with one token of account 1 and one of its user 7.
fn start(settings: &[(&str, &str)]) -> (Home, Upstream, Issuer, Gate) {
    let lines = format!(
        "{ACCOUNTS}{}{}{}",
        remote("of account 1", ""),
        remote("of user 7", r#","user_id":7"#),
        token_line("fast", &format!(r#""token":"{SERVICE}""#)),
    );
    start_with(&lines, settings)
}

fn start_with(lines: &str, settings: &[(&str, &str)]) -> (Home, Upstream, Issuer, Gate) {
    start_before(Upstream::start(), lines, settings)
}

fn start_before(
    upstream: Upstream,
    lines: &str,
    settings: &[(&str, &str)],
) -> (Home, Upstream, Issuer, Gate) {
    let mut home = Home::empty();
    let issuer = Issuer::start(&home);
    home.write("client.secret", SECRET);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(home.path("client.secret"), mode).unwrap();
    let url = format!(r#""http://{}/oauth/introspect""#, issuer.peer.address());
    home.forward_to(upstream.address()).set("limits", "failed_credentials", r#""off""#);
    let defaults = [
        ("url", url.as_str()),
        ("selectors", r#"["old_"]"#),
        ("client_id", r#""gate & co""#),
        ("secret_file", r#""client.secret""#),
        ("scope", r#""jobs""#),
        ("account", r#""account""#),
        ("user", r#""user""#),
        ("timeout", r#""500ms""#),
    ];
    for (key, value) in defaults.iter().chain(settings) {
        home.set("legacy.introspection", key, value);
    }
    home.import(lines);
    let gate = Gate::start(&home);
    (home, upstream, issuer, gate)
}

fn asked(gate: &Gate, outcome: &str) -> f64 {
    gate.metrics().sum("portcullis_introspection_total", &[("outcome", outcome)])
}

#[test]
fn what_the_server_takes_for_valid_is_let_through_as_the_token_that_it_stands_for() {
    let (home, upstream, issuer, gate) = start(&[]);
    let (one, user) = (issuer.issue("one", "jobs read", 3600), issuer.issue("user", "jobs", 3600));
    let response = gate.get(JOBS, &one);
    assert_eq!(response.status, 200, "{response:?} {}", gate.log());
    assert_eq!(response.header("x-portcullis-notice"), Some("legacy-token"));
    assert_eq!(gate.status(JOBS, &user), 200);
    let seen = upstream.seen();
    let header = |at: usize, name: &str| seen[at].header(name).map(str::to_owned);
    let ids = ["of account 1", "of user 7"].map(|name| home.token_id(name).to_string());
    assert_eq!(header(0, "x-portcullis-token-id"), Some(ids[0].clone()));
    assert_eq!(header(0, "x-portcullis-user-id"), None);
    assert_eq!(header(1, "x-portcullis-token-id"), Some(ids[1].clone()));
    assert_eq!(header(1, "x-portcullis-user-id"), Some("7".to_owned()));
    // It passes the same steps as any other.
    assert_eq!(gate.status("/api/v2/accounts/2/jobs/", &one), 403);
    for _ in 0..5 {
        assert_eq!(gate.status(JOBS, &one), 200);
    }
    assert_eq!(issuer.seen(), [one.clone(), user], "then it is remembered");
    assert_eq!(asked(&gate, "active"), 2.0);
    assert!(!gate.log().contains(&one), "{}", gate.log());
    let report = eventually("it is counted", || {
        let report = home.run(&["--json", "legacy", "report"]).json();
        (report.as_array().unwrap().len() == 2 && report[0]["requests"] == 7).then_some(report)
    });
    assert_eq!(
        (&report[0]["name"], &report[0]["verifications"]),
        (&"of account 1".into(), &1.into())
    );
}

#[test]
fn what_it_takes_for_invalid_or_for_something_else_is_refused() {
    let (_home, _upstream, issuer, gate) = start(&[]);
    let other_scope = issuer.issue("one", "jobs2", 3600);
    let other_account = issuer.issue("two", "jobs", 3600);
    let unknown = "old_0123456789abcdef".to_owned();
    for token in [&other_scope, &other_account, &unknown] {
        assert_eq!(gate.status(JOBS, token), 401, "{token}");
        assert_eq!(gate.status(JOBS, token), 401, "{token}");
    }
    gate.expect_decisions("legacy_mismatch", 6.0);
    assert_eq!(issuer.seen(), [other_scope, other_account, unknown], "each once");
}

#[test]
fn a_user_whom_no_number_of_ours_names_is_not_taken_for_none() {
    let (_home, upstream, issuer, gate) = start(&[]);
    let alice = issuer.issue("alice", "jobs", 3600);
    assert_eq!(gate.status(JOBS, &alice), 401);
    assert_eq!(issuer.seen(), [alice]);
    assert_eq!(asked(&gate, "inactive"), 1.0);
    assert_eq!(upstream.seen().len(), 0);
}

#[test]
fn only_what_begins_with_a_selector_is_ever_sent_and_never_a_token_of_ours() {
    let lines = format!(
        "{ACCOUNTS}{}{}",
        remote("of account 1", ""),
        legacy_line("by account", r#""introspect":true"#),
    );
    let (home, _upstream, issuer, gate) = start_with(&lines, &[]);
    let (_, ours) = home.make_token(&["--grant", "job_admin"]);
    let wrong =
        format!("{}{}", &ours[..ours.len() - 1], if ours.ends_with('0') { '1' } else { '0' });
    for token in ["another-legacy-token", "olf_0123456789abcdef", &wrong, "Old_0123456789abcdef"] {
        assert_eq!(gate.status(JOBS, token), 401, "{token}");
    }
    assert_eq!(gate.status("/me/", "old-0123456789abcdef"), 401);
    assert_eq!(issuer.seen(), [""; 0]);
    // Two tokens that the answer fits: it cannot be said whose it is.
    let one = issuer.issue("one", "jobs", 3600);
    assert_eq!(gate.status(JOBS, &one), 401);
    gate.wait_for_log("fits several tokens");
    assert_eq!(issuer.seen(), [one]);
}

#[test]
fn that_an_answer_fits_several_tokens_is_not_hidden_by_the_limit_on_candidates() {
    let other = legacy_line("by another selector", r#""introspect":true,"selector":"old""#);
    let lines = format!("{ACCOUNTS}{}{other}", remote("of account 1", ""));
    let (mut home, upstream, issuer, gate) = start_with(&lines, &[]);
    home.set("legacy", "candidates_limit", "1");
    assert_eq!(gate.admin_post("/reload", "").status, 200);
    let one = issuer.issue("one", "jobs", 3600);
    assert_eq!(gate.status(JOBS, &one), 401);
    gate.wait_for_log("fits several tokens");
    assert_eq!((issuer.seen(), upstream.seen().len()), (vec![one], 0));
}

#[test]
fn a_hash_is_tried_before_the_server_is_asked() {
    let hash = bcrypt::hash("old_hashed_secret_1", 4).unwrap();
    let hashed = legacy_line("hashed", &format!(r#""hash":"{hash}","selector":"old_""#));
    let lines = format!("{ACCOUNTS}{}{hashed}", remote("of account 1", ""));
    let (_home, _upstream, issuer, gate) = start_with(&lines, &[]);
    assert_eq!(gate.status(JOBS, "old_hashed_secret_1"), 200);
    assert_eq!(issuer.seen(), [""; 0]);
    let one = issuer.issue("one", "jobs", 3600);
    assert_eq!(gate.status(JOBS, &one), 200);
    assert_eq!(gate.status(JOBS, "old_neither_of_them"), 401);
    assert_eq!(issuer.seen(), [one, "old_neither_of_them".to_owned()]);
}

#[test]
fn a_local_revocation_wins_and_exp_ends_what_is_remembered() {
    let (home, _upstream, issuer, gate) = start(&[]);
    let short = issuer.issue("one", "jobs", 2);
    assert_eq!(gate.status(JOBS, &short), 200);
    eventually("it is no longer valid", || (gate.status(JOBS, &short) == 401).then_some(()));
    let user = issuer.issue("user", "jobs", 3600);
    assert_eq!(gate.status(JOBS, &user), 200);
    home.run(&["token", "revoke", &home.token_id("of user 7").to_string()]);
    within(Duration::from_millis(250), "the revocation", || {
        (gate.status(JOBS, &user) == 401).then_some(())
    });
    assert_eq!(gate.status(JOBS, &user), 401);
}

#[test]
fn a_stream_ends_with_the_answer_that_it_was_let_through_by() {
    let lines = format!("{ACCOUNTS}{}", remote("of account 1", ""));
    let (_home, _upstream, issuer, gate) = start_before(events(), &lines, &[]);
    let issued = Instant::now();
    let short = issuer.issue("one", "jobs", 3);
    let long = issuer.issue("one", "jobs", 3600);
    // The first by what the server said just now, the second by what is remembered of it.
    let mut streams = [(); 2].map(|()| listening(&gate, &short));
    let mut other = listening(&gate, &long);
    for stream in &mut streams {
        let (_, is_whole) = cut(stream);
        assert!(!is_whole && issued.elapsed() >= Duration::from_secs(2), "{:?}", issued.elapsed());
    }
    assert!(issued.elapsed() < Duration::from_secs(4) + CUT, "{:?}", issued.elapsed());
    assert_eq!(issuer.seen(), [short, long]);
    other.take(1000);
    let is_counted = || {
        let count = gate.metrics().sum("portcullis_streams_cut_total", &[("reason", "expired")]);
        (count == 2.0).then_some(())
    };
    eventually("both are counted", is_counted);
}

#[test]
fn simultaneous_requests_with_one_token_ask_once() {
    let (_home, _upstream, issuer, gate) = start(&[("timeout", r#""5s""#)]);
    let one = issuer.issue("one", "jobs", 3600);
    issuer.fail("slow");
    let mut connections: Vec<_> = (0..20).map(|_| gate.connect()).collect();
    let request = Request::get(JOBS).token(&one).bytes();
    connections.iter_mut().for_each(|connection| connection.write(&request));
    // Nobody else waits for it.
    let began = Instant::now();
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    for connection in &mut connections {
        assert_eq!(connection.response().status, 200);
    }
    assert_eq!(issuer.seen(), [one]);
}

#[test]
fn no_failure_is_remembered_as_valid_or_invalid() {
    let (_home, _upstream, issuer, gate) = start(&[]);
    let remembered = issuer.issue("one", "jobs", 3600);
    assert_eq!(gate.status(JOBS, &remembered), 200);
    for how in ["error", "garbage", "redirect", "huge", "unauthorized", "slow"] {
        let token = issuer.issue("one", "jobs", 3600);
        issuer.fail(how);
        let response = gate.get(JOBS, &token);
        assert_eq!(response.status, 503, "{how}: {response:?}");
        assert!(response.header("retry-after").is_some(), "{how}");
        assert_eq!(gate.status(JOBS, &remembered), 200, "{how}");
        issuer.fail("");
        assert_eq!(gate.status(JOBS, &token), 200, "{how}");
    }
    assert_eq!(asked(&gate, "error"), 6.0);
    gate.expect_decisions("lane_timeout", 6.0);
    gate.wait_for_log("client_id and secret");
}

#[test]
fn a_server_that_is_gone_is_given_up_for_a_while_and_found_again() {
    let (_home, _upstream, issuer, gate) = start(&[]);
    let remembered = issuer.issue("one", "jobs", 3600);
    let token = issuer.issue("one", "jobs", 3600);
    assert_eq!(gate.status(JOBS, &remembered), 200);
    let (folder, port) = issuer.kill();
    eventually("it is given up", || {
        assert_eq!(gate.status(JOBS, &token), 503);
        (asked(&gate, "refused") >= 1.0).then_some(())
    });
    assert_eq!(gate.status(JOBS, &remembered), 200);
    gate.wait_for_log("given up for a while");
    let _again = Issuer::at(folder, port);
    eventually("it is found again", || (gate.status(JOBS, &token) == 200).then_some(()));
    gate.wait_for_log("the introspection endpoint is back");
    assert_eq!(gate.status("/api/v2/accounts/2/jobs/", &token), 403);
}

#[test]
fn tokens_of_several_accounts_are_told_apart_by_the_answer() {
    let of = |account: u64| {
        let members = r#""introspect":true,"selector":"old_""#;
        token_line_of(account, "remote", "2022-03-01T00:00:00Z", members)
    };
    let (_home, upstream, issuer, gate) = start_with(
        &format!("{ACCOUNTS}{}{}", of(1), of(2)),
        &[("audience", r#""https://api.example.com""#)],
    );
    let two = issuer.issue("two", "jobs", 3600);
    assert_eq!(gate.status("/api/v2/accounts/2/jobs/", &two), 200);
    assert_eq!(upstream.seen()[0].header("x-portcullis-account-id"), Some("2"));
    assert_eq!(gate.status(JOBS, &two), 403);
}

#[test]
fn connections_are_kept_and_one_that_was_closed_meanwhile_is_no_failure() {
    const ANSWER: &str = r#"{"active":true,"scope":"jobs","account":1}"#;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{ANSWER}", ANSWER.len());
    // Closes each connection after its third answer without saying so.
    let endpoint = Upstream::raw(move |mut stream| {
        let mut buffer = Vec::new();
        for _ in 0..3 {
            if read_request(&mut stream, &mut buffer).is_none() {
                return;
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let url = format!(r#""http://{}/""#, endpoint.address());
    let (_home, _upstream, _issuer, gate) = start(&[("url", &url), ("cache_ttl", r#""0s""#)]);
    for number in 0..12 {
        assert_eq!(gate.status(JOBS, &format!("old_0123456789_{number}")), 200);
    }
    assert_eq!(asked(&gate, "active"), 12.0);
    assert!((4..=5).contains(&endpoint.connections()), "{}", endpoint.connections());
}

#[test]
fn over_tls_the_server_and_the_gate_show_each_other_who_they_are() {
    let upstream = Upstream::start();
    let mut home = Home::empty();
    let folder = home.folder().to_owned();
    let authority = Authority::new(&folder, "authority");
    Authority::new(&folder, "other");
    authority.issue("server", "localhost", "DNS:localhost");
    authority.issue("gate", "gate", "DNS:gate");
    let issuer = Issuer::with(folder, 0, &["server.crt", "server.key", "authority.crt"]);
    let token = "old_0123456789abcdef";
    let state =
        format!(r#"{{"{token}":{{"client":"one","scope":"jobs","expires_at":9999999999}}}}"#);
    home.write("state", &state);
    home.write("client.secret", SECRET);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(home.path("client.secret"), mode).unwrap();
    let url = format!(r#""https://localhost:{}/oauth/introspect""#, issuer.peer.address().port());
    let tls = |ca: &str, own: &str| format!(r#"{{ ca = "{ca}.crt"{own} }}"#);
    let own = r#", certificate = "gate.crt", key = "gate.key""#;
    for (key, value) in [
        ("url", url.as_str()),
        ("selectors", r#"["old_"]"#),
        ("client_id", r#""gate & co""#),
        ("secret_file", r#""client.secret""#),
        ("scope", r#""jobs""#),
        ("tls", &tls("authority", own)),
    ] {
        home.set("legacy.introspection", key, value);
    }
    home.forward_to(upstream.address());
    home.import(&format!("{ACCOUNTS}{}", remote("of account 1", "")));
    let gate = Gate::start(&home);
    assert_eq!(gate.status(JOBS, token), 200, "{}", gate.log());
    for (ca, own) in [("other", own), ("authority", "")] {
        home.set("legacy.introspection", "tls", &tls(ca, own));
        assert_eq!(gate.admin_post("/reload", "").status, 200);
        assert_eq!(gate.status(JOBS, token), 503, "{ca}{own}");
    }
    assert_eq!(issuer.seen(), [token], "nobody else was told");
}

#[test]
fn check_says_what_is_wrong_with_the_section() {
    let mut home = Home::empty();
    for (key, value) in [
        ("url", r#""http://10.0.0.1/introspect""#),
        ("selectors", r#"["pts_x", ""]"#),
        ("secret_env", r#""NO_SUCH_VARIABLE""#),
        ("timeout", r#""0s""#),
        ("scop", r#""jobs""#),
    ] {
        home.set("legacy.introspection", key, value);
    }
    let done = home.attempt(&["check"]);
    assert_eq!(done.code, 3, "{done:?}");
    for expected in [
        "tokens would leave this machine without encryption",
        "tokens of ours are never sent",
        "must not be empty",
        "`NO_SUCH_VARIABLE` is not set",
        "must be longer than nothing",
        "unknown key `scop` in [legacy.introspection]",
        "did you mean `scope`?",
        "`audience` or `scope` is required",
    ] {
        assert!(done.stderr.contains(expected), "{expected}: {}", done.stderr);
    }
    let at = std::fs::read_to_string(home.path("portcullis.toml")).unwrap();
    let line = at.lines().position(|line| line.starts_with("url = \"http://10")).unwrap() + 1;
    assert!(done.stderr.contains(&format!("portcullis.toml:{line}:")), "{}", done.stderr);
}
