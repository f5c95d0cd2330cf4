//! Snapshots and frames as bytes: in files, and on their way to gates that follow from afar.
//!
//! A document is a head, chunks of records, an end and a seal:
//!
//! ```text
//! magic 8 bytes · version u16
//! chunk*: kind u8 · length u32 · payload · CRC-32 of these
//!   1 head     what it is, id of the sealing key, store, epoch, position, …
//!   2 records  each with its length before it
//!   3 end      how many records there were
//! seal    keyed BLAKE3 of every byte before it, 32 bytes
//! ```
//!
//! Numbers of fixed width are little-endian. The checksum of each chunk finds damage before
//! anything is made of it; the seal, under a key derived from a digest key, finds what somebody
//! changed on purpose. Records come as they are read, in bounded memory, so that what was made of
//! them counts only once the last one has been followed by the end of the iteration. Digests and
//! password hashes are in them, secrets are not.

mod bytes;
mod frame;
mod reader;
mod record;
mod seal;
mod writer;

#[cfg(test)]
mod tests;

use std::io;

pub(in crate::feed) use frame::FRAME_BYTES_LIMIT;
pub use frame::{read_frame, write_frame};
pub use reader::{Records, inspect, read};
pub use writer::{SnapshotWriter, write, write_store};

use crate::core::record::{Record, Timestamp};
use crate::store::{Cursor, StoreError};

/// First bytes of a document: not text, and damaged by whatever mistakes it for text.
const MAGIC: [u8; 8] = *b"\x89PTCL\r\n\x1a";

/// The version that is written, and the only one that is read.
const VERSION: u16 = 1;

/// Bytes of records after which a chunk is written.
const CHUNK_BYTES: usize = 64 * 1024;

/// Most bytes of a chunk, so of a record: an account of a million projects is within it.
const CHUNK_LIMIT: usize = 8 * 1024 * 1024;

/// What kinds of chunks there are.
const HEAD: u8 = 1;
const RECORDS: u8 = 2;
const END: u8 = 3;

/// What the head of a snapshot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Id of the digest key whose derived key seals it.
    pub key_id: String,
    /// The store, its epoch and its position, from which a follower goes on.
    pub cursor: Cursor,
    /// When it was made.
    pub made_at: Timestamp,
    /// What is in it.
    pub counts: Counts,
}

/// How many records there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accounts.
    pub accounts: u64,
    /// Tokens.
    pub tokens: u64,
    /// Rows of id indexes.
    pub ids: u64,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.accounts.saturating_add(self.tokens).saturating_add(self.ids)
    }

    fn add(&mut self, record: &Record) {
        let count = match record {
            Record::Account(_) => &mut self.accounts,
            Record::Token(_) => &mut self.tokens,
            Record::Id(_) | Record::IdRemoved { .. } => &mut self.ids,
        };
        *count += 1;
    }
}

/// Why a document cannot be written or read. Says nothing of what is in its records.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file or connection.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The store that it is made from.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It begins otherwise.
    #[error("it is not a snapshot: it begins with other bytes")]
    NotASnapshot,
    /// It is a frame where a snapshot is wanted, or the other way round.
    #[error("it is a {found}, not a {wanted}")]
    OtherKind {
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A later program made it.
    #[error("it has version {found} of the format, and this program reads {VERSION}")]
    Version {
        /// Its version.
        found: u16,
    },
    /// It stops before its end.
    #[error("it is cut off after {at} bytes")]
    Truncated {
        /// How many there are.
        at: u64,
    },
    /// Its bytes are not those that were written.
    #[error("it is damaged in the chunk at byte {at}: {what}")]
    Damaged {
        /// Where the chunk begins.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The key that seals it is not here.
    #[error("it is sealed with key `{id}`, which is not in the digest keys: it cannot be trusted")]
    UnknownKey {
        /// Id of the key.
        id: String,
    },
    /// The seal is not the one that belongs to its bytes.
    #[error("its seal is wrong: it was changed after it was made, or made with another key `{id}`")]
    Forged {
        /// Id of the key.
        id: String,
    },
    /// Something follows where nothing should.
    #[error("something follows its end")]
    Trailing,
    /// There is more of one thing than a document can hold.
    #[error("{what} is larger than a snapshot can hold ({CHUNK_LIMIT} bytes)")]
    TooLarge {
        /// Which thing.
        what: String,
    },
    /// What was written is not what the head said.
    #[error("there were other records than the head says")]
    Miscounted,
}

/// Which document it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Snapshot,
    Frame,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Frame => "frame",
        }
    }
}
