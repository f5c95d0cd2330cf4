//! Every step of the decision through the running gate, and every reason that it can give.

use serde_json::json;

use crate::support::world::{
    CLOSED, FOREIGN, JOBS, NARROW, PERSONAL, READER, SERVICE, legacy_line, token_line,
};
use crate::support::{Connection, Gate, Home, Request, Response, Upstream, eventually};

/// A gate in front of an upstream that answers everything.
fn gate_with(lines: &str) -> (Home, Upstream, Gate) {
    let upstream = Upstream::start();
    let mut home = Home::new();
    home.forward_to(upstream.address());
    if !lines.is_empty() {
        home.import(lines);
    }
    let gate = Gate::start(&home);
    (home, upstream, gate)
}

fn message(response: &Response) -> String {
    response.json()["status"]["user_message"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_refused(response: &Response, status: u16, user_message: &str) {
    assert_eq!((response.status, message(response).as_str()), (status, user_message));
}

const INVALID: &str = "Invalid token.";
const NO_ADDRESS: &str = "Forbidden: Access denied";
const NO_ACCOUNT: &str = "Access denied: Token is not scoped to account.";
const NO_PERMISSION: &str = "Forbidden: You do not have permission to access this resource.";

#[test]
fn step_0_an_ambiguous_path_is_a_bad_request_before_the_credential_is_looked_at() {
    let (_home, upstream, gate) = gate_with("");
    let mut connection = gate.connect();
    let response = connection.send(&Request::get("/api/v2/accounts/1/jobs/../jobs/"));
    assert_refused(&response, 400, "Bad request.");
    assert!(connection.is_closed(), "the connection ends with an ambiguous request");
    gate.expect_one_decision("bad_request");
    assert!(upstream.seen().is_empty());
}

#[test]
fn step_0_a_public_route_needs_no_token_and_passes_no_identity() {
    let (_home, upstream, gate) = gate_with("");
    assert_eq!(gate.send(&Request::get("/open/anything")).status, 200);
    assert_eq!(gate.get("/open/", "not-a-token-of-anyone").status, 200);
    gate.expect_decisions("public", 2.0);
    for seen in upstream.seen() {
        assert_eq!(seen.header("authorization"), None);
        assert_eq!(seen.header("x-portcullis-account-id"), None);
        assert!(seen.header("x-portcullis-decision-id").is_some());
    }
}

#[test]
fn step_1_a_request_without_exactly_one_well_formed_credential_is_refused() {
    let (_home, upstream, gate) = gate_with("");
    assert_refused(&gate.send(&Request::get(JOBS)), 401, INVALID);
    gate.expect_one_decision("no_credential");

    let malformed = [
        "Basic dXNlcjpwYXNzd29yZA==",
        "Bearer",
        "Bearer short",
        "Bearer two words-and-more-of-them",
    ];
    for value in malformed {
        let response = gate.send(&Request::get(JOBS).header("Authorization", value));
        assert_refused(&response, 401, INVALID);
    }
    gate.expect_decisions("malformed_credential", 4.0);

    let doubled = Request::get(JOBS).token(SERVICE).token(SERVICE);
    assert_refused(&gate.send(&doubled), 401, INVALID);
    gate.expect_one_decision("multiple_credentials");
    assert!(upstream.seen().is_empty());
}

#[test]
fn step_1_both_schemes_are_taken_in_any_case_with_any_number_of_spaces() {
    let (_home, _upstream, gate) = gate_with("");
    for scheme in ["Bearer ", "bearer ", "BEARER    ", "Token ", "tOKEN  "] {
        let value = format!("{scheme}{SERVICE}");
        let response = gate.send(&Request::get(JOBS).header("Authorization", &value));
        assert_eq!(response.status, 200, "{scheme}");
    }
    gate.expect_decisions("allow", 5.0);
}

#[test]
fn step_2_a_mistyped_and_an_unknown_token_are_refused_alike_and_counted_apart() {
    let (home, _upstream, gate) = gate_with("");
    let (_, token) = home.make_token(&["--grant", "job_admin"]);
    let other = if token.ends_with('0') { '1' } else { '0' };
    let mistyped = format!("{}{other}", &token[..token.len() - 1]);
    assert_refused(&gate.get(JOBS, &mistyped), 401, INVALID);
    gate.expect_one_decision("bad_checksum");

    assert_refused(&gate.get(JOBS, "a-token-that-nobody-has"), 401, INVALID);
    gate.expect_one_decision("unknown_token");
}

#[test]
fn step_2_tokens_are_found_by_digest_and_by_sha256() {
    use sha2::{Digest, Sha256};
    let digest = hex::encode(Sha256::digest("known-by-its-sha256-only"));
    let (home, _upstream, gate) = gate_with(&token_line("sha", &format!(r#""sha256":"{digest}""#)));
    assert_eq!(gate.status(JOBS, "known-by-its-sha256-only"), 200);
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    let (_, made) = home.make_token(&["--grant", "job_admin"]);
    eventually("the new token is in force", || (gate.status(JOBS, &made) == 200).then_some(()));
}

#[test]
fn step_2_a_secret_that_no_candidate_s_hash_matches_is_refused() {
    let hash = bcrypt::hash("legacy-secret-of-someone", 4).unwrap();
    let line = legacy_line("old", &format!(r#""hash":"{hash}","selector":"legacy-s""#));
    let (_home, _upstream, gate) = gate_with(&line);
    assert_refused(&gate.get(JOBS, "legacy-secret-guessed-wrong"), 401, INVALID);
    gate.expect_one_decision("legacy_mismatch");
}

#[test]
fn step_3_tokens_outside_their_time_and_revoked_ones_are_refused() {
    let lines = [
        token_line("gone", r#""state":"revoked","token":"revoked-token-0001""#),
        token_line("late", r#""expires_at":"2024-06-01T00:00:00Z","token":"expired-token-0001""#),
        token_line("soon", r#""not_before":"2999-01-01T00:00:00Z","token":"future-token-0001""#),
    ];
    let (_home, upstream, gate) = gate_with(&lines.concat());
    for (token, reason) in [
        ("revoked-token-0001", "revoked"),
        ("expired-token-0001", "expired"),
        ("future-token-0001", "not_yet_valid"),
    ] {
        assert_refused(&gate.get(JOBS, token), 401, INVALID);
        gate.expect_one_decision(reason);
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn step_4_closed_accounts_and_cancelled_plans_are_refused_as_accounts() {
    let (home, _upstream, gate) = gate_with("");
    assert_refused(&gate.get("/me/", CLOSED), 403, NO_ACCOUNT);
    gate.expect_one_decision("account_closed");
    assert_eq!(gate.status("/me/", FOREIGN), 200);
    home.run(&["account", "set-plan", "2", "cancelled"]);
    eventually("the plan is in force", || (gate.status("/me/", FOREIGN) == 403).then_some(()));
    home.run(&["account", "open", "3"]);
    eventually("the account is open", || (gate.status("/me/", CLOSED) == 200).then_some(()));
}

#[test]
fn step_5_ip_rules_of_the_account_come_before_the_route() {
    let (home, upstream, gate) = gate_with("");
    home.run(&["ip-rule", "allow", "--account", "1", "10.0.0.0/8", "127.0.0.2/32"]);
    assert_eq!(gate.status(JOBS, SERVICE), 200, "adding a rule does not enable the set");
    home.run(&["ip-rule", "enable", "--account", "1"]);
    let response = eventually("the rules are in force", || {
        let response = gate.get("/no/such/route", SERVICE);
        (message(&response) == NO_ADDRESS).then_some(response)
    });
    assert_eq!(
        response.json()["data"],
        json!({"account_id": 1, "user_id": null, "is_service_token": true, "account_access_denied": true})
    );
    let personal = gate.get(JOBS, PERSONAL).json();
    assert_eq!(personal["data"]["user_id"], 7);
    assert_eq!(personal["data"]["is_service_token"], false);
    assert!(gate.metrics().decisions("ip_denied") >= 0.0);

    let before = upstream.seen().len();
    let mut allowed = Connection::tcp_from("127.0.0.2", gate.address());
    assert_eq!(allowed.send(&Request::get(JOBS).token(SERVICE)).status, 200);
    assert_eq!(upstream.seen().len(), before + 1);
}

#[test]
fn step_5_the_most_specific_rule_wins() {
    let (home, _upstream, gate) = gate_with("");
    home.run(&["ip-rule", "allow", "--account", "1", "127.0.0.0/8", "127.0.0.5/32"]);
    home.run(&["ip-rule", "deny", "--account", "1", "127.0.0.4/30"]);
    home.run(&["ip-rule", "enable", "--account", "1"]);
    let status = |source: &str| {
        let mut connection = Connection::tcp_from(source, gate.address());
        connection.send(&Request::get(JOBS).token(SERVICE)).status
    };
    eventually("the rules are in force", || (status("127.0.0.6") == 403).then_some(()));
    assert_eq!(["127.0.0.1", "127.0.0.5", "127.0.0.4"].map(status), [200, 200, 403]);
}

#[test]
fn step_5_a_token_s_own_addresses_narrow_it_further() {
    let line =
        token_line("narrowed", r#""allow_ips":["127.0.0.9/32"],"token":"only-from-127.0.0.9""#);
    let (_home, _upstream, gate) = gate_with(&line);
    assert_refused(&gate.get(JOBS, "only-from-127.0.0.9"), 403, NO_ADDRESS);
    gate.expect_one_decision("token_ip_denied");
    let mut allowed = Connection::tcp_from("127.0.0.9", gate.address());
    assert_eq!(allowed.send(&Request::get(JOBS).token("only-from-127.0.0.9")).status, 200);
}

#[test]
fn step_5_a_denial_by_address_is_counted_as_ip_denied() {
    let (home, upstream) = (Home::new(), Upstream::start());
    home.run(&["ip-rule", "deny", "--account", "1", "127.0.0.1/32"]);
    home.run(&["ip-rule", "enable", "--account", "1"]);
    let gate = Gate::start(&home);
    assert_refused(&gate.get(JOBS, SERVICE), 403, NO_ADDRESS);
    gate.expect_one_decision("ip_denied");
    assert!(upstream.seen().is_empty());
}

#[test]
fn step_6_a_request_without_a_route_is_refused() {
    let (_home, upstream, gate) = gate_with("");
    assert_refused(&gate.get("/no/such/route", SERVICE), 403, NO_PERMISSION);
    gate.expect_one_decision("no_route");
    let unknown_method = Request::new("DELETE", JOBS).token(SERVICE);
    assert_refused(&gate.send(&unknown_method), 403, NO_PERMISSION);
    gate.expect_decisions("no_route", 2.0);
    assert!(upstream.seen().is_empty());
}

#[test]
fn step_6_unmatched_requests_pass_with_any_valid_token_where_that_is_configured() {
    let upstream = Upstream::start();
    let mut home = Home::new();
    home.forward_to(upstream.address()).set("routes", "unmatched", r#""authenticated""#);
    let gate = Gate::start(&home);
    assert_eq!(gate.status("/no/such/route", SERVICE), 200);
    assert_eq!(gate.status("/no/such/route", "a-token-that-nobody-has"), 401);
    let missing_method = Request::new("DELETE", JOBS).token(SERVICE);
    assert_eq!(gate.send(&missing_method).status, 403, "a path in the table keeps its methods");
}

#[test]
fn step_7_another_account_s_path_is_refused() {
    let (_home, upstream, gate) = gate_with("");
    for account in ["2", "01", "+1", "99999999999999999999", "one"] {
        let path = format!("/api/v2/accounts/{account}/jobs/");
        assert_refused(&gate.get(&path, SERVICE), 403, NO_ACCOUNT);
    }
    gate.expect_decisions("wrong_account", 5.0);
    assert!(upstream.seen().is_empty());
}

#[test]
fn step_8_a_missing_permission_is_refused() {
    let (_home, upstream, gate) = gate_with("");
    let post = Request::new("POST", JOBS).token(READER);
    assert_refused(&gate.send(&post), 403, NO_PERMISSION);
    gate.expect_one_decision("no_permission");
    assert!(upstream.seen().is_empty());
}

#[test]
fn step_8_a_grant_on_one_project_covers_that_project_only() {
    let (_home, _upstream, gate) = gate_with("");
    let cases = [
        (NARROW, "/api/v2/accounts/1/projects/10/jobs/", 200),
        (NARROW, "/api/v2/accounts/1/projects/11/jobs/", 403),
        (NARROW, "/api/v2/accounts/1/projects/010/jobs/", 403),
        (READER, "/api/v2/accounts/1/projects/11/jobs/", 200),
        (SERVICE, "/api/v2/accounts/1/projects/999/jobs/", 200),
        (NARROW, JOBS, 403),
        (NARROW, "/api/v2/accounts/1/jobs/77/", 200),
        (NARROW, "/api/v2/accounts/1/jobs/78/", 403),
        (SERVICE, "/api/v2/accounts/1/jobs/78/", 200),
        (SERVICE, "/api/v2/accounts/1/jobs/79/", 403),
    ];
    for (token, path, status) in cases {
        assert_eq!(gate.status(path, token), status, "{token} {path}");
    }
}

#[test]
fn step_8_writing_follows_the_category_of_the_environment() {
    let lines = r#"{"account_id":1,"user_id":7,"name":"writer","created_at":"2024-05-01T00:00:00Z","grants":[{"permission_set":"developer","project_id":null,"writable_environment_categories":["production"]}],"token":"personal-writing-in-production"}
"#;
    let (_home, _upstream, gate) = gate_with(lines);
    let run = |token: &str, job: u64| {
        let path = format!("/api/v2/accounts/1/jobs/{job}/run/");
        gate.send(&Request::new("POST", &path).token(token).body(b"")).status
    };
    assert_eq!(run("personal-writing-in-production", 77), 200);
    assert_eq!(run("personal-writing-in-production", 78), 403, "no category: not writable");
    assert_eq!(run(PERSONAL, 77), 403, "it writes in development");
    assert_eq!(run(SERVICE, 78), 200, "an admin of jobs writes everywhere");
}

#[test]
fn step_8_self_is_the_user_of_a_personal_token() {
    let (_home, _upstream, gate) = gate_with("");
    let cases =
        [(PERSONAL, "/users/7/", 200), (PERSONAL, "/users/8/", 403), (SERVICE, "/users/7/", 403)];
    for (token, path, status) in cases {
        assert_eq!(gate.status(path, token), status, "{token} {path}");
    }
}

#[test]
fn step_8_a_plan_suspends_grants_of_service_tokens_and_gives_them_back() {
    let (home, _upstream, gate) = gate_with("");
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    home.run(&["account", "set-plan", "1", "developer"]);
    eventually("the plan suspends", || (gate.status(JOBS, SERVICE) == 403).then_some(()));
    assert_eq!(gate.status("/me/", SERVICE), 200);
    home.run(&["account", "set-plan", "1", "enterprise"]);
    eventually("the plan gives back", || (gate.status(JOBS, SERVICE) == 200).then_some(()));
}

#[test]
fn the_first_step_that_fails_gives_the_reason() {
    let lines = [
        token_line(
            "both",
            r#""state":"revoked","allow_ips":["10.0.0.0/8"],"token":"revoked-and-narrowed""#,
        ),
        token_line("late", r#""expires_at":"2024-06-01T00:00:00Z","token":"expired-token-0002""#),
    ];
    let (_home, _upstream, gate) = gate_with(&lines.concat());
    gate.get("/no/such/route", "revoked-and-narrowed");
    gate.expect_one_decision("revoked");
    gate.get("/api/v2/accounts/2/jobs/", "expired-token-0002");
    gate.expect_one_decision("expired");
    gate.get("/api/v2/accounts/2/jobs/", CLOSED);
    gate.expect_one_decision("account_closed");
    gate.send(&Request::new("POST", "/api/v2/accounts/2/jobs/").token(READER));
    gate.expect_one_decision("wrong_account");
}

#[test]
fn without_an_index_everything_is_answered_503_until_the_store_can_be_read() {
    let upstream = Upstream::start();
    let mut home = Home::new();
    home.forward_to(upstream.address());
    let store = rusqlite::Connection::open(home.path("portcullis.db")).unwrap();
    let damaged = store.execute("UPDATE accounts SET plan = 'nonsense' WHERE id = 2", []).unwrap();
    assert_eq!(damaged, 1);
    let gate = Gate::launch(&home, &[]);
    let readiness = gate.admin_get("/readyz");
    assert_eq!(readiness.status, 503);
    assert!(readiness.text().contains("no index"), "{readiness:?}");
    assert_eq!(gate.admin_get("/livez").status, 200);
    let response = gate.get(JOBS, SERVICE);
    assert_refused(&response, 503, "Service unavailable.");
    assert!(response.header("retry-after").is_some());
    gate.expect_one_decision("no_index");
    store.execute("UPDATE accounts SET plan = 'enterprise' WHERE id = 2", []).unwrap();
    gate.wait_ready();
    assert_eq!(gate.status(JOBS, SERVICE), 200);
}

/// A hash that takes about a second to try, and that no secret matches.
fn slow_hash() -> String {
    format!("pbkdf2_sha256$4000000$salt${}=", "A".repeat(43))
}

#[test]
fn a_full_lane_turns_away_at_once_and_says_when_to_try_again() {
    let upstream = Upstream::start();
    let mut home = Home::new();
    home.forward_to(upstream.address()).set("legacy", "queue_limit", "1");
    home.import(&legacy_line("old", &format!(r#""hash":"{}","selector":"slowtok""#, slow_hash())));
    let gate = Gate::start(&home);
    let mut waiting: Vec<Connection> = Vec::new();
    let turned_away = eventually("the queue is full", || {
        let mut connection = gate.connect();
        let token = format!("slowtok-number-{}", waiting.len());
        connection.write(&Request::get(JOBS).token(&token).bytes());
        waiting.push(connection);
        (gate.metrics().sum("portcullis_legacy_shed_total", &[]) > 0.0).then_some(waiting.len())
    });
    assert!(turned_away >= 2, "one is hashed while others wait");
    let refused = gate.get(JOBS, "slowtok-one-more-of-them");
    assert_refused(&refused, 503, "Service unavailable.");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds >= 1);
    eventually("it is counted", || (gate.metrics().decisions("lane_full") >= 2.0).then_some(()));
    assert_eq!(gate.status(JOBS, SERVICE), 200, "the others do not notice");
}

#[test]
fn a_lane_that_takes_too_long_answers_503() {
    let upstream = Upstream::start();
    let mut home = Home::new();
    home.forward_to(upstream.address()).set("legacy", "deadline", r#""100ms""#);
    home.import(&legacy_line("old", &format!(r#""hash":"{}","selector":"slowtok""#, slow_hash())));
    let gate = Gate::start(&home);
    let response = gate.get(JOBS, "slowtok-of-somebody");
    assert_refused(&response, 503, "Service unavailable.");
    assert!(response.header("retry-after").is_some());
    gate.expect_one_decision("lane_timeout");
}
