//! The chain of the audit log: what the hash and the seal of an entry are made of.
//!
//! An entry's hash covers every column of it, and hash and seal of the entry before. Its seal is
//! the hash under a key that the store does not hold: whoever can write the database alone can
//! make hashes that fit, but no seals. As the next entry covers both, an entry under a key that
//! has been given up since is still vouched for by those that came after it. A sealed head says
//! where the log ends.

use std::fmt;
use std::str::FromStr;

use blake3::Hasher;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::core::digest::{DigestKey, DigestKeys};

/// Purposes of the hashes. What is released is never changed: it would break every chain.
const ENTRY: &str = "portcullis audit log 1: hash of an entry";
const GENESIS: &str = "portcullis audit log 1: before the first entry";
const ENTRY_SEAL: &str = "portcullis audit log 1: seal of an entry";
const HEAD_SEAL: &str = "portcullis audit log 1: seal of the head";
const FINGERPRINT: &str = "portcullis audit log 1: fingerprint of a token";

/// Bytes of a fingerprint.
const FINGERPRINT_BYTES: usize = 16;

/// What is in a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::store) enum Field<'f> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'f [u8]),
    Blob(&'f [u8]),
}

impl Field<'_> {
    /// Each kind has its letter and each length is said, so that no two rows are alike.
    fn feed(&self, hasher: &mut Hasher) {
        let (kind, bytes): (u8, &[u8]) = match self {
            Self::Null => (b'n', &[]),
            Self::Integer(number) => (b'i', &number.to_le_bytes()),
            Self::Real(number) => (b'r', &number.to_le_bytes()),
            Self::Text(bytes) => (b't', bytes),
            Self::Blob(bytes) => (b'b', bytes),
        };
        hasher.update(&[kind]);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
}

/// Where a chain can be gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Link {
    pub(in crate::store) sequence: u64,
    pub(in crate::store) hash: [u8; 32],
    pub(in crate::store) seal: [u8; 32],
}

impl Link {
    /// Before the first entry of a store, whose chain fits no other store.
    pub(in crate::store) fn genesis(store: &str) -> Self {
        let mut hasher = Hasher::new_derive_key(GENESIS);
        hasher.update(store.as_bytes());
        Self { sequence: 0, hash: *hasher.finalize().as_bytes(), seal: [0; 32] }
    }

    /// The hash of an entry that follows, with these columns.
    pub(in crate::store) fn hash_next(&self, columns: &[Field<'_>]) -> [u8; 32] {
        let mut hasher = Hasher::new_derive_key(ENTRY);
        hasher.update(&self.hash);
        hasher.update(&self.seal);
        for column in columns {
            column.feed(&mut hasher);
        }
        *hasher.finalize().as_bytes()
    }

    /// What can be kept outside.
    pub(in crate::store) fn anchor(&self) -> Anchor {
        Anchor { sequence: self.sequence, hash: self.hash }
    }
}

/// An entry's number and hash. Kept elsewhere, it tells later whether the log up to there is
/// still the one that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anchor {
    /// Number of the entry; 0 before the first.
    pub sequence: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// Why a text is no anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not SEQUENCE:HASH as `portcullis audit verify` prints the head")]
pub struct AnchorError;

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, hex::encode(self.hash))
    }
}

impl FromStr for Anchor {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let (sequence, digits) = text.split_once(':').ok_or(AnchorError)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).map_err(|_| AnchorError)?;
        Ok(Self { sequence: sequence.parse().map_err(|_| AnchorError)?, hash })
    }
}

/// The end of the log, sealed, so that nothing can be cut off there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Head {
    pub(in crate::store) end: Anchor,
    pub(in crate::store) key_id: String,
    pub(in crate::store) seal: [u8; 32],
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.end, self.key_id, hex::encode(self.seal))
    }
}

impl FromStr for Head {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let (rest, digits) = text.rsplit_once(':').ok_or(AnchorError)?;
        let (end, key_id) = rest.rsplit_once(':').ok_or(AnchorError)?;
        let mut seal = [0; 32];
        hex::decode_to_slice(digits, &mut seal).map_err(|_| AnchorError)?;
        Ok(Self { end: end.parse()?, key_id: key_id.to_owned(), seal })
    }
}

/// What seals the audit log: derived from the keys of the digests, the current one first.
#[derive(Clone)]
pub struct AuditKeys {
    current: AuditKey,
    previous: Vec<AuditKey>,
}

/// Keys of one id.
#[derive(Clone)]
pub(in crate::store) struct AuditKey {
    id: String,
    entry: Zeroizing<[u8; 32]>,
    head: Zeroizing<[u8; 32]>,
    fingerprint: Zeroizing<[u8; 32]>,
}

impl From<&DigestKeys> for AuditKeys {
    fn from(keys: &DigestKeys) -> Self {
        let mut all = keys.iter().map(AuditKey::of);
        let current = all.next().expect("invariant: there is a current key");
        Self { current, previous: all.collect() }
    }
}

impl fmt::Debug for AuditKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.iter().map(|key| key.id.as_str()).collect();
        write!(f, "AuditKeys({}, redacted)", ids.join(", "))
    }
}

impl AuditKeys {
    pub(in crate::store) fn current(&self) -> &AuditKey {
        &self.current
    }

    pub(in crate::store) fn find(&self, id: &[u8]) -> Option<&AuditKey> {
        self.iter().find(|key| key.id.as_bytes() == id)
    }

    /// Whether the head is sealed by a key of these, and where the chain ends.
    pub(in crate::store) fn check_head(&self, head: &Head, store: &str, end: &Link) -> HeadCheck {
        match self.find(head.key_id.as_bytes()) {
            None => HeadCheck::UnknownKey,
            Some(key) if bool::from(key.seal_head(store, end).ct_eq(&head.seal)) => HeadCheck::Good,
            Some(_) => HeadCheck::Wrong,
        }
    }

    pub(super) fn fingerprints_of(&self, verifier: [u8; 32]) -> impl Iterator<Item = String> {
        self.iter().map(move |key| {
            let hash = blake3::keyed_hash(&key.fingerprint, &verifier);
            format!("{}:{}", key.id, hex::encode(&hash.as_bytes()[..FINGERPRINT_BYTES]))
        })
    }

    fn iter(&self) -> impl Iterator<Item = &AuditKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

/// What a head is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum HeadCheck {
    Good,
    UnknownKey,
    Wrong,
}

impl AuditKey {
    fn of(key: &DigestKey) -> Self {
        Self {
            id: key.id().to_owned(),
            entry: key.derive(ENTRY_SEAL),
            head: key.derive(HEAD_SEAL),
            fingerprint: key.derive(FINGERPRINT),
        }
    }

    pub(in crate::store) fn id(&self) -> &str {
        &self.id
    }

    /// The seal of the entry with this hash.
    pub(in crate::store) fn seal(&self, hash: &[u8; 32]) -> [u8; 32] {
        *blake3::keyed_hash(&self.entry, hash).as_bytes()
    }

    /// The head of a log that ends here.
    pub(in crate::store) fn head(&self, store: &str, end: &Link) -> Head {
        Head { end: end.anchor(), key_id: self.id.clone(), seal: self.seal_head(store, end) }
    }

    fn seal_head(&self, store: &str, end: &Link) -> [u8; 32] {
        let mut hasher = Hasher::new_keyed(&self.head);
        hasher.update(&end.sequence.to_le_bytes());
        hasher.update(&end.hash);
        hasher.update(&end.seal);
        hasher.update(store.as_bytes());
        *hasher.finalize().as_bytes()
    }
}
