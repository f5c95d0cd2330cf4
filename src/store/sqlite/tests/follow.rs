//! Following the store: versions, frames, rebases and snapshots.

use super::*;

#[test]
fn nothing_new_is_an_empty_frame_at_the_same_place() {
    let fixture = Fixture::new();
    let cursor = fixture.cursor();
    let Changes::Frame { records, cursor: next, .. } =
        fixture.store.changes_after(&cursor, 10).unwrap()
    else {
        panic!()
    };
    assert_eq!((records, next), (vec![], cursor));
}

#[test]
fn a_cursor_leads_on_by_few_changes_and_past_nothing_in_bulk() {
    let fixture = Fixture::new();
    let cursor = fixture.cursor();
    let leads_on = |cursor: &Cursor, limit| fixture.store.leads_on(cursor, limit).unwrap();
    assert!(leads_on(&cursor, 0));
    fixture.create(token(1, 1));
    assert!(!leads_on(&cursor, 0) && leads_on(&cursor, 9));
    let [epoch, position] = [cursor.epoch(), cursor.position()];
    for (epoch, position) in [(epoch + 1, position), (epoch, position + 99)] {
        let other = Cursor::new(cursor.store().to_owned(), epoch, position).unwrap();
        assert!(!leads_on(&other, 999), "{other}");
    }
    fixture.store.rebase().unwrap();
    assert!(!leads_on(&cursor, 9) && leads_on(&fixture.cursor(), 9));
}

#[test]
fn a_frame_holds_the_present_state_of_each_thing_once() {
    let fixture = Fixture::new();
    let cursor = fixture.cursor();
    let id = fixture.create(token(1, 1));
    fixture.apply(id_row(1, 77, 10)).unwrap();
    fixture.apply(id_row(1, 78, 10)).unwrap();
    fixture.apply(Command::SetPlan { id: 1, plan: Plan::Team }).unwrap();
    fixture.apply(Command::RevokeToken { id }).unwrap();
    let index = "job_id".to_owned();
    fixture.apply(Command::RemoveId { account_id: 1, index: index.clone(), id: 77 }).unwrap();
    let records = fixture.frame(&cursor);
    let [Record::Account(account), Record::Id(row), Record::Token(token), removed] = &records[..]
    else {
        panic!("{records:?}")
    };
    assert_eq!((account.plan, &account.projects[..]), (Plan::Team, &[10, 11][..]));
    assert_eq!((token.id, token.state), (id, TokenState::Revoked));
    assert_eq!((row.id, row.project_id), (78, 10));
    assert_eq!(*removed, Record::IdRemoved { account_id: 1, index, id: 77 });
}

#[test]
fn an_account_precedes_its_tokens_in_a_frame() {
    let fixture = Fixture::empty();
    let cursor = fixture.cursor();
    fixture.apply(account(1, Plan::Enterprise)).unwrap();
    fixture.create(token(1, 1));
    fixture.apply(project(1, 10)).unwrap();
    let records = fixture.frame(&cursor);
    assert!(matches!(records[..], [Record::Account(_), Record::Token(_)]), "{records:?}");
}

#[test]
fn a_tokens_version_is_the_place_of_its_last_change() {
    let fixture = Fixture::new();
    let cursor = fixture.cursor();
    let id = fixture.create(token(1, 1));
    let made = token_records(&fixture.frame(&cursor))[0].version;
    assert_eq!(made, fixture.cursor().position());
    fixture.apply(Command::RevokeToken { id }).unwrap();
    let revoked = token_records(&fixture.frame(&cursor))[0].version;
    assert!(revoked > made);
    assert_eq!(revoked, fixture.cursor().position());
}

#[test]
fn removing_a_user_puts_the_users_tokens_into_the_frame() {
    let fixture = Fixture::new();
    let id = fixture.create(NewToken { user_id: Some(5), ..token(1, 1) });
    let cursor = fixture.cursor();
    fixture.apply(Command::RemoveUser { account_id: 1, id: 5 }).unwrap();
    let records = fixture.frame(&cursor);
    let tokens = token_records(&records);
    assert_eq!((tokens.len(), tokens[0].id), (1, id));
    assert_eq!(tokens[0].state, TokenState::Revoked);
}

#[test]
fn frames_are_as_short_as_asked_and_lead_to_the_end() {
    let fixture = Fixture::new();
    let mut cursor = fixture.cursor();
    let mut followed = contents(&fixture.store);
    for seed in 0..10 {
        fixture.create(token(1, seed));
    }
    for _ in 0..4 {
        let Changes::Frame { records, cursor: next, .. } =
            fixture.store.changes_after(&cursor, 3).unwrap()
        else {
            panic!()
        };
        assert!(records.len() <= 3);
        records.into_iter().for_each(|record| fold(&mut followed, record));
        cursor = next;
    }
    assert_eq!(cursor, fixture.cursor());
    assert_eq!(followed, contents(&fixture.store));
}

#[test]
fn a_limit_of_nothing_still_makes_progress() {
    let fixture = Fixture::new();
    let cursor = fixture.cursor();
    fixture.create(token(1, 1));
    let Changes::Frame { records, .. } = fixture.store.changes_after(&cursor, 0).unwrap() else {
        panic!()
    };
    assert_eq!(records.len(), 1);
}

#[test]
fn a_cursor_of_another_store_epoch_or_future_takes_a_snapshot() {
    let fixture = Fixture::new();
    let cursor = fixture.cursor();
    let others = [
        Cursor { store: "0".to_owned(), ..cursor.clone() },
        Cursor { epoch: cursor.epoch + 1, ..cursor.clone() },
        Cursor { position: cursor.position + 1, ..cursor.clone() },
        Fixture::new().cursor(),
    ];
    assert!(!fixture.must_rebase(&cursor));
    for other in others {
        assert!(fixture.must_rebase(&other), "{other}");
    }
}

#[test]
fn a_follower_too_far_behind_takes_a_snapshot_and_the_log_stays_short() {
    let fixture = Fixture::new();
    let start = fixture.cursor();
    let connection = rusqlite::Connection::open(fixture.path()).unwrap();
    let insert = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})
         INSERT INTO changes (kind, account_id) SELECT 'account', 1 FROM n",
        crate::store::sqlite::feed::HISTORY_LIMIT
    );
    connection.execute_batch(&insert).unwrap();
    assert!(!fixture.must_rebase(&start));
    fixture.create(token(1, 1));
    assert!(fixture.must_rebase(&start));
    let next = Cursor { position: start.position + 1, ..start };
    assert!(!fixture.must_rebase(&next));
    let rows = fixture.raw("SELECT count(*) FROM changes", |row| row.get::<_, i64>(0));
    assert_eq!(rows, [crate::store::sqlite::feed::HISTORY_LIMIT]);
}

#[test]
fn an_import_sends_followers_to_a_snapshot_in_the_commit_that_makes_it() {
    let fixture = Fixture::new();
    let before = fixture.cursor();
    for seed in 0..3 {
        let outcomes = fixture.store.apply_all(
            &Actor::operator().in_bulk(),
            vec![create(token(1, 2 * seed)), create(token(1, 1 + 2 * seed))],
        );
        assert!(outcomes.into_iter().all(changed));
        assert_eq!(fixture.bulk(&before), Bulk::Going, "without waiting for the import's end");
    }
    let markers: Vec<i64> =
        fixture.raw("SELECT count(*) FROM changes WHERE kind = 'rebase'", |row| row.get(0));
    assert_eq!(markers, [1], "an import leaves one marker");
    let during = fixture.cursor();
    fixture.import(create(token(1, 99))).unwrap();
    assert_eq!(fixture.bulk(&during), Bulk::Going);
    fixture.store.rebase().unwrap();
    assert_eq!(fixture.bulk(&during), Bulk::Done);
    let after = fixture.cursor();
    fixture.create(token(1, 100));
    assert_eq!(token_records(&fixture.frame(&after)).len(), 1);
    assert_eq!(fixture.bulk(&after), Bulk::Nothing);
}

#[test]
fn a_single_change_amid_an_import_is_in_a_frame_with_its_account() {
    let fixture = Fixture::new();
    let before = fixture.cursor();
    fixture.import(account(3, Plan::Enterprise)).unwrap();
    fixture.import(create(token(3, 1))).unwrap();
    let id = fixture.create(token(3, 2));
    fixture.import(create(token(3, 3))).unwrap();
    let records = fixture.frame(&before);
    let [Record::Account(account), Record::Token(token)] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!((account.id, token.id), (3, id), "imported tokens wait for the snapshot");
    assert_eq!(fixture.bulk(&before), Bulk::Going);
}

#[test]
fn an_import_in_many_transactions_gives_one_outcome_for_each_command() {
    let fixture = Fixture::new();
    let commands: Vec<_> = (0..6_000).map(|seed| create(token(1, seed % 5_000))).collect();
    let outcomes = fixture.store.apply_all(&Actor::operator().in_bulk(), commands);
    assert_eq!(outcomes.len(), 6_000);
    assert_eq!(outcomes.into_iter().filter(|outcome| changed(outcome.clone())).count(), 5_000);
    assert_eq!(fixture.tokens().len(), 5_000);
}

#[test]
fn others_come_to_write_while_an_import_goes_on() {
    let fixture = Fixture::new();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let commands = (1..30_000).map(|seed| create(token(1, seed))).collect();
            fixture.store.apply_all(&Actor::operator().in_bulk(), commands);
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let other = fixture.second();
        let mut during = 0;
        for seed in 100_000.. {
            other.apply(&Actor::operator(), create(token(1, seed))).unwrap();
            if over.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }
            during += 1;
        }
        assert!(during > 2, "{during}");
    });
}

#[test]
fn an_import_of_what_is_there_leaves_followers_alone() {
    let fixture = Fixture::new();
    fixture.create(token(1, 1));
    let cursor = fixture.cursor();
    assert!(unchanged(fixture.import(create(token(1, 1)))));
    assert_eq!(fixture.cursor(), cursor);
    assert_eq!(fixture.bulk(&cursor), Bulk::Nothing);
}

#[test]
fn an_imported_change_has_a_newer_version_than_what_was_there() {
    let fixture = Fixture::new();
    let id = fixture.create(token(1, 1));
    let before = fixture.cursor().position();
    fixture.import(create(token(1, 2))).unwrap();
    fixture.import(Command::RevokeToken { id }).unwrap();
    let contents = contents(&fixture.store);
    let Record::Token(revoked) = &contents[&format!("token {id}")] else { panic!() };
    assert!(revoked.version > before);
}

#[test]
fn a_refused_import_line_does_not_take_the_marker_with_it() {
    let fixture = Fixture::new();
    let cursor = fixture.cursor();
    let broken = create(NewToken { name: String::new(), ..token(1, 1) });
    let commands = vec![broken.clone(), create(token(1, 2)), broken, create(token(1, 3))];
    let outcomes = fixture.store.apply_all(&Actor::operator().in_bulk(), commands);
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false, true]);
    assert_eq!(fixture.bulk(&cursor), Bulk::Going);
}

#[test]
fn a_marker_that_a_failed_command_took_back_is_written_again() {
    let fixture = Fixture::new();
    let cursor = fixture.cursor();
    let enable = Command::EnableIpRules { account_id: 1, enabled: true };
    // Refused after it was written: nobody knows the address.
    let refused = Command::IfAdmitted { account_id: 1, address: None, change: Box::new(enable) };
    let commands = vec![refused, create(token(1, 2))];
    let outcomes = fixture.store.apply_all(&Actor::operator().in_bulk(), commands);
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
    assert_eq!(fixture.bulk(&cursor), Bulk::Going);
}

#[test]
fn a_database_that_fails_within_an_import_stores_nothing_of_the_transaction() {
    let fixture = Fixture::new();
    let cursor = fixture.cursor();
    let connection = rusqlite::Connection::open(fixture.path()).unwrap();
    connection.execute_batch("ALTER TABLE grants RENAME TO hidden").unwrap();
    let commands = vec![create(NewToken { grants: vec![], ..token(1, 1) }), create(token(1, 2))];
    let outcomes = fixture.store.apply_all(&Actor::operator().in_bulk(), commands.clone());
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, false]);
    connection.execute_batch("ALTER TABLE hidden RENAME TO grants").unwrap();
    assert_eq!(fixture.cursor(), cursor);
    let outcomes = fixture.store.apply_all(&Actor::operator().in_bulk(), commands);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Outcome::Changed { .. }))));
}

#[test]
fn a_rebase_can_be_asked_for() {
    let fixture = Fixture::new();
    let cursor = fixture.cursor();
    fixture.store.rebase().unwrap();
    assert_eq!(fixture.bulk(&cursor), Bulk::Done);
    assert_eq!(fixture.bulk(&fixture.cursor()), Bulk::Nothing);
}

#[test]
fn a_second_process_is_seen_by_version_and_frames() {
    let fixture = Fixture::new();
    let other = fixture.second();
    let cursor = fixture.cursor();
    let version = fixture.store.data_version().unwrap();
    assert_eq!(fixture.store.data_version().unwrap(), version);
    other.apply(&Actor::operator(), create(token(1, 1))).unwrap();
    let seen = fixture.store.data_version().unwrap();
    assert_ne!(seen, version);
    assert_eq!(fixture.frame(&cursor).len(), 1);
    fixture.create(token(1, 2));
    assert_ne!(fixture.store.data_version().unwrap(), seen, "one's own commit is seen, too");
    assert_eq!(fixture.frame(&cursor).len(), 2);
}

#[test]
fn a_snapshot_is_in_order_and_of_one_moment() {
    let fixture = Fixture::new();
    fixture.apply(id_row(1, 77, 10)).unwrap();
    for seed in 0..4 {
        fixture.create(token(1 + seed % 2, seed));
    }
    let mut kinds = String::new();
    let mut seeds = 100..;
    let cursor = fixture
        .store
        .snapshot(&mut |record| {
            kinds.push(match record {
                Record::Account(_) => 'a',
                Record::Token(_) => 't',
                Record::Id(_) | Record::IdRemoved { .. } => 'i',
            });
            fixture.create(token(1, seeds.next().unwrap()));
            Ok(())
        })
        .unwrap();
    assert_eq!(kinds, "aatttti");
    assert_eq!(fixture.frame(&cursor).len(), 7, "what was written meanwhile follows");
}

#[test]
fn a_snapshot_ends_at_the_sinks_first_error() {
    let fixture = Fixture::new();
    let mut calls = 0;
    let outcome = fixture.store.snapshot(&mut |_| {
        calls += 1;
        Err(StoreError::Conflict("enough".to_owned()))
    });
    assert_eq!((outcome, calls), (Err(StoreError::Conflict("enough".to_owned())), 1));
}
