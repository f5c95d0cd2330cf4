//! What concerns the whole store: imports that are killed, and backups restored under a gate.

use std::fmt::Write as _;
use std::process::Stdio;

use crate::support::world::{READER, SERVICE, token_line};
use crate::support::{Home, eventually, gate_before_upstream};

/// Lines of an import that takes several transactions.
const LINES: usize = 30_000;

fn secret(number: usize) -> String {
    format!("imported-token-{number:06}")
}

fn lines() -> String {
    (0..LINES).fold(String::new(), |mut lines, number| {
        let members = format!(r#""token":"{}""#, secret(number));
        let _ = write!(lines, "{}", token_line(&format!("n{number}"), &members));
        lines
    })
}

/// Tokens that the store has.
fn stored(home: &Home) -> usize {
    let store = rusqlite::Connection::open(home.path("portcullis.db")).unwrap();
    let count = store.query_row("SELECT count(*) FROM tokens", [], |row| row.get::<_, i64>(0));
    count.unwrap() as usize
}

#[test]
fn an_import_that_is_killed_is_taken_up_by_running_it_again_and_adds_nothing_twice() {
    let home = Home::new();
    let before = stored(&home);
    home.write("many.jsonl", &lines());
    let file = home.path("many.jsonl");
    let file = file.to_str().unwrap();
    let mut command = home.command();
    command.args(["import", file]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut importing = command.spawn().unwrap();
    eventually("part of it is stored", || (stored(&home) > before).then_some(()));
    importing.kill().unwrap();
    importing.wait().unwrap();
    let kept = stored(&home) - before;
    assert!(kept > 0 && kept < LINES, "{kept} of {LINES} when it was killed");

    let again = home.run(&["--json", "import", file]).json();
    assert_eq!(again["unchanged"], kept, "{again}");
    assert_eq!(again["added"], LINES - kept, "{again}");
    assert_eq!(again["rejected"], 0, "{again}");
    assert_eq!(stored(&home), before + LINES);
    let third = home.run(&["--json", "import", file]).json();
    assert_eq!(third["unchanged"], LINES, "{third}");
    home.run(&["audit", "verify"]);
}

#[test]
fn a_backup_that_is_restored_under_a_gate_is_in_force_at_once_and_revives_nothing() {
    let (home, _upstream, gate) = gate_before_upstream(|_| {});
    let reader = home.token_id("reader").to_string();
    let backup = home.path("backup.db");
    let backup = backup.to_str().unwrap();
    home.run(&["backup", backup]);
    let (_, lost) = home.make_token(&["--grant", "job_admin"]);
    home.run(&["token", "revoke", &reader]);
    eventually("a token made since", || (gate.status("/me/", &lost) == 200).then_some(()));
    eventually("a revocation", || (gate.status("/me/", READER) == 401).then_some(()));

    home.run(&["restore", backup, "--yes"]);
    eventually("what was made since is unknown", || {
        (gate.status("/me/", &lost) == 401).then_some(())
    });
    assert_eq!(gate.status("/me/", READER), 401, "what was revoked since stays so");
    assert_eq!(gate.status("/me/", SERVICE), 200);
    let (_, made) = home.make_token(&["--grant", "job_admin"]);
    eventually("changes of the new epoch", || (gate.status("/me/", &made) == 200).then_some(()));
    home.run(&["audit", "verify"]);
}

#[test]
fn a_gate_does_not_follow_a_file_that_was_copied_back() {
    let (home, _upstream, gate) = gate_before_upstream(|_| {});
    let reader = home.token_id("reader").to_string();
    let backup = home.path("backup.db");
    home.run(&["backup", backup.to_str().unwrap()]);
    home.run(&["token", "revoke", &reader]);
    eventually("a revocation", || (gate.status("/me/", READER) == 401).then_some(()));

    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(home.path(&format!("portcullis.db{suffix}")));
    }
    std::fs::rename(&backup, home.path("portcullis.db")).unwrap();
    gate.wait_for_log("a gate does not go back");
    assert_eq!(gate.status("/me/", READER), 401);
    assert_eq!(gate.status("/me/", SERVICE), 200);
    let ready = gate.admin_get("/readyz");
    assert!(ready.status == 200 && ready.text() != "ready\n", "{ready:?}");
}
