//! Secrets are in no log, no metric, no answer and no file of the store.

use std::path::Path;

use crate::support::world::{JOBS, legacy_line, token_line};
use crate::support::{Gate, Home, Request, Upstream, eventually};

/// Occurs in every secret of these tests, and nowhere else.
const MARK: &str = "MARKEDSECRET";

/// Files below a folder that hold the mark.
fn holding(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path));
        } else if std::fs::read(&path)
            .is_ok_and(|bytes| crate::support::client::find(&bytes, MARK.as_bytes()).is_some())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_secret_is_nowhere_but_in_the_request() {
    let upstream = Upstream::start();
    let mut home = Home::new();
    home.forward_to(upstream.address()).set("gate", "credential_headers", r#"["x-api-key"]"#);
    let (valid, revoked, legacy) =
        (format!("{MARK}-valid-0001"), format!("{MARK}-revoked-01"), format!("legacy{MARK}-0001"));
    let hash = bcrypt::hash(&legacy, 4).unwrap();
    home.import(
        &[
            token_line("valid", &format!(r#""token":"{valid}""#)),
            token_line("revoked", &format!(r#""state":"revoked","token":"{revoked}""#)),
            legacy_line("old", &format!(r#""hash":"{hash}","selector":"legacy""#)),
        ]
        .concat(),
    );
    std::fs::remove_file(home.path("import.jsonl")).unwrap();
    let (id, made) = home.make_token(&["--grant", "job_admin"]);
    let gate = Gate::start_with(&home, &[("PORTCULLIS_LOG", "trace")]);

    let unknown = format!("{MARK}-unknown-of-nobody");
    let mistyped = format!("pts_{MARK}{}", "x".repeat(37));
    for token in [&valid, &revoked, &legacy, &legacy, &unknown, &mistyped] {
        gate.get(JOBS, token);
        gate.get("/no/such/route", token);
        gate.get("/api/v2/accounts/2/jobs/", token);
        gate.get("/a/../b", token);
        gate.send(&Request::get(JOBS).header("X-Api-Key", token));
        gate.send(&Request::get(JOBS).token(token).token(token));
        gate.send(&Request::get(JOBS).header("Authorization", &format!("Basic {token}")));
        gate.send(&Request::get("/open/x").token(token));
        gate.send(&Request::get(JOBS).token(token).header("X-Bad", "a\0b"));
        gate.send(&Request::get(JOBS).token(token).header("Content-Length", "1, 2"));
        let question =
            format!(r#"{{"token":"{token}","method":"GET","path":"{JOBS}","ip":"127.0.0.1"}}"#);
        let answer = gate.admin_post("/explain", &question);
        assert!(!answer.text().contains(MARK), "{answer:?}");
        let malformed = format!(r#"{{"token":"{token}","method":"GET","secret":"{token}"}}"#);
        let answer = gate.admin_post("/explain", &malformed);
        assert!(answer.status == 400 && !answer.text().contains(MARK), "{answer:?}");
    }
    eventually("all is counted", || (gate.metrics().decisions("public") == 6.0).then_some(()));
    assert!(!gate.metrics().text.contains(MARK));
    assert!(gate.log().contains("denied"), "the log is at its most talkative: {}", gate.log());
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains(MARK)).map(str::to_owned).collect()
    };
    assert_eq!(lines(&gate.log()), Vec::<String>::new());
    assert!(!gate.log().contains(&made));
    home.run(&["token", "revoke", &id.to_string()]);
    gate.stop();
    assert_eq!(holding(home.folder()), Vec::<String>::new());
    assert!(!upstream.seen().iter().any(|seen| seen.head.contains(MARK)));
}

#[test]
fn commands_do_not_repeat_a_secret() {
    let home = Home::new();
    let token = format!("{MARK}-on-the-command-line");
    let (_, made) = home.make_token(&["--grant", "job_admin"]);
    let id = home.token_id("made").to_string();
    let attempts: &[(&[&str], &str)] = &[
        (&["token", "verify", "-"], &token),
        (&["token", "verify", &token], ""),
        (&["--json", "token", "verify", "-"], &token),
        (
            &["explain", "--token", "-", "--method", "GET", "--path", JOBS, "--ip", "127.0.0.1"],
            &token,
        ),
        (
            &["explain", "--token", &token, "--method", "GET", "--path", JOBS, "--ip", "127.0.0.1"],
            "",
        ),
        (
            &[
                "--json", "explain", "--token", "-", "--method", "GET", "--path", JOBS, "--ip",
                "::1",
            ],
            &token,
        ),
    ];
    for (arguments, stdin) in attempts {
        let done = home.attempt_with(arguments, stdin.as_bytes());
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(!said.contains(MARK), "{arguments:?}: {said}");
        assert_ne!(done.code, 0, "{arguments:?}: {said}");
    }
    for arguments in [
        &["--json", "token", "list", "--account", "1"][..],
        &["token", "list", "--account", "1"],
        &["token", "show", &id],
        &["--json", "token", "show", &id],
        &["export"],
    ] {
        let done = home.run(arguments);
        assert!(!format!("{}{}", done.stdout, done.stderr).contains(&made), "{arguments:?}");
    }
    let found = home.attempt_with(&["token", "verify", "-"], made.as_bytes());
    assert_eq!(found.code, 0, "{found:?}");
    assert!(!found.stdout.contains(&made));
}

#[test]
fn rejected_lines_do_not_repeat_what_could_recognise_a_token() {
    let home = Home::new();
    let lines = [
        token_line("a", &format!(r#""token":"{MARK} with a space in it""#)),
        token_line("b", &format!(r#""token":"{MARK}-0000000000","sha256":"zz{MARK}""#)),
        token_line("c", &format!(r#""tokn":"{MARK}-0000000000""#)),
        format!("{{\"account_id\":1,\"token\":\"{MARK}-cut off\n"),
        token_line("e", &format!(r#""hash":"{MARK}$not$a$hash""#)),
    ];
    home.write("lines", &lines.concat());
    let (file, rejects) = (home.path("lines"), home.path("rejects"));
    let done =
        home.attempt(&["import", file.to_str().unwrap(), "--rejects", rejects.to_str().unwrap()]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(!format!("{}{}", done.stdout, done.stderr).contains(MARK), "{done:?}");
    let rejects = std::fs::read_to_string(rejects).unwrap();
    assert_eq!(rejects.lines().count(), 5, "{rejects}");
    assert!(!rejects.contains(MARK), "{rejects}");
}
