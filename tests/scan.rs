//! Scanning with the real binary: as a hook of a real git, and over a pipe.

use std::path::Path;
use std::process::Command;

use crate::support::Home;
use crate::support::home::{attempt, portcullis};
use crate::support::tools::{require, succeed};

/// git in this folder, of nobody's configuration.
fn git(folder: &Path) -> Command {
    let mut git = Command::new(require("git", "git"));
    git.current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.com"]);
    git
}

/// The hook as README.md prints it.
fn hook() -> String {
    let readme = include_str!("../README.md");
    let begin = readme.find("#!/bin/sh\ngit diff").unwrap();
    readme[begin..].split("```").next().unwrap().to_owned()
}

/// Whether a commit of everything in the folder is let through, and what it says.
fn commit(folder: &Path) -> (bool, String) {
    succeed(git(folder).args(["add", "--all"]));
    let beside =
        Path::new(env!("CARGO_BIN_EXE_portcullis")).parent().unwrap().display().to_string();
    let path = format!("{beside}:{}", std::env::var("PATH").unwrap());
    let done = attempt(git(folder).env("PATH", path).args(["commit", "-m", "change"]), b"");
    (done.code == 0, done.stdout + &done.stderr)
}

#[test]
fn the_hook_keeps_a_token_out_of_a_commit_and_lets_its_removal_through() {
    use std::os::unix::fs::PermissionsExt;

    let home = Home::new();
    let (_, secret) = home.make_token(&["--grant", "job_admin"]);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    succeed(git(folder.path()).args(["init", "--quiet"]));
    write("notes", &format!("token: {secret}\n"));
    assert!(commit(folder.path()).0, "there is no hook yet");
    let hooks = folder.path().join(".git/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    let file = hooks.join("pre-commit");
    std::fs::write(&file, hook()).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    write("more", &format!("a=1\nb={secret}\n"));
    let (made, said) = commit(folder.path());
    assert!(!made && said.contains("…") && !said.contains(&secret), "{said}");
    write("more", "a=1\n");
    write("notes", "token: gone\n");
    let (made, said) = commit(folder.path());
    assert!(made, "{said}");
}

#[test]
fn a_token_in_a_pipe_or_a_file_is_told_apart_by_the_store() {
    let home = Home::new();
    let (id, secret) = home.make_token(&["--grant", "job_admin"]);
    let text = format!("{}\n{secret}", "x".repeat(1 << 20));
    let done = home.attempt_with(&["scan", "-"], text.as_bytes());
    assert_eq!(done.code, 5, "{done:?}");
    let expected = format!("-:2:1: {}… (service token {id} of account 1, active)", &secret[..8]);
    assert_eq!(done.stdout, format!("{expected}: portcullis token revoke {id}\n"));
    home.write("leak", &text);
    let mut alone = portcullis();
    let done = attempt(alone.current_dir("/").arg("scan").arg(home.path("leak")), b"");
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.stdout.ends_with("(service token)\n"), "{done:?}");
    assert_eq!(home.attempt_with(&["scan", "-"], b"nothing").code, 0);
    assert_eq!(home.attempt(&["scan", "/nonexistent"]).code, 1);
}
