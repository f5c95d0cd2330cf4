//! The feed over HTTP, as gates that follow from afar ask for it.

use std::time::{SystemTime, UNIX_EPOCH};

use portcullis::core::digest::{DigestKey, DigestKeys};
use portcullis::core::record::Record;
use portcullis::feed::snapshot;
use portcullis::store::{Bulk, Cursor};
use serde_json::{Value, json};

use crate::support::world::SERVICE;
use crate::support::{Connection, Control, Request, Response, eventually};

/// A control, and a token of the operator's that may follow it.
struct Followed {
    control: Control,
    token: String,
}

impl Followed {
    fn new() -> Self {
        let control = Control::new();
        let create = ["token", "create", "--account", "0", "--name", "gate", "--grant"];
        let made = control.home.run(&[&create[..], &["account_viewer"]].concat()).json();
        let token = made["token"].as_str().unwrap().to_owned();
        let followed = Self { control, token };
        eventually("the token is known", || {
            (followed.get("/feed/snapshot", &[]).status == 200).then_some(())
        });
        followed
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = Request::get(path).token(&self.token);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        self.control.send(&request)
    }

    fn frames(&self, after: &Cursor, wait: u64) -> Response {
        self.get(&format!("/feed/frames?after={after}&wait={wait}"), &[])
    }

    /// Tells how tokens were used, as gate `g1`.
    fn tell(&self, batch: u64, uses: &[Value], costs: &[Value]) -> Response {
        let told = json!({ "gate": "g1", "batch": batch, "uses": uses, "costs": costs });
        let body = serde_json::to_vec(&told).unwrap();
        let request = Request::new("POST", "/feed/usage").token(&self.token);
        self.control.send(&request.header("Content-Type", "application/json").body(&body))
    }

    fn keys(&self) -> DigestKeys {
        let text = std::fs::read_to_string(self.control.home.path("digest.key")).unwrap();
        let (id, hex) = text.trim().split_once(':').unwrap();
        let mut key = [0; 32];
        hex::decode_to_slice(hex, &mut key).unwrap();
        DigestKeys::new(DigestKey::new(id, key), vec![])
    }

    /// What a snapshot holds, and from where to go on.
    fn read(&self, bytes: &[u8]) -> (Cursor, Vec<Record>) {
        let (header, mut records) = snapshot::read(bytes, &self.keys()).unwrap();
        let all = records.by_ref().collect::<Result<_, _>>().unwrap();
        records.expect_end().unwrap();
        (header.cursor, all)
    }
}

fn used(token: u64, requests: u64, at: i64) -> Value {
    json!({ "token_id": token, "requests": requests, "last_used_at": at,
        "last_address": "192.0.2.7" })
}

#[test]
fn a_snapshot_holds_everything_and_can_be_taken_in_parts() {
    let followed = Followed::new();
    let whole = followed.get("/feed/snapshot", &[]);
    assert_eq!(whole.header("content-type"), Some("application/octet-stream"));
    let etag = whole.header("etag").unwrap().to_owned();
    let (_, records) = followed.read(&whole.body);
    let tokens = records.iter().filter(|record| matches!(record, Record::Token(_))).count();
    assert_eq!(tokens, 9, "those of the world, the operator's two and the admin's");
    let text = String::from_utf8_lossy(&whole.body);
    assert!(!text.contains(SERVICE) && !text.contains(&followed.token), "secrets are not told");

    let half = whole.body.len() / 2;
    let range = format!("bytes={half}-");
    let rest = followed.get("/feed/snapshot", &[("Range", &range), ("If-Range", &etag)]);
    assert_eq!(rest.status, 206, "{rest:?}");
    let described = format!("bytes {half}-{}/{}", whole.body.len() - 1, whole.body.len());
    assert_eq!(rest.header("content-range"), Some(described.as_str()));
    assert_eq!([&whole.body[..half], &rest.body].concat(), whole.body);
    let other = followed.get("/feed/snapshot", &[("Range", &range), ("If-Range", "\"other\"")]);
    assert_eq!((other.status, other.body.len()), (200, whole.body.len()));
    let known = followed.get("/feed/snapshot", &[("If-None-Match", &etag)]);
    assert_eq!((known.status, known.body.len()), (304, 0));
    let beyond = format!("bytes={}-", whole.body.len());
    assert_eq!(followed.get("/feed/snapshot", &[("Range", &beyond)]).status, 416);
}

#[test]
fn frames_go_on_from_a_snapshot_and_a_poll_ends_when_something_changes() {
    let followed = Followed::new();
    let (cursor, _) = followed.read(&followed.get("/feed/snapshot", &[]).body);
    assert_eq!(followed.frames(&cursor, 0).status, 204, "nothing has changed");
    let reader = followed.control.home.token_id("reader");
    let polled = std::thread::scope(|scope| {
        let polled = scope.spawn(|| followed.frames(&cursor, 20));
        followed.control.home.run(&["token", "revoke", &reader.to_string()]);
        polled.join().unwrap()
    });
    assert_eq!(polled.status, 200, "{polled:?}");
    let (after, frame) = snapshot::read_frame(&polled.body[..], &followed.keys()).unwrap().unwrap();
    assert_eq!((after, frame.bulk), (cursor.position(), Bulk::Nothing));
    assert!(matches!(&frame.records[..], [Record::Token(token)] if token.id == reader));
    assert_eq!(followed.frames(&frame.cursor, 0).status, 204);

    let same = followed.get("/feed/snapshot", &[]);
    assert_eq!(followed.read(&same.body).0, cursor, "frames lead on from it: it is not built anew");
    let line = |number| {
        let members = format!(r#""token":"imported-token-{number:05}""#);
        crate::support::world::token_line("n", &members)
    };
    followed.control.home.import(&(0..2_000).map(line).collect::<String>());
    let newer = followed.get("/feed/snapshot", &[]);
    assert!(cursor.is_before(&followed.read(&newer.body).0), "no frame tells of an import");
    let gone: Cursor = format!("{}.{}.0", cursor.store(), cursor.epoch() + 1).parse().unwrap();
    assert_eq!(followed.frames(&gone, 20).status, 410, "there is no such epoch yet");
}

#[test]
fn the_feed_is_for_tokens_of_the_operator_that_see_service_tokens() {
    let followed = Followed::new();
    let create = ["token", "create", "--account", "0", "--name", "x", "--grant", "billing_admin"];
    let weak = followed.control.home.run(&create).json()["token"].as_str().unwrap().to_owned();
    let ask = |token: &str, path: &str| followed.control.send(&Request::get(path).token(token));
    eventually("the token is known", || (ask(&weak, "/feed/snapshot").status == 403).then_some(()));
    for path in ["/feed/snapshot", "/feed/frames?after=a.1.1"] {
        assert_eq!(ask(&followed.control.admin, path).status, 403, "of account 1: {path}");
        assert_eq!(ask("nobody-s-token-at-all", path).status, 401);
        let none = Connection::tcp(followed.control.gate.control_address());
        let mut none = none;
        assert_eq!(none.send(&Request::get(path)).status, 401);
    }
    assert_eq!(followed.get("/feed/frames", &[]).status, 400);
    assert_eq!(followed.get("/feed/snapshot?wait=1", &[]).status, 400);
    assert_eq!(followed.get("/feed/frames?after=nothing", &[]).status, 400);
    let noted = followed.control.home.run(&["--json", "audit", "list"]).json();
    assert!(noted.to_string().contains("/feed/snapshot"), "refusals are in the audit log");
}

#[test]
fn whoever_may_not_follow_is_refused_without_waiting_for_a_change() {
    let followed = Followed::new();
    let (cursor, _) = followed.read(&followed.get("/feed/snapshot", &[]).body);
    let path = format!("/feed/frames?after={cursor}&wait=30");
    let request = Request::get(&path).token(&followed.control.admin);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| followed.control.send(&request).status);
        eventually("it is refused before 30 s", || asked.is_finished().then_some(()));
        assert_eq!(asked.join().unwrap(), 403);
    });
}

#[test]
fn uses_that_a_gate_tells_are_counted_once_however_often_it_sends_them() {
    let followed = Followed::new();
    let reader = followed.control.home.token_id("reader");
    let tell = |batch: u64| followed.tell(batch, &[used(reader, 5, 1_767_225_600)], &[]);
    assert_eq!(tell(1).status, 204);
    assert_eq!(tell(1).status, 204, "its answer may have been lost");
    assert_eq!(tell(2).status, 204);
    let shown = followed.control.home.run(&["--json", "token", "show", &reader.to_string()]).json();
    assert_eq!((&shown["requests"], &shown["last_address"]), (&json!(10), &json!("192.0.2.7")));
}

#[test]
fn a_batch_that_no_gate_could_have_counted_is_refused_whole_and_changes_nothing() {
    let followed = Followed::new();
    let home = &followed.control.home;
    let reader = home.token_id("reader");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let cost = |verifications: u64, micros: u64, at: i64| {
        json!({ "token_id": reader, "verifications": verifications, "hash_micros": micros,
            "last_at": at })
    };
    assert_eq!(followed.tell(1, &[used(reader, 5, now)], &[cost(1, 1, now)]).status, 204);
    let good = (used(reader, 1, now), cost(1, 1, now));
    for (used, cost, wrong) in [
        (used(reader, 1, now + 1_000 * 86_400), &good.1, "uses[0].last_used_at"),
        (used(reader, 1, -1), &good.1, "uses[0].last_used_at"),
        (used(reader, u64::MAX, now), &good.1, "uses[0].requests"),
        (good.0.clone(), &cost(1, 1, now + 1_000 * 86_400), "costs[0].last_at"),
        (good.0.clone(), &cost(1 << 63, 1, now), "costs[0].verifications"),
        (good.0.clone(), &cost(1, u64::MAX, now), "costs[0].hash_micros"),
    ] {
        let refused = followed.tell(2, &[used], std::slice::from_ref(cost));
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.text().contains(wrong), "{refused:?}");
    }
    let top = home.run(&["--json", "token", "top", "--since", "1d"]).json();
    assert_eq!((&top[0]["id"], &top[0]["requests"]), (&json!(reader), &json!(5)), "{top}");
    assert_eq!(followed.tell(2, &[good.0], &[good.1]).status, 204, "that number was not used up");
}
