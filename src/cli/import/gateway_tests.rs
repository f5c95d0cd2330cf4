//! Files of other gateways, imported into a real store.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cli::Exit;
use crate::cli::harness::{Harness, Ran};

const KEY: &str = "a-key-of-twenty-two-ch";

fn import(harness: &Harness, text: &str, options: &str) -> Ran {
    harness.write("in", text);
    let options = options.split(' ').filter(|option| !option.is_empty());
    harness.run(&["import", "in", "--json"].into_iter().chain(options).collect::<Vec<_>>())
}

/// Added, unchanged and rejected.
fn counts(ran: &Ran) -> (u64, u64, u64) {
    let count = |key| ran.json()[key].as_u64().unwrap();
    (count("added"), count("unchanged"), count("rejected"))
}

/// What `token verify` says of a secret.
fn verify(harness: &Harness, secret: &str) -> Value {
    harness.run_fed(&["token", "verify", "-", "--json"], secret).json()
}

#[test]
fn a_haproxy_map_s_keys_are_tokens_or_their_sha_256() {
    let harness = Harness::with_account();
    let hashed = "hashed-token-number-01";
    let hex = hex::encode_upper(Sha256::digest(hashed));
    let map = format!("# tokens\n{KEY} ci\n\n  {hex}\tnightly build  \nshort x\n{KEY} other\n");
    let options = "--from haproxy-map --account 1 --grant job_admin:10";
    let ran = import(&harness, &map, options).expect(Exit::Invalid);
    assert_eq!(counts(&ran), (2, 1, 1), "the first of two counts, as in HAProxy");
    assert!(ran.stderr.contains("in:5: the key: ") && !ran.stderr.contains(KEY), "{ran:?}");
    assert_eq!(verify(&harness, KEY)["name"], "ci");
    let found = verify(&harness, hashed);
    assert_eq!((&found["name"], &found["verifier"]), (&json!("nightly build"), &json!("sha256")));
    let listed = harness.json("token list --account 1 --json");
    assert_eq!(listed[0]["grants"][0]["permission_set"], "job_admin");
    assert_eq!(listed[0]["grants"][0]["project_id"], 10);
    assert_eq!(counts(&import(&harness, &map, options)), (0, 3, 1));
}

#[test]
fn a_haproxy_map_s_values_may_name_the_account() {
    let harness = Harness::with_account();
    let map = format!("{KEY}1 1/ci\n{KEY}2 1\n{KEY}3 ci\n{KEY}4\n{KEY}5 1/\n{KEY}6 99/x\n");
    let options = "--from haproxy-map --grant job_admin --rejects bad";
    let ran = import(&harness, &map, options).expect(Exit::Invalid);
    assert_eq!(counts(&ran), (2, 0, 4));
    let rejects: Vec<Value> =
        harness.read("bad").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rejects.iter().map(|reject| &reject["line"]).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert!(rejects[0]["reason"].as_str().unwrap().contains("--account N"), "{rejects:?}");
    assert_eq!(rejects[0]["input"], "… ci");
    let hex = "ab".repeat(32);
    let plain = "--from haproxy-map --grant job_admin --keys plain";
    import(&harness, &format!("{hex} 1/hex"), plain).expect(Exit::Done);
    assert_eq!(verify(&harness, &hex)["verifier"], "digest");
}

const KONG: &str = r#"_format_version: "3.0"
services:
- name: api
  url: http://127.0.0.1:9000
consumers:
- username: ci
  keyauth_credentials:
  - key: kong-key-number-0001
    tags: [a]
  - key: kong-key-number-0002
    ttl: 60
    created_at: 1767225000
- custom_id: other
  keyauth_credentials:
  - key: kong-key-number-0001
  - key: "{vault://env/key}"
  - key: 1234567890123456
- username: none
keyauth_credentials:
- consumer: ci
  key: kong-key-number-0003
- consumer: {username: ci}
  key: kong-key-number-0004
- key: kong-key-number-0005
- consumer: ci
  key: kong-key-number-0006
  acl: [x]
"#;

#[test]
fn kong_s_keys_are_found_under_consumers_and_by_themselves() {
    let harness = Harness::with_account();
    let options = "--from kong --account 1 --grant job_admin";
    let ran = import(&harness, KONG, options).expect(Exit::Invalid);
    assert_eq!(counts(&ran), (4, 0, 5));
    for (line, reason) in [
        (15, "another client"),
        (16, "vault"),
        (17, "missing or no text"),
        (24, "no consumer"),
        (25, "unknown key `acl`"),
    ] {
        let said = ran.stderr.lines().find(|text| text.contains(&format!("/in:{line}: ")));
        assert!(said.is_some_and(|text| text.contains(reason)), "{line}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("kong-key"), "{}", ran.stderr);
    assert_eq!(verify(&harness, "kong-key-number-0001")["name"], "ci");
    assert_eq!(verify(&harness, "kong-key-number-0002")["reason"], "expired");
    assert_eq!(verify(&harness, "kong-key-number-0004")["valid"], true);
    assert_eq!(counts(&import(&harness, KONG, options)), (0, 4, 5));
}

const ENVOY_FILTER: &str = r#"credentials:
- {key: envoy-key-number-001, client: ci}
- key: envoy-key-number-002
  client: nightly
- key: envoy-key-number-003
key_sources: [{header: x-api-key}]
"#;

const ENVOY_CONFIG: &str = r#"{"static_resources": {"listeners": [{"filter_chains": [{"filters": [{
  "typed_config": {"http_filters": [{"name": "a", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
    "credentials": [{"key": "envoy-key-number-001", "client": "ci"}]}}],
  "route_config": {"virtual_hosts": [{"typed_per_filter_config": {"a": {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute",
    "credentials": [{"key": "envoy-key-number-004", "client": "route"},
                    {"key": "envoy-key-number-001", "client": "ci"}]}}}]}}}]}]}]}}"#;

#[test]
fn envoy_s_keys_are_found_in_a_filter_or_a_whole_configuration() {
    let harness = Harness::with_account();
    let options = "--from envoy --account 1 --grant job_admin";
    let ran = import(&harness, ENVOY_FILTER, options).expect(Exit::Invalid);
    assert_eq!(counts(&ran), (2, 0, 1));
    assert!(ran.stderr.contains("in:5: `client` is missing"), "{}", ran.stderr);
    assert_eq!(verify(&harness, "envoy-key-number-002")["name"], "nightly");
    let ran = import(&harness, ENVOY_CONFIG, options).expect(Exit::Done);
    assert_eq!(counts(&ran), (1, 2, 0));
    assert_eq!(verify(&harness, "envoy-key-number-004")["name"], "route");
}

#[test]
fn a_file_that_is_something_else_is_refused_whole() {
    let harness = Harness::with_account();
    let before = harness.ok("export").stdout;
    for (text, from, expected) in [
        ("a: 1", "kong", "in:1: there is no `_format_version`"),
        ("_format_version: '3.0'", "kong", "no `keyauth_credentials`"),
        ("_format_version: '3.0'\nconsumers: 7", "kong", "in:2: `consumers` must be a list"),
        ("a: 1", "envoy", "there is no filter"),
        ("credentials: []", "envoy", "no `credentials`"),
        ("a: [", "envoy", "not YAML"),
        ("a: 1\na: 2", "envoy", "in:2: `a` is there twice"),
    ] {
        let options = format!("--from {from} --account 1 --grant job_admin");
        let ran = import(&harness, text, &options).expect(Exit::Invalid);
        assert!(ran.stderr.contains(expected), "{text}: {}", ran.stderr);
    }
    for (options, expected) in [
        ("--from kong --account 1", "--grant"),
        ("--from kong --grant job_admin", "--account N"),
        ("--from haproxy-map", "--grant"),
        ("--account 1", "other gateways"),
    ] {
        let ran = import(&harness, "", options).expect(Exit::Usage);
        assert!(ran.stderr.contains(expected), "{options}: {}", ran.stderr);
    }
    assert_eq!(harness.ok("export").stdout, before);
}
