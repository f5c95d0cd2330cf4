//! What commands do, and what the audit log says about it.

use serde_json::json;

use super::*;

const GRACE_END: Timestamp = Timestamp(NOW.0 + 1000);

fn rotate(id: u64, seed: u64) -> Command {
    Command::RotateToken {
        id,
        verifier: digest(seed),
        created_at: NOW,
        old_expires_at: GRACE_END,
        grants: None,
    }
}

#[test]
fn a_token_is_read_back_as_it_was_made() {
    let fixture = Fixture::new();
    let made = NewToken {
        user_id: Some(5),
        not_before: Some(Timestamp(7)),
        expires_at: Some(Timestamp(i64::MAX)),
        allow_ips: vec!["10.9.9.9/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        grants: vec![
            Grant {
                writable_environment_categories: vec![
                    crate::core::record::Category::Staging,
                    crate::core::record::Category::All,
                ],
                ..grant("analyst", Some(11))
            },
            grant("owner", None),
        ],
        ..token(1, 1)
    };
    let id = fixture.create(made.clone());
    let read = fixture.store.token(id).unwrap();
    let allow_ips = ["10.0.0.0/8", "2001:db8::/32"].map(|cidr| cidr.parse().unwrap()).to_vec();
    let NewToken { account_id, name, user_id, state, created_at, .. } = made.clone();
    let NewToken { not_before, expires_at, grants, verifier, .. } = made.clone();
    let expected = TokenView {
        id,
        account_id,
        name,
        user_id,
        state,
        created_at,
        updated_at: created_at,
        not_before,
        expires_at,
        allow_ips,
        grants,
        verifier,
        rotated_to: None,
    };
    assert_eq!(read, expected);
    assert_eq!(fixture.store.token_by_verifier(&made.verifier).unwrap(), Some(expected.clone()));
    assert_eq!(fixture.tokens(), [expected]);
}

#[test]
fn tokens_are_listed_by_account_each_with_its_grants() {
    let fixture = Fixture::new();
    for seed in 0..6 {
        let grants = vec![grant("semantic_layer_only", None); seed as usize % 3];
        fixture.create(NewToken { grants, ..token(1 + seed % 2, seed) });
    }
    for account_id in [1, 2] {
        let filter = TokenFilter { account_id: Some(account_id) };
        let mut listed = Vec::new();
        fixture
            .store
            .tokens(&filter, &mut |token| {
                listed.push(token);
                Ok(())
            })
            .unwrap();
        let all = fixture.tokens().into_iter();
        let expected: Vec<_> = all.filter(|token| token.account_id == account_id).collect();
        assert_eq!(listed, expected);
        assert_eq!(listed.len(), 3);
    }
    let unknown = TokenFilter { account_id: Some(9) };
    let refused = fixture.store.tokens(&unknown, &mut |_| Ok(()));
    assert!(matches!(refused, Err(StoreError::NotFound(_))));
}

#[test]
fn each_verifier_is_found_and_only_under_its_own_key() {
    let fixture = Fixture::new();
    for verifier in [digest(1), Verifier::Sha256([3; 32]), hash("h", Some("abc"))] {
        let id = fixture.create(slow_token(1, verifier.clone()));
        assert_eq!(fixture.store.token_by_verifier(&verifier).unwrap().map(|t| t.id), Some(id));
    }
    let Verifier::Digest { digest, .. } = digest(1) else { unreachable!() };
    let other_key = Verifier::Digest { key_id: "k2".to_owned(), digest };
    for absent in [other_key, Verifier::Sha256([4; 32]), hash("x", None)] {
        assert_eq!(fixture.store.token_by_verifier(&absent).unwrap(), None);
    }
}

#[test]
fn revoking_twice_changes_nothing_the_second_time() {
    let fixture = Fixture::new();
    let id = fixture.create(token(1, 1));
    assert_eq!(fixture.apply(Command::RevokeToken { id }), Ok(Outcome::Changed { id }));
    let cursor = fixture.cursor();
    assert_eq!(fixture.apply(Command::RevokeToken { id }), Ok(Outcome::Unchanged { id }));
    assert_eq!(fixture.cursor(), cursor);
}

#[test]
fn removing_a_user_revokes_the_users_tokens_and_no_others() {
    let fixture = Fixture::new();
    fixture.apply(user(1, 6, Licence::Developer)).unwrap();
    let personal = |seed, user| NewToken { user_id: Some(user), ..token(1, seed) };
    let (first, second) = (fixture.create(personal(1, 5)), fixture.create(personal(2, 5)));
    let (other, service) = (fixture.create(personal(3, 6)), fixture.create(token(1, 4)));
    fixture.apply(Command::RemoveUser { account_id: 1, id: 5 }).unwrap();
    for (id, state) in [
        (first, TokenState::Revoked),
        (second, TokenState::Revoked),
        (other, TokenState::Active),
        (service, TokenState::Active),
    ] {
        assert_eq!(fixture.store.token(id).unwrap().state, state);
    }
    fixture.apply(user(1, 5, Licence::Developer)).unwrap();
    assert_eq!(fixture.store.token(first).unwrap().state, TokenState::Revoked);
}

#[test]
fn removing_a_project_removes_its_ids_and_keeps_the_grants() {
    let fixture = Fixture::new();
    fixture.apply(id_row(1, 77, 10)).unwrap();
    fixture.apply(id_row(1, 78, 11)).unwrap();
    let grants = vec![grant("job_admin", Some(10))];
    let id = fixture.create(NewToken { grants: grants.clone(), ..token(1, 1) });
    fixture.apply(Command::RemoveProject { account_id: 1, id: 10 }).unwrap();
    let left: Vec<u64> = fixture.store.ids(1).unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(left, [78]);
    assert_eq!(fixture.store.token(id).unwrap().grants, grants);
}

#[test]
fn setting_an_id_replaces_the_row() {
    let fixture = Fixture::new();
    assert!(changed(fixture.apply(id_row(1, 77, 10))));
    assert!(unchanged(fixture.apply(id_row(1, 77, 10))));
    assert!(changed(fixture.apply(id_row(1, 77, 11))));
    let rows = fixture.store.ids(1).unwrap();
    assert_eq!((rows.len(), rows[0].project_id), (1, 11));
}

#[test]
fn a_rotation_hands_over_everything_and_lets_the_old_token_run_out() {
    let fixture = Fixture::new();
    let old = NewToken {
        user_id: Some(5),
        expires_at: Some(Timestamp(NOW.0 + 5000)),
        not_before: Some(Timestamp(5)),
        allow_ips: vec!["10.0.0.0/8".parse().unwrap()],
        grants: vec![grant("job_admin", Some(10)), grant("owner", None)],
        ..token(1, 1)
    };
    let id = fixture.create(old);
    let Outcome::Changed { id: new } = fixture.apply(rotate(id, 2)).unwrap() else { panic!() };
    let (old, new) = (fixture.store.token(id).unwrap(), fixture.store.token(new).unwrap());
    assert_eq!(old.expires_at, Some(GRACE_END));
    assert_eq!(old.rotated_to, Some(new.id));
    let expected = TokenView {
        id: new.id,
        updated_at: NOW,
        expires_at: Some(Timestamp(NOW.0 + 5000)),
        not_before: None,
        verifier: digest(2),
        rotated_to: None,
        ..old
    };
    assert_eq!(new, expected);
}

#[test]
fn a_rotation_never_lengthens_the_old_tokens_life() {
    let fixture = Fixture::new();
    let soon = Some(Timestamp(NOW.0 + 1));
    let id = fixture.create(NewToken { expires_at: soon, ..token(1, 1) });
    fixture.apply(rotate(id, 2)).unwrap();
    assert_eq!(fixture.store.token(id).unwrap().expires_at, soon);
}

#[test]
fn a_revoked_expired_or_rotated_token_is_not_rotated() {
    let fixture = Fixture::new();
    let revoked = fixture.create(token(1, 1));
    fixture.apply(Command::RevokeToken { id: revoked }).unwrap();
    let expired = fixture.create(NewToken { expires_at: Some(NOW), ..token(1, 2) });
    let rotated = fixture.create(token(1, 3));
    fixture.apply(rotate(rotated, 4)).unwrap();
    for (id, expected) in [(revoked, "revoked"), (expired, "expired"), (rotated, "successor")] {
        let refusal = fixture.refusal(rotate(id, 5));
        assert!(matches!(&refusal, StoreError::Conflict(_)), "{refusal}");
        assert!(refusal.to_string().contains(expected), "{refusal}");
    }
    let fresh = fixture.create(token(1, 6));
    assert!(matches!(fixture.refusal(rotate(fresh, 3)), StoreError::Conflict(_)));
    assert!(matches!(fixture.refusal(rotate(99, 7)), StoreError::NotFound(_)));
}

#[test]
fn a_suspended_grant_survives_a_rotation() {
    let fixture = Fixture::new();
    let grants = vec![grant("job_admin", Some(10))];
    let id = fixture.create(NewToken { grants: grants.clone(), ..token(1, 1) });
    fixture.apply(Command::SetPlan { id: 1, plan: Plan::Starter }).unwrap();
    fixture.apply(Command::RemoveProject { account_id: 1, id: 10 }).unwrap();
    let Outcome::Changed { id: new } = fixture.apply(rotate(id, 2)).unwrap() else { panic!() };
    assert_eq!(fixture.store.token(new).unwrap().grants, grants);
}

#[test]
fn token_numbers_are_never_used_twice() {
    let fixture = Fixture::new();
    let first = fixture.create(token(1, 1));
    fixture.refusal(create(NewToken { name: String::new(), ..token(1, 2) }));
    let reopened = fixture.second();
    let outcome = reopened.apply(&Actor::operator(), create(token(1, 3)));
    assert_eq!(outcome, Ok(Outcome::Changed { id: first + 1 }));
}

#[test]
fn every_change_is_audited_under_its_published_name() {
    let fixture = Fixture::new();
    let cidr = "10.0.0.0/8".parse().unwrap();
    let action = crate::core::record::Action::Deny;
    let index = "job_id".to_owned();
    for command in [
        Command::AddIpRule { account_id: 1, action, cidr, name: "n".to_owned() },
        Command::EnableIpRules { account_id: 1, enabled: true },
        Command::EnableIpRules { account_id: 1, enabled: true },
        Command::RemoveIpRule { account_id: 1, cidr },
        id_row(1, 77, 10),
        Command::RemoveId { account_id: 1, index, id: 77 },
        create(token(1, 1)),
        rotate(1, 2),
        Command::RevokeToken { id: 1 },
        create(NewToken { user_id: Some(5), ..token(1, 3) }),
        Command::RemoveUser { account_id: 1, id: 5 },
        Command::RemoveProject { account_id: 1, id: 10 },
        Command::SetPlan { id: 1, plan: Plan::Team },
        Command::SetAccountState { id: 1, state: AccountState::Closed },
        Command::SetAccountState { id: 1, state: AccountState::Open },
    ] {
        fixture.apply(command).unwrap();
    }
    let audit = fixture.audit();
    let events: Vec<&str> = audit.iter().map(|event| event.0.as_str()).skip(5).collect();
    let expected = [
        "ip_restrictions.rule.added",
        "ip_restrictions.toggled",
        "ip_restrictions.rule.removed",
        "id_index.set",
        "id_index.removed",
        "service_token.created",
        "service_token.created",
        "service_token.rotated",
        "service_token.revoked",
        "account_scoped_pat.created",
        "account_scoped_pat.deleted",
        "user.removed",
        "project.removed",
        "account.plan_changed",
        "account.closed",
        "account.opened",
    ];
    assert_eq!(events, expected);
    let (_, account, subject, detail) = &audit[18];
    assert_eq!((*account, subject.as_str()), (Some(1), "account:1"));
    assert_eq!(detail.to_string(), r#"{"after":{"plan":"team"},"before":{"plan":"enterprise"}}"#);
}

#[test]
fn an_import_is_one_audit_event_with_counts() {
    let fixture = Fixture::new();
    let before = fixture.audit().len();
    let commands = (0..10).map(|seed| create(token(1, seed % 7))).collect();
    fixture.store.apply_all(&Actor::operator().in_bulk(), commands);
    let audit = fixture.audit();
    assert_eq!(audit.len(), before + 1);
    let (event, of, _, detail) = &audit[before];
    assert_eq!((event.as_str(), *of), ("import.applied", Some(1)));
    let after = &detail["after"];
    assert_eq!(after["events"], json!({ "service_token.created": 7 }));
    assert_eq!(after["tokens"], json!({ "first": 1, "last": 7 }));
    assert_eq!(after["blake3"].as_str().unwrap().len(), 64);
    fixture.store.apply_all(
        &Actor::operator().in_bulk(),
        vec![account(8, Plan::Team), account(1, Plan::Team)],
    );
    let (_, of, _, detail) = &fixture.audit()[before + 1];
    assert_eq!((*of, &detail["after"]["tokens"]), (Some(8), &serde_json::Value::Null));
    fixture.import(create(token(1, 0))).unwrap();
    assert_eq!(fixture.audit().len(), before + 2, "nothing changed");
}

#[test]
fn what_a_failed_command_of_an_import_did_is_not_counted() {
    let fixture = Fixture::new();
    let connection = rusqlite::Connection::open(fixture.path()).unwrap();
    // Fails after the first of the user's tokens was revoked.
    fixture.create(NewToken { user_id: Some(5), ..token(1, 1) });
    let fail = "CREATE TRIGGER fail BEFORE DELETE ON users BEGIN SELECT RAISE(ABORT, 'no'); END";
    connection.execute_batch(fail).unwrap();
    let remove = || Command::RemoveUser { account_id: 1, id: 5 };
    let outcomes =
        fixture.store.apply_all(&Actor::operator().in_bulk(), vec![remove(), create(token(1, 2))]);
    assert!(matches!(outcomes[0], Err(StoreError::Database(_))) && changed(outcomes[1].clone()));
    let (.., detail) = fixture.audit().pop().unwrap();
    assert_eq!(detail["after"]["events"], json!({ "service_token.created": 1 }));
    assert!(fixture.apply(remove()).is_err());
    fixture.apply(account(9, Plan::Team)).unwrap();
    let report = fixture.store.verify_audit(None, &[]).unwrap();
    assert_eq!((report.found, report.entries), (0, fixture.audit().len() as u64));
}

#[test]
fn neither_audit_nor_debug_shows_how_a_secret_is_recognised() {
    let fixture = Fixture::new();
    let verifiers =
        [digest(1), Verifier::Sha256([0xab; 32]), hash("$2b$12$verysecrethash", Some("slctr"))];
    let Verifier::Digest { digest: bytes, .. } = digest(1) else { unreachable!() };
    let telling = [hex::encode(bytes.0), "abababab".to_owned(), "verysecret".to_owned()];
    for verifier in verifiers {
        let made = slow_token(1, verifier);
        let shown = format!("{made:?}");
        fixture.create(made.clone());
        let refusal = fixture.refusal(create(NewToken { account_id: 2, ..made }));
        let view = format!("{:?}{:?}{refusal:?}", fixture.tokens(), contents(&fixture.store));
        let audit = format!("{:?}", fixture.audit());
        for text in [&shown, &view, &audit] {
            assert!(telling.iter().all(|secret| !text.contains(secret)), "{text}");
        }
        assert!(!audit.contains("slctr"), "a selector is the beginning of a secret");
    }
}
