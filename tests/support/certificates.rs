//! An authority and certificates of its, made by openssl for one test.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::tools::{require, succeed};

/// An authority whose certificates are in a folder.
pub struct Authority {
    folder: PathBuf,
    name: String,
}

impl Authority {
    /// Makes `NAME.crt` and `NAME.key`.
    pub fn new(folder: &Path, name: &str) -> Self {
        // Without one of its own, openssl adds the system's ideas of extensions.
        let configuration = "[req]\ndistinguished_name = dn\n[dn]\n";
        std::fs::write(folder.join("openssl.cnf"), configuration).unwrap();
        let authority = Self { folder: folder.to_owned(), name: name.to_owned() };
        let mut command = authority.request(name, name);
        succeed(command.args(["-addext", "basicConstraints=critical,CA:TRUE"]));
        authority
    }

    /// Makes `FILE.crt` and `FILE.key` for a common name and alternative names as openssl writes
    /// them, such as `DNS:a.example,IP:127.0.0.1`.
    pub fn issue(&self, file: &str, common_name: &str, names: &str) {
        let path = |end: &str| self.folder.join(format!("{}.{end}", self.name));
        let mut command = self.request(file, common_name);
        command.arg("-CA").arg(path("crt")).arg("-CAkey").arg(path("key"));
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command.args(["-addext", &format!("subjectAltName={names}")]);
        succeed(&mut command);
    }

    /// Where its own certificate is.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join(format!("{}.crt", self.name))
    }

    fn request(&self, file: &str, common_name: &str) -> Command {
        let mut command = openssl();
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "30", "-subj", &format!("/CN={common_name}")]);
        command.arg("-config").arg(self.folder.join("openssl.cnf"));
        command.arg("-keyout").arg(self.folder.join(format!("{file}.key")));
        command.arg("-out").arg(self.folder.join(format!("{file}.crt")));
        command
    }
}

/// openssl.
pub fn openssl() -> Command {
    Command::new(require("openssl", "openssl"))
}
