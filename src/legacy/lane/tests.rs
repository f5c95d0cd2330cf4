use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex};
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use super::*;
use crate::cgroup;
use crate::config::{Introspection, Upgrade};
use crate::core::record::Timestamp;
use crate::legacy::Asked;
use crate::legacy::introspection::tests::settings as of_introspection;
use crate::legacy::verifier::{Progress, Unverified, VerifierError};
use crate::legacy::worker::CheckError;

const SECRET: &str = "0123456789abcdef0123";
/// PBKDF2-SHA-256 of `SECRET` with one round.
const ENCODED: &str = "pbkdf2_sha256$1$salt$UeJLche8XxBQmkH17PUMLl6HrDfnE1k0UuSAQ654enw=";
const PATIENCE: Duration = Duration::from_secs(60);

fn settings() -> Legacy {
    Legacy {
        enabled: true,
        cutoff_end: Timestamp(0),
        threads: 1,
        cpu_share: 1.0,
        queue_limit: 8,
        candidates_limit: 4,
        cache_ttl: Duration::from_secs(900),
        deadline: PATIENCE,
        upgrade: Upgrade::Never,
        socket: None,
        admin: None,
        introspection: None,
    }
}

fn encoded(candidate: &Candidate) -> &str {
    candidate.encoded.as_deref().unwrap()
}

fn candidate(token_id: TokenId, version: u64, encoded: &str) -> Candidate {
    Candidate { token_id, account_id: 1, user_id: None, version, encoded: Some(encoded.into()) }
}

/// A secret that is told from others by a number, and one candidate.
fn request(number: u8) -> VerifyRequest {
    request_for(number, vec![candidate(7, 3, "right")])
}

fn request_for(number: u8, candidates: Vec<Candidate>) -> VerifyRequest {
    let secret = Secret::parse(SECRET.to_owned()).unwrap();
    VerifyRequest { digest: Digest([number; 32]), secret, candidates, client: None }
}

const MATCHED: LaneVerdict = LaneVerdict::Matched { token_id: 7, version: 3, ends: None };

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

#[derive(Default)]
struct Counter {
    hashes: AtomicUsize,
    shed: AtomicUsize,
    deepest: AtomicUsize,
}

impl LaneObserver for Counter {
    fn verified(&self, seconds: f64) {
        assert!(seconds >= 0.0);
        self.hashes.fetch_add(1, Ordering::SeqCst);
    }

    fn hashed(&self, token: TokenId, cpu: Duration) {
        assert!(token < 10 && cpu < PATIENCE);
    }

    fn matched(&self, _token: TokenId, _secret: &Secret) {}

    fn asked(&self, outcome: Asked, _took: Duration) {
        panic!("nobody is there to be asked: {outcome:?}");
    }

    fn shed(&self) {
        self.shed.fetch_add(1, Ordering::SeqCst);
    }

    fn queue_depth(&self, depth: usize) {
        self.deepest.fetch_max(depth, Ordering::SeqCst);
    }

    fn reached(&self, _is_reached: bool) {}

    fn answered(&self, cpu_seconds: f64, seconds: f64) {
        assert!(0.0 <= cpu_seconds && 0.0 <= seconds);
    }
}

impl Counter {
    fn hashes(&self) -> usize {
        self.hashes.load(Ordering::SeqCst)
    }
}

/// A hash function that tells when it begins and goes on when it is let.
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    begun: Mutex<Sender<TokenId>>,
}

impl Gate {
    fn new() -> (Arc<Self>, Receiver<TokenId>) {
        let (begun, begins) = channel();
        let gate = Self { open: Mutex::default(), opened: Condvar::new(), begun: begun.into() };
        (Arc::new(gate), begins)
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn check(self: &Arc<Self>) -> Arc<Check> {
        let gate = Arc::clone(self);
        Arc::new(move |candidate, _, _| {
            gate.begun.lock().unwrap().send(candidate.token_id).unwrap();
            let open = gate.open.lock().unwrap();
            drop(gate.opened.wait_while(open, |open| !*open).unwrap());
            plain_check(candidate)
        })
    }
}

/// "right" matches, "panic" panics, "memory" has none, "broken" is no hash; all else differs.
fn plain_check(candidate: &Candidate) -> Result<bool, CheckError> {
    match encoded(candidate) {
        "panic" => panic!("a hash that panics"),
        "memory" => Err(Unverified::OutOfMemory.into()),
        "broken" => Err(VerifierError::UnknownForm.into()),
        other => Ok(other == "right"),
    }
}

fn ungated(settings: &Legacy) -> (Arc<Lane>, Arc<Counter>) {
    let counter = Arc::new(Counter::default());
    let check: Arc<Check> = Arc::new(|candidate, _, _| plain_check(candidate));
    let lane = Lane::start_with(settings, Arc::clone(&counter) as Arc<_>, check).unwrap();
    (lane, counter)
}

struct Gated {
    lane: Arc<Lane>,
    counter: Arc<Counter>,
    gate: Arc<Gate>,
    begins: Receiver<TokenId>,
}

fn gated(settings: &Legacy) -> Gated {
    let (gate, begins) = Gate::new();
    let counter = Arc::new(Counter::default());
    let observer = Arc::clone(&counter) as Arc<_>;
    let lane = Lane::start_with(settings, observer, gate.check()).unwrap();
    Gated { lane, counter, gate, begins }
}

impl Gated {
    /// Has a request in the background, up to its waiting.
    async fn begin(&self, request: VerifyRequest) -> tokio::task::JoinHandle<LaneVerdict> {
        let lane = Arc::clone(&self.lane);
        let task = tokio::spawn(async move { lane.verify(request).await });
        yield_now().await;
        task
    }

    /// Waits until a thread has begun to hash.
    fn await_hash(&self) {
        let _token = self.begins.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn a_real_password_hash_is_verified_on_the_lane() {
    let lane = Lane::start(&settings(), Arc::new(())).unwrap();
    runtime().block_on(async {
        let right = request_for(1, vec![candidate(7, 3, ENCODED)]);
        assert_eq!(lane.verify(right).await, MATCHED);
        let wrong = ENCODED.replace("salt", "pepper");
        let wrong = request_for(2, vec![candidate(7, 3, &wrong)]);
        assert_eq!(lane.verify(wrong).await, LaneVerdict::Mismatch);
    });
}

#[test]
fn requests_for_one_secret_share_one_hash() {
    let gated = gated(&settings());
    runtime().block_on(async {
        let mut tasks = vec![gated.begin(request(1)).await];
        gated.await_hash();
        for _ in 0..50 {
            tasks.push(gated.begin(request(1)).await);
        }
        gated.gate.open();
        for task in tasks {
            assert_eq!(task.await.unwrap(), MATCHED);
        }
    });
    assert_eq!(gated.counter.hashes(), 1);
}

#[test]
fn callers_on_several_runtimes_share_one_hash() {
    let (lane, counter) = ungated(&settings());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(runtime().block_on(lane.verify(request(1))), MATCHED);
                }
            });
        }
    });
    assert_eq!(counter.hashes(), 1);
}

#[test]
fn a_success_is_remembered_with_the_candidates_version() {
    let (lane, counter) = ungated(&settings());
    assert_eq!(lane.remembered(&Digest([1; 32])), None);
    runtime().block_on(async {
        assert_eq!(lane.verify(request(1)).await, MATCHED);
        let remembered = Remembered { token_id: 7, version: 3, ends: None };
        assert_eq!(lane.remembered(&Digest([1; 32])), Some(remembered));
        assert_eq!(lane.verify(request(1)).await, MATCHED);
        assert_eq!(counter.hashes(), 1);
        // The token has changed since: the memory is of no use.
        let changed = request_for(1, vec![candidate(7, 4, "other")]);
        assert_eq!(lane.verify(changed).await, LaneVerdict::Mismatch);
        assert_eq!(counter.hashes(), 2);
    });
}

#[test]
fn a_mismatch_is_remembered_for_the_same_candidates_alone() {
    let (lane, counter) = ungated(&settings());
    runtime().block_on(async {
        let wrong = |version| request_for(1, vec![candidate(7, version, "other")]);
        for _ in 0..3 {
            assert_eq!(lane.verify(wrong(3)).await, LaneVerdict::Mismatch);
        }
        assert_eq!(counter.hashes(), 1);
        assert_eq!(lane.verify(wrong(4)).await, LaneVerdict::Mismatch);
        assert_eq!(counter.hashes(), 2);
        let right = request_for(1, vec![candidate(7, 5, "right")]);
        assert!(matches!(lane.verify(right).await, LaneVerdict::Matched { version: 5, .. }));
    });
}

#[test]
fn an_error_is_remembered_neither_as_a_match_nor_as_a_mismatch() {
    let (lane, counter) = ungated(&settings());
    runtime().block_on(async {
        for hashes in 1..=3 {
            let memory = vec![candidate(1, 1, "memory"), candidate(7, 3, "other")];
            assert_eq!(lane.verify(request_for(1, memory)).await, LaneVerdict::Timeout);
            assert_eq!(counter.hashes(), hashes);
        }
        for _ in 0..2 {
            let broken = vec![candidate(2, 1, "broken")];
            assert_eq!(lane.verify(request_for(2, broken)).await, LaneVerdict::Mismatch);
        }
    });
    assert_eq!(lane.remembered(&Digest([1; 32])), None);
}

#[test]
fn who_guesses_too_often_is_not_hashed_for_and_what_is_remembered_still_counts() {
    let (lane, counter) = ungated(&settings());
    let from = |client: [u8; 4], number, encoded| {
        let candidates = vec![candidate(7, 3, encoded)];
        VerifyRequest { client: Some(client.into()), ..request_for(number, candidates) }
    };
    let guesser = [192, 0, 2, 1];
    runtime().block_on(async {
        assert_eq!(lane.verify(from(guesser, 0, "right")).await, MATCHED);
        let mut guesses = 0;
        let retry_after = loop {
            guesses += 1;
            match lane.verify(from(guesser, guesses, "other")).await {
                LaneVerdict::Mismatch => assert!(guesses < 50, "guesses are not limited"),
                LaneVerdict::Throttled { retry_after } => break retry_after,
                other => panic!("{other:?}"),
            }
        };
        assert!(retry_after >= Duration::from_secs(1));
        assert_eq!(counter.hashes(), usize::from(guesses));
        assert_eq!(lane.verify(from(guesser, 0, "right")).await, MATCHED);
        assert_eq!(lane.verify(from(guesser, 1, "other")).await, LaneVerdict::Mismatch);
        assert_eq!(lane.verify(from([192, 0, 2, 2], 99, "right")).await, MATCHED);
    });
}

#[test]
fn an_account_does_not_wait_for_anothers_crowd() {
    let gated = gated(&settings());
    runtime().block_on(async {
        let first = gated.begin(request(0)).await;
        gated.await_hash();
        let mut crowd = Vec::new();
        for number in 1..=4 {
            crowd.push(gated.begin(request(number)).await);
        }
        let full = gated.lane.verify(request(5)).await;
        assert!(matches!(full, LaneVerdict::Full { .. }), "half of the places: {full:?}");
        let other = Candidate { account_id: 2, ..candidate(8, 1, "right") };
        let other = gated.begin(request_for(6, vec![other])).await;
        gated.gate.open();
        assert_eq!(first.await.unwrap(), MATCHED);
        let theirs = LaneVerdict::Matched { token_id: 8, version: 1, ends: None };
        assert_eq!(other.await.unwrap(), theirs);
        for task in crowd {
            assert_eq!(task.await.unwrap(), MATCHED);
        }
    });
    assert_eq!(gated.begins.try_iter().collect::<Vec<_>>(), [7, 8, 7, 7, 7]);
}

/// A hash of ten slices, each of which uses up this much CPU time.
fn sliced(slice: Duration, slices: Arc<AtomicUsize>) -> Arc<Check> {
    Arc::new(move |candidate, _, pace| {
        for done in 1..=10 {
            slices.fetch_add(1, Ordering::SeqCst);
            let began = Instant::now();
            while began.elapsed() < slice {
                std::hint::spin_loop();
            }
            if pace(Progress { done, total: 10 }).is_break() {
                return Err(Unverified::Stopped.into());
            }
        }
        plain_check(candidate)
    })
}

#[test]
fn the_lane_rests_between_slices_until_they_are_paid() {
    let slices = Arc::new(AtomicUsize::new(0));
    let check = sliced(Duration::from_millis(4), Arc::clone(&slices));
    let settings = Legacy { cpu_share: 0.2 / cgroup::cpus(), ..settings() };
    let lane = Lane::start_with(&settings, Arc::new(()), check).unwrap();
    let began = Instant::now();
    assert_eq!(runtime().block_on(lane.verify(request(1))), MATCHED);
    // What the threads really used, less what they may use at once, takes five times as long.
    let cost = lane.stats().mean_cost();
    let least = cost.saturating_sub(Duration::from_millis(4 + 20 + 1)) * 5;
    assert!(began.elapsed() >= least, "{:?} for {cost:?}", began.elapsed());
    assert_eq!(slices.load(Ordering::SeqCst), 10);
}

#[test]
fn a_hash_that_nobody_waits_for_is_stopped_between_slices() {
    let (sender, began) = channel();
    let (resume, resumed) = channel::<()>();
    let (sender, resumed) = (Mutex::new(sender), Mutex::new(resumed));
    let stopped = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&stopped);
    let check: Arc<Check> = Arc::new(move |candidate, _, pace| {
        let done = if encoded(candidate) == "early" { 1 } else { 5 };
        sender.lock().unwrap().send(()).unwrap();
        resumed.lock().unwrap().recv().unwrap();
        if pace(Progress { done, total: 10 }).is_break() {
            counted.fetch_add(1, Ordering::SeqCst);
            return Err(Unverified::Stopped.into());
        }
        Ok(true)
    });
    let lane = Lane::start_with(&settings(), Arc::new(()), check).unwrap();
    runtime().block_on(async {
        for (number, encoded) in [(1, "early"), (2, "late")] {
            let asked = Arc::clone(&lane);
            let request = request_for(number, vec![candidate(7, 3, encoded)]);
            let task = tokio::spawn(async move { asked.verify(request).await });
            yield_now().await;
            began.recv_timeout(PATIENCE).unwrap();
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            resume.send(()).unwrap();
        }
    });
    while lane.remembered(&Digest([2; 32])).is_none() {
        thread::yield_now();
    }
    assert_eq!(stopped.load(Ordering::SeqCst), 1);
    assert_eq!(lane.remembered(&Digest([1; 32])), None);
}

#[test]
fn a_request_for_a_newer_version_does_not_take_the_older_ones_answer() {
    let gated = gated(&settings());
    runtime().block_on(async {
        let older = gated.begin(request(1)).await;
        gated.await_hash();
        let newer = gated.begin(request_for(1, vec![candidate(7, 4, "other")])).await;
        gated.gate.open();
        assert_eq!(older.await.unwrap(), MATCHED);
        assert_eq!(newer.await.unwrap(), LaneVerdict::Mismatch);
    });
    assert_eq!(gated.counter.hashes(), 2);
}

#[test]
fn candidates_are_tried_in_order_up_to_the_one_that_matches() {
    let (lane, counter) = ungated(&settings());
    runtime().block_on(async {
        let list = |right: usize| {
            let encoded = |at| if at == right { "right" } else { "other" };
            (0..4).map(|at| candidate(at as u64, 1, encoded(at))).collect::<Vec<_>>()
        };
        let third = lane.verify(request_for(1, list(2))).await;
        assert_eq!(third, LaneVerdict::Matched { token_id: 2, version: 1, ends: None });
        assert_eq!(counter.hashes(), 3);
        assert_eq!(lane.verify(request_for(2, list(9))).await, LaneVerdict::Mismatch);
        assert_eq!(counter.hashes(), 7);
        assert_eq!(lane.verify(request_for(3, Vec::new())).await, LaneVerdict::Mismatch);
    });
}

#[test]
fn what_the_queue_cannot_hold_is_turned_away_at_once() {
    let gated = gated(&Legacy { queue_limit: 1, ..settings() });
    runtime().block_on(async {
        let running = gated.begin(request(1)).await;
        gated.await_hash();
        let waiting = gated.begin(request(2)).await;
        assert_eq!(gated.lane.queue_depth(), 1);
        let LaneVerdict::Full { retry_after } = gated.lane.verify(request(3)).await else {
            panic!("the queue took more than its limit");
        };
        assert!(retry_after >= Duration::from_secs(1));
        assert_eq!(gated.lane.stats().shed_total(), 1);
        gated.gate.open();
        assert_eq!(running.await.unwrap(), MATCHED);
        assert_eq!(waiting.await.unwrap(), MATCHED);
        assert_eq!(gated.lane.verify(request(3)).await, MATCHED);
    });
    assert_eq!(gated.counter.shed.load(Ordering::SeqCst), 1);
    assert_eq!(gated.lane.queue_depth(), 0);
}

/// A hash that does not match, and a token that can only be asked about.
fn half_remote() -> Vec<Candidate> {
    vec![candidate(7, 3, "wrong"), Candidate { encoded: None, ..candidate(8, 1, "") }]
}

#[test]
fn without_anybody_to_ask_a_hash_that_does_not_match_is_no_mismatch() {
    let (lane, counter) = ungated(&settings());
    runtime().block_on(async {
        for hashes in 1..=2 {
            assert_eq!(lane.verify(request_for(1, half_remote())).await, LaneVerdict::Timeout);
            assert_eq!(counter.hashes(), hashes, "nothing is remembered");
        }
    });
}

#[test]
fn what_too_many_wait_to_be_asked_about_after_their_hash_is_shed_and_counted() {
    const QUEUE_LIMIT: usize = 8;
    // Takes a connection, and never answers.
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = Introspection {
        address: ("127.0.0.1".to_owned(), endpoint.local_addr().unwrap().port()),
        selectors: [SECRET[..4].to_owned()].into(),
        connections: 1,
        timeout: PATIENCE,
        ..of_introspection()
    };
    let settings = Legacy { queue_limit: QUEUE_LIMIT, introspection: Some(remote), ..settings() };
    let (lane, counter) = ungated(&settings);
    runtime().block_on(async {
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..=QUEUE_LIMIT {
            let lane = lane.clone();
            let request = request_for(u8::try_from(number).unwrap(), half_remote());
            waiting.spawn(async move { lane.verify(request).await });
            while counter.hashes() <= number {
                yield_now().await;
            }
        }
        let last = lane.verify(request_for(u8::MAX, half_remote())).await;
        assert!(matches!(last, LaneVerdict::Full { .. }), "{last:?}");
    });
    assert!(counter.shed.load(Ordering::SeqCst) >= 1);
}

#[test]
fn past_the_deadline_the_answer_is_timeout_and_the_success_is_still_remembered() {
    let gated = gated(&Legacy { deadline: Duration::from_millis(20), ..settings() });
    runtime().block_on(async {
        // Until a thread has taken it up in time: what nobody waits for is not begun.
        while gated.begins.try_recv().is_err() {
            assert_eq!(gated.lane.verify(request(1)).await, LaneVerdict::Timeout);
        }
        assert_eq!(gated.lane.remembered(&Digest([1; 32])), None);
    });
    gated.gate.open();
    while gated.lane.remembered(&Digest([1; 32])).is_none() {
        thread::yield_now();
    }
}

#[test]
fn a_caller_who_goes_away_leaves_the_answer_to_the_others() {
    let gated = gated(&settings());
    runtime().block_on(async {
        let first = gated.begin(request(1)).await;
        gated.await_hash();
        let second = gated.begin(request(1)).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        gated.gate.open();
        assert_eq!(second.await.unwrap(), MATCHED);
    });
    assert_eq!(gated.counter.hashes(), 1);
}

#[test]
fn what_nobody_waits_for_is_not_begun() {
    let gated = gated(&settings());
    runtime().block_on(async {
        let running = gated.begin(request(1)).await;
        gated.await_hash();
        let leaves = gated.begin(request(2)).await;
        leaves.abort();
        assert!(leaves.await.unwrap_err().is_cancelled());
        let stays = gated.begin(request(3)).await;
        gated.gate.open();
        assert_eq!(running.await.unwrap(), MATCHED);
        assert_eq!(stays.await.unwrap(), MATCHED);
        assert_eq!(gated.counter.hashes(), 2);
        assert_eq!(gated.lane.verify(request(2)).await, MATCHED);
    });
}

#[test]
fn a_panic_in_a_hash_is_no_match_and_costs_no_thread() {
    let (lane, _) = ungated(&settings());
    runtime().block_on(async {
        for _ in 0..3 {
            let panics = request_for(1, vec![candidate(7, 3, "panic")]);
            assert_eq!(lane.verify(panics).await, LaneVerdict::Timeout);
        }
        assert_eq!(lane.remembered(&Digest([1; 32])), None);
        assert_eq!(lane.verify(request(1)).await, MATCHED);
    });
}

#[test]
fn a_hash_without_memory_is_unavailable_and_one_that_cannot_be_read_matches_nothing() {
    let (lane, _) = ungated(&settings());
    runtime().block_on(async {
        let memory = candidate(1, 1, "memory");
        let broken = candidate(2, 1, "broken");
        let either = request_for(1, vec![memory.clone(), candidate(7, 3, "right")]);
        assert_eq!(lane.verify(either).await, MATCHED);
        let unavailable = request_for(2, vec![memory, candidate(7, 3, "other")]);
        assert_eq!(lane.verify(unavailable).await, LaneVerdict::Timeout);
        let unreadable = request_for(3, vec![broken]);
        assert_eq!(lane.verify(unreadable).await, LaneVerdict::Mismatch);
    });
}

#[test]
fn the_threads_end_with_the_lane() {
    struct Farewell(Mutex<Sender<()>>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            let _ = self.0.lock().unwrap().send(());
        }
    }
    let (sender, ended) = channel();
    let farewell = Farewell(sender.into());
    let check: Arc<Check> = Arc::new(move |candidate, _, _| {
        let _kept = &farewell;
        plain_check(candidate)
    });
    let settings = Legacy { threads: 3, ..settings() };
    let lane = Lane::start_with(&settings, Arc::new(()), check).unwrap();
    assert_eq!(runtime().block_on(lane.verify(request(1))), MATCHED);
    drop(lane);
    ended.recv_timeout(PATIENCE).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn the_threads_are_named_and_have_the_lowest_priority() {
    let (sender, seen) = channel();
    let sender = Mutex::new(sender);
    let check: Arc<Check> = Arc::new(move |candidate, _, _| {
        let own = rustix::process::getpriority_process(Some(rustix::thread::gettid()));
        let name = thread::current().name().map(str::to_owned);
        sender.lock().unwrap().send((name, own.unwrap())).unwrap();
        plain_check(candidate)
    });
    let lane = Lane::start_with(&settings(), Arc::new(()), check).unwrap();
    assert_eq!(runtime().block_on(lane.verify(request(1))), MATCHED);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (Some("legacy-0".to_owned()), 19));
    let here = rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
    assert_ne!(here, 19);
}
