//! The gate's side: has questions asked on a thread of its own, over one connection that is kept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::LocalSet;

use super::session::Session;
use super::{GreetError, greet, places};
use crate::config::Legacy;
use crate::legacy::load::{LaneStats, whole_seconds};
use crate::legacy::task::{Hashed, Hasher, Outcome, Task};

/// The first pause after a failed connection; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Takes tasks to the thread that asks.
pub(in crate::legacy) struct Remote {
    asks: mpsc::Sender<Ask>,
    shared: Arc<Shared>,
}

/// A task on its way.
pub(super) struct Ask {
    pub(super) task: Box<dyn Task>,
    /// Nobody waits for it longer.
    pub(super) until: Instant,
    pub(super) place: OwnedSemaphorePermit,
}

/// What the thread and those who ask have in common.
pub(super) struct Shared {
    places: Arc<Semaphore>,
    limit: usize,
    deadline: Duration,
    retry_after_millis: AtomicU64,
    pub(super) stats: Arc<LaneStats>,
}

impl Remote {
    /// Starts the thread, named `lane`. It ends with the handle.
    ///
    /// # Errors
    /// The operating system's, where it has no thread or descriptor to give.
    pub(in crate::legacy) fn start(
        socket: &Path,
        settings: &Legacy,
        stats: Arc<LaneStats>,
    ) -> io::Result<Self> {
        let limit = places(settings);
        let shared = Arc::new(Shared {
            places: Arc::new(Semaphore::new(limit)),
            limit,
            deadline: settings.deadline,
            retry_after_millis: AtomicU64::new(0),
            stats,
        });
        let (asks, queue) = mpsc::channel(limit);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connecting = Connecting { socket: socket.to_owned(), shared: shared.clone() };
        let run = move || LocalSet::new().block_on(&runtime, connecting.serve(queue));
        thread::Builder::new().name("lane".to_owned()).spawn(run)?;
        Ok(Self { asks, shared })
    }
}

impl Hasher for Remote {
    fn submit(&self, task: Box<dyn Task>) {
        let Ok(place) = self.shared.places.clone().try_acquire_owned() else {
            return task.answer(Hashed::without_work(Outcome::Full, self.retry_after()));
        };
        self.shared.note_depth();
        let until = Instant::now() + self.shared.deadline;
        // There are as many places as fit; without the thread, the task is unavailable.
        drop(self.asks.try_send(Ask { task, until, place }));
    }

    fn waiting(&self) -> usize {
        self.shared.waiting()
    }

    fn retry_after(&self) -> Duration {
        whole_seconds(Duration::from_millis(self.shared.retry_after_millis.load(Ordering::Relaxed)))
    }
}

impl Shared {
    /// How long a late answer is still worth something: whoever asked will ask again.
    pub(super) fn grace(&self) -> Duration {
        self.deadline
    }

    /// What the lane last said.
    pub(super) fn come_back(&self, retry_after: Duration) {
        let millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        self.retry_after_millis.store(millis, Ordering::Relaxed);
    }

    /// Tells how many are under way.
    pub(super) fn note_depth(&self) {
        self.stats.queued(self.waiting());
    }

    fn waiting(&self) -> usize {
        self.limit - self.places.available_permits()
    }
}

/// Connects, again and again.
struct Connecting {
    socket: PathBuf,
    shared: Arc<Shared>,
}

impl Connecting {
    /// Asks for as long as there is somebody who has something asked.
    async fn serve(self, mut queue: mpsc::Receiver<Ask>) {
        let (mut pause, mut told) = (FIRST_PAUSE, String::new());
        loop {
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = refuse(&mut queue) => return,
            };
            match connected {
                Ok(stream) => {
                    let began = Instant::now();
                    let Some(error) = self.ask(stream, &mut queue).await else { return };
                    tracing::warn!(%error, "the slow lane has gone");
                    told.clear();
                    // One that goes at once is not asked again at once.
                    if began.elapsed() >= LONGEST_PAUSE {
                        pause = FIRST_PAUSE;
                    }
                }
                Err(error) if error.to_string() != told => {
                    told = error.to_string();
                    tracing::error!(
                        socket = %self.socket.display(), error = told,
                        "the slow lane cannot be asked: legacy tokens that are not remembered get 503"
                    );
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (2 * pause).min(LONGEST_PAUSE),
                () = refuse(&mut queue) => return,
            }
        }
    }

    /// Asks on one connection. `None` once nothing can come any more.
    async fn ask(&self, stream: UnixStream, queue: &mut mpsc::Receiver<Ask>) -> Option<io::Error> {
        tracing::info!(socket = %self.socket.display(), "the slow lane answers");
        self.shared.stats.note_reached(true);
        let ended = Session::new(stream, self.shared.clone()).run(queue).await;
        if ended.is_some() {
            self.shared.stats.note_reached(false);
        }
        ended
    }

    async fn connect(&self) -> Result<UnixStream, GreetError> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        greet(&mut stream).await?;
        Ok(stream)
    }
}

/// Answers whatever comes as unavailable, until nothing can come any more.
async fn refuse(queue: &mut mpsc::Receiver<Ask>) {
    while let Some(ask) = queue.recv().await {
        drop(ask);
    }
}
