//! From the store to the gates: a publisher that hands out snapshots and frames, and a follower
//! that keeps an index by them. They speak in records and cursors only, so that how these travel
//! is a carrier's business and not theirs.

mod beside;
mod follower;
mod import;
mod live;
mod publisher;
mod remote;
pub mod snapshot;

use std::time::Duration;

pub use follower::{Follower, FollowerHandle};
pub use live::{FeedStatus, Live, Shared};
pub use publisher::Publisher;
pub(crate) use remote::{Remote, RemoteUses};

use crate::core::index::IndexError;
use crate::core::record::Record;
use crate::store::{Bulk, Cursor, StoreError};

/// What a follower follows.
pub trait Source: Send {
    /// Hands every record of one consistent snapshot to `sink`, accounts before what refers to
    /// them, and returns the cursor from which to follow.
    ///
    /// # Errors
    /// The source's, or the first that `sink` returns.
    fn snapshot(
        &mut self,
        sink: &mut dyn FnMut(Record) -> Result<(), FeedError>,
    ) -> Result<Cursor, FeedError>;

    /// What changed after the cursor.
    ///
    /// # Errors
    /// The source's.
    fn frames_after(&mut self, cursor: &Cursor) -> Result<Next, FeedError>;

    /// Waits until something may have changed, at most this long. `true` where it may.
    ///
    /// # Errors
    /// The source's.
    fn wait(&mut self, at_most: Duration) -> Result<bool, FeedError>;

    /// What it is, for people.
    fn name(&self) -> &'static str {
        "store"
    }

    /// How long ago it last said that there was nothing more.
    fn age(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether what it last said is recent enough to tell that it answers.
    fn answers(&self) -> bool {
        true
    }

    /// A place that was in force before this process began: nothing before it may be.
    fn reached(&self) -> Option<Cursor> {
        None
    }

    /// The same source once more, for a thread that takes a snapshot while another one follows.
    fn another(&self) -> Box<dyn Source>;
}

/// What comes after a cursor.
#[derive(Debug)]
pub enum Next {
    /// The present state of what changed; none where nothing did.
    Frame(Frame),
    /// The history does not go on from there: take a snapshot.
    Rebase,
}

/// The present state of some things that changed.
#[derive(Debug)]
pub struct Frame {
    /// The records to put in place of what was there.
    pub records: Vec<Record>,
    /// Where to go on.
    pub cursor: Cursor,
    /// What was stored in bulk on the way, which the records leave out: see [`Bulk`].
    pub bulk: Bulk,
}

/// Why a follower cannot go on for now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The control does not answer, or not as it should.
    #[error("the control: {0}")]
    Control(String),
    /// What the control sent, or what the cache holds, is not what was written.
    #[error("it was refused and is fetched again: {0}")]
    Refused(String),
    /// What it sent cannot be made into an index.
    #[error("the snapshot cannot be indexed: {0}")]
    Index(#[from] IndexError),
    /// More has changed while a snapshot was taken than the change log holds.
    #[error("too much changed while the snapshot was taken: it is taken again")]
    Outrun,
    /// The source is an earlier state of what is in force, which nobody restored as they should.
    #[error(
        "the store is at {now}, before {reached}, which is in force: a gate does not go back; to \
         put a copy of a store in its place, use `portcullis restore`"
    )]
    WentBack {
        /// Where the source is.
        now: Cursor,
        /// Where the gate is.
        reached: Cursor,
    },
    /// Nobody wants it any more.
    #[error("the snapshot is no longer wanted")]
    Abandoned,
    /// The operating system has no thread to give, or the one that it gave has panicked.
    #[error("no thread for the snapshot: {0}")]
    Thread(String),
    /// The follower has ended.
    #[error("the feed has stopped")]
    Stopped,
}
