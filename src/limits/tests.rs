//! Limits of several kinds together, and what a reload keeps of them.

use std::time::Duration;

use super::*;
use crate::core::verdict::Lane;

const SECOND: u64 = 1_000_000_000;

fn rate(count: u64) -> Option<Rate> {
    Some(Rate { count, per: Duration::from_secs(60) })
}

fn group(name: &str, account: Option<Rate>, token: Option<Rate>) -> LimitGroup {
    LimitGroup { name: name.to_owned(), account, token, cooldown: None }
}

fn settings(failed: Option<Rate>, groups: &[LimitGroup]) -> crate::config::Limits {
    crate::config::Limits {
        header_bytes: 65_536,
        headers: 100,
        body_bytes: None,
        header_timeout: Duration::from_secs(10),
        connections: 10,
        failed_credentials: failed,
        groups: groups.to_vec(),
    }
}

fn limits(failed: Option<Rate>, groups: &[LimitGroup]) -> Arc<Limits> {
    SharedLimits::new(Instant::now()).under(&settings(failed, groups))
}

fn keys(account: u64, token: u64) -> LimitKeys {
    LimitKeys { account, token, group: Some(0) }
}

/// How often a token gets through at one moment.
fn granted(limits: &Limits, keys: LimitKeys) -> usize {
    let (keys, group) = limits.group(keys).unwrap();
    (0..100).take_while(|_| group.take(keys, SECOND).is_ok()).count()
}

#[test]
fn an_account_s_tokens_share_its_quota_and_other_accounts_do_not() {
    let limits = limits(None, &[group("api", rate(5), None)]);
    let (first, all) = (keys(1, 10), limits.group(keys(1, 10)).unwrap().1);
    assert_eq!(all.take(first, SECOND), Ok(()));
    assert_eq!(all.take(first, SECOND), Ok(()));
    assert_eq!(granted(&limits, keys(1, 11)), 3);
    assert_eq!(granted(&limits, keys(2, 20)), 5);
}

#[test]
fn what_one_limit_refuses_uses_nothing_of_the_other() {
    let limits = limits(None, &[group("api", rate(10), rate(4))]);
    assert_eq!(granted(&limits, keys(1, 10)), 4);
    // A hundred refusals of the first token later:
    let (_, api) = limits.group(keys(1, 10)).unwrap();
    assert!((0..100).all(|_| api.take(keys(1, 10), SECOND).is_err()));
    assert_eq!(granted(&limits, keys(1, 11)), 4);
    assert_eq!(granted(&limits, keys(1, 12)), 2);
    // The account is at its limit; the third token is not.
    assert!((0..100).all(|_| api.take(keys(1, 12), SECOND).is_err()));
    assert_eq!(api.token.as_ref().unwrap().left(id_key(12), SECOND), 2);
}

#[test]
fn groups_are_apart() {
    let limits = limits(None, &[group("api", rate(2), None), group("graphql", rate(3), None)]);
    assert_eq!(granted(&limits, keys(1, 10)), 2);
    assert_eq!(granted(&limits, LimitKeys { group: Some(1), ..keys(1, 10) }), 3);
    assert!(limits.group(LimitKeys { group: None, ..keys(1, 10) }).is_none());
}

#[test]
fn a_reload_keeps_what_is_used_of_limits_that_stay() {
    let shared = SharedLimits::new(Instant::now());
    let (api, graphql) = (group("api", rate(5), rate(4)), group("graphql", rate(5), None));
    let before = shared.under(&settings(rate(3), &[api.clone(), graphql]));
    assert_eq!(granted(&before, keys(1, 10)), 4);
    let same = shared.under(&settings(rate(3), &[api.clone(), group("graphql", rate(5), None)]));
    assert!(Arc::ptr_eq(&before, &same));

    // One group fewer before it, and its token's limit raised.
    let raised = group("api", rate(5), rate(50));
    let after = shared.under(&settings(rate(3), &[group("aaa", rate(1), None), raised]));
    let of_api = LimitKeys { group: Some(1), ..keys(1, 10) };
    assert_eq!(granted(&after, of_api), 1, "four of the account's five are used");
    assert!(Arc::ptr_eq(before.failures.as_ref().unwrap(), after.failures.as_ref().unwrap()));
    let other = shared.under(&settings(rate(30), &[]));
    assert!(!Arc::ptr_eq(before.failures.as_ref().unwrap(), other.failures.as_ref().unwrap()));
}

fn denial(reason: Reason) -> Denial {
    Denial { reason, caller: None, accepted_scheme: true, lane: Lane::Fast }
}

#[test]
fn only_credentials_that_failed_are_counted_and_every_401_is_turned() {
    let limits = limits(rate(2), &[]);
    let now = Instant::now();
    let fail = |reason| limits.fail(denial(reason), None, || now);
    for reason in [Reason::NoCredential, Reason::IpDenied, Reason::NoPermission, Reason::LaneFull] {
        assert!((0..10).all(|_| fail(reason).is_none()), "{reason}");
    }
    assert_eq!((fail(Reason::UnknownToken), fail(Reason::Expired)), (None, None));
    for reason in [Reason::UnknownToken, Reason::Revoked, Reason::NoCredential] {
        let refused = fail(reason).unwrap();
        assert_eq!(
            (refused.denial.reason, refused.retry_after_seconds),
            (Reason::FailureLimited, 30)
        );
    }
    assert_eq!(fail(Reason::IpDenied), None);
    assert_eq!(limits.lane_closed(None, || now), Some(30));
    assert_eq!(limits.lane_closed(Some([192, 0, 2, 1].into()), || now), None);
}
