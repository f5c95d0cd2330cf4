//! The command line as operators script it: exit codes, JSON, round trips.

use serde_json::{Value, json};

use crate::support::Home;
use crate::support::home::{Done, attempt, portcullis};
use crate::support::world::{CLOSED, JOBS, NARROW, READER, SERVICE, legacy_line, token_line};

#[test]
fn a_token_goes_from_its_making_to_its_revocation() {
    let home = Home::empty();
    home.run(&["account", "create", "--id", "1", "--name", "One", "--plan", "enterprise"]);
    let create =
        ["token", "create", "--account", "1", "--name", "ci", "--grant", "job_admin", "readonly"];
    let made = home.run(&[&create[..], &["--expires", "30d"]].concat()).json();
    let keys: Vec<&String> = made.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 6, "{made}");
    let secret = made["token"].as_str().unwrap();
    assert!(secret.starts_with("pts_") && secret.len() == 53, "{secret}");
    assert_eq!((&made["name"], &made["account_id"]), (&json!("ci"), &json!(1)));
    let lasts = seconds(&made["expires_at"]) - seconds(&made["created_at"]);
    assert_eq!(lasts, 30 * 86_400);
    let id = made["id"].to_string();

    let verified = home.attempt_with(&["--json", "token", "verify", "-"], secret.as_bytes());
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_eq!(verified.json()["id"], made["id"]);

    let listed = home.run(&["--json", "token", "list", "--account", "1"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["id"], made["id"]);
    assert_eq!(listed[0]["grants"][0]["permission_set"], "job_admin");
    let shown = home.run(&["--json", "token", "show", &id]).json();
    assert_eq!(shown, listed[0]);
    assert!(!shown.to_string().contains(secret));

    let rotated = home.run(&["token", "rotate", &id, "--grace", "1h"]).json();
    let next = rotated["token"].as_str().unwrap();
    assert_ne!(next, secret);
    let shown = home.run(&["--json", "token", "show", &id]).json();
    let grace = seconds(&shown["expires_at"]) - seconds(&rotated["created_at"]);
    assert!((3_590..=3_610).contains(&grace), "{grace}");
    assert_eq!(home.attempt(&["token", "rotate", &id]).code, 1, "rotated already");
    let new = home.run(&["--json", "token", "show", &rotated["id"].to_string()]).json();
    assert_eq!(new["grants"], shown["grants"]);
    assert_eq!(home.attempt_with(&["token", "verify", "-"], secret.as_bytes()).code, 0);

    home.run(&["token", "revoke", &id, &rotated["id"].to_string()]);
    for secret in [secret, next] {
        let verified = home.attempt_with(&["--json", "token", "verify", "-"], secret.as_bytes());
        assert_eq!(verified.code, 4, "{verified:?}");
        assert_eq!(verified.json()["reason"], "revoked");
    }
    assert_eq!(home.attempt(&["token", "rotate", &rotated["id"].to_string()]).code, 1);
    assert_eq!(home.attempt(&["token", "revoke", "999999"]).code, 1);
}

fn seconds(time: &Value) -> i64 {
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second()
}

#[test]
fn exit_codes_say_what_went_wrong() {
    let mut home = Home::new();
    assert_eq!(home.attempt(&["account", "show", "99"]).code, 1);
    assert_eq!(
        home.attempt(&["account", "create", "--id", "1", "--name", "x", "--plan", "team"]).code,
        1
    );
    assert_eq!(home.attempt(&["no-such-command"]).code, 2);
    assert_eq!(home.attempt(&["token", "create"]).code, 2);
    assert_eq!(home.attempt(&["--help"]).code, 0);
    assert_eq!(home.attempt(&["--version"]).code, 0);
    let wrong = home.attempt_with(&["token", "verify", "-"], b"a-token-that-nobody-has");
    assert_eq!(wrong.code, 4);
    let missing = attempt(portcullis().args(["-c", "/no/such/file.toml", "account", "list"]), b"");
    assert_eq!(missing.code, 3, "{missing:?}");
    home.set("gate", "workers", "-1");
    assert_eq!(home.attempt(&["account", "list"]).code, 3);
}

#[test]
fn errors_go_to_standard_error_and_data_to_standard_output() {
    let home = Home::new();
    let failed = home.attempt(&["account", "show", "99"]);
    assert!(failed.stdout.is_empty() && failed.stderr.contains("99"), "{failed:?}");
    let listed = home.run(&["--json", "account", "list"]);
    let accounts = listed.json();
    assert_eq!(accounts.as_array().unwrap().len(), 4, "{accounts}");
    assert_eq!(accounts[1]["plan"], "enterprise");
}

#[test]
fn the_configuration_file_can_be_named_by_the_environment() {
    let home = Home::new();
    let mut command = portcullis();
    command.env("PORTCULLIS_CONFIG", home.path("portcullis.toml"));
    let done = attempt(command.args(["--json", "account", "show", "1"]), b"");
    assert_eq!((done.code, done.json()["name"].clone()), (0, json!("One")));
}

#[test]
fn init_never_overwrites() {
    let home = Home::empty();
    let again = attempt(portcullis().arg("init").arg(home.folder()), b"");
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("portcullis.toml"), "{again:?}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(home.path("digest.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn init_s_own_configuration_passes_its_check() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(attempt(portcullis().arg("init").arg(folder.path()), b"").code, 0);
    let file = folder.path().join("portcullis.toml");
    let done = attempt(portcullis().arg("-c").arg(&file).arg("check"), b"");
    assert_eq!(done.code, 0, "{done:?}");
}

#[test]
fn what_is_exported_imports_into_an_empty_store_and_means_the_same() {
    let home = Home::new();
    let hash = bcrypt::hash("legacy-secret-0001", 4).unwrap();
    home.import(&[
        token_line("gone", r#""state":"revoked","token":"revoked-token-0001""#),
        legacy_line("old", &format!(r#""hash":"{hash}","selector":"legacy-s""#)),
        token_line("narrowed", r#""allow_ips":["10.0.0.0/8"],"expires_at":"2999-01-01T00:00:00Z","token":"narrowed-token-0001""#),
    ].concat());
    home.run(&["ip-rule", "allow", "--account", "1", "10.0.0.0/8", "--name", "office"]);
    home.run(&["ip-rule", "enable", "--account", "1"]);
    let exported = home.run(&["export"]).stdout;
    assert!(exported.starts_with(r#"{"type":"account""#), "{exported}");

    let other = Home::empty();
    std::fs::copy(home.path("digest.key"), other.path("digest.key")).unwrap();
    // The operator's own account and bootstrap token are there under another key already.
    let imported = other.attempt_with(&["--json", "import", "-"], exported.as_bytes());
    assert_eq!(imported.code, 0, "{imported:?}");
    let again = other.attempt_with(&["--json", "import", "-"], exported.as_bytes());
    assert_eq!((again.code, &again.json()["added"]), (0, &json!(0)), "{again:?}");
    let verify = |home: &Home, secret: &str| {
        home.attempt_with(&["token", "verify", "-"], secret.as_bytes()).code
    };
    for (secret, code) in [
        (SERVICE, 0),
        ("revoked-token-0001", 4),
        ("legacy-secret-0001", 0),
        ("narrowed-token-0001", 0),
    ] {
        assert_eq!([verify(&home, secret), verify(&other, secret)], [code, code], "{secret}");
    }
    let of_account = |home: &Home| sorted(&home.run(&["export", "--account", "1"]).stdout);
    assert_eq!(of_account(&home), of_account(&other));
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn an_import_takes_what_is_good_and_says_what_is_not() {
    let home = Home::new();
    let lines = [
        token_line("good", r#""token":"imported-token-0001""#),
        "not json\n".to_owned(),
        token_line("two verifiers", r#""token":"imported-token-0002","introspect":true"#),
        token_line("none", r#""state":"active""#),
        token_line("mistyped", &format!(r#""token":"pts_{}""#, "0".repeat(49))),
        token_line("good too", r#""token":"imported-token-0003""#),
    ];
    home.write("lines", &lines.concat());
    let (file, rejects) = (home.path("lines"), home.path("rejects"));
    let import =
        ["--json", "import", file.to_str().unwrap(), "--rejects", rejects.to_str().unwrap()];
    let done = home.attempt(&import);
    assert_eq!(done.code, 3, "{done:?}");
    assert_eq!((&done.json()["added"], &done.json()["rejected"]), (&json!(2), &json!(4)));
    let rejected: Vec<Value> = std::fs::read_to_string(&rejects)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let numbers: Vec<&Value> = rejected.iter().map(|line| &line["line"]).collect();
    assert_eq!(numbers, [2, 3, 4, 5]);
    for line in &rejected {
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 3, "{line}");
        assert!(!line["reason"].as_str().unwrap().is_empty());
    }
    let again = home.attempt(&import).json();
    assert_eq!((&again["added"], &again["unchanged"]), (&json!(0), &json!(2)));
}

#[test]
fn a_dry_run_changes_nothing() {
    let home = Home::new();
    let before = home.run(&["export"]).stdout;
    let line = token_line("new", r#""token":"imported-token-0001""#);
    let done = home.attempt_with(&["--json", "import", "-", "--dry-run"], line.as_bytes());
    assert_eq!((done.code, &done.json()["added"]), (0, &json!(1)), "{done:?}");
    assert_eq!(home.run(&["export"]).stdout, before);
}

/// What `explain` says of a request with this secret.
fn explain(home: &Home, secret: &str, method: &str, path: &str, ip: &str) -> Done {
    let arguments =
        ["--json", "explain", "--token", "-", "--method", method, "--path", path, "--ip", ip];
    home.attempt_with(&arguments, secret.as_bytes())
}

#[test]
fn explain_gives_each_reason_with_its_steps_and_exit_4() {
    let home = Home::new();
    let hash = bcrypt::hash("legacy-secret-0001", 4).unwrap();
    home.import(
        &[
            token_line("gone", r#""state":"revoked","token":"revoked-token-0001""#),
            token_line(
                "late",
                r#""expires_at":"2024-06-01T00:00:00Z","token":"expired-token-0001""#,
            ),
            token_line(
                "soon",
                r#""not_before":"2999-01-01T00:00:00Z","token":"future-token-0001""#,
            ),
            token_line("narrowed", r#""allow_ips":["127.0.0.9/32"],"token":"only-from-127.0.0.9""#),
            legacy_line("old", &format!(r#""hash":"{hash}","selector":"legacy-s""#)),
        ]
        .concat(),
    );
    home.run(&["ip-rule", "deny", "--account", "2", "127.0.0.0/8"]);
    home.run(&["ip-rule", "enable", "--account", "2"]);
    let mistyped = format!("pts_{}", "0".repeat(49));
    let foreign = crate::support::world::FOREIGN;
    let get = |token, path| (token, "GET", path);
    let cases = [
        (get(SERVICE, "/a/../b"), "bad_request", 400, "request"),
        (get("short", JOBS), "malformed_credential", 401, "credential"),
        (get(mistyped.as_str(), JOBS), "bad_checksum", 401, "credential"),
        (get("a-token-that-nobody-has", JOBS), "unknown_token", 401, "token"),
        (get("legacy-secret-9999", JOBS), "legacy_mismatch", 401, "token"),
        (get("revoked-token-0001", JOBS), "revoked", 401, "validity"),
        (get("expired-token-0001", JOBS), "expired", 401, "validity"),
        (get("future-token-0001", JOBS), "not_yet_valid", 401, "validity"),
        (get(CLOSED, JOBS), "account_closed", 403, "account"),
        (get(foreign, "/me/"), "ip_denied", 403, "ip_rules"),
        (get("only-from-127.0.0.9", JOBS), "token_ip_denied", 403, "ip_rules"),
        (get(SERVICE, "/no/such/route"), "no_route", 403, "route"),
        (get(SERVICE, "/api/v2/accounts/2/jobs/"), "wrong_account", 403, "account_scope"),
        ((READER, "POST", JOBS), "no_permission", 403, "permission"),
    ];
    for ((token, method, path), reason, status, failed) in cases {
        let done = explain(&home, token, method, path, "127.0.0.1");
        assert_eq!(done.code, 4, "{reason}: {done:?}");
        let said = done.json();
        assert_eq!(said["verdict"], "deny", "{said}");
        assert_eq!((&said["reason"], &said["status"]), (&json!(reason), &json!(status)), "{said}");
        assert_steps(&said, Some(failed));
        assert!(!done.stdout.contains(token), "{done:?}");
    }
}

/// Steps pass up to the one that failed; those after it are skipped.
fn assert_steps(said: &Value, failed: Option<&str>) {
    let steps = said["steps"].as_array().unwrap();
    assert!(steps.len() >= 9, "{said}");
    let position = steps.iter().position(|step| step["outcome"] == "fail");
    let name = position.map(|position| steps[position]["step"].as_str().unwrap());
    assert_eq!(name, failed, "{said}");
    let end = position.unwrap_or(steps.len());
    assert!(steps[..end].iter().all(|step| step["outcome"] == "pass"), "{said}");
    assert!(steps[end..].iter().skip(1).all(|step| step["outcome"] == "skipped"), "{said}");
    assert!(steps.iter().all(|step| step["detail"].is_string()), "{said}");
}

#[test]
fn explain_says_what_is_let_through_and_by_which_lane() {
    let home = Home::new();
    let hash = bcrypt::hash("legacy-secret-0001", 4).unwrap();
    home.import(&legacy_line("old", &format!(r#""hash":"{hash}","selector":"legacy-s""#)));
    let allowed = explain(&home, SERVICE, "GET", JOBS, "127.0.0.1");
    assert_eq!(allowed.code, 0, "{allowed:?}");
    let said = allowed.json();
    assert_eq!((&said["verdict"], &said["reason"]), (&json!("allow"), &json!("allow")));
    assert_steps(&said, None);
    let slow = explain(&home, "legacy-secret-0001", "GET", JOBS, "127.0.0.1");
    assert_eq!((slow.code, &slow.json()["verdict"]), (0, &json!("slow")), "{slow:?}");
    let public = explain(&home, SERVICE, "GET", "/open/x", "127.0.0.1");
    assert_eq!((public.code, &public.json()["reason"]), (0, &json!("public")), "{public:?}");
}

#[test]
fn explain_answers_by_number_and_for_another_time() {
    let home = Home::new();
    let line =
        token_line("late", r#""expires_at":"2024-06-01T00:00:00Z","token":"expired-token-0001""#);
    home.import(&line);
    let id = home.token_id("late").to_string();
    let ask = |more: &[&str]| {
        let base = [
            "--json",
            "explain",
            "--token-id",
            &id,
            "--method",
            "GET",
            "--path",
            JOBS,
            "--ip",
            "::1",
        ];
        home.attempt(&[&base[..], more].concat())
    };
    assert_eq!(ask(&[]).json()["reason"], "expired");
    let earlier = ask(&["--at", "2024-05-15T00:00:00Z"]);
    assert_eq!((earlier.code, &earlier.json()["reason"]), (0, &json!("allow")), "{earlier:?}");
    let unknown = home.attempt(&[
        "explain",
        "--token-id",
        "99999",
        "--method",
        "GET",
        "--path",
        JOBS,
        "--ip",
        "::1",
    ]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
}

#[test]
fn explain_tells_people_what_would_fix_it() {
    let home = Home::new();
    let arguments =
        ["explain", "--token", "-", "--method", "GET", "--path", JOBS, "--ip", "127.0.0.1"];
    let done = home.attempt_with(&arguments, CLOSED.as_bytes());
    assert_eq!(done.code, 4);
    assert!(done.stdout.contains("account open 3"), "{done:?}");
    assert!(home.attempt_with(&arguments, NARROW.as_bytes()).stdout.contains("FAIL"));
}

#[test]
fn check_finds_every_mistake_at_once_with_its_place() {
    let mut home = Home::new();
    home.set("gate", "concael", "true").set("limits", "header_timeout", r#""soon""#);
    home.add_routes("[[route]]\npath = \"/a/{b\"\nrequires = \"Jbos:R\"\n");
    let done = home.attempt(&["check"]);
    assert_eq!(done.code, 3, "{done:?}");
    let said = format!("{}{}", done.stdout, done.stderr);
    let places: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("portcullis.toml:") || line.contains("routes.toml:"))
        .collect();
    assert!(places.len() >= 4, "{said}");
    let routes = std::fs::read_to_string(home.path("routes.toml")).unwrap();
    let line = routes.lines().position(|line| line.contains("Jbos")).unwrap() + 1;
    assert!(said.contains(&format!("routes.toml:{line}")), "{said}");
    assert!(said.contains("conceal"), "did you mean: {said}");
    assert!(said.contains("Jobs"), "did you mean: {said}");

    let json = home.attempt(&["--json", "check"]);
    assert_eq!((json.code, &json.json()["ok"]), (3, &json!(false)), "{json:?}");
}

#[test]
fn check_warns_where_an_upstream_is_neither_loopback_nor_tls() {
    let mut home = Home::new();
    home.forward_to("192.0.2.1:9000");
    let done = home.attempt(&["check"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("warning"), "{done:?}");
}

#[test]
fn ip_rules_are_tried_without_being_enabled() {
    let home = Home::new();
    home.run(&["ip-rule", "allow", "--account", "1", "10.0.0.0/8"]);
    let try_ip = |ip: &str| home.attempt(&["ip-rule", "try", "--account", "1", "--ip", ip]);
    let (inside, outside) = (try_ip("10.1.2.3"), try_ip("192.0.2.1"));
    assert!(inside.stdout.contains("10.0.0.0/8"), "{inside:?}");
    assert_ne!(inside.stdout, outside.stdout);
    let doubled = home.attempt(&["ip-rule", "deny", "--account", "1", "10.0.0.0/8"]);
    assert_eq!(doubled.code, 1, "a CIDR in both lists is refused: {doubled:?}");
}

#[test]
fn accounts_users_and_projects_are_kept() {
    let home = Home::empty();
    home.run(&["account", "create", "--id", "5", "--name", "Five", "--plan", "enterprise"]);
    home.run(&["project", "create", "--account", "5", "--id", "50", "--name", "fifty"]);
    home.run(&[
        "user",
        "create",
        "--account",
        "5",
        "--id",
        "500",
        "--name",
        "U",
        "--licence",
        "developer",
    ]);
    home.run(&[
        "id-index",
        "set",
        "--account",
        "5",
        "job_id",
        "77",
        "50",
        "--category",
        "production",
    ]);
    let create = ["token", "create", "--account", "5", "--name", "mine", "--user", "500"];
    let made = home.run(&[&create[..], &["--grant", "developer@development"]].concat()).json();
    let secret = made["token"].as_str().unwrap();
    assert!(secret.starts_with("ptu_"), "{secret}");
    assert_eq!(home.run(&["--json", "project", "list", "--account", "5"]).json()[0]["id"], 50);
    assert_eq!(home.run(&["--json", "user", "list", "--account", "5"]).json()[0]["id"], 500);
    home.run(&["user", "remove", "--account", "5", "--id", "500"]);
    let verified = home.attempt_with(&["--json", "token", "verify", "-"], secret.as_bytes());
    assert_eq!(verified.json()["reason"], "revoked", "a user's tokens go with the user");
}

#[test]
fn completions_and_manual_pages_are_written() {
    let home = Home::empty();
    let bash = home.run(&["completions", "bash"]).stdout;
    assert!(bash.contains("portcullis"), "{bash}");
    let man = home.path("man");
    std::fs::create_dir(&man).unwrap();
    home.run(&["man", man.to_str().unwrap()]);
    assert!(std::fs::read_dir(&man).unwrap().count() > 5);
}
