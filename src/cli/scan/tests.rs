//! Scanning folders and standard input, with a store and without.

use std::os::unix::fs::PermissionsExt;

use crate::cli::Exit;
use crate::cli::harness::{Harness, Ran};
use crate::core::token::{Secret, TokenKind};

const CREATE: &str = "token create --account 1 --name leaked --grant job_admin:10";

fn unknown(seed: u8) -> String {
    Secret::from_entropy(TokenKind::Personal, [seed; 32]).expose().to_owned()
}

fn make(harness: &Harness) -> String {
    harness.json(CREATE)["token"].as_str().unwrap().to_owned()
}

fn scan(harness: &Harness, input: &str) -> Ran {
    harness.run_fed(&["scan", "-"], input)
}

#[test]
fn a_token_of_the_store_is_told_with_the_command_that_revokes_it_and_never_whole() {
    let harness = Harness::with_account();
    let secret = make(&harness);
    std::fs::create_dir(harness.path("repo")).unwrap();
    harness.write("repo/.env", &format!("A=1\nTOKEN={secret}\n"));
    let ran = harness.run(&["scan", "repo"]).expect(Exit::Found);
    let expected = format!(
        "repo/.env:2:7: {}… (service token 2 of account 1, active): portcullis token revoke 2\n",
        &secret[..8]
    );
    assert_eq!(ran.stdout, expected);
    harness.ok("token revoke 2");
    let ran = harness.run(&["scan", "repo", "--json"]).expect(Exit::Found);
    let json = ran.json();
    assert_eq!((&json[0]["state"], &json[0]["id"]), (&"revoked".into(), &2.into()));
    assert!(json[0]["revoke"].is_null() && json.as_array().unwrap().len() == 1);
    assert!(!ran.stdout.contains(&secret[..9]) && !ran.stderr.contains(&secret[..9]));
}

#[test]
fn without_a_configuration_tokens_are_found_all_the_same() {
    let harness = Harness::empty();
    let (one, other) = (unknown(1), unknown(2));
    let ran = scan(&harness, &format!("{one}{other}\n x{one}")).expect(Exit::Found);
    let places: Vec<_> = ran.stdout.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(places, ["-:1:1:", "-:1:54:", "-:2:3:"]);
    assert!(ran.stdout.lines().next().unwrap().ends_with("(personal token)"), "{ran:?}");
    let none = scan(&harness, "pts_ and ptu_ are prefixes").expect(Exit::Done);
    assert_eq!(
        (none.stdout.as_str(), none.stderr.as_str()),
        ("", "0 tokens in 1 files, 26 bytes\n")
    );
    assert_eq!(harness.run(&["scan", "-", "--json"]).expect(Exit::Done).stdout, "[]\n");
    harness.run(&["scan"]).expect(Exit::Usage);
    let folder = Harness::new();
    let ran = scan(&folder, &one).expect(Exit::Found);
    assert!(ran.stdout.contains("not in the store"), "{ran:?}");
}

#[test]
fn a_configuration_that_cannot_be_used_keeps_no_token_from_being_found() {
    let harness = Harness::empty();
    harness.write("portcullis.toml", "[gate]\nnonsense = 1\n");
    let ran = scan(&harness, &unknown(1)).expect(Exit::Found);
    assert!(ran.stderr.contains("not looked up"), "{ran:?}");
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_scanned() {
    let harness = Harness::empty();
    harness.write("b\u{1b}", &unknown(1));
    let ran = harness.run(&["scan", "none", "b\u{1b}"]).expect(Exit::Found);
    assert!(ran.stderr.contains("none cannot be read"), "{ran:?}");
    assert!(ran.stdout.starts_with("b\\u{1b}:1:1: "), "{ran:?}");
    let ran = harness.run(&["scan", "none", "--json"]).expect(Exit::Failed);
    assert_eq!(ran.stdout, "[]\n");
    std::fs::create_dir(harness.path("closed")).unwrap();
    std::fs::set_permissions(harness.path("closed"), PermissionsExt::from_mode(0o000)).unwrap();
    let exit = if rustix::process::geteuid().is_root() { Exit::Done } else { Exit::Failed };
    harness.run(&["scan", "closed"]).expect(exit);
    std::fs::set_permissions(harness.path("closed"), PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn what_is_excluded_is_left_out() {
    let harness = Harness::empty();
    for folder in ["repo/target", "repo/src"] {
        std::fs::create_dir_all(harness.path(folder)).unwrap();
    }
    for file in ["repo/target/x", "repo/src/a.png", "repo/src/b.rs"] {
        harness.write(file, &unknown(3));
    }
    let ran = harness
        .run(&["scan", "repo", "--exclude", "target", "--exclude", "*.png"])
        .expect(Exit::Found);
    assert!(ran.stdout.starts_with("repo/src/b.rs:1:1: ") && ran.stdout.lines().count() == 1);
    harness.run(&["scan", "repo", "--exclude", ""]).expect(Exit::Usage);
}
