//! The seal over all bytes of a document, and the checksum of a chunk.

use std::io::{self, Read, Write};

use subtle::ConstantTimeEq;

use super::SnapshotError;
use crate::core::digest::DigestKey;

/// What the key of the seal is derived for.
const PURPOSE: &str = "portcullis 2026-11 seal of snapshots and frames";

/// Bytes of a seal.
pub(super) const SEAL_BYTES: usize = 32;

/// A hash of every byte that went by, under a key for this purpose.
pub(super) struct Sealing(blake3::Hasher);

impl Sealing {
    pub(super) fn new(key: &DigestKey) -> Self {
        Self(blake3::Hasher::new_keyed(&key.derive(PURPOSE)))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn seal(&self) -> [u8; SEAL_BYTES] {
        *self.0.finalize().as_bytes()
    }

    /// Compares in constant time.
    pub(super) fn matches(&self, seal: &[u8; SEAL_BYTES]) -> bool {
        self.seal().ct_eq(seal).into()
    }
}

/// Bytes on their way out.
pub(super) struct Sealed<W> {
    out: W,
    sealing: Sealing,
}

impl<W: Write> Sealed<W> {
    pub(super) fn new(out: W, key: &DigestKey) -> Self {
        Self { out, sealing: Sealing::new(key) }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sealing.update(bytes);
        self.out.write_all(bytes)
    }

    /// Writes a chunk with its checksum.
    pub(super) fn chunk(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let head = chunk_head(kind, length);
        self.write(&head)?;
        self.write(payload)?;
        self.write(&checksum(&head, payload).to_le_bytes())
    }

    /// Writes the seal, and hands over what was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&self.sealing.seal())?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Kind and length of a chunk.
pub(super) fn chunk_head(kind: u8, length: u32) -> [u8; 5] {
    let [a, b, c, d] = length.to_le_bytes();
    [kind, a, b, c, d]
}

pub(super) fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

/// Bytes on their way in, counted.
pub(super) struct Counted<R> {
    input: R,
    pub(super) at: u64,
}

impl<R: Read> Counted<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, at: 0 }
    }

    /// Fills the buffer.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<(), SnapshotError> {
        let filled = self.read_up_to(buffer)?;
        if filled == buffer.len() { Ok(()) } else { Err(SnapshotError::Truncated { at: self.at }) }
    }

    /// Fills as much of the buffer as there is.
    pub(super) fn read_up_to(&mut self, buffer: &mut [u8]) -> Result<usize, SnapshotError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.at += filled as u64;
        Ok(filled)
    }
}
