//! What the store refuses, and what it says.

use super::*;
use crate::core::record::{Action, Category};

fn message(refusal: &StoreError) -> String {
    refusal.to_string()
}

fn with_grant(account: u64, grant: Grant) -> Command {
    create(NewToken { grants: vec![grant], ..token(account, 1) })
}

#[test]
fn an_unknown_account_project_or_user_is_named_with_the_command_to_add_it() {
    let fixture = Fixture::new();
    let cases = [
        (create(token(9, 1)), "account create --id 9"),
        (project(9, 1), "account create --id 9"),
        (Command::SetPlan { id: u64::MAX, plan: Plan::Team }, "account list"),
        (with_grant(1, grant("job_admin", Some(77))), "project create --account 1 --id 77"),
        (id_row(1, 5, 77), "project create --account 1 --id 77"),
        (create(NewToken { user_id: Some(6), ..token(1, 1) }), "user create --account 1 --id 6"),
        (Command::RemoveUser { account_id: 1, id: 6 }, "user list --account 1"),
        (Command::RemoveProject { account_id: 1, id: 6 }, "project list --account 1"),
        (Command::RevokeToken { id: 6 }, "token list"),
        (
            Command::RemoveIpRule { account_id: 1, cidr: "10.0.0.0/8".parse().unwrap() },
            "ip-rule list",
        ),
        (
            Command::RemoveId { account_id: 1, index: "job_id".to_owned(), id: 3 },
            "id-index list --account 1",
        ),
    ];
    for (command, expected) in cases {
        let refusal = fixture.refusal(command);
        assert!(matches!(refusal, StoreError::NotFound(_)), "{refusal:?}");
        assert!(message(&refusal).contains(expected), "{refusal}");
    }
}

#[test]
fn a_mistyped_permission_set_is_answered_with_the_nearest() {
    let fixture = Fixture::new();
    let refusal = fixture.refusal(with_grant(1, grant("job_amdin", None)));
    assert!(message(&refusal).contains("did you mean `job_admin`?"), "{refusal}");
    let refusal = fixture.refusal(with_grant(1, grant("zzz", None)));
    assert!(message(&refusal).contains("analyst, job_admin, owner"), "{refusal}");
}

#[test]
fn a_plan_bounds_service_tokens_and_the_message_lists_what_it_allows() {
    let fixture = Fixture::new();
    let refusal = fixture.refusal(with_grant(2, grant("job_admin", None)));
    assert!(matches!(refusal, StoreError::Rule(_)));
    let text = message(&refusal);
    assert!(text.contains("starter, which allows semantic_layer_only"), "{text}");
    assert!(text.contains("enterprise or team: `portcullis account set-plan 2 PLAN`"), "{text}");
}

#[test]
fn a_cancelled_plan_allows_no_set_on_a_service_token() {
    let fixture = Fixture::new();
    fixture.apply(Command::SetPlan { id: 1, plan: Plan::Cancelled }).unwrap();
    let refusal = fixture.refusal(create(token(1, 1)));
    assert!(message(&refusal).contains("allows no permission set"), "{refusal}");
}

#[test]
fn a_personal_token_is_not_bound_by_the_plan() {
    let fixture = Fixture::new();
    fixture.apply(user(2, 7, Licence::ReadOnly)).unwrap();
    let grants = vec![grant("job_admin", None)];
    fixture.create(NewToken { user_id: Some(7), grants, ..token(2, 1) });
}

#[test]
fn a_closed_account_still_takes_tokens() {
    let fixture = Fixture::new();
    fixture.apply(Command::SetAccountState { id: 1, state: AccountState::Closed }).unwrap();
    fixture.create(token(1, 1));
}

#[test]
fn a_token_out_of_an_export_keeps_its_suspended_grants() {
    let fixture = Fixture::new();
    let grants = vec![grant("job_admin", Some(77))];
    let token = Box::new(NewToken { grants: grants.clone(), ..token(2, 1) });
    assert!(changed(fixture.import(import(*token, true, vec![]))));
    assert_eq!(fixture.tokens()[0].grants, grants);
}

#[test]
fn a_secret_that_is_known_by_another_verifier_is_not_imported_again() {
    let fixture = Fixture::new();
    let id = fixture.create(token(1, 1));
    fixture.apply(Command::RevokeToken { id }).unwrap();
    let other = |account| import(token(account, 2), false, vec![digest(1)]);
    assert_eq!(fixture.apply(other(1)), Ok(Outcome::Unchanged { id }));
    let refusal = fixture.refusal(other(2));
    assert!(message(&refusal).contains("of account 1"), "{refusal}");
}

#[test]
fn an_import_puts_no_ip_rules_out_of_force() {
    let fixture = Fixture::new();
    fixture.apply(Command::EnableIpRules { account_id: 1, enabled: true }).unwrap();
    assert!(unchanged(fixture.apply(Command::KeepIpRules { account_id: 1 })));
    assert!(fixture.store.account(1).unwrap().ip_rules_enabled);
    fixture.refusal(Command::KeepIpRules { account_id: 99 });
}

#[test]
fn an_active_token_out_of_an_export_still_needs_its_user() {
    let fixture = Fixture::new();
    let token = Box::new(NewToken { user_id: Some(99), ..token(1, 1) });
    let refusal = fixture.refusal(import(*token, true, vec![]));
    assert!(message(&refusal).contains("no user 99"), "{refusal}");
}

#[test]
fn a_revoked_token_may_name_a_user_and_projects_that_are_gone() {
    let fixture = Fixture::new();
    let revoked = NewToken {
        state: TokenState::Revoked,
        user_id: Some(99),
        grants: vec![grant("job_admin", Some(77))],
        ..token(1, 1)
    };
    assert!(changed(fixture.import(create(revoked))));
}

#[test]
fn an_account_family_set_takes_neither_project_nor_environments() {
    let fixture = Fixture::new();
    let refusal = fixture.refusal(with_grant(1, grant("owner", Some(10))));
    assert!(message(&refusal).contains("without a project"), "{refusal}");
    let categories = vec![Category::Production];
    for set in ["owner", "job_admin"] {
        let refusal = fixture.refusal(with_grant(
            1,
            Grant { writable_environment_categories: categories.clone(), ..grant(set, None) },
        ));
        assert!(message(&refusal).contains("use one of analyst"), "{refusal}");
    }
    let environments =
        Grant { writable_environment_categories: categories, ..grant("analyst", Some(10)) };
    assert!(changed(fixture.apply(with_grant(1, environments))));
}

#[test]
fn names_are_short_printable_and_there() {
    let fixture = Fixture::new();
    for name in [String::new(), "a".repeat(201), "a\nb".to_owned(), "a\u{85}b".to_owned()] {
        let commands = [
            Command::CreateAccount {
                id: 3,
                name: name.clone(),
                plan: Plan::Team,
                state: AccountState::Open,
            },
            Command::CreateProject { account_id: 1, id: 3, name: name.clone() },
            Command::CreateUser {
                account_id: 1,
                id: 3,
                name: name.clone(),
                licence: Licence::It,
                admin: true,
            },
            create(NewToken { name: name.clone(), ..token(1, 1) }),
        ];
        for command in commands {
            assert!(matches!(fixture.refusal(command), StoreError::Rule(_)), "{name:?}");
        }
    }
    fixture.create(NewToken { name: "é".repeat(200), ..token(1, 1) });
}

#[test]
fn numbers_beyond_what_the_database_holds_are_refused() {
    let fixture = Fixture::new();
    let large = i64::MAX as u64 + 1;
    for command in [
        account(large, Plan::Team),
        project(1, large),
        user(1, large, Licence::It),
        id_row(1, large, 10),
        with_grant(1, grant("job_admin", Some(large))),
    ] {
        let refusal = fixture.refusal(command);
        assert!(message(&refusal).contains("too large: at most 9223372036854775807"), "{refusal}");
    }
    assert!(changed(fixture.apply(account(large - 1, Plan::Team))));
    assert_eq!(fixture.store.account(large - 1).unwrap().id, large - 1);
}

#[test]
fn a_cidr_is_canonical_and_in_one_list_only() {
    let fixture = Fixture::new();
    let rule = |action, cidr: &str| Command::AddIpRule {
        account_id: 1,
        action,
        cidr: cidr.parse().unwrap(),
        name: String::new(),
    };
    assert!(changed(fixture.apply(rule(Action::Allow, "10.1.2.3/8"))));
    assert!(unchanged(fixture.apply(rule(Action::Allow, "::ffff:10.0.0.0/104"))));
    let refusal = fixture.refusal(rule(Action::Deny, "10.0.0.0/8"));
    assert!(matches!(refusal, StoreError::Conflict(_)));
    assert!(message(&refusal).contains("ip-rule remove --account 1 10.0.0.0/8"), "{refusal}");
    assert!(matches!(
        fixture.refusal(rule(Action::Deny, "::ffff:10.0.0.0/90")),
        StoreError::Rule(_)
    ));
    assert_eq!(fixture.store.ip_rules(1).unwrap()[0].cidr.to_string(), "10.0.0.0/8");
}

#[test]
fn a_token_that_would_never_be_valid_is_refused() {
    let fixture = Fixture::new();
    let at = Some(Timestamp(5));
    let refusal =
        fixture.refusal(create(NewToken { not_before: at, expires_at: at, ..token(1, 1) }));
    assert!(message(&refusal).contains("never be valid"), "{refusal}");
    let rotated_early = NewToken { not_before: at, expires_at: at, ..token(1, 1) };
    assert!(changed(fixture.import(create(rotated_early))), "an export may hold such a one");
}

#[test]
fn an_environment_has_one_category() {
    let fixture = Fixture::new();
    let refusal = fixture.refusal(Command::SetId {
        account_id: 1,
        index: "job_id".to_owned(),
        id: 1,
        project_id: 10,
        environment_category: Some(Category::All),
    });
    assert!(message(&refusal).contains("`all` is for grants"), "{refusal}");
}

#[test]
fn a_slow_verifier_must_be_from_before_the_cutoff() {
    let fixture = Fixture::new();
    for verifier in [hash("h", None), Verifier::Introspect { selector: None }] {
        let late = NewToken { created_at: CUTOFF_END, ..slow_token(1, verifier.clone()) };
        assert!(message(&fixture.refusal(create(late))).contains("cutoff"));
        let last = Timestamp(CUTOFF_END.0 - 1);
        fixture.create(NewToken { created_at: last, ..slow_token(1, verifier) });
    }
}

#[test]
fn no_more_slow_tokens_share_a_selector_than_may_be_tried() {
    let fixture = Fixture::new();
    fixture.create(slow_token(1, hash("a", Some("abcd"))));
    fixture.create(slow_token(2, Verifier::Introspect { selector: Some("abcd".to_owned()) }));
    let third = slow_token(1, hash("c", Some("abcd")));
    let refusal = fixture.refusal(create(third.clone()));
    assert!(message(&refusal).contains("longer selector"), "{refusal}");
    fixture.create(NewToken { state: TokenState::Revoked, ..third.clone() });
    fixture.create(slow_token(1, hash("d", Some("abce"))));
    fixture.apply(Command::RevokeToken { id: 1 }).unwrap();
    fixture.create(slow_token(1, hash("e", Some("abcd"))));
}

#[test]
fn no_more_slow_tokens_without_a_selector_share_an_account_than_may_be_tried() {
    let fixture = Fixture::new();
    fixture.create(slow_token(1, hash("a", None)));
    fixture.create(slow_token(1, hash("b", None)));
    let refusal = fixture.refusal(create(slow_token(1, hash("c", None))));
    assert!(message(&refusal).contains("give a selector"), "{refusal}");
    fixture.create(slow_token(2, hash("c", None)));
    fixture.create(token(1, 1));
}

#[test]
fn a_selector_has_one_to_eight_printable_bytes() {
    let fixture = Fixture::new();
    for selector in ["", "123456789", "a b", "é"] {
        let refusal = fixture.refusal(create(slow_token(1, hash("h", Some(selector)))));
        assert!(matches!(refusal, StoreError::Rule(_)), "{selector}");
    }
    fixture.create(slow_token(1, hash("h", Some("12345678"))));
}

#[test]
fn a_secret_is_one_tokens_only() {
    let fixture = Fixture::new();
    let verifiers = [digest(1), Verifier::Sha256([7; 32]), hash("h", Some("a"))];
    for verifier in verifiers {
        let id = fixture.create(slow_token(1, verifier.clone()));
        let again = NewToken { name: "other".to_owned(), ..slow_token(1, verifier.clone()) };
        assert_eq!(fixture.apply(create(again)), Ok(Outcome::Unchanged { id }));
        let elsewhere = fixture.refusal(create(slow_token(2, verifier)));
        assert!(matches!(elsewhere, StoreError::Conflict(_)), "{elsewhere}");
    }
    let remote = slow_token(1, Verifier::Introspect { selector: Some("z".to_owned()) });
    let id = fixture.create(remote.clone());
    assert_eq!(fixture.apply(create(remote.clone())), Ok(Outcome::Unchanged { id }));
    fixture.create(NewToken { name: "other".to_owned(), ..remote });
}

#[test]
fn what_is_there_is_unchanged_when_equal_and_a_conflict_when_not() {
    let fixture = Fixture::new();
    let other_account = Command::CreateAccount {
        id: 1,
        name: "other".to_owned(),
        plan: Plan::Team,
        state: AccountState::Closed,
    };
    let other_project = Command::CreateProject { account_id: 1, id: 10, name: "other".to_owned() };
    let equal = [account(1, Plan::Enterprise), project(1, 10), user(1, 5, Licence::Developer)];
    let other = [other_account, other_project, user(1, 5, Licence::It)];
    let before = contents(&fixture.store);
    for (equal, other) in equal.into_iter().zip(other) {
        assert!(unchanged(fixture.apply(equal)));
        assert!(matches!(fixture.refusal(other.clone()), StoreError::Conflict(_)), "{other:?}");
        assert!(unchanged(fixture.import(other)), "an import leaves it as it is");
    }
    assert_eq!(contents(&fixture.store), before);
}

#[test]
fn an_import_never_revives_a_token() {
    let fixture = Fixture::new();
    let id = fixture.create(token(1, 1));
    fixture.apply(Command::RevokeToken { id }).unwrap();
    assert_eq!(fixture.import(create(token(1, 1))), Ok(Outcome::Unchanged { id }));
    assert_eq!(fixture.store.token(id).unwrap().state, TokenState::Revoked);
}

#[test]
fn a_line_that_is_there_stays_unchanged_under_a_lower_plan() {
    let fixture = Fixture::new();
    let job_admin = NewToken { grants: vec![grant("job_admin", None)], ..token(1, 1) };
    let id = fixture.create(job_admin.clone());
    fixture.apply(Command::SetPlan { id: 1, plan: Plan::Starter }).unwrap();
    assert_eq!(fixture.import(create(job_admin)), Ok(Outcome::Unchanged { id }));
}

#[test]
fn replaced_rules_bind_the_commands_that_follow() {
    let fixture = Fixture::new();
    fixture.create(slow_token(1, hash("a", None)));
    fixture.store.replace_rules(Rules { candidates_limit: 1, ..rules() });
    fixture.refusal(create(slow_token(1, hash("b", None))));
}
