//! Backups of a real store, and what restoring them brings back and what it does not.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use serde_json::Value;

use crate::cli::Exit;
use crate::cli::harness::{Harness, Ran};

const STORE: [&str; 3] = ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm"];

/// Makes a token of account 1: its number and its secret.
fn make(harness: &Harness, more: &str) -> (u64, String) {
    let made = harness.json(&format!("token create --account 1 --name t --grant job_admin{more}"));
    (made["id"].as_u64().unwrap(), made["token"].as_str().unwrap().to_owned())
}

/// What `token verify` says of a secret: a reason, or `allow`.
fn verdict(harness: &Harness, secret: &str) -> String {
    let found = harness.run_fed(&["token", "verify", "-", "--json"], secret).json();
    found["reason"].as_str().unwrap_or("allow").to_owned()
}

fn restore(harness: &Harness, more: &[&str]) -> Ran {
    harness.run(&[&["restore", "b.db", "--yes", "--json"], more].concat())
}

/// Files beside the store that keep what was replaced.
fn replaced(harness: &Harness) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(harness.path("")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().contains(".replaced-")).collect()
}

#[test]
fn a_backup_is_for_its_owner_alone_and_overwrites_nothing() {
    let harness = Harness::with_account();
    let made = harness.json("backup b.db --json");
    assert_eq!(
        (&made["accounts"], &made["tokens"], &made["epoch"]),
        (&2.into(), &1.into(), &1.into())
    );
    let mode = harness.path("b.db").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = std::fs::read(harness.path("b.db")).unwrap();
    let again = harness.run(&["backup", "b.db"]).expect(Exit::Failed);
    assert!(again.stderr.contains("--force"), "{again:?}");
    assert_eq!(std::fs::read(harness.path("b.db")).unwrap(), before);
    make(&harness, "");
    assert_eq!(harness.json("backup b.db --force --json")["tokens"], 2);
    let secret = std::fs::read_to_string(harness.path("digest.key")).unwrap();
    let bytes = std::fs::read(harness.path("b.db")).unwrap();
    let key = secret.trim().split(':').nth(1).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains(key));
}

#[test]
fn a_restore_brings_back_the_backup_and_revives_nothing() {
    let harness = Harness::with_account();
    harness.ok("account create --id 2 --name Two --plan enterprise");
    harness.ok("account create --id 3 --name Three --plan enterprise");
    let (_, kept) = make(&harness, "");
    let (revoked_id, revoked) = make(&harness, "");
    let (rotated_id, rotated) = make(&harness, "");
    harness.ok("backup b.db");
    harness.ok(&format!("token revoke {revoked_id}"));
    harness.ok(&format!("token rotate {rotated_id} --grace 1h"));
    let (gone_id, gone) = make(&harness, "");
    harness.ok(&format!("token revoke {gone_id}"));
    let (last_id, lost) = make(&harness, "");
    harness.ok("account close 2");
    harness.ok("account set-plan 3 cancelled");
    harness.ok("project remove --account 1 11");
    let before = harness.ok("export").stdout;

    let done = restore(&harness, &[]).expect(Exit::Done).json();
    assert_eq!(done["lost_tokens"], 3, "{done}");
    assert!(done["lost_changes"].as_u64().unwrap() >= 8, "{done}");
    assert_eq!((&done["kept_revoked"], &done["kept_expiring"]), (&2.into(), &1.into()), "{done}");
    assert_eq!(done["kept_closed"], 2, "{done}");
    assert!(done["new_epoch"].as_u64().unwrap() > done["epoch"].as_u64().unwrap());

    assert_eq!(verdict(&harness, &kept), "allow");
    assert_eq!(verdict(&harness, &revoked), "revoked");
    assert_eq!(verdict(&harness, &gone), "revoked", "no import can bring it back");
    assert_eq!(verdict(&harness, &lost), "unknown_token");
    assert_eq!(verdict(&harness, &rotated), "allow");
    let end = harness.json(&format!("token show {rotated_id} --json"))["expires_at"].clone();
    assert_eq!(end, "2026-01-01T01:00:00Z");
    assert_eq!(harness.json("account show 2 --json")["state"], "closed");
    assert_eq!(harness.json("account show 3 --json")["plan"], "cancelled");
    assert_eq!(harness.json("project list --account 1 --json").as_array().unwrap().len(), 2);
    let (next, _) = make(&harness, "");
    assert!(next > last_id, "numbers are not given twice: {next} after {last_id}");
    harness.ok("audit verify");
    let events = harness.json("audit list --event store.restored --json");
    assert_eq!(events.as_array().unwrap().len(), 1, "{events}");

    let [was] = &replaced(&harness)[..] else { panic!("{:?}", replaced(&harness)) };
    assert_eq!(was.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::rename(was, harness.path("b.db")).unwrap();
    restore(&harness, &["--revive"]).expect(Exit::Done);
    let after = harness.ok("export").stdout;
    assert_eq!(after, before, "and what was replaced can be restored in turn");
}

#[test]
fn what_was_used_since_the_backup_is_still_known_after_it_is_restored() {
    let harness = Harness::with_account();
    let (id, _) = make(&harness, "");
    harness.ok("backup b.db");
    let (lost, _) = make(&harness, "");
    let database = rusqlite::Connection::open(harness.path("portcullis.db")).unwrap();
    for token in [id, lost] {
        let uses = format!("INSERT INTO token_uses VALUES ({token}, 5, {}, NULL)", harness.now);
        database.execute(&uses, []).unwrap();
    }
    drop(database);
    restore(&harness, &[]).expect(Exit::Done);
    let shown = harness.json(&format!("token show {id} --json"));
    assert_eq!(shown["last_used_at"], "2026-01-01T00:00:00Z", "{shown}");
    let database = rusqlite::Connection::open(harness.path("portcullis.db")).unwrap();
    let rows: i64 =
        database.query_row("SELECT count(*) FROM token_uses", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1, "of a token that is gone nothing is left");
}

#[test]
fn what_was_revoked_works_again_only_on_request() {
    let harness = Harness::with_account();
    let (id, secret) = make(&harness, "");
    harness.ok("backup b.db");
    harness.ok(&format!("token revoke {id}"));
    let done = harness.run(&["restore", "b.db", "--yes", "--revive"]).expect(Exit::Done);
    assert!(done.stderr.contains("WORKS AGAIN"), "{done:?}");
    assert_eq!(verdict(&harness, &secret), "allow");
}

#[test]
fn nothing_is_restored_without_a_yes() {
    let harness = Harness::with_account();
    harness.ok("backup b.db");
    make(&harness, "");
    let before = harness.ok("export").stdout;
    let asked = harness.run(&["restore", "b.db"]).expect(Exit::Usage);
    assert!(
        asked.stderr.contains("1 tokens made since") && asked.stderr.contains("--yes"),
        "{asked:?}"
    );
    assert_eq!(harness.ok("export").stdout, before);
    assert!(replaced(&harness).is_empty());
}

#[test]
fn a_file_that_is_damaged_or_something_else_is_not_restored() {
    let harness = Harness::with_account();
    for _ in 0..50 {
        make(&harness, "");
    }
    harness.ok("backup b.db");
    let whole = std::fs::read(harness.path("b.db")).unwrap();
    let before = harness.ok("export").stdout;
    let mut overwritten = whole.clone();
    overwritten[whole.len() / 2..][..4096].fill(0xa5);
    for bytes in [&whole[..whole.len() - 4096], &overwritten, b"not a database", b""] {
        std::fs::write(harness.path("b.db"), bytes).unwrap();
        let ran = restore(&harness, &[]).expect(Exit::Invalid);
        assert!(ran.stderr.contains("b.db"), "{ran:?}");
    }
    std::fs::remove_file(harness.path("b.db")).unwrap();
    restore(&harness, &[]).expect(Exit::Failed);
    let other = rusqlite::Connection::open(harness.path("b.db")).unwrap();
    other.execute_batch("CREATE TABLE t (a)").unwrap();
    drop(other);
    let ran = restore(&harness, &[]).expect(Exit::Invalid);
    assert!(ran.stderr.contains("portcullis init"), "{ran:?}");
    assert_eq!(harness.ok("export").stdout, before);
    let left = std::fs::read_dir(harness.path("")).unwrap();
    let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with('.')), "copies are gone");
}

#[test]
fn a_store_that_is_lost_or_unreadable_can_be_restored() {
    let harness = Harness::with_account();
    let (_, secret) = make(&harness, "");
    harness.ok("backup b.db");
    for name in STORE {
        let _ = std::fs::remove_file(harness.path(name));
    }
    let done = harness.run(&["restore", "b.db", "--yes"]).expect(Exit::Done);
    assert!(done.stderr.contains("no store"), "{done:?}");
    assert_eq!(verdict(&harness, &secret), "allow");
    harness.ok("audit verify");

    for name in STORE {
        let _ = std::fs::remove_file(harness.path(name));
    }
    harness.write("portcullis.db", "this was a store once");
    let refused = restore(&harness, &[]).expect(Exit::Failed);
    assert!(refused.stderr.contains("--revive"), "{refused:?}");
    assert_eq!(harness.read("portcullis.db"), "this was a store once");
    let done = restore(&harness, &["--revive"]).expect(Exit::Done).json();
    assert_eq!(verdict(&harness, &secret), "allow");
    let kept: Value = done["replaced"].clone();
    assert_eq!(std::fs::read_to_string(kept.as_str().unwrap()).unwrap(), "this was a store once");
}

#[test]
fn what_a_lost_store_left_beside_it_is_not_written_into_the_one_that_is_restored() {
    let harness = Harness::with_account();
    let (_, secret) = make(&harness, "");
    harness.ok("backup b.db");
    let database = rusqlite::Connection::open(harness.path("portcullis.db")).unwrap();
    let write = "PRAGMA wal_autocheckpoint = 0; UPDATE tokens SET state = 'revoked'";
    database.execute_batch(write).unwrap();
    // As a crash leaves them: nobody closes the store and empties its log.
    let left = [STORE[1], STORE[2]].map(|name| std::fs::read(harness.path(name)).unwrap());
    drop(database);
    let _ = std::fs::remove_file(harness.path(STORE[0]));
    std::fs::write(harness.path(STORE[1]), &left[0]).unwrap();
    std::fs::write(harness.path(STORE[2]), &left[1]).unwrap();

    let done = restore(&harness, &[]).expect(Exit::Done).json();
    assert_eq!(verdict(&harness, &secret), "allow", "as the backup has it");
    assert_eq!(done["replaced"], Value::Null, "there was no store");
    harness.ok("audit verify");
    let kept: Vec<Vec<u8>> =
        replaced(&harness).iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(kept.len() == 2 && kept.contains(&left[0]), "what was left is kept");
}

#[test]
fn a_copy_of_what_is_replaced_that_breaks_off_is_not_left_behind() {
    let harness = Harness::with_account();
    harness.ok("backup b.db");
    let database = rusqlite::Connection::open(harness.path("portcullis.db")).unwrap();
    let page = "SELECT rootpage, (SELECT page_size FROM pragma_page_size)
                FROM sqlite_schema WHERE name = 'id_index'";
    let (page, size): (i64, i64) =
        database.query_row(page, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    drop(database);
    let file = std::fs::OpenOptions::new().write(true).open(harness.path("portcullis.db")).unwrap();
    file.write_all_at(&vec![0xa5; size as usize], ((page - 1) * size) as u64).unwrap();
    let ran = restore(&harness, &[]).expect(Exit::Failed);
    assert!(ran.stderr.contains("malformed"), "{ran:?}");
    assert!(replaced(&harness).is_empty());
}

#[test]
fn a_backup_of_another_store_replaces_all_of_it() {
    let (harness, other) = (Harness::with_account(), Harness::new());
    let (id, secret) = make(&harness, "");
    harness.ok(&format!("token revoke {id}"));
    other.write("digest.key", &harness.read("digest.key"));
    for name in STORE {
        let _ = std::fs::remove_file(other.path(name));
    }
    // The same secret in both, revoked in the one that is replaced.
    let account = r#"{"type":"account","id":1,"name":"One","plan":"enterprise","state":"open"}"#;
    let line = format!(
        r#"{{"account_id":1,"name":"t","created_at":"2024-05-01T00:00:00Z","grants":[{{"permission_set":"job_admin"}}],"token":"{secret}"}}"#
    );
    other.write("in.jsonl", &format!("{account}\n{line}\n"));
    other.ok("import in.jsonl --create-store");
    let (_, foreign) = make(&other, "");
    other.ok("backup b.db");
    std::fs::copy(other.path("b.db"), harness.path("b.db")).unwrap();
    let done = harness.run(&["restore", "b.db", "--yes"]).expect(Exit::Done);
    assert!(done.stderr.contains("another store"), "{done:?}");
    assert_eq!(verdict(&harness, &secret), "revoked");
    assert_eq!(verdict(&harness, &foreign), "allow");
    assert_eq!(harness.json("token list --account 1 --json").as_array().unwrap().len(), 2);
    harness.ok("audit verify");
}

#[test]
fn missing_keys_are_told_before_anything_is_restored() {
    let harness = Harness::with_account();
    make(&harness, "");
    harness.ok("backup b.db");
    harness.write("digest.key", &format!("k9:{}\n", "cd".repeat(32)));
    let asked = harness.run(&["restore", "b.db"]);
    assert!(asked.stderr.contains("(k1)"), "{asked:?}");
}

#[test]
fn a_snapshot_is_built_inspected_and_verified() {
    let harness = Harness::with_account();
    make(&harness, "");
    harness.ok("id-index set --account 1 job_id 77 10");
    let built = harness.json("snapshot build s --json");
    let counts = (&built["accounts"], &built["tokens"], &built["ids"]);
    assert_eq!(counts, (&2.into(), &2.into(), &1.into()), "{built}");
    assert_eq!(harness.json("snapshot inspect s --json"), built);
    assert!(harness.ok("snapshot inspect s").stdout.contains("sealed by k1"));
    assert!(harness.ok("snapshot verify s").stdout.contains("whole and unchanged"));
    assert_eq!(harness.path("s").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = harness.run(&["snapshot", "build", "s"]).expect(Exit::Failed);
    assert!(again.stderr.contains("--force"), "{again:?}");

    let whole = std::fs::read(harness.path("s")).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for (bytes, said) in [
        (&changed[..], "damaged"),
        (&whole[..whole.len() - 1], "cut off"),
        (&[&whole[..], b"x"].concat(), "follows its end"),
        (b"something else", "not a snapshot"),
    ] {
        std::fs::write(harness.path("s"), bytes).unwrap();
        let ran = harness.run(&["snapshot", "verify", "s"]).expect(Exit::Invalid);
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }
    std::fs::write(harness.path("s"), &whole).unwrap();
    harness.write("digest.key", &format!("k1:{}\n", "cd".repeat(32)));
    let ran = harness.run(&["snapshot", "verify", "s"]).expect(Exit::Invalid);
    assert!(ran.stderr.contains("seal is wrong"), "{ran:?}");
    harness.run(&["snapshot", "verify", "nowhere"]).expect(Exit::Failed);
}
