//! What a gate keeps of its control on its own disk: the last snapshot, and the frames since.
//!
//! A frame counts as kept once it is synced. Where the disk refuses one, it waits in memory until
//! the disk takes it; where too many wait, or a snapshot could not be written, only another
//! snapshot makes the cache whole. Until then nothing says how recent it is, so that a gate that is
//! restarted does not begin with less than it had in force.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::NamedTempFile;

use super::files::Folder;
use super::write_durably;
use crate::core::digest::DigestKeys;
use crate::core::record::Record;
use crate::feed::{FeedError, Frame, snapshot};
use crate::observe::metrics::Metrics;
use crate::store::Cursor;
use crate::time::now;

/// Bytes of frames that wait for the disk; with more, a snapshot makes up for them.
const UNSAVED_BYTES_LIMIT: usize = 16 * 1024 * 1024;
/// Bytes of frames on the disk from which on a snapshot takes their place.
const FRAMES_BYTES_LIMIT: u64 = 32 * 1024 * 1024;
/// How often it is noted that the cache is up to date.
const SEEN_INTERVAL: Duration = Duration::from_secs(5);
/// How far ahead of this clock the last note may be.
const CLOCK_TOLERANCE_SECONDS: i64 = 60;
/// What is written to see whether the disk takes anything.
const PROBE_BYTES: usize = 64 * 1024;

/// The cache of one gate.
pub(super) struct Cache {
    folder: Folder,
    metrics: Arc<Metrics>,
    /// Where the snapshot on the disk is.
    snapshot: Option<Cursor>,
    /// Where that is with the frames on the disk.
    end: Option<Cursor>,
    /// Bytes of the frames on the disk that are whole.
    length: u64,
    /// Those frames, for a process that begins with them.
    found: VecDeque<Frame>,
    /// Frames in force that are not on the disk, the oldest first.
    unsaved: VecDeque<Unsaved>,
    /// Something is missing between what is on the disk and them.
    gap: bool,
    behind: bool,
    noted: Option<Instant>,
}

/// A frame that waits for the disk.
struct Unsaved {
    after: u64,
    cursor: Cursor,
    bytes: Bytes,
}

/// What a process begins with.
pub(super) struct Boot {
    /// Where the snapshot is.
    pub(super) cursor: Cursor,
    pub(super) frames: VecDeque<Frame>,
}

impl Cache {
    pub(super) fn open(path: &Path, keys: &DigestKeys, metrics: Arc<Metrics>) -> io::Result<Self> {
        let folder = Folder::open(path)?;
        let snapshot = match folder.snapshot()?.map(snapshot::inspect).transpose() {
            Ok(header) => header.map(|header| header.cursor),
            Err(error) => {
                tracing::error!(%error, "the cached snapshot cannot be used");
                None
            }
        };
        let mut cache = Self {
            folder,
            metrics,
            end: snapshot.clone(),
            snapshot,
            length: 0,
            found: VecDeque::new(),
            unsaved: VecDeque::new(),
            gap: false,
            behind: false,
            noted: None,
        };
        cache.take_in(keys)?;
        Ok(cache)
    }

    /// How long ago it was last known to be everything; `None` where there is nothing to begin with.
    pub(super) fn age(&self) -> Option<Duration> {
        self.snapshot.as_ref()?;
        let past = now().0.saturating_sub(self.folder.seen()?);
        (past >= -CLOCK_TOLERANCE_SECONDS).then(|| Duration::from_secs(past.max(0) as u64))
    }

    /// The last place that is known here.
    pub(super) fn reached(&self) -> Option<&Cursor> {
        self.end.as_ref()
    }

    /// What was found is not what a process begins with.
    pub(super) fn pass_over(&mut self) {
        self.found = VecDeque::new();
    }

    /// Hands the records of the snapshot over, and the frames since for later. Once: they are not
    /// kept here.
    pub(super) fn boot(
        &mut self,
        keys: &DigestKeys,
        sink: &mut dyn FnMut(Record) -> Result<(), FeedError>,
    ) -> Result<Boot, FeedError> {
        let unusable = |error: &dyn std::fmt::Display| {
            FeedError::Refused(format!("the cache cannot be used: {error}"))
        };
        let file = self.folder.snapshot().map_err(|error| unusable(&error))?;
        let file = file.ok_or_else(|| unusable(&"there is no snapshot"))?;
        let (header, mut records) = snapshot::read(BufReader::with_capacity(1 << 18, file), keys)
            .map_err(|error| unusable(&error))?;
        for record in &mut records {
            sink(record.map_err(|error| unusable(&error))?)?;
        }
        Ok(Boot { cursor: header.cursor, frames: std::mem::take(&mut self.found) })
    }

    /// Whether a snapshot may take the place of the one that is here.
    pub(super) fn admits(&self, cursor: &Cursor) -> Result<(), FeedError> {
        match &self.snapshot {
            Some(snapshot) if cursor.is_before(snapshot) => {
                Err(FeedError::WentBack { now: cursor.clone(), reached: snapshot.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Keeps a frame that is about to be in force.
    pub(super) fn append(&mut self, after: u64, cursor: &Cursor, bytes: &Bytes) {
        self.unsaved.push_back(Unsaved { after, cursor: cursor.clone(), bytes: bytes.clone() });
        if let Err(error) = self.save() {
            self.fail(&error);
        }
        let waiting: usize = self.unsaved.iter().map(|unsaved| unsaved.bytes.len()).sum();
        if waiting > UNSAVED_BYTES_LIMIT {
            self.unsaved.clear();
            self.gap = true;
        }
    }

    /// Makes up for what the disk refused, and notes that everything is here. Whether only a
    /// snapshot can make the cache whole, or shorter.
    pub(super) fn tend(&mut self, confirmed: bool) -> bool {
        if self.behind && !self.gap {
            // It has been said that the disk fails, and it will be said that it no longer does.
            let _ = self.save();
        }
        if self.behind && self.gap {
            return self.probe().is_ok();
        }
        if confirmed && self.noted.is_none_or(|noted| noted.elapsed() >= SEEN_INTERVAL) {
            self.note();
        }
        self.length > FRAMES_BYTES_LIMIT
    }

    /// A file for a snapshot that comes.
    pub(super) fn begin_snapshot(&self) -> io::Result<NamedTempFile> {
        self.folder.unfinished()
    }

    /// Puts a snapshot in the place of the one before, or notes that it could not be kept.
    pub(super) fn keep_snapshot(
        &mut self,
        file: io::Result<NamedTempFile>,
        cursor: &Cursor,
        keys: &DigestKeys,
    ) {
        if let Err(error) = file.and_then(|file| self.folder.put_snapshot(file)) {
            self.gap = true;
            return self.fail(&error);
        }
        self.snapshot = Some(cursor.clone());
        self.gap = false;
        match self.shorten(cursor, keys).and_then(|()| self.save()) {
            Ok(()) => self.note(),
            Err(error) => self.fail(&error),
        }
    }

    /// Notes that everything is here now.
    fn note(&mut self) {
        self.noted = Some(Instant::now());
        if let Err(error) = self.folder.note_seen(now().0) {
            tracing::warn!(%error, "the cache could not be noted as up to date");
        }
    }

    /// Leaves out the frames that the snapshot has.
    fn shorten(&mut self, cursor: &Cursor, keys: &DigestKeys) -> io::Result<()> {
        let log = self.folder.frames()?;
        let mut kept = Vec::new();
        let (end, _) = scan(&log, keys, cursor, |bytes, _| kept.push(bytes))?;
        let mut shorter = self.folder.unfinished()?;
        let mut length = 0;
        for Range { start, end } in kept {
            let mut bytes = vec![0; (end - start) as usize];
            log.read_exact_at(&mut bytes, start)?;
            shorter.write_all(&bytes)?;
            length += end - start;
        }
        self.folder.put_frames(shorter)?;
        (self.end, self.length) = (Some(end), length);
        Ok(())
    }

    /// Takes in what is on the disk, up to where it is whole.
    fn take_in(&mut self, keys: &DigestKeys) -> io::Result<()> {
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let log = self.folder.frames()?;
        let (end, length) = scan(&log, keys, snapshot, |_, frame| self.found.push_back(frame))?;
        (self.end, self.length) = (Some(end), length);
        Ok(())
    }

    /// Writes what waits.
    fn save(&mut self) -> io::Result<()> {
        while let Some(unsaved) = self.unsaved.front() {
            let end = self.end.as_ref().filter(|_| !self.gap);
            let end = end.ok_or_else(|| io::Error::other("there is no snapshot on the disk"))?;
            let alike =
                (end.store(), end.epoch()) == (unsaved.cursor.store(), unsaved.cursor.epoch());
            if unsaved.cursor.is_same_or_before(end) {
                self.unsaved.pop_front();
                continue;
            }
            if !alike || unsaved.after > end.position() {
                self.gap = true;
                return Err(io::Error::other("a frame is missing on the disk"));
            }
            self.write(&unsaved.bytes.clone())?;
            let written = self.unsaved.pop_front();
            self.end = written.map(|written| written.cursor);
        }
        if std::mem::take(&mut self.behind) {
            self.metrics.feed_cache_behind.set(0);
            tracing::info!("the cache holds everything again");
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut log = self.folder.frames()?;
        // Whatever was begun and not finished goes.
        log.set_len(self.length)?;
        log.seek(SeekFrom::Start(self.length))?;
        write_durably(&log, bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn probe(&self) -> io::Result<()> {
        let probe = self.folder.unfinished()?;
        write_durably(probe.as_file(), &[0; PROBE_BYTES])
    }

    fn fail(&mut self, error: &io::Error) {
        self.folder.forget_seen();
        self.noted = None;
        if !std::mem::replace(&mut self.behind, true) {
            self.metrics.feed_cache_behind.set(1);
            tracing::error!(
                %error,
                "the cache cannot be written: going on in memory; make room in [feed] cache, or a \
                 restart has to wait for the control"
            );
        }
    }
}

/// Goes along the frames that lead on from `start`: the place after the last one, and how many
/// bytes are whole. What a snapshot has already, and what is of another epoch, is left out.
fn scan(
    log: &File,
    keys: &DigestKeys,
    start: &Cursor,
    mut each: impl FnMut(Range<u64>, Frame),
) -> io::Result<(Cursor, u64)> {
    let mut input = BufReader::new(log);
    input.rewind()?;
    let (mut end, mut whole) = (start.clone(), 0);
    loop {
        let (after, frame) = match snapshot::read_frame(&mut input, keys) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok((end, whole)),
            Err(snapshot::SnapshotError::Io(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the cached frames end early");
                return Ok((end, whole));
            }
        };
        let after_it = input.stream_position()?;
        let alike = (frame.cursor.store(), frame.cursor.epoch()) == (end.store(), end.epoch());
        if alike && !frame.cursor.is_same_or_before(&end) {
            if after > end.position() {
                return Ok((end, whole));
            }
            end = frame.cursor.clone();
            each(whole..after_it, frame);
        }
        whole = after_it;
    }
}
