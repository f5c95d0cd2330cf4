//! The follower turn by turn, over a store in memory whose jobs are done when a test says so.

mod races;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;

use super::*;
use crate::core::record::{
    AccountId, AccountRecord, AccountState, Plan, Record, TokenId, TokenRecord, TokenState,
    Verifier,
};
use crate::feed::beside::Job;
use crate::store::{Bulk, StoreError};

/// Entries of a frame.
const FRAME: u64 = 3;

/// What a test's store has been told.
enum Entry {
    Change(Record),
    /// Told by a marker alone.
    Bulk(Vec<Record>),
}

/// A store in memory. Positions count its entries.
#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    /// How far those see who take a snapshot beside following; everything where it is `None`.
    view: Option<u64>,
    /// The log no longer goes back further than this.
    begins: u64,
    /// Another one after each restore.
    epoch: u64,
    fails: bool,
}

impl Log {
    fn end(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Everything as of a position: accounts, then tokens.
    fn records(&self, position: u64) -> Vec<Record> {
        let mut accounts = BTreeMap::new();
        let mut tokens = BTreeMap::new();
        let told = self.entries[..position as usize].iter().flat_map(|entry| match entry {
            Entry::Change(record) => std::slice::from_ref(record),
            Entry::Bulk(records) => records,
        });
        for record in told {
            match record {
                Record::Account(account) => drop(accounts.insert(account.id, record.clone())),
                Record::Token(token) => drop(tokens.insert(token.id, record.clone())),
                Record::Id(_) | Record::IdRemoved { .. } => {}
            }
        }
        accounts.into_values().chain(tokens.into_values()).collect()
    }

    fn cursor(&self, position: u64) -> Cursor {
        Cursor { store: "memory".to_owned(), epoch: self.epoch, position }
    }

    /// What a frame after a position holds, as the store would say at `end`.
    fn frame(&self, after: u64, end: u64) -> Frame {
        let last = end.min(after + FRAME);
        let (mut changed, mut bulk) = (BTreeSet::new(), Bulk::Nothing);
        for entry in &self.entries[after as usize..last as usize] {
            match entry {
                Entry::Change(record) => drop(changed.insert(subject(record))),
                Entry::Bulk(_) => bulk = Bulk::Done,
            }
        }
        let records = self.records(end).into_iter();
        let records = records.filter(|record| changed.contains(&subject(record))).collect();
        Frame { records, cursor: self.cursor(last), bulk }
    }
}

/// Accounts first.
fn subject(record: &Record) -> (bool, u64) {
    match record {
        Record::Account(account) => (false, account.id),
        Record::Token(token) => (true, token.id),
        Record::Id(id) => (true, id.id),
        Record::IdRemoved { id, .. } => (true, *id),
    }
}

/// A handle on the log: the follower's own, or one of a job beside it.
struct Memory {
    log: Arc<Mutex<Log>>,
    is_beside: bool,
    seen: u64,
}

impl Memory {
    fn end(&self, log: &Log) -> Result<u64, FeedError> {
        if log.fails {
            return Err(StoreError::Database("gone".to_owned()).into());
        }
        Ok(if self.is_beside { log.view.unwrap_or(log.end()) } else { log.end() })
    }
}

impl Source for Memory {
    fn snapshot(
        &mut self,
        sink: &mut dyn FnMut(Record) -> Result<(), FeedError>,
    ) -> Result<Cursor, FeedError> {
        let log = self.log.lock().unwrap();
        let end = self.end(&log)?;
        log.records(end).into_iter().try_for_each(sink)?;
        Ok(log.cursor(end))
    }

    fn frames_after(&mut self, cursor: &Cursor) -> Result<Next, FeedError> {
        let log = self.log.lock().unwrap();
        let end = self.end(&log)?;
        if cursor.position < log.begins || log.cursor(end).is_before(cursor) {
            return Ok(Next::Rebase);
        }
        if cursor.epoch != log.epoch {
            return Ok(Next::Rebase);
        }
        Ok(Next::Frame(log.frame(cursor.position, end.max(cursor.position))))
    }

    fn wait(&mut self, _: Duration) -> Result<bool, FeedError> {
        let log = self.log.lock().unwrap();
        let end = self.end(&log)?;
        Ok(std::mem::replace(&mut self.seen, end) != end)
    }

    fn another(&self) -> Box<dyn Source> {
        Box::new(Self { log: self.log.clone(), is_beside: true, seen: 0 })
    }
}

/// What was begun beside a follower: its name, the end of the log at the time, and the job.
type Begun = (&'static str, u64, Job);

/// A follower with its store, its jobs, and those who ask it for something.
struct World {
    log: Arc<Mutex<Log>>,
    jobs: Arc<Mutex<VecDeque<Begun>>>,
    requests: mpsc::Sender<Reconfiguration>,
    follower: Follower,
}

impl World {
    /// With account 1, and nothing in the index yet.
    fn new() -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let jobs = Arc::<Mutex<VecDeque<Begun>>>::default();
        let start: Start = Box::new({
            let (log, jobs) = (log.clone(), jobs.clone());
            move |name, job| {
                let end = log.lock().unwrap().end();
                jobs.lock().unwrap().push_back((name, end, job));
                Ok(())
            }
        });
        let (requests, received) = mpsc::channel();
        let source = Box::new(Memory { log: log.clone(), is_beside: false, seen: 0 });
        let mut follower = Follower::new(source, config(&[]), Metrics::new(), received, start);
        follower.fold_limit = |_| 5;
        let world = Self { log, jobs, requests, follower };
        world.change(account(1));
        world
    }

    /// Likewise, with an index.
    fn following() -> Self {
        let mut world = Self::new();
        world.settle();
        world
    }

    fn change(&self, record: Record) {
        self.log.lock().unwrap().entries.push(Entry::Change(record));
    }

    fn bulk(&self, records: Vec<Record>) {
        self.log.lock().unwrap().entries.push(Entry::Bulk(records));
    }

    fn turn(&mut self) {
        self.follower.turn().unwrap();
    }

    /// Does the oldest job, which sees the log up to a position from its beginning to now.
    fn work(&self, pick: impl FnOnce(u64, u64) -> u64) -> Option<&'static str> {
        let (name, began, job) = self.jobs.lock().unwrap().pop_front()?;
        let mut log = self.log.lock().unwrap();
        log.view = Some(pick(began, log.end()));
        drop(log);
        job();
        Some(name)
    }

    fn waiting_jobs(&self) -> Vec<&'static str> {
        self.jobs.lock().unwrap().iter().map(|(name, ..)| *name).collect()
    }

    /// Goes on until there is nothing left to be done.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            let worked = self.work(|_, end| end).is_some();
            let position = self.position();
            self.turn();
            let busy = self.follower.rebase.is_some() || self.follower.folding.is_some();
            let end = self.log.lock().unwrap().end();
            if !worked && !busy && !self.follower.behind && position == Some(end) {
                return;
            }
        }
        panic!("the follower does not come to rest");
    }

    fn position(&self) -> Option<u64> {
        self.follower.cursor.as_ref().map(Cursor::position)
    }

    /// What the index in force says of a slow token.
    fn state(&self, token: TokenId) -> Option<TokenState> {
        let live = self.follower.shared.live();
        let found = live.index.as_ref()?.find_slow(token)?;
        Some(if found.revoked { TokenState::Revoked } else { TokenState::Active })
    }

    /// What the store says of it.
    fn stored(&self, token: TokenId) -> Option<TokenState> {
        let log = self.log.lock().unwrap();
        log.records(log.end()).into_iter().find_map(|record| match record {
            Record::Token(found) if found.id == token => Some(found.state),
            _ => None,
        })
    }
}

fn account(id: AccountId) -> Record {
    Record::Account(AccountRecord {
        id,
        plan: Plan::Enterprise,
        state: AccountState::Open,
        ip_rules_enabled: false,
        ip_rules: Vec::new(),
        projects: Vec::new(),
    })
}

/// A secret whose leading characters are its token's alone.
fn secret(token: TokenId) -> String {
    format!("{token:08}-a-legacy-token")
}

/// A slow token, as of a version.
fn token(id: TokenId, version: u64, state: TokenState) -> Record {
    Record::Token(TokenRecord {
        id,
        account_id: 1,
        user: None,
        state,
        not_before: None,
        expires_at: None,
        allow_ips: Vec::new(),
        grants: Vec::new(),
        verifier: Verifier::Hash { encoded: secret(id), selector: Some(format!("{id:08}")) },
        version,
    })
}

fn active(id: TokenId) -> Record {
    token(id, 1, TokenState::Active)
}

fn revoked(id: TokenId) -> Record {
    token(id, 2, TokenState::Revoked)
}

/// The samples, with legacy tokens and what else a test sets.
fn config(settings: &[(&str, &str)]) -> Arc<Config> {
    let folder = tempfile::tempdir().unwrap();
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["portcullis.toml", "routes.toml", "permission_sets.toml"] {
        std::fs::copy(samples.join(name), folder.path().join(name)).unwrap();
    }
    let always = [
        ("PORTCULLIS_LEGACY__ENABLED", "true"),
        ("PORTCULLIS_LEGACY__CUTOFF", "2023-07-18"),
        ("PORTCULLIS_KEYS__DIGEST_ENV", "TEST_DIGEST_KEY"),
    ];
    let key = format!("test:{}", "5a".repeat(32));
    let environment = always.iter().chain(settings);
    let environment = environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment = environment.collect::<BTreeMap<_, _>>().into_iter();
    let environment = environment.chain([("TEST_DIGEST_KEY".to_owned(), key)]);
    let config = crate::config::load(&folder.path().join("portcullis.toml"), environment);
    Arc::new(config.unwrap_or_else(|errors| panic!("{}", crate::config::render(&errors))))
}

/// One whose index has to be built anew: it has another key.
fn other_config() -> Arc<Config> {
    let key = format!("other:{}", "6b".repeat(32));
    config(&[("PORTCULLIS_KEYS__DIGEST_ENV", "OTHER_DIGEST_KEY"), ("OTHER_DIGEST_KEY", &key)])
}

#[test]
fn changes_are_in_force_while_a_snapshot_is_taken_and_stay_so_after_it() {
    let mut world = World::following();
    world.change(active(7));
    world.bulk(vec![active(8)]);
    world.settle_without_jobs();
    assert_eq!(world.waiting_jobs(), ["snapshot"]);
    let began = world.log.lock().unwrap().end();
    world.change(revoked(7));
    world.change(active(9));
    world.settle_without_jobs();
    assert_eq!(world.state(7), Some(TokenState::Revoked));
    assert_eq!(world.state(9), Some(TokenState::Active));
    assert_eq!(world.state(8), None);
    assert_eq!(world.work(|at, _| at), Some("snapshot"), "as of {began}");
    world.turn();
    assert_eq!(world.state(7), Some(TokenState::Revoked), "the snapshot was older");
    assert_eq!(world.state(8), Some(TokenState::Active));
    assert_eq!(world.state(9), Some(TokenState::Active));
    world.settle();
    assert!(world.waiting_jobs().is_empty(), "one import, one snapshot");
}

#[test]
fn an_import_that_goes_on_after_the_snapshot_is_taken_in_as_well() {
    let mut world = World::following();
    world.bulk(vec![active(8)]);
    world.settle_without_jobs();
    world.bulk(vec![active(9)]);
    world.settle_without_jobs();
    world.work(|began, _| began);
    world.turn();
    assert_eq!((world.state(8), world.state(9)), (Some(TokenState::Active), None));
    world.settle();
    assert_eq!(world.state(9), Some(TokenState::Active));
}

#[test]
fn changes_are_in_force_while_the_overlay_is_folded_and_stay_so_after_it() {
    let mut world = World::following();
    (10..18).for_each(|id| world.change(active(id)));
    world.settle_without_jobs();
    assert_eq!(world.waiting_jobs(), ["fold"]);
    world.change(revoked(10));
    world.change(active(20));
    world.settle_without_jobs();
    assert_eq!(world.state(10), Some(TokenState::Revoked));
    world.work(|_, end| end);
    world.turn();
    assert_eq!(world.state(10), Some(TokenState::Revoked));
    assert_eq!(world.state(20), Some(TokenState::Active));
    let live = world.follower.shared.live();
    let index = live.index.as_ref().unwrap();
    assert!(index.base_tokens() >= 6, "{} tokens are in the base", index.base_tokens());
    assert!(index.overlay_entries() < 5, "{} are not", index.overlay_entries());
}

#[test]
fn a_fold_that_ends_after_a_snapshot_comes_to_nothing() {
    let mut world = World::following();
    (10..18).for_each(|id| world.change(active(id)));
    world.settle_without_jobs();
    assert_eq!(world.waiting_jobs(), ["fold"]);
    let (_, _, fold) = world.jobs.lock().unwrap().pop_front().unwrap();
    world.bulk(vec![active(30), revoked(10)]);
    world.settle();
    fold();
    world.settle();
    assert_eq!(world.state(10), Some(TokenState::Revoked));
    assert_eq!(world.state(30), Some(TokenState::Active));
}

#[test]
fn a_configuration_that_needs_another_index_is_in_force_with_it_and_not_before() {
    let mut world = World::following();
    world.change(active(7));
    world.settle();
    let (answer, answered) = mpsc::channel();
    let next = other_config();
    world.requests.send(Reconfiguration { config: next.clone(), answer }).unwrap();
    world.turn();
    assert!(answered.try_recv().is_err());
    world.change(revoked(7));
    world.settle_without_jobs();
    assert_eq!(world.state(7), Some(TokenState::Revoked));
    assert!(!Arc::ptr_eq(&world.follower.shared.live().config, &next));
    world.work(|began, _| began);
    world.turn();
    assert_eq!(answered.try_recv(), Ok(Ok(())));
    assert!(Arc::ptr_eq(&world.follower.shared.live().config, &next));
    assert_eq!(world.state(7), Some(TokenState::Revoked));
}

#[test]
fn a_configuration_whose_index_cannot_be_built_changes_nothing() {
    let mut world = World::following();
    let before = world.follower.shared.live().config.clone();
    let (answer, answered) = mpsc::channel();
    world.requests.send(Reconfiguration { config: other_config(), answer }).unwrap();
    world.turn();
    world.log.lock().unwrap().fails = true;
    world.work(|_, end| end);
    let _ = world.follower.turn();
    assert!(matches!(answered.try_recv(), Ok(Err(FeedError::Store(_)))));
    assert!(Arc::ptr_eq(&world.follower.shared.live().config, &before));
    world.log.lock().unwrap().fails = false;
    world.settle();
}

#[test]
fn a_snapshot_that_the_change_log_has_outrun_is_taken_again() {
    let mut world = World::following();
    world.bulk(vec![active(8)]);
    world.settle_without_jobs();
    for id in 40..45 {
        world.change(active(id));
        world.settle_without_jobs();
    }
    let end = world.position().unwrap();
    world.work(|began, _| began);
    world.log.lock().unwrap().begins = end;
    world.turn();
    assert_eq!(world.state(8), None);
    world.settle();
    assert_eq!(world.state(8), Some(TokenState::Active));
}

/// Puts an earlier state in the place of the store: what came after it is gone.
fn put_back(world: &World, entries: usize) {
    world.log.lock().unwrap().entries.truncate(entries);
}

#[test]
fn a_store_that_went_back_within_its_epoch_is_not_followed_and_a_restored_one_is() {
    let mut world = World::following();
    world.change(active(7));
    let kept = world.log.lock().unwrap().entries.len();
    world.change(revoked(7));
    world.settle();
    put_back(&world, kept);
    world.turn();
    let mut refused = None;
    for _ in 0..10 {
        refused = refused.or(world.follower.turn().err());
        world.work(|_, end| end);
    }
    let refused = refused.expect("an error says so");
    assert!(matches!(refused, FeedError::WentBack { .. }), "{refused}");
    assert!(refused.to_string().contains("portcullis restore"), "{refused}");
    assert_eq!(world.state(7), Some(TokenState::Revoked), "the gate does not go back");
    world.log.lock().unwrap().epoch += 1;
    for _ in 0..10 {
        let _ = world.follower.turn();
        world.work(|_, end| end);
    }
    world.settle();
    assert_eq!(world.state(7), Some(TokenState::Active), "a restore is a new beginning");
}

#[test]
fn what_somebody_still_reads_is_kept_and_a_base_is_dropped_beside_the_follower() {
    let mut world = World::following();
    let reader = world.follower.shared.live();
    (10..18).for_each(|id| world.change(active(id)));
    world.settle_without_jobs();
    assert_eq!(world.work(|_, end| end), Some("fold"));
    world.turn();
    world.turn();
    assert_eq!(world.follower.retired.len(), 1, "the one that is read");
    assert!(reader.index.as_ref().is_some_and(|index| index.base_tokens() == 0));
    while world.work(|_, end| end).is_some() {}
    drop(reader);
    world.turn();
    assert!(world.follower.retired.is_empty());
    assert_eq!(world.waiting_jobs(), ["drop"]);
}

impl World {
    /// Follows for as long as there are frames, while no job is done.
    fn settle_without_jobs(&mut self) {
        for _ in 0..100 {
            self.turn();
        }
        assert_eq!(self.position(), Some(self.log.lock().unwrap().end()));
    }
}
