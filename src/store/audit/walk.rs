//! Going along the chain of the audit log, and finding where it does not hold.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use subtle::ConstantTimeEq;

use super::chain::{Anchor, AuditKeys, Field, Head, HeadCheck, Link};

/// Most findings that are kept; further ones are counted.
const FINDINGS_LIMIT: usize = 100;
/// Written by a writer that found the end of the log not to be as it had been left.
pub(in crate::store) const BROKEN_EVENT: &str = "audit.broken";

/// The columns of an entry that its hash covers, and the two that hold it.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Columns<'r> {
    /// All but hash and seal, in the order of the table.
    pub(in crate::store) covered: &'r [Field<'r>],
    pub(in crate::store) sequence: Field<'r>,
    pub(in crate::store) event: Field<'r>,
    pub(in crate::store) key_id: Field<'r>,
    pub(in crate::store) hash: Field<'r>,
    pub(in crate::store) seal: Field<'r>,
}

/// What is wrong with the log, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The first entry that it is about.
    pub sequence: i64,
    /// The last one.
    pub last: i64,
    /// What it is.
    pub kind: FindingKind,
    /// The key that is not known, where that is what is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A column is not what it was, or the entry is not where it was.
    Changed,
    /// The hash fits and the seal does not: written by somebody without the key.
    Forged,
    /// Entries are not there.
    Missing,
    /// An entry has a number that none is ever given.
    Inserted,
    /// Entries at the end are not there.
    CutOff,
    /// There are entries after the end.
    BeyondHead,
    /// There is no head, or it is no head.
    HeadMissing,
    /// The head was not sealed with the key that it names.
    HeadForged,
    /// The entries are sealed by a key that is not known, and none after them vouches for them.
    UnknownKey,
    /// The entry is not the one that was expected, or is not there.
    Unexpected,
    /// A writer found the log broken before this entry.
    FoundBroken,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, last, kind, key_id } = self;
        let entries = if sequence == last {
            format!("entry {sequence}")
        } else {
            format!("entries {sequence} to {last}")
        };
        let key = key_id.as_deref().unwrap_or("?");
        match kind {
            FindingKind::Changed => write!(f, "{entries}: changed or moved since it was written"),
            FindingKind::Forged => {
                write!(f, "{entries}: written by somebody who does not have the key")
            }
            FindingKind::Missing => write!(f, "{entries}: removed"),
            FindingKind::Inserted => write!(f, "{entries}: inserted"),
            FindingKind::CutOff => write!(f, "{entries}: removed from the end"),
            FindingKind::BeyondHead => write!(f, "{entries}: added after the end"),
            FindingKind::HeadMissing => write!(f, "{entries}: the sealed head of the log is gone"),
            FindingKind::HeadForged => {
                write!(f, "{entries}: the head of the log was changed by somebody without the key")
            }
            FindingKind::UnknownKey => write!(
                f,
                "{entries}: sealed by key {key}, which is not in digest.key, and nothing later \
                 vouches for it: put the key back, after the current one"
            ),
            FindingKind::Unexpected => write!(f, "{entries}: not the one that is expected there"),
            FindingKind::FoundBroken => {
                write!(f, "{entries}: says that the log was found broken before it")
            }
        }
    }
}

/// What came of going along the whole log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Entries that were looked at.
    pub entries: u64,
    /// The last of them; to be kept elsewhere.
    pub head: Anchor,
    /// What was found, in order; at most a hundred.
    pub findings: Vec<Finding>,
    /// How many there are.
    pub found: u64,
    /// Keys that are no longer known and whose entries later ones vouch for.
    pub given_up_keys: Vec<String>,
}

/// A walk along the log.
pub(in crate::store) struct Walk<'k> {
    keys: &'k AuditKeys,
    store: &'k str,
    previous: Link,
    expected: BTreeMap<u64, [u8; 32]>,
    /// Entries under unknown keys for which nothing later vouches yet.
    open: Option<Finding>,
    report: AuditReport,
}

impl<'k> Walk<'k> {
    /// From what follows `start` on. Whatever is `expected` must be found on the way.
    pub(in crate::store) fn begin(
        keys: &'k AuditKeys,
        store: &'k str,
        start: Link,
        expected: &[Anchor],
    ) -> Self {
        let mut walk = Self {
            keys,
            store,
            previous: start,
            expected: BTreeMap::new(),
            open: None,
            report: AuditReport {
                entries: 0,
                head: start.anchor(),
                findings: Vec::new(),
                found: 0,
                given_up_keys: Vec::new(),
            },
        };
        for anchor in expected {
            let before = walk.expected.insert(anchor.sequence, anchor.hash);
            if before.is_some_and(|hash| hash != anchor.hash) {
                walk.find(FindingKind::Unexpected, anchor.sequence as i64);
            }
        }
        walk.meet(&start);
        walk
    }

    /// The next entry, by ascending number.
    pub(in crate::store) fn entry(&mut self, columns: &Columns<'_>) {
        self.report.entries += 1;
        let Field::Integer(number) = columns.sequence else {
            return self.find(FindingKind::Inserted, 0);
        };
        let next = self.previous.sequence as i64 + 1;
        if number < next {
            return self.find(FindingKind::Inserted, number);
        }
        if number > next {
            self.find_all(FindingKind::Missing, next, number - 1);
        }
        let (hash, seal) = (bytes(columns.hash), bytes(columns.seal));
        // After a gap nothing can tell what this entry's hash should be; its seal is checked.
        let follows = number == next;
        let holds = !follows || hash == Some(self.previous.hash_next(columns.covered));
        let link = Link {
            sequence: number as u64,
            hash: hash.unwrap_or_default(),
            seal: seal.unwrap_or_default(),
        };
        if holds && hash.is_some() && seal.is_some() {
            self.check_seal(columns.key_id, &link, follows);
        } else {
            self.find(FindingKind::Changed, number);
        }
        if columns.event == Field::Text(BROKEN_EVENT.as_bytes()) {
            self.find(FindingKind::FoundBroken, number);
        }
        self.meet(&link);
        self.previous = link;
    }

    /// The end, where the head should be.
    pub(in crate::store) fn finish(mut self, head: Option<&Head>) -> AuditReport {
        let end = self.previous.sequence as i64;
        match head {
            None => self.find(FindingKind::HeadMissing, end),
            Some(head) => self.check_head(head),
        }
        if let Some(open) = self.open.take() {
            self.push(open);
        }
        for sequence in std::mem::take(&mut self.expected).into_keys() {
            self.find(FindingKind::Unexpected, sequence as i64);
        }
        self.report.head = self.previous.anchor();
        self.report
    }

    fn check_seal(&mut self, key_id: Field<'_>, link: &Link, follows: bool) {
        let Field::Text(key_id) = key_id else {
            return self.find(FindingKind::Changed, link.sequence as i64);
        };
        match self.keys.find(key_id) {
            Some(key) if bool::from(key.seal(&link.hash).ct_eq(&link.seal)) => {
                if follows {
                    self.vouch();
                }
            }
            Some(_) => self.find(FindingKind::Forged, link.sequence as i64),
            None => self.leave_open(key_id, link.sequence as i64),
        }
    }

    fn check_head(&mut self, head: &Head) {
        let (end, said) = (self.previous.sequence as i64, head.end.sequence as i64);
        if said > end {
            return self.find_all(FindingKind::CutOff, end + 1, said);
        }
        if said < end {
            return self.find_all(FindingKind::BeyondHead, said + 1, end);
        }
        if head.end.hash != self.previous.hash {
            return self.find(FindingKind::HeadForged, end);
        }
        match self.keys.check_head(head, self.store, &self.previous) {
            HeadCheck::Good => self.vouch(),
            HeadCheck::Wrong => self.find(FindingKind::HeadForged, end),
            HeadCheck::UnknownKey => self.leave_open(head.key_id.as_bytes(), end),
        }
    }

    /// Notes an entry that only a later one can vouch for.
    fn leave_open(&mut self, key_id: &[u8], sequence: i64) {
        let open = self.open.get_or_insert(Finding {
            sequence,
            last: sequence,
            kind: FindingKind::UnknownKey,
            key_id: None,
        });
        open.last = sequence;
        // The first is enough to say: there is one for as long as a key is in use.
        open.key_id.get_or_insert_with(|| String::from_utf8_lossy(key_id).into_owned());
    }

    /// A good seal holds for everything that it follows without a gap.
    fn vouch(&mut self) {
        let Some(key_id) = self.open.take().and_then(|open| open.key_id) else { return };
        let known = &mut self.report.given_up_keys;
        if !known.contains(&key_id) && known.len() < FINDINGS_LIMIT {
            known.push(key_id);
        }
    }

    fn meet(&mut self, link: &Link) {
        let expected = self.expected.remove(&link.sequence);
        if expected.is_some_and(|hash| hash != link.hash) {
            self.find(FindingKind::Unexpected, link.sequence as i64);
        }
    }

    fn find(&mut self, kind: FindingKind, sequence: i64) {
        self.find_all(kind, sequence, sequence);
    }

    fn find_all(&mut self, kind: FindingKind, sequence: i64, last: i64) {
        self.push(Finding { sequence, last, kind, key_id: None });
    }

    fn push(&mut self, finding: Finding) {
        self.report.found += 1;
        if self.report.findings.len() < FINDINGS_LIMIT {
            self.report.findings.push(finding);
        }
    }
}

fn bytes(field: Field<'_>) -> Option<[u8; 32]> {
    match field {
        Field::Blob(bytes) => bytes.try_into().ok(),
        _ => None,
    }
}
