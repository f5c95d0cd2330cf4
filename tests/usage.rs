//! Which tokens are used, and which ones nobody misses.

use serde_json::Value;

use crate::support::world::{JOBS, NARROW, READER, SERVICE};
use crate::support::{Connection, Gate, Home, Request, Upstream, eventually};

fn start(interval: &str) -> (Home, Upstream, Gate) {
    let upstream = Upstream::start();
    let mut home = Home::new();
    home.forward_to(upstream.address()).set("usage", "interval", &format!("\"{interval}\""));
    let gate = Gate::start(&home);
    (home, upstream, gate)
}

fn show(home: &Home, id: u64) -> Value {
    home.run(&["--json", "token", "show", &id.to_string()]).json()
}

/// What `token show` says once it says that there were so many requests.
fn after_requests(home: &Home, id: u64, requests: u64) -> Value {
    eventually(&format!("{requests} requests of token {id}"), || {
        let shown = show(home, id);
        let counted = shown["requests"].as_u64().unwrap();
        assert!(counted <= requests, "{shown}");
        (counted == requests).then_some(shown)
    })
}

fn ids(listed: &Value) -> Vec<u64> {
    listed.as_array().unwrap().iter().map(|token| token["id"].as_u64().unwrap()).collect()
}

#[test]
fn a_token_says_when_and_from_where_it_was_last_used_and_how_often() {
    let (home, _upstream, gate) = start("100ms");
    let (service, reader) = (home.token_id("service"), home.token_id("reader"));
    assert_eq!(show(&home, service)["last_used_at"], Value::Null);
    for _ in 0..3 {
        assert_eq!(gate.status(JOBS, SERVICE), 200);
    }
    // Workers hand over on ticks of their own: what lies between two of them is told apart.
    after_requests(&home, service, 3);
    let get = Request::get(JOBS).token(SERVICE);
    assert_eq!(Connection::tcp_from("127.0.0.9", gate.address()).send(&get).status, 200);
    // Refused for want of permission: someone relies on it all the same.
    assert_eq!(gate.status(JOBS, READER), 403);
    let shown = after_requests(&home, service, 4);
    assert_eq!(shown["last_address"], "127.0.0.9");
    assert!(shown["last_used_at"].as_str().unwrap().ends_with('Z'), "{shown}");
    after_requests(&home, reader, 1);

    let listed = home.run(&["--json", "token", "list", "--account", "1"]).json();
    let of = |id: u64| listed.as_array().unwrap().iter().find(|token| token["id"] == id).unwrap();
    assert_eq!(*of(service), shown);
    assert_eq!(of(home.token_id("narrow"))["requests"], 0);
    let table = home.run(&["token", "list", "--account", "1"]).stdout;
    assert!(table.contains("LAST USED") && table.contains("from 127.0.0.9"), "{table}");
    let people = home.run(&["token", "show", &service.to_string()]).stdout;
    assert!(people.contains("last_used: 2") && people.contains("requests: 4"), "{people}");
    let exported = home.run(&["export"]).stdout;
    assert!(!exported.contains("last_used") && !exported.contains("127.0.0.9"));
}

#[test]
fn what_no_token_or_no_valid_one_sends_is_not_counted() {
    let (home, _upstream, gate) = start("100ms");
    let id = home.token_id("narrow");
    home.run(&["token", "revoke", &id.to_string()]);
    // Asking with the token until it is revoked would use it.
    let question =
        format!(r#"{{"token":"{NARROW}","method":"GET","path":"/free/","ip":"127.0.0.1"}}"#);
    eventually("the revocation", || {
        let explained = gate.admin_post("/explain", &question).json();
        (explained["reason"] == "revoked").then_some(())
    });
    assert_eq!(gate.status("/free/", NARROW), 401);
    assert_eq!(gate.status(JOBS, "nobody-has-this-token"), 401);
    assert_eq!(gate.status("/open/x", SERVICE), 200);
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    after_requests(&home, home.token_id("service"), 1);
    // By now the revoked one's would have been written as well.
    assert_eq!(show(&home, id)["requests"], 0);
}

#[test]
fn counts_survive_a_restart_and_the_end_writes_what_is_left() {
    let (home, _upstream, gate) = start("1h");
    let id = home.token_id("service");
    for _ in 0..5 {
        assert_eq!(gate.status(JOBS, SERVICE), 200);
    }
    gate.stop();
    assert_eq!(show(&home, id)["requests"], 5);
    let gate = Gate::start(&home);
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    gate.stop();
    assert_eq!(show(&home, id)["requests"], 6);
}

#[test]
fn requests_of_all_workers_and_many_tokens_add_up() {
    let (home, _upstream, gate) = start("100ms");
    let secrets: Vec<(u64, String)> =
        (0..40).map(|_| home.make_token(&["--grant", "job_admin"])).collect();
    let last = &secrets.last().unwrap().1;
    eventually("the gate follows", || (gate.status(JOBS, last) == 200).then_some(()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = gate.connect();
                for (_, secret) in &secrets[..39] {
                    assert_eq!(connection.send(&Request::get(JOBS).token(secret)).status, 200);
                }
            });
        }
    });
    for (id, _) in &secrets[..39] {
        after_requests(&home, *id, 4);
    }
}

#[test]
fn the_tokens_with_the_most_requests_come_first() {
    let (home, _upstream, gate) = start("100ms");
    let (service, narrow) = (home.token_id("service"), home.token_id("narrow"));
    (0..2).for_each(|_| assert_eq!(gate.status("/free/", SERVICE), 200));
    (0..5).for_each(|_| assert_eq!(gate.status("/free/", NARROW), 200));
    assert_eq!(gate.status("/free/", READER), 200);
    after_requests(&home, service, 2);
    after_requests(&home, narrow, 5);
    after_requests(&home, home.token_id("reader"), 1);
    let top = home.run(&["--json", "token", "top", "--limit", "2"]).json();
    assert_eq!(ids(&top), [narrow, service]);
    assert_eq!((&top[0]["requests"], &top[0]["name"]), (&5.into(), &"narrow".into()));
    assert_eq!((&top[0]["account_id"], &top[0]["last_address"]), (&1.into(), &"127.0.0.1".into()));
    let other = home.run(&["--json", "token", "top", "--account", "2", "--since", "30d"]).json();
    assert_eq!(other.as_array().unwrap().len(), 0);
    let table = home.run(&["token", "top"]).stdout;
    assert!(table.starts_with("ID") && table.lines().count() == 4, "{table}");
    let future = home.run(&["--json", "token", "top", "--since", "2999-01-01"]).json();
    assert_eq!(future.as_array().unwrap().len(), 0);
    assert_eq!(home.attempt(&["token", "top", "--account", "99"]).code, 1);
}

#[test]
fn a_rotated_token_may_be_revoked_once_it_has_been_silent() {
    let (home, _upstream, gate) = start("100ms");
    let id = home.token_id("service");
    assert_eq!(show(&home, id).get("may_be_revoked"), None, "it was not rotated");
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    after_requests(&home, id, 1);
    home.run(&["token", "rotate", &id.to_string(), "--grace", "7d"]);
    let of = |silent: &str| {
        let id = id.to_string();
        let json = home.run(&["--json", "token", "show", &id, "--silent", silent]).json();
        let people = home.run(&["token", "show", &id, "--silent", silent]).stdout;
        (json["may_be_revoked"].as_bool().unwrap(), people)
    };
    let (may, people) = of("24h");
    assert!(!may && people.contains("may_be_revoked: no: last used "), "{people}");
    eventually("a second of silence", || of("1s").0.then_some(()));
    let (_, people) = of("1s");
    assert!(people.contains("may_be_revoked: yes, silent since "), "{people}");
    // Whoever still sends it is noticed.
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    after_requests(&home, id, 2);
    assert!(!of("24h").0);
}

#[test]
fn unused_tokens_are_valid_ones_that_have_long_been_silent() {
    let (home, _upstream, gate) = start("100ms");
    let all = ids(&home.run(&["--json", "token", "list", "--account", "1"]).json());
    let unused = |silent: &str| {
        ids(&home.run(&["--json", "token", "list", "--account", "1", "--unused", silent]).json())
    };
    // The store has been counting for a moment only, and says nothing of the time before.
    assert_eq!(unused("90d"), [0_u64; 0]);
    eventually("a second of silence", || (unused("1s") == all).then_some(()));
    let (service, narrow) = (home.token_id("service"), home.token_id("narrow"));
    home.run(&["token", "revoke", &narrow.to_string()]);
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    after_requests(&home, service, 1);
    let silent = unused("0s");
    assert!(!silent.contains(&narrow), "revoked");
    let everywhere = home.run(&["--json", "token", "list", "--unused", "0s"]).json();
    assert!(everywhere.as_array().unwrap().len() > silent.len(), "of all accounts");
    assert_eq!(home.attempt(&["token", "list"]).code, 2);
}

#[test]
fn counting_can_be_turned_off_and_on_without_a_restart() {
    let (mut home, _upstream, gate) = start("100ms");
    let id = home.token_id("service");
    home.set("usage", "enabled", "false");
    assert_eq!(gate.admin_post("/reload", "").status, 200);
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    home.set("usage", "enabled", "true");
    assert_eq!(gate.admin_post("/reload", "").status, 200);
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    after_requests(&home, id, 1);
}
