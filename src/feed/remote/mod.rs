//! The feed from afar: a control's snapshots and frames over HTTP, kept on this gate's own disk.
//!
//! What a frame tells is on the disk before it is in force, so that a gate that is restarted neither
//! waits for its control nor forgets a revocation. Where the disk fails the gate goes on in memory,
//! says so (`portcullis_feed_cache_behind`), and makes up for it when the disk is back.

mod cache;
mod client;
mod download;
mod files;
mod usage;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::{self, BufReader, Write};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;

use self::cache::{Boot, Cache};
use self::client::{Client, Line, Polled};
use self::download::{Download, Tee};
use super::{FeedError, Frame, Next, Source, snapshot};
use crate::config::Feed;
use crate::core::digest::DigestKeys;
use crate::core::record::Record;
use crate::observe::metrics::Metrics;
use crate::store::{Bulk, Cursor};

pub(crate) use usage::RemoteUses;

/// How long the control waits for a change before it says that there is none.
const POLL_WAIT: Duration = Duration::from_secs(2);
/// How old an index may seem while nothing happens: where its last answer is older, the control does
/// not answer.
const ANSWER_AGE_LIMIT: Duration = Duration::from_secs(4);
/// Buffer between the network and the records.
const BUFFER_BYTES: usize = 256 * 1024;
/// How often the cache is tended to.
const TEND_INTERVAL: Duration = Duration::from_secs(1);
/// How long after a snapshot for the cache alone another one may be taken.
const REFRESH_PAUSE: Duration = Duration::from_secs(30);

/// A control that is followed over HTTP.
pub(crate) struct Remote {
    common: Arc<Common>,
    client: Client,
    /// What is asked for while the follower does something else.
    pending: Option<Pending>,
    /// What came of it.
    arrived: Option<(Cursor, Polled)>,
    /// Where the follower is.
    cursor: Option<Cursor>,
    /// Frames of the cache that are still to be told, in a process that has just begun.
    boot: Option<Boot>,
    /// When the control last said that there was nothing more.
    confirmed: Option<Instant>,
    tended: Instant,
    /// When a snapshot for the cache alone was last begun.
    refreshed: Option<Instant>,
}

/// What all handles on one control share.
struct Common {
    settings: Feed,
    keys: Arc<ArcSwap<DigestKeys>>,
    cache: Mutex<Cache>,
    /// Whether the cache has been looked at for a beginning.
    booted: AtomicBool,
    refreshing: AtomicBool,
    /// How old the cache was when the process began.
    age: Duration,
}

impl Common {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A poll that goes on.
type Pending = Pin<Box<dyn Future<Output = (Cursor, Line, Result<Polled, FeedError>)> + Send>>;

impl Remote {
    /// Takes the cache over.
    ///
    /// # Errors
    /// The cache's, where it cannot be read or another gate has it.
    pub(crate) fn open(
        settings: &Feed,
        keys: Arc<ArcSwap<DigestKeys>>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let mut cache = Cache::open(&settings.cache, &keys.load(), metrics)?;
        let age = cache.age();
        let is_usable = age.is_some_and(|age| age <= settings.max_boot_age);
        match age {
            Some(age) if is_usable => tracing::info!(?age, "beginning with the cache"),
            Some(age) => {
                tracing::warn!(
                    ?age,
                    "the cache is older than max_boot_age: waiting for the control"
                );
            }
            None => tracing::info!("there is no cache to begin with: waiting for the control"),
        }
        if !is_usable {
            cache.pass_over();
        }
        let common = Common {
            settings: settings.clone(),
            keys,
            cache: Mutex::new(cache),
            booted: AtomicBool::new(!is_usable),
            refreshing: AtomicBool::new(false),
            age: age.unwrap_or_default(),
        };
        Self::over(Arc::new(common))
    }

    fn over(common: Arc<Common>) -> io::Result<Self> {
        Ok(Self {
            client: Client::new(&common.settings)?,
            common,
            pending: None,
            arrived: None,
            cursor: None,
            boot: None,
            confirmed: None,
            tended: Instant::now(),
            refreshed: None,
        })
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.common.cache()
    }

    /// Takes what a poll brought for this cursor, or asks without waiting.
    fn ask(&mut self, cursor: &Cursor) -> Result<Polled, FeedError> {
        if let Some((after, polled)) = self.arrived.take()
            && after == *cursor
        {
            return Ok(polled);
        }
        self.pending = None;
        self.client.poll(cursor, Duration::ZERO)
    }

    /// What a poll says, once it is certain and on the disk.
    fn accept(&mut self, cursor: &Cursor, polled: Polled) -> Result<Next, FeedError> {
        let bytes = match polled {
            Polled::Nothing => {
                self.confirmed = Some(Instant::now());
                return Ok(Next::Frame(nothing(cursor)));
            }
            Polled::Gone => return Ok(Next::Rebase),
            Polled::Frame(bytes) => bytes,
        };
        let frame = read_frame(&bytes, cursor, &self.common.keys.load()).inspect_err(|_| {
            // Whatever is still in it is of no use.
            self.client.hang_up();
        })?;
        self.cache().append(cursor.position(), &frame.cursor, &bytes);
        Ok(Next::Frame(frame))
    }

    /// Says that the cache is up to date, and makes up for what the disk refused.
    fn tend(&mut self) {
        if self.tended.elapsed() < TEND_INTERVAL {
            return;
        }
        self.tended = Instant::now();
        let confirmed = self.answers();
        let wants_snapshot = self.cache().tend(confirmed);
        let may = self.refreshed.is_none_or(|at| at.elapsed() >= REFRESH_PAUSE);
        if wants_snapshot && confirmed && may {
            self.refreshed = Some(Instant::now());
            self.refresh();
        }
    }

    /// Takes a snapshot for the cache alone, beside following.
    fn refresh(&self) {
        if self.common.refreshing.swap(true, Ordering::Relaxed) {
            return;
        }
        let common = self.common.clone();
        let refresh = move || {
            let taken = Self::over(common.clone())
                .map_err(|error| FeedError::Thread(error.to_string()))
                .and_then(|mut remote| remote.download(&mut |_| Ok(())));
            if let Err(error) = taken {
                tracing::warn!(%error, "no snapshot could be taken for the cache; trying again");
            }
            common.refreshing.store(false, Ordering::Relaxed);
        };
        if let Err(error) = std::thread::Builder::new().name("cache".to_owned()).spawn(refresh) {
            tracing::warn!(%error, "no thread for the cache; trying again");
            self.common.refreshing.store(false, Ordering::Relaxed);
        }
    }

    /// Hands the records of the control's snapshot over while they come, and keeps it.
    fn download(
        &mut self,
        sink: &mut dyn FnMut(Record) -> Result<(), FeedError>,
    ) -> Result<Cursor, FeedError> {
        let common = self.common.clone();
        let keys = common.keys.load_full();
        let file = common.cache().begin_snapshot();
        let tee = Tee::new(Download::begin(&mut self.client)?, file);
        let mut input = BufReader::with_capacity(BUFFER_BYTES, tee);
        let (header, mut records) = snapshot::read(&mut input, &keys).map_err(refused)?;
        common.cache().admits(&header.cursor)?;
        for record in &mut records {
            sink(record.map_err(refused)?)?;
        }
        records.expect_end().map_err(refused)?;
        common.cache().keep_snapshot(input.into_inner().into_file(), &header.cursor, &keys);
        Ok(header.cursor)
    }
}

impl Source for Remote {
    fn snapshot(
        &mut self,
        sink: &mut dyn FnMut(Record) -> Result<(), FeedError>,
    ) -> Result<Cursor, FeedError> {
        if !self.common.booted.swap(true, Ordering::Relaxed) {
            let keys = self.common.keys.load_full();
            let boot = self.cache().boot(&keys, sink)?;
            let cursor = boot.cursor.clone();
            self.boot = Some(boot);
            return Ok(cursor);
        }
        self.download(sink)
    }

    fn frames_after(&mut self, cursor: &Cursor) -> Result<Next, FeedError> {
        if let Some(boot) = &mut self.boot {
            return Ok(Next::Frame(boot.frames.pop_front().unwrap_or_else(|| nothing(cursor))));
        }
        self.cursor = Some(cursor.clone());
        let polled = self.ask(cursor)?;
        self.accept(cursor, polled)
    }

    fn wait(&mut self, at_most: Duration) -> Result<bool, FeedError> {
        self.tend();
        let Some(cursor) = self.cursor.clone() else { return Ok(true) };
        if self.arrived.is_some() {
            return Ok(true);
        }
        let pending = match self.pending.take() {
            Some(pending) => pending,
            None => {
                let mut line = self.client.take();
                Box::pin(async move {
                    let polled = line.poll(&cursor, POLL_WAIT).await;
                    (cursor, line, polled)
                })
            }
        };
        match self.client.drive(pending, at_most) {
            Err(pending) => {
                self.pending = Some(pending);
                Ok(false)
            }
            Ok((after, line, polled)) => {
                self.client.put_back(line);
                match polled? {
                    Polled::Nothing => {
                        self.confirmed = Some(Instant::now());
                        Ok(false)
                    }
                    polled => {
                        self.arrived = Some((after, polled));
                        Ok(true)
                    }
                }
            }
        }
    }

    fn another(&self) -> Box<dyn Source> {
        match Self::over(self.common.clone()) {
            Ok(remote) => Box::new(remote),
            Err(error) => Box::new(Unavailable(error.to_string())),
        }
    }

    fn name(&self) -> &'static str {
        "control"
    }

    fn age(&self) -> Duration {
        self.confirmed.map_or(self.common.age, |at| at.elapsed())
    }

    fn answers(&self) -> bool {
        self.confirmed.is_some_and(|at| at.elapsed() <= ANSWER_AGE_LIMIT)
    }

    fn reached(&self) -> Option<Cursor> {
        self.cache().reached().cloned()
    }
}

/// A handle for which the operating system had nothing to give.
struct Unavailable(String);

impl Source for Unavailable {
    fn snapshot(
        &mut self,
        _: &mut dyn FnMut(Record) -> Result<(), FeedError>,
    ) -> Result<Cursor, FeedError> {
        Err(FeedError::Thread(self.0.clone()))
    }

    fn frames_after(&mut self, _: &Cursor) -> Result<Next, FeedError> {
        Err(FeedError::Thread(self.0.clone()))
    }

    fn wait(&mut self, _: Duration) -> Result<bool, FeedError> {
        Err(FeedError::Thread(self.0.clone()))
    }

    fn another(&self) -> Box<dyn Source> {
        Box::new(Self(self.0.clone()))
    }
}

fn nothing(cursor: &Cursor) -> Frame {
    Frame { records: Vec::new(), cursor: cursor.clone(), bulk: Bulk::Nothing }
}

/// A frame that goes on from the cursor, whole and as it was written.
fn read_frame(bytes: &Bytes, cursor: &Cursor, keys: &DigestKeys) -> Result<Frame, FeedError> {
    let mut input = &bytes[..];
    let found = snapshot::read_frame(&mut input, keys).map_err(refused)?;
    let (after, frame) = found.ok_or_else(|| FeedError::Refused("a frame is empty".to_owned()))?;
    let goes_on = after == cursor.position() && cursor.is_before(&frame.cursor);
    if !goes_on || frame.cursor.epoch() != cursor.epoch() || !input.is_empty() {
        return Err(FeedError::Refused("a frame does not go on from where the gate is".to_owned()));
    }
    Ok(frame)
}

fn refused(error: snapshot::SnapshotError) -> FeedError {
    match error {
        snapshot::SnapshotError::Io(error) => FeedError::Control(error.to_string()),
        other => FeedError::Refused(other.to_string()),
    }
}

/// Writes all of it, durably.
fn write_durably(mut file: &std::fs::File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_data()
}
