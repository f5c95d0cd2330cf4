//! Changes by another process come into force at once, and a lost store changes nothing.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::tools::wrk;
use crate::support::world::{FOREIGN, JOBS, NARROW, READER, SERVICE};
use crate::support::{Gate, Home, Request, Upstream, eventually, gate_before_upstream, within};

/// From the moment that the command has ended.
const IN_FORCE: Duration = Duration::from_millis(250);

/// Clients that go on with a token of another account while things change.
struct Load {
    child: Child,
}

impl Load {
    fn start(gate: &Gate) -> Self {
        let mut command = wrk();
        command.args(["-t", "1", "-c", "4", "-d", "60s", "--timeout", "10s"]);
        command.args(["-H", &format!("Authorization: Bearer {FOREIGN}")]);
        command.arg(gate.url("/me/")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        eventually("the load has begun", || {
            (gate.metrics().decisions("allow") > 50.0).then_some(())
        });
        Self { child }
    }

    /// Ends it; what it reports must hold no failed request.
    fn end(self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let output = self.child.wait_with_output().unwrap();
        let report = String::from_utf8(output.stdout).unwrap();
        assert!(report.contains("requests in"), "{report}");
        assert!(!report.contains("Non-2xx") && !report.contains("Socket errors"), "{report}");
    }
}

/// What a scrape says of the index: position of the last change and changes since the base.
fn index(gate: &Gate) -> (f64, f64) {
    let scrape = gate.metrics();
    let sequence = scrape.value("portcullis_index_sequence");
    (sequence, scrape.value("portcullis_index_overlay_entries"))
}

#[test]
fn changes_from_a_second_process_are_in_force_within_250_ms_under_load() {
    let (home, _upstream, gate) = gate_before_upstream(|_| {});
    let built = gate.log().matches("index built").count();
    let reader = home.token_id("reader").to_string();
    let load = Load::start(&gate);
    let (mut sequence, mut overlay) = index(&gate);
    let mut grew = |gate: &Gate| {
        let (now, entries) = index(gate);
        assert!(
            now > sequence && entries >= overlay && entries > 0.0,
            "{now} after {sequence}, {entries} entries after {overlay}"
        );
        (sequence, overlay) = (now, entries);
    };

    assert_eq!(gate.status("/me/", READER), 200);
    home.run(&["token", "revoke", &reader]);
    within(IN_FORCE, "a revocation", || (gate.status("/me/", READER) == 401).then_some(()));
    grew(&gate);

    let (_, token) = home.make_token(&["--grant", "job_admin"]);
    within(IN_FORCE, "a new token", || (gate.status("/me/", &token) == 200).then_some(()));
    grew(&gate);

    assert_eq!(gate.status(JOBS, SERVICE), 200);
    home.run(&["account", "set-plan", "1", "developer"]);
    within(IN_FORCE, "a plan", || (gate.status(JOBS, SERVICE) == 403).then_some(()));
    grew(&gate);

    home.run(&["ip-rule", "deny", "--account", "1", "127.0.0.1/32"]);
    home.run(&["ip-rule", "enable", "--account", "1"]);
    within(IN_FORCE, "an IP rule", || (gate.status("/me/", NARROW) == 403).then_some(()));
    grew(&gate);

    load.end();
    assert_eq!(gate.log().matches("index built").count(), built, "nothing was built anew");
    eventually("everything is counted", || {
        (gate.metrics().decisions("revoked") >= 1.0).then_some(())
    });
}

#[test]
fn a_revoked_token_s_open_connection_is_refused_at_its_next_request() {
    let (home, _upstream, gate) = gate_before_upstream(|_| {});
    let reader = home.token_id("reader").to_string();
    let mut connection = gate.connect();
    let request = Request::get("/me/").token(READER);
    assert_eq!(connection.send(&request).status, 200);
    home.run(&["token", "revoke", &reader]);
    within(IN_FORCE, "a revocation", || (connection.send(&request).status == 401).then_some(()));
}

#[test]
fn a_bulk_import_is_in_force_and_counted() {
    let (home, _upstream, gate) = gate_before_upstream(|_| {});
    let before = gate.metrics().value("portcullis_index_tokens");
    let lines: String = (0..3_000)
        .map(|number| {
            let members = format!(r#""token":"imported-token-{number:05}""#);
            crate::support::world::token_line(&format!("n{number}"), &members)
        })
        .collect();
    home.import(&lines);
    eventually("the last of them", || {
        (gate.status("/me/", "imported-token-02999") == 200).then_some(())
    });
    eventually("they are counted", || {
        (gate.metrics().value("portcullis_index_tokens") == before + 3_000.0).then_some(())
    });
    assert_eq!(gate.status("/me/", SERVICE), 200);
}

#[test]
fn a_gate_whose_store_is_gone_goes_on_and_says_so() {
    let upstream = Upstream::start();
    let mut home = Home::new();
    home.forward_to(upstream.address());
    let line = crate::support::world::token_line(
        "short",
        &format!(r#""expires_at":"{}","token":"expires-in-a-moment""#, soon()),
    );
    home.import(&line);
    let gate = Gate::start(&home);
    let away = home.folder().join("away");
    std::fs::create_dir(&away).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("portcullis.db{suffix}");
        let _ = std::fs::rename(home.path(&name), away.join(&name));
    }
    let noted = eventually("the loss is noted", || {
        let response = gate.admin_get("/readyz");
        (response.text() != "ready\n").then_some(response)
    });
    assert_eq!(noted.status, 200, "requests are still decided: {noted:?}");
    assert!(noted.text().contains("store"), "{noted:?}");
    gate.wait_for_log("store");
    let age = gate.metrics().value("portcullis_index_age_seconds");
    eventually("the index grows old", || {
        (gate.metrics().value("portcullis_index_age_seconds") > age + 0.2).then_some(())
    });
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    assert_eq!(gate.status("/me/", "a-token-that-nobody-has"), 401);
    eventually("expiry is still enforced", || {
        (gate.status("/me/", "expires-in-a-moment") == 401).then_some(())
    });
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("portcullis.db{suffix}");
        let _ = std::fs::rename(away.join(&name), home.path(&name));
    }
    eventually("the store is back", || {
        (gate.admin_get("/readyz").text() == "ready\n").then_some(())
    });
    let (_, token) = home.make_token(&["--grant", "job_admin"]);
    eventually("changes come again", || (gate.status("/me/", &token) == 200).then_some(()));
}

/// Two to three seconds from now.
fn soon() -> String {
    let now = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(now + 3).unwrap().to_string()
}

#[test]
fn a_restart_knows_what_was_in_force_before() {
    let (home, _upstream, gate) = gate_before_upstream(|_| {});
    let (id, revoked) = home.make_token(&["--grant", "job_admin"]);
    let (_, kept) = home.make_token(&["--grant", "job_admin"]);
    home.run(&["token", "revoke", &id.to_string()]);
    eventually("the revocation", || (gate.status("/me/", &revoked) == 401).then_some(()));
    gate.stop();
    let started = Instant::now();
    let gate = Gate::start(&home);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(gate.status("/me/", &revoked), 401);
    assert_eq!(gate.status("/me/", &kept), 200);
    gate.expect_one_decision("revoked");
}

#[test]
fn an_operator_s_commands_and_a_gate_share_the_store() {
    let (home, _upstream, gate) = gate_before_upstream(|_| {});
    std::thread::scope(|scope| {
        for number in 0..4 {
            let home = &home;
            scope.spawn(move || {
                for _ in 0..5 {
                    let name = format!("of-thread-{number}");
                    home.run(&[
                        "token",
                        "create",
                        "--account",
                        "1",
                        "--name",
                        &name,
                        "--grant",
                        "readonly",
                    ]);
                }
            });
        }
    });
    let last = home.make_token(&["--grant", "job_admin"]).1;
    eventually("the last of them", || (gate.status("/me/", &last) == 200).then_some(()));
    let list = home.run(&["--json", "token", "list", "--account", "1"]).json();
    assert_eq!(list.as_array().unwrap().len(), 4 + 20 + 1);
}
