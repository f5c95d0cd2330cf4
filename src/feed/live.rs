//! What is in force, and how the feed is: what the follower shares with everyone who decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{FeedError, Source};
use crate::config::Config;
use crate::core::index::Index;
use crate::store::Cursor;

/// What is in force: one configuration and the index that was compiled under it.
#[derive(Debug)]
pub struct Live {
    /// The configuration.
    pub config: Arc<Config>,
    /// The index; `None` until the first one is built.
    pub index: Option<Index>,
}

/// What the follower shares with everyone who decides.
#[derive(Debug)]
pub struct Shared {
    pub(super) live: ArcSwap<Live>,
    /// The last place in the source's history that was ever in force, also before this process
    /// began: nothing before it is put in force.
    pub(super) reached: watch::Sender<Option<Cursor>>,
    pub(super) status: FeedStatus,
}

impl Shared {
    pub(super) fn new(config: Arc<Config>, source: &dyn Source) -> Self {
        Self {
            live: ArcSwap::from_pointee(Live { config, index: None }),
            reached: watch::Sender::new(source.reached()),
            status: FeedStatus {
                started: Instant::now(),
                source: source.name(),
                seen_millis: AtomicI64::new(-(source.age().as_millis() as i64)),
                state: AtomicU8::new(if source.answers() { ANSWERS } else { UNKNOWN }),
            },
        }
    }

    /// What is in force. Borrow it for one decision, not across a wait.
    #[inline]
    pub fn live(&self) -> arc_swap::Guard<Arc<Live>> {
        self.live.load()
    }

    /// The last place in the source's history that was in force, to wait for something new.
    pub(crate) fn reached(&self) -> watch::Receiver<Option<Cursor>> {
        self.reached.subscribe()
    }

    /// How the feed is.
    pub fn status(&self) -> &FeedStatus {
        &self.status
    }
}

/// How the feed is.
#[derive(Debug)]
pub struct FeedStatus {
    /// What is followed, for people.
    source: &'static str,
    started: Instant,
    /// After the start; before it where what was begun with is older.
    seen_millis: AtomicI64,
    /// One of the three below.
    state: AtomicU8,
}

/// The source has not said anything yet.
const UNKNOWN: u8 = 0;
const ANSWERS: u8 = 1;
const LOST: u8 = 2;

impl FeedStatus {
    /// Whether the source answers.
    pub fn is_connected(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ANSWERS
    }

    /// Time since the index was last known to be up to date.
    pub fn age(&self) -> Duration {
        let past = self.millis() - self.seen_millis.load(Ordering::Relaxed);
        Duration::from_millis(past.max(0) as u64)
    }

    /// What is followed.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// Notes when the source last said that there was nothing more. One that has been silent for too
    /// long is lost, though nothing has failed yet.
    pub(super) fn look(&self, source: &dyn Source) {
        let seen = self.millis() - source.age().as_millis() as i64;
        self.seen_millis.store(seen, Ordering::Relaxed);
        if source.answers() {
            if self.state.swap(ANSWERS, Ordering::Relaxed) != ANSWERS {
                tracing::info!("the {} answers", self.source);
            }
        } else if self.is_connected() {
            self.lost(&FeedError::Control("nothing comes from it".to_owned()));
        }
    }

    fn millis(&self) -> i64 {
        self.started.elapsed().as_millis() as i64
    }

    pub(super) fn lost(&self, error: &FeedError) {
        if self.state.swap(LOST, Ordering::Relaxed) != LOST {
            let (source, age) = (self.source, self.age());
            tracing::error!(%error, ?age, "the {source} does not answer; going on with the last index");
        }
    }
}
