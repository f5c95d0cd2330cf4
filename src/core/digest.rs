//! The keyed digest by which a token is looked up, and the keys it is made with.
//!
//! A store that leaks holds digests under a key that it does not hold: they cannot be searched
//! by trying candidate tokens, and nobody outside can choose where in the index a token lands.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Keyed BLAKE3 digest of a token's secret, 32 bytes.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(#[serde(with = "hex::serde")] pub [u8; 32]);

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(redacted)")
    }
}

/// One key of `digest.key`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DigestKey {
    id: String,
    key: [u8; 32],
}

impl DigestKey {
    /// A key under the id that digests made with it carry.
    pub fn new(id: impl Into<String>, key: [u8; 32]) -> Self {
        Self { id: id.into(), key }
    }

    /// The id, which is not a secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Digest of a secret under this key.
    pub fn digest(&self, secret: &[u8]) -> Digest {
        Digest(*blake3::keyed_hash(&self.key, secret).as_bytes())
    }

    /// A key for another purpose, which tells nothing about this one or that of any other purpose.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(purpose, &self.key))
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DigestKey({}, redacted)", self.id)
    }
}

/// The keys in use: the first makes new digests, all of them verify.
#[derive(Clone, Debug)]
pub struct DigestKeys {
    current: DigestKey,
    previous: Vec<DigestKey>,
}

impl DigestKeys {
    /// `current` makes new digests; `previous` still verify.
    pub fn new(current: DigestKey, previous: Vec<DigestKey>) -> Self {
        Self { current, previous }
    }

    /// The key that new digests are made with.
    pub fn current(&self) -> &DigestKey {
        &self.current
    }

    /// The keys that still verify.
    pub fn previous(&self) -> &[DigestKey] {
        &self.previous
    }

    /// Every key, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &DigestKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// The key of that id.
    pub fn find(&self, id: &str) -> Option<&DigestKey> {
        self.iter().find(|key| key.id == id)
    }
}
