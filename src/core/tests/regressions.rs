//! What once broke, each under the name of what it should do.

use super::fixture::reason_of;
use super::fixture::{CURRENT, Request, World, account, digest, grant, hash, route, secret, token};
use crate::core::decide::{decide, resume};
use crate::core::explain::{Outcome, explain_token};
use crate::core::record::{Record, Timestamp, TokenRecord};
use crate::core::routes::ProjectSpec;
use crate::core::verdict::{Lane, Reason};

#[test]
fn a_query_parameter_that_is_there_twice_is_a_bad_request_even_if_the_first_is_no_id() {
    let records = [
        Record::Account(account(1)),
        Record::Token(token(1, &secret(1), &[grant("job_viewer", None)])),
    ];
    for query in
        ["project_id=x&project_id=10", "project_id=&project_id=", "project_id=x&project%5Fid=1"]
    {
        let request = Request::new("GET", &format!("/runs/?{query}"), &secret(1));
        assert_eq!(World::new().reason(&records, &request), Reason::BadRequest, "{query}");
    }
}

/// Quadratic, this takes minutes.
#[test]
fn a_token_with_a_hundred_thousand_projects_is_judged_in_one_pass_over_its_grants() {
    let grants: Vec<_> = (0..100_000).map(|project| grant("run_starter", Some(project))).collect();
    let mut starter = account(1);
    starter.plan = crate::core::record::Plan::Starter;
    let records = [Record::Account(starter), Record::Token(token(1, &secret(1), &grants))];
    let request = Request::new("GET", "/search", &secret(1));
    assert_eq!(World::new().reason(&records, &request), Reason::NoPermission);
}

#[test]
fn a_legacy_token_that_has_become_fast_counts_once() {
    let slow = TokenRecord { verifier: hash(None), ..token(1, "", &[]) };
    let fast = TokenRecord { verifier: digest(&secret(1), CURRENT), ..slow.clone() };
    let index = World::new().index(&[Record::Account(account(1)), Record::Token(slow)]);
    let upgraded = index.apply(&[Record::Token(fast)], 2);
    assert_eq!(upgraded.tokens(), 1);
    assert_eq!(upgraded.fold().unwrap().tokens(), 1);
}

#[test]
fn a_change_to_a_fast_token_is_one_entry_of_the_overlay() {
    let fast = Record::Token(token(1, &secret(1), &[]));
    let index = World::new().index(&[Record::Account(account(1))]);
    assert_eq!(index.apply(&[fast], 2).overlay_entries(), 1);
}

#[test]
fn a_route_that_has_become_public_asks_nothing_of_a_token_that_the_slow_lane_recognised() {
    let slow = TokenRecord { verifier: hash(None), ..token(1, "", &[]) };
    let records = [Record::Account(account(1)), Record::Token(slow)];
    let mut world = World::new();
    world.routes.push(route("GET", "/now/public", "public", ProjectSpec::Path));
    let index = world.index(&records);
    let request = Request::new("GET", "/now/public", "0123456789abcdef");
    let verdict = resume(&index, &request.facts(), 1, Lane::Slow, Timestamp(1000));
    assert_eq!(reason_of(&verdict), Reason::Public);
}

#[test]
fn explaining_a_token_by_number_on_a_public_route_agrees_with_the_decision() {
    let record = token(1, &secret(1), &[]);
    let index = World::new().index(&[Record::Account(account(1)), Record::Token(record.clone())]);
    let request = Request::new("GET", "/health/", &secret(1));
    let known = index.find_verifier(1, &record.verifier).unwrap();
    let explained = explain_token(&index, &request.facts(), (known, None), Timestamp(1000), false);
    let decided = decide(&index, &request.facts(), Timestamp(1000));
    assert_eq!((explained.verdict, explained.reason), (Outcome::Allow, "public"));
    assert_eq!(reason_of(&decided), Reason::Public);
}

/// Its hash stayed a candidate, also once the token was revoked.
#[test]
fn a_legacy_token_upgraded_under_a_key_that_is_not_here_is_no_candidate_any_more() {
    let slow = TokenRecord { verifier: hash(None), ..token(1, "", &[]) };
    let fast = TokenRecord { verifier: digest(&secret(1), ("k9", [9; 32])), ..slow.clone() };
    let index = World::new().index(&[Record::Account(account(1)), Record::Token(slow)]);
    let upgraded = index.apply(&[Record::Token(fast)], 2);
    let request = Request::new("GET", "/accounts/1/jobs/", "0123456789abcdef");
    for index in [upgraded.fold().unwrap(), upgraded] {
        let verdict = decide(&index, &request.facts(), Timestamp(1000));
        assert_eq!(reason_of(&verdict), Reason::UnknownToken);
    }
}
