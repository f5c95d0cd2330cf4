//! The chain against everything that somebody with the database and without the key can do.

use proptest::prelude::*;

use super::*;
use crate::core::digest::{DigestKey, DigestKeys};

const STORE: &str = "0011223344556677";

/// Keys `k1`, `k2` and so on, the current one first.
fn keys(numbers: &[u8]) -> AuditKeys {
    let mut keys = numbers.iter().map(|n| DigestKey::new(format!("k{n}"), [*n; 32]));
    let current = keys.next().unwrap();
    AuditKeys::from(&DigestKeys::new(current, keys.collect()))
}

/// A row: sequence, event, a number, a text that may be absent, the key's id.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    sequence: i64,
    event: String,
    number: i64,
    text: Option<String>,
    key_id: String,
    hash: Vec<u8>,
    seal: Vec<u8>,
}

impl Row {
    fn covered(&self) -> [Field<'_>; 5] {
        [
            Field::Integer(self.sequence),
            Field::Text(self.event.as_bytes()),
            Field::Integer(self.number),
            self.text.as_ref().map_or(Field::Null, |text| Field::Text(text.as_bytes())),
            Field::Text(self.key_id.as_bytes()),
        ]
    }

    fn link(&self) -> Link {
        let bytes = |bytes: &[u8]| bytes.try_into().unwrap_or_default();
        Link { sequence: self.sequence as u64, hash: bytes(&self.hash), seal: bytes(&self.seal) }
    }
}

/// A log as a database has it.
#[derive(Clone, Debug, PartialEq)]
struct Log {
    rows: Vec<Row>,
    head: Option<Head>,
}

impl Log {
    fn new(keys: &AuditKeys) -> Self {
        Self { rows: Vec::new(), head: Some(keys.current().head(STORE, &Link::genesis(STORE))) }
    }

    fn end(&self) -> Link {
        self.rows.last().map_or_else(|| Link::genesis(STORE), Row::link)
    }

    fn add(&mut self, keys: &AuditKeys, event: &str, number: i64, text: Option<&str>) {
        let end = self.end();
        let mut row = Row {
            sequence: end.sequence as i64 + 1,
            event: event.to_owned(),
            number,
            text: text.map(str::to_owned),
            key_id: keys.current().id().to_owned(),
            hash: vec![],
            seal: vec![],
        };
        let hash = end.hash_next(&row.covered());
        (row.hash, row.seal) = (hash.to_vec(), keys.current().seal(&hash).to_vec());
        self.rows.push(row);
        self.head = Some(keys.current().head(STORE, &self.end()));
    }

    fn of(entries: &[(i64, Option<String>)]) -> Self {
        let mut log = Self::new(&keys(&[1]));
        for (number, text) in entries {
            log.add(&keys(&[1]), "account.created", *number, text.as_deref());
        }
        log
    }

    fn walk(&self, keys: &AuditKeys, expected: &[Anchor]) -> AuditReport {
        let mut walk = Walk::begin(keys, STORE, Link::genesis(STORE), expected);
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| row.sequence);
        for row in rows {
            let covered = row.covered();
            walk.entry(&Columns {
                covered: &covered,
                sequence: covered[0],
                event: covered[1],
                key_id: covered[4],
                hash: Field::Blob(&row.hash),
                seal: Field::Blob(&row.seal),
            });
        }
        walk.finish(self.head.as_ref())
    }

    fn findings(&self) -> Vec<(FindingKind, i64, i64)> {
        let report = self.walk(&keys(&[1]), &[]);
        report.findings.iter().map(|found| (found.kind, found.sequence, found.last)).collect()
    }

    /// Makes every hash fit again from an entry on, as anybody can.
    fn rehash(&mut self, from: usize) {
        for at in from..self.rows.len() {
            let before = if at == 0 { Link::genesis(STORE) } else { self.rows[at - 1].link() };
            self.rows[at].hash = before.hash_next(&self.rows[at].covered()).to_vec();
        }
        let end = self.end().anchor();
        if let Some(head) = &mut self.head {
            head.end = end;
        }
    }
}

fn five() -> Log {
    Log::of(&[(1, None), (2, Some("two".to_owned())), (3, None), (4, None), (5, None)])
}

#[test]
fn a_log_as_it_was_written_holds_also_an_empty_one() {
    assert_eq!(Log::of(&[]).findings(), []);
    let report = five().walk(&keys(&[1]), &[]);
    assert_eq!((report.found, report.entries, report.head), (0, 5, five().end().anchor()));
}

#[test]
fn an_entry_that_was_removed_is_missed_wherever_it_was() {
    use FindingKind::{CutOff, Missing};
    let without = |at: usize| {
        let mut log = five();
        log.rows.remove(at);
        log.findings()
    };
    assert_eq!(without(0), [(Missing, 1, 1)]);
    assert_eq!(without(2), [(Missing, 3, 3)]);
    assert_eq!(without(4), [(CutOff, 5, 5)]);
    let mut log = five();
    log.rows.clear();
    assert_eq!(log.findings(), [(CutOff, 1, 5)]);
}

#[test]
fn entries_that_changed_places_or_were_added_are_found() {
    use FindingKind::{BeyondHead, Changed, Forged, Inserted};
    let mut log = five();
    (log.rows[1].sequence, log.rows[2].sequence) = (3, 2);
    assert!(log.findings().contains(&(Changed, 2, 2)), "{:?}", log.findings());
    let mut log = five();
    let mut row = log.rows[4].clone();
    row.sequence = 6;
    row.hash = log.end().hash_next(&row.covered()).to_vec();
    log.rows.push(row.clone());
    assert_eq!(log.findings(), [(Forged, 6, 6), (BeyondHead, 6, 6)]);
    for number in [0, -1, i64::MIN] {
        row.sequence = number;
        *log.rows.last_mut().unwrap() = row.clone();
        assert_eq!(log.findings(), [(Inserted, number, number)]);
    }
}

#[test]
fn a_chain_that_was_made_anew_without_the_key_is_found() {
    use FindingKind::{Forged, HeadForged};
    let mut log = five();
    log.rows[1].number = 9;
    log.rehash(1);
    let found = log.findings();
    let forged: Vec<_> = (2..=5).map(|at| (Forged, at, at)).chain([(HeadForged, 5, 5)]).collect();
    assert_eq!(found, forged);
    // Under a key that nobody knows, nothing vouches for it.
    for row in &mut log.rows {
        row.key_id = "k9".to_owned();
    }
    log.rehash(0);
    log.head.as_mut().unwrap().key_id = "k9".to_owned();
    assert_eq!(log.findings(), [(FindingKind::UnknownKey, 1, 5)]);
}

#[test]
fn a_head_that_is_gone_or_of_another_log_is_found() {
    use FindingKind::{CutOff, HeadForged, HeadMissing};
    let mut log = five();
    log.head = None;
    assert_eq!(log.findings(), [(HeadMissing, 5, 5)]);
    log.head = Some(keys(&[1]).current().head("another store", &log.end()));
    assert_eq!(log.findings(), [(HeadForged, 5, 5)]);
    let mut cut = five();
    cut.rows.pop();
    cut.head.as_mut().unwrap().end = cut.end().anchor();
    assert_eq!(cut.findings(), [(HeadForged, 4, 4)]);
    let mut cut = five();
    cut.rows.truncate(2);
    assert_eq!(cut.findings(), [(CutOff, 3, 5)]);
}

#[test]
fn a_log_put_back_with_its_head_is_found_by_what_was_kept_outside() {
    let kept = five().end().anchor();
    let mut earlier = Log::of(&[(1, None)]);
    assert_eq!(earlier.findings(), []);
    let found = |log: &Log| log.walk(&keys(&[1]), &[kept]).findings;
    assert_eq!(found(&earlier)[0].kind, FindingKind::Unexpected);
    for number in 6..10 {
        earlier.add(&keys(&[1]), "account.created", number, None);
    }
    assert_eq!(found(&earlier)[0].kind, FindingKind::Unexpected, "gone on with in another way");
    assert_eq!(found(&five()), []);
    assert_eq!(kept.to_string().parse(), Ok(kept));
    assert!(["", "1", "1:00", "x:00"].iter().all(|text| text.parse::<Anchor>().is_err()));
}

#[test]
fn keys_can_be_changed_and_given_up_later() {
    let mut log = five();
    log.add(&keys(&[2, 1]), "account.created", 6, None);
    for known in [&[2, 1][..], &[1, 2], &[3, 2, 1]] {
        let report = log.walk(&keys(known), &[]);
        assert_eq!((report.found, report.given_up_keys.len()), (0, 0), "{known:?}");
    }
    let report = log.walk(&keys(&[2]), &[]);
    assert_eq!((report.found, report.given_up_keys), (0, vec!["k1".to_owned()]));
    // What the key that was given up had sealed is held by what came after it.
    let mut changed = log.clone();
    changed.rows[1].number = 9;
    changed.rehash(1);
    assert!(changed.walk(&keys(&[2]), &[]).found > 0);
    let mut changed = log.clone();
    changed.rows[1].seal[0] ^= 1;
    assert!(changed.walk(&keys(&[2]), &[]).found > 0, "its seal, too");
    assert_eq!(log.walk(&keys(&[3]), &[]).findings[0].kind, FindingKind::UnknownKey);
}

#[test]
fn no_two_rows_are_encoded_alike() {
    let hash = |fields: &[Field<'_>]| Link::genesis(STORE).hash_next(fields);
    let rows = [
        vec![Field::Text(b"ab"), Field::Text(b"c")],
        vec![Field::Text(b"a"), Field::Text(b"bc")],
        vec![Field::Text(b"abc"), Field::Text(b"")],
        vec![Field::Text(b"abc"), Field::Null],
        vec![Field::Null, Field::Text(b"abc")],
        vec![Field::Blob(b"abc"), Field::Null],
        vec![Field::Integer(0), Field::Null],
        vec![Field::Real(0.0), Field::Null],
        vec![Field::Text(&[0; 8]), Field::Null],
    ];
    let hashes: std::collections::HashSet<_> = rows.iter().map(|row| hash(row)).collect();
    assert_eq!(hashes.len(), rows.len());
}

#[test]
fn many_findings_are_counted_and_a_hundred_shown() {
    let mut log = Log::of(&vec![(1, None); 300]);
    for row in &mut log.rows {
        row.number = 2;
    }
    let report = log.walk(&keys(&[1]), &[]);
    assert_eq!((report.found, report.findings.len()), (300, 100));
}

#[test]
fn neither_key_nor_seal_is_in_debug() {
    assert_eq!(format!("{:?}", keys(&[1, 2])), "AuditKeys(k1, k2, redacted)");
}

/// Something that whoever has the database can do.
#[derive(Clone, Debug)]
enum Deed {
    Number(usize, i64),
    Text(usize, Option<String>),
    Event(usize, String),
    Key(usize, String),
    Hash(usize, usize, u8),
    Seal(usize, usize, u8),
    Renumber(usize, i64),
    Remove(usize),
    Swap(usize, usize),
    Copy(usize, i64),
    Truncate(usize),
    Head(u64),
    NoHead,
    Rehash(usize),
}

fn deeds() -> impl Strategy<Value = Deed> {
    let at = 0..8_usize;
    let sequence = -1..10_i64;
    let text = prop::option::of("[a-c]{0,2}");
    prop_oneof![
        (at.clone(), -2..3_i64).prop_map(|(at, number)| Deed::Number(at, number)),
        (at.clone(), text).prop_map(|(at, text)| Deed::Text(at, text)),
        (at.clone(), "[a-c]{0,2}").prop_map(|(at, text)| Deed::Event(at, text)),
        (at.clone(), "k[0-2]").prop_map(|(at, key)| Deed::Key(at, key)),
        (at.clone(), 0..32_usize, any::<u8>())
            .prop_map(|(at, byte, bits)| Deed::Hash(at, byte, bits)),
        (at.clone(), 0..32_usize, any::<u8>())
            .prop_map(|(at, byte, bits)| Deed::Seal(at, byte, bits)),
        (at.clone(), sequence.clone()).prop_map(|(at, to)| Deed::Renumber(at, to)),
        at.clone().prop_map(Deed::Remove),
        (at.clone(), at.clone()).prop_map(|(one, other)| Deed::Swap(one, other)),
        (at.clone(), sequence).prop_map(|(at, to)| Deed::Copy(at, to)),
        at.clone().prop_map(Deed::Truncate),
        (0..10_u64).prop_map(Deed::Head),
        Just(Deed::NoHead),
        at.prop_map(Deed::Rehash),
    ]
}

fn perform(log: &mut Log, deed: &Deed) {
    let len = log.rows.len();
    let taken = |log: &Log, to: i64| log.rows.iter().any(|row| row.sequence == to);
    match deed.clone() {
        Deed::Number(at, number) if at < len => log.rows[at].number = number,
        Deed::Text(at, text) if at < len => log.rows[at].text = text,
        Deed::Event(at, text) if at < len => log.rows[at].event = text,
        Deed::Key(at, key) if at < len => log.rows[at].key_id = key,
        Deed::Hash(at, byte, bits) if at < len => log.rows[at].hash[byte] ^= bits,
        Deed::Seal(at, byte, bits) if at < len => log.rows[at].seal[byte] ^= bits,
        Deed::Renumber(at, to) if at < len && !taken(log, to) => log.rows[at].sequence = to,
        Deed::Remove(at) if at < len => drop(log.rows.remove(at)),
        Deed::Swap(one, other) if one < len && other < len => {
            let (first, second) = (log.rows[one].sequence, log.rows[other].sequence);
            (log.rows[one].sequence, log.rows[other].sequence) = (second, first);
        }
        Deed::Copy(at, to) if at < len && !taken(log, to) => {
            let row = Row { sequence: to, ..log.rows[at].clone() };
            log.rows.push(row);
        }
        Deed::Truncate(to) => log.rows.truncate(to),
        Deed::Head(sequence) => {
            if let Some(head) = &mut log.head {
                head.end.sequence = sequence;
            }
        }
        Deed::NoHead => log.head = None,
        Deed::Rehash(from) => {
            log.rows.sort_by_key(|row| row.sequence);
            log.rehash(from);
        }
        _ => {}
    }
    log.rows.sort_by_key(|row| row.sequence);
}

proptest! {
    #[test]
    fn whatever_is_done_without_the_key_is_found_and_nothing_else_is(
        entries in prop::collection::vec((-2..3_i64, prop::option::of("[a-c]{0,2}")), 0..8),
        deeds in prop::collection::vec(deeds(), 1..6),
    ) {
        let before = Log::of(&entries);
        let mut log = before.clone();
        for deed in &deeds {
            perform(&mut log, deed);
        }
        let report = log.walk(&keys(&[1]), &[]);
        prop_assert_eq!(report.found == 0, log == before, "{:?}", report);
    }
}
