//! Files, processes and threads.

use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;
use std::thread;

use super::*;

#[test]
fn a_new_store_is_for_its_owner_alone_and_never_overwrites() {
    let fixture = Fixture::empty();
    fixture.apply(account(1, Plan::Team)).unwrap();
    for file in ["store.db", "store.db-wal"] {
        let metadata = std::fs::metadata(fixture.folder.path().join(file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
    let refused = SqliteStore::create(&fixture.path(), rules()).unwrap_err();
    assert!(matches!(&refused, StoreError::Conflict(text) if text.contains("store.db")));
    assert_eq!(fixture.second().accounts().unwrap().len(), 1);
}

#[test]
fn a_missing_store_is_answered_with_the_command_that_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.db");
    let refused = SqliteStore::open(&path, rules()).unwrap_err();
    assert!(refused.to_string().contains("run `portcullis init DIR`"), "{refused}");
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_no_store_or_a_newer_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "not a database, but longer than a header: ".repeat(40)).unwrap();
    assert!(matches!(SqliteStore::open(&text, rules()), Err(StoreError::Database(_))));
    let other = folder.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let refused = SqliteStore::open(&other, rules()).unwrap_err();
    assert!(refused.to_string().contains("not a store"), "{refused}");
    let fixture = Fixture::empty();
    let connection = rusqlite::Connection::open(fixture.path()).unwrap();
    connection.execute_batch("PRAGMA user_version = 99").unwrap();
    let refused = SqliteStore::open(&fixture.path(), rules()).unwrap_err();
    assert!(refused.to_string().contains("newer program"), "{refused}");
}

#[test]
fn stores_have_identities_of_their_own() {
    let (one, two) = (Fixture::empty().cursor(), Fixture::empty().cursor());
    assert_ne!(one.store, two.store);
    assert_eq!((one.epoch, one.position()), (1, 0));
    assert_eq!(one.to_string().parse(), Ok(one));
}

#[test]
fn reading_starts_no_writing_thread() {
    let fixture = Fixture::empty();
    fixture.store.accounts().unwrap();
    assert!(!fixture.store.writer.is_running());
    fixture.apply(account(1, Plan::Team)).unwrap();
    assert!(fixture.store.writer.is_running());
}

#[test]
fn one_refused_command_does_not_stop_the_others() {
    let fixture = Fixture::new();
    let commands = vec![create(token(1, 1)), create(token(9, 2)), create(token(1, 3))];
    let outcomes = fixture.store.apply_all(&Actor::operator(), commands);
    assert_eq!(outcomes[0], Ok(Outcome::Changed { id: 1 }));
    assert!(matches!(outcomes[1], Err(StoreError::NotFound(_))));
    assert_eq!(outcomes[2], Ok(Outcome::Changed { id: 2 }));
    assert_eq!(fixture.store.apply_all(&Actor::operator(), vec![]), []);
}

#[test]
fn everything_acknowledged_to_many_threads_is_there_after_reopening() {
    const THREADS: u64 = 8;
    const EACH: u64 = 25;
    let fixture = Fixture::new();
    let start = Barrier::new(THREADS as usize);
    let acknowledged: Vec<u64> = thread::scope(|scope| {
        let work = |thread: u64| {
            let (fixture, start) = (&fixture, &start);
            move || {
                start.wait();
                (0..EACH).map(|n| fixture.create(token(1, thread * EACH + n))).collect::<Vec<_>>()
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(work(n))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let Fixture { store, folder } = fixture;
    drop(store);
    let store = SqliteStore::open(&folder.path().join("store.db"), rules()).unwrap();
    let mut sorted = acknowledged;
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=THREADS * EACH).collect::<Vec<_>>());
    for id in sorted {
        assert_eq!(store.token(id).unwrap().id, id);
    }
}

#[test]
fn two_processes_write_the_same_file_in_turn() {
    let fixture = Fixture::new();
    let other = fixture.second();
    thread::scope(|scope| {
        scope.spawn(|| {
            for seed in 0..20 {
                assert!(changed(fixture.apply(create(token(1, seed)))));
            }
        });
        scope.spawn(|| {
            for seed in 100..120 {
                assert!(changed(other.apply(&Actor::operator(), create(token(1, seed)))));
            }
        });
    });
    let ids: Vec<u64> = fixture.tokens().iter().map(|token| token.id).collect();
    assert_eq!(ids, (1..=40).collect::<Vec<_>>());
}

#[test]
fn a_failing_database_is_an_error_and_no_hang_and_recovers() {
    let fixture = Fixture::new();
    let connection = rusqlite::Connection::open(fixture.path()).unwrap();
    connection.execute_batch("ALTER TABLE grants RENAME TO hidden").unwrap();
    let outcomes = fixture
        .store
        .apply_all(&Actor::operator(), vec![create(token(1, 1)), account(7, Plan::Team)]);
    assert!(matches!(outcomes[0], Err(StoreError::Database(_))), "{outcomes:?}");
    assert!(changed(outcomes[1].clone()), "the rest of the group is not concerned");
    connection.execute_batch("ALTER TABLE hidden RENAME TO grants").unwrap();
    assert_eq!(fixture.tokens(), [], "the failed command left no trace");
    fixture.create(token(1, 1));
}

#[test]
fn a_writing_thread_that_died_is_replaced() {
    let fixture = Fixture::new();
    fixture.store.writer.kill();
    fixture.create(token(1, 1));
}

#[test]
fn a_full_disk_fails_every_caller_of_the_commit_and_stores_nothing() {
    let fixture = Fixture::new();
    let cursor = fixture.cursor();
    fixture.store.writer.limit_pages();
    let commands = (0..2000).map(|seed| create(token(1, seed))).collect();
    let outcomes = fixture.store.apply_all(&Actor::operator(), commands);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(StoreError::Database(_)))));
    assert_eq!((fixture.tokens(), fixture.cursor()), (vec![], cursor));
    assert!(unchanged(fixture.apply(project(1, 10))), "the store still answers");
}
