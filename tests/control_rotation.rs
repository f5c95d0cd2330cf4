//! Rotation over the API: the new token takes over while the old one still works, and nothing that
//! is gone ever comes back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use crate::support::Control;
use crate::support::control::secret;
use crate::support::world::{JOBS, token_line};

#[test]
fn five_steps_replace_a_token_under_traffic_without_one_failed_request() {
    let control = Control::new();
    // 1. The token in use.
    let old = control.create("deploy", "job_admin");
    let token = std::sync::Mutex::new(secret(&old));
    control.in_force(&secret(&old), 200);
    let (stop, requests) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        let traffic = || {
            while !stop.load(Ordering::Relaxed) {
                let token = token.lock().unwrap().clone();
                assert_eq!(control.gate.status(JOBS, &token), 200);
                requests.fetch_add(1, Ordering::Relaxed);
            }
        };
        let clients = [threads.spawn(traffic), threads.spawn(traffic)];
        let more = |count| {
            let until = requests.load(Ordering::Relaxed) + count;
            crate::support::eventually("traffic", || {
                let reached = requests.load(Ordering::Relaxed) >= until;
                (reached || clients.iter().any(|client| client.is_finished())).then_some(())
            });
        };
        more(20);
        // 2. Its successor; both work.
        let path = format!("1/service-tokens/{}/rotate/", old["id"]);
        let rotated = control.post(&path, &json!({ "grace": "7d" }));
        assert_eq!(rotated.status, 201, "{rotated:?}");
        let new = rotated.json()["data"].clone();
        assert_eq!(new["grants_diff"], json!({ "added": [], "removed": [] }));
        assert_eq!(new["rotated_from"], old["id"]);
        control.in_force(&secret(&new), 200);
        more(20);
        // 3. Clients take the new one.
        *token.lock().unwrap() = secret(&new);
        more(20);
        // 4. Nobody uses the old one any more.
        let old = format!("1/service-tokens/{}/", old["id"]);
        let usage = |silent: &str| {
            let answer = control.get(&format!("{old}usage/?silent={silent}"));
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.json()["data"].clone()
        };
        let asked = crate::support::eventually("it is silent", || {
            let usage = usage("1s");
            let is_used = usage["requests"].as_u64() > Some(0);
            (is_used && usage["may_be_deleted"] == true).then_some(usage)
        });
        assert_eq!(
            (&asked["rotated_to"], &asked["last_address"]),
            (&new["id"], &"127.0.0.1".into())
        );
        assert_eq!(usage("1h")["may_be_deleted"], false);
        // 5. It is revoked before its grace is over.
        assert_eq!(control.delete(&old).status, 204);
        more(20);
        stop.store(true, Ordering::Relaxed);
    });
    control.in_force(&secret(&old), 401);
}

#[test]
fn a_token_is_rotated_once_and_only_while_it_is_valid() {
    let control = Control::new();
    let old = control.create("ci", "job_admin");
    let path = format!("1/service-tokens/{}/rotate/", old["id"]);
    assert_eq!(control.post(&path, &json!({ "grace": "soon" })).status, 400);
    let statuses: Vec<u16> = std::thread::scope(|threads| {
        let rotate = || control.post(&path, &json!({ "grace": "0s" })).status;
        let racing: Vec<_> = (0..8).map(|_| threads.spawn(rotate)).collect();
        racing.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 409].contains(status)), "{statuses:?}");
    control.in_force(&secret(&old), 401);
    let revoked = control.create("gone", "job_admin");
    let path = format!("1/service-tokens/{}/", revoked["id"]);
    assert_eq!(control.delete(&path).status, 204);
    assert_eq!(control.post(&format!("{path}rotate/"), &json!({})).status, 409);
}

#[test]
fn a_shorter_life_of_the_old_token_is_kept() {
    let control = Control::new();
    let body = json!({ "name": "short", "expires_at": "2098-01-01T00:00:00Z" });
    let old = control.post("1/service-tokens/", &body).json()["data"].clone();
    let path = format!("1/service-tokens/{}/rotate/", old["id"]);
    let rotated = control.post(&path, &json!({ "grace": "36500d" })).json();
    assert_eq!(rotated["data"]["old_expires_at"], "2098-01-01T00:00:00Z");
}

#[test]
fn what_is_revoked_or_rotated_away_is_not_revived_by_an_import() {
    let control = Control::new();
    let old = control.create("ci", "job_admin");
    let path = format!("1/service-tokens/{}/", old["id"]);
    let rotated = control.post(&format!("{path}rotate/"), &json!({ "grace": "0s" }));
    let new = rotated.json()["data"].clone();
    assert_eq!(control.delete(&format!("1/service-tokens/{}/", new["id"])).status, 204);
    for made in [&old, &new] {
        control.in_force(&secret(made), 401);
        control.home.import(&token_line("again", &format!(r#""token":"{}""#, secret(made))));
    }
    let export = control.home.run(&["export"]).stdout;
    control.home.import(&export);
    for made in [&old, &new] {
        let after = control.get(&format!("1/service-tokens/{}/", made["id"])).json();
        assert!(after["data"]["state"] == 2 || after["data"]["rotated_to"].is_u64(), "{after}");
        assert_eq!(control.gate.status(JOBS, &secret(made)), 401);
    }
}

#[test]
fn nobody_hands_out_more_than_they_hold_by_any_way() {
    let control = Control::new();
    // account_admin does not hold the marketplace; the operator may give it all the same.
    let strong = control.home.make_token(&["--grant", "manage_marketplace_apps"]).0;
    let more = json!([{ "permission_set": "manage_marketplace_apps" }]);
    let created =
        control.post("1/service-tokens/", &json!({ "name": "a", "permission_grants": more }));
    let own = control.create("own", "job_admin");
    let assigned = control.post(&format!("1/service-tokens/{}/permissions/", own["id"]), &more);
    let rotated = control.post(&format!("1/service-tokens/{strong}/rotate/"), &json!({}));
    for refused in [created, assigned, rotated] {
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.text().contains("Marketplace app:W"), "{refused:?}");
    }
    let kept = control.get(&format!("1/service-tokens/{strong}/")).json();
    assert_eq!((&kept["data"]["state"], &kept["data"]["rotated_to"]), (&json!(1), &json!(null)));
}
