//! Legacy tokens: what they cost, and how they become fast ones.

use super::*;
use crate::store::{LegacyUse, TokenUse, VerifyCost};

const ENCODED: &str = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";
const DAY: i64 = 86_400;

fn legacy() -> NewToken {
    slow_token(1, hash(ENCODED, Some("selected")))
}

fn upgrade(id: u64, seed: u64) -> Command {
    Command::UpgradeToken { id, verifier: digest(seed) }
}

#[test]
fn an_upgrade_puts_the_digest_in_the_place_of_the_hash_once_and_is_audited() {
    let fixture = Fixture::new();
    let id = fixture.create(legacy());
    let cursor = fixture.cursor();
    assert_eq!(fixture.apply(upgrade(id, 7)), Ok(Outcome::Changed { id }));
    assert_eq!(fixture.apply(upgrade(id, 8)), Ok(Outcome::Unchanged { id }));
    let view = fixture.store.token(id).unwrap();
    assert_eq!((view.verifier, view.name), (digest(7), legacy().name));
    let frame = fixture.frame(&cursor);
    let [Record::Token(followed)] = &frame[..] else { panic!("{frame:?}") };
    assert_eq!((followed.id, &followed.verifier), (id, &digest(7)));
    let audit = fixture.audit();
    let (event, account, subject, detail) = audit.last().unwrap();
    assert_eq!((event.as_str(), *account), ("service_token.upgraded", Some(1)));
    assert_eq!(subject, &format!("token:{id}"));
    assert_eq!(detail["before"]["verifier"], "hash");
    assert_eq!(detail["after"]["verifier"], "digest");
    assert_eq!(fixture.store.verify_audit(None, &[]).unwrap().found, 0);
}

#[test]
fn a_revoked_token_is_not_upgraded_nor_one_that_is_fast_or_asked_about() {
    let fixture = Fixture::new();
    let revoked = fixture.create(legacy());
    fixture.apply(Command::RevokeToken { id: revoked }).unwrap();
    let fast = fixture.create(token(1, 1));
    let asked = fixture.create(slow_token(1, Verifier::Introspect { selector: None }));
    let before = contents(&fixture.store);
    for id in [revoked, fast, asked] {
        assert_eq!(fixture.apply(upgrade(id, 7)), Ok(Outcome::Unchanged { id }));
    }
    assert_eq!(contents(&fixture.store), before);
    assert!(matches!(fixture.apply(upgrade(99, 7)), Err(StoreError::NotFound(_))));
}

#[test]
fn a_secret_that_another_token_has_is_not_taken_over() {
    let fixture = Fixture::new();
    fixture.create(token(1, 7));
    let id = fixture.create(legacy());
    let refusal = fixture.refusal(upgrade(id, 7));
    assert!(refusal.to_string().contains("same verifier"), "{refusal}");
    assert!(matches!(fixture.store.token(id).unwrap().verifier, Verifier::Hash { .. }));
}

#[test]
fn the_hash_of_an_upgraded_token_imported_again_is_no_new_token_and_revives_none() {
    let fixture = Fixture::new();
    let id = fixture.create(legacy());
    fixture.apply(upgrade(id, 7)).unwrap();
    let again = || {
        let token = Box::new(ImportedToken { token: legacy(), suspended: false, aliases: vec![] });
        fixture.import(Command::ImportToken(token))
    };
    assert_eq!(again(), Ok(Outcome::Unchanged { id }));
    fixture.apply(Command::RevokeToken { id }).unwrap();
    assert_eq!(again(), Ok(Outcome::Unchanged { id }));
    assert_eq!(fixture.store.token(id).unwrap().state, TokenState::Revoked);
    let stolen = NewToken { account_id: 2, ..legacy() };
    assert!(fixture.refusal(create(stolen)).to_string().contains("same verifier"));
    let file = std::fs::read(fixture.path()).unwrap();
    let text = String::from_utf8_lossy(&file);
    assert!(!text.contains(&digest_text(7)), "only as bytes");
}

fn digest_text(seed: u64) -> String {
    let Verifier::Digest { digest, .. } = digest(seed) else { unreachable!() };
    hex::encode(digest.0)
}

#[test]
fn costs_add_up_by_day_beside_requests_and_the_hottest_tokens_come_first() {
    let fixture = Fixture::new();
    let hashed = |number: u64| hash(&format!("{ENCODED}{number}"), Some(&number.to_string()));
    let ids: Vec<u64> =
        (1..=3).map(|number| fixture.create(slow_token(1, hashed(number)))).collect();
    let fast = fixture.create(token(1, 1));
    let today = NOW.0 / DAY * DAY;
    let cost = |token_id, verifications, hash_micros, at| VerifyCost {
        token_id,
        verifications,
        hash_micros,
        last_at: Timestamp(at),
    };
    let used = |token_id, requests, at| TokenUse {
        token_id,
        requests,
        last_used_at: Timestamp(at),
        last_address: None,
    };
    let uses = [used(ids[0], 5, today), used(ids[1], 9, today), used(fast, 99, today)];
    fixture.store.record_uses(&uses, &[]).unwrap();
    let old = today - DAY;
    fixture
        .store
        .record_uses(&[], &[cost(ids[0], 2, 70, today), cost(ids[1], 1, 30, old)])
        .unwrap();
    fixture
        .second()
        .record_uses(&[], &[cost(ids[0], 1, 5, today), cost(ids[2], 4, 8, today)])
        .unwrap();
    fixture.store.record_uses(&[], &[cost(99, 1, 1, today)]).unwrap();
    let since = |at| fixture.store.legacy_uses(Some(1), Timestamp(at), NOW).unwrap();
    let line =
        |used: &LegacyUse| (used.token_id, used.requests, used.verifications, used.hash_micros);
    let lines = |uses: &[LegacyUse]| uses.iter().map(line).collect::<Vec<_>>();
    let hottest = [(ids[1], 9, 0, 0), (ids[0], 5, 3, 75), (ids[2], 0, 4, 8)];
    assert_eq!(lines(&since(today)), hottest);
    assert_eq!(lines(&since(old))[0], (ids[1], 9, 1, 30));
    assert_eq!(fixture.store.legacy_uses(Some(2), Timestamp(0), NOW), Ok(vec![]));
    // What was only guessed at counts as no use.
    assert_eq!(fixture.store.token_use(ids[2]).unwrap(), None);
    let top = fixture.store.top_tokens(None, Timestamp(old), 9).unwrap();
    assert_eq!(top.iter().map(|top| top.used.token_id).collect::<Vec<_>>(), [fast, ids[1], ids[0]]);
    fixture.apply(Command::RevokeToken { id: ids[1] }).unwrap();
    fixture.apply(upgrade(ids[0], 7)).unwrap();
    assert_eq!(lines(&since(today)), [(ids[2], 0, 4, 8)]);
}
