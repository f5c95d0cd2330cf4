//! Runs commands in the tests' own process, in a temporary folder with a real store.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::{Exit, Surroundings, run_with};
use crate::core::record::Timestamp;

/// 2026-01-01T00:00:00Z: after the cutoff, and the same in every test.
pub(super) const NOW: i64 = 1_767_225_600;

/// What a command left behind.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) exit: Exit,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ran {
    /// The JSON document on standard output.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless the command ended with this code.
    pub(super) fn expect(self, exit: Exit) -> Self {
        assert_eq!(self.exit, exit, "{self:?}");
        self
    }
}

/// A folder in which commands run.
pub(super) struct Harness {
    folder: TempDir,
    pub(super) now: i64,
    pub(super) bootstrap: String,
}

impl Harness {
    /// An empty folder.
    pub(super) fn empty() -> Self {
        Self { folder: TempDir::new().unwrap(), now: NOW, bootstrap: String::new() }
    }

    /// A folder that `init` was run in.
    pub(super) fn new() -> Self {
        let mut harness = Self::empty();
        let ran = harness.run(&["init", "."]).expect(Exit::Done);
        harness.bootstrap = ran.json()["token"].as_str().unwrap().to_owned();
        harness
    }

    /// A folder with account 1 (enterprise), its projects 10 and 11 and its user 7.
    pub(super) fn with_account() -> Self {
        let harness = Self::new();
        harness.ok("account create --id 1 --name Acme --plan enterprise");
        harness.ok("project create --account 1 --id 10 --name ten");
        harness.ok("project create --account 1 --id 11 --name eleven");
        harness.ok("user create --account 1 --id 7 --name Ann --licence developer --admin");
        harness
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(super) fn read(&self, name: impl AsRef<Path>) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Runs a command without blanks in its arguments and expects it to succeed.
    pub(super) fn ok(&self, command: &str) -> Ran {
        self.run(&command.split(' ').collect::<Vec<_>>()).expect(Exit::Done)
    }

    /// Like [`Self::ok`], and reads the JSON that it prints.
    pub(super) fn json(&self, command: &str) -> Value {
        self.ok(command).json()
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_fed(arguments, "")
    }

    pub(super) fn run_fed(&self, arguments: &[&str], input: &str) -> Ran {
        self.run_in(arguments, input.as_bytes(), BTreeMap::new())
    }

    pub(super) fn run_in(
        &self,
        arguments: &[&str],
        mut input: &[u8],
        environment: BTreeMap<String, String>,
    ) -> Ran {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let program = std::iter::once("portcullis").chain(arguments.iter().copied());
        let exit = run_with(
            program.map(OsString::from),
            Surroundings {
                stdin: &mut input,
                stdout: &mut stdout,
                stderr: &mut stderr,
                stderr_is_terminal: false,
                environment,
                directory: self.folder.path().to_owned(),
                now: Timestamp(self.now),
            },
        );
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { exit, stdout: text(stdout), stderr: text(stderr) }
    }
}
