//! The contract's paragraphs on the decision and on matching, a test a sentence.

use super::fixture::{
    CURRENT, PREVIOUS, Request, Sent, World, account, categories, digest, grant, hash, id_row,
    personal, reason_of, route, secret, token,
};
use crate::core::decide::{decide, decide_recalling, resume};
use crate::core::digest::{Digest, DigestKey};
use crate::core::facts::Ambiguity;
use crate::core::index::Index;
use crate::core::ip::parse_cidr;
use crate::core::record::{
    AccountRecord, AccountState, Action, Category, Grant, IpRule, Licence, Plan, Record, Timestamp,
    TokenRecord, TokenState, Verifier,
};
use crate::core::routes::{ProjectSpec, Unmatched};
use crate::core::verdict::{Lane, Reason, Verdict};

const NOW: Timestamp = Timestamp(1000);
/// Neither ours nor known by a digest.
const LEGACY: &str = "legacy-token-0123456789";

/// The reason for a token of account 1 with these grants.
fn with_grants(grants: &[Grant], method: &str, target: &str) -> Reason {
    with(account(1), token(1, &secret(1), grants), &Request::new(method, target, &secret(1)))
}

fn with(account: AccountRecord, token: TokenRecord, request: &Request) -> Reason {
    World::new().reason(&[Record::Account(account), Record::Token(token)], request)
}

fn jobs() -> Request {
    Request::new("GET", "/accounts/1/jobs/", &secret(1))
}

fn viewer() -> TokenRecord {
    token(1, &secret(1), &[grant("job_viewer", None)])
}

fn rules(rules: &[(Action, &str)]) -> AccountRecord {
    let rule = |(action, cidr): &(Action, &str)| IpRule {
        action: *action,
        cidr: parse_cidr(cidr).unwrap(),
        name: String::new(),
    };
    AccountRecord {
        ip_rules_enabled: true,
        ip_rules: rules.iter().map(rule).collect(),
        ..account(1)
    }
}

mod order {
    use super::*;

    /// Everything is wrong at once; each step in turn is then put right.
    #[test]
    fn the_steps_are_taken_in_their_order() {
        let mut account = AccountRecord {
            state: AccountState::Closed,
            ..rules(&[(Action::Allow, "203.0.113.0/24")])
        };
        let mut token = TokenRecord {
            state: TokenState::Revoked,
            not_before: Some(Timestamp(2000)),
            expires_at: Some(Timestamp(900)),
            allow_ips: vec![parse_cidr("10.0.0.0/8").unwrap()],
            ..token(1, &secret(1), &[])
        };
        let mut request = Request::new("GET", "/nowhere/", &secret(9));
        request.credential = Sent::Several;
        request.ambiguity = Some(Ambiguity::Host);
        let expect = |account: &AccountRecord, token: &TokenRecord, request: &Request, reason| {
            assert_eq!(with(account.clone(), token.clone(), request), reason);
        };
        expect(&account, &token, &request, Reason::BadRequest);
        request.ambiguity = None;
        expect(&account, &token, &request, Reason::MultipleCredentials);
        request.credential = Sent::Authorization(format!("Bearer {}", secret(9)));
        expect(&account, &token, &request, Reason::UnknownToken);
        request.credential = Sent::Authorization(format!("Bearer {}", secret(1)));
        expect(&account, &token, &request, Reason::Revoked);
        token.state = TokenState::Active;
        expect(&account, &token, &request, Reason::NotYetValid);
        token.not_before = None;
        expect(&account, &token, &request, Reason::Expired);
        token.expires_at = None;
        expect(&account, &token, &request, Reason::AccountClosed);
        account.state = AccountState::Open;
        expect(&account, &token, &request, Reason::IpDenied);
        account.ip_rules_enabled = false;
        expect(&account, &token, &request, Reason::TokenIpDenied);
        token.allow_ips.clear();
        expect(&account, &token, &request, Reason::NoRoute);
        request.path = "/accounts/2/jobs/".to_owned();
        expect(&account, &token, &request, Reason::WrongAccount);
        request.path = "/accounts/1/jobs/".to_owned();
        expect(&account, &token, &request, Reason::NoPermission);
        token.grants.push(grant("job_viewer", None));
        expect(&account, &token, &request, Reason::Allow);
    }

    #[test]
    fn an_uncanonical_path_is_a_bad_request_whatever_the_credential() {
        let request = Request::new("GET", "/accounts/1//jobs/", "x").credential(Sent::Missing);
        assert_eq!(with(account(1), viewer(), &request), Reason::BadRequest);
    }

    #[test]
    fn a_public_route_skips_the_rest_even_with_a_revoked_token_or_a_malformed_credential() {
        let revoked = TokenRecord { state: TokenState::Revoked, ..viewer() };
        let request = Request::new("DELETE", "/health", &secret(1));
        assert_eq!(with(account(1), revoked.clone(), &request), Reason::Public);
        let several = request.credential(Sent::Several);
        assert_eq!(with(account(1), revoked, &several), Reason::Public);
    }

    #[test]
    fn a_permit_for_a_public_route_has_no_identity() {
        let index = World::new().index(&[Record::Account(account(1)), Record::Token(viewer())]);
        let request = Request::new("GET", "/health/", &secret(1));
        let Verdict::Allow(permit) = decide(&index, &request.facts(), NOW) else { panic!() };
        assert!(permit.token().is_none() && permit.limit_keys().is_none());
        let mut out = String::new();
        permit.write_permission_sets(&mut out);
        assert!(!permit.write_projects(&mut out) && out.is_empty());
    }

    #[test]
    fn a_denial_names_the_caller_once_a_token_is_known_and_not_before() {
        let index = World::new().index(&[Record::Account(account(1)), Record::Token(viewer())]);
        let caller = |secret: &str| {
            let request = Request::new("GET", "/nowhere", secret);
            let Verdict::Deny(denial) = decide(&index, &request.facts(), NOW) else { panic!() };
            denial.caller.map(|caller| (caller.token_id, caller.account_id, caller.user_id))
        };
        assert_eq!(caller(&secret(1)), Some((1, 1, None)));
        assert_eq!(caller(&secret(2)), None);
    }
}

mod credentials {
    use super::*;

    fn reason(sent: Sent) -> Reason {
        with(account(1), viewer(), &jobs().credential(sent))
    }

    #[test]
    fn exactly_one_well_formed_credential_is_asked_for() {
        let secret = secret(1);
        let authorization = |value: String| reason(Sent::Authorization(value));
        for right in [format!("Bearer {secret}"), format!("tOKEN   {secret}")] {
            assert_eq!(authorization(right), Reason::Allow);
        }
        assert_eq!(reason(Sent::Header(secret.clone())), Reason::Allow);
        assert_eq!(reason(Sent::Missing), Reason::NoCredential);
        assert_eq!(reason(Sent::Several), Reason::MultipleCredentials);
        for wrong in [
            format!("Basic {secret}"),
            secret.clone(),
            "Bearer".to_owned(),
            "Bearer short".to_owned(),
        ] {
            assert_eq!(authorization(wrong), Reason::MalformedCredential);
        }
        let header_with_scheme = Sent::Header(format!("Bearer {secret}"));
        assert_eq!(reason(header_with_scheme), Reason::MalformedCredential);
    }

    #[test]
    fn our_prefix_with_a_wrong_checksum_is_denied_before_any_look_up() {
        let mistyped = secret(1).replacen('_', "_x", 1);
        let known = token(1, &mistyped, &[grant("job_viewer", None)]);
        let request = Request::new("GET", "/accounts/1/jobs/", &mistyped);
        assert_eq!(with(account(1), known, &request), Reason::BadChecksum);
    }

    #[test]
    fn a_token_made_elsewhere_has_16_to_512_visible_bytes() {
        for length in [15, 16, 512, 513] {
            let foreign = "x".repeat(length);
            let known = token(1, &foreign, &[grant("job_viewer", None)]);
            let request = Request::new("GET", "/accounts/1/jobs/", &foreign);
            let right = (16..=512).contains(&length);
            let expected = if right { Reason::Allow } else { Reason::MalformedCredential };
            assert_eq!(with(account(1), known, &request), expected, "{length}");
        }
    }

    #[test]
    fn digests_under_a_previous_key_still_verify_and_under_an_unknown_one_do_not() {
        let under = |key| {
            let known = TokenRecord { verifier: digest(&secret(1), key), ..viewer() };
            with(account(1), known, &jobs())
        };
        assert_eq!(under(CURRENT), Reason::Allow);
        assert_eq!(under(PREVIOUS), Reason::Allow);
        assert_eq!(under(("k0", [0; 32])), Reason::UnknownToken);
    }

    #[test]
    fn a_sha256_token_is_found_after_a_miss_in_base_and_overlay() {
        use sha2::Digest as _;
        let verifier = Verifier::Sha256(sha2::Sha256::digest(LEGACY).into());
        let known = Record::Token(TokenRecord { verifier, ..viewer() });
        let account = Record::Account(account(1));
        let request = Request::new("GET", "/accounts/1/jobs/", LEGACY);
        let world = World::new();
        assert_eq!(world.reason(&[account.clone(), known.clone()], &request), Reason::Allow);
        let index = world.index(&[account]).apply(&[known], 2);
        assert_eq!(reason_of(&decide(&index, &request.facts(), NOW)), Reason::Allow);
        let index = index.fold().unwrap();
        assert_eq!(reason_of(&decide(&index, &request.facts(), NOW)), Reason::Allow);
    }
}

mod validity {
    use super::*;

    #[test]
    fn a_token_is_valid_from_its_first_second_and_not_in_its_last() {
        let token = TokenRecord {
            not_before: Some(Timestamp(500)),
            expires_at: Some(Timestamp(1500)),
            ..viewer()
        };
        let index = World::new().index(&[Record::Account(account(1)), Record::Token(token)]);
        for (now, expected) in [
            (499, Reason::NotYetValid),
            (500, Reason::Allow),
            (1499, Reason::Allow),
            (1500, Reason::Expired),
        ] {
            let verdict = decide(&index, &jobs().facts(), Timestamp(now));
            assert_eq!(reason_of(&verdict), expected, "{now}");
        }
    }

    #[test]
    fn a_closed_account_and_a_cancelled_plan_are_denied_alike() {
        let closed = AccountRecord { state: AccountState::Closed, ..account(1) };
        let cancelled = AccountRecord { plan: Plan::Cancelled, ..account(1) };
        for account in [closed, cancelled] {
            assert_eq!(with(account, viewer(), &jobs()), Reason::AccountClosed);
        }
    }

    #[test]
    fn a_revocation_is_seen_at_once_and_stays_when_folded() {
        let world = World::new();
        let index = world.index(&[Record::Account(account(1)), Record::Token(viewer())]);
        let revoked = TokenRecord { state: TokenState::Revoked, ..viewer() };
        let after = index.apply(&[Record::Token(revoked)], 2);
        let reason = |index: &Index| reason_of(&decide(index, &jobs().facts(), NOW));
        assert_eq!(reason(&index), Reason::Allow);
        assert_eq!(reason(&after), Reason::Revoked);
        assert_eq!(reason(&after.fold().unwrap()), Reason::Revoked);
    }
}

mod addresses {
    use super::*;
    use Action::{Allow, Deny};

    fn from(rules_of: &[(Action, &str)], client: &str) -> Reason {
        with(rules(rules_of), viewer(), &jobs().from(client))
    }

    #[test]
    fn the_most_specific_rule_wins_allow_or_deny() {
        let rules = [(Allow, "192.0.2.0/24"), (Deny, "192.0.2.0/28"), (Allow, "192.0.2.3/32")];
        assert_eq!(from(&rules, "192.0.2.200"), Reason::Allow);
        assert_eq!(from(&rules, "192.0.2.2"), Reason::IpDenied);
        assert_eq!(from(&rules, "192.0.2.3"), Reason::Allow);
    }

    #[test]
    fn what_nothing_matches_is_denied_if_the_set_allows_anything() {
        assert_eq!(from(&[(Allow, "203.0.113.0/24")], "192.0.2.1"), Reason::IpDenied);
        assert_eq!(from(&[(Deny, "203.0.113.0/24")], "192.0.2.1"), Reason::Allow);
        assert_eq!(from(&[], "192.0.2.1"), Reason::Allow);
    }

    #[test]
    fn a_mapped_address_is_ipv4_and_the_whole_of_ipv6_is_ipv6_only() {
        assert_eq!(from(&[(Allow, "192.0.2.0/24")], "::ffff:192.0.2.1"), Reason::Allow);
        assert_eq!(from(&[(Allow, "::/0")], "::ffff:192.0.2.1"), Reason::IpDenied);
        assert_eq!(from(&[(Allow, "::/0")], "2001:db8::1"), Reason::Allow);
    }

    #[test]
    fn an_unknown_address_is_denied_by_an_enabled_set_and_by_a_narrowing_only() {
        let unknown = Request { client: None, ..jobs() };
        assert_eq!(with(account(1), viewer(), &unknown), Reason::Allow);
        assert_eq!(with(rules(&[]), viewer(), &unknown), Reason::IpDenied);
        let narrowed =
            TokenRecord { allow_ips: vec![parse_cidr("0.0.0.0/0").unwrap()], ..viewer() };
        assert_eq!(with(account(1), narrowed, &unknown), Reason::TokenIpDenied);
    }

    #[test]
    fn a_set_that_is_not_enabled_says_nothing() {
        let off = AccountRecord { ip_rules_enabled: false, ..rules(&[(Deny, "0.0.0.0/0")]) };
        assert_eq!(with(off, viewer(), &jobs()), Reason::Allow);
    }

    #[test]
    fn the_token_s_own_addresses_narrow_after_the_account_s_and_never_widen() {
        let narrowed =
            TokenRecord { allow_ips: vec![parse_cidr("192.0.2.1").unwrap()], ..viewer() };
        let both = |client: &str| {
            let account = rules(&[(Allow, "192.0.2.0/24"), (Deny, "192.0.2.9/32")]);
            with(account, narrowed.clone(), &jobs().from(client))
        };
        assert_eq!(both("192.0.2.1"), Reason::Allow);
        assert_eq!(both("192.0.2.2"), Reason::TokenIpDenied);
        assert_eq!(both("192.0.2.9"), Reason::IpDenied);
    }

    #[test]
    fn a_change_of_ip_rules_is_seen_at_once_by_the_tokens_of_the_base() {
        let index = World::new().index(&[Record::Account(account(1)), Record::Token(viewer())]);
        let index = index.apply(&[Record::Account(rules(&[(Deny, "192.0.2.0/24")]))], 2);
        assert_eq!(reason_of(&decide(&index, &jobs().facts(), NOW)), Reason::IpDenied);
    }
}

mod routes {
    use super::*;

    #[test]
    fn a_path_without_a_route_is_denied_or_let_through_with_any_valid_token() {
        let request = Request::new("GET", "/nowhere", &secret(1));
        let records = [Record::Account(account(1)), Record::Token(token(1, &secret(1), &[]))];
        let mut world = World::new();
        assert_eq!(world.reason(&records, &request), Reason::NoRoute);
        world.unmatched = Unmatched::Authenticated { upstream: 3 };
        let index = world.index(&records);
        let Verdict::Allow(permit) = decide(&index, &request.facts(), NOW) else { panic!() };
        assert_eq!((permit.upstream(), permit.route().is_none()), (3, true));
        let nobody = Request::new("GET", "/nowhere", &secret(2));
        assert_eq!(world.reason(&records, &nobody), Reason::UnknownToken);
    }

    #[test]
    fn a_path_of_the_table_with_another_method_is_no_route_even_where_unmatched_ones_pass() {
        let mut world = World::new();
        world.unmatched = Unmatched::Authenticated { upstream: 0 };
        let records = [Record::Account(account(1)), Record::Token(viewer())];
        let request = Request::new("DELETE", "/accounts/1/jobs/", &secret(1));
        assert_eq!(world.reason(&records, &request), Reason::NoRoute);
    }

    #[test]
    fn a_route_for_certain_certificates_is_there_for_no_other_client_even_where_it_is_public() {
        let mut world = World::new();
        world.unmatched = Unmatched::Authenticated { upstream: 0 };
        let records = [Record::Account(account(1)), Record::Token(viewer())];
        let reason = |path: &str, names: &[&str]| {
            let client_names = names.iter().map(|name| (*name).to_owned()).collect();
            let request = Request::new("GET", path, &secret(1));
            world.reason(&records, &Request { client_names, ..request })
        };
        for path in ["/clients/public", "/clients/authenticated/"] {
            assert_eq!(reason(path, &[]), Reason::NoRoute);
            assert_eq!(reason(path, &["other.example", "spiffe://example/cd"]), Reason::NoRoute);
        }
        for name in ["ci.example", "spiffe://example/ci"] {
            assert_eq!(reason("/clients/public", &["sha256:0", name]), Reason::Public);
            assert_eq!(reason("/clients/authenticated", &[name]), Reason::Allow);
        }
    }

    #[test]
    fn literals_come_before_captures_and_captures_before_the_rest() {
        let mut world = World::new();
        world.routes.push(route("GET", "/files/{id}", "Runs:W", ProjectSpec::Path));
        world.routes.push(route("GET", "/files/public", "public", ProjectSpec::Path));
        let records = [Record::Account(account(1)), Record::Token(viewer())];
        let reason = |path: &str| world.reason(&records, &Request::new("GET", path, &secret(1)));
        assert_eq!(reason("/files/public/"), Reason::Public);
        assert_eq!(reason("/files/other"), Reason::NoPermission);
        assert_eq!(reason("/files/other/more"), Reason::Allow);
        assert_eq!(reason("/files"), Reason::Allow);
    }

    #[test]
    fn get_includes_head_and_the_trailing_slash_is_optional() {
        let job_viewer = [grant("job_viewer", None)];
        for (method, path) in
            [("HEAD", "/accounts/1/jobs/"), ("GET", "/accounts/1/jobs"), ("GET", "/search/")]
        {
            assert_eq!(with_grants(&job_viewer, method, path), Reason::Allow, "{method} {path}");
        }
    }

    #[test]
    fn the_host_comes_before_the_path() {
        let records = [Record::Account(account(1)), Record::Token(viewer())];
        let search = Request::new("GET", "/search", &secret(1));
        let metadata = search.clone().host("Metadata.example.com:443");
        assert_eq!(World::new().reason(&records, &search), Reason::Allow);
        assert_eq!(World::new().reason(&records, &metadata), Reason::NoPermission);
    }

    #[test]
    fn allowed_path_forms_reach_routes_without_captures_only() {
        let mut world = World::new();
        let records = [Record::Account(account(1)), Record::Token(viewer())];
        let reason = |world: &World, path: &str| {
            world.reason(&records, &Request::new("GET", path, &secret(1)))
        };
        assert_eq!(reason(&world, "/files/a;b"), Reason::BadRequest);
        world.allow_in_path = vec![";".to_owned()];
        assert_eq!(reason(&world, "/files/a;b"), Reason::Allow);
        assert_eq!(reason(&world, "/files/a//b"), Reason::BadRequest);
        assert_eq!(reason(&world, "/projects/10;a/jobs"), Reason::BadRequest);
    }
}

mod account_scope {
    use super::*;

    #[test]
    fn the_account_in_the_path_is_the_token_s_and_written_as_ids_are() {
        let admin = [grant("job_viewer", None)];
        for (account, expected) in [
            ("1", Reason::Allow),
            ("2", Reason::WrongAccount),
            ("01", Reason::WrongAccount),
            ("+1", Reason::WrongAccount),
            ("one", Reason::WrongAccount),
            ("18446744073709551617", Reason::WrongAccount),
        ] {
            let path = format!("/accounts/{account}/jobs/");
            assert_eq!(with_grants(&admin, "GET", &path), expected, "{account}");
        }
    }

    #[test]
    fn ids_have_up_to_nineteen_digits_and_no_leading_zero() {
        let greatest = 9_999_999_999_999_999_999;
        for (id, expected) in [
            ("0", Reason::Allow),
            ("00", Reason::NoPermission),
            ("9999999999999999999", Reason::Allow),
            ("10000000000000000000", Reason::NoPermission),
        ] {
            let grants = [grant("job_viewer", Some(0)), grant("job_viewer", Some(greatest))];
            let path = format!("/projects/{id}/jobs/");
            assert_eq!(with_grants(&grants, "GET", &path), expected, "{id}");
        }
    }

    #[test]
    fn a_route_for_oneself_wants_a_personal_token_of_that_user_and_no_grant() {
        let own = personal(token(1, &secret(1), &[]), 5, Licence::It);
        let reason = |token: &TokenRecord, path: &str| {
            with(account(1), token.clone(), &Request::new("PATCH", path, &secret(1)))
        };
        assert_eq!(reason(&own, "/users/5/"), Reason::Allow);
        assert_eq!(reason(&own, "/users/6/"), Reason::NoPermission);
        assert_eq!(reason(&own, "/users/05/"), Reason::NoPermission);
        assert_eq!(reason(&viewer(), "/users/5/"), Reason::NoPermission);
    }
}

mod permission {
    use super::*;

    #[test]
    fn writing_implies_reading_and_reading_does_not_imply_writing() {
        let account_admin = [grant("account_admin", None)];
        assert_eq!(with_grants(&account_admin, "GET", "/accounts/1/"), Reason::Allow);
        assert_eq!(with_grants(&account_admin, "POST", "/accounts/1/"), Reason::Allow);
        let job_viewer = [grant("job_viewer", None)];
        assert_eq!(with_grants(&job_viewer, "GET", "/accounts/1/jobs/"), Reason::Allow);
        assert_eq!(with_grants(&job_viewer, "POST", "/accounts/1/jobs/"), Reason::NoPermission);
    }

    #[test]
    fn grants_that_cover_the_project_are_taken_together_and_others_are_not() {
        let mut world = World::new();
        let path = "/accounts/{account_id}/projects/{project_id}/both/";
        world.routes.push(route("POST", path, "Runs:W Account settings:W", ProjectSpec::Path));
        let reason = |grants: &[Grant]| {
            let records =
                [Record::Account(account(1)), Record::Token(token(1, &secret(1), grants))];
            let request = Request::new("POST", "/accounts/1/projects/10/both/", &secret(1));
            world.reason(&records, &request)
        };
        let admin = grant("account_admin", None);
        assert_eq!(reason(&[admin.clone(), grant("job_admin", Some(10))]), Reason::Allow);
        assert_eq!(reason(&[admin.clone(), grant("job_admin", Some(11))]), Reason::NoPermission);
        assert_eq!(reason(&[admin, grant("job_viewer", Some(10))]), Reason::NoPermission);
    }

    #[test]
    fn a_plan_change_suspends_grants_of_service_tokens_but_not_of_personal_ones() {
        let service = token(1, &secret(1), &[grant("job_admin", None), grant("job_viewer", None)]);
        let users = personal(
            TokenRecord { verifier: digest(&secret(2), CURRENT), id: 2, ..service.clone() },
            5,
            Licence::Developer,
        );
        let records = [Record::Account(account(1)), Record::Token(service), Record::Token(users)];
        let enterprise = World::new().index(&records);
        let starter = AccountRecord { plan: Plan::Starter, ..account(1) };
        let starter = enterprise.apply(&[Record::Account(starter)], 2);
        let ask = |index: &Index, number: u8| {
            let request = Request::new("POST", "/accounts/1/jobs/", &secret(number));
            let mut sets = String::new();
            match decide(index, &request.facts(), NOW) {
                Verdict::Allow(permit) => permit.write_permission_sets(&mut sets),
                verdict => return reason_of(&verdict).name().to_owned(),
            }
            sets
        };
        assert_eq!(ask(&enterprise, 1), "job_admin,job_viewer");
        assert_eq!(ask(&starter, 1), "no_permission");
        assert_eq!(ask(&starter, 2), "job_admin,job_viewer");
        assert_eq!(ask(&starter.fold().unwrap(), 1), "no_permission");
        let back = starter.apply(&[Record::Account(account(1))], 3);
        assert_eq!(ask(&back, 1), "job_admin,job_viewer");
    }

    #[test]
    fn a_suspended_set_is_not_named_to_the_upstream() {
        let starter = AccountRecord { plan: Plan::Starter, ..account(1) };
        let token = token(1, &secret(1), &[grant("job_admin", None), grant("job_viewer", None)]);
        let index = World::new().index(&[Record::Account(starter), Record::Token(token)]);
        let jobs = jobs();
        let Verdict::Allow(permit) = decide(&index, &jobs.facts(), NOW) else { panic!() };
        let mut sets = String::new();
        permit.write_permission_sets(&mut sets);
        assert_eq!(sets, "job_viewer");
    }

    #[test]
    fn a_licence_bounds_a_personal_token() {
        let all = [grant("job_admin", None), grant("account_admin", None)];
        let reason = |licence, method: &str, path: &str| {
            let token = personal(token(1, &secret(1), &all), 5, licence);
            with(account(1), token, &Request::new(method, path, &secret(1)))
        };
        for (licence, reads_jobs, writes_jobs, writes_settings) in [
            (Licence::Developer, Reason::Allow, Reason::Allow, Reason::Allow),
            (Licence::ReadOnly, Reason::Allow, Reason::NoPermission, Reason::NoPermission),
            (Licence::It, Reason::NoPermission, Reason::NoPermission, Reason::Allow),
        ] {
            assert_eq!(reason(licence, "GET", "/accounts/1/jobs/"), reads_jobs);
            assert_eq!(reason(licence, "POST", "/accounts/1/jobs/"), writes_jobs);
            assert_eq!(reason(licence, "POST", "/accounts/1/"), writes_settings);
        }
    }

    #[test]
    fn a_set_that_is_not_configured_gives_nothing() {
        assert_eq!(with_grants(&[grant("gone", None)], "GET", "/search"), Reason::NoPermission);
    }
}

mod projects {
    use super::*;

    #[test]
    fn a_path_without_a_project_wants_a_grant_on_all() {
        let path = "/accounts/1/jobs/";
        assert_eq!(
            with_grants(&[grant("job_viewer", Some(10))], "GET", path),
            Reason::NoPermission
        );
        assert_eq!(with_grants(&[grant("job_viewer", None)], "GET", path), Reason::Allow);
    }

    #[test]
    fn a_grant_on_all_covers_unknown_projects_under_the_own_account_only() {
        let on_all = [grant("job_viewer", None)];
        let own = "/accounts/1/projects/99/jobs/";
        assert_eq!(with_grants(&on_all, "GET", own), Reason::Allow);
        assert_eq!(with_grants(&on_all, "GET", "/projects/99/jobs/"), Reason::NoPermission);
        assert_eq!(with_grants(&on_all, "GET", "/projects/10/jobs/"), Reason::Allow);
        let on_one = [grant("job_viewer", Some(99))];
        assert_eq!(with_grants(&on_one, "GET", "/projects/99/jobs/"), Reason::Allow);
    }

    #[test]
    fn a_query_names_the_project_once_and_plainly_or_a_grant_on_all_is_needed() {
        let on_one = [grant("job_viewer", Some(10))];
        for (query, expected) in [
            ("", Reason::NoPermission),
            ("?other=10", Reason::NoPermission),
            ("?project_id=10", Reason::Allow),
            ("?a=b&project_id=10&c", Reason::Allow),
            ("?project_id=11", Reason::NoPermission),
            ("?project_id=010", Reason::NoPermission),
            ("?project_id=", Reason::NoPermission),
            ("?project_id=10&project_id=10", Reason::BadRequest),
            ("?project_id=%31%30", Reason::BadRequest),
            ("?project_id=10+", Reason::BadRequest),
            ("?project%5fid=10", Reason::BadRequest),
            ("?%70roject_id=11&project_id=10", Reason::BadRequest),
            ("?a;project_id=11&project_id=10", Reason::BadRequest),
        ] {
            let target = format!("/accounts/1/runs/{query}");
            assert_eq!(with_grants(&on_one, "GET", &target), expected, "{query}");
        }
        let on_all = [grant("job_viewer", None)];
        assert_eq!(with_grants(&on_all, "HEAD", "/accounts/1/runs/"), Reason::Allow);
    }

    #[test]
    fn an_id_is_looked_up_in_the_account_s_index_and_unknown_is_denied() {
        let mut records = vec![
            Record::Account(account(1)),
            Record::Token(token(1, &secret(1), &[grant("job_admin", Some(10))])),
            id_row("job_id", 77, 10, None),
            id_row("job_id", 78, 11, None),
        ];
        let other = |record: &mut Record| match record {
            Record::Id(row) => row.account_id = 2,
            _ => panic!(),
        };
        records.push(id_row("job_id", 79, 10, None));
        other(records.last_mut().unwrap());
        let index = World::new().index(&records);
        for (id, expected) in [
            ("77", Reason::Allow),
            ("78", Reason::NoPermission),
            ("79", Reason::NoPermission),
            ("077", Reason::NoPermission),
        ] {
            // The second route's capture has another name: `from = "id"`.
            for path in [format!("/accounts/1/jobs/{id}/run/"), format!("/jobs/{id}/run/")] {
                let request = Request::new("POST", &path, &secret(1));
                assert_eq!(reason_of(&decide(&index, &request.facts(), NOW)), expected, "{path}");
            }
        }
        let removed = Record::IdRemoved { account_id: 1, index: "job_id".to_owned(), id: 77 };
        let after = index.apply(&[removed], 2);
        let request = Request::new("POST", "/jobs/77/run/", &secret(1));
        assert_eq!(reason_of(&decide(&after, &request.facts(), NOW)), Reason::NoPermission);
    }

    #[test]
    fn the_row_s_category_decides_on_writable_environments_and_none_is_not_writable() {
        let rows = [
            id_row("environment_id", 1, 10, Some(Category::Staging)),
            id_row("environment_id", 2, 10, Some(Category::Production)),
            id_row("environment_id", 3, 10, None),
        ];
        let reason = |writable: &[Category], method: &str, id: u64| {
            let token = token(1, &secret(1), &[categories("analyst", Some(10), writable)]);
            let records =
                [&[Record::Account(account(1)), Record::Token(token)], &rows[..]].concat();
            let path = format!("/accounts/1/environments/{id}/");
            World::new().reason(&records, &Request::new(method, &path, &secret(1)))
        };
        for (writable, allowed) in [
            (&[][..], [false, false, false]),
            (&[Category::Staging], [true, false, false]),
            (&[Category::Staging, Category::Production], [true, true, false]),
            (&[Category::All], [true, true, false]),
        ] {
            for (id, allowed) in (1..).zip(allowed) {
                let expected = if allowed { Reason::Allow } else { Reason::NoPermission };
                assert_eq!(reason(writable, "PATCH", id), expected, "{writable:?} {id}");
                assert_eq!(reason(writable, "GET", id), Reason::Allow);
            }
        }
    }

    #[test]
    fn any_wants_a_grant_on_at_least_one_project() {
        assert_eq!(with_grants(&[], "GET", "/projects/any"), Reason::NoPermission);
        assert_eq!(
            with_grants(&[grant("analyst", Some(99))], "GET", "/projects/any"),
            Reason::Allow
        );
        for project in [None, Some(99)] {
            let grants = [grant("job_viewer", project)];
            assert_eq!(with_grants(&grants, "GET", "/search"), Reason::Allow);
        }
    }

    fn deferred(grants: &[Grant], path: &str) -> Result<String, Reason> {
        let records = [Record::Account(account(1)), Record::Token(token(1, &secret(1), grants))];
        let index = World::new().index(&records);
        let request = Request::new("POST", path, &secret(1));
        let mut projects = String::new();
        match decide(&index, &request.facts(), NOW) {
            Verdict::Allow(permit) => assert!(permit.write_projects(&mut projects)),
            verdict => return Err(reason_of(&verdict)),
        }
        Ok(projects)
    }

    #[test]
    fn a_deferring_route_tells_which_projects_ascending_or_all() {
        let on = |set: &str, projects: &[u64]| {
            projects.iter().map(|project| grant(set, Some(*project))).collect::<Vec<_>>()
        };
        let some = [on("job_viewer", &[12, 2, 10]), on("analyst", &[10]), on("run_starter", &[1])];
        assert_eq!(deferred(&some.concat(), "/graphql").as_deref(), Ok("2,10,12"));
        let all = [on("job_viewer", &[12]), vec![grant("job_viewer", None)]].concat();
        assert_eq!(deferred(&all, "/graphql").as_deref(), Ok("*"));
        assert_eq!(deferred(&on("run_starter", &[1]), "/graphql"), Err(Reason::NoPermission));
        assert_eq!(deferred(&[], "/graphql"), Err(Reason::NoPermission));
    }

    #[test]
    fn an_upstream_that_enforces_nothing_gets_only_what_a_grant_on_all_projects_lets_through() {
        let one = [grant("job_viewer", Some(10))];
        assert_eq!(deferred(&one, "/plain/graphql"), Err(Reason::NoPermission));
        let all = [grant("job_viewer", None)];
        assert_eq!(deferred(&all, "/plain/graphql").as_deref(), Ok("*"));
    }

    #[test]
    fn a_list_of_projects_over_four_kibibytes_is_denied() {
        let mut grants: Vec<Grant> =
            (100..1000).map(|project| grant("job_viewer", Some(project))).collect();
        grants.extend((1000..1099).map(|project| grant("job_viewer", Some(project))));
        // 900 * 4 + 99 * 5 = 4,095 with a comma each, and the last has none.
        let fits = deferred(&grants, "/graphql").unwrap();
        assert_eq!(fits.len(), 4094);
        grants.push(grant("job_viewer", Some(5)));
        assert_eq!(deferred(&grants, "/graphql").unwrap().len(), 4096);
        grants.push(grant("job_viewer", Some(6)));
        assert_eq!(deferred(&grants, "/graphql"), Err(Reason::NoPermission));
    }
}

mod slow_lane {
    use super::*;

    fn legacy(id: u64, selector: Option<&str>) -> TokenRecord {
        let grants = [grant("job_viewer", None)];
        TokenRecord { verifier: hash(selector), ..token(id, "", &grants) }
    }

    fn index(tokens: Vec<TokenRecord>) -> Index {
        let accounts = [Record::Account(account(1)), Record::Account(account(2))];
        let records = accounts.into_iter().chain(tokens.into_iter().map(Record::Token));
        World::new().index(&records.collect::<Vec<_>>())
    }

    /// The candidates in their order, or why there are none.
    fn candidates(index: &Index, request: &Request) -> Result<Vec<u64>, Reason> {
        match decide(index, &request.facts(), NOW) {
            Verdict::Slow(request) => {
                Ok(request.candidates.iter().map(|candidate| candidate.token_id).collect())
            }
            verdict => Err(reason_of(&verdict)),
        }
    }

    fn request() -> Request {
        Request::new("GET", "/accounts/1/jobs/", LEGACY)
    }

    #[test]
    fn candidates_are_those_of_the_selector_then_those_of_the_account_without_one() {
        let of_another = TokenRecord { account_id: 2, ..legacy(5, None) };
        let index = index(vec![
            legacy(1, None),
            legacy(2, Some("leg")),
            legacy(3, Some("legacy-t")),
            legacy(4, Some("other")),
            of_another,
        ]);
        assert_eq!(candidates(&index, &request()), Ok(vec![3, 2, 1]));
        let without_account = Request::new("GET", "/search", LEGACY);
        assert_eq!(candidates(&index, &without_account), Ok(vec![3, 2]));
    }

    #[test]
    fn revoked_and_expired_tokens_are_no_candidates() {
        let revoked = TokenRecord { state: TokenState::Revoked, ..legacy(1, None) };
        let expired = TokenRecord { expires_at: Some(NOW), ..legacy(2, None) };
        let both = index(vec![revoked, expired]);
        assert_eq!(candidates(&both, &request()), Err(Reason::UnknownToken));
    }

    #[test]
    fn no_guess_is_tried_more_often_than_the_limit_says() {
        let many = (1..=6).map(|id| legacy(id, (id > 2).then_some("legacy"))).collect();
        assert_eq!(candidates(&index(many), &request()).unwrap().len(), 4);
    }

    #[test]
    fn a_token_that_is_asked_about_is_not_hidden_by_the_limit_on_hashes() {
        let hashed = (1..=6).map(|id| legacy(id, Some("legacy")));
        let asked = (7..=12).map(|id| TokenRecord {
            verifier: Verifier::Introspect { selector: Some("leg".to_owned()) },
            ..legacy(id, None)
        });
        let index = index(hashed.chain(asked).collect());
        let world = World { introspected: vec!["legacy".to_owned()], ..World::new() };
        let asking = index.with_policy(world.policy());
        let all = vec![1, 2, 3, 4, 7, 8, 9, 10, 11, 12];
        assert_eq!(candidates(&asking, &request()), Ok(all));
        assert_eq!(candidates(&index, &request()), Ok(vec![1, 2, 3, 4]));
    }

    #[test]
    fn our_own_tokens_and_a_switched_off_lane_are_never_slow() {
        let index = index(vec![legacy(1, None)]);
        let ours = Request::new("GET", "/accounts/1/jobs/", &secret(7));
        assert_eq!(candidates(&index, &ours), Err(Reason::UnknownToken));
        let world = World { candidates_limit: 0, ..World::new() };
        let off = index.with_policy(world.policy());
        assert_eq!(candidates(&off, &request()), Err(Reason::UnknownToken));
    }

    #[test]
    fn a_request_that_would_fail_before_the_token_never_reaches_the_lane() {
        let index = index(vec![legacy(1, None)]);
        let doubled = Request::new("GET", "/accounts/1//jobs/", LEGACY);
        assert_eq!(candidates(&index, &doubled), Err(Reason::BadRequest));
    }

    #[test]
    fn what_the_lane_recognised_is_judged_from_validity_on() {
        let index = index(vec![legacy(1, None)]);
        let resumed = |request: &Request| {
            let verdict = resume(&index, &request.facts(), 1, Lane::Slow, NOW);
            match &verdict {
                Verdict::Allow(permit) => assert_eq!(permit.lane(), Lane::Slow),
                Verdict::Deny(denial) => assert_eq!(denial.lane, Lane::Slow),
                Verdict::Slow(_) => panic!("slow twice"),
            }
            reason_of(&verdict)
        };
        assert_eq!(resumed(&request()), Reason::Allow);
        assert_eq!(
            resumed(&Request::new("POST", "/accounts/1/jobs/", LEGACY)),
            Reason::NoPermission
        );
        assert_eq!(
            resumed(&Request::new("GET", "/accounts/2/jobs/", LEGACY)),
            Reason::WrongAccount
        );
    }

    #[test]
    fn what_the_lane_remembers_is_asked_for_before_candidates_and_only_where_it_may_be() {
        let index = index(vec![legacy(1, Some("legacy")), legacy(2, None)]);
        let recalled = |request: &Request, token: u64| {
            let expected = DigestKey::new(CURRENT.0, CURRENT.1).digest(LEGACY.as_bytes());
            let recall = |digest: &Digest| (*digest == expected).then_some(token);
            reason_of(&decide_recalling(&index, &request.facts(), NOW, recall))
        };
        assert_eq!(recalled(&request(), 1), Reason::Allow);
        // Also where the path would give it no candidates.
        let elsewhere = Request::new("GET", "/accounts/2/jobs/", LEGACY);
        assert_eq!(recalled(&elsewhere, 2), Reason::WrongAccount);
        let other = Request::new("GET", "/search", "another-guess-at-it");
        assert_eq!(recalled(&other, 1), Reason::UnknownToken);
        let never = |_: &Digest| -> Option<u64> { panic!("a token of ours is no legacy token") };
        let ours = Request::new("GET", "/accounts/1/jobs/", &secret(7));
        let verdict = decide_recalling(&index, &ours.facts(), NOW, never);
        assert_eq!(reason_of(&verdict), Reason::UnknownToken);
    }

    #[test]
    fn a_token_that_was_revoked_while_the_lane_was_at_work_is_revoked() {
        let before = index(vec![legacy(1, None)]);
        assert_eq!(candidates(&before, &request()), Ok(vec![1]));
        let revoked = TokenRecord { state: TokenState::Revoked, ..legacy(1, None) };
        let newest = before.apply(&[Record::Token(revoked)], 2);
        let verdict = resume(&newest, &request().facts(), 1, Lane::Slow, NOW);
        assert_eq!(reason_of(&verdict), Reason::Revoked);
    }

    #[test]
    fn an_upgraded_token_is_a_fast_one_and_no_candidate_any_more() {
        let upgraded = TokenRecord { verifier: digest(LEGACY, CURRENT), ..legacy(1, None) };
        let index = index(vec![legacy(1, None)]).apply(&[Record::Token(upgraded)], 2);
        for index in [index.fold().unwrap(), index] {
            let request = request();
            let Verdict::Allow(permit) = decide(&index, &request.facts(), NOW) else { panic!() };
            assert_eq!((permit.lane(), permit.token().unwrap().is_slow()), (Lane::Fast, false));
            let other = Request::new("GET", "/accounts/1/jobs/", "another-legacy-guess");
            assert_eq!(candidates(&index, &other), Err(Reason::UnknownToken));
            // What the lane was asked before goes on.
            let resumed = resume(&index, &request.facts(), 1, Lane::Slow, NOW);
            assert_eq!(reason_of(&resumed), Reason::Allow);
            let resumed = resume(&index, &other.facts(), 1, Lane::Slow, NOW);
            assert_eq!(reason_of(&resumed), Reason::UnknownToken);
        }
    }
}
