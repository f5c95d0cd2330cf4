//! Audit commands against a real store.

use serde_json::Value;

use crate::cli::Exit;
use crate::cli::harness::{Harness, Ran};

fn events(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["event_type"].as_str().unwrap()).collect()
}

fn tamper(harness: &Harness, sql: &str) {
    let connection = rusqlite::Connection::open(harness.path("portcullis.db")).unwrap();
    connection.execute_batch(sql).unwrap();
}

fn find(harness: &Harness, secret: &str) -> Ran {
    harness.run_fed(&["audit", "find", "--token", "-", "--json"], secret)
}

#[test]
fn the_list_says_who_did_what_and_when() {
    let harness = Harness::with_account();
    let list = harness.json("audit list --json");
    let first = ["account.created", "service_token.created", "account.created", "project.created"];
    assert_eq!(events(&list)[..4], first);
    let entry = &list[2];
    assert_eq!((&entry["sequence"], &entry["account_id"]), (&3.into(), &1.into()));
    assert_eq!((&entry["actor_type"], &entry["actor_ip"]), (&"operator".into(), &Value::Null));
    assert_eq!(entry["after"]["plan"], "enterprise");
    assert_eq!(entry["actor_id"], rustix::process::getuid().as_raw());
    assert!(entry["created_at"].as_str().unwrap().ends_with('Z'));
    let text = harness.ok("audit list --account 1 --event project --limit 1").stdout;
    assert!(text.contains("project 11") && text.lines().count() == 2, "{text}");
    assert_eq!(events(&harness.json("audit list --since 2999-01-01 --json")), [] as [&str; 0]);
    assert_eq!(events(&harness.json("audit list --since 7d --json")).len(), 6);
}

#[test]
fn verify_prints_the_head_which_is_found_again_later() {
    let harness = Harness::with_account();
    let head = harness.json("audit verify --json")["head"].as_str().unwrap().to_owned();
    harness.ok("account close 1");
    let ran = harness.ok(&format!("audit verify --expect {head}"));
    assert!(ran.stdout.starts_with("audit log ok: 7 entries\nhead: 7:"), "{ran:?}");
    assert_eq!(harness.json(&format!("audit verify --after {head} --json"))["entries"], 1);
    let other = head.replacen("6:", "5:", 1);
    harness.run(&["audit", "verify", "--expect", &other]).expect(Exit::Found);
    harness.run(&["audit", "verify", "--after", &other]).expect(Exit::Failed);
    harness.run(&["audit", "verify", "--expect", "nonsense"]).expect(Exit::Usage);
}

#[test]
fn verify_ends_with_5_and_says_where_the_log_was_changed() {
    let harness = Harness::with_account();
    tamper(&harness, "UPDATE audit_log SET actor_name = 'nobody' WHERE sequence = 4");
    let ran = harness.run(&["audit", "verify"]).expect(Exit::Found);
    assert!(ran.stdout.starts_with("entry 4: changed"), "{ran:?}");
    tamper(&harness, "DELETE FROM audit_log WHERE sequence > 4");
    let json = harness.run(&["audit", "verify", "--json"]).expect(Exit::Found).json();
    assert_eq!((&json["ok"], &json["found"]), (&false.into(), &2.into()));
    assert_eq!(
        (&json["findings"][1]["kind"], &json["findings"][1]["last"]),
        (&"cut_off".into(), &6.into())
    );
    harness.run(&["audit", "list"]).expect(Exit::Done);
}

#[test]
fn whatever_somebody_wrote_into_the_log_can_still_be_listed() {
    let harness = Harness::with_account();
    tamper(
        &harness,
        "UPDATE audit_log SET after = '\u{1b}[2J{', hash = x'00', actor_name = '\n' WHERE sequence = 4",
    );
    let ran = harness.ok("audit list");
    assert!(ran.stdout.contains("\\u{1b}[2J{") && !ran.stdout.contains('\u{1b}'), "{ran:?}");
    assert_eq!(harness.json("audit list --json")[3]["after"], "\u{1b}[2J{");
}

#[test]
fn a_key_is_changed_by_a_line_before_the_old_one() {
    let harness = Harness::with_account();
    let old = harness.read("digest.key");
    let new = format!("k2:{}\n", "5a".repeat(32));
    harness.write("digest.key", &format!("{new}{old}"));
    harness.ok("account close 1");
    harness.ok("audit verify");
    harness.write("digest.key", &new);
    let ran = harness.ok("audit verify");
    assert!(ran.stderr.contains("no longer in digest.key (k1)"), "{ran:?}");
    harness.write("digest.key", &format!("k3:{}\n", "6b".repeat(32)));
    let ran = harness.run(&["audit", "verify"]).expect(Exit::Found);
    assert!(ran.stdout.contains("put the key back"), "{ran:?}");
}

#[test]
fn find_tells_what_became_of_a_token_without_showing_it() {
    let harness = Harness::with_account();
    let made = harness.json("token create --account 1 --name leaked --grant job_admin:10");
    let secret = made["token"].as_str().unwrap();
    harness.ok("token revoke 2");
    let ran = find(&harness, secret).expect(Exit::Done);
    assert_eq!(events(&ran.json()), ["service_token.created", "service_token.revoked"]);
    assert!(ran.stderr.contains("it is token 2 of account 1"), "{ran:?}");
    assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret));
    // Also where somebody took the token itself away.
    tamper(
        &harness,
        "PRAGMA foreign_keys = OFF; DELETE FROM grants; DELETE FROM tokens WHERE id = 2",
    );
    let ran = find(&harness, secret).expect(Exit::Done);
    assert_eq!(events(&ran.json()), ["service_token.created"]);
    assert!(ran.stderr.contains("no token in the store"), "{ran:?}");
    assert_eq!(events(&find(&harness, "another-foreign-token").json()), [] as [&str; 0]);
    find(&harness, "").expect(Exit::Usage);
    let ran = harness.run(&["audit", "find", "--token", secret]).expect(Exit::Usage);
    assert!(!ran.stderr.contains(secret), "{ran:?}");
}

#[test]
fn a_token_of_a_bulk_import_is_found_in_the_imports_entry() {
    let harness = Harness::with_account();
    let line = |n: u32| {
        format!(
            "{{\"account_id\":1,\"name\":\"t{n}\",\"created_at\":\"2024-05-01T00:00:00Z\",\
             \"grants\":[{{\"permission_set\":\"job_admin\"}}],\"token\":\"foreign-token-{n:05}\"}}\n"
        )
    };
    let text: String = (0..1500).map(line).collect();
    harness.write("t.jsonl", &text);
    harness.ok("import t.jsonl");
    let found = find(&harness, "foreign-token-00700").expect(Exit::Done).json();
    assert_eq!(events(&found), ["import.applied"]);
    let all = harness.json("audit list --event import --json");
    let last = all.as_array().unwrap().last().unwrap();
    assert_eq!(last["event_type"], "import.finished");
    assert_eq!(last["after"]["blake3"], blake3::hash(text.as_bytes()).to_hex().as_str());
    assert_eq!((&last["after"]["added"], &last["after"]["rejected"]), (&1500.into(), &0.into()));
    let counted: u64 = all
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["after"]["events"]["service_token.created"].as_u64())
        .sum();
    assert_eq!(counted, 1500);
    harness.ok("audit verify");
}
