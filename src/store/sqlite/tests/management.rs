//! Commands of the management API: what they rely on, and what they leave as it is.

use super::*;
use crate::core::record::Action;
use crate::store::{IpRuleContents, Owner, Page};

fn contents_of(action: Action, cidrs: &[&str]) -> IpRuleContents {
    let cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
    IpRuleContents { action, cidrs, name: "office".to_owned(), description: String::new() }
}

fn put(id: Option<u64>, rule: IpRuleContents) -> Command {
    Command::PutIpRule { account_id: 1, id, rule, enabled: None }
}

fn admitted(address: Option<&str>, change: Command) -> Command {
    let address = address.map(|address| address.parse().unwrap());
    Command::IfAdmitted { account_id: 1, address, change: Box::new(change) }
}

#[test]
fn a_rotation_is_refused_where_the_grants_are_not_those_that_the_caller_knows() {
    let fixture = Fixture::new();
    let id = fixture.create(NewToken { grants: vec![grant("job_admin", None)], ..token(1, 1) });
    let rotate = |grants| Command::RotateToken {
        id,
        verifier: digest(2),
        created_at: NOW,
        old_expires_at: NOW,
        grants: Some(grants),
    };
    let stale = fixture.refusal(rotate(vec![grant("job_admin", Some(10))]));
    assert!(matches!(stale, StoreError::Conflict(_)), "{stale:?}");
    fixture.apply(rotate(vec![grant("job_admin", None)])).unwrap();
}

#[test]
fn grants_are_replaced_under_every_rule_and_nothing_else_of_the_token_is() {
    let fixture = Fixture::new();
    let soon = Some(Timestamp(NOW.0 + 9));
    let id = fixture.create(NewToken { expires_at: soon, ..token(1, 1) });
    let set = |grants| Command::SetGrants { id, grants };
    let before = fixture.store.token(id).unwrap();
    for wrong in [grant("job_admin", Some(77)), grant("no_such_set", None)] {
        let refusal = fixture.refusal(set(vec![wrong]));
        assert!(matches!(refusal, StoreError::NotFound(_)), "{refusal:?}");
    }
    assert!(matches!(fixture.refusal(set(vec![grant("owner", Some(10))])), StoreError::Rule(_)));
    let grants = vec![grant("owner", None), grant("job_admin", Some(10))];
    fixture.apply(set(grants.clone())).unwrap();
    let after = fixture.store.token(id).unwrap();
    assert_eq!(after, TokenView { grants, updated_at: after.updated_at, ..before });
    fixture.apply(Command::RevokeToken { id }).unwrap();
    for command in [set(vec![]), Command::RenameToken { id, name: "again".to_owned() }] {
        assert!(matches!(fixture.refusal(command), StoreError::Conflict(_)));
    }
}

#[test]
fn a_rule_keeps_its_number_whatever_becomes_of_its_prefixes() {
    let fixture = Fixture::new();
    let made =
        fixture.apply(put(None, contents_of(Action::Allow, &["10.0.0.0/8", "::1/128"]))).unwrap();
    let Outcome::Changed { id } = made else { panic!("{made:?}") };
    fixture.apply(put(Some(id), contents_of(Action::Deny, &["192.0.2.9/24"]))).unwrap();
    let rules = fixture.store.ip_rules(1).unwrap();
    assert_eq!((rules.len(), rules[0].rule_id, rules[0].action), (1, id, Action::Deny));
    assert_eq!(rules[0].cidr.to_string(), "192.0.2.0/24");
    let same = fixture.apply(put(Some(id), contents_of(Action::Deny, &["192.0.2.0/24"]))).unwrap();
    assert_eq!(same, Outcome::Unchanged { id });
    let other = put(None, contents_of(Action::Allow, &["198.51.100.0/24", "192.0.2.0/24"]));
    assert!(matches!(fixture.refusal(other), StoreError::Conflict(_)));
    let removed = Command::RemoveIpRuleById { account_id: 1, id };
    fixture.apply(removed.clone()).unwrap();
    assert!(matches!(fixture.refusal(removed), StoreError::NotFound(_)));
}

#[test]
fn a_change_that_keeps_the_address_out_leaves_no_trace() {
    let fixture = Fixture::new();
    fixture.apply(put(None, contents_of(Action::Allow, &["10.0.0.0/8"]))).unwrap();
    let enable = || Command::EnableIpRules { account_id: 1, enabled: true };
    for outside in [Some("192.0.2.1"), None] {
        let refusal = fixture.refusal(admitted(outside, enable()));
        assert!(matches!(refusal, StoreError::Conflict(_)), "{refusal:?}");
        assert!(!fixture.store.account(1).unwrap().ip_rules_enabled);
    }
    fixture.apply(admitted(Some("10.1.1.1"), enable())).unwrap();
    let deny = || put(None, contents_of(Action::Deny, &["10.1.0.0/16"]));
    fixture.refusal(admitted(Some("10.1.1.1"), deny()));
    fixture.apply(admitted(Some("10.2.1.1"), deny())).unwrap();
}

#[test]
fn a_number_that_a_grant_names_is_no_new_projects() {
    let fixture = Fixture::new();
    let add = || Command::AddProject { account_id: 1, name: "new".to_owned() };
    assert_eq!(fixture.apply(add()), Ok(Outcome::Changed { id: 12 }));
    let grants = vec![grant("job_admin", Some(12))];
    fixture.create(NewToken { grants, ..token(1, 1) });
    fixture.apply(Command::RemoveProject { account_id: 1, id: 12 }).unwrap();
    assert_eq!(fixture.apply(add()), Ok(Outcome::Changed { id: 13 }));
}

#[test]
fn a_page_is_of_one_owner_and_says_how_many_there_are() {
    let fixture = Fixture::new();
    for seed in 0..5 {
        let user_id = (seed == 2).then_some(5);
        fixture.create(NewToken { user_id, ..token(1, seed) });
    }
    let page = |owner, offset, limit| {
        let page = fixture.store.token_page(1, owner, Page { offset, limit }).unwrap();
        (page.tokens.iter().map(|token| token.id).collect::<Vec<_>>(), page.total)
    };
    assert_eq!(page(Owner::Account, 1, 2), (vec![2, 4], 4));
    assert_eq!(page(Owner::User(5), 0, 9), (vec![3], 1));
    assert_eq!(page(Owner::User(6), 0, 9), (vec![], 0));
}
