//! `serve`: the gate with everything around it, from the first listener to the last answer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use super::lane::Observer;
use super::process::{Stop, Termination, run_here, spawn_reloads};
use super::reload::{ConnectionLimit, ReloadError, Reloaded, Reloader};
use crate::config::{Config, Origin, StoreUrl};
use crate::control::{self, Api, Feed};
use crate::core::digest::DigestKeys;
use crate::core::explain::Explanation;
use crate::edge::{BindError, Listener, Pool, Transport, WorkerSettings, accept};
use crate::explain::{Question, QuestionError, Running};
use crate::feed::{Follower, Publisher, Remote, RemoteUses, Source};
use crate::limits::SharedLimits;
use crate::observe::admin::{self, Administered};
use crate::observe::metrics::Metrics;
use crate::store::{SqliteStore, Store, StoreError};
use crate::usage::{Collector, LaneTally, Recorder};

/// Most workers where neither a quota nor the configuration says how many.
const WORKERS_LIMIT: usize = 4;

/// Why the gate cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A listener cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system has no thread or descriptor to give.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A gate whose parts are running and whose listeners are bound; [`Gate::run`] accepts.
pub struct Gate {
    listeners: Vec<(Listener, Transport)>,
    admin: Option<Listener>,
    control: Option<(Listener, Arc<Api>)>,
    pool: Arc<Pool>,
    threads: Vec<JoinHandle<()>>,
    drain: watch::Sender<bool>,
    shared: Arc<Control>,
}

/// What the admin listener can ask of the gate.
pub(crate) struct Control {
    reloader: Reloader,
    limits: Arc<SharedLimits>,
    ready: AtomicBool,
}

impl Gate {
    /// Opens the store or the cache of the feed, binds the listeners and starts the threads.
    ///
    /// # Errors
    /// [`AppError`]; then nothing is left running.
    pub fn start(config: Config, environment: Vec<(String, String)>) -> Result<Self, AppError> {
        let plain = config.gate.listen.iter().map(|listen| (listen, Transport::Plain));
        let tls = config.gate.listen_tls.iter().map(|listen| (listen, Transport::Tls));
        let bind = |(listen, transport)| Ok((Listener::bind(listen)?, transport));
        let listeners = plain.chain(tls).map(bind).collect::<Result<Vec<_>, BindError>>()?;
        let admin = config.admin.as_ref().map(Listener::bind).transpose()?;
        let control = config.control.as_ref().map(Listener::bind).transpose()?;
        let metrics = Metrics::new();
        let keys = Arc::new(ArcSwap::new(config.keys.clone()));
        let Sources { store, source, uses } = Sources::open(&config, &keys, &metrics)?;
        let folder = config.store_file().and_then(|path| path.parent()).map(PathBuf::from);
        let workers = workers(config.gate.workers);
        let connections = ConnectionLimit::new(config.limits.connections);
        let config = Arc::new(config);
        let (shared, follower) = Follower::start(source, config.clone(), metrics.clone())?;
        let tally = Arc::new(LaneTally::default());
        let observer =
            Observer { metrics: metrics.clone(), shared: shared.clone(), tally: tally.clone() };
        let slow = Arc::new(ArcSwapOption::from(observer.start(&config.legacy)?));
        let (drain, draining) = watch::channel(false);
        let usage = Collector::start(shared.clone(), uses, tally)?;
        let limits = Arc::new(SharedLimits::new(Instant::now()));
        let settings = WorkerSettings {
            shared: shared.clone(),
            metrics: metrics.clone(),
            lane: slow.clone(),
            limits: limits.clone(),
            usage: usage.sender(),
            drain: draining,
        };
        let (pool, mut threads) = Pool::start(workers, &settings)?;
        drop(settings);
        threads.push(usage.into_thread());
        let control = control.zip(store.clone()).map(|(listener, store)| {
            let feed = Feed::new(folder.unwrap_or_default());
            let api = Api::new(shared.clone(), store, slow.clone(), limits.clone(), feed);
            (listener, Arc::new(api))
        });
        let reloader = Reloader {
            shared,
            follower,
            store,
            keys,
            metrics,
            lane: slow,
            observer,
            connections,
            environment,
        };
        let shared = Arc::new(Control { reloader, limits, ready: AtomicBool::new(true) });
        Ok(Self { listeners, admin, control, pool, threads, drain, shared })
    }

    /// Where clients connect, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<String> {
        self.listeners.iter().map(|(listener, _)| listener.address()).collect()
    }

    /// Where the admin listener is.
    pub fn admin_address(&self) -> Option<String> {
        self.admin.as_ref().map(Listener::address)
    }

    /// Where the management API is.
    pub fn control_address(&self) -> Option<String> {
        self.control.as_ref().map(|(listener, _)| listener.address())
    }

    /// Accepts until `stop`, or SIGTERM or SIGINT, then drains: readiness fails at once,
    /// connections are no longer accepted after `drain_delay`, and what still runs
    /// `drain_timeout` later is cut off.
    ///
    /// # Errors
    /// The operating system's, before anything is accepted.
    pub fn run(self, stop: Stop) -> io::Result<()> {
        run_here(self.accept_until(stop))
    }

    async fn accept_until(self, stop: Stop) -> io::Result<()> {
        let termination = Termination::new(stop)?;
        let reloads = spawn_reloads(self.shared.clone())?;
        let (stop_accepting, stopped) = watch::channel(false);
        let mut accepting = tokio::task::JoinSet::new();
        for (listener, transport) in self.listeners {
            let tls = transport == Transport::Tls;
            tracing::info!(address = listener.address(), tls, "listening");
            let connections = self.shared.reloader.connections.semaphore();
            accepting.spawn_local(accept(
                listener,
                transport,
                self.pool.clone(),
                connections,
                stopped.clone(),
            ));
        }
        let managing = self.control.map(|(listener, api)| {
            tracing::info!(address = listener.address(), "control listening");
            tokio::task::spawn_local(control::serve(listener, api, stopped.clone()))
        });
        if let Some(listener) = self.admin {
            tracing::info!(address = listener.address(), "admin listening");
            tokio::task::spawn_local(admin::serve(listener, self.shared.clone()));
        }
        termination.wait().await;
        let gate = self.shared.reloader.shared.live().config.gate.clone();
        tracing::info!(delay = ?gate.drain_delay, timeout = ?gate.drain_timeout, "draining");
        self.shared.ready.store(false, Ordering::Relaxed);
        tokio::time::sleep(gate.drain_delay).await;
        stop_accepting.send_replace(true);
        while accepting.join_next().await.is_some() {}
        self.drain.send_replace(true);
        drop(self.pool);
        let ended = async {
            join(self.threads).await;
            if let Some(managing) = managing {
                // A task that panicked has said so.
                let _ = managing.await;
            }
        };
        match tokio::time::timeout(gate.drain_timeout, ended).await {
            Ok(()) => tracing::info!("drained"),
            Err(_) => tracing::warn!("connections were cut off at the end of drain_timeout"),
        }
        reloads.abort();
        Ok(())
    }
}

/// Where changes come from, and where what is used is told.
struct Sources {
    store: Option<Arc<SqliteStore>>,
    source: Box<dyn Source>,
    uses: Box<dyn Recorder>,
}

impl Sources {
    fn open(
        config: &Config,
        keys: &Arc<ArcSwap<DigestKeys>>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, AppError> {
        Ok(match &config.origin {
            Origin::Store(StoreUrl::Sqlite(path)) => {
                let store = Arc::new(SqliteStore::open(path, crate::app::store_rules(config))?);
                let shared: Arc<dyn Store> = store.clone();
                let source = Box::new(Publisher::new(shared.clone()));
                Self { store: Some(store), source, uses: Box::new(shared) }
            }
            Origin::Feed(feed) => {
                let source = Box::new(Remote::open(feed, keys.clone(), metrics.clone())?);
                Self { store: None, source, uses: Box::new(RemoteUses::new(feed)?) }
            }
        })
    }
}

impl Administered for Control {
    fn metrics(&self) -> Vec<u8> {
        let remembered =
            self.reloader.lane.load().as_ref().map_or(0, |lane| lane.remembered_count());
        self.reloader.metrics.legacy_remembered.set(remembered as i64);
        self.reloader.metrics.render()
    }

    /// Whether requests are decided: an index is there and the gate is not draining.
    fn ready(&self) -> Result<String, &'static str> {
        if !self.ready.load(Ordering::Relaxed) {
            return Err("draining");
        }
        if self.reloader.shared.live().index.is_none() {
            return Err("no index yet");
        }
        let notes = [self.feed_note(), self.lane_note()];
        Ok(notes.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }

    fn reload(&self) -> Result<Reloaded, ReloadError> {
        self.reloader.reload()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.reloader.shared.live().config.files.clone()
    }

    fn explainer(&self) -> Option<&Control> {
        Some(self)
    }
}

impl Control {
    /// What is wrong with the feed, for people.
    fn feed_note(&self) -> Option<String> {
        let status = self.reloader.shared.status();
        let (source, age) = (status.source(), status.age().as_secs());
        (!status.is_connected())
            .then(|| format!("the {source} does not answer; the index is {age} s old"))
    }

    /// What is wrong with the slow lane, for people.
    fn lane_note(&self) -> Option<String> {
        let is_lost = self.reloader.metrics.legacy_lane_up.get() == 0;
        let is_wanted = self.reloader.shared.live().config.legacy.enabled;
        let note = "the slow lane does not answer; legacy tokens that are not remembered get 503";
        (is_lost && is_wanted).then(|| note.to_owned())
    }

    /// Explains a decision by what is in force now. Blocks.
    pub(crate) fn explain(&self, question: &Question) -> Result<Explanation, QuestionError> {
        let live = self.reloader.shared.live().clone();
        let index = live.index.as_ref().ok_or(QuestionError::NoIndex)?;
        let limits = self.limits.under(&live.config.limits);
        let store = self.reloader.store.as_deref().map(|store| store as &dyn Store);
        let lane = self.reloader.lane.load_full();
        let gate = Running { limits: &limits, lane: lane.as_deref() };
        question.answer(index, &live.config, store, Some(gate))
    }
}

/// Waits for threads without blocking the runtime.
async fn join(threads: Vec<JoinHandle<()>>) {
    let joined = tokio::task::spawn_blocking(|| {
        for thread in threads {
            // A worker that panicked has said so.
            let _ = thread.join();
        }
    });
    let _ = joined.await;
}

/// As many workers as asked for; else the cgroup's CPU quota rounded up; else the affinity mask,
/// at most four.
fn workers(asked: usize) -> usize {
    if asked > 0 {
        return asked;
    }
    if let Some(quota) = crate::cgroup::cpu_quota() {
        return (quota.ceil() as usize).max(1);
    }
    std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_LIMIT)
}
