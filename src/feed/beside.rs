//! What takes long and is done beside following, on threads of its own: folds and snapshots.

use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

use super::import::Import;
use super::{FeedError, Frame, Next, Source};
use crate::config::Config;
use crate::core::index::{Index, IndexBuilder, IndexError, Policy};
use crate::store::Cursor;

/// Something to be done once.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Begins a job, on a thread of this name.
pub(super) type Start = Box<dyn FnMut(&'static str, Job) -> io::Result<()> + Send>;

/// A thread for each job.
pub(super) fn on_threads() -> Start {
    Box::new(|name, job| thread::Builder::new().name(name.to_owned()).spawn(job).map(drop))
}

/// What a job comes to; `None` while it goes on. One that panicked comes to nothing.
type Outcome<T, E> = Option<Result<T, Option<E>>>;

fn outcome<T, E>(done: &Receiver<Result<T, E>>) -> Outcome<T, E> {
    match done.try_recv() {
        Ok(result) => Some(result.map_err(Some)),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Disconnected) => Some(Err(None)),
    }
}

/// Has `job` done, and the thread that asks woken when it is.
fn begin<T: Send + 'static>(
    start: &mut Start,
    name: &'static str,
    job: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Receiver<T>> {
    let (done, result) = channel();
    let asks = thread::current();
    start(
        name,
        Box::new(move || {
            // Whoever asked may have gone.
            let _ = done.send(job());
            asks.unpark();
        }),
    )?;
    Ok(result)
}

/// A fold under way.
pub(super) struct Folding {
    /// What is folded: the index as it was when this began.
    pub(super) before: Index,
    folded: Receiver<Result<Index, IndexError>>,
}

impl Folding {
    pub(super) fn begin(index: &Index, start: &mut Start) -> io::Result<Self> {
        let before = index.clone();
        let folded = begin(start, "fold", {
            let before = before.clone();
            move || before.fold()
        })?;
        Ok(Self { before, folded })
    }

    pub(super) fn outcome(&self) -> Outcome<Index, IndexError> {
        outcome(&self.folded)
    }
}

/// A configuration that is to be in force with the next index, and who waits for that.
pub(super) struct Reconfiguration {
    pub(super) config: Arc<Config>,
    pub(super) answer: Sender<Result<(), FeedError>>,
}

impl Reconfiguration {
    pub(super) fn answer(self, result: Result<(), FeedError>) {
        // Whoever asked may have gone.
        let _ = self.answer.send(result);
    }
}

/// A snapshot under way, from which an index is built. Dropped, it is abandoned.
pub(super) struct Rebase {
    pub(super) reconfiguration: Option<Reconfiguration>,
    built: Receiver<Result<Built, FeedError>>,
    _wanted: Arc<()>,
}

impl Rebase {
    /// Begins one, under the configuration given or the one that is to come.
    pub(super) fn begin(
        mut source: Box<dyn Source>,
        config: &Arc<Config>,
        start: &mut Start,
    ) -> io::Result<Self> {
        let policy = Arc::new(config.policy());
        let wanted = Arc::new(());
        let is_wanted = Arc::downgrade(&wanted);
        let built = begin(start, "snapshot", move || build(&mut *source, policy, &is_wanted))?;
        Ok(Self { reconfiguration: None, built, _wanted: wanted })
    }

    pub(super) fn outcome(&self) -> Outcome<Built, FeedError> {
        outcome(&self.built)
    }
}

/// An index that was built beside the one in force.
pub(super) struct Built {
    pub(super) index: Index,
    pub(super) cursor: Cursor,
    /// Position of the snapshot that it began with.
    pub(super) snapshot: u64,
    /// A bulk import that was heard of after that.
    pub(super) import: Option<Import>,
}

impl Built {
    /// Applies the next frame; `false` where there is none.
    pub(super) fn catch_up(&mut self, source: &mut dyn Source) -> Result<bool, FeedError> {
        let frame = match source.frames_after(&self.cursor)? {
            Next::Rebase => return Err(FeedError::Outrun),
            Next::Frame(frame) if frame.cursor == self.cursor => return Ok(false),
            Next::Frame(frame) => frame,
        };
        let Frame { records, cursor, bulk } = frame;
        let position = cursor.position();
        self.index = self.index.apply(&records, position);
        self.cursor = cursor;
        self.import = Import::hear(self.import, bulk, position, Instant::now());
        Ok(true)
    }
}

/// Builds an index from a snapshot, and applies what has happened by the time that it is built.
fn build(
    source: &mut dyn Source,
    policy: Arc<Policy>,
    wanted: &Weak<()>,
) -> Result<Built, FeedError> {
    let started = Instant::now();
    let mut builder = IndexBuilder::new(policy);
    let cursor = source.snapshot(&mut |record| match wanted.strong_count() {
        0 => Err(FeedError::Abandoned),
        _ => Ok(builder.add(record)?),
    })?;
    let position = cursor.position();
    let index = builder.finish(position);
    tracing::info!(tokens = index.base_tokens(), took = ?started.elapsed(), "index built");
    let mut built = Built { index, cursor, snapshot: position, import: None };
    while wanted.strong_count() > 0 && built.catch_up(source)? {}
    Ok(built)
}
