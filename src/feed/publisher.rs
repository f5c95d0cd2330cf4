//! The publisher: numbers what the store has, in snapshots and frames.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{FeedError, Frame, Next, Source};
use crate::core::record::Record;
use crate::store::{Changes, Cursor, Store, StoreError};

/// How often the store is asked whether anyone committed: a fifth of the time in which a change
/// must be in force, at the cost of reading one page of the database's header.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Records in one frame: what is applied between two looks at everything else.
const FRAME_LIMIT: usize = 1_000;

/// Publishes a store within the process.
#[derive(Clone)]
pub struct Publisher {
    store: Arc<dyn Store>,
    version: Option<u64>,
}

impl Publisher {
    /// Publishes this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, version: None }
    }
}

impl Source for Publisher {
    fn snapshot(
        &mut self,
        sink: &mut dyn FnMut(Record) -> Result<(), FeedError>,
    ) -> Result<Cursor, FeedError> {
        let mut refused = None;
        let cursor = self.store.snapshot(&mut |record| {
            sink(record).map_err(|error| {
                let told = StoreError::Database(error.to_string());
                refused = Some(error);
                told
            })
        });
        match refused {
            Some(error) => Err(error),
            None => Ok(cursor?),
        }
    }

    fn frames_after(&mut self, cursor: &Cursor) -> Result<Next, FeedError> {
        Ok(match self.store.changes_after(cursor, FRAME_LIMIT)? {
            Changes::Frame { records, cursor, bulk } => {
                Next::Frame(Frame { records, cursor, bulk })
            }
            Changes::Rebase => Next::Rebase,
        })
    }

    fn wait(&mut self, at_most: Duration) -> Result<bool, FeedError> {
        let deadline = Instant::now() + at_most;
        loop {
            let version = Some(self.store.data_version()?);
            if version != self.version {
                self.version = version;
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            std::thread::park_timeout(left.min(POLL_INTERVAL));
        }
    }

    fn another(&self) -> Box<dyn Source> {
        Box::new(self.clone())
    }
}
