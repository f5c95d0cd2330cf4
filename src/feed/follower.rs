//! The follower: keeps the index of a gate up to date, on a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::beside::{Built, Folding, Rebase, Reconfiguration, Start, on_threads};
use super::import::Import;
use super::live::{Live, Shared};
use super::{FeedError, Frame, Next, Source};
use crate::config::Config;
use crate::core::index::Index;
use crate::memory;
use crate::observe::metrics::Metrics;
use crate::store::Cursor;

/// How long the follower waits for a change before it looks at everything else.
const WAIT: Duration = Duration::from_millis(100);

/// How long it waits before it tries again what failed.
const RETRY: Duration = Duration::from_millis(250);

/// How long it waits before it looks again at a store that went back: each look is a snapshot.
const WENT_BACK_RETRY: Duration = Duration::from_secs(5);

/// How often what takes long to count is counted.
const COUNT_INTERVAL: Duration = Duration::from_millis(250);

/// How often memory is given back that nobody uses any more.
const GIVE_BACK_INTERVAL: Duration = Duration::from_secs(1);

/// Changes since the base from which the overlay is folded into a new base, at least and at most.
const FOLD_ENTRIES: (usize, usize) = (4_096, 131_072);

/// In between, such a part of the base: a fold reads all of it, and is worth that.
const FOLD_PART: usize = 64;

/// Asks the follower for something from other threads.
#[derive(Debug)]
pub struct FollowerHandle {
    requests: mpsc::Sender<Reconfiguration>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FollowerHandle {
    /// Puts a configuration in force together with an index compiled under it. Blocks until that
    /// is done, or refused and nothing has changed.
    ///
    /// # Errors
    /// The feed's, where the index had to be built anew and could not.
    pub fn reconfigure(&self, config: Arc<Config>) -> Result<(), FeedError> {
        let (answer, answered) = mpsc::channel();
        let request = Reconfiguration { config, answer };
        self.requests.send(request).map_err(|_| FeedError::Stopped)?;
        self.wake();
        answered.recv().map_err(|_| FeedError::Stopped)?
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for FollowerHandle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Keeps [`Shared`] up to date by a [`Source`].
pub struct Follower {
    source: Box<dyn Source>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    requests: mpsc::Receiver<Reconfiguration>,
    start: Start,
    fold_limit: fn(usize) -> usize,
    cursor: Option<Cursor>,
    /// Something changed that is not in the index yet, perhaps since the source failed on the way.
    behind: bool,
    /// A bulk import that is not in the index yet.
    import: Option<Import>,
    folding: Option<Folding>,
    rebase: Option<Rebase>,
    /// What was in force, kept until nobody reads it, so that it is dropped here.
    retired: Vec<Arc<Live>>,
    counted: Option<Instant>,
    gave_back: Instant,
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
        let (requests, received) = mpsc::channel();
        let follower = Self::new(source, config, metrics, received, on_threads());
        let shared = follower.shared.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || follower.run(&stopped))?;
        Ok((shared, FollowerHandle { requests, stop, thread: Some(thread) }))
    }

    fn new(
        source: Box<dyn Source>,
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        requests: mpsc::Receiver<Reconfiguration>,
        start: Start,
    ) -> Self {
        Self {
            shared: Arc::new(Shared::new(config, &*source)),
            source,
            metrics,
            requests,
            start,
            fold_limit,
            cursor: None,
            behind: false,
            import: None,
            folding: None,
            rebase: None,
            retired: Vec::new(),
            counted: None,
            gave_back: Instant::now(),
        }
    }

    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = self.turn() {
                self.shared.status.lost(&error);
                let went_back = matches!(error, FeedError::WentBack { .. });
                std::thread::park_timeout(if went_back { WENT_BACK_RETRY } else { RETRY });
            } else if self.cursor.is_none() {
                // The snapshot wakes this thread when it is there.
                std::thread::park_timeout(WAIT);
            }
        }
    }

    /// Does a little of everything that is to be done: at most one frame, so that nothing waits
    /// for a long row of them.
    fn turn(&mut self) -> Result<(), FeedError> {
        self.take_request();
        let advanced = self.take_over_rebase().and_then(|()| self.advance());
        self.tidy();
        advanced
    }

    /// Brings the index up to date by one frame, or waits until there may be one.
    fn advance(&mut self) -> Result<(), FeedError> {
        let Some(cursor) = self.cursor.clone() else { return self.begin_rebase(None) };
        self.behind = self.behind || self.source.wait(WAIT)?;
        if self.behind {
            match self.source.frames_after(&cursor)? {
                // Without a cursor, the next step is a snapshot.
                Next::Rebase => self.cursor = None,
                Next::Frame(frame) if frame.cursor == cursor => self.behind = false,
                Next::Frame(frame) => self.apply(frame),
            }
        }
        if !self.behind {
            self.shared.status.look(&*self.source);
            if self.import.as_ref().is_some_and(|import| import.is_due(Instant::now())) {
                return self.begin_rebase(None);
            }
        }
        Ok(())
    }

    fn apply(&mut self, frame: Frame) {
        let Frame { records, cursor, bulk } = frame;
        self.import = Import::hear(self.import, bulk, cursor.position(), Instant::now());
        let live = self.shared.live.load_full();
        let Some(index) = &live.index else { return };
        let next = index.apply(&records, cursor.position());
        self.reach(cursor);
        self.publish(live.config.clone(), next);
    }

    /// Takes a request, unless one is being worked on.
    fn take_request(&mut self) {
        if self.rebase.as_ref().is_some_and(|rebase| rebase.reconfiguration.is_some()) {
            return;
        }
        if let Ok(request) = self.requests.try_recv() {
            self.reconfigure(request);
        }
    }

    fn reconfigure(&mut self, request: Reconfiguration) {
        let live = self.shared.live.load_full();
        let policy = request.config.policy();
        match &live.index {
            Some(index) if index.policy().reads_alike(&policy) => {
                self.publish(request.config.clone(), index.with_policy(Arc::new(policy)));
                request.answer(Ok(()));
            }
            // The one under way is of a policy that reads otherwise.
            Some(_) => {
                self.rebase = None;
                // Its answer says what came of it.
                let _ = self.begin_rebase(Some(request));
            }
            None => {
                self.rebase = None;
                self.replace(Live { config: request.config.clone(), index: None });
                request.answer(Ok(()));
            }
        }
    }

    /// Begins to build the index anew from a snapshot, unless that is under way.
    fn begin_rebase(&mut self, request: Option<Reconfiguration>) -> Result<(), FeedError> {
        if self.rebase.is_some() {
            return Ok(());
        }
        let live = self.shared.live.load_full();
        let config = request.as_ref().map_or(&live.config, |request| &request.config);
        let begun = Rebase::begin(self.source.another(), config, &mut self.start);
        match begun.map_err(|error| FeedError::Thread(error.to_string())) {
            Ok(mut rebase) => {
                rebase.reconfiguration = request;
                self.rebase = Some(rebase);
                Ok(())
            }
            Err(error) => {
                if let Some(request) = request {
                    request.answer(Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// Puts an index in force that was built beside the one that is.
    fn take_over_rebase(&mut self) -> Result<(), FeedError> {
        let Some(outcome) = self.rebase.as_ref().and_then(Rebase::outcome) else { return Ok(()) };
        let request = self.rebase.take().and_then(|rebase| rebase.reconfiguration);
        let panicked = || FeedError::Thread("it has panicked".to_owned());
        let outcome = outcome.map_err(|error| error.unwrap_or_else(panicked));
        let result = match outcome.and_then(|built| self.level(built)) {
            Ok(built) => {
                self.put_in_force(built, request.as_ref());
                Ok(())
            }
            Err(error) => Err(error),
        };
        match (request, result) {
            (Some(request), result) => {
                request.answer(result);
                Ok(())
            }
            (None, Err(error @ FeedError::Outrun)) => {
                tracing::warn!("{error}");
                Ok(())
            }
            (None, result) => result,
        }
    }

    /// Applies what the index in force has and the one that was built has not: few frames, since
    /// it had caught up a moment ago.
    fn level(&mut self, mut built: Built) -> Result<Built, FeedError> {
        let Some(reached) = self.shared.reached.borrow().clone() else { return Ok(built) };
        while built.cursor.is_before(&reached) && built.catch_up(&mut *self.source)? {}
        if built.cursor.is_before(&reached) {
            return Err(FeedError::WentBack { now: built.cursor, reached });
        }
        Ok(built)
    }

    fn reach(&mut self, cursor: Cursor) {
        self.shared.reached.send_replace(Some(cursor.clone()));
        self.cursor = Some(cursor);
    }

    fn put_in_force(&mut self, built: Built, request: Option<&Reconfiguration>) {
        let Built { index, cursor, snapshot, import } = built;
        let config = match request {
            Some(request) => request.config.clone(),
            None => self.shared.live().config.clone(),
        };
        self.import = self.import.filter(|import| !import.is_in(snapshot)).or(import);
        self.folding = None;
        self.counted = None;
        self.behind = true;
        self.reach(cursor);
        let policy = Arc::new(config.policy());
        self.publish(config, index.with_policy(policy));
    }

    fn publish(&mut self, config: Arc<Config>, index: Index) {
        self.metrics.index_sequence.set(index.sequence() as i64);
        self.metrics.index_overlay_entries.set(index.overlay_entries() as i64);
        self.replace(Live { config, index: Some(index) });
    }

    fn replace(&mut self, live: Live) {
        self.retired.push(self.shared.live.swap(Arc::new(live)));
    }

    /// Folds a large overlay, takes over a fold that is done, drops what nobody reads, and gives its
    /// memory back.
    fn tidy(&mut self) {
        self.take_over_fold();
        self.begin_fold();
        self.bury();
        if self.counted.is_none_or(|counted| counted.elapsed() >= COUNT_INTERVAL) {
            self.counted = Some(Instant::now());
            self.count();
        }
        if self.gave_back.elapsed() >= GIVE_BACK_INTERVAL {
            self.gave_back = Instant::now();
            memory::give_back();
        }
    }

    /// Drops what nobody reads: a whole base beside this thread, since that takes long.
    fn bury(&mut self) {
        let retired = self.retired.drain(..);
        let (read, dead): (Vec<_>, Vec<_>) = retired.partition(|live| Arc::strong_count(live) > 1);
        self.retired = read;
        let live = self.shared.live.load_full();
        let is_small = |dead: &Arc<Live>| match (&dead.index, &live.index) {
            (Some(dead), Some(index)) => index.has_base_of(dead),
            _ => true,
        };
        if !dead.iter().all(is_small) {
            // Without a thread they are dropped here.
            let _ = (self.start)("drop", Box::new(move || drop(dead)));
        }
    }

    /// What takes too long to count at every change.
    fn count(&self) {
        self.metrics.index_age.set(self.shared.status.age().as_secs_f64());
        if let Some(index) = &self.shared.live().index {
            self.metrics.index_tokens.set(index.tokens() as i64);
        }
    }

    /// Begins to fold a large overlay, unless a new base is under way already.
    fn begin_fold(&mut self) {
        if self.folding.is_some() || self.rebase.is_some() {
            return;
        }
        let live = self.shared.live.load_full();
        if let Some(index) = &live.index
            && index.overlay_entries() > (self.fold_limit)(index.base_tokens())
        {
            // Without a thread now, there may be one at the next turn.
            self.folding = Folding::begin(index, &mut self.start).ok();
        }
    }

    fn take_over_fold(&mut self) {
        let Some(outcome) = self.folding.as_ref().and_then(Folding::outcome) else { return };
        let Some(folding) = self.folding.take() else { return };
        let live = self.shared.live.load_full();
        match (outcome, &live.index) {
            (Ok(folded), Some(index)) => {
                if let Some(next) = index.onto(&folded, &folding.before) {
                    self.publish(live.config.clone(), next);
                }
            }
            (error, _) => {
                let error = error.err().flatten();
                tracing::error!(?error, "the overlay could not be folded; taking a snapshot");
                self.cursor = None;
            }
        }
    }
}

/// Changes since a base of so many tokens from which on they are folded into it.
fn fold_limit(tokens: usize) -> usize {
    (tokens / FOLD_PART).clamp(FOLD_ENTRIES.0, FOLD_ENTRIES.1)
}

#[cfg(test)]
mod tests;
