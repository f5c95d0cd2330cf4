//! How tokens are used: added up, kept by day, and nobody's change.

use std::net::IpAddr;

use super::super::uses::DAYS_LIMIT;
use super::*;
use crate::store::{COUNT_LIMIT, TokenUse, VerifyCost};

const DAY: i64 = 86_400;

fn used(token_id: u64, requests: u64, at: i64, from: &str) -> TokenUse {
    let last_address = Some(from.parse::<IpAddr>().unwrap());
    TokenUse { token_id, requests, last_used_at: Timestamp(at), last_address }
}

fn top(fixture: &Fixture, account: Option<u64>, since: i64) -> Vec<(u64, u64)> {
    let top = fixture.store.top_tokens(account, Timestamp(since), 10).unwrap();
    top.iter().map(|top| (top.used.token_id, top.used.requests)).collect()
}

#[test]
fn uses_add_up_and_the_latest_says_when_and_from_where() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.create(token(1, 1)), fixture.create(token(1, 2)));
    assert_eq!(fixture.store.token_use(one).unwrap(), None);
    fixture.store.record_uses(&[used(one, 3, NOW.0 + 9, "192.0.2.1")], &[]).unwrap();
    // An older one that comes late, one of another gate, and one from nowhere that is known.
    fixture.store.record_uses(&[used(one, 2, NOW.0, "192.0.2.2")], &[]).unwrap();
    let unknown = TokenUse { last_address: None, ..used(one, 1, NOW.0 + 10, "::1") };
    fixture.second().record_uses(&[unknown], &[]).unwrap();
    let expected = used(one, 6, NOW.0 + 10, "192.0.2.1");
    assert_eq!(fixture.store.token_use(one).unwrap(), Some(expected));
    fixture.store.record_uses(&[used(other, 1, NOW.0, "2001:db8::1")], &[]).unwrap();
    let of_account = |account_id| fixture.store.token_uses(&TokenFilter { account_id }).unwrap();
    assert_eq!(of_account(Some(1)), [expected, used(other, 1, NOW.0, "2001:db8::1")]);
    assert_eq!(of_account(None).len(), 2);
    assert_eq!(of_account(Some(2)), []);
}

#[test]
fn a_token_that_is_not_there_is_left_out_and_the_others_are_kept() {
    let fixture = Fixture::new();
    let id = fixture.create(token(1, 1));
    let uses = [used(id, 1, NOW.0, "::1"), used(id + 7, 5, NOW.0, "::1")];
    fixture.store.record_uses(&uses, &[]).unwrap();
    assert_eq!(fixture.store.token_uses(&TokenFilter::default()).unwrap(), uses[..1]);
    assert_eq!(top(&fixture, None, NOW.0), [(id, 1)]);
}

#[test]
fn the_most_used_come_first_by_whole_days() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.create(token(1, 1)), fixture.create(token(1, 2)));
    let third = fixture.create(token(2, 3));
    let today = NOW.0 / DAY * DAY;
    for (id, requests, at) in
        [(one, 9, today - 1), (one, 1, today), (other, 2, today), (third, 5, today + 5)]
    {
        fixture.store.record_uses(&[used(id, requests, at, "::1")], &[]).unwrap();
    }
    assert_eq!(top(&fixture, None, today + 99), [(third, 5), (other, 2), (one, 1)]);
    assert_eq!(top(&fixture, None, today - 1), [(one, 10), (third, 5), (other, 2)]);
    assert_eq!(top(&fixture, Some(1), today), [(other, 2), (one, 1)]);
    assert_eq!(top(&fixture, None, today + DAY), []);
    let limited = fixture.store.top_tokens(None, Timestamp(today), 1).unwrap();
    assert_eq!((limited.len(), limited[0].name.as_str()), (1, "token 3"));
}

#[test]
fn days_of_long_ago_are_removed_and_the_total_stays() {
    let fixture = Fixture::new();
    let id = fixture.create(token(1, 1));
    fixture.store.record_uses(&[used(id, 4, NOW.0, "::1")], &[]).unwrap();
    let later = NOW.0 + (DAYS_LIMIT + 1) * DAY;
    fixture.store.record_uses(&[used(id, 1, later, "::1")], &[]).unwrap();
    assert_eq!(top(&fixture, None, 0), [(id, 1)]);
    assert_eq!(fixture.store.token_use(id).unwrap().unwrap().requests, 5);
}

#[test]
fn use_is_neither_an_event_nor_a_change_that_followers_hear_of() {
    let fixture = Fixture::new();
    let id = fixture.create(token(1, 1));
    let (cursor, events) = (fixture.cursor(), fixture.audit());
    fixture.store.record_uses(&[used(id, 4, NOW.0, "::1")], &[]).unwrap();
    assert_eq!(fixture.frame(&cursor), []);
    assert_eq!(fixture.audit(), events);
}

#[test]
fn counts_end_at_a_limit_that_the_database_can_add_up() {
    let fixture = Fixture::new();
    let id = fixture.create(slow_token(
        1,
        hash("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", Some("s")),
    ));
    let cost = VerifyCost {
        token_id: id,
        verifications: u64::MAX,
        hash_micros: 1 << 63,
        last_at: Timestamp(NOW.0),
    };
    for days in 0..2 {
        let most = used(id, u64::MAX, NOW.0 - days * DAY, "::1");
        fixture.store.record_uses(&[most, most], &[cost, cost]).unwrap();
    }
    assert_eq!(fixture.store.token_use(id).unwrap().unwrap().requests, COUNT_LIMIT);
    assert_eq!(top(&fixture, None, 0), [(id, 2 * COUNT_LIMIT)]);
    let legacy = fixture.store.legacy_uses(None, Timestamp(0), Timestamp(NOW.0)).unwrap();
    let counted = legacy.iter().map(|used| (used.verifications, used.hash_micros));
    assert_eq!(counted.collect::<Vec<_>>(), [(COUNT_LIMIT, COUNT_LIMIT)]);
}
