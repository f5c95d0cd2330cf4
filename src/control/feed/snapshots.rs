//! `GET /feed/snapshot`: one snapshot for all gates that ask while frames lead on from it, in a
//! file, so that it takes no memory and whoever was cut off goes on where that was (`Range` with
//! `If-Range`).

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName};
use tokio::sync::watch;

use crate::control::answer::{Answer, Part};
use crate::control::call::Call;
use crate::control::error::ApiError;
use crate::feed::snapshot;
use crate::store::Cursor;

/// Changes since a snapshot up to which it is handed out again.
const CHANGES_LIMIT: u64 = 10_000;
/// Bytes of the seal that tell one snapshot from another.
const TAG_BYTES: usize = 16;

/// The last snapshots that were built.
#[derive(Debug)]
pub(super) struct Snapshots {
    folder: PathBuf,
    /// The newest last; the one before it, for whoever is at it.
    built: Mutex<[Option<Arc<Snapshot>>; 2]>,
    /// Whether one is being built.
    building: watch::Sender<bool>,
}

/// The right to build one, which one caller has at a time.
struct Building<'s>(&'s watch::Sender<bool>);

impl<'s> Building<'s> {
    fn begin(building: &'s watch::Sender<bool>) -> Option<Self> {
        let begun = building.send_if_modified(|building| !std::mem::replace(building, true));
        begun.then(|| Self(building))
    }
}

impl Drop for Building<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

/// A snapshot in a file without a name.
#[derive(Debug)]
struct Snapshot {
    file: Arc<File>,
    length: u64,
    cursor: Cursor,
    etag: String,
}

/// The snapshot, or what is still wanted of it.
pub(super) fn take(call: &Call<'_>) -> Result<Answer, ApiError> {
    let snapshots = &call.feed.snapshots;
    let wanted = header(call.headers, &IF_RANGE).and_then(|etag| snapshots.find(etag));
    let (snapshot, may_be_part) = match wanted {
        Some(snapshot) => (snapshot, true),
        None => (snapshots.present(call)?, header(call.headers, &IF_RANGE).is_none()),
    };
    if header(call.headers, &IF_NONE_MATCH) == Some(&snapshot.etag) {
        return Ok(Answer::not_modified(&snapshot.etag));
    }
    let range = header(call.headers, &RANGE).filter(|_| may_be_part);
    let bytes = match range.and_then(|range| parse_range(range, snapshot.length)) {
        Some(Err(())) => return Ok(Answer::unsatisfiable(snapshot.length)),
        Some(Ok(bytes)) => Some(bytes),
        None => None,
    };
    let Snapshot { file, length, etag, .. } = &*snapshot;
    Ok(Answer::file(Part { file: file.clone(), length: *length, bytes }, etag))
}

impl Snapshots {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, built: Mutex::default(), building: watch::Sender::new(false) }
    }

    fn find(&self, etag: &str) -> Option<Arc<Snapshot>> {
        self.built().iter().flatten().find(|snapshot| snapshot.etag == etag).cloned()
    }

    /// Waits while one is being built.
    pub(super) async fn wait(&self) {
        let mut building = self.building.subscribe();
        // The sender is this one's own.
        let _ = building.wait_for(|building| !building).await;
    }

    /// The newest, or a new one where frames do not lead on from it. Whoever asks meanwhile is to
    /// wait, and gets the same.
    fn present(&self, call: &Call<'_>) -> Result<Arc<Snapshot>, ApiError> {
        if let Some(newest) = self.newest(call)? {
            return Ok(newest);
        }
        let _building = Building::begin(&self.building).ok_or(ApiError::Underway)?;
        // Another one may just have been finished.
        if let Some(newest) = self.newest(call)? {
            return Ok(newest);
        }
        let snapshot = Arc::new(self.build(call)?);
        let mut built = self.built();
        built.rotate_left(1);
        built[1] = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// The newest, where a few frames bring whoever begins with it to where the store is.
    fn newest(&self, call: &Call<'_>) -> Result<Option<Arc<Snapshot>>, ApiError> {
        let Some(newest) = self.built()[1].clone() else { return Ok(None) };
        Ok(call.store.leads_on(&newest.cursor, CHANGES_LIMIT)?.then_some(newest))
    }

    fn built(&self) -> MutexGuard<'_, [Option<Arc<Snapshot>>; 2]> {
        self.built.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn build(&self, call: &Call<'_>) -> Result<Snapshot, ApiError> {
        let failed = |error: &dyn std::fmt::Display| {
            let folder = self.folder.display();
            ApiError::Broken(format!("no snapshot can be written in {folder}: {error}"))
        };
        let mut file = tempfile::tempfile_in(&self.folder).map_err(|error| failed(&error))?;
        let out = BufWriter::with_capacity(1 << 18, &file);
        let key = call.config.keys.current();
        let header = snapshot::write_store(&**call.store, out, call.now, key)
            .map_err(|error| failed(&error))?;
        let length = file.seek(SeekFrom::End(0)).map_err(|error| failed(&error))?;
        let mut tag = [0; TAG_BYTES];
        file.read_exact_at(&mut tag, length.saturating_sub(TAG_BYTES as u64))
            .map_err(|error| failed(&error))?;
        let etag = format!("\"{}-{}\"", header.cursor, hex::encode(tag));
        Ok(Snapshot { file: Arc::new(file), length, cursor: header.cursor, etag })
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// One range of bytes (RFC 9110, section 14.1.2); `None` for what is left out of account: other
/// units, and several ranges.
fn parse_range(range: &str, length: u64) -> Option<Result<Range<u64>, ()>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse());
    let bytes = match (first, last) {
        ("", suffix) => length.saturating_sub(number(suffix)?.ok()?)..length,
        (first, "") => number(first)?.ok()?..length,
        (first, last) => {
            let last: u64 = number(last)?.ok()?;
            number(first)?.ok()?..last.checked_add(1)?.min(length)
        }
    };
    Some(if bytes.is_empty() { Err(()) } else { Ok(bytes) })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn one_caller_builds_and_others_can_wait_for_its_end_without_a_thread() {
        let snapshots = Snapshots::new(PathBuf::new());
        let building = Building::begin(&snapshots.building).unwrap();
        assert!(Building::begin(&snapshots.building).is_none());
        let cx = &mut Context::from_waker(Waker::noop());
        let mut waiting = pin!(snapshots.wait());
        assert!(waiting.as_mut().poll(cx).is_pending());
        drop(building);
        assert!(waiting.poll(cx).is_ready());
        assert!(Building::begin(&snapshots.building).is_some());
    }

    #[test]
    fn a_range_is_one_stretch_of_bytes_within_the_whole() {
        for (range, expected) in [
            ("bytes=0-", Some(Ok(0..10))),
            ("bytes=4-", Some(Ok(4..10))),
            ("bytes=4-5", Some(Ok(4..6))),
            ("bytes=4-99", Some(Ok(4..10))),
            ("bytes=-3", Some(Ok(7..10))),
            ("bytes=-30", Some(Ok(0..10))),
            ("bytes=10-", Some(Err(()))),
            ("bytes=5-4", Some(Err(()))),
            ("bytes=0-1,4-5", None),
            ("bytes=x-", None),
            ("lines=0-", None),
        ] {
            assert_eq!(parse_range(range, 10), expected, "{range}");
        }
    }
}
