//! IP restrictions over the API: several prefixes a rule, judged from the caller's own address.

use serde_json::{Value, json};

use crate::support::Control;

const RULES: &str = "1/ip-restrictions/";
const SET: &str = "1/ip-restrictions-set/";

fn rule(name: &str, kind: u8, cidrs: &[&str]) -> Value {
    let cidrs: Vec<Value> = cidrs.iter().map(|cidr| json!({ "cidr": cidr })).collect();
    json!({ "name": name, "type": kind, "cidrs": cidrs, "account_id": 1, "rule_set_enabled": false,
            "description": "for tests" })
}

fn is_valid(control: &Control, path: &str) -> bool {
    let answer = control.get(path);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["data"]["is_valid_for_admin"].as_bool().unwrap()
}

#[test]
fn a_rule_of_several_prefixes_is_made_changed_and_deleted() {
    let control = Control::new();
    let made = control.post(RULES, &rule("office", 1, &["10.1.2.3/8", "::ffff:192.0.2.7"]));
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json()["data"].clone();
    let cidrs: Vec<&Value> =
        made["cidrs"].as_array().unwrap().iter().map(|cidr| &cidr["cidr"]).collect();
    assert_eq!(json!(cidrs), json!(["10.0.0.0/8", "192.0.2.7/32"]));
    assert_eq!((&made["type"], &made["rule_set_enabled"]), (&json!(1), &json!(false)));
    let one = format!("{RULES}{}", made["id"]);
    assert_eq!(control.get(&one).json()["data"], made);
    let changed = control.put(&one, &rule("home", 2, &["2001:db8::/32", "10.0.0.0/8"]));
    assert_eq!(changed.status, 200, "{changed:?}");
    let changed = changed.json()["data"].clone();
    assert_eq!((&changed["id"], &changed["type"]), (&made["id"], &json!(2)));
    assert_eq!(changed["cidrs"].as_array().unwrap().len(), 2);
    let listed = control.home.run(&["--json", "ip-rule", "list", "--account", "1"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(control.post(RULES, &rule("twice", 1, &["10.0.0.0/8"])).status, 409);
    assert_eq!(control.get(RULES).json()["extra"]["pagination"]["total_count"], 1);
    assert_eq!(control.delete(&one).status, 204);
    for again in
        [control.delete(&one), control.get(&one), control.put(&one, &rule("x", 1, &["::1"]))]
    {
        assert_eq!(again.status, 404, "{again:?}");
    }
    for wrong in [
        rule("x", 3, &["10.0.0.0/8"]),
        rule("x", 1, &[]),
        rule("x", 1, &["10.0.0.300"]),
        json!({ "name": "x", "type": 1, "cidrs": [{ "cidr": "::1" }], "extra": 1 }),
        json!({ "name": "x", "type": 1, "cidrs": [{ "cidr": "::1" }], "account_id": 2 }),
    ] {
        assert_eq!(control.post(RULES, &wrong).status, 400, "{wrong}");
    }
}

#[test]
fn nobody_locks_themselves_out_unless_they_insist() {
    let control = Control::new();
    let office = control.post(RULES, &rule("office", 1, &["203.0.113.0/24"]));
    assert_eq!(office.status, 201);
    let office = office.json()["data"]["id"].clone();
    assert!(!is_valid(&control, &format!("{SET}1/validate/")));
    assert!(!is_valid(&control, &format!("{SET}1/validate/{office}")));
    assert_eq!(control.get(&format!("{SET}2/validate/")).status, 404);
    let enabled = json!({ "enabled": true });
    let refused = control.post(SET, &enabled);
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.text().contains("127.0.0.1"), "{refused:?}");
    let own = control.post(RULES, &rule("own", 1, &["127.0.0.0/8"])).json()["data"]["id"].clone();
    assert!(is_valid(&control, &format!("{SET}1/validate/")));
    assert_eq!(control.post(SET, &enabled).status, 200);
    assert_eq!(control.get(SET).json()["data"]["enabled"], true);
    let own = format!("{RULES}{own}");
    assert_eq!(control.delete(&own).status, 409, "the others would keep the caller out");
    let mut elsewhere = rule("own", 1, &["198.51.100.0/24"]);
    elsewhere["rule_set_enabled"] = json!(true);
    assert_eq!(control.put(&own, &elsewhere).status, 409);
    let mut deny = rule("deny", 2, &["127.0.0.1"]);
    deny["rule_set_enabled"] = json!(true);
    assert_eq!(control.post(RULES, &deny).status, 409);
    assert_eq!(control.get(RULES).json()["extra"]["pagination"]["total_count"], 2);
    // From 127.0.0.2, the rule that denies 127.0.0.1 keeps nobody out who asks for it.
    let admin = control.admin.clone();
    let from =
        |path: &str, body: &Value| control.call_from("127.0.0.2", "POST", path, &admin, Some(body));
    assert_eq!(from(RULES, &deny).status, 201);
    control.answers(403, RULES, &admin);
    let gone = control.call_from("127.0.0.2", "DELETE", &format!("{own}?force=true"), &admin, None);
    assert_eq!(gone.status, 204, "{gone:?}");
    crate::support::eventually("nobody is let in", || {
        let answer = control.call_from("127.0.0.2", "GET", RULES, &admin, None);
        (answer.status == 403).then_some(())
    });
}

#[test]
fn refused_calls_of_known_callers_are_in_the_audit_log() {
    let control = Control::new();
    let (viewer, viewing) = control.home.make_token(&["--grant", "account_viewer"]);
    control.answers(200, "1/service-tokens/", &viewing);
    let denied = control.call("POST", "1/service-tokens/", &viewing, Some(&json!({ "name": "a" })));
    assert_eq!(denied.status, 403);
    let log = control.get("1/audit-logs/?limit=1").json();
    let entry = &log["data"][0];
    assert_eq!(entry["event_type"], "management.denied", "{log}");
    assert_eq!(entry["actor"]["actor_id"], viewer);
    assert_eq!(entry["actor"]["actor_ip"], "127.0.0.1");
    assert_eq!(entry["event_context"]["after"]["status"], 403);
    let total = log["extra"]["pagination"]["total_count"].as_u64().unwrap();
    let made = control.create("ci", "job_admin");
    let log = control.get("1/audit-logs/").json();
    assert_eq!(log["extra"]["pagination"]["total_count"], total + 1);
    assert_eq!(log["data"][0]["event_type"], "service_token.created");
    assert_eq!(log["data"][0]["event_context"]["subject_id"], made["id"].to_string());
    assert_eq!(control.home.run(&["audit", "verify"]).code, 0);
}
