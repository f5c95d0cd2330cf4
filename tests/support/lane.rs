//! A slow lane that runs as a process of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::client::{Connection, Request, Response};
use super::home::Home;
use super::metrics::Scrape;
use super::wait::eventually;

/// A `portcullis lane`, with what it logs in a file of its home.
pub struct Lane {
    child: Child,
    log: PathBuf,
}

impl Lane {
    /// Has gates of this home ask a lane of its own, with an admin listener.
    pub fn configure(home: &mut Home) {
        home.set("legacy", "socket", r#""unix:lane.sock""#);
        home.set("legacy", "admin", r#""127.0.0.1:0""#);
    }

    /// Starts it and waits until it listens.
    pub fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    /// Likewise, with these variables in its environment.
    pub fn start_with(home: &Home, environment: &[(&str, &str)]) -> Self {
        let log = home.path("lane.log");
        let mut command = home.command();
        command.arg("lane").envs(environment.iter().copied()).current_dir(home.folder());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let lane = Self { child, log };
        lane.wait_for_log("slow lane listening");
        lane
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn wait_for_log(&self, text: &str) {
        eventually(&format!("{text} in the lane's log"), || {
            self.log().contains(text).then_some(())
        });
    }

    pub fn metrics(&self) -> Scrape {
        Scrape::parse(self.admin(&Request::get("/metrics")).text())
    }

    pub fn admin(&self, request: &Request) -> Response {
        Connection::tcp(self.admin_address()).send(request)
    }

    fn admin_address(&self) -> SocketAddr {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("admin listening")).unwrap();
        let port = line.split("127.0.0.1:").nth(1).unwrap();
        let digits = port.find(|letter: char| !letter.is_ascii_digit()).unwrap();
        ([127, 0, 0, 1], port[..digits].parse().unwrap()).into()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait_end(&mut self) -> ExitStatus {
        eventually("the lane ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            return eprintln!("the lane's log:\n{}", self.log());
        }
        assert!(!self.log().contains("panicked"), "the lane panicked:\n{}", self.log());
    }
}
