//! The lane's side: takes questions from gates, and has its threads hash.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::wire::{Answer, HashedAnswer, QUESTION_BYTES, Question, Verify, invalid, read_frame};
use super::{ALIVE_INTERVAL, WRITE_TIMEOUT, greet, places};
use crate::config::Legacy;
use crate::core::index::Candidate;
use crate::core::record::AccountId;
use crate::core::token::Secret;
use crate::legacy::load::{LaneObserver, LaneStats};
use crate::legacy::queue::Waiting;
use crate::legacy::task::{Hashed, Hasher, Outcome, Parts, Task};
use crate::legacy::threads::Threads;
use crate::legacy::verifier::Bounds;
use crate::legacy::worker::password_check;

/// A lane for gates to ask: the threads that hash, exchanged when settings change.
pub struct LaneServer {
    working: ArcSwap<Working>,
    observer: Arc<dyn LaneObserver>,
}

/// The threads, under certain settings.
struct Working {
    threads: Threads,
    stats: Arc<LaneStats>,
    places: usize,
    deadline: Duration,
}

impl LaneServer {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system's, where it starts no more threads.
    pub fn start(settings: &Legacy, observer: Arc<dyn LaneObserver>) -> io::Result<Self> {
        let working = ArcSwap::from_pointee(Working::start(settings, observer.clone())?);
        Ok(Self { working, observer })
    }

    /// Goes on with other settings. What waits is answered as unavailable.
    ///
    /// # Errors
    /// The operating system's; then all stays as it is.
    pub fn replace(&self, settings: &Legacy) -> io::Result<()> {
        self.working.store(Arc::new(Working::start(settings, self.observer.clone())?));
        Ok(())
    }

    /// How long anybody waits for an answer.
    pub(crate) fn deadline(&self) -> Duration {
        self.working.load().deadline
    }

    /// Answers one gate until it ends or the lane is to, then what it has asked by then.
    pub(crate) async fn connection(
        self: Arc<Self>,
        mut stream: UnixStream,
        stop: watch::Receiver<bool>,
    ) {
        match greet(&mut stream).await {
            Ok(()) => tracing::info!("a gate has connected"),
            Err(error) => return tracing::warn!(%error, "somebody was not let in as a gate"),
        }
        match self.converse(stream, stop).await {
            Ok(()) => tracing::info!("a gate has disconnected"),
            Err(error) => tracing::warn!(%error, "a gate's connection was ended"),
        }
    }

    /// Takes questions until the gate ends or the lane is to; what was asked by then is answered,
    /// if there is somebody to tell.
    async fn converse(
        self: &Arc<Self>,
        stream: UnixStream,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let (mut reader, writer) = stream.into_split();
        let (frames, outgoing) = mpsc::unbounded_channel();
        let gate = Arc::new(Gate { frames, under_way: Mutex::default(), is_gone: false.into() });
        let places = Arc::new(Semaphore::new(self.working.load().places));
        // Ends with this, or once nobody has anything to tell any more.
        let mut writing = JoinSet::new();
        writing.spawn_local(write(writer, outgoing, self.clone()));
        let ended = tokio::select! {
            ended = self.read(&mut reader, &gate, &places) => ended,
            written = writing.join_next() => written.and_then(Result::ok).unwrap_or(Ok(())),
            _ = stop.wait_for(|stop| *stop) => {
                gate.tell(&Answer::Leaving, None);
                drop(gate);
                return writing.join_next().await.and_then(Result::ok).unwrap_or(Ok(()));
            }
        };
        gate.is_gone.store(true, Ordering::Relaxed);
        ended
    }

    async fn read(
        &self,
        reader: &mut OwnedReadHalf,
        gate: &Arc<Gate>,
        places: &Arc<Semaphore>,
    ) -> io::Result<()> {
        loop {
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            let Some(frame) = read_frame(reader, QUESTION_BYTES).await? else { return Ok(()) };
            match Question::read(&frame).map_err(invalid)? {
                Question::Verify(verify) => self.submit(verify, gate, place)?,
                Question::GiveUp { id } => gate.give_up(id),
            }
        }
    }

    fn submit(
        &self,
        verify: Verify,
        gate: &Arc<Gate>,
        place: OwnedSemaphorePermit,
    ) -> io::Result<()> {
        let working = self.working.load();
        let Verify { id, left, account, secret, hashes } = verify;
        let now = Instant::now();
        let asker = Asker::new(gate, id, now + left, place)
            .ok_or_else(|| invalid("two questions under way have one number"))?;
        let candidates = hashes.into_iter().map(|(token_id, encoded)| Candidate {
            token_id,
            account_id: account,
            user_id: None,
            version: 0,
            encoded: Some(encoded.into()),
        });
        working.threads.submit(Box::new(Asking {
            account,
            secret,
            candidates: candidates.collect(),
            submitted: now,
            stats: working.stats.clone(),
            asker,
        }));
        Ok(())
    }
}

impl Working {
    fn start(settings: &Legacy, observer: Arc<dyn LaneObserver>) -> io::Result<Self> {
        let stats = Arc::new(LaneStats::new(settings, observer));
        let check = password_check(Bounds::default());
        let threads = Threads::start(settings, stats.clone(), check)?;
        Ok(Self { threads, stats, places: places(settings), deadline: settings.deadline })
    }
}

/// A gate that is connected, as its questions see it.
struct Gate {
    frames: mpsc::UnboundedSender<Outgoing>,
    /// Questions under way, by number, and whether they were given up.
    under_way: Mutex<HashMap<u64, bool, FixedState>>,
    is_gone: AtomicBool,
}

/// A frame on its way to a gate, with its question's place: so there are no more than places.
struct Outgoing {
    frame: Vec<u8>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Gate {
    fn tell(&self, answer: &Answer, place: Option<OwnedSemaphorePermit>) {
        // Nobody is there to be told where this fails.
        let _ = self.frames.send(Outgoing { frame: answer.frame(), _place: place });
    }

    fn give_up(&self, id: u64) {
        if let Some(given_up) = self.under_way().get_mut(&id) {
            *given_up = true;
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<u64, bool, FixedState>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question, as the threads have it.
struct Asking {
    account: AccountId,
    secret: Secret,
    candidates: Arc<[Candidate]>,
    submitted: Instant,
    stats: Arc<LaneStats>,
    asker: Asker,
}

impl Task for Asking {
    fn account(&self) -> AccountId {
        self.account
    }

    fn parts(&mut self) -> Parts<'_> {
        let Self { secret, candidates, asker, .. } = self;
        Parts { secret, candidates, asker }
    }

    fn answer(mut self: Box<Self>, hashed: Hashed) {
        match hashed.outcome {
            Outcome::Full => self.stats.shed(),
            _ => self.stats.note_hashed(&hashed, self.submitted.elapsed()),
        }
        self.asker.answer(hashed);
    }
}

/// Whoever waits for an answer. However it ends, there is one.
struct Asker {
    gate: Arc<Gate>,
    id: u64,
    until: Instant,
    place: Option<OwnedSemaphorePermit>,
}

impl Asker {
    /// `None` where a question of this number is under way.
    fn new(gate: &Arc<Gate>, id: u64, until: Instant, place: OwnedSemaphorePermit) -> Option<Self> {
        let is_new = gate.under_way().insert(id, false).is_none();
        is_new.then(|| Self { gate: gate.clone(), id, until, place: Some(place) })
    }

    fn answer(&mut self, hashed: Hashed) {
        if let Some(place) = self.place.take() {
            self.gate.under_way().remove(&self.id);
            self.gate.tell(&Answer::Hashed(self.id, HashedAnswer(hashed)), Some(place));
        }
    }
}

impl Waiting for Asker {
    fn is_over(&mut self) -> bool {
        let is_given_up = || self.gate.under_way().get(&self.id).is_none_or(|given_up| *given_up);
        self.gate.is_gone.load(Ordering::Relaxed) || Instant::now() >= self.until || is_given_up()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.answer(Hashed::without_work(Outcome::Unavailable, Duration::ZERO));
    }
}

/// Writes what is to be told, and each second that the lane is there, until nobody has anything to
/// tell.
async fn write(
    mut writer: OwnedWriteHalf,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    server: Arc<LaneServer>,
) -> io::Result<()> {
    let mut alive = tokio::time::interval(ALIVE_INTERVAL);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            outgoing = outgoing.recv() => match outgoing {
                Some(outgoing) => outgoing,
                None => return Ok(()),
            },
            _ = alive.tick() => {
                let retry_after = server.working.load().threads.retry_after();
                Outgoing { frame: Answer::Alive { retry_after }.frame(), _place: None }
            }
        };
        let written = tokio::time::timeout(WRITE_TIMEOUT, writer.write_all(&next.frame)).await;
        written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    }
}
