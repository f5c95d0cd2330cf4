//! Import and export against a real store.

use serde_json::{Value, json};

use crate::cli::Exit;
use crate::cli::harness::{Harness, Ran};
use crate::core::token::{Secret, TokenKind};

/// Stands for a secret; no output may hold it.
const MARKED: &str = "MARKED~secret~0123456789";

fn import(harness: &Harness, text: &str, more: &[&str]) -> Ran {
    harness.write("in.jsonl", text);
    harness.run(&[&["import", "in.jsonl", "--json"], more].concat())
}

/// A token line with these entries in place of a verifier.
fn token_line(more: &str) -> String {
    format!(
        r#"{{"account_id":1,"name":"ci","created_at":"2024-05-01T00:00:00Z","grants":[{{"permission_set":"job_admin"}}],{more}}}"#
    )
}

fn summary(lines: u64, added: u64, unchanged: u64, rejected: u64) -> Value {
    json!({"lines": lines, "added": added, "unchanged": unchanged, "rejected": rejected})
}

/// Lines that are refused, and a part of the reason.
fn bad_lines() -> Vec<(String, &'static str)> {
    let ours = Secret::from_entropy(TokenKind::Service, [1; 32]);
    let mistyped = format!("{}x", &ours.expose()[..52]);
    let hex = "ab".repeat(32);
    let plain = format!(r#""token":"{MARKED}""#);
    let line = |json: &str| json.replace('S', MARKED);
    vec![
        (line(r#"{"token":"S""#), "not JSON"),
        (line(r#"["S"]"#), "one JSON object"),
        (line(r#""S""#), "one JSON object"),
        (line(r#"{"type":"tokn","token":"S"}"#), "`type` must be one of"),
        (token_line(&format!(r#"{plain},"account_id":1"#)), "`account_id` is there twice"),
        (
            token_line(&format!(r#"{plain},"expire_at":null"#)),
            "unknown key `expire_at`: did you mean",
        ),
        (token_line(&format!(r#"{plain},"{MARKED}":1"#)), "unknown key `…`"),
        (token_line(&format!(r#"{plain},"sha256":"{hex}""#)), "exactly one of"),
        (token_line(r#""user_id":null"#), "needs one of"),
        (token_line(r#""token":"short""#), "16 to 512"),
        (token_line(&format!(r#""token":"{MARKED} ""#)), "0x21 to 0x7E"),
        (token_line(&format!(r#""token":"{mistyped}""#)), "checksum"),
        (token_line(r#""token":123"#), "`token` must be a text"),
        (token_line(&format!(r#""digest":"{MARKED}""#)), "KEYID:HEX"),
        (token_line(&format!(r#""digest":"k9:{hex}""#)), "not in the digest keys"),
        (token_line(r#""digest":"k1:abcd""#), "64 hexadecimal"),
        (token_line(&format!(r#""sha256":"{MARKED}""#)), "64 hexadecimal"),
        (token_line(&format!(r#""hash":"{MARKED}""#)), "no known form"),
        (token_line(r#""introspect":true,"selector":"abc""#), "cutoff"),
        (token_line(&format!(r#"{plain},"selector":"MARKED""#)), "goes with"),
        (token_line(&format!(r#"{plain},"expires_at":"tomorrow""#)), "RFC 3339"),
        (token_line(&format!(r#"{plain},"state":"gone""#)), "active, revoked"),
        (token_line(&format!(r#"{plain},"allow_ips":["10.0.0.300"]"#)), "CIDR"),
        (token_line(&plain).replace("job_admin", "job_admn"), "did you mean `job_admin`"),
        (
            token_line(&plain).replace("\"job_admin\"", "\"job_admin\",\"project_id\":99"),
            "no project 99",
        ),
        (token_line(&plain).replace(r#""account_id":1"#, r#""account_id":-1"#), "whole number"),
        (token_line(&plain).replace(r#""account_id":1"#, r#""account_id":77"#), "account 77"),
        (token_line(&format!(r#"{plain},"user_id":99"#)), "no user 99"),
        (line(r#"{"type":"account","id":3,"name":"x","plan":"gold"}"#), "`plan` must be one of"),
        (line(r#"{"type":"project","account_id":1,"id":3}"#), "`name` is missing"),
        (
            line(r#"{"type":"user","account_id":1,"id":3,"name":"x","licence":"it","admin":1}"#),
            "true or false",
        ),
        (
            line(r#"{"type":"ip_rule","account_id":1,"action":"allow","cidr":"::ffff:0:0/90"}"#),
            "at least 96",
        ),
        (line(r#"{"type":"ip_rules","account_id":1}"#), "`enabled`"),
        (
            line(
                r#"{"type":"id","account_id":1,"index":"job_id","id":1,"project_id":10,"environment_category":"all"}"#,
            ),
            "`all` is for grants",
        ),
        (format!(r#"{{"name":"{}","token":"{MARKED}"}}"#, "x".repeat(70_000)), "longer than"),
    ]
}

#[test]
fn every_bad_line_is_refused_with_its_number_and_reason_and_the_rest_is_imported() {
    let harness = Harness::with_account();
    let bad = bad_lines();
    let good = token_line(r#""token":"good-token-0000001""#);
    let mut text: String = bad.iter().map(|(line, _)| format!("{line}\n\n")).collect();
    text.push_str(&good);
    let ran = import(&harness, &text, &["--rejects", "bad.jsonl"]).expect(Exit::Invalid);
    let count = bad.len() as u64;
    assert_eq!(ran.json(), summary(count + 1, 1, 0, count));
    let rejects = harness.read("bad.jsonl");
    for ((line, reason), (position, reject)) in bad.iter().zip(rejects.lines().enumerate()) {
        let reject: Value = serde_json::from_str(reject).unwrap();
        assert_eq!(reject["line"], position as u64 * 2 + 1, "{line}");
        assert!(reject["reason"].as_str().unwrap().contains(reason), "{line}: {reject}");
    }
    assert_eq!(rejects.lines().count() as u64, count);
    let notes = harness.run(&["import", "in.jsonl"]).expect(Exit::Invalid).stderr;
    assert!(notes.contains("in.jsonl:1: not JSON"), "{notes}");
    for shown in [rejects, ran.stderr, ran.stdout, notes] {
        assert!(!shown.contains("MARKED~") && !shown.contains("~0123"), "{shown}");
    }
}

#[test]
fn a_line_that_is_not_text_is_refused() {
    let harness = Harness::with_account();
    let ran = harness.run_in(&["import", "-"], b"\xff\xfe\n", Default::default());
    assert!(ran.expect(Exit::Invalid).stderr.contains("-:1: the line is not UTF-8"));
}

#[test]
fn importing_again_changes_and_revives_nothing() {
    let harness = Harness::with_account();
    let text = [
        r#"{"type":"account","id":2,"name":"Two","plan":"enterprise","state":"open"}"#.to_owned(),
        r#"{"type":"ip_rules","account_id":2,"enabled":false}"#.to_owned(),
        token_line(r#""token":"foreign-token-00001""#),
    ]
    .join("\r\n");
    assert_eq!(import(&harness, &text, &[]).expect(Exit::Done).json(), summary(3, 2, 1, 0));
    assert_eq!(import(&harness, &text, &[]).expect(Exit::Done).json(), summary(3, 0, 3, 0));
    let id = harness.json("token list --account 1 --json")[0]["id"].clone();
    harness.ok(&format!("token revoke {id}"));
    harness.ok("account close 2");
    harness.ok("ip-rule enable --account 2");
    // Under a new key the digest is another: the secret is the same all the same.
    let old_key = harness.read("digest.key");
    harness.write("digest.key", &format!("k2:{}\n{old_key}", "cd".repeat(32)));
    assert_eq!(import(&harness, &text, &[]).expect(Exit::Done).json(), summary(3, 0, 3, 0));
    assert_eq!(harness.json("token list --account 1 --json")[0]["state"], "revoked");
    let account = harness.json("account show 2 --json");
    assert_eq!((&account["state"], &account["ip_rules_enabled"]), (&json!("closed"), &json!(true)));
}

#[test]
fn a_secret_of_another_account_is_refused() {
    let harness = Harness::with_account();
    harness.ok("account create --id 2 --name Two --plan enterprise");
    let first = token_line(r#""token":"foreign-token-00001""#);
    let second = first.replace(r#""account_id":1"#, r#""account_id":2"#);
    let ran = import(&harness, &format!("{first}\n{second}\n"), &[]).expect(Exit::Invalid);
    assert_eq!(ran.json(), summary(2, 1, 0, 1));
}

#[test]
fn accounts_and_projects_are_made_where_asked_for() {
    let harness = Harness::with_account();
    let lines = [
        token_line(r#""token":"foreign-token-00001""#)
            .replace(r#""account_id":1"#, r#""account_id":30"#)
            .replace("\"job_admin\"", "\"job_admin\",\"project_id\":5"),
        r#"{"type":"id","account_id":30,"index":"job_id","id":9,"project_id":6}"#.to_owned(),
        r#"{"type":"project","account_id":31,"id":1,"name":"own"}"#.to_owned(),
    ]
    .join("\n");
    assert_eq!(import(&harness, &lines, &[]).expect(Exit::Invalid).json(), summary(3, 0, 0, 3));
    let ran = import(&harness, &lines, &["--create-accounts", "team"]).expect(Exit::Done);
    assert_eq!(ran.json(), summary(3, 3, 0, 0));
    assert!(ran.stderr.contains("4 accounts and projects were made"), "{ran:?}");
    let account = harness.json("account show 30 --json");
    assert_eq!((&account["name"], &account["plan"]), (&json!("account 30"), &json!("team")));
    assert_eq!(harness.json("project list --account 30 --json")[1]["id"], 6);
    assert_eq!(harness.json("project list --account 31 --json")[0]["name"], "own");
}

#[test]
fn a_dry_run_says_the_same_and_leaves_nothing_behind() {
    let harness = Harness::with_account();
    let text = [
        r#"{"type":"account","id":2,"name":"Two","plan":"enterprise"}"#.to_owned(),
        token_line(r#""token":"foreign-token-00001""#).replace(":1,", ":2,"),
        token_line(r#""token":"foreign-token-00002","user_id":99"#),
    ]
    .join("\n");
    let before = harness.ok("export").stdout;
    let dry = import(&harness, &text, &["--dry-run"]).expect(Exit::Invalid);
    assert_eq!(dry.json(), summary(3, 2, 0, 1));
    assert!(dry.stderr.contains("nothing was changed"));
    assert_eq!(harness.ok("export").stdout, before);
    let left = std::fs::read_dir(harness.path("")).unwrap();
    let hidden = |name: &std::ffi::OsString| name.to_string_lossy().starts_with('.');
    assert!(!left.map(|entry| entry.unwrap().file_name()).any(|name| hidden(&name)));
    assert_eq!(import(&harness, &text, &[]).expect(Exit::Invalid).json(), dry.json());
}

#[test]
fn a_large_import_goes_in_batches_and_keeps_its_numbers() {
    let harness = Harness::with_account();
    let mut text = String::new();
    for number in 0..4_500 {
        let secret =
            if number == 4_000 { "short".to_owned() } else { format!("foreign-{number:08}") };
        text.push_str(&token_line(&format!(r#""token":"{secret}""#)));
        text.push('\n');
    }
    let ran = import(&harness, &text, &[]).expect(Exit::Invalid);
    assert_eq!(ran.json(), summary(4_500, 4_499, 0, 1));
    assert!(ran.stderr.contains("in.jsonl:4001: "), "{ran:?}");
    assert_eq!(import(&harness, &text, &[]).json(), summary(4_500, 0, 4_499, 1));
}

#[test]
fn the_rejects_never_replace_the_input() {
    let harness = Harness::with_account();
    let ran = import(&harness, "{}", &["--rejects", "./in.jsonl"]).expect(Exit::Usage);
    assert!(ran.stderr.contains("--rejects"), "{ran:?}");
    assert_eq!(harness.read("in.jsonl"), "{}");
    let missing = harness.run(&["import", "nowhere.jsonl"]).expect(Exit::Failed);
    assert!(missing.stderr.contains("nowhere.jsonl"), "{missing:?}");
}

/// A store with everything that an export has to carry.
fn furnished() -> Harness {
    let mut harness = Harness::with_account();
    harness.ok("user create --account 1 --id 8 --name Bob --licence it");
    harness.ok("ip-rule allow --account 1 10.0.0.0/8 --name office");
    harness.ok("ip-rule deny --account 1 10.1.0.0/16 2001:db8::/32");
    harness.ok("ip-rule enable --account 1");
    harness.ok("id-index set --account 1 job_id 77 10 --category production");
    harness.ok("id-index set --account 1 job_id 78 11");
    harness.ok("account create --id 2 --name Two --plan enterprise");
    harness.ok("account close 2");
    let create = "token create --account 1 --name t --grant";
    harness
        .ok(&format!("{create} job_admin:10 developer@staging+development --allow-ip 10.0.0.0/8"));
    harness.ok(&format!("{create} developer --user 7 --not-before 2026-02-01"));
    harness.ok(&format!("{create} job_admin:11 --expires 1d"));
    let rotated = harness.json(&format!("{create} job_admin:10"))["id"].clone();
    harness.ok(&format!("token rotate {rotated} --grace 1h"));
    let revoked = harness.json(&format!("{create} developer --user 8"))["id"].clone();
    harness.ok(&format!("token revoke {revoked}"));
    harness.ok(&format!("{create} developer --user 8"));
    harness.write("old.jsonl", &legacy_lines());
    harness.ok("import old.jsonl");
    let later =
        harness.json(&format!("{create} job_admin:10 --not-before 2026-03-01"))["id"].clone();
    harness.ok(&format!("token rotate {later} --grace 1h"));
    let sets = harness.read("permission_sets.toml");
    let retired =
        "\n[sets.retired]\nfamily = \"project\"\nread = [\"Jobs\"]\nplans = [\"enterprise\"]\n";
    harness.write("permission_sets.toml", &format!("{sets}{retired}"));
    harness.ok(&format!("{create} retired"));
    harness.write("permission_sets.toml", &sets);
    // Now grants are suspended, tokens expired and a user and a project gone.
    harness.ok("user remove --account 1 8");
    harness.ok("project remove --account 1 11");
    harness.ok("account set-plan 1 starter");
    harness.now += 2 * 86_400;
    harness
}

fn legacy_lines() -> String {
    let old = |more: &str| token_line(more).replace("2024-", "2020-");
    [
        old(r#""introspect":true,"selector":"dbtc_abc""#),
        old(&format!(r#""hash":"{}""#, bcrypt::hash("legacy-secret", 4).unwrap())),
        token_line(&format!(
            r#""sha256":"{}","expires_at":"9999-12-31T23:59:59Z""#,
            "ab".repeat(32)
        )),
        token_line(&format!(r#""digest":"retired:{}","state":"revoked""#, "cd".repeat(32))),
    ]
    .join("\n")
}

#[test]
fn an_export_is_read_back_into_an_empty_store_and_exported_as_it_was() {
    let harness = furnished();
    let export = harness.ok("export").stdout;
    let kinds: Vec<String> = export
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].as_str().unwrap().into())
        .collect();
    let mut in_order = kinds.clone();
    in_order.dedup();
    let expected = ["account", "project", "user", "ip_rule", "ip_rules", "id", "token"];
    assert_eq!(in_order, expected);
    assert!(export.contains(r#""suspended":true"#) && export.contains(r#""state":"revoked""#));

    let other = Harness::new();
    other.write("digest.key", &harness.read("digest.key"));
    // Nothing is there, not even the operator's own account.
    for name in ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm"] {
        let _ = std::fs::remove_file(other.path(name));
    }
    other.write("export.jsonl", &export);
    other.ok("import export.jsonl --create-store");
    assert_eq!(other.ok("export").stdout, export);
    assert_eq!(other.json("import export.jsonl --json")["added"], 0);
}

#[test]
fn an_export_can_be_of_one_account() {
    let harness = furnished();
    let export = harness.ok("export --account 1").stdout;
    assert!(export.lines().count() > 10 && !export.contains("bootstrap"));
    assert!(!export.contains(r#""name":"Two""#));
    let other = Harness::new();
    other.write("digest.key", &harness.read("digest.key"));
    other.write("export.jsonl", &export);
    other.ok("import export.jsonl");
    assert_eq!(other.ok("export --account 1").stdout, export);
    harness.run(&["export", "--account", "99"]).expect(Exit::Failed);
}

#[test]
fn a_store_is_made_only_where_that_is_asked_for_and_none_is_there() {
    let harness = furnished();
    harness.write("export.jsonl", &harness.ok("export --account 1").stdout);
    let before = harness.ok("export --account 1").stdout;
    harness.ok("import export.jsonl --create-store");
    assert_eq!(harness.ok("export --account 1").stdout, before);
    for name in ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm"] {
        let _ = std::fs::remove_file(harness.path(name));
    }
    harness.run(&["import", "export.jsonl"]).expect(Exit::Failed);
    let ran = harness.ok("import export.jsonl --create-store");
    assert!(ran.stderr.contains("an empty store was made"), "{}", ran.stderr);
    assert_eq!(harness.ok("export --account 1").stdout, before);
}
