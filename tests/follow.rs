//! Gates that follow a control over HTTP, in processes of their own: whatever happens to control,
//! wire and disk, no answer is wrong, and all ends where the store is or in a stated alarm.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::world::{FOREIGN, JOBS, READER, SERVICE, token_line};
use crate::support::{
    Authority, Connection, Control, Gate, Home, Request, Upstream, Wire, eventually, within,
};

/// The variable that holds the feed's token.
const VARIABLE: &str = "FEED_TOKEN";

/// A control, and a wire to it.
struct Remote {
    control: Control,
    wire: Wire,
    token: (u64, String),
}

impl Remote {
    fn new() -> Self {
        Self::over(Control::new())
    }

    fn over(control: Control) -> Self {
        let create = ["token", "create", "--account", "0", "--name", "gate", "--grant"];
        let made = control.home.run(&[&create[..], &["account_viewer"]].concat()).json();
        let token = (made["id"].as_u64().unwrap(), made["token"].as_str().unwrap().to_owned());
        let wire = Wire::to(control.gate.control_address());
        Self { control, wire, token }
    }

    /// A gate's own folder, from which it follows.
    fn home(&self, upstream: &Upstream) -> Home {
        let mut home = Home::following(&self.control.home, &self.wire.url(), VARIABLE);
        home.forward_to(upstream.address()).set("usage", "interval", r#""1s""#);
        // Tokens are refused on purpose, all from one address.
        home.set("limits", "failed_credentials", r#""off""#);
        home
    }

    fn launch(&self, home: &Home) -> Gate {
        Gate::launch(home, &[(VARIABLE, &self.token.1)])
    }

    fn start(&self, home: &Home) -> Gate {
        let gate = self.launch(home);
        gate.wait_ready();
        gate
    }

    fn run(&self, arguments: &[&str]) {
        self.control.home.run(arguments);
    }

    fn kill_control(&mut self) {
        self.control.gate.signal(Signal::KILL);
        self.control.gate.wait_end();
        self.wire.lead(None);
    }

    fn restart_control(&mut self) {
        self.control.gate = Gate::start(&self.control.home);
        self.wire.lead(Some(self.control.gate.control_address()));
    }

    /// A token of account 1 that works at these gates: its number and secret.
    fn token_at(&self, gates: &[&Gate]) -> (u64, String) {
        let made = self.control.home.make_token(&["--grant", "job_admin"]);
        gates.iter().for_each(|gate| gets(gate, &made.1, 200));
        made
    }

    fn revoke(&self, token: u64) {
        self.run(&["token", "revoke", &token.to_string()]);
    }
}

/// Waits until a token gets this status.
fn gets(gate: &Gate, token: &str, status: u16) {
    eventually(&format!("status {status} of {token}"), || {
        (gate.status("/me/", token) == status).then_some(())
    });
}

fn is_ready(gate: &Gate) -> bool {
    gate.admin_get("/readyz").text() == "ready\n"
}

/// Clients that go on with tokens whose answers are known, at whatever gates there are.
struct Load {
    gates: Mutex<Vec<std::net::SocketAddr>>,
    /// What must be refused by now.
    revoked: Mutex<Vec<String>>,
    stop: AtomicBool,
    answers: AtomicU64,
}

impl Load {
    fn at(gates: &[&Gate]) -> Self {
        Self {
            gates: Mutex::new(gates.iter().map(|gate| gate.address()).collect()),
            revoked: Mutex::default(),
            stop: AtomicBool::new(false),
            answers: AtomicU64::new(0),
        }
    }

    fn run(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            for address in self.gates.lock().unwrap().iter() {
                let mut connection = Connection::tcp(*address);
                let mut status = |token: &str| {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                    connection.send(&Request::get("/me/").token(token)).status
                };
                assert_eq!((status(SERVICE), status(FOREIGN)), (200, 200));
                assert_eq!(status("a-token-that-nobody-has"), 401);
                for token in self.revoked.lock().unwrap().iter() {
                    assert_eq!(status(token), 401, "it was revoked before");
                }
            }
        }
    }

    fn refuses(&self, token: &str) {
        self.revoked.lock().unwrap().push(token.to_owned());
    }
}

/// Ends the load, also where a test fails.
struct Ending<'l>(&'l Load);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_gate_that_follows_over_http_decides_as_the_store_has_it_and_tells_what_was_used() {
    let remote = Remote::new();
    let upstream = Upstream::start();
    let home = remote.home(&upstream);
    let gate = remote.start(&home);
    assert_eq!(gate.status("/me/", READER), 200);
    let reader = remote.control.home.token_id("reader");
    let shown = eventually("its use is told", || {
        let shown = remote.control.home.run(&["--json", "token", "show", &reader.to_string()]);
        (shown.json()["requests"] == 1).then_some(shown.json())
    });
    assert_eq!(shown["last_address"], "127.0.0.1", "{shown}");

    remote.revoke(reader);
    gets(&gate, READER, 401);
    remote.token_at(&[&gate]);
    assert_eq!(gate.status(JOBS, SERVICE), 200);
    remote.run(&["account", "set-plan", "1", "developer"]);
    eventually("a plan", || (gate.status(JOBS, SERVICE) == 403).then_some(()));
    remote.run(&["account", "set-plan", "1", "enterprise"]);
    let lines: String = (0..2_000)
        .map(|number| {
            token_line(&format!("n{number}"), &format!(r#""token":"imported-token-{number:05}""#))
        })
        .collect();
    remote.control.home.import(&lines);
    gets(&gate, "imported-token-01999", 200);

    let asked = gate.admin_post("/explain", r#"{"token_id":1,"method":"GET","path":"/me/"}"#);
    assert!(asked.status == 400 && asked.text().contains("no store"), "{asked:?}");
    let token = format!(r#"{{"token":"{SERVICE}","method":"GET","path":"/me/"}}"#);
    assert_eq!(gate.admin_post("/explain", &token).json()["verdict"], "allow");
    let mut command = home.command();
    let done = crate::support::home::attempt(
        command.arg("account").arg("list").env(VARIABLE, &remote.token.1),
        b"",
    );
    assert!(done.code == 1 && done.stderr.contains("follows a control"), "{done:?}");
    let kept = std::fs::read(home.path("cache/snapshot")).unwrap();
    let key = std::fs::read_to_string(home.path("digest.key")).unwrap();
    let key = hex::decode(key.trim().split_once(':').unwrap().1).unwrap();
    assert!(!kept.windows(32).any(|window| window == key), "no key is in the feed");
    assert!(!kept.windows(SERVICE.len()).any(|window| window == SERVICE.as_bytes()));

    remote.revoke(remote.token.0);
    gate.wait_for_log("does not know the token");
    assert_eq!(gate.status("/me/", SERVICE), 200, "it goes on with what it knows");
    assert!(!is_ready(&gate));
    gate.stop();
}

#[test]
fn two_gates_under_load_go_on_without_their_control_and_end_where_it_is() {
    let mut remote = Remote::new();
    let upstream = Upstream::start();
    let homes = [remote.home(&upstream), remote.home(&upstream)];
    let mut gates = [remote.start(&homes[0]), remote.start(&homes[1])];
    let load = Load::at(&[&gates[0]]);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| load.run());
        let ending = Ending(&load);
        go_through_it(&mut remote, &homes, &mut gates, &load);
        drop(ending);
        running.join().unwrap();
    });
    let answers = load.answers.load(Ordering::Relaxed);
    assert!(answers > 100, "{answers} answers: there was no load");
}

fn go_through_it(remote: &mut Remote, homes: &[Home; 2], gates: &mut [Gate; 2], load: &Load) {
    let all = |gates: &[Gate; 2], token: &str, status| {
        gates.iter().for_each(|gate| gets(gate, token, status));
    };
    // Revoked, known to be so, and the control is killed.
    let (first, early) = remote.token_at(&[&gates[0], &gates[1]]);
    let (second, late) = remote.token_at(&[&gates[0], &gates[1]]);
    remote.revoke(first);
    all(gates, &early, 401);
    load.refuses(&early);
    remote.kill_control();
    remote.revoke(second);
    gates.iter().for_each(|gate| {
        eventually("the loss is noted", || {
            gate.admin_get("/readyz").text().contains("the control does not answer").then_some(())
        });
    });
    // A gate that is killed and begins anew meanwhile neither waits nor forgets.
    gates[1].signal(Signal::KILL);
    gates[1].wait_end();
    gates[1] = remote.start(&homes[1]);
    assert_eq!(gates[1].status("/me/", &early), 401, "a revocation was forgotten");
    assert_eq!(gates[1].status("/me/", SERVICE), 200);
    assert_eq!(gates[1].status("/me/", &late), 200, "nobody could tell it");
    load.gates.lock().unwrap().push(gates[1].address());
    remote.restart_control();
    all(gates, &late, 401);
    load.refuses(&late);
    // Answers are cut in the middle: not one is believed, and all is fetched again.
    let backup = remote.control.home.path("backup.db");
    remote.run(&["backup", backup.to_str().unwrap()]);
    let (third, cut) = remote.token_at(&[&gates[0], &gates[1]]);
    remote.wire.cut_after(260);
    remote.revoke(third);
    gates.iter().for_each(|gate| gate.wait_for_log("broke off"));
    remote.wire.cut_after(usize::MAX);
    all(gates, &cut, 401);
    load.refuses(&cut);
    // Restored: a new epoch, in which what was made since is unknown and nothing is revived.
    let (_, lost) = remote.token_at(&[&gates[0], &gates[1]]);
    remote.run(&["restore", backup.to_str().unwrap(), "--yes"]);
    all(gates, &lost, 401);
    load.refuses(&lost);
    remote.token_at(&[&gates[0], &gates[1]]);
    gates.iter().for_each(|gate| eventually("it is well", || is_ready(gate).then_some(())));
    // And the new epoch is what a gate begins with.
    remote.kill_control();
    load.gates.lock().unwrap().pop();
    gates[1].signal(Signal::KILL);
    gates[1].wait_end();
    gates[1] = remote.start(&homes[1]);
    for token in [&early, &late, &cut, &lost] {
        assert_eq!(gates[1].status("/me/", token), 401);
    }
}

#[test]
fn a_control_that_hangs_is_not_said_to_answer_between_two_attempts() {
    let remote = Remote::new();
    let upstream = Upstream::start();
    let home = remote.home(&upstream);
    let gate = remote.start(&home);
    eventually("it is well", || is_ready(&gate).then_some(()));
    // The kernel goes on accepting connections for it.
    remote.control.gate.signal(Signal::STOP);
    let is_lost = || gate.admin_get("/readyz").text().contains("the control does not answer");
    eventually("the loss is noted", || is_lost().then_some(()));
    eventually("two more attempts are given up", || {
        assert!(is_lost(), "{}", gate.log());
        (gate.metrics().value("portcullis_index_age_seconds") > 14.0).then_some(())
    });
    remote.control.gate.signal(Signal::CONT);
    eventually("it is well again", || is_ready(&gate).then_some(()));
    let log = gate.log();
    assert_eq!(log.matches("the control answers").count(), 2, "{log}");
    assert_eq!(log.matches("does not answer; going on").count(), 1, "{log}");
}

#[test]
fn a_gate_follows_over_tls_and_believes_nobody_else() {
    let mut home = Home::new();
    let authority = Authority::new(home.folder(), "authority");
    authority.issue("control", "control", "IP:127.0.0.1");
    home.set("control", "tls", r#"{ certificate = "control.crt", key = "control.key" }"#);
    let remote = Remote::over(Control::in_home(home));
    let upstream = Upstream::start();
    let mut home = remote.home(&upstream);
    let url = remote.wire.url().replace("http://", "https://");
    let other = Authority::new(home.folder(), "other");
    home.set("feed", "url", &format!("{url:?}")).set("feed", "tls", r#"{ ca = "other.crt" }"#);
    let gate = remote.launch(&home);
    gate.wait_for_log("no connection to");
    assert_eq!(gate.admin_get("/readyz").status, 503);
    gate.stop();
    std::fs::copy(authority.certificate(), other.certificate()).unwrap();
    let gate = remote.start(&home);
    let (token, secret) = remote.token_at(&[&gate]);
    remote.revoke(token);
    gets(&gate, &secret, 401);
    remote.wire.cut_after(400);
    gate.wait_for_log("does not answer");
    remote.wire.cut_after(usize::MAX);
    eventually("it is well", || is_ready(&gate).then_some(()));
}

#[test]
fn a_snapshot_that_is_cut_off_is_gone_on_with() {
    let remote = Remote::new();
    let lines: String = (0..3_000)
        .map(|number| {
            token_line(&format!("n{number}"), &format!(r#""token":"imported-token-{number:05}""#))
        })
        .collect();
    remote.control.home.import(&lines);
    let upstream = Upstream::start();
    let home = remote.home(&upstream);
    // Several times in one snapshot, which no answer could bring whole.
    remote.wire.cut_after(150_000);
    let gate = remote.start(&home);
    assert_eq!(gate.status("/me/", "imported-token-02999"), 200);
    assert_eq!(gate.log().matches("index built").count(), 1, "it was not begun anew");
}

#[test]
fn a_gate_whose_cache_is_old_is_not_ready_before_it_has_caught_up() {
    let mut remote = Remote::new();
    let upstream = Upstream::start();
    let mut home = remote.home(&upstream);
    home.set("feed", "max_boot_age", r#""10m""#);
    let gate = remote.start(&home);
    eventually("it is noted", || home.path("cache/seen").exists().then_some(()));
    gate.stop();
    remote.kill_control();
    let an_hour_ago = jiff::Timestamp::now().as_second() - 3_600;
    home.write("cache/seen", &an_hour_ago.to_string());
    let gate = remote.launch(&home);
    gate.wait_for_log("max_boot_age");
    gate.wait_for_log("does not answer");
    assert_eq!(gate.admin_get("/readyz").status, 503);
    assert_eq!(gate.status("/me/", SERVICE), 503, "it decides by nothing that old");
    remote.restart_control();
    gate.wait_ready();
    assert_eq!(gate.status("/me/", SERVICE), 200);
}

#[test]
fn a_gate_whose_disk_is_full_goes_on_in_memory_and_says_so_until_there_is_room() {
    let remote = Remote::new();
    let upstream = Upstream::start();
    let home = remote.home(&upstream);
    let gate = Gate::launch_as(in_a_small_cache(&home), &[(VARIABLE, &remote.token.1)], &home);
    gate.wait_ready();
    let behind = || gate.metrics().value("portcullis_feed_cache_behind");
    assert_eq!(behind(), 0.0);
    // Each frame of an account has all of its rules.
    let mut rules = 0;
    eventually("the disk is full", || {
        let cidrs: Vec<String> = (0..250)
            .map(|_| {
                rules += 1;
                format!("10.{}.{}.0/24", rules / 250, rules % 250)
            })
            .collect();
        let cidrs: Vec<&str> = cidrs.iter().map(String::as_str).collect();
        let name = "x".repeat(60);
        remote.run(&[&["ip-rule", "deny", "--account", "2", "--name", &name], &cidrs[..]].concat());
        (behind() == 1.0).then_some(())
    });
    gate.wait_for_log("going on in memory");
    remote.revoke(remote.control.home.token_id("reader"));
    gets(&gate, READER, 401);
    assert_eq!(gate.status("/me/", SERVICE), 200);
    assert_eq!(behind(), 1.0);
    home.write("free", "");
    // 30 s lie between two snapshots for the cache alone, and one may have been tried just before.
    let made_up = || (behind() == 0.0).then_some(());
    within(Duration::from_secs(45), "it makes up for it", made_up);
    gate.wait_for_log("holds everything again");
    gate.stop();
}

/// The gate with a disk of its own for the cache, most of which is taken until there is a file
/// `free` in its folder.
fn in_a_small_cache(home: &Home) -> Command {
    let script = r#"
        mkdir -p "$0/cache" && mount -t tmpfs -o size=512k tmpfs "$0/cache" &&
        head -c 400k /dev/zero >"$0/cache/taken" || exit 1
        (until [ -e "$0/free" ]; do sleep 0.05; done; rm "$0/cache/taken") >/dev/null 2>&1 </dev/null &
        exec "$@"
    "#;
    let gate = home.command();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command.arg(home.folder()).arg(gate.get_program()).args(gate.get_args());
    command.stdin(Stdio::null());
    command
}
