//! The follower: keeps the index of a gate up to date, on a thread of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::{FeedError, Frame, Next, Source};
use crate::config::Config;
use crate::core::index::{Index, IndexBuilder, IndexError};
use crate::core::record::Record;
use crate::observe::metrics::Metrics;
use crate::store::{Bulk, Cursor};

/// How long the follower waits for a change before it looks at everything else.
const WAIT: Duration = Duration::from_millis(100);

/// How long it waits before it tries again what failed.
const RETRY: Duration = Duration::from_millis(250);

/// How often what takes long to count is counted.
const COUNT_INTERVAL: Duration = Duration::from_millis(250);

/// Changes since the base from which the overlay is folded into a new base: few enough that no
/// change copies more than a few thousand entries.
const FOLD_ENTRIES: usize = 4_096;

/// How long a bulk import must have been quiet before a snapshot of it is taken, unless it says
/// that it is over: an import that was killed says nothing.
const BULK_QUIET: Duration = Duration::from_secs(1);

/// How long an import that goes on and on is waited for.
const BULK_PATIENCE: Duration = Duration::from_secs(60);

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
    live: ArcSwap<Live>,
    status: FeedStatus,
}

impl Shared {
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

    fn seen(&self) {
        self.seen_millis.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
        if !self.connected.swap(true, Ordering::Relaxed) {
            tracing::info!("the store answers");
        }
    }

    fn lost(&self, error: &FeedError) {
        if self.connected.swap(false, Ordering::Relaxed) {
            tracing::error!(%error, age = ?self.age(), "the store does not answer; going on with the last index");
        }
    }
}

/// Asks the follower for something from other threads.
#[derive(Debug)]
pub struct FollowerHandle {
    requests: mpsc::Sender<Request>,
    thread: Option<JoinHandle<()>>,
}

enum Request {
    Reconfigure(Arc<Config>, mpsc::Sender<Result<(), FeedError>>),
    Stop,
}

impl FollowerHandle {
    /// Puts a configuration in force together with an index compiled under it. Blocks until that
    /// is done, or refused and nothing has changed.
    ///
    /// # Errors
    /// The feed's, where the index had to be built anew and could not.
    pub fn reconfigure(&self, config: Arc<Config>) -> Result<(), FeedError> {
        let (answer, answered) = mpsc::channel();
        let gone = || {
            FeedError::Store(crate::store::StoreError::Database("the feed has stopped".to_owned()))
        };
        self.requests.send(Request::Reconfigure(config, answer)).map_err(|_| gone())?;
        self.wake();
        answered.recv().map_err(|_| gone())?
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for FollowerHandle {
    fn drop(&mut self) {
        // A thread that is gone needs no telling.
        let _ = self.requests.send(Request::Stop);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Keeps [`Shared`] up to date by a [`Source`].
pub struct Follower {
    source: Box<dyn Source>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    requests: mpsc::Receiver<Request>,
    cursor: Option<Cursor>,
    /// Something changed that is not in the index yet, perhaps since the source failed on the way.
    behind: bool,
    /// A bulk import that is not in the index yet.
    import: Option<Import>,
    folding: Option<Folding>,
    /// What was in force, kept until nobody reads it, so that it is dropped here.
    retired: Vec<Arc<Live>>,
    counted: Option<Instant>,
}

/// A bulk import as the feed tells of it.
#[derive(Debug)]
struct Import {
    /// When it was first and last heard of.
    began: Instant,
    heard: Instant,
    over: bool,
}

impl Import {
    /// Notes what a frame says.
    fn hear(known: Option<Self>, bulk: Bulk, now: Instant) -> Option<Self> {
        match bulk {
            Bulk::Nothing => known,
            Bulk::Going | Bulk::Done => Some(Self {
                began: known.map_or(now, |known| known.began),
                heard: now,
                over: bulk == Bulk::Done,
            }),
        }
    }

    /// Whether its snapshot is due.
    fn is_due(&self, now: Instant) -> bool {
        self.over || now - self.heard >= BULK_QUIET || now - self.began >= BULK_PATIENCE
    }
}

/// A fold under way, and what was applied since it began.
struct Folding {
    folded: mpsc::Receiver<Result<Index, IndexError>>,
    since: Vec<Record>,
}

impl Follower {
    /// Starts following, on a thread named `feed`.
    ///
    /// # Errors
    /// The operating system's, where it has no thread to give.
    pub fn start(
        source: Box<dyn Source>,
        config: Arc<Config>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Arc<Shared>, FollowerHandle)> {
        let shared = Arc::new(Shared {
            live: ArcSwap::from_pointee(Live { config, index: None }),
            status: FeedStatus {
                started: Instant::now(),
                seen_millis: AtomicU64::new(0),
                connected: AtomicBool::new(true),
            },
        });
        let (requests, received) = mpsc::channel();
        let follower = Self {
            source,
            shared: shared.clone(),
            metrics,
            requests: received,
            cursor: None,
            behind: false,
            import: None,
            folding: None,
            retired: Vec::new(),
            counted: None,
        };
        let thread =
            std::thread::Builder::new().name("feed".to_owned()).spawn(|| follower.run())?;
        Ok((shared, FollowerHandle { requests, thread: Some(thread) }))
    }

    fn run(mut self) {
        loop {
            match self.requests.try_recv() {
                Ok(Request::Reconfigure(config, answer)) => {
                    // Whoever asked may have gone.
                    let _ = answer.send(self.reconfigure(config));
                }
                Ok(Request::Stop) | Err(mpsc::TryRecvError::Disconnected) => return,
                Err(mpsc::TryRecvError::Empty) => match self.advance() {
                    Ok(()) => self.shared.status.seen(),
                    Err(error) => {
                        self.shared.status.lost(&error);
                        std::thread::park_timeout(RETRY);
                    }
                },
            }
            self.tidy();
        }
    }

    /// Brings the index up to date, then waits until there may be more to do.
    fn advance(&mut self) -> Result<(), FeedError> {
        let Some(cursor) = self.cursor.clone() else {
            let config = self.shared.live().config.clone();
            return self.rebase(config);
        };
        self.behind = self.behind || self.source.wait(WAIT)?;
        if !self.behind {
            return self.take_in_import();
        }
        let mut cursor = cursor;
        loop {
            match self.source.frames_after(&cursor)? {
                Next::Rebase => {
                    let config = self.shared.live().config.clone();
                    return self.rebase(config);
                }
                Next::Frame(frame) if frame.cursor == cursor => {
                    self.behind = false;
                    return self.take_in_import();
                }
                Next::Frame(frame) => {
                    cursor = frame.cursor.clone();
                    self.apply(frame);
                }
            }
        }
    }

    /// Takes a snapshot of a bulk import, once that is due.
    fn take_in_import(&mut self) -> Result<(), FeedError> {
        if !self.import.as_ref().is_some_and(|import| import.is_due(Instant::now())) {
            return Ok(());
        }
        let config = self.shared.live().config.clone();
        self.rebase(config)
    }

    fn apply(&mut self, frame: Frame) {
        self.import = Import::hear(self.import.take(), frame.bulk, Instant::now());
        let live = self.shared.live.load_full();
        let Some(index) = &live.index else { return };
        let next = index.apply(&frame.records, frame.cursor.position());
        self.cursor = Some(frame.cursor);
        if let Some(folding) = &mut self.folding {
            folding.since.extend(frame.records);
        }
        self.publish(live.config.clone(), next);
    }

    /// Builds the index anew from a snapshot, under this configuration.
    fn rebase(&mut self, config: Arc<Config>) -> Result<(), FeedError> {
        let started = Instant::now();
        let mut builder = IndexBuilder::new(Arc::new(config.policy()));
        let cursor = self.source.snapshot(&mut |record| Ok(builder.add(record)?))?;
        let index = builder.finish(cursor.position());
        tracing::info!(tokens = index.base_tokens(), took = ?started.elapsed(), "index built");
        self.cursor = Some(cursor);
        self.import = None;
        self.folding = None;
        self.publish(config, index);
        Ok(())
    }

    fn reconfigure(&mut self, config: Arc<Config>) -> Result<(), FeedError> {
        let live = self.shared.live.load_full();
        let policy = config.policy();
        match &live.index {
            Some(index) if index.policy().reads_alike(&policy) && self.folding.is_none() => {
                self.publish(config, index.with_policy(Arc::new(policy)));
                Ok(())
            }
            Some(_) => self.rebase(config),
            None => {
                self.replace(Live { config, index: None });
                Ok(())
            }
        }
    }

    fn publish(&mut self, config: Arc<Config>, index: Index) {
        self.metrics.index_sequence.set(index.sequence() as i64);
        self.metrics.index_overlay_entries.set(index.overlay_entries() as i64);
        self.replace(Live { config, index: Some(index) });
    }

    fn replace(&mut self, live: Live) {
        self.retired.push(self.shared.live.swap(Arc::new(live)));
    }

    /// Folds a large overlay, takes over a fold that is done, and drops what nobody reads.
    fn tidy(&mut self) {
        self.take_over_fold();
        let live = self.shared.live.load_full();
        if self.folding.is_none()
            && let Some(index) = &live.index
            && index.overlay_entries() > FOLD_ENTRIES
        {
            self.folding = start_fold(index.clone());
        }
        drop(live);
        self.retired.retain(|live| Arc::strong_count(live) > 1);
        if self.counted.is_none_or(|counted| counted.elapsed() >= COUNT_INTERVAL) {
            self.counted = Some(Instant::now());
            self.count();
        }
    }

    /// What takes too long to count at every change.
    fn count(&self) {
        self.metrics.index_age.set(self.shared.status.age().as_secs_f64());
        if let Some(index) = &self.shared.live().index {
            self.metrics.index_tokens.set(index.tokens() as i64);
        }
    }

    fn take_over_fold(&mut self) {
        let Some(folding) = &self.folding else { return };
        let folded = match folding.folded.try_recv() {
            Err(mpsc::TryRecvError::Empty) => return,
            Ok(Ok(folded)) => Some(folded),
            Ok(Err(error)) => {
                tracing::error!(%error, "the overlay could not be folded; taking a snapshot");
                None
            }
            Err(mpsc::TryRecvError::Disconnected) => None,
        };
        let since = self.folding.take().map(|folding| folding.since).unwrap_or_default();
        let live = self.shared.live.load_full();
        match (folded, &live.index) {
            (Some(folded), Some(index)) => {
                let next = folded.apply(&since, index.sequence());
                self.publish(live.config.clone(), next);
            }
            // Without a cursor, the next step is a snapshot.
            _ => self.cursor = None,
        }
    }
}

/// Folds on a thread of its own, so that changes go on being applied.
fn start_fold(index: Index) -> Option<Folding> {
    let (done, folded) = mpsc::channel();
    let fold = move || {
        // Whoever asked may have gone.
        let _ = done.send(index.fold());
    };
    std::thread::Builder::new().name("fold".to_owned()).spawn(fold).ok()?;
    Some(Folding { folded, since: Vec::new() })
}
