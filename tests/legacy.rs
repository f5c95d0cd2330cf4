//! Legacy tokens: known only by a password hash, verified in a lane of their own.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::world::{JOBS, SERVICE, legacy_line, token_line_of};
use crate::support::{Gate, Home, Request, Response, Upstream, eventually, within};

const TOKENS: &str = include_str!("fixtures/django/tokens.jsonl");
const SECRETS: &str = include_str!("fixtures/django/secrets.json");
const OTHERS: &str = include_str!("fixtures/django/others.json");

fn start_with(lines: &str) -> (Home, Upstream, Gate) {
    let upstream = Upstream::start();
    let mut home = Home::empty();
    home.forward_to(upstream.address()).set("legacy", "cpu_share", "1.0");
    home.set("legacy", "deadline", r#""60s""#);
    home.import(lines);
    let gate = Gate::start(&home);
    (home, upstream, gate)
}

const ACCOUNT: &str = r#"{"type":"account","id":1,"name":"One","plan":"enterprise","state":"open"}
"#;

/// A token whose hash takes about as long as `cost` says: each more doubles it.
fn bcrypt_line(name: &str, secret: &str, cost: u32) -> String {
    let hash = bcrypt::hash(secret, cost).unwrap();
    legacy_line(name, &format!(r#""hash":"{hash}","selector":"{}""#, &secret[..8]))
}

fn lane_count(gate: &Gate, reason: &str, lane: &str) -> f64 {
    gate.metrics().sum("portcullis_decisions_total", &[("reason", reason), ("lane", lane)])
}

#[test]
fn what_django_hashed_authenticates_and_other_passwords_do_not() {
    let (home, _upstream, gate) = start_with(TOKENS);
    let secrets: serde_json::Map<String, Value> = serde_json::from_str(SECRETS).unwrap();
    assert_eq!(secrets.len(), TOKENS.lines().count() - 1);
    for (name, secret) in &secrets {
        let secret = secret.as_str().unwrap();
        let response = gate.get(JOBS, secret);
        assert_eq!(response.status, 200, "{name}");
        assert_eq!(response.header("x-portcullis-notice"), Some("legacy-token"), "{name}");
        let wrong = format!("{}{}", &secret[..secret.len() - 1], "x");
        assert_eq!(gate.status(JOBS, &wrong), 401, "{name}");
    }
    let count = secrets.len() as f64;
    eventually("they are counted", || (lane_count(&gate, "allow", "slow") == count).then_some(()));
    gate.expect_decisions("legacy_mismatch", count);
    assert!(gate.metrics().value("portcullis_legacy_verify_duration_seconds_count") >= 2.0 * count);
    drop(home);
}

#[test]
fn the_hashes_of_other_frameworks_authenticate_too() {
    let others: Vec<Value> = serde_json::from_str(OTHERS).unwrap();
    let lines: String = others
        .iter()
        .enumerate()
        .map(|(number, other)| {
            let (hash, secret) =
                (other["hash"].as_str().unwrap(), other["secret"].as_str().unwrap());
            let members = format!(r#""hash":"{hash}","selector":"{}""#, &secret[..8]);
            legacy_line(&format!("other {number}"), &members)
        })
        .collect();
    let (_home, _upstream, gate) = start_with(&format!("{ACCOUNT}{lines}"));
    for other in &others {
        let secret = other["secret"].as_str().unwrap();
        assert_eq!(gate.status(JOBS, secret), 200, "{}", other["name"]);
        let wrong = format!("{}?", &secret[..secret.len() - 1]);
        assert_eq!(gate.status(JOBS, &wrong), 401, "{}", other["name"]);
    }
}

#[test]
fn the_second_request_is_answered_from_memory() {
    let (_home, _upstream, gate) =
        start_with(&format!("{ACCOUNT}{}", bcrypt_line("old", "legacy-secret-0001", 6)));
    for _ in 0..5 {
        assert_eq!(gate.status(JOBS, "legacy-secret-0001"), 200);
    }
    eventually("they are counted", || (lane_count(&gate, "allow", "cached") == 4.0).then_some(()));
    assert_eq!(lane_count(&gate, "allow", "slow"), 1.0);
    assert_eq!(gate.metrics().value("portcullis_legacy_remembered"), 1.0);
    assert_eq!(gate.metrics().value("portcullis_legacy_verify_duration_seconds_count"), 1.0);
}

#[test]
fn what_is_remembered_is_forgotten_after_cache_ttl() {
    let upstream = Upstream::start();
    let mut home = Home::empty();
    home.forward_to(upstream.address()).set("legacy", "cache_ttl", r#""300ms""#);
    home.import(&format!("{ACCOUNT}{}", bcrypt_line("old", "legacy-secret-0001", 4)));
    let gate = Gate::start(&home);
    assert_eq!(gate.status(JOBS, "legacy-secret-0001"), 200);
    eventually("it is remembered no longer", || {
        (gate.metrics().value("portcullis_legacy_remembered") == 0.0).then_some(())
    });
    eventually("it is hashed again", || {
        assert_eq!(gate.status(JOBS, "legacy-secret-0001"), 200);
        (gate.metrics().value("portcullis_legacy_verify_duration_seconds_count") >= 2.0)
            .then_some(())
    });
}

#[test]
fn a_revocation_voids_what_is_remembered() {
    let (home, _upstream, gate) =
        start_with(&format!("{ACCOUNT}{}", bcrypt_line("old", "legacy-secret-0001", 4)));
    assert_eq!(gate.status(JOBS, "legacy-secret-0001"), 200);
    assert_eq!(gate.status(JOBS, "legacy-secret-0001"), 200);
    let id = home.token_id("old").to_string();
    home.run(&["token", "revoke", &id]);
    within(Duration::from_millis(250), "the revocation", || {
        (gate.status(JOBS, "legacy-secret-0001") == 401).then_some(())
    });
    assert_eq!(gate.status(JOBS, "legacy-secret-0001"), 401);
}

#[test]
fn simultaneous_requests_with_one_secret_are_hashed_once() {
    let (_home, _upstream, gate) =
        start_with(&format!("{ACCOUNT}{}", bcrypt_line("old", "legacy-secret-0001", 11)));
    let request = Request::get(JOBS).token("legacy-secret-0001");
    let mut connections: Vec<_> = (0..20).map(|_| gate.connect()).collect();
    for connection in &mut connections {
        connection.write(&request.bytes());
    }
    for connection in &mut connections {
        assert_eq!(connection.response().status, 200);
    }
    eventually("they are counted", || (gate.metrics().decisions("allow") == 20.0).then_some(()));
    assert_eq!(gate.metrics().value("portcullis_legacy_verify_duration_seconds_count"), 1.0);
}

#[test]
fn fast_tokens_do_not_wait_for_the_lane() {
    let hash = format!("pbkdf2_sha256$4000000$salt${}=", "A".repeat(43));
    let slow = legacy_line("old", &format!(r#""hash":"{hash}","selector":"slowtok""#));
    let fast = crate::support::world::token_line("fast", &format!(r#""token":"{SERVICE}""#));
    let (_home, _upstream, gate) = start_with(&format!("{ACCOUNT}{slow}{fast}"));
    let mut waiting: Vec<_> = (0..8).map(|_| gate.connect()).collect();
    for (number, connection) in waiting.iter_mut().enumerate() {
        connection.write(&Request::get(JOBS).token(&format!("slowtok-number-{number}")).bytes());
    }
    eventually("the lane is busy", || {
        (gate.metrics().value("portcullis_legacy_queue_depth") > 0.0).then_some(())
    });
    let mut connection = gate.connect();
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!(connection.send(&Request::get(JOBS).token(SERVICE)).status, 200);
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    }
}

#[test]
fn a_legacy_token_is_looked_up_by_the_account_in_the_path_where_it_has_no_selector() {
    let hash = bcrypt::hash("legacy-secret-0001", 4).unwrap();
    let line = legacy_line("old", &format!(r#""hash":"{hash}""#));
    let (_home, _upstream, gate) = start_with(&format!("{ACCOUNT}{line}"));
    assert_eq!(gate.status(JOBS, "legacy-secret-0001"), 200);
    assert_eq!(gate.status("/api/v2/accounts/2/jobs/", "legacy-secret-0002"), 401);
    gate.expect_one_decision("unknown_token");
}

#[test]
fn where_legacy_is_off_no_hash_is_tried() {
    let upstream = Upstream::start();
    let mut home = Home::empty();
    home.forward_to(upstream.address()).set("legacy", "enabled", "false");
    home.import(&format!("{ACCOUNT}{}", bcrypt_line("old", "legacy-secret-0001", 4)));
    let gate = Gate::start(&home);
    assert_eq!(gate.status(JOBS, "legacy-secret-0001"), 401);
    let up = gate.metrics().value("portcullis_legacy_lane_up");
    assert_eq!(up, 1.0, "nobody is missed");
    gate.expect_one_decision("unknown_token");
}

#[test]
fn a_hash_of_after_the_cutoff_is_rejected_at_import() {
    let home = Home::empty();
    let hash = bcrypt::hash("legacy-secret-0001", 4).unwrap();
    let other = bcrypt::hash("legacy-secret-0002", 4).unwrap();
    let members = |hash: &str| format!(r#""hash":"{hash}","selector":"legacy-s""#);
    let last = token_line_of(1, "last day", "2023-07-18T23:59:59Z", &members(&hash));
    let after = token_line_of(1, "day after", "2023-07-19T00:00:00Z", &members(&other));
    home.write("lines", &format!("{ACCOUNT}{last}{after}"));
    let (lines, rejects) = (home.path("lines"), home.path("rejects"));
    let done =
        home.attempt(&["import", lines.to_str().unwrap(), "--rejects", rejects.to_str().unwrap()]);
    assert_eq!(done.code, 3, "{done:?}");
    let rejected = std::fs::read_to_string(rejects).unwrap();
    let rejected: Value = serde_json::from_str(rejected.trim()).unwrap();
    assert_eq!(rejected["line"], 3);
    assert!(!rejected.to_string().contains(&other), "{rejected}");
}

#[test]
fn a_legacy_token_passes_the_same_steps_as_any_other() {
    let (home, _upstream, gate) =
        start_with(&format!("{ACCOUNT}{}", bcrypt_line("old", "legacy-secret-0001", 4)));
    let ask = |path: &str| -> Response { gate.get(path, "legacy-secret-0001") };
    assert_eq!(ask(JOBS).status, 200);
    assert_eq!(ask("/api/v2/accounts/2/jobs/").status, 403);
    assert_eq!(ask("/no/such/route").status, 403);
    home.run(&["account", "close", "1"]);
    within(Duration::from_millis(250), "the account is closed", || {
        (ask(JOBS).text().contains("not scoped to account")).then_some(())
    });
}

#[test]
fn many_different_wrong_tokens_from_one_address_are_refused_without_hashing_and_others_are_not() {
    let lines = format!(
        "{ACCOUNT}{}{}",
        bcrypt_line("old", "legacy-secret-0001", 4),
        crate::support::world::token_line("fast", &format!(r#""token":"{SERVICE}""#))
    );
    let (_home, _upstream, gate) = start_with(&lines);
    assert_eq!(gate.status(JOBS, "legacy-secret-0001"), 200);
    let mut connection = gate.connect();
    let mut guess = |number: u32| {
        connection.send(&Request::get(JOBS).token(&format!("legacy-secret-x{number:04}")))
    };
    let limited = (0..100).map(&mut guess).find(|response| response.status != 401).unwrap();
    assert_eq!(limited.status, 429);
    assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert!(limited.text().contains("Too many requests."));
    // What the index or the lane's memory knows is not refused, nor is it told what is limited.
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    assert_eq!(gate.status(JOBS, "legacy-secret-0001"), 200);
    gate.expect_one_decision("failure_limited");
}

#[test]
fn the_same_wrong_token_again_and_again_is_hashed_once() {
    let (_home, _upstream, gate) =
        start_with(&format!("{ACCOUNT}{}", bcrypt_line("old", "legacy-secret-0001", 4)));
    for _ in 0..50 {
        assert_eq!(gate.status(JOBS, "legacy-secret-0002"), 401);
    }
    gate.expect_decisions("legacy_mismatch", 50.0);
    assert_eq!(gate.metrics().value("portcullis_legacy_verify_duration_seconds_count"), 1.0);
    // A token that comes to be known under the same selector is not taken for the wrong one.
    assert_eq!(gate.status(JOBS, "legacy-secret-0001"), 200);
}
