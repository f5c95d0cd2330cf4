use serde_json::{Value, json};

use crate::cli::Exit;
use crate::cli::harness::{Harness, Ran};

const DECLARED: &str = r#"
[[account]]
id = 1
name = "Acme"
plan = "enterprise"
ip_rules_enabled = true

[[account.project]]
id = 10
name = "ten"

[[account.user]]
id = 7
name = "Ann"
licence = "developer"
admin = true

[[account.ip_rule]]
action = "allow"
cidr = "192.0.2.0/24"
name = "office"

[[account.ip_rule]]
action = "deny"
cidr = "192.0.2.66"

[[account.id_index]]
index = "job_id"
id = 77
project_id = 10
environment_category = "production"

[[account.token]]
name = "ci"
grants = ["developer:10@staging", "readonly"]
allow_ips = ["192.0.2.7"]
not_before = 2025-01-01
expires_at = "2030-01-01T00:00:00Z"

[[account.token]]
name = "laptop"
user_id = 7
grants = ["developer"]
"#;

fn apply(harness: &Harness, text: &str, more: &[&str]) -> Ran {
    harness.write("accounts.toml", text);
    harness.run(&[&["apply", "-f", "accounts.toml"], more].concat())
}

/// What an export says, without when and how.
fn state(harness: &Harness) -> Vec<Value> {
    let mut lines: Vec<Value> = harness
        .ok("export --account 1")
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        line.remove("digest");
        line.remove("created_at");
    }
    lines
}

#[test]
fn what_a_file_declares_is_made_once_with_secrets_that_work() {
    let harness = Harness::new();
    let planned = apply(&harness, DECLARED, &["--dry-run"]).expect(Exit::Done);
    for line in [
        "account 1\n",
        "  + account 1: `Acme`, plan enterprise\n",
        "  + project 10: `ten`\n",
        "  + user 7: `Ann`, licence developer, admin\n",
        "  + job_id 77: project 10, production\n",
        "  + IP rule allow 192.0.2.0/24: `office`\n",
        "  + IP rule deny 192.0.2.66/32\n",
        "  ~ IP rules: put in force\n",
        "  + service token `ci`: developer:10@staging readonly\n",
        "  + token of user 7 `laptop`: developer\n",
        "8 to create, 1 to change, 0 to remove\n",
    ] {
        assert!(planned.stdout.contains(line), "no {line}{planned:?}");
    }
    harness.run(&["account", "show", "1"]).expect(Exit::Failed);

    let ran = apply(&harness, DECLARED, &[]).expect(Exit::Done);
    assert!(ran.stderr.contains(&planned.stdout), "{ran:?}");
    let issued: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(issued.len(), 2, "{ran:?}");
    for token in &issued {
        let secret = token["token"].as_str().unwrap();
        assert!(!ran.stderr.contains(secret));
        harness.run_fed(&["token", "verify", "-"], secret).expect(Exit::Done);
    }
    let made = state(&harness);
    assert!(
        made.contains(&json!({
            "type": "token", "account_id": 1, "name": "ci", "expires_at": "2030-01-01T00:00:00Z",
            "not_before": "2025-01-01T00:00:00Z", "state": "active", "user_id": null,
            "allow_ips": ["192.0.2.7/32"],
            "grants": [
                { "permission_set": "developer", "project_id": 10,
                  "writable_environment_categories": ["staging"] },
                { "permission_set": "readonly", "project_id": null,
                  "writable_environment_categories": [] },
            ],
        })),
        "{made:?}"
    );

    for more in [&[][..], &["--prune"], &["--dry-run"]] {
        let again = apply(&harness, DECLARED, more).expect(Exit::Done);
        let said = again.stdout + &again.stderr;
        assert_eq!(said, "nothing to change: all is as declared\n");
    }
    assert_eq!(state(&harness), made);
}

#[test]
fn what_differs_is_changed_and_what_is_not_declared_goes_only_when_asked() {
    let harness = Harness::new();
    apply(&harness, DECLARED, &[]).expect(Exit::Done);
    harness.ok("project create --account 1 --id 11 --name eleven");
    harness.ok("user create --account 1 --id 8 --name Bob --licence it");
    harness.ok("token create --account 1 --name other --grant readonly");
    harness.ok("token create --account 1 --user 8 --name bobs --grant readonly");
    harness.ok("id-index set --account 1 job_id 78 11");
    harness.ok("ip-rule allow --account 1 198.51.100.0/24");
    let changed = DECLARED
        .replace(r#""Acme""#, r#""Acme Corp""#)
        .replace(r#"plan = "enterprise""#, r#"plan = "enterprise_plus""#)
        .replace(r#"name = "ten""#, r#"name = "Ten""#)
        .replace(r#"licence = "developer""#, r#"licence = "it""#)
        .replace("\"production\"", "\"staging\"")
        .replace("action = \"deny\"", "action = \"allow\"")
        .replace(r#"["developer:10@staging", "readonly"]"#, r#"["job_viewer"]"#);
    let ran = apply(&harness, &changed, &["--json"]).expect(Exit::Done).json();
    let changes = ran["changes"].as_array().unwrap();
    assert!(changes.iter().all(|change| change["action"] == "change"), "{ran}");
    assert_eq!((&ran["dry_run"], &ran["tokens"]), (&json!(false), &json!([])));
    let shown = harness.json("account show 1 --json");
    assert_eq!((&shown["name"], &shown["plan"]), (&"Acme Corp".into(), &"enterprise_plus".into()));
    let users = harness.json("user list --account 1 --json");
    assert_eq!((&users[0]["licence"], users.as_array().unwrap().len()), (&"it".into(), 2));

    let pruned = apply(&harness, &changed, &["--prune"]).expect(Exit::Done).stderr;
    for line in [
        "  - IP rule allow 198.51.100.0/24\n",
        "  - service token `other` (4): revoked, for good\n",
        "  - token of user 8 `bobs` (5): revoked, for good\n",
        "  - user 8 `Bob`: with the personal tokens, if any\n",
        "  - job_id 78\n",
        "  - project 11 `eleven`: grants on it cover nothing then\n",
        "0 to create, 0 to change, 6 to remove\n",
    ] {
        assert!(pruned.contains(line), "no {line}{pruned}");
    }
    let tokens = harness.json("token list --account 1 --json");
    let states: Vec<_> = tokens.as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["active", "active", "revoked", "revoked"]);
    harness.ok("audit verify");
}

#[test]
fn an_account_whose_rules_are_not_declared_keeps_them_and_others_are_not_touched() {
    let harness = Harness::with_account();
    harness.ok("ip-rule allow --account 1 198.51.100.0/24");
    harness.ok("ip-rule enable --account 1");
    let before = harness.ok("export --account 0").stdout;
    let little = "[[account]]\nid = 1\nname = \"Acme\"\nplan = \"enterprise\"\n";
    let ran = apply(&harness, little, &["--prune"]).expect(Exit::Done);
    assert!(!ran.stderr.contains("IP rule"), "{ran:?}");
    assert!(harness.ok("ip-rule list --account 1").stdout.contains("198.51.100.0/24"));
    assert_eq!(harness.json("account show 1 --json")["ip_rules_enabled"], true);
    assert_eq!(harness.ok("export --account 0").stdout, before);
}

#[test]
fn a_rotation_is_left_to_run_its_course() {
    let harness = Harness::new();
    apply(&harness, DECLARED, &[]).expect(Exit::Done);
    harness.ok("token rotate 3 --grace 1h");
    let ran = apply(&harness, DECLARED, &["--prune"]).expect(Exit::Done);
    assert_eq!(ran.stderr, "nothing to change: all is as declared\n");
}

#[test]
fn where_anything_cannot_be_done_all_of_it_is_told_with_its_line_and_nothing_is_changed() {
    let harness = Harness::new();
    let wrong = r#"[[account]]
id = 1
name = "Acme"
plan = "starter"

[[account.project]]
id = 10
name = "ten"

[[account.token]]
name = "too much"
grants = ["job_admin"]

[[account.token]]
name = "nowhere"
grants = ["semantic_layer_only:99"]

[[account.token]]
name = "nobody's"
user_id = 9
grants = ["developer"]

[[account]]
id = 2
name = "Two"
plan = "enterprise"

[[account.token]]
name = "mistyped"
grants = ["job_admim"]
"#;
    for more in [&[][..], &["--dry-run"], &["--json"]] {
        let ran = apply(&harness, wrong, more).expect(Exit::Invalid);
        for expected in [
            "accounts.toml:10: error: service token `too much`: account 1 is on plan starter",
            "accounts.toml:14: error: service token `nowhere`: account 1 has no project 99",
            "accounts.toml:18: error: token of user 9 `nobody's`: account 1 has no user 9",
            "accounts.toml:28: error: service token `mistyped`: there is no permission set \
             `job_admim`: did you mean `job_admin`?",
            "nothing was changed",
        ] {
            assert!(ran.stderr.contains(expected), "no {expected}\n{}", ran.stderr);
        }
        assert_eq!(ran.stdout, "");
    }
    harness.run(&["account", "show", "1"]).expect(Exit::Failed);
    harness.run(&["account", "show", "2"]).expect(Exit::Failed);
}

#[test]
fn what_never_changes_about_a_token_is_told() {
    let harness = Harness::new();
    apply(&harness, DECLARED, &[]).expect(Exit::Done);
    let others = [
        (r#"allow_ips = ["192.0.2.7"]"#, "allow_ips = []", "another allow_ips"),
        ("not_before = 2025-01-01", "not_before = 2025-01-02", "another not_before"),
        ("2030-01-01", "2031-01-01", "another expires_at"),
    ];
    for (now, then, expected) in others {
        let ran = apply(&harness, &DECLARED.replace(now, then), &[]).expect(Exit::Invalid);
        assert!(ran.stderr.contains("accounts.toml:33: error: service token `ci` is token"));
        assert!(ran.stderr.contains(expected), "{ran:?}");
    }
    harness.ok("token create --account 1 --name ci --grant readonly");
    let ran = apply(&harness, DECLARED, &[]).expect(Exit::Invalid);
    assert!(ran.stderr.contains("not one token but several"), "{ran:?}");
}

#[test]
fn mistakes_in_the_file_are_told_all_at_once_with_their_lines() {
    let harness = Harness::new();
    let cases = [
        ("", "accounts.toml:1: error: there is no account"),
        ("[[acount]]\n", "unknown section or key `acount`\n"),
        ("[[account]]\nid = 1\nname = \"A\"\n", "accounts.toml:1:1: error: `plan` is required"),
        ("[[account]]\nid = -1\n", "accounts.toml:2:6: error: must not be negative"),
        ("account = 3\n", "accounts.toml:1:11: error: expected an array, found an integer"),
        ("[[account]]\nplan = \"entreprise\"\n", "did you mean `enterprise`?"),
        ("[[account]]\nstate = \"shut\"\n", "accounts.toml:2:9: error: `shut` is not known here"),
        ("[[account.token]]\nname = \"t\"\n", "accounts.toml"),
        ("[[account]]\n[[account.token]]\nname = \"t\"\n", ":2:1: error: `grants` is required"),
        (
            "[[account]]\n[[account.token]]\ngrants = [\"job_admin:x\"]\n",
            ":3:11: error: what follows",
        ),
        ("[[account]]\n[[account.token]]\nexpires_at = \"30d\"\n", ":3:14: error: neither a date"),
        ("[[account]]\n[[account.ip_rule]]\ncidr = \"192.0.2.0/33\"\n", ":3:8: error: "),
        ("[[account]]\n[[account.ip_rule]]\naction = \"permit\"\n", "`permit` is not known here"),
        ("[[account]]\n[[account.user]]\nadmin = \"yes\"\n", "expected true or false"),
        (
            "[[account]]\n[[account.id_index]]\nenvironment_category = \"all\"\n",
            "`all` is not known",
        ),
        ("[[account]]\nid = 1\nid = 2\n", "duplicate key"),
        ("[[account]\n", "not valid TOML"),
    ];
    for (text, expected) in cases {
        let ran = apply(&harness, text, &[]).expect(Exit::Invalid);
        assert!(ran.stderr.contains(expected.trim_end()), "{text}: {ran:?}");
        assert_eq!(ran.stdout, "");
    }
    let twice = format!("{DECLARED}{}", DECLARED.replace("id = 1\n", "id = 1 # again\n"));
    let ran = apply(&harness, &twice, &[]).expect(Exit::Invalid);
    assert!(ran.stderr.contains("account 1 is declared twice: first at line 2"), "{ran:?}");
    let ran = harness.run(&["apply", "-f", "none.toml"]).expect(Exit::Invalid);
    assert!(ran.stderr.contains("none.toml: error: cannot read it"), "{ran:?}");
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
    let harness = Harness::new();
    let secret = harness.bootstrap.clone();
    for key in ["token", "secret", "hash"] {
        let text = format!("[[account]]\n[[account.token]]\n{key} = \"{secret}\"\n");
        let ran = apply(&harness, &text, &[]).expect(Exit::Invalid);
        assert!(ran.stderr.contains(":3:"), "{ran:?}");
        assert!(ran.stderr.contains("a declared token has no secret"), "{ran:?}");
        assert!(!ran.stderr.contains(&secret[4..]) && ran.stdout.is_empty(), "{ran:?}");
    }
}
