//! Token commands against a real store.

use serde_json::{Value, json};

use crate::cli::Exit;
use crate::cli::harness::{Harness, NOW, Ran};

const DAY: i64 = 86_400;

fn create(harness: &Harness, more: &str) -> Value {
    let command = format!("token create --account 1 --name ci --grant job_admin:10 {more}");
    harness.json(command.trim_end())
}

fn verify(harness: &Harness, secret: &str) -> Ran {
    harness.run_fed(&["token", "verify", "-", "--json"], secret)
}

#[test]
fn a_token_is_printed_once_and_known_by_its_digest() {
    let harness = Harness::with_account();
    let token = create(&harness, "--expires 30d --allow-ip 10.0.0.0/8 192.0.2.1");
    let keys: Vec<_> = token.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["account_id", "created_at", "expires_at", "id", "name", "token"]);
    assert_eq!(token["expires_at"], "2026-01-31T00:00:00Z");
    let secret = token["token"].as_str().unwrap();
    let id = &token["id"];
    let shown = harness.json(&format!("token show {id} --json"));
    let expected = json!({
        "id": id, "account_id": 1, "name": "ci", "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-31T00:00:00Z", "not_before": null, "state": "active",
        "user_id": null, "allow_ips": ["10.0.0.0/8", "192.0.2.1/32"],
        "grants": [{"permission_set": "job_admin", "project_id": 10,
                    "writable_environment_categories": []}],
        "verifier": "digest", "last_used_at": null, "last_address": null, "requests": 0,
    });
    assert_eq!(shown, expected);
    assert_eq!(harness.json("token list --account 1 --json"), json!([expected]));
    for command in ["token list --account 1", "export"] {
        let ran = harness.ok(command);
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{command}");
    }
    let verified = verify(&harness, &format!("{secret}\n")).expect(Exit::Done);
    assert_eq!((&verified.json()["id"], &verified.json()["valid"]), (id, &json!(true)));
    assert!(!verified.stdout.contains(secret));
}

#[test]
fn a_token_that_breaks_a_rule_is_refused_with_the_reason() {
    let harness = Harness::with_account();
    harness.ok("account create --id 2 --name Small --plan starter");
    let cases = [
        ("--account 2 --grant job_admin", Exit::Failed, "starter"),
        ("--account 1 --grant job_admn", Exit::Failed, "did you mean `job_admin`"),
        ("--account 1 --grant job_admin:99", Exit::Failed, "no project 99"),
        ("--account 1 --grant developer --user 99", Exit::Failed, "no user 99"),
        ("--account 9 --grant job_admin", Exit::Failed, "account list"),
        ("--account 1 --grant job_admin@prod", Exit::Usage, "environment category"),
        ("--account 1 --grant job_admin --expires soon", Exit::Usage, "30d"),
        ("--account 1", Exit::Usage, "--grant"),
    ];
    for (more, exit, why) in cases {
        let command = format!("token create --name t {more}");
        let ran = harness.run(&command.split(' ').collect::<Vec<_>>()).expect(exit);
        assert!(ran.stderr.contains(why) && ran.stdout.is_empty(), "{more}: {ran:?}");
    }
}

#[test]
fn verify_says_why_a_token_is_not_valid() {
    let mut harness = Harness::with_account();
    let expiring = create(&harness, "--expires 1d");
    let later = create(&harness, "--not-before 2026-02-01");
    let revoked = create(&harness, "");
    harness.ok(&format!("token revoke {}", revoked["id"]));
    harness.now = NOW + DAY;
    let unknown = format!("foreign-{}", "x".repeat(20));
    let mistyped = format!("{}x", revoked["token"].as_str().unwrap());
    let cases = [
        (expiring["token"].as_str().unwrap(), "expired"),
        (later["token"].as_str().unwrap(), "not_yet_valid"),
        (revoked["token"].as_str().unwrap(), "revoked"),
        (&unknown, "unknown_token"),
        (&mistyped, "bad_checksum"),
        ("short", "malformed_credential"),
    ];
    for (secret, reason) in cases {
        let ran = verify(&harness, secret).expect(Exit::Denied);
        assert_eq!(ran.json()["reason"], reason);
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{ran:?}");
    }
    harness.run_fed(&["token", "verify", "-"], "").expect(Exit::Usage);
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let harness = Harness::with_account();
    let token = create(&harness, "");
    let secret = token["token"].as_str().unwrap();
    for arguments in [
        &["token", "verify", secret][..],
        &["token", "verify", "-", secret],
        &["token", "revoke", secret],
        &["token", "list", secret],
    ] {
        let ran = harness.run(arguments).expect(Exit::Usage);
        assert!(!ran.stderr.contains(secret) && !ran.stdout.contains(secret), "{ran:?}");
    }
}

#[test]
fn verify_finds_tokens_by_sha256_and_by_password_hash() {
    let harness = Harness::with_account();
    // SHA-256 and bcrypt of cost 4 of the two secrets.
    let lines = concat!(
        r#"{"account_id":1,"name":"sha","created_at":"2024-05-01T00:00:00Z","sha256":"SHA"}"#,
        "\n",
        r#"{"account_id":1,"name":"old","created_at":"2020-05-01T00:00:00Z","hash":"HASH","selector":"legacy"}"#,
        "\n",
    );
    let sha = {
        use sha2::Digest as _;
        hex::encode(sha2::Sha256::digest(b"foreign-secret-0001"))
    };
    let hash = bcrypt::hash("legacy-secret-00001", 4).unwrap();
    harness.write("t.jsonl", &lines.replace("SHA", &sha).replace("HASH", &hash));
    harness.ok("import t.jsonl");
    for (secret, name) in [("foreign-secret-0001", "sha"), ("legacy-secret-00001", "old")] {
        let found = verify(&harness, secret).expect(Exit::Done).json();
        assert_eq!(found["name"], name);
    }
    verify(&harness, "legacy-secret-00002").expect(Exit::Denied);
}

#[test]
fn rotating_makes_a_successor_and_ends_the_old_token_after_the_grace_period() {
    let mut harness = Harness::with_account();
    let old = create(&harness, "--expires 30d");
    let id = &old["id"];
    let ran = harness.ok(&format!("token rotate {id} --grace 1d"));
    let new = ran.json();
    assert!(ran.stderr.contains("expires at 2026-01-02T00:00:00Z"), "{ran:?}");
    assert_ne!(new["id"], old["id"]);
    assert_eq!(new["expires_at"], old["expires_at"]);
    let shown = harness.json(&format!("token show {id} --json"));
    assert_eq!(shown["rotated_to"], new["id"]);
    let again = harness.run(&["token", "rotate", &id.to_string()]).expect(Exit::Failed);
    assert!(again.stderr.contains("rotated already"), "{again:?}");
    harness.now += DAY;
    verify(&harness, old["token"].as_str().unwrap()).expect(Exit::Denied);
    verify(&harness, new["token"].as_str().unwrap()).expect(Exit::Done);
}

#[test]
fn revoking_goes_on_past_an_unknown_number() {
    let harness = Harness::with_account();
    let token = create(&harness, "");
    let id = token["id"].to_string();
    let ran = harness.run(&["token", "revoke", "999", &id]).expect(Exit::Failed);
    assert!(ran.stderr.contains("999") && ran.stderr.contains("token list"), "{ran:?}");
    verify(&harness, token["token"].as_str().unwrap()).expect(Exit::Denied);
    let again = harness.ok(&format!("token revoke {id}"));
    assert!(again.stderr.contains("before"), "{again:?}");
}

#[test]
fn grants_that_the_plan_does_not_allow_are_shown_as_suspended() {
    let harness = Harness::with_account();
    let id = create(&harness, "")["id"].clone();
    harness.ok("account set-plan 1 starter");
    let shown = harness.json(&format!("token show {id} --json"));
    assert_eq!(shown["grants"][0]["suspended"], true);
    assert!(harness.ok("token list --account 1").stdout.contains("job_admin:10 (suspended)"));
}
