//! Legacy tokens that become fast ones with their first use, and what the others cost.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::world::{JOBS, SERVICE, legacy_line};
use crate::support::{Control, Gate, Home, Upstream, eventually, within};

const ACCOUNT: &str = r#"{"type":"account","id":1,"name":"One","plan":"enterprise","state":"open"}
"#;
const OLD: &str = "legacy-secret-0001";

fn line(name: &str, secret: &str) -> String {
    let hash = bcrypt::hash(secret, 5).unwrap();
    legacy_line(name, &format!(r#""hash":"{hash}","selector":"{}""#, &secret[..8]))
}

fn home(lines: &str) -> (Home, Upstream) {
    let upstream = Upstream::start();
    let mut home = Home::empty();
    home.forward_to(upstream.address()).set("legacy", "cpu_share", "1.0");
    home.set("legacy", "upgrade", r#""on_first_use""#).set("usage", "interval", r#""100ms""#);
    home.import(&format!("{ACCOUNT}{lines}"));
    (home, upstream)
}

fn decided(gate: &Gate, reason: &str, lane: &str) -> f64 {
    gate.metrics().sum("portcullis_decisions_total", &[("reason", reason), ("lane", lane)])
}

/// Waits until the gate recognises the secret by its digest.
fn until_fast(gate: &Gate, secret: &str) {
    eventually("the token is a fast one", || {
        let response = gate.get(JOBS, secret);
        assert_eq!(response.status, 200);
        response.header("x-portcullis-notice").is_none().then_some(())
    });
}

#[test]
fn the_first_use_makes_a_legacy_token_a_fast_one_here_and_at_a_second_gate() {
    let (home, _upstream) = home(&line("old", OLD));
    let (gate, second) = (Gate::start(&home), Gate::start(&home));
    let id = home.token_id("old");
    let first = gate.get(JOBS, OLD);
    assert_eq!((first.status, first.header("x-portcullis-notice")), (200, Some("legacy-token")));
    until_fast(&gate, OLD);
    let sequence = |gate: &Gate| gate.metrics().value("portcullis_index_sequence");
    eventually("both know", || (sequence(&second) == sequence(&gate)).then_some(()));
    until_fast(&second, OLD);
    assert_eq!(decided(&second, "allow", "slow"), 0.0, "it never hashed");
    gate.wait_for_log("a legacy token is fast now");
    let shown = home.run(&["--json", "token", "show", &id.to_string()]).json();
    assert_eq!(shown["name"], "old");
    let exported = home.run(&["export", "--account", "1"]).stdout;
    assert!(exported.contains(r#""digest":"#) && !exported.contains(r#""hash":"#), "{exported}");
    let audit = home.run(&["--json", "audit", "list"]).json();
    let last = audit.as_array().unwrap().last().unwrap();
    assert_eq!(last["event_type"], "service_token.upgraded");
    assert_eq!((&last["actor_type"], &last["actor_name"]), (&"system".into(), &"slow lane".into()));
    home.run(&["audit", "verify"]);
    // It is found, verified and revoked like any other.
    let verified = home.attempt_with(&["--json", "token", "verify", "-"], OLD.as_bytes());
    assert_eq!((verified.code, &verified.json()["id"]), (0, &id.into()));
    home.run(&["token", "revoke", &id.to_string()]);
    for gate in [&gate, &second] {
        within(Duration::from_millis(250), "the revocation", || {
            (gate.status(JOBS, OLD) == 401).then_some(())
        });
    }
}

#[test]
fn a_revoked_token_is_not_revived_by_its_import_nor_by_a_restart() {
    let (home, _upstream) = home(&line("old", OLD));
    let lines = std::fs::read_to_string(home.path("import.jsonl")).unwrap();
    let gate = Gate::start(&home);
    until_fast(&gate, OLD);
    home.run(&["token", "revoke", &home.token_id("old").to_string()]);
    home.import(&lines);
    let tokens = home.run(&["--json", "token", "list", "--account", "1"]).json();
    assert_eq!(tokens.as_array().unwrap().len(), 1);
    assert_eq!(tokens[0]["state"], "revoked");
    gate.stop();
    assert_eq!(Gate::start(&home).status(JOBS, OLD), 401);
}

#[test]
fn a_wrong_guess_upgrades_nothing_and_never_is_the_default() {
    let (mut home, _upstream) = home(&line("old", OLD));
    home.set("legacy", "upgrade", r#""never""#);
    let gate = Gate::start(&home);
    assert_eq!(gate.status(JOBS, "legacy-secret-0002"), 401);
    (0..3).for_each(|_| assert_eq!(gate.status(JOBS, OLD), 200));
    home.set("legacy", "upgrade", r#""on_first_use""#);
    assert_eq!(gate.admin_post("/reload", "").status, 200);
    assert_eq!(gate.status(JOBS, "legacy-secret-0003"), 401);
    let exported = home.run(&["export", "--account", "1"]).stdout;
    assert!(exported.contains(r#""hash":"#), "{exported}");
    // The reload began a lane that remembers nothing: the next use is a first one.
    until_fast(&gate, OLD);
}

#[test]
fn the_report_names_the_hottest_legacy_tokens_and_what_they_cost() {
    let lines: String = [
        line("rare", "rare-secret-000001"),
        line("hot", "very-hot-secret-01"),
        line("idle", "idle-secret-000001"),
        crate::support::world::token_line("fast", &format!(r#""token":"{SERVICE}""#)),
    ]
    .concat();
    let (mut home, _upstream) = home(&lines);
    home.set("legacy", "upgrade", r#""never""#).set("legacy", "cache_ttl", r#""0s""#);
    let control = Control::in_home(home);
    let Control { home, gate, .. } = &control;
    for (secret, times) in [("rare-secret-000001", 2), ("very-hot-secret-01", 6), (SERVICE, 20)] {
        (0..times).for_each(|_| assert_eq!(gate.status(JOBS, secret), 200));
    }
    assert_eq!(gate.status(JOBS, "idle-secret-000002"), 401);
    let report = eventually("everything is counted", || {
        let report = home.run(&["--json", "legacy", "report"]).json();
        let of = |key: &str| -> Vec<Value> {
            report.as_array().unwrap().iter().map(|token| token[key].clone()).collect()
        };
        let counted = of("requests") == [6, 2, 0] && of("verifications") == [6, 2, 1];
        counted.then_some(report)
    });
    let names: Vec<_> =
        report.as_array().unwrap().iter().map(|token| token["name"].clone()).collect();
    assert_eq!(names, ["hot", "rare", "idle"]);
    let seconds = |at: usize, key: &str| report[at][key].as_f64().unwrap();
    assert!(seconds(0, "hash_seconds") > seconds(2, "hash_seconds"), "{report}");
    let sum: f64 = (0..3).map(|at| seconds(at, "hash_seconds")).sum();
    assert!((seconds(2, "saved_seconds") - sum).abs() < 1e-9, "{report}");
    assert_eq!(
        (seconds(0, "saved_seconds"), seconds(2, "saved_share")),
        (seconds(0, "hash_seconds"), 1.0)
    );
    // What the lane says that it used is what the tokens cost.
    let spent = gate.metrics().value("portcullis_legacy_cpu_seconds_total");
    assert!(sum <= spent && sum > spent / 2.0, "{sum} of {spent}");

    let answer = control.get("1/legacy-report/?since=7d&limit=2").json();
    assert_eq!(answer["data"], json!([report[0], report[1]]));
    assert_eq!(answer["extra"]["pagination"]["total_count"], 3);
    assert_eq!(control.get("1/legacy-report/?since=soon").status, 400);
    assert_eq!(control.get("2/legacy-report/").status, 403);
    let text = home.run(&["legacy", "report", "--since", "1d"]).stdout;
    assert!(text.contains("3 legacy tokens, 8 requests, "), "{text}");
    assert_eq!(home.attempt(&["legacy", "report", "--since", "soon"]).code, 2);
}
