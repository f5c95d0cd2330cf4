//! A folder that `portcullis init` made, and the command line as its operator uses it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::world::{LINES, ROUTES};

/// A temporary folder with configuration, routes, permission sets, keys and store.
pub struct Home {
    folder: TempDir,
    settings: BTreeMap<String, BTreeMap<String, String>>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Home {
    /// With the tests' own routes and no account but the operator's.
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = attempt(portcullis().arg("init").arg(folder.path()), b"");
        assert_eq!(made.code, 0, "{made:?}");
        let mut home = Self { folder, settings: BTreeMap::new() };
        home.write("routes.toml", ROUTES);
        home.set("gate", "listen", r#"["127.0.0.1:0"]"#)
            .set("gate", "workers", "2")
            .set("gate", "drain_timeout", r#""5s""#)
            .set("admin", "listen", r#""127.0.0.1:0""#)
            .set("store", "url", r#""sqlite:portcullis.db""#)
            .set("upstreams.api", "endpoints", r#"["http://127.0.0.1:1"]"#);
        home
    }

    /// With the accounts and tokens of [`super::world`].
    pub fn new() -> Self {
        let home = Self::empty();
        home.import(LINES);
        home
    }

    /// Without a store: follows the control of another folder, with its keys.
    pub fn following(control: &Self, url: &str, variable: &str) -> Self {
        let mut home = Self::empty();
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(home.path(&format!("portcullis.db{suffix}")));
        }
        fs::copy(control.path("digest.key"), home.path("digest.key")).unwrap();
        home.settings.remove("store");
        home.set("feed", "url", &format!("{url:?}"))
            .set("feed", "token_env", &format!("{variable:?}"))
            .set("feed", "cache", r#""cache""#);
        home
    }

    /// Sets a key of the configuration to a TOML value.
    pub fn set(&mut self, section: &str, key: &str, value: &str) -> &mut Self {
        self.settings
            .entry(section.to_owned())
            .or_default()
            .insert(key.to_owned(), value.to_owned());
        self.write_settings();
        self
    }

    /// Forwards to this address.
    pub fn forward_to(&mut self, address: impl std::fmt::Display) -> &mut Self {
        self.set("upstreams.api", "endpoints", &format!(r#"["http://{address}"]"#))
    }

    fn write_settings(&self) {
        let mut text = String::new();
        for (section, keys) in &self.settings {
            let _ = writeln!(text, "[{section}]");
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        self.write("portcullis.toml", &text);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Adds routes to the table.
    pub fn add_routes(&self, routes: &str) {
        let table = fs::read_to_string(self.path("routes.toml")).unwrap();
        self.write("routes.toml", &format!("{table}\n{routes}"));
    }

    /// `portcullis -c FILE`, to be given a command.
    pub fn command(&self) -> Command {
        let mut command = portcullis();
        command.arg("-c").arg(self.path("portcullis.toml"));
        command
    }

    /// Runs a command that must succeed.
    pub fn run(&self, arguments: &[&str]) -> Done {
        let done = self.attempt(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
        done
    }

    /// Runs a command, whatever comes of it.
    pub fn attempt(&self, arguments: &[&str]) -> Done {
        self.attempt_with(arguments, b"")
    }

    /// Runs a command that reads this from its standard input.
    pub fn attempt_with(&self, arguments: &[&str], stdin: &[u8]) -> Done {
        attempt(self.command().args(arguments), stdin)
    }

    /// Imports lines, none of which may be rejected.
    pub fn import(&self, lines: &str) {
        self.write("import.jsonl", lines);
        let file = self.path("import.jsonl");
        self.run(&["import", file.to_str().unwrap()]);
    }

    /// Makes a service token of account 1; its number and its secret.
    pub fn make_token(&self, arguments: &[&str]) -> (u64, String) {
        let create = ["token", "create", "--account", "1", "--name", "made"];
        let made = self.run(&[&create[..], arguments].concat()).json();
        (made["id"].as_u64().unwrap(), made["token"].as_str().unwrap().to_owned())
    }

    /// The number of the token of this name.
    pub fn token_id(&self, name: &str) -> u64 {
        let list = self.run(&["--json", "token", "list", "--account", "1"]).json();
        let is_named = |token: &&Value| token["name"] == name;
        let token = list.as_array().unwrap().iter().find(is_named);
        token.unwrap_or_else(|| panic!("no token {name} in {list}"))["id"].as_u64().unwrap()
    }
}

/// The program under test, without the environment's settings.
pub fn portcullis() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PORTCULLIS_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs to the end.
pub fn attempt(command: &mut Command, stdin: &[u8]) -> Done {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read may have ended already.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
