//! The audit log in the database: what is done to the file is found, and what the program does is
//! chained.

use std::net::IpAddr;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::store::{Anchor, AuditEntry, AuditFilter, AuditReport, FindingKind, Note, TokenTraces};

/// Every column of the table, with another value for it.
const CHANGES: [(&str, &str); 15] = [
    ("sequence", "sequence + 100"),
    ("created_at", "created_at - 1"),
    ("actor_type", "'token'"),
    ("actor_id", "7"),
    ("actor_name", "actor_name || 'x'"),
    ("actor_ip", "'192.0.2.1'"),
    ("event_type", "'account.opened'"),
    ("account_id", "account_id + 1"),
    ("subject_type", "'token'"),
    ("subject_id", "NULL"),
    ("before", "'{}'"),
    ("after", "NULL"),
    ("key_id", "'k2'"),
    ("hash", "zeroblob(32)"),
    ("seal", "zeroblob(32)"),
];

#[expect(clippy::needless_pass_by_value, reason = "filters are made where they are used")]
impl Fixture {
    fn verify(&self) -> AuditReport {
        self.store.verify_audit(None, &[]).unwrap()
    }

    fn found(&self) -> Vec<FindingKind> {
        self.verify().findings.iter().map(|finding| finding.kind).collect()
    }

    /// Does something to the file as whoever can write it could.
    fn tamper(&self, sql: &str) {
        rusqlite::Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    fn entries(&self, filter: AuditFilter) -> Vec<AuditEntry> {
        self.store.audit(&filter).unwrap()
    }
}

fn all() -> AuditFilter {
    AuditFilter { account_id: None, since: None, event: None, token: None, limit: usize::MAX }
}

fn events(entries: &[AuditEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.event_type.as_str()).collect()
}

#[test]
fn a_new_store_has_an_empty_log_that_holds_and_each_change_is_chained() {
    let fixture = Fixture::empty();
    assert_eq!((fixture.verify().entries, fixture.found()), (0, vec![]));
    let fixture = Fixture::new();
    fixture.create(token(1, 1));
    assert_eq!((fixture.verify().entries, fixture.found()), (6, vec![]));
    assert_eq!(fixture.second().verify_audit(None, &[]).unwrap(), fixture.verify());
}

#[test]
fn a_change_of_any_column_of_any_entry_is_found() {
    let columns = Fixture::new()
        .raw("SELECT name FROM pragma_table_info('audit_log')", |row| row.get::<_, String>(0));
    assert_eq!(columns, CHANGES.map(|(column, _)| column), "every column is among the changes");
    for (column, other) in CHANGES {
        for entry in [1, 3, 5] {
            let fixture = Fixture::new();
            fixture.tamper(&format!(
                "UPDATE audit_log SET {column} = {other} WHERE sequence = {entry}"
            ));
            assert_ne!(fixture.found(), [], "{column} of entry {entry}");
        }
    }
}

#[test]
fn what_is_removed_swapped_or_cut_off_is_found() {
    use FindingKind::{Changed, CutOff, HeadForged, HeadMissing, Missing};
    let after = |sql: &str| {
        let fixture = Fixture::new();
        fixture.tamper(sql);
        fixture.found()
    };
    assert_eq!(after("DELETE FROM audit_log WHERE sequence = 1"), [Missing]);
    assert_eq!(after("DELETE FROM audit_log WHERE sequence = 3"), [Missing]);
    assert_eq!(after("DELETE FROM audit_log WHERE sequence = 5"), [CutOff]);
    assert_eq!(after("DELETE FROM audit_log"), [CutOff]);
    assert_eq!(after("DELETE FROM meta WHERE key = 'audit_head'"), [HeadMissing]);
    let swap = "UPDATE audit_log SET sequence = -1 WHERE sequence = 2;
                UPDATE audit_log SET sequence = 2 WHERE sequence = 3;
                UPDATE audit_log SET sequence = 3 WHERE sequence = -1;";
    assert_eq!(after(swap)[..2], [Changed, Changed]);
    let shift = "DELETE FROM audit_log WHERE sequence = 1;
                 UPDATE audit_log SET sequence = sequence - 1;";
    assert!(after(shift).contains(&Changed));
    let head = "UPDATE meta SET value = replace(value, '5:', '4:') WHERE key = 'audit_head';
                DELETE FROM audit_log WHERE sequence = 5";
    assert_eq!(after(head), [HeadForged]);
}

#[test]
fn a_writer_goes_on_with_a_log_that_was_broken_and_says_so_for_good() {
    for sql in [
        "DELETE FROM audit_log WHERE sequence = 5",
        "UPDATE audit_log SET hash = zeroblob(32) WHERE sequence = 5",
        "DELETE FROM meta WHERE key = 'audit_head'",
        "UPDATE meta SET value = 'nonsense' WHERE key = 'audit_head'",
        "INSERT INTO audit_log SELECT 9, created_at, actor_type, actor_id, actor_name, actor_ip,
             event_type, account_id, subject_type, subject_id, before, after, key_id, hash, seal
         FROM audit_log WHERE sequence = 5",
    ] {
        let fixture = Fixture::new();
        fixture.tamper(sql);
        fixture.create(token(1, 1));
        fixture.create(token(1, 2));
        let entries = fixture.entries(all());
        let last = &events(&entries)[entries.len() - 3..];
        assert_eq!(last, ["audit.broken", "service_token.created", "service_token.created"]);
        assert!(fixture.found().contains(&FindingKind::FoundBroken), "{sql}");
    }
}

#[test]
fn entries_forged_under_a_key_that_nobody_knows_are_not_vouched_for_by_the_next_writer() {
    let fixture = Fixture::new();
    let foreign =
        SqliteStore::open(&fixture.path(), Rules { audit_keys: audit_keys(&[9]), ..rules() });
    let foreign = foreign.unwrap();
    assert!(changed(foreign.apply(&Actor::operator(), account(7, Plan::Team))));
    drop(foreign);
    fixture.create(token(1, 1));
    assert!(fixture.found().contains(&FindingKind::FoundBroken));
}

#[test]
fn the_key_can_be_changed_while_the_store_is_open_and_the_old_one_given_up() {
    let fixture = Fixture::new();
    fixture.store.replace_rules(Rules { audit_keys: audit_keys(&[2, 1]), ..rules() });
    fixture.create(token(1, 1));
    assert_eq!(fixture.found(), []);
    let ids: Vec<_> = fixture.entries(all()).into_iter().map(|entry| entry.key_id).collect();
    assert_eq!(ids, ["k1", "k1", "k1", "k1", "k1", "k2"]);
    fixture.store.replace_rules(Rules { audit_keys: audit_keys(&[2]), ..rules() });
    fixture.create(token(1, 2));
    let report = fixture.verify();
    assert_eq!((report.found, report.given_up_keys), (0, vec!["k1".to_owned()]));
    fixture.tamper("UPDATE audit_log SET actor_name = 'x' WHERE sequence = 2");
    assert_ne!(fixture.found(), []);
}

#[test]
fn a_head_that_was_kept_tells_of_a_log_that_was_put_back() {
    let fixture = Fixture::new();
    let copy = fixture.folder.path().join("copy.db");
    fixture.store.copy_to(&copy).unwrap();
    fixture.create(token(1, 1));
    let kept = fixture.verify().head;
    let verify = |store: &SqliteStore| store.verify_audit(None, &[kept]).unwrap().found;
    assert_eq!(verify(&fixture.store), 0);
    let copy = SqliteStore::open(&copy, rules()).unwrap();
    assert_eq!((copy.verify_audit(None, &[]).unwrap().found, verify(&copy)), (0, 1));
    fixture.create(token(1, 2));
    let since = fixture.store.verify_audit(Some(&kept), &[]).unwrap();
    assert_eq!((since.found, since.entries), (0, 1));
    let unknown = Anchor { sequence: 3, ..kept };
    assert!(fixture.store.verify_audit(Some(&unknown), &[]).is_err());
    fixture.tamper("UPDATE audit_log SET actor_name = 'x' WHERE sequence = 7");
    assert_eq!(fixture.store.verify_audit(Some(&kept), &[]).unwrap().found, 1);
}

#[test]
fn an_entry_says_who_from_where_and_about_what() {
    let fixture = Fixture::new();
    let address: IpAddr = "2001:db8::7".parse().unwrap();
    let caller = Actor::token(12, "deployer".to_owned(), Some(address));
    fixture.store.apply(&caller, create(token(1, 1))).unwrap();
    let note = Note::denied(Some(1), "DELETE /api/v3/accounts/1/", 403, "no_permission");
    fixture.store.apply(&caller, Command::Note(Box::new(note))).unwrap();
    let entries = fixture.entries(AuditFilter { limit: 2, ..all() });
    let [made, denied] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((made.actor_type.as_str(), made.actor_id), ("token", Some(12)));
    assert_eq!(
        (made.actor_name.as_str(), made.actor_ip.as_deref()),
        ("deployer", Some("2001:db8::7"))
    );
    assert_eq!((made.subject_type.as_str(), made.subject_id.as_deref()), ("token", Some("1")));
    assert!(made.before.is_none() && made.after.as_ref().unwrap().contains("\"name\":\"token 1\""));
    assert_eq!((denied.event_type.as_str(), denied.account_id), ("management.denied", Some(1)));
    assert_eq!(denied.subject_id.as_deref(), Some("DELETE /api/v3/accounts/1/"));
    assert_eq!(denied.after.as_deref(), Some(r#"{"reason":"no_permission","status":403}"#));
    assert_eq!(fixture.found(), []);
}

#[test]
fn entries_are_chosen_by_account_time_event_and_number() {
    let fixture = Fixture::new();
    fixture.create(token(2, 1));
    let of = |filter: AuditFilter| {
        fixture.entries(filter).iter().map(|entry| entry.sequence).collect::<Vec<_>>()
    };
    assert_eq!(of(all()), [1, 2, 3, 4, 5, 6]);
    assert_eq!(of(AuditFilter { account_id: Some(2), ..all() }), [2, 6]);
    assert_eq!(of(AuditFilter { limit: 2, ..all() }), [5, 6]);
    let event = |name: &str| AuditFilter { event: Some(name.to_owned()), ..all() };
    assert_eq!(of(event("project")), [3, 4]);
    assert_eq!(of(event("project.created")), [3, 4]);
    assert_eq!(of(event("proj")), [] as [u64; 0]);
    fixture.tamper("UPDATE audit_log SET created_at = 1000 WHERE sequence < 5");
    assert_eq!(of(AuditFilter { since: Some(Timestamp(1001)), ..all() }), [5, 6]);
}

#[test]
fn a_token_is_found_by_number_by_fingerprint_in_imports_and_as_the_actor() {
    let fixture = Fixture::new();
    fixture
        .store
        .apply_all(&Actor::operator().in_bulk(), vec![create(token(1, 1)), create(token(1, 2))]);
    let id = fixture.create(token(1, 3));
    fixture.create(token(1, 4));
    let rotate = Command::RotateToken {
        id,
        verifier: digest(5),
        created_at: NOW,
        old_expires_at: NOW,
        grants: None,
    };
    let Ok(Outcome::Changed { id: next }) = fixture.apply(rotate) else { panic!("rotated") };
    let caller = Actor::token(id, "t".to_owned(), None);
    fixture.store.apply(&caller, project(1, 12)).unwrap();
    let find = |id: Option<u64>, verifier: &Verifier| {
        let fingerprints = audit_keys(&[1]).fingerprints(verifier).collect();
        let token = Some(TokenTraces { id, fingerprints });
        fixture.entries(AuditFilter { token, ..all() })
    };
    let none = Verifier::Introspect { selector: None };
    let found = ["service_token.created", "service_token.rotated", "project.created"];
    assert_eq!(events(&find(Some(id), &none)), found);
    assert_eq!(
        events(&find(Some(next), &none)),
        ["service_token.created", "service_token.rotated"]
    );
    assert_eq!(events(&find(Some(2), &none)), ["import.applied"]);
    assert_eq!(events(&find(None, &digest(3))), ["service_token.created"]);
    assert_eq!(events(&find(None, &digest(99))), [] as [&str; 0]);
    assert_eq!(events(&find(None, &none)), [] as [&str; 0]);
}

#[test]
fn many_threads_of_two_processes_and_an_import_make_one_chain() {
    const EACH: u64 = 20;
    let fixture = Fixture::new();
    let other = fixture.second();
    thread::scope(|scope| {
        for (worker, store) in
            [&fixture.store, &other, &fixture.store, &other].into_iter().enumerate()
        {
            scope.spawn(move || {
                for n in 0..EACH {
                    let seed = worker as u64 * EACH + n;
                    assert!(changed(store.apply(&Actor::operator(), create(token(1, seed)))));
                }
            });
        }
        scope.spawn(|| {
            let commands = (1000..3000).map(|seed| create(token(1, seed))).collect();
            let outcomes = fixture.store.apply_all(&Actor::operator().in_bulk(), commands);
            assert!(outcomes.into_iter().all(changed));
        });
    });
    assert_eq!(fixture.found(), []);
    let imported = AuditFilter { event: Some("import.applied".to_owned()), ..all() };
    let singles = fixture.verify().entries - fixture.entries(imported).len() as u64;
    assert_eq!(singles, 5 + 4 * EACH);
}

#[test]
fn a_commit_that_fails_leaves_the_chain_as_it_was() {
    let fixture = Fixture::new();
    fixture.store.writer.limit_pages();
    let commands = (0..2000).map(|seed| create(token(1, seed))).collect();
    let outcomes = fixture.store.apply_all(&Actor::operator(), commands);
    assert!(outcomes.iter().all(Result::is_err));
    assert_eq!((fixture.verify().entries, fixture.found()), (5, vec![]));
}

#[test]
fn entries_of_before_the_chain_are_taken_over_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(include_str!("../migrations/0001_initial.sql")).unwrap();
    connection
        .execute_batch(
            r#"PRAGMA application_id = 1347699532; PRAGMA user_version = 1;
            INSERT INTO meta VALUES ('store_id', '00'), ('epoch', '1');
            INSERT INTO audit_log (id, at, actor, event, account_id, subject, detail) VALUES
                (1, 10, 'operator', 'account.created', 1, 'account:1',
                 '{"before":null,"after":{"name":"a"}}'),
                (4, 20, 'operator', 'import.applied', NULL, 'import',
                 '{"before":null,"after":{"account.created":3}}'),
                (5, 30, 'operator', 'account.closed', 1, 'account:1',
                 '{"before":{"state":"open"},"after":{"state":"closed"}}');"#,
        )
        .unwrap();
    drop(connection);
    let store = SqliteStore::open(&path, rules()).unwrap();
    let fixture = Fixture { store, folder };
    assert!(changed(fixture.apply(account(2, Plan::Team))));
    assert_eq!((fixture.verify().entries, fixture.found()), (4, vec![]));
    let entries = fixture.entries(all());
    let expected = ["account.created", "import.applied", "account.closed", "account.created"];
    assert_eq!(events(&entries), expected);
    let closed = &entries[2];
    assert_eq!(
        (closed.sequence, closed.created_at, closed.account_id),
        (3, Timestamp(30), Some(1))
    );
    assert_eq!(closed.before.as_deref(), Some(r#"{"state":"open"}"#));
    assert_eq!((entries[1].subject_id.as_deref(), closed.subject_id.as_deref()), (None, Some("1")));
    let tables = fixture.raw("SELECT name FROM sqlite_schema WHERE name LIKE '%log%'", |row| {
        row.get::<_, String>(0)
    });
    assert_eq!(tables, ["audit_log"]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_commands_keep_the_chain_and_any_one_change_of_the_table_breaks_it(
        batches in prop::collection::vec(
            (prop::collection::vec(super::property::commands(), 1..12), prop::bool::weighted(0.2)),
            1..6,
        ),
        entry in 0..10_000_u64,
        change in prop::sample::select(CHANGES.to_vec()),
    ) {
        let fixture = super::property::populated();
        for (commands, bulk) in batches {
            let actor = Actor::operator();
            fixture.store.apply_all(&if bulk { actor.in_bulk() } else { actor }, commands);
        }
        prop_assert_eq!(fixture.found(), vec![]);
        let entry = entry % fixture.verify().entries + 1;
        let (column, other) = change;
        let read = |fixture: &Fixture| {
            fixture.raw(&format!("SELECT quote({column}) FROM audit_log ORDER BY sequence"), |row| {
                row.get::<_, String>(0)
            })
        };
        let before = read(&fixture);
        fixture.tamper(&format!("UPDATE audit_log SET {column} = {other} WHERE sequence = {entry}"));
        prop_assert_eq!(fixture.found().is_empty(), read(&fixture) == before);
    }
}
