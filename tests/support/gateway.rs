//! Other gateways, as those who move from them run them: the real programs.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::client::{Connection, Request, Response};
use super::tools;
use super::upstream::closed_port;
use super::wait::eventually;

/// Where a gateway says whose a key is, in its answers.
pub const CLIENT: &str = "x-client";

/// A gateway that lets in whom its file names.
pub struct Gateway {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Gateway {
    /// HAProxy with a map, whose keys are what `key` makes of a request's token.
    pub fn haproxy(map: &str, key: &str) -> Self {
        let (folder, address) = place();
        std::fs::write(folder.path().join("tokens.map"), map).unwrap();
        std::fs::write(folder.path().join("haproxy.cfg"), haproxy_configuration(address, key))
            .unwrap();
        let mut command = Command::new(tools::require("haproxy", "haproxy"));
        command.args(["-db", "-q", "-f", "haproxy.cfg"]);
        Self::start(folder, address, command)
    }

    /// Envoy with a configuration that `write` makes for its address, in a file of this name.
    pub fn envoy(name: &str, write: impl FnOnce(SocketAddr) -> String) -> Self {
        let (folder, address) = place();
        std::fs::write(folder.path().join(name), write(address)).unwrap();
        let mut command = tools::envoy();
        command.args(["-c", name, "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]);
        Self::start(folder, address, command)
    }

    /// nginx with what `write` makes of its address as the content of its `http`.
    pub fn nginx(write: impl FnOnce(SocketAddr) -> String) -> Self {
        let (folder, address) = place();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr crit;\nevents {{}}\n\
             http {{\naccess_log off;\nclient_body_temp_path body;\nproxy_temp_path proxy;\n\
             fastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n{}\n}}\n",
            write(address)
        );
        std::fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        let mut command = Command::new(tools::require("nginx", "nginx-light"));
        command.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
        command.stderr(Stdio::null());
        Self::start(folder, address, command)
    }

    fn start(folder: TempDir, address: SocketAddr, mut command: Command) -> Self {
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        eventually("the gateway listens", || {
            assert!(child.try_wait().unwrap().is_none(), "it ended: {command:?}");
            std::net::TcpStream::connect(address).ok()
        });
        Self { child, address, folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn get(&self, path: &str, token: &str) -> Response {
        Connection::tcp(self.address).send(&Request::get(path).token(token))
    }

    /// Whom it takes the bearer of this token for; `None` where it lets nobody in with it.
    pub fn client(&self, token: &str) -> Option<String> {
        let response = self.get("/me/", token);
        match response.status {
            200 => Some(response.header(CLIENT).unwrap_or_default().to_owned()),
            401 => None,
            other => panic!("{other}: {response:?}"),
        }
    }

    /// A file that it was started with.
    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder, and an address that was free just now: none of them can be asked for a port.
fn place() -> (TempDir, SocketAddr) {
    (tempfile::tempdir().unwrap(), closed_port())
}

fn haproxy_configuration(address: SocketAddr, key: &str) -> String {
    format!(
        r"
defaults
    mode http
    timeout client 20s
    timeout connect 20s
    timeout server 20s
frontend api
    bind {address}
    http-request set-var(txn.client) {key},map(tokens.map)
    http-request deny deny_status 401 unless {{ var(txn.client) -m found }}
    http-request return status 200 hdr {CLIENT} %[var(txn.client)]
"
    )
}
