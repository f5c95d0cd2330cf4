//! Metrics: their names and labels are promises.

use std::io::Write;
use std::process::Stdio;

use crate::support::tools::promtool;
use crate::support::world::{JOBS, READER, SERVICE, legacy_line};
use crate::support::{Gate, Home, Request, Upstream, eventually, gate_before_upstream};

fn start() -> (Home, Upstream, Gate) {
    gate_before_upstream(|home| {
        let hash = bcrypt::hash("legacy-secret-0001", 4).unwrap();
        home.import(&legacy_line("old", &format!(r#""hash":"{hash}","selector":"legacy-s""#)));
    })
}

/// A request of each kind, counted.
fn some_of_everything(gate: &Gate) {
    gate.get(JOBS, SERVICE);
    gate.get(JOBS, "legacy-secret-0001");
    gate.get(JOBS, "legacy-secret-0001");
    gate.get(JOBS, "legacy-secret-9999");
    gate.send(&Request::get(JOBS));
    gate.send(&Request::new("POST", JOBS).token(READER));
    gate.send(&Request::get("/open/x"));
    // Each worker flushes its own counts.
    eventually("all seven are counted", || {
        let scrape = gate.metrics();
        let count = |name| scrape.sum(name, &[]);
        let names = ["portcullis_decisions_total", "portcullis_requests_total"];
        names.into_iter().all(|name| count(name) == 7.0).then_some(())
    });
}

#[test]
fn every_promised_metric_is_there_with_its_labels() {
    let (_home, _upstream, gate) = start();
    some_of_everything(&gate);
    let scrape = gate.metrics();
    for name in [
        "portcullis_decisions_total",
        "portcullis_decision_duration_seconds",
        "portcullis_requests_total",
        "portcullis_overhead_seconds",
        "portcullis_upstream_duration_seconds",
        "portcullis_legacy_queue_depth",
        "portcullis_legacy_shed_total",
        "portcullis_legacy_verify_duration_seconds",
        "portcullis_index_tokens",
        "portcullis_index_age_seconds",
        "portcullis_index_sequence",
        "portcullis_index_overlay_entries",
        "portcullis_config_last_reload_successful",
        "portcullis_build_info",
    ] {
        assert!(scrape.text.contains(&format!("# HELP {name} ")), "{name} in\n{}", scrape.text);
        assert!(scrape.text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    for (verdict, reason, lane, count) in [
        ("allow", "allow", "fast", 1.0),
        ("allow", "allow", "slow", 1.0),
        ("allow", "allow", "cached", 1.0),
        ("allow", "public", "none", 1.0),
        ("deny", "no_credential", "none", 1.0),
        ("deny", "legacy_mismatch", "slow", 1.0),
        ("deny", "no_permission", "fast", 1.0),
    ] {
        let labels = [("verdict", verdict), ("reason", reason), ("lane", lane)];
        assert_eq!(scrape.sum("portcullis_decisions_total", &labels), count, "{labels:?}");
    }
    for (origin, class, upstream, count) in
        [("upstream", "2xx", "api", 4.0), ("gate", "4xx", "", 3.0)]
    {
        let labels = [("origin", origin), ("code_class", class), ("upstream", upstream)];
        assert_eq!(scrape.sum("portcullis_requests_total", &labels), count, "{labels:?}");
    }
    for (lane, count) in [("fast", 2.0), ("slow", 2.0), ("cached", 1.0), ("none", 2.0)] {
        let name = "portcullis_decision_duration_seconds_count";
        assert_eq!(scrape.sum(name, &[("lane", lane)]), count, "{lane}");
    }
    assert_eq!(scrape.value("portcullis_overhead_seconds_count"), 7.0);
    assert_eq!(scrape.value("portcullis_upstream_duration_seconds_count"), 4.0);
    assert!(scrape.value("portcullis_index_tokens") >= 8.0);
    assert_eq!(scrape.sum("portcullis_build_info", &[]), 1.0);
}

#[test]
fn decisions_are_timed_from_a_microsecond() {
    let (_home, _upstream, gate) = start();
    some_of_everything(&gate);
    let bounds = gate.metrics().label_values("portcullis_decision_duration_seconds_bucket", "le");
    let bounds: Vec<f64> = bounds.iter().filter_map(|bound| bound.parse().ok()).collect();
    let least = bounds.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(least <= 1e-6, "{bounds:?}");
    assert!(bounds.iter().any(|bound| (*bound - 0.01).abs() < 1e-9), "{bounds:?}");
}

#[test]
fn no_label_has_a_value_that_clients_choose() {
    let (_home, _upstream, gate) = start();
    for number in 0..50 {
        gate.send(
            &Request::new(&format!("M{number}"), &format!("/path{number}?q{number}"))
                .token(&format!("unknown-token-number-{number}"))
                .header("Host", &format!("host{number}.example")),
        );
    }
    gate.expect_decisions("unknown_token", 50.0);
    let text = gate.metrics().text;
    for what in ["M17", "path17", "q17", "host17", "number-17"] {
        assert!(!text.contains(what), "{what} in\n{text}");
    }
    assert!(text.lines().filter(|line| line.starts_with("portcullis_decisions_total")).count() < 5);
}

#[test]
fn a_scrape_includes_what_finished_a_second_earlier() {
    let (_home, _upstream, gate) = start();
    let mut connection = gate.connect();
    for _ in 0..10 {
        assert_eq!(connection.send(&Request::get(JOBS).token(SERVICE)).status, 200);
    }
    let limit = std::time::Duration::from_secs(1);
    crate::support::within(limit, "all ten", || {
        (gate.metrics().decisions("allow") == 10.0).then_some(())
    });
}

#[test]
fn promtool_finds_nothing_to_correct() {
    let (_home, _upstream, gate) = start();
    some_of_everything(&gate);
    let response = gate.admin_get("/metrics");
    assert!(response.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let mut command = promtool();
    command.args(["check", "metrics"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&response.body).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn probes_answer_get_and_head() {
    let (_home, _upstream, gate) = start();
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(gate.admin_get(path).status, 200, "{path}");
        let mut connection = crate::support::Connection::tcp(gate.admin_address());
        assert_eq!(connection.send(&Request::new("HEAD", path)).status, 200, "{path}");
    }
    eventually("ready", || (gate.admin_get("/readyz").text() == "ready\n").then_some(()));
}
