//! Documents survive the way there and back, and nothing that happens to them goes unnoticed.

use std::io::{self, Read};

use proptest::prelude::*;

use super::*;
use crate::core::digest::{Digest, DigestKey, DigestKeys};
use crate::core::record::{
    AccountRecord, AccountState, Action, Category, Grant, IdRecord, IpRule, Licence, Plan,
    TokenRecord, TokenState, TokenUser, Verifier,
};
use crate::feed::Frame;
use crate::store::Bulk;

fn key() -> DigestKey {
    DigestKey::new("k1", [7; 32])
}

fn keys() -> DigestKeys {
    DigestKeys::new(DigestKey::new("k2", [8; 32]), vec![key()])
}

fn header(records: &[Record]) -> Header {
    let mut counts = Counts::default();
    records.iter().for_each(|record| counts.add(record));
    Header { key_id: "k1".to_owned(), cursor: cursor(), made_at: Timestamp(1_767_225_600), counts }
}

fn cursor() -> Cursor {
    Cursor::new("abc123".to_owned(), 3, u64::MAX).unwrap()
}

fn written(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, &header(records), records.iter().cloned(), &key()).unwrap();
    bytes
}

fn read_all(bytes: &[u8]) -> Result<(Header, Vec<Record>), SnapshotError> {
    let (header, mut records) = read(bytes, &keys())?;
    let all = records.by_ref().collect::<Result<_, _>>()?;
    records.expect_end()?;
    Ok((header, all))
}

/// One of each kind, with everything that it can have.
fn samples() -> Vec<Record> {
    let grant = Grant {
        permission_set: "developer".to_owned(),
        project_id: Some(u64::MAX),
        writable_environment_categories: Category::ALL.to_vec(),
    };
    let token = |verifier, user| TokenRecord {
        id: 1,
        account_id: 2,
        user,
        state: TokenState::Revoked,
        not_before: Some(Timestamp(i64::MIN)),
        expires_at: Some(Timestamp(i64::MAX)),
        allow_ips: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        grants: vec![grant.clone(), Grant { project_id: None, ..grant.clone() }],
        verifier,
        version: 1 << 40,
    };
    let user = Some(TokenUser { id: 7, licence: Licence::It });
    let rule = |action, cidr: &str| IpRule {
        action,
        cidr: cidr.parse().unwrap(),
        name: "büro".to_owned(),
    };
    let digest = Verifier::Digest { key_id: "k1".to_owned(), digest: Digest([9; 32]) };
    let hash = Verifier::Hash { encoded: "$2b$12$x".to_owned(), selector: Some("ab".to_owned()) };
    vec![
        Record::Account(AccountRecord {
            id: 2,
            plan: Plan::EnterprisePlus,
            state: AccountState::Closed,
            ip_rules_enabled: true,
            ip_rules: vec![rule(Action::Allow, "0.0.0.0/0"), rule(Action::Deny, "::/0")],
            projects: vec![0, 127, 128, u64::MAX],
        }),
        Record::Token(token(digest, user)),
        Record::Token(token(Verifier::Sha256([3; 32]), None)),
        Record::Token(token(hash, None)),
        Record::Token(token(Verifier::Introspect { selector: None }, user)),
        Record::Id(IdRecord {
            account_id: 2,
            index: "job_id".to_owned(),
            id: 77,
            project_id: 128,
            environment_category: Some(Category::Other),
        }),
        Record::IdRemoved { account_id: 2, index: "job_id".to_owned(), id: 78 },
    ]
}

/// Many, so that there are several chunks.
fn many() -> Vec<Record> {
    samples().into_iter().cycle().take(5_000).collect()
}

#[test]
fn what_is_written_is_read_again() {
    for records in [vec![], samples(), many()] {
        let bytes = written(&records);
        let (found, all) = read_all(&bytes).unwrap();
        assert_eq!(found, header(&records));
        assert!(all == records);
        assert_eq!(inspect(&bytes[..]).unwrap(), found);
    }
    assert!(written(&many()).len() > 4 * CHUNK_BYTES);
}

#[test]
fn a_snapshot_that_is_cut_off_anywhere_is_refused() {
    let bytes = written(&samples());
    assert!(matches!(read_all(&[]), Err(SnapshotError::Truncated { at: 0 })));
    for length in 1..bytes.len() {
        let error = read_all(&bytes[..length]).unwrap_err();
        assert!(matches!(error, SnapshotError::Truncated { .. }), "{length}: {error}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(matches!(read_all(&longer), Err(SnapshotError::Trailing)));
}

#[test]
fn a_byte_that_is_another_is_noticed_wherever_it_is() {
    let bytes = written(&samples());
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x40;
        assert!(read_all(&damaged).is_err(), "byte {position}");
    }
}

/// Changes a byte of a chunk's payload and makes its checksum right again.
fn forge(bytes: &mut [u8], chunk: usize, change: impl FnOnce(&mut [u8])) {
    let mut at = MAGIC.len() + 2;
    for _ in 0..chunk {
        at += 9 + u32::from_le_bytes(bytes[at + 1..at + 5].try_into().unwrap()) as usize;
    }
    let length = u32::from_le_bytes(bytes[at + 1..at + 5].try_into().unwrap()) as usize;
    let (head, rest) = bytes[at..].split_at_mut(5);
    change(&mut rest[..length]);
    let checksum = seal::checksum(head, &rest[..length]);
    rest[length..length + 4].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn a_change_with_a_right_checksum_is_told_by_the_seal() {
    let record = Record::IdRemoved { account_id: 2, index: "job_id".to_owned(), id: 78 };
    let mut bytes = written(&[record]);
    forge(&mut bytes, 1, |payload| *payload.last_mut().unwrap() += 1);
    let error = read_all(&bytes).unwrap_err();
    assert!(matches!(&error, SnapshotError::Forged { id } if id == "k1"), "{error}");
}

#[test]
fn a_snapshot_under_another_key_is_not_believed() {
    let bytes = written(&samples());
    let stranger = DigestKeys::new(DigestKey::new("k9", [7; 32]), vec![]);
    let unknown = read(&bytes[..], &stranger).err().unwrap();
    assert!(matches!(&unknown, SnapshotError::UnknownKey { id } if id == "k1"), "{unknown}");
    let renamed = DigestKeys::new(DigestKey::new("k1", [6; 32]), vec![]);
    let last = read(&bytes[..], &renamed).unwrap().1.last().unwrap();
    assert!(matches!(last, Err(SnapshotError::Forged { .. })), "{last:?}");
    assert!(inspect(&bytes[..]).is_ok(), "its header can be looked at all the same");
}

#[test]
fn a_snapshot_must_hold_as_much_as_its_header_says() {
    let records = samples();
    let mut out = Vec::new();
    let missing = write(&mut out, &header(&records), records[1..].iter().cloned(), &key());
    assert!(matches!(missing, Err(SnapshotError::Miscounted)), "{missing:?}");
    let mut bytes = written(&records);
    // The counts are the last three numbers of the head.
    forge(&mut bytes, 0, |payload| *payload.last_mut().unwrap() += 1);
    assert!(read_all(&bytes).is_err());
}

#[test]
fn what_is_no_snapshot_is_told_apart() {
    assert!(matches!(read_all(b"SQLite format 3\0"), Err(SnapshotError::NotASnapshot)));
    assert!(matches!(read_all(b"x"), Err(SnapshotError::NotASnapshot)));
    let mut newer = written(&[]);
    newer[MAGIC.len()] = 2;
    assert!(matches!(read_all(&newer), Err(SnapshotError::Version { found: 2 })));
    let mut frame = Vec::new();
    let empty = Frame { records: vec![], cursor: cursor(), bulk: Bulk::Nothing };
    write_frame(&mut frame, 0, &empty, &key()).unwrap();
    let error = read_all(&frame).unwrap_err();
    assert_eq!(error.to_string(), "it is a frame, not a snapshot");
}

/// Input that says that a chunk is long and never brings it.
struct Endless {
    head: Vec<u8>,
    given: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.head.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.head[..count]);
        self.head.drain(..count);
        self.given += count;
        Ok(count)
    }
}

#[test]
fn a_length_alone_makes_no_room_and_one_past_the_limit_is_refused() {
    let begin = &written(&[])[..MAGIC.len() + 2];
    let with_length = |length: u32| [begin, &seal::chunk_head(HEAD, length)].concat();
    let mut short = Endless { head: with_length(CHUNK_LIMIT as u32), given: 0 };
    assert!(matches!(inspect(&mut short), Err(SnapshotError::Truncated { .. })));
    let long = inspect(&with_length(CHUNK_LIMIT as u32 + 1)[..]).unwrap_err();
    assert!(matches!(long, SnapshotError::Damaged { .. }), "{long}");
    // A list of more things than there are bytes for is refused before room is made for it.
    let mut bytes = vec![1];
    bytes::put_number(&mut bytes, 2);
    bytes.extend([1, 1, 0]);
    bytes::put_number(&mut bytes, u64::MAX);
    assert_eq!(record::take(&bytes), Err("a list is longer than its bytes"));
}

#[test]
fn a_record_that_no_chunk_could_hold_is_refused_by_name() {
    let Record::Account(account) = samples().swap_remove(0) else { unreachable!() };
    let projects = (0..CHUNK_LIMIT as u64).collect();
    let large = [Record::Account(AccountRecord { projects, ..account })];
    let error = write(io::sink(), &header(&large), large.iter().cloned(), &key()).unwrap_err();
    assert!(error.to_string().starts_with("account 2 is larger"), "{error}");
}

#[test]
fn frames_follow_one_another_until_one_was_cut_off() {
    let frames = [
        Frame { records: samples(), cursor: cursor(), bulk: Bulk::Nothing },
        Frame { records: vec![], cursor: cursor(), bulk: Bulk::Going },
        Frame { records: samples(), cursor: cursor(), bulk: Bulk::Done },
    ];
    let mut bytes = Vec::new();
    for (after, frame) in frames.iter().enumerate() {
        write_frame(&mut bytes, after as u64, frame, &key()).unwrap();
    }
    let mut input = &bytes[..];
    for (number, frame) in frames.iter().enumerate() {
        let (after, found) = read_frame(&mut input, &keys()).unwrap().unwrap();
        assert_eq!((after, found.bulk, &found.cursor), (number as u64, frame.bulk, &frame.cursor));
        assert!(found.records == frame.records);
    }
    assert!(read_frame(&mut input, &keys()).unwrap().is_none());
    let mut torn = &bytes[..bytes.len() - 1];
    assert!(read_frame(&mut torn, &keys()).is_ok() && read_frame(&mut torn, &keys()).is_ok());
    assert!(matches!(read_frame(&mut torn, &keys()), Err(SnapshotError::Truncated { .. })));
}

#[test]
fn errors_and_headers_say_nothing_of_what_is_in_records() {
    let bytes = written(&samples());
    let shown = format!("{:?}", read_all(&bytes).unwrap());
    assert!(!shown.contains("$2b$12$x") && !shown.contains("0303"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_are_too_much_to_ask(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = record::take(&bytes);
        let _ = read_all(&bytes);
        let _ = read_frame(&bytes[..], &keys());
    }

    #[test]
    fn a_record_has_one_form(position in 0_usize..7, change in any::<u8>(), at in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        record::put(&mut bytes, &samples()[position]);
        let at = at.index(bytes.len());
        bytes[at] = change;
        if let Ok(record) = record::take(&bytes) {
            let mut again = Vec::new();
            record::put(&mut again, &record);
            prop_assert_eq!(again, bytes);
        }
    }
}
