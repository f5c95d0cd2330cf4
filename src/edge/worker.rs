//! Workers: one thread, one runtime, one core's worth of connections each, nothing shared on the
//! way of a request but the index that is read.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::header::{AUTHORIZATION, HeaderName};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::LocalSet;

use super::client_ip::TrustedProxies;
use super::connection;
use super::deadline::{Deadlines, TICK};
use super::listener::{Accepted, Transport};
use super::streams::Streams;
use crate::config::{Config, OVERRIDES};
use crate::core::record::TokenId;
use crate::feed::Shared;
use crate::legacy::Lane;
use crate::limits::{Limits, SharedLimits};
use crate::observe::metrics::{FLUSH_INTERVAL, Metrics, WorkerMetrics};
use crate::proxy::{Dropped, Upstreams};
use crate::time::now;
use crate::usage::{Batch, Tally};

/// How often idle upstream connections are looked at.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(5);

/// A connection for a worker.
#[derive(Debug)]
pub struct Handoff {
    /// The connection.
    pub accepted: Accepted,
    /// What is spoken on it.
    pub transport: Transport,
    /// Its place among the gate's connections.
    pub permit: OwnedSemaphorePermit,
}

/// What every worker works with.
#[derive(Clone)]
pub struct WorkerSettings {
    /// What is in force.
    pub shared: Arc<Shared>,
    /// Where counts go.
    pub metrics: Arc<Metrics>,
    /// The slow lane, where it is on. Replaced by a reload.
    pub lane: Arc<ArcSwapOption<Lane>>,
    /// Rate limits.
    pub limits: Arc<SharedLimits>,
    /// Where the use of tokens is handed over to.
    pub usage: SyncSender<Batch>,
    /// Becomes `true` when connections shall finish what they do and end.
    pub drain: watch::Receiver<bool>,
}

/// The gate's workers.
#[derive(Debug)]
pub struct Pool {
    workers: Vec<WorkerHandle>,
}

#[derive(Debug)]
struct WorkerHandle {
    connections: Arc<AtomicUsize>,
    handoffs: mpsc::UnboundedSender<Handoff>,
}

impl Pool {
    /// Starts workers named `gate-0`, `gate-1`, … Their threads end when the pool is dropped and
    /// their connections are done.
    ///
    /// # Errors
    /// The operating system's, where it has no thread or descriptor to give.
    pub fn start(
        count: usize,
        settings: &WorkerSettings,
    ) -> io::Result<(Arc<Self>, Vec<JoinHandle<()>>)> {
        let mut workers = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            // Bounded by the permits that come with the connections.
            let (handoffs, received) = mpsc::unbounded_channel();
            let connections = Arc::new(AtomicUsize::new(0));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (settings, counter) = (settings.clone(), connections.clone());
            let run = move || {
                let tasks = LocalSet::new();
                tasks.block_on(&runtime, run(settings, received, counter));
            };
            threads.push(std::thread::Builder::new().name(format!("gate-{number}")).spawn(run)?);
            workers.push(WorkerHandle { connections, handoffs });
        }
        Ok((Arc::new(Self { workers }), threads))
    }

    /// Hands a connection to the worker with the fewest.
    pub fn hand(&self, handoff: Handoff) {
        let connections = |worker: &&WorkerHandle| worker.connections.load(Ordering::Relaxed);
        if let Some(worker) = self.workers.iter().min_by_key(connections) {
            worker.connections.fetch_add(1, Ordering::Relaxed);
            // A worker that is gone closes the connection by dropping it.
            let _ = worker.handoffs.send(handoff);
        }
    }
}

/// What the connections of one worker work with.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) lane: Arc<ArcSwapOption<Lane>>,
    pub(crate) limits: Arc<SharedLimits>,
    pub(crate) usage: RefCell<Tally>,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) streams: Rc<Streams>,
    pub(crate) drain: watch::Receiver<bool>,
    pub(crate) ids: DecisionIds,
    setup: RefCell<Rc<Setup>>,
}

/// What a worker derives from the configuration, made anew when that changes.
pub(crate) struct Setup {
    pub(crate) config: Arc<Config>,
    pub(crate) upstreams: Upstreams,
    pub(crate) trusted: TrustedProxies,
    pub(crate) limits: Arc<Limits>,
    /// Headers that are not passed on: credentials, and what would make the request another one.
    pub(crate) dropped_headers: Rc<Dropped>,
    /// Those that are not passed on where the route is public, whatever else is configured.
    pub(crate) dropped_on_public: Rc<Dropped>,
}

impl Worker {
    fn new(settings: WorkerSettings) -> Self {
        let config = settings.shared.live().config.clone();
        Self {
            setup: RefCell::new(Rc::new(Setup::new(config, &settings.limits, None))),
            metrics: WorkerMetrics::new(settings.metrics),
            shared: settings.shared,
            lane: settings.lane,
            limits: settings.limits,
            usage: RefCell::new(Tally::new(settings.usage)),
            deadlines: Rc::default(),
            streams: Rc::default(),
            drain: settings.drain,
            ids: DecisionIds::new(),
        }
    }

    /// Counts a request with a token that is valid.
    #[inline]
    pub(crate) fn count_use(&self, setup: &Setup, token: TokenId, client: Option<IpAddr>) {
        if setup.config.usage.enabled {
            let mut usage = self.usage.borrow_mut();
            usage.count(token, client);
            if usage.is_full() {
                usage.flush(now());
            }
        }
    }

    /// Decides again about some streams.
    fn look_at_streams(&self) {
        let live = self.shared.live();
        if let Some(index) = &live.index {
            self.streams.look(index, live.config.gate.conceal, now(), |denial| {
                self.metrics.cut(denial.reason);
                tracing::debug!(
                    reason = denial.reason.name(),
                    token = denial.caller.map(|caller| caller.token_id),
                    "a stream is cut"
                );
            });
        }
    }

    /// What this worker derived from `config`; derived now where it is a new one.
    #[inline]
    pub(crate) fn setup(&self, config: &Arc<Config>) -> Rc<Setup> {
        let current = self.setup.borrow().clone();
        if Arc::ptr_eq(&current.config, config) {
            return current;
        }
        let next = Rc::new(Setup::new(config.clone(), &self.limits, Some(&current.upstreams)));
        self.metrics.forget_upstreams();
        *self.setup.borrow_mut() = next.clone();
        next
    }
}

impl Setup {
    fn new(config: Arc<Config>, limits: &SharedLimits, previous: Option<&Upstreams>) -> Self {
        let gate = &config.gate;
        let overrides = OVERRIDES.iter().filter(|name| !gate.allow_headers.contains(name));
        let overrides: Vec<HeaderName> = overrides.cloned().collect();
        let credentials = [&[AUTHORIZATION], &*gate.credential_headers].concat();
        let every = [&*credentials, &*overrides].concat();
        let dropped_on_public = Rc::new(Dropped { names: every, ..Dropped::default() });
        Self {
            upstreams: Upstreams::new(&config, previous),
            trusted: TrustedProxies::new(&config.client_ip),
            limits: limits.under(&config.limits),
            dropped_headers: match gate.forward_credential {
                true => Rc::new(Dropped { names: overrides, respelt: credentials }),
                false => dropped_on_public.clone(),
            },
            dropped_on_public,
            config,
        }
    }
}

/// Makes ids that correlate answers, requests and logs: distinct, not secret.
#[derive(Debug)]
pub(crate) struct DecisionIds {
    worker: u64,
    count: std::cell::Cell<u64>,
}

impl DecisionIds {
    fn new() -> Self {
        // Random state of the standard library is seeded by the operating system.
        let seed =
            std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
        Self { worker: seed, count: std::cell::Cell::new(0) }
    }

    /// 32 hexadecimal digits.
    pub(crate) fn next(&self) -> http::HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        let number = u128::from(self.worker) << 64 | u128::from(count);
        let mut text = [0; 32];
        for (position, digit) in text.iter_mut().rev().enumerate() {
            *digit = DIGITS[(number >> (4 * position)) as usize & 15];
        }
        http::HeaderValue::from_bytes(&text).expect("invariant: hexadecimal digits")
    }
}

async fn run(
    settings: WorkerSettings,
    mut handoffs: mpsc::UnboundedReceiver<Handoff>,
    connections: Arc<AtomicUsize>,
) {
    let worker = Rc::new(Worker::new(settings));
    let housekeeping = tokio::task::spawn_local(keep_house(worker.clone()));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            handoff = handoffs.recv() => match handoff {
                Some(handoff) => {
                    let (worker, connections) = (worker.clone(), connections.clone());
                    tasks.spawn_local(async move {
                        connection::serve(worker, handoff).await;
                        connections.fetch_sub(1, Ordering::Relaxed);
                    });
                }
                None => break,
            },
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
    while tasks.join_next().await.is_some() {}
    housekeeping.abort();
    worker.metrics.flush();
    worker.usage.borrow_mut().flush(now());
}

async fn keep_house(worker: Rc<Worker>) {
    let mut tick = tokio::time::interval(TICK);
    let (mut flushed, mut expired) = (Instant::now(), Instant::now());
    loop {
        tick.tick().await;
        let now = Instant::now();
        worker.deadlines.tick(now);
        worker.look_at_streams();
        if now.duration_since(flushed) >= FLUSH_INTERVAL {
            flushed = now;
            worker.metrics.flush();
            worker.usage.borrow_mut().flush(crate::time::now());
        }
        if now.duration_since(expired) >= EXPIRE_INTERVAL {
            expired = now;
            worker.setup.borrow().upstreams.expire(now);
        }
    }
}
