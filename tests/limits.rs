//! Rate limits: by account and token in groups of routes, and by address for credentials that
//! fail.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::world::{FOREIGN, JOBS, NARROW, READER, SERVICE, legacy_line};
use crate::support::{Connection, Gate, Home, Request, Response, Upstream, eventually};

const ATTACKER: &str = "127.0.0.66";
const LIMITED: &str =
    "\n[[route]]\npath = \"/limited/{*rest}\"\nrequires = \"authenticated\"\nlimit = \"few\"\n";

/// A gate with these limits; `/limited/` is in group `few`.
fn start(settings: &[(&str, &str, &str)]) -> (Home, Upstream, Gate) {
    let upstream = Upstream::start();
    let mut home = Home::new();
    home.forward_to(upstream.address());
    let routes = std::fs::read_to_string(home.path("routes.toml")).unwrap();
    home.write("routes.toml", &format!("limits = [\"few\"]\n{routes}{LIMITED}"));
    for (section, key, value) in settings {
        home.set(section, key, &format!("\"{value}\""));
    }
    let gate = Gate::start(&home);
    (home, upstream, gate)
}

fn from(gate: &Gate, address: &str, token: &str) -> Response {
    Connection::tcp_from(address, gate.address()).send(&Request::get(JOBS).token(token))
}

fn retry_after(response: &Response) -> u64 {
    response.header("retry-after").unwrap().parse().unwrap()
}

fn wrong(number: usize) -> String {
    format!("a-token-that-nobody-has-{number}")
}

fn explain(gate: &Gate, token: &str, path: &str) -> Value {
    let body = format!(r#"{{"token":"{token}","method":"GET","path":"{path}","ip":"127.0.0.1"}}"#);
    gate.admin_post("/explain", &body).json()
}

fn step_9(explanation: &Value) -> &Value {
    explanation["steps"].as_array().unwrap().last().unwrap()
}

#[test]
fn an_account_s_tokens_share_its_limit() {
    let (_home, upstream, gate) = start(&[("limits.groups.default", "account", "5/1h")]);
    // On two workers, by turns; what is refused for want of permission uses nothing.
    let mut connections = [(gate.connect(), SERVICE, 200), (gate.connect(), NARROW, 403)];
    for _ in 0..3 {
        for (connection, token, status) in &mut connections {
            assert_eq!(connection.send(&Request::get(JOBS).token(token)).status, *status);
        }
    }
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    assert_eq!(gate.status("/free/", NARROW), 200);
    let refused = gate.get(JOBS, SERVICE);
    assert_eq!(refused.status, 429);
    assert_eq!(
        refused.text(),
        r#"{"status":{"code":429,"is_success":false,"user_message":"Too many requests.","developer_message":null},"data":null}"#
    );
    assert_eq!(refused.header("cache-control"), Some("no-store"));
    assert!(refused.header("x-portcullis-decision-id").is_some());
    assert!((719..=720).contains(&retry_after(&refused)), "{}", refused.head);
    assert_eq!(gate.status("/free/", READER), 429);
    assert_eq!(gate.status("/api/v2/accounts/2/jobs/", FOREIGN), 200, "another account");
    assert_eq!(gate.status("/open/x", SERVICE), 200, "a public route");
    assert_eq!(upstream.seen().len(), 7, "five of the account, and these two");
    gate.expect_decisions("rate_limited", 2.0);
}

#[test]
fn a_token_at_its_limit_takes_nothing_from_others_of_its_account() {
    let (_home, _upstream, gate) = start(&[
        ("limits.groups.default", "token", "2/1h"),
        ("limits.groups.default", "account", "4/1h"),
    ]);
    let statuses = |token: &str| (0..5).map(|_| gate.status("/free/", token)).collect::<Vec<_>>();
    assert_eq!(statuses(SERVICE), [200, 200, 429, 429, 429]);
    assert_eq!(statuses(NARROW), [200, 200, 429, 429, 429]);
    assert_eq!(statuses(READER), [429; 5], "the account's four are used");
}

#[test]
fn groups_of_routes_are_limited_apart_and_a_route_can_be_in_none() {
    let (home, _upstream, gate) = start(&[
        ("limits.groups.default", "account", "1/1h"),
        ("limits.groups.few", "token", "2/1h"),
    ]);
    home.add_routes(
        "[[route]]\npath = \"/unlimited/\"\nrequires = \"authenticated\"\nlimit = \"off\"\n",
    );
    assert_eq!(gate.admin_post("/reload", "").status, 200);
    let statuses = |path: &str| (0..3).map(|_| gate.status(path, SERVICE)).collect::<Vec<_>>();
    assert_eq!(statuses("/free/"), [200, 429, 429]);
    assert_eq!(statuses("/limited/"), [200, 200, 429]);
    assert_eq!(statuses("/unlimited/"), [200, 200, 200]);
}

#[test]
fn whoever_comes_back_as_told_is_let_in() {
    let (_home, _upstream, gate) = start(&[("limits.groups.few", "token", "1/2s")]);
    assert_eq!(gate.status("/limited/", SERVICE), 200);
    let refused = gate.get("/limited/", SERVICE);
    let told = Instant::now() + Duration::from_secs(retry_after(&refused));
    assert_eq!(refused.status, 429);
    assert!((1..=2).contains(&retry_after(&refused)));
    let (mut sooner, mut status) = (0, 0);
    eventually("the time that was told is over", || {
        sooner += 1;
        status = gate.status("/limited/", SERVICE);
        (status == 200 || Instant::now() > told + Duration::from_secs(5)).then_some(())
    });
    assert_eq!(status, 200, "asking {sooner} times in between has made nothing longer");
    assert!(Instant::now() < told + Duration::from_secs(2));
}

#[test]
fn a_cooldown_keeps_all_of_the_account_out_for_its_whole_length() {
    let (_home, _upstream, gate) =
        start(&[("limits.groups.few", "account", "3/1s"), ("limits.groups.few", "cooldown", "5m")]);
    let refused = eventually("the limit is reached", || {
        let response = gate.get("/limited/", SERVICE);
        (response.status == 429).then_some(response)
    });
    assert_eq!(retry_after(&refused), 300);
    // A quota of 3 a second would long have come back.
    let wait = Instant::now() + Duration::from_millis(1_100);
    while Instant::now() < wait {
        let response = gate.get("/limited/", READER);
        assert_eq!(response.status, 429);
        assert!((295..=300).contains(&retry_after(&response)));
    }
    assert_eq!(gate.status("/free/", SERVICE), 200, "another group");
}

#[test]
fn grpc_calls_get_status_8() {
    let (_home, _upstream, gate) = start(&[("limits.groups.few", "token", "1/1h")]);
    assert_eq!(gate.status("/limited/", SERVICE), 200);
    let call = Request::new("POST", "/limited/").token(SERVICE);
    let response = gate.send(&call.header("content-type", "application/grpc").body(b""));
    assert_eq!((response.status, response.header("grpc-status")), (200, Some("8")));
    assert!(response.header("retry-after").is_some());
}

#[test]
fn failed_credentials_turn_401_into_429_for_their_address_and_nobody_s_token_is_refused() {
    let (_home, _upstream, gate) = start(&[("limits", "failed_credentials", "3/1h")]);
    let tried = (0..6).map(|number| from(&gate, ATTACKER, &wrong(number)));
    let statuses: Vec<u16> = tried.map(|response| response.status).collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429]);
    let refused = from(&gate, ATTACKER, &wrong(0));
    assert!((1_195..=1_200).contains(&retry_after(&refused)), "{}", refused.head);
    assert_eq!(refused.header("www-authenticate"), None);
    assert!(refused.text().contains("Too many requests."));
    // It says the same about a token that is nearly right, a revoked one and none.
    let bare = Connection::tcp_from(ATTACKER, gate.address()).send(&Request::get(JOBS));
    assert_eq!(bare.status, 429);
    // A known token behind the same address, and everyone elsewhere.
    assert_eq!(from(&gate, ATTACKER, SERVICE).status, 200);
    assert_eq!(from(&gate, ATTACKER, READER).status, 403);
    assert_eq!(from(&gate, "127.0.0.67", &wrong(0)).status, 401);
    gate.expect_decisions("failure_limited", 5.0);
    gate.expect_decisions("unknown_token", 4.0);
}

#[test]
fn a_missing_credential_counts_as_no_failure() {
    let (_home, _upstream, gate) = start(&[("limits", "failed_credentials", "2/1h")]);
    let bare = || gate.send(&Request::get(JOBS)).status;
    assert!((0..5).all(|_| bare() == 401));
    assert_eq!(gate.status(JOBS, &wrong(1)), 401);
}

#[test]
fn failures_can_go_without_a_limit() {
    let (mut home, _upstream, gate) = start(&[("limits", "failed_credentials", "1/1h")]);
    assert_eq!(gate.status(JOBS, &wrong(1)), 401);
    assert_eq!(gate.status(JOBS, &wrong(2)), 429);
    home.set("limits", "failed_credentials", "\"off\"");
    assert_eq!(gate.admin_post("/reload", "").status, 200);
    assert!((0..200).all(|number| gate.status(JOBS, &wrong(number)) == 401));
}

#[test]
fn by_default_an_address_has_a_hundred_failures_a_minute() {
    let (_home, _upstream, gate) = start(&[]);
    let mut connection = gate.connect();
    let mut status = |number| connection.send(&Request::get(JOBS).token(&wrong(number))).status;
    assert!((0..100).all(|number| status(number) == 401));
    assert!((0..10).any(|number| status(number) == 429));
}

#[test]
fn the_slow_lane_is_closed_to_an_address_that_guesses_but_not_to_what_it_remembers() {
    let (home, _upstream, gate) = start(&[("limits", "failed_credentials", "2/1h")]);
    let hash = |secret: &str| {
        let hash = bcrypt::hash(secret, 4).unwrap();
        format!(r#""hash":"{hash}","selector":"legacy-s""#)
    };
    let known = legacy_line("known", &hash("legacy-secret-0001"));
    home.import(&(known + &legacy_line("fresh", &hash("legacy-secret-0002"))));
    // Asking with them until they are known would be guessing.
    eventually("the gate follows", || {
        // The operator's, six of the tests' own, and these.
        (gate.metrics().value("portcullis_index_tokens") == 9.0).then_some(())
    });
    assert_eq!(from(&gate, "127.0.0.2", "legacy-secret-0001").status, 200);
    let verified = || gate.metrics().value("portcullis_legacy_verify_duration_seconds_count");
    assert_eq!(from(&gate, ATTACKER, "legacy-secret-none").status, 401);
    assert_eq!(from(&gate, ATTACKER, "legacy-secret-nine").status, 401);
    let before = verified();
    assert_eq!(from(&gate, ATTACKER, "legacy-secret-zero").status, 429);
    // Nobody has verified it yet, so that nobody knows it: refused without a hash.
    assert_eq!(from(&gate, ATTACKER, "legacy-secret-0002").status, 429);
    assert_eq!(verified(), before);
    assert_eq!(from(&gate, ATTACKER, "legacy-secret-0001").status, 200, "remembered");
    assert_eq!(from(&gate, "127.0.0.3", "legacy-secret-0002").status, 200, "from elsewhere");
    assert_eq!(from(&gate, ATTACKER, "legacy-secret-0002").status, 200, "remembered by now");
}

#[test]
fn a_reload_keeps_what_is_used_where_the_limit_stays() {
    let (mut home, _upstream, gate) = start(&[
        ("limits.groups.few", "token", "2/1h"),
        ("limits.groups.default", "token", "2/1h"),
        ("limits", "failed_credentials", "2/1h"),
    ]);
    let use_up = |path: &str| while gate.status(path, SERVICE) == 200 {};
    use_up("/limited/");
    use_up("/free/");
    while from(&gate, ATTACKER, &wrong(1)).status == 401 {}
    home.set("limits.groups.default", "token", "\"3/1h\"").set("gate", "conceal", "true");
    assert_eq!(gate.admin_post("/reload", "").status, 200);
    assert_eq!(gate.status("/limited/", SERVICE), 429);
    assert_eq!(gate.status("/free/", SERVICE), 200, "another limit than before");
    assert_eq!(from(&gate, ATTACKER, &wrong(1)).status, 429);
    home.set("limits.groups.few", "token", "\"off\"");
    assert_eq!(gate.admin_post("/reload", "").status, 200);
    assert_eq!(gate.status("/limited/", SERVICE), 200);
}

#[test]
fn explain_says_what_is_left_and_uses_nothing() {
    let (home, _upstream, gate) = start(&[
        ("limits.groups.few", "account", "2/1h"),
        ("limits.groups.few", "token", "5/1h"),
        ("limits", "failed_credentials", "2/1h"),
    ]);
    assert_eq!(gate.status("/limited/", SERVICE), 200);
    let id = home.token_id("service");
    for _ in 0..5 {
        let explanation = explain(&gate, SERVICE, "/limited/");
        assert_eq!(explanation["verdict"], "allow");
        let step = step_9(&explanation);
        assert_eq!((&step["step"], &step["outcome"]), (&"rate_limits".into(), &"pass".into()));
        let left = format!("group few: 1 of 2/1h left to account 1, 4 of 5/1h left to token {id}");
        assert_eq!(step["detail"], left);
    }
    assert_eq!(gate.status("/limited/", SERVICE), 200);
    assert_eq!(gate.status("/limited/", SERVICE), 429);
    let explanation = explain(&gate, SERVICE, "/limited/");
    assert_eq!(explanation["verdict"], "deny");
    assert_eq!(
        (&explanation["reason"], &explanation["status"]),
        (&"rate_limited".into(), &429.into())
    );
    assert_eq!(step_9(&explanation)["outcome"], "fail");
    assert!(explanation["fix"]["advice"].as_str().unwrap().contains("[limits.groups.few]"));
    let free = explain(&gate, SERVICE, "/free/");
    assert_eq!(step_9(&free)["detail"], "the route is in no group that is limited");

    while gate.status(JOBS, &wrong(1)) == 401 {}
    let explanation = explain(&gate, &wrong(2), JOBS);
    assert_eq!(
        (&explanation["reason"], &explanation["status"]),
        (&"failure_limited".into(), &429.into())
    );

    // The command line has no counts, and says where they are.
    let id = id.to_string();
    let asked =
        ["explain", "--token-id", &id, "--method", "GET", "--path", "/limited/", "--ip", "::1"];
    let shown = home.run(&asked).stdout;
    assert!(shown.contains("group few: 2/1h by account, 5/1h by token; a running gate"), "{shown}");
}

#[test]
fn failures_at_the_management_api_and_at_the_gate_are_one_count() {
    let mut home = Home::new();
    home.set("control", "listen", "\"127.0.0.1:0\"");
    home.set("limits", "failed_credentials", "\"3/1h\"");
    let gate = Gate::start(&home);
    let managed = |token: &str| {
        let request = Request::get("/api/v3/accounts/1/service-tokens/").token(token);
        Connection::tcp_from(ATTACKER, gate.control_address()).send(&request)
    };
    assert_eq!([managed(&wrong(1)).status, managed(&wrong(2)).status], [401, 401]);
    assert_eq!(from(&gate, ATTACKER, &wrong(3)).status, 401);
    assert_eq!(from(&gate, ATTACKER, &wrong(4)).status, 429);
    let refused = managed(&wrong(5));
    assert_eq!(refused.status, 429);
    assert!(retry_after(&refused) > 1_000, "{}", refused.head);
    assert_eq!(managed(SERVICE).status, 403, "known, and without the permission");
}
