//! One connection to a lane, from the gate's side.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::client::{Ask, Shared};
use super::wire::{
    ANSWER_BYTES, Answer, HashedAnswer, Question, invalid, read_frame, verify_frame,
};
use super::{SILENCE_LIMIT, WRITE_TIMEOUT};
use crate::legacy::task::{Hashed, Outcome, Parts, Task, with_hash};

/// How often questions are looked at that nobody may wait for any more.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Answers that are read ahead.
const ANSWERS_LIMIT: usize = 64;

/// Questions under way on one connection.
pub(super) struct Session {
    reader: Option<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    shared: Arc<Shared>,
    pending: HashMap<u64, Pending, FixedState>,
    next_id: u64,
    /// The lane takes no more.
    is_leaving: bool,
}

/// A question under way. Dropped, it is unavailable.
struct Pending {
    task: Box<dyn Task>,
    /// How many hashes it has.
    hashes: usize,
    /// When it was said that nobody waits any more.
    given_up: Option<Instant>,
    _place: OwnedSemaphorePermit,
}

impl Session {
    pub(super) fn new(stream: UnixStream, shared: Arc<Shared>) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            reader: Some(reader),
            writer,
            shared,
            pending: HashMap::default(),
            next_id: 0,
            is_leaving: false,
        }
    }

    /// Asks what comes. `None` once nothing can come any more, else why the connection is over.
    pub(super) async fn run(mut self, queue: &mut mpsc::Receiver<Ask>) -> Option<io::Error> {
        let (answered, mut answers) = mpsc::channel(ANSWERS_LIMIT);
        // Ends with this.
        let mut reading = JoinSet::new();
        if let Some(reader) = self.reader.take() {
            reading.spawn_local(read(reader, answered));
        }
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                ask = queue.recv() => match ask {
                    Some(ask) => self.ask(ask).await,
                    None => return None,
                },
                answer = answers.recv() => match answer {
                    Some(answer) => answer.and_then(|answer| self.take(answer)),
                    None => Err(io::ErrorKind::UnexpectedEof.into()),
                },
                _ = look.tick(), if !self.pending.is_empty() => self.look().await,
            };
            if let Err(error) = done {
                return Some(error);
            }
        }
    }

    async fn ask(&mut self, ask: Ask) -> io::Result<()> {
        let Ask { mut task, until, place } = ask;
        let left = until.saturating_duration_since(Instant::now());
        let account = task.account();
        let Parts { secret, candidates, asker } = task.parts();
        if self.is_leaving || left.is_zero() || asker.is_over() {
            return Ok(());
        }
        let hashes = with_hash(candidates)
            .filter_map(|candidate| Some((candidate.token_id, candidate.encoded.as_deref()?)));
        let id = self.next_id;
        let (frame, hashes) =
            (verify_frame(id, left, account, secret, hashes.clone()), hashes.count());
        self.next_id += 1;
        self.pending.insert(id, Pending { task, hashes, given_up: None, _place: place });
        self.write(&frame).await
    }

    /// Takes what the lane says. An answer to what is not asked any more came too late.
    fn take(&mut self, answer: Answer) -> io::Result<()> {
        match answer {
            Answer::Hashed(id, HashedAnswer(hashed)) => {
                self.shared.come_back(hashed.retry_after);
                let Some(pending) = self.pending.remove(&id) else { return Ok(()) };
                if !pending.is_answered_by(&hashed) {
                    return Err(invalid("an answer is about more than was asked"));
                }
                let Pending { task, _place: place, .. } = pending;
                drop(place);
                task.answer(hashed);
                self.shared.note_depth();
            }
            Answer::Alive { retry_after } => self.shared.come_back(retry_after),
            Answer::Leaving => self.is_leaving = true,
        }
        Ok(())
    }

    /// Gives up what nobody waits for. A hash that is half done by then is answered all the same,
    /// and worth remembering, for a while.
    async fn look(&mut self) -> io::Result<()> {
        let (now, grace) = (Instant::now(), self.shared.grace());
        let is_forgotten =
            |pending: &Pending| pending.given_up.is_some_and(|given_up| now >= given_up + grace);
        self.pending.retain(|_, pending| !is_forgotten(pending));
        let mut over = Vec::new();
        for (id, pending) in &mut self.pending {
            if pending.given_up.is_none() && pending.task.parts().asker.is_over() {
                pending.given_up = Some(now);
                over.push(*id);
            }
        }
        for id in over {
            self.write(&Question::GiveUp { id }.frame()).await?;
        }
        self.shared.note_depth();
        Ok(())
    }

    async fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let written = tokio::time::timeout(WRITE_TIMEOUT, self.writer.write_all(frame)).await;
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Pending {
    /// Whether an answer is about the hashes that were sent.
    fn is_answered_by(&self, hashed: &Hashed) -> bool {
        let is_known = |position: usize| position < self.hashes;
        let matched = match hashed.outcome {
            Outcome::Matched(position) => is_known(position) && position < hashed.hashes.len(),
            _ => true,
        };
        matched && hashed.hashes.len() <= self.hashes
    }
}

/// Reads answers until there are no more; the last is why.
async fn read(mut reader: OwnedReadHalf, answers: mpsc::Sender<io::Result<Answer>>) {
    loop {
        let answer = next(&mut reader).await;
        let is_last = answer.is_err();
        if answers.send(answer).await.is_err() || is_last {
            return;
        }
    }
}

async fn next(reader: &mut OwnedReadHalf) -> io::Result<Answer> {
    let frame = tokio::time::timeout(SILENCE_LIMIT, read_frame(reader, ANSWER_BYTES)).await;
    let frame = frame.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let frame = frame.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    Answer::read(&frame).map_err(invalid)
}
