//! What changes cost: little, however many came before, and nothing to those who decide.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portcullis::config::Config;
use portcullis::core::decide::decide;
use portcullis::core::digest::Digest;
use portcullis::core::facts::{Credential, Facts};
use portcullis::core::index::Index;
use portcullis::core::record::{Grant, IdRecord, Record, TokenRecord, TokenState, Verifier};
use portcullis::core::verdict::Verdict;
use portcullis::feed::{FeedError, Follower, Frame, Next, Source};
use portcullis::observe::metrics::Metrics;
use portcullis::store::{Bulk, Cursor};

use crate::{BYTES, FREES, NOW, account, policy, records, token};

/// Most bytes that one change allocates: a few hundred words for the path to it, and the record.
const CHANGE_BYTES: usize = 8 * 1024;

/// Frames that a follower is given, and changes in each.
const FRAMES: u64 = 400;
const FRAME: u64 = 100;
/// One frame in so many says that an import is over, so that the index is built anew.
const IMPORTS: u64 = 90;

/// A token with a digest that nothing else has.
fn fast(number: u64) -> Record {
    let digest = Digest(*blake3::hash(&number.to_le_bytes()).as_bytes());
    let verifier = Verifier::Digest { key_id: "k".to_owned(), digest };
    Record::Token(TokenRecord { id: number, verifier, ..token(9, 1, &[None]) })
}

/// One that nothing else has the selector or the number of.
fn slow(number: u64) -> Record {
    let selector = Some(format!("{number:08}"));
    let verifier = Verifier::Hash { encoded: "$2b$12$x".to_owned(), selector };
    Record::Token(TokenRecord { id: number << 32, verifier, ..token(9, 1, &[None]) })
}

fn id(number: u64) -> Record {
    Record::Id(IdRecord {
        account_id: 1,
        index: "job_id".to_owned(),
        id: number,
        project_id: 10,
        environment_category: None,
    })
}

/// Changes of every kind, of things that nobody has heard of.
fn changes(numbers: std::ops::Range<u64>) -> Vec<Record> {
    let all = |number| [fast(number), slow(number), id(number), account((number, 0))];
    numbers.flat_map(all).collect()
}

#[test]
fn a_change_copies_little_however_large_the_overlay_is() {
    let base = Index::build(policy(), records(), 1).unwrap();
    for size in [0, 100, 1_000, 30_000] {
        // In force, so that nothing of it may be changed in place.
        let index = base.apply(&changes(1_000..1_000 + size), 2);
        assert!(index.overlay_entries() >= 4 * size as usize);
        let removed =
            Record::IdRemoved { account_id: 1, index: "job_id".to_owned(), id: 1_000 + size / 2 };
        for record in
            changes(500_000..500_020).iter().chain(&changes(1_000..1_020)).chain([&removed])
        {
            let before = BYTES.get();
            let next = index.apply([record], 3);
            let bytes = BYTES.get() - before;
            assert!(bytes <= CHANGE_BYTES, "{bytes} bytes after {size} of each: {record:?}");
            drop(next);
        }
    }
}

/// A store that changes whenever its follower looks.
struct Restless {
    config: Arc<Config>,
    end: Arc<AtomicU64>,
    /// A handle for a snapshot, which changes nothing.
    is_beside: bool,
}

fn cursor(position: u64) -> Cursor {
    format!("restless.1.{position}").parse().unwrap()
}

/// The token that is asked about, and what is different in each frame.
fn state(config: &Config, position: u64) -> Vec<Record> {
    let digest = config.keys.current().digest(b"a-token-that-stays");
    let known = TokenRecord {
        verifier: Verifier::Digest { key_id: "test".to_owned(), digest },
        state: if position.is_multiple_of(2) { TokenState::Active } else { TokenState::Revoked },
        grants: Vec::<Grant>::new(),
        ..token(1, 1, &[])
    };
    let others = position * FRAME..(position + 1) * FRAME;
    let rest = others.map(|number| slow(number % 7_000));
    [account((1, 0)), Record::Token(known)].into_iter().chain(rest).collect()
}

impl Source for Restless {
    fn snapshot(
        &mut self,
        sink: &mut dyn FnMut(Record) -> Result<(), FeedError>,
    ) -> Result<Cursor, FeedError> {
        let end = self.end.load(Ordering::Relaxed);
        state(&self.config, end).into_iter().try_for_each(sink)?;
        Ok(cursor(end))
    }

    fn frames_after(&mut self, after: &Cursor) -> Result<Next, FeedError> {
        let mut position = after.position();
        if !self.is_beside && position < FRAMES {
            position += 1;
            self.end.fetch_max(position, Ordering::Relaxed);
        }
        let bulk = if position.is_multiple_of(IMPORTS) { Bulk::Done } else { Bulk::Nothing };
        let records = state(&self.config, position);
        Ok(Next::Frame(Frame { records, cursor: cursor(position), bulk }))
    }

    fn wait(&mut self, _: Duration) -> Result<bool, FeedError> {
        std::thread::yield_now();
        Ok(true)
    }

    fn another(&self) -> Box<dyn Source> {
        Box::new(Self { is_beside: true, config: self.config.clone(), end: self.end.clone() })
    }
}

fn config() -> Arc<Config> {
    let folder = tempfile::tempdir().unwrap();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["portcullis.toml", "routes.toml", "permission_sets.toml"] {
        std::fs::copy(samples.join(name), folder.path().join(name)).unwrap();
    }
    let key = format!("test:{}", "5a".repeat(32));
    let environment = [
        ("PORTCULLIS_KEYS__DIGEST_ENV".to_owned(), "TEST_DIGEST_KEY".to_owned()),
        ("TEST_DIGEST_KEY".to_owned(), key),
    ];
    let config = portcullis::config::load(&folder.path().join("portcullis.toml"), environment);
    Arc::new(config.unwrap())
}

/// How many different indexes and bases a thread has decided by, and what it freed meanwhile.
#[derive(Debug, Default)]
struct Reader {
    sequences: BTreeSet<u64>,
    bases: BTreeSet<usize>,
    frees: u64,
    allowed: u64,
}

impl Reader {
    /// Decides as a worker does, until `done`.
    fn run(mut self, shared: &portcullis::feed::Shared, done: &AtomicBool) -> Self {
        let facts = Facts {
            ambiguity: None,
            method: "GET",
            path: "/api/v2/accounts/",
            query: None,
            host: Some("cloud.example.com"),
            credential: Credential::Header(b"a-token-that-stays"),
            client: Some(std::net::IpAddr::from([192, 0, 2, 1])),
            client_names: &[],
        };
        while !done.load(Ordering::Relaxed) {
            let before = FREES.get();
            let live = shared.live();
            let seen = live.index.as_ref().map(|index| {
                let allowed = matches!(decide(index, &facts, NOW), Verdict::Allow(_));
                (index.sequence(), index.base_tokens(), allowed)
            });
            // Held for a while now and then, so that others are swapped in meanwhile.
            if seen.is_some_and(|(sequence, ..)| sequence % 3 == 0) {
                std::thread::yield_now();
            }
            drop(live);
            self.frees += FREES.get() - before;
            if let Some((sequence, base, allowed)) = seen {
                self.sequences.insert(sequence);
                self.bases.insert(base);
                self.allowed += u64::from(allowed);
            }
        }
        self
    }
}

#[test]
fn those_who_decide_free_nothing_while_indexes_come_and_go() {
    let config = config();
    let source = Restless { config: config.clone(), end: Arc::default(), is_beside: false };
    let source = Box::new(source);
    let (shared, follower) = Follower::start(source, config, Metrics::new()).unwrap();
    let done = AtomicBool::new(false);
    let readers: Vec<Reader> = std::thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(|| Reader::default().run(&shared, &done)));
        while shared.live().index.as_ref().is_none_or(|index| index.sequence() < FRAMES) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        done.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().unwrap()).into()
    });
    drop(follower);
    for reader in readers {
        assert_eq!(reader.frees, 0, "a reader dropped what was in force");
        assert!(reader.sequences.len() > 20 && reader.bases.len() > 1, "{reader:?}");
        assert!(reader.allowed > 0, "{reader:?}");
    }
}
