//! A changed configuration comes into force whole or not at all, and a gate ends in order.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use crate::support::world::{JOBS, READER, SERVICE};
use crate::support::{
    Connection, Gate, Home, Next, Request, Upstream, eventually, gate_before_upstream,
};

const MORE_ROUTES: &str = "[[route]]\npath = \"/new/\"\nrequires = \"authenticated\"\n";

fn start() -> (Home, Upstream, Gate) {
    gate_before_upstream(|_| {})
}

fn last_reload_successful(gate: &Gate) -> f64 {
    gate.metrics().value("portcullis_config_last_reload_successful")
}

#[test]
fn sighup_reloads() {
    let (home, _upstream, gate) = start();
    assert_eq!(gate.status("/new/", SERVICE), 403);
    home.add_routes(MORE_ROUTES);
    gate.signal(Signal::HUP);
    eventually("the new route", || (gate.status("/new/", SERVICE) == 200).then_some(()));
    assert_eq!(last_reload_successful(&gate), 1.0);
}

#[test]
fn post_reload_reloads_and_answers_when_it_is_done() {
    let (mut home, _upstream, gate) = start();
    let post = |gate: &Gate| gate.send(&Request::new("POST", JOBS).token(READER)).status;
    assert_eq!(post(&gate), 403);
    home.set("gate", "conceal", "true");
    let answer = gate.admin_post("/reload", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(post(&gate), 404);
}

#[test]
fn a_changed_file_is_noticed() {
    let (home, _upstream, gate) = start();
    home.add_routes(MORE_ROUTES);
    eventually("the new route", || (gate.status("/new/", SERVICE) == 200).then_some(()));
    let sets = std::fs::read_to_string(home.path("permission_sets.toml")).unwrap();
    let fewer = sets.replacen("[sets.job_admin]", "[sets.job_admin_no_more]", 1);
    home.write("permission_sets.toml", &fewer);
    eventually("the fewer permission sets", || (gate.status(JOBS, SERVICE) == 403).then_some(()));
}

#[test]
fn a_wrong_configuration_is_refused_whole_and_the_one_before_goes_on() {
    let (mut home, _upstream, gate) = start();
    home.set("gate", "conceal", "true");
    home.add_routes("[[route]]\npath = \"/new/\"\nrequires = \"authenticatd\"\n");
    let answer = gate.admin_post("/reload", "");
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(answer.text().contains("routes.toml:"), "{}", answer.text());
    assert_eq!(last_reload_successful(&gate), 0.0);
    assert_eq!(gate.status("/new/", SERVICE), 403);
    let concealed = gate.send(&Request::new("POST", JOBS).token(READER)).status;
    assert_eq!(concealed, 403, "what was right is not in force either");
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    gate.wait_for_log("routes.toml:");

    home.write("routes.toml", crate::support::world::ROUTES);
    assert_eq!(gate.admin_post("/reload", "").status, 200);
    assert_eq!(last_reload_successful(&gate), 1.0);
    assert_eq!(gate.send(&Request::new("POST", JOBS).token(READER)).status, 404);
}

#[test]
fn keys_that_need_a_restart_are_named_and_the_rest_is_in_force() {
    let (mut home, _upstream, gate) = start();
    home.set("gate", "workers", "1").set("gate", "listen", r#"["127.0.0.1:1"]"#);
    home.set("admin", "listen", r#""127.0.0.1:2""#).set("gate", "conceal", "true");
    home.set("store", "url", r#""sqlite:other.db""#);
    let answer = gate.admin_post("/reload", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    for key in ["gate.listen", "gate.workers", "admin.listen", "store.url"] {
        assert!(answer.text().contains(key), "{key}: {}", answer.text());
        gate.wait_for_log(key);
    }
    assert!(!answer.text().contains("conceal"), "{}", answer.text());
    assert_eq!(gate.send(&Request::new("POST", JOBS).token(READER)).status, 404);
    assert_eq!(gate.status(JOBS, SERVICE), 200);
}

#[test]
fn requests_under_way_do_not_notice_a_reload() {
    let (home, upstream, gate) = start();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = gate.connect();
                    let mut sent = 0;
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(connection.send(&Request::get(JOBS).token(SERVICE)).status, 200);
                        sent += 1;
                    }
                    sent
                })
            })
            .collect();
        for number in 0..10 {
            home.add_routes(&MORE_ROUTES.replace("new", &format!("new{number}")));
            assert_eq!(gate.admin_post("/reload", "").status, 200);
        }
        done.store(true, Ordering::Relaxed);
        let sent: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert_eq!(upstream.seen().len(), sent);
    });
    assert_eq!(gate.status("/new9/", SERVICE), 200);
}

#[test]
fn another_upstream_comes_into_force() {
    let (mut home, _first, gate) = start();
    let mut connection = gate.connect();
    assert_eq!(connection.send(&Request::get(JOBS).token(SERVICE)).text(), "ok");
    let second = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond");
    home.forward_to(second.address());
    assert_eq!(gate.admin_post("/reload", "").status, 200);
    assert_eq!(connection.send(&Request::get(JOBS).token(SERVICE)).text(), "second");
}

#[test]
fn reload_and_explain_are_not_for_browsers_and_take_only_post() {
    let (_home, _upstream, gate) = start();
    assert_eq!(gate.admin_get("/reload").status, 405);
    let from_page = Request::new("POST", "/reload").header("Origin", "https://a.example").body(b"");
    assert_eq!(Connection::tcp(gate.admin_address()).send(&from_page).status, 403);
    assert_eq!(gate.admin_get("/no-such-page").status, 404);
}

#[test]
fn the_admin_listener_explains_by_what_is_in_force() {
    let (_home, _upstream, gate) = start();
    let question =
        format!(r#"{{"token":"{READER}","method":"POST","path":"{JOBS}","ip":"127.0.0.1"}}"#);
    let answer = gate.admin_post("/explain", &question);
    assert_eq!(answer.status, 200, "{answer:?}");
    let explanation = answer.json();
    assert_eq!(explanation["verdict"], "deny");
    assert_eq!(explanation["reason"], "no_permission");
    assert_eq!(explanation["status"], 403);
    let before = gate.metrics().decisions("no_permission");
    assert_eq!(before, 0.0, "an explanation is not a decision");
}

/// An upstream that answers once it is told to.
fn held_upstream() -> (Upstream, Arc<AtomicBool>) {
    let go = Arc::new(AtomicBool::new(false));
    let wait = go.clone();
    let upstream = Upstream::scripted(move |_, stream| {
        eventually("the test lets it go", || wait.load(Ordering::Relaxed).then_some(()));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").unwrap();
        Next::Keep
    });
    (upstream, go)
}

#[test]
fn on_sigterm_requests_under_way_finish_and_idle_connections_end() {
    let (upstream, go) = held_upstream();
    let mut home = Home::new();
    home.forward_to(upstream.address()).set("gate", "drain_timeout", r#""30s""#);
    let mut gate = Gate::start(&home);
    let mut idle = gate.connect();
    assert_eq!(idle.send(&Request::get(JOBS)).status, 401);
    let mut busy = gate.connect();
    busy.write(&Request::get(JOBS).token(SERVICE).bytes());
    upstream.wait_for_requests(1);
    gate.signal(Signal::TERM);
    assert!(idle.is_closed(), "an idle connection ends at once");
    eventually("nothing is accepted", || {
        std::net::TcpStream::connect(gate.address()).is_err().then_some(())
    });
    assert!(gate.is_running());
    go.store(true, Ordering::Relaxed);
    assert_eq!(busy.response().text(), "done");
    assert!(busy.is_closed());
    assert!(gate.wait_end().success(), "{}", gate.log());
}

#[test]
fn readiness_fails_while_connections_are_still_accepted_for_drain_delay() {
    let upstream = Upstream::start();
    let mut home = Home::new();
    home.forward_to(upstream.address()).set("gate", "drain_delay", r#""1s""#);
    let mut gate = Gate::start(&home);
    gate.signal(Signal::TERM);
    gate.wait_for_log("draining");
    let readiness = gate.admin_get("/readyz");
    assert_eq!((readiness.status, readiness.text()), (503, "not ready: draining\n"));
    assert_eq!(gate.admin_get("/livez").status, 200);
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    assert!(gate.wait_end().success());
}

#[test]
fn what_outlasts_drain_timeout_is_cut_off() {
    let (upstream, _never) = held_upstream();
    let mut home = Home::new();
    home.forward_to(upstream.address()).set("gate", "drain_timeout", r#""300ms""#);
    let mut gate = Gate::start(&home);
    let mut busy = gate.connect();
    busy.write(&Request::get(JOBS).token(SERVICE).bytes());
    upstream.wait_for_requests(1);
    gate.signal(Signal::TERM);
    assert!(gate.wait_end().success(), "{}", gate.log());
    assert!(busy.is_closed());
    gate.wait_for_log("cut off");
}

#[test]
fn a_configuration_that_is_wrong_at_start_starts_nothing() {
    let mut home = Home::new();
    home.set("gate", "workerz", "1");
    let done = home.attempt(&["serve"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stderr.contains("portcullis.toml:"), "{}", done.stderr);
    assert!(done.stderr.contains("workers"), "did you mean: {}", done.stderr);
}

#[test]
fn an_address_that_is_taken_is_said_and_nothing_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut home = Home::new();
    home.set("gate", "listen", &format!(r#"["{address}"]"#));
    let done = home.attempt(&["serve"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains(&address), "{}", done.stderr);
}
