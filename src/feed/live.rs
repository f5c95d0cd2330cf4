//! What is in force, and how the feed is: what the follower shares with everyone who decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::FeedError;
use crate::config::Config;
use crate::core::index::Index;

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
    pub(super) status: FeedStatus,
}

impl Shared {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self {
            live: ArcSwap::from_pointee(Live { config, index: None }),
            status: FeedStatus {
                started: Instant::now(),
                seen_millis: AtomicU64::new(0),
                connected: AtomicBool::new(true),
            },
        }
    }

    /// What is in force. Borrow it for one decision, not across a wait.
    #[inline]
    pub fn live(&self) -> arc_swap::Guard<Arc<Live>> {
        self.live.load()
    }

    /// How the feed is.
    pub fn status(&self) -> &FeedStatus {
        &self.status
    }
}

/// How the feed is.
#[derive(Debug)]
pub struct FeedStatus {
    started: Instant,
    seen_millis: AtomicU64,
    connected: AtomicBool,
}

impl FeedStatus {
    /// Whether the source answered when it was last asked.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Time since the index was last known to be up to date.
    pub fn age(&self) -> Duration {
        let seen = Duration::from_millis(self.seen_millis.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(seen)
    }

    pub(super) fn seen(&self) {
        self.seen_millis.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
        if !self.connected.swap(true, Ordering::Relaxed) {
            tracing::info!("the store answers");
        }
    }

    pub(super) fn lost(&self, error: &FeedError) {
        if self.connected.swap(false, Ordering::Relaxed) {
            tracing::error!(%error, age = ?self.age(), "the store does not answer; going on with the last index");
        }
    }
}
