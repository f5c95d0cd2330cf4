//! The cache on a real disk: what is kept, what is made up for, and what is not believed.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use tempfile::TempDir;

use super::cache::Cache;
use super::*;
use crate::core::digest::DigestKey;
use crate::core::record::{AccountRecord, AccountState, Plan, Timestamp};
use crate::feed::snapshot::{Counts, Header};

/// A control in memory, and the folder of a gate's cache.
struct World {
    folder: TempDir,
    keys: DigestKeys,
    metrics: Arc<Metrics>,
}

fn key() -> DigestKey {
    DigestKey::new("k1", [7; 32])
}

fn cursor(position: u64) -> Cursor {
    Cursor::new("ab".to_owned(), 1, position).unwrap()
}

fn account(id: u64) -> Record {
    Record::Account(AccountRecord {
        id,
        plan: Plan::Enterprise,
        state: AccountState::Open,
        ip_rules_enabled: false,
        ip_rules: vec![],
        projects: vec![],
    })
}

fn frame(after: u64) -> Bytes {
    frame_to(after, cursor(after + 1))
}

fn frame_to(after: u64, cursor: Cursor) -> Bytes {
    let frame = Frame { records: vec![account(cursor.position())], cursor, bulk: Bulk::Nothing };
    let mut bytes = Vec::new();
    snapshot::write_frame(&mut bytes, after, &frame, &key()).unwrap();
    bytes.into()
}

impl World {
    fn new() -> Self {
        let keys = DigestKeys::new(key(), vec![]);
        Self { folder: TempDir::new().unwrap(), keys, metrics: Metrics::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("cache").join(name)
    }

    fn open(&self) -> Cache {
        Cache::open(&self.folder.path().join("cache"), &self.keys, self.metrics.clone()).unwrap()
    }

    /// With a snapshot of this place.
    fn keep(&self, cache: &mut Cache, cursor: &Cursor) {
        let mut file = cache.begin_snapshot().unwrap();
        let counts = Counts { accounts: 1, ..Counts::default() };
        let made_at = Timestamp(0);
        let header = Header { key_id: "k1".to_owned(), cursor: cursor.clone(), made_at, counts };
        snapshot::write(&mut file, &header, [account(0)], &key()).unwrap();
        cache.keep_snapshot(Ok(file), cursor, &self.keys);
    }

    fn append(&self, cache: &mut Cache, after: u64) {
        cache.append(after, &cursor(after + 1), &frame(after));
    }

    /// Where a process that begins now would be.
    fn boots_at(&self) -> u64 {
        let boot = self.open().boot(&self.keys, &mut |_| Ok(())).unwrap();
        let frames: VecDeque<Frame> = boot.frames;
        frames.back().map_or(boot.cursor.position(), |last| last.cursor.position())
    }

    fn is_behind(&self) -> bool {
        self.metrics.feed_cache_behind.get() == 1
    }
}

#[test]
fn what_was_kept_is_there_after_a_restart_and_the_cache_is_of_one_gate() {
    let world = World::new();
    let mut cache = world.open();
    assert_eq!((cache.age(), cache.reached()), (None, None));
    world.keep(&mut cache, &cursor(5));
    (5..8).for_each(|after| world.append(&mut cache, after));
    assert!(!cache.tend(true) && !world.is_behind());
    let path = world.folder.path().join("cache");
    let taken = Cache::open(&path, &world.keys, world.metrics.clone()).err().unwrap();
    assert!(taken.to_string().contains("another gate uses it"), "{taken}");
    drop(cache);
    assert_eq!(world.boots_at(), 8);
    assert!(world.open().age().unwrap() < Duration::from_secs(60));
    assert_eq!(world.open().reached(), Some(&cursor(8)));
}

#[test]
fn a_frame_that_was_cut_off_by_a_crash_is_left_out_and_written_over() {
    let world = World::new();
    let mut cache = world.open();
    world.keep(&mut cache, &cursor(5));
    (5..8).for_each(|after| world.append(&mut cache, after));
    drop(cache);
    let log = OpenOptions::new().write(true).open(world.path("frames")).unwrap();
    log.set_len(log.metadata().unwrap().len() - 3).unwrap();
    assert_eq!(world.boots_at(), 7);
    let mut cache = world.open();
    world.append(&mut cache, 7);
    drop(cache);
    assert_eq!(world.boots_at(), 8);
}

#[test]
fn a_snapshot_takes_the_place_of_the_frames_that_it_has_and_of_no_other() {
    let world = World::new();
    let mut cache = world.open();
    world.keep(&mut cache, &cursor(5));
    (5..9).for_each(|after| world.append(&mut cache, after));
    let before = fs::metadata(world.path("frames")).unwrap().len();
    world.keep(&mut cache, &cursor(7));
    assert_eq!(fs::metadata(world.path("frames")).unwrap().len(), before / 2);
    world.append(&mut cache, 9);
    drop(cache);
    assert_eq!(world.boots_at(), 10);
    let earlier = world.open().admits(&cursor(6)).unwrap_err();
    assert!(matches!(earlier, FeedError::WentBack { .. }), "{earlier}");
    let restored = Cursor::new("ab".to_owned(), 2, 3).unwrap();
    let mut cache = world.open();
    assert_eq!(cache.admits(&restored), Ok(()));
    world.keep(&mut cache, &restored);
    cache.append(
        3,
        &Cursor::new("ab".to_owned(), 2, 4).unwrap(),
        &frame_to(3, Cursor::new("ab".to_owned(), 2, 4).unwrap()),
    );
    drop(cache);
    assert_eq!(world.boots_at(), 4, "frames of the epoch before are of no use");
}

/// A disk that takes nothing: a folder stands where the frames belong.
fn break_disk(world: &World) {
    fs::rename(world.path("frames"), world.path("away")).unwrap();
    fs::create_dir(world.path("frames")).unwrap();
}

fn mend_disk(world: &World) {
    fs::remove_dir(world.path("frames")).unwrap();
    fs::rename(world.path("away"), world.path("frames")).unwrap();
}

#[test]
fn frames_that_the_disk_refuses_wait_for_it_and_nothing_says_that_all_is_there() {
    let world = World::new();
    let mut cache = world.open();
    world.keep(&mut cache, &cursor(5));
    world.append(&mut cache, 5);
    cache.tend(true);
    assert!(world.path("seen").exists());
    break_disk(&world);
    (6..9).for_each(|after| world.append(&mut cache, after));
    assert!(world.is_behind() && !world.path("seen").exists());
    assert!(!cache.tend(true), "no snapshot is wanted: what is missing is in memory");
    assert!(world.is_behind());
    mend_disk(&world);
    cache.tend(true);
    assert!(!world.is_behind());
    drop(cache);
    assert_eq!(world.boots_at(), 9);
}

#[test]
fn what_waits_is_bounded_and_a_snapshot_makes_up_for_the_rest() {
    let world = World::new();
    let mut cache = world.open();
    world.keep(&mut cache, &cursor(5));
    world.append(&mut cache, 5);
    break_disk(&world);
    let large = Bytes::from(vec![0; 6 * 1024 * 1024]);
    (6..9).for_each(|after| cache.append(after, &cursor(after + 1), &large));
    world.append(&mut cache, 9);
    mend_disk(&world);
    assert!(cache.tend(true) && world.is_behind(), "a frame is lost: only a snapshot helps");
    world.keep(&mut cache, &cursor(9));
    assert!(!world.is_behind());
    drop(cache);
    assert_eq!(world.boots_at(), 10);
}

#[test]
fn a_frame_is_believed_only_whole_and_where_the_gate_is() {
    let keys = DigestKeys::new(key(), vec![]);
    let bytes = frame(7);
    assert!(read_frame(&bytes, &cursor(7), &keys).is_ok());
    for cut in 0..bytes.len() {
        assert!(read_frame(&bytes.slice(..cut), &cursor(7), &keys).is_err(), "{cut} bytes");
    }
    let twice = Bytes::from([&bytes[..], &bytes].concat());
    for (bytes, at) in [(&bytes, cursor(6)), (&bytes, cursor(8)), (&twice, cursor(7))] {
        assert!(read_frame(bytes, &at, &keys).is_err());
    }
    let other = Cursor::new("ab".to_owned(), 2, 7).unwrap();
    assert!(read_frame(&bytes, &other, &keys).is_err(), "of another epoch");
    let stranger = DigestKeys::new(DigestKey::new("k1", [8; 32]), vec![]);
    assert!(read_frame(&bytes, &cursor(7), &stranger).is_err());
}
