//! Reload: a changed configuration is put in force whole, or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use prometheus::IntGauge;
use tokio::sync::Semaphore;

use super::lane::Observer;
use crate::config::{self, Config, Diagnostic, Origin};
use crate::core::digest::DigestKeys;
use crate::feed::{FeedError, FollowerHandle, Shared};
use crate::legacy::Lane;
use crate::observe::metrics::Metrics;
use crate::store::SqliteStore;

/// Why a configuration was not put in force. The one before goes on.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It has mistakes.
    #[error("{}", config::render(.0))]
    Config(Vec<Diagnostic>),
    /// The index could not be built under it.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The operating system has no thread for the slow lane.
    #[error("the slow lane cannot be started: {0}")]
    Lane(#[from] std::io::Error),
}

/// What was put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// Changed keys that take a restart; until then they are as they were.
    pub(crate) needs_restart: Vec<&'static str>,
}

/// Puts changed configurations in force.
pub(super) struct Reloader {
    pub(super) shared: Arc<Shared>,
    pub(super) follower: FollowerHandle,
    /// `None` in a gate that follows a control.
    pub(super) store: Option<Arc<SqliteStore>>,
    /// What the feed checks seals with.
    pub(super) keys: Arc<ArcSwap<DigestKeys>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lane: Arc<ArcSwapOption<Lane>>,
    pub(super) observer: Observer,
    pub(super) connections: ConnectionLimit,
    pub(super) environment: Vec<(String, String)>,
}

impl Reloader {
    /// Reads the configuration again and puts it in force. Blocks.
    pub(crate) fn reload(&self) -> Result<Reloaded, ReloadError> {
        one_at_a_time(|| self.try_reload(), &self.metrics.config_last_reload_successful)
    }

    fn try_reload(&self) -> Result<Reloaded, ReloadError> {
        let current = self.shared.live().config.clone();
        let mut next = config::load(&current.file, self.environment.iter().cloned())
            .map_err(ReloadError::Config)?;
        let needs_restart = keep_what_needs_restart(&mut next, &current);
        let lane = match next.legacy != current.legacy {
            true => Some(self.observer.start(&next.legacy)?),
            false => None,
        };
        let next = Arc::new(next);
        let keys = self.keys.swap(next.keys.clone());
        self.follower.reconfigure(next.clone()).inspect_err(|_| self.keys.store(keys))?;
        if let Some(store) = &self.store {
            store.replace_rules(super::store_rules(&next));
        }
        self.connections.set(next.limits.connections);
        if let Some(lane) = lane {
            self.lane.store(lane);
        }
        Ok(Reloaded { needs_restart })
    }
}

/// Reloads when no other reload is under way, which could put an older configuration in force
/// after this one. Says what came of it, to metrics and log.
pub(super) fn one_at_a_time(
    reload: impl FnOnce() -> Result<Reloaded, ReloadError>,
    succeeded: &IntGauge,
) -> Result<Reloaded, ReloadError> {
    static UNDER_WAY: Mutex<()> = Mutex::new(());
    let _under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
    let reloaded = reload();
    succeeded.set(i64::from(reloaded.is_ok()));
    match &reloaded {
        Ok(done) if done.needs_restart.is_empty() => tracing::info!("configuration reloaded"),
        Ok(done) => tracing::warn!(
            keys = done.needs_restart.join(", "),
            "configuration reloaded, but these changed keys need a restart"
        ),
        Err(error) => {
            tracing::error!("configuration not reloaded, going on with the one before:\n{error}");
        }
    }
    reloaded
}

/// Listeners, workers and the store stay as they are until a restart.
fn keep_what_needs_restart(next: &mut Config, current: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let mut keep = |changed: bool, key| {
        if changed {
            keys.push(key);
        }
    };
    keep(next.gate.listen != current.gate.listen, "gate.listen");
    keep(next.gate.listen_tls != current.gate.listen_tls, "gate.listen_tls");
    keep(next.gate.workers != current.gate.workers, "gate.workers");
    let origin = match &current.origin {
        Origin::Store(_) => "store.url",
        Origin::Feed(_) => "[feed]",
    };
    keep(next.origin != current.origin, origin);
    keep(next.admin != current.admin, "admin.listen");
    keep(next.control != current.control, "control.listen");
    next.gate.listen.clone_from(&current.gate.listen);
    next.gate.listen_tls.clone_from(&current.gate.listen_tls);
    next.gate.workers = current.gate.workers;
    next.origin.clone_from(&current.origin);
    next.admin.clone_from(&current.admin);
    next.control.clone_from(&current.control);
    keys
}

/// The gate's limit on connections, which can be changed while connections are open.
pub(super) struct ConnectionLimit {
    semaphore: Arc<Semaphore>,
    limit: Mutex<usize>,
}

impl ConnectionLimit {
    pub(super) fn new(limit: usize) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(limit)), limit: Mutex::new(limit) }
    }

    pub(super) fn semaphore(&self) -> Arc<Semaphore> {
        self.semaphore.clone()
    }

    /// A lower limit is reached as far as connections are free now.
    fn set(&self, next: usize) {
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        if next > *limit {
            self.semaphore.add_permits(next - *limit);
            *limit = next;
        } else {
            *limit -= self.semaphore.forget_permits(*limit - next);
        }
    }
}

/// Notices changed files by what is in them, so that it also sees the symbolic links that
/// Kubernetes swaps.
pub(super) struct FileWatch {
    applied: Option<blake3::Hash>,
    seen: Option<blake3::Hash>,
}

impl FileWatch {
    pub(super) fn new(files: &[PathBuf]) -> Self {
        let hash = Some(content_hash(files));
        Self { applied: hash, seen: hash }
    }

    /// Whether the files changed since the last time and have not changed again since the last
    /// look: an editor may write in several steps.
    pub(super) fn changed(&mut self, files: &[PathBuf]) -> bool {
        let now = Some(content_hash(files));
        let settled = now == self.seen;
        self.seen = now;
        if settled && now != self.applied {
            self.applied = now;
            return true;
        }
        false
    }
}

fn content_hash(files: &[PathBuf]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hash_file(&mut hasher, file);
    }
    hasher.finalize()
}

fn hash_file(hasher: &mut blake3::Hasher, file: &Path) {
    match fs::read(file) {
        Ok(content) => hasher.update(&(content.len() as u64).to_le_bytes()).update(&content),
        Err(_) => hasher.update(&u64::MAX.to_le_bytes()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_noticed_once_it_has_settled_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let files = [folder.path().join("a")];
        fs::write(&files[0], "one").unwrap();
        let mut watch = FileWatch::new(&files);
        assert!(!watch.changed(&files));
        fs::write(&files[0], "two").unwrap();
        assert!(!watch.changed(&files));
        assert!(watch.changed(&files));
        assert!(!watch.changed(&files));
    }

    #[test]
    fn the_limit_on_connections_follows_both_ways() {
        let limit = ConnectionLimit::new(10);
        limit.set(15);
        assert_eq!(limit.semaphore.available_permits(), 15);
        limit.set(3);
        assert_eq!(limit.semaphore.available_permits(), 3);
    }
}
