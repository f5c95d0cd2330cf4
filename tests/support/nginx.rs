//! A real nginx as upstream.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::client::{Connection, Request};
use super::tools;
use super::upstream::closed_port;
use super::wait::eventually;

/// An nginx that serves files, takes uploads and says what it was told.
pub struct Nginx {
    folder: TempDir,
    child: Child,
    address: SocketAddr,
    tls: Option<SocketAddr>,
    http2: Option<SocketAddr>,
}

impl Nginx {
    pub fn start() -> Self {
        Self::start_on(None)
    }

    /// Likewise, on a port with TLS besides; `settings` say which.
    pub fn start_with_tls(settings: &str) -> Self {
        let address = closed_port();
        Self::start_on(Some((address, format!("listen {address} ssl;\n{settings}"))))
    }

    /// Likewise, with HTTP/2 on that port, and in clear text on another.
    pub fn start_http2(settings: &str) -> Self {
        let (address, clear) = (closed_port(), closed_port());
        let listen = format!("listen {address} ssl http2;\nlisten {clear} http2;\n{settings}");
        let mut nginx = Self::start_on(Some((address, listen)));
        nginx.http2 = Some(clear);
        nginx
    }

    pub fn http2_address(&self) -> SocketAddr {
        self.http2.expect("it was started with HTTP/2")
    }

    fn start_on(tls: Option<(SocketAddr, String)>) -> Self {
        let (tls, settings) = tls.unzip();
        let settings = settings.unwrap_or_default();
        let program = tools::require("nginx", "nginx-light");
        let folder = tempfile::tempdir().unwrap();
        // nginx cannot be asked which port it was given, so it is told one that was just free.
        let address = closed_port();
        std::fs::write(folder.path().join("nginx.conf"), configuration(address, &settings))
            .unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        let mut child = Command::new(program)
            .arg("-p")
            .arg(folder.path())
            .args(["-e", "stderr", "-c", "nginx.conf"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("nginx listens", || {
            assert!(child.try_wait().unwrap().is_none(), "nginx ended");
            std::net::TcpStream::connect(address).ok()
        });
        let nginx = Self { folder, child, address, tls, http2: None };
        assert_eq!(Connection::tcp(address).send(&Request::get("/me/")).status, 200);
        nginx
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn tls_address(&self) -> SocketAddr {
        self.tls.expect("it was started with TLS")
    }

    /// Puts a file where `/free/NAME` finds it.
    pub fn serve_file(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join("files").join(name), content).unwrap();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One process, everything within its own folder.
fn configuration(address: SocketAddr, settings: &str) -> String {
    format!(
        r#"
daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 0;
    keepalive_requests 1000000;
    underscores_in_headers on;
    if_modified_since before;
    server {{
        listen {address};
        {settings}
        location /free/ {{ alias files/; }}
        location / {{
            default_type text/plain;
            return 200 "account=$http_x_portcullis_account_id authorization=$http_authorization\n";
        }}
    }}
}}
"#
    )
}
