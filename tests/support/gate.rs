//! A running gate.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::client::{Connection, Request, Response};
use super::home::Home;
use super::metrics::Scrape;
use super::upstream::Upstream;
use super::wait::{eventually, within};

/// How long a gate may take to stop before it is killed, at the end of a test.
const END: Duration = Duration::from_millis(500);

/// A `portcullis serve` and what it logs.
pub struct Gate {
    child: Child,
    log: Arc<Mutex<String>>,
    listeners: Vec<String>,
    admin: SocketAddr,
    control: Option<SocketAddr>,
    tls: Option<SocketAddr>,
}

/// An upstream, and a gate before it with the usual accounts and what is configured besides.
pub fn gate_before_upstream(configure: impl FnOnce(&mut Home)) -> (Home, Upstream, Gate) {
    let upstream = Upstream::start();
    let mut home = Home::new();
    home.forward_to(upstream.address());
    configure(&mut home);
    let gate = Gate::start(&home);
    (home, upstream, gate)
}

impl Gate {
    /// Starts and waits until requests are decided.
    pub fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    /// Likewise, with these variables in its environment.
    pub fn start_with(home: &Home, environment: &[(&str, &str)]) -> Self {
        let gate = Self::launch(home, environment);
        gate.wait_ready();
        gate
    }

    /// Starts and waits until connections are accepted, ready or not.
    pub fn launch(home: &Home, environment: &[(&str, &str)]) -> Self {
        Self::launch_as(home.command(), environment, home)
    }

    /// Likewise, as what this command runs.
    pub fn launch_as(mut command: Command, environment: &[(&str, &str)], home: &Home) -> Self {
        command.arg("serve").envs(environment.iter().copied()).current_dir(home.folder());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        keep_log(child.stderr.take().unwrap(), log.clone());
        let found = eventually("the gate listens", || {
            let text = log.lock().unwrap().clone();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the gate ended with {status}:\n{text}");
            }
            let admin = addresses(&text, "admin listening").pop()?;
            let listeners = addresses(&text, "listening");
            (!listeners.is_empty()).then_some((listeners, admin))
        });
        let (listeners, admin) = found;
        let control = addresses(&log.lock().unwrap(), "control listening").pop();
        let control = control.map(|address| address.parse().unwrap());
        let tls = addresses(&log.lock().unwrap(), "tls=true").pop();
        let tls = tls.map(|address| address.parse().unwrap());
        Self { child, log, listeners, admin: admin.parse().unwrap(), control, tls }
    }

    pub fn wait_ready(&self) {
        eventually("the gate is ready", || (self.admin_get("/readyz").status == 200).then_some(()));
    }

    /// Where the first listener that is not a unix socket is.
    pub fn address(&self) -> SocketAddr {
        self.listeners.iter().find_map(|address| address.parse().ok()).unwrap()
    }

    /// Where the first listener that speaks TLS is.
    pub fn tls_address(&self) -> SocketAddr {
        self.tls.expect("[gate] listen_tls is set")
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Where the management API is.
    pub fn control_address(&self) -> SocketAddr {
        self.control.expect("[control] listen is set")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub fn connect(&self) -> Connection {
        Connection::tcp(self.address())
    }

    /// Sends on a connection of its own.
    pub fn send(&self, request: &Request) -> Response {
        self.connect().send(request)
    }

    pub fn get(&self, path: &str, token: &str) -> Response {
        self.send(&Request::get(path).token(token))
    }

    /// The status that `path` gets with this token.
    pub fn status(&self, path: &str, token: &str) -> u16 {
        self.get(path, token).status
    }

    pub fn admin_get(&self, path: &str) -> Response {
        Connection::tcp(self.admin).send(&Request::get(path))
    }

    pub fn admin_post(&self, path: &str, body: &str) -> Response {
        Connection::tcp(self.admin).send(&Request::new("POST", path).body(body.as_bytes()))
    }

    pub fn metrics(&self) -> Scrape {
        Scrape::parse(self.admin_get("/metrics").text())
    }

    /// Waits until a token that was just made is known here.
    pub fn wait_in_force(&self, token: &str) {
        let is_known = || (self.status("/nowhere", token) != 401).then_some(());
        eventually("the token is in force", is_known);
    }

    /// Waits until exactly one decision has this reason, as a scrape has it a second later.
    pub fn expect_one_decision(&self, reason: &str) {
        self.expect_decisions(reason, 1.0);
    }

    pub fn expect_decisions(&self, reason: &str, count: f64) {
        let counted = || {
            let found = self.metrics().decisions(reason);
            assert!(found <= count, "{found} decisions with {reason} instead of {count}");
            (found == count).then_some(())
        };
        within(Duration::from_secs(5), &format!("{count} decisions with {reason}"), counted);
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the gate has ended so many connections for this cause.
    pub fn expect_ended(&self, cause: &str, count: f64) {
        let name = "portcullis_connections_ended_total";
        let counted = || (self.metrics().sum(name, &[("cause", cause)]) == count).then_some(());
        within(Duration::from_secs(5), &format!("{count} connections ended for {cause}"), counted);
    }

    /// Memory that the process has in RAM, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn wait_for_log(&self, text: &str) {
        eventually(&format!("{text} in the log"), || self.log().contains(text).then_some(()));
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait_end(&mut self) -> ExitStatus {
        eventually("the gate ends", || self.child.try_wait().unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Stops in the way that a supervisor does.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_end();
        assert!(status.success(), "{status}:\n{}", self.log());
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let deadline = std::time::Instant::now() + END;
            while self.is_running() && std::time::Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            return eprintln!("the gate's log:\n{}", self.log());
        }
        assert!(!self.log().contains("panicked"), "the gate panicked:\n{}", self.log());
    }
}

fn keep_log(stderr: ChildStderr, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// The `address` of each line that says this, and no other kind of listener.
fn addresses(log: &str, what: &str) -> Vec<String> {
    let is_kind = |line: &str, kind: &str| line.contains(kind) == (what == kind);
    log.lines()
        .filter(|line| line.contains(what))
        .filter(|line| is_kind(line, "admin listening") && is_kind(line, "control listening"))
        .filter_map(|line| {
            let value = line.split("address=").nth(1)?;
            Some(value.split_whitespace().next()?.trim_matches('"').to_owned())
        })
        .collect()
}

/// The path of a unix socket that a listener has.
pub fn socket_path(home: &Home) -> PathBuf {
    home.path("gate.sock")
}
