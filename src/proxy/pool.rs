//! A worker's own connections to its upstreams: kept alive, used again, never shared between
//! workers, so that taking one is a pop.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connect::{ConnectError, Sender, connect};
use crate::config::{Config, Upstream};

/// Idle connections that a worker keeps to one endpoint.
const IDLE_LIMIT: usize = 256;

/// How long an idle connection is kept: less than the 60 to 75 s after which common servers
/// close theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// How long a connection is idle before a request on it is prepared to be sent again: what
/// closes connections sooner says so in its answer.
const DOUBTFUL_TIME: Duration = Duration::from_millis(500);

/// How long an endpoint that could not be reached is tried only after the others.
const FAILED_TIME: Duration = Duration::from_secs(1);

/// The upstreams of one configuration, by position.
#[derive(Debug)]
pub(crate) struct Upstreams {
    pools: Vec<Rc<Pool>>,
}

impl Upstreams {
    /// The upstreams of a configuration; connections to those that did not change are kept.
    pub(crate) fn new(config: &Arc<Config>, previous: Option<&Self>) -> Self {
        let kept = |upstream: &Upstream| {
            previous?.pools.iter().find(|pool| pool.upstream == *upstream).cloned()
        };
        let pool = |upstream: &Upstream| {
            kept(upstream).unwrap_or_else(|| Rc::new(Pool::new(upstream.clone())))
        };
        Self { pools: config.upstreams.iter().map(pool).collect() }
    }

    pub(crate) fn pool(&self, position: usize) -> &Rc<Pool> {
        &self.pools[position]
    }

    /// Closes connections that have been idle for long.
    pub(crate) fn expire(&self, now: Instant) {
        let endpoints = self.pools.iter().flat_map(|pool| &pool.idle);
        for idle in endpoints {
            idle.borrow_mut().retain(|idle| now.duration_since(idle.since) < IDLE_TIMEOUT);
        }
    }
}

/// The connections of one worker to one upstream.
#[derive(Debug)]
pub(crate) struct Pool {
    upstream: Upstream,
    /// By endpoint; the last one used is taken first.
    idle: Vec<RefCell<Vec<Idle>>>,
    /// By endpoint: when it could not be reached, if that was its last word.
    failed: Vec<Cell<Option<Instant>>>,
    next: Cell<usize>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    fn new(upstream: Upstream) -> Self {
        let idle = upstream.endpoints.iter().map(|_| RefCell::default()).collect();
        let failed = upstream.endpoints.iter().map(|_| Cell::default()).collect();
        Self { upstream, idle, failed, next: Cell::new(0) }
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Every endpoint once, in the order in which they are to be tried: from the one whose turn
    /// it is, those that could not be reached lately last.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.turn(), self.idle.len());
        let in_turn = (0..count).map(move |offset| (first + offset) % count);
        let failed: Vec<usize> =
            in_turn.clone().filter(|endpoint| self.failed(*endpoint)).collect();
        let (last, skipped) = (failed.clone(), failed);
        in_turn.filter(move |endpoint| !skipped.contains(endpoint)).chain(last)
    }

    fn failed(&self, endpoint: usize) -> bool {
        self.failed[endpoint].get().is_some_and(|since| since.elapsed() < FAILED_TIME)
    }

    /// An idle connection to this endpoint. `now` may be some ticks ago.
    pub(crate) fn reuse(self: &Rc<Self>, endpoint: usize, now: Instant) -> Option<Lease> {
        let mut idle = self.idle[endpoint].borrow_mut();
        let ready = std::iter::from_fn(|| idle.pop()).find(|idle| idle.sender.is_ready(now))?;
        if let Some(sender) = ready.sender.share() {
            idle.push(Idle { sender, since: now });
        }
        let idle_time = now.saturating_duration_since(ready.since);
        Some(Lease { pool: self.clone(), endpoint, sender: ready.sender, idle_time })
    }

    /// A new connection to this endpoint.
    pub(crate) async fn connect(self: &Rc<Self>, endpoint: usize) -> Result<Lease, ConnectError> {
        let connected = connect(&self.upstream.endpoints[endpoint], &self.upstream).await;
        self.failed[endpoint].set(connected.is_err().then(Instant::now));
        match connected {
            Ok(sender) => {
                if let Some(shared) = sender.share() {
                    self.keep(endpoint, shared, Instant::now());
                }
                Ok(Lease { pool: self.clone(), endpoint, sender, idle_time: Duration::ZERO })
            }
            Err(error) => {
                tracing::warn!(upstream = self.upstream.name, endpoint, %error, "endpoint failed");
                Err(error)
            }
        }
    }

    fn turn(&self) -> usize {
        let turn = self.next.get();
        self.next.set((turn + 1) % self.upstream.endpoints.len());
        turn
    }

    fn keep(&self, endpoint: usize, sender: Sender, since: Instant) {
        let mut idle = self.idle[endpoint].borrow_mut();
        if idle.len() < IDLE_LIMIT {
            idle.push(Idle { sender, since });
        }
    }
}

/// A connection in use. Dropped, it is closed; given back, it is used again.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Rc<Pool>,
    endpoint: usize,
    pub(crate) sender: Sender,
    /// How long it had not been used.
    idle_time: Duration,
}

impl Lease {
    /// Whether the upstream may be closing it at this moment, as servers do with connections
    /// that they have not heard of for seconds.
    pub(crate) fn may_be_closing(&self) -> bool {
        self.idle_time >= DOUBTFUL_TIME
    }

    /// Keeps it for the next request. `now` may be some ticks ago.
    pub(crate) fn give_back(self, now: Instant) {
        let Sender::Http1(mut sender) = self.sender else { return };
        if sender.is_ready() {
            self.pool.keep(self.endpoint, Sender::Http1(sender), now);
        } else if !sender.is_closed() {
            // The connection's task has yet to see that the response is at its end.
            tokio::task::spawn_local(async move {
                if poll_fn(|cx| sender.poll_ready(cx)).await.is_ok() {
                    self.pool.keep(self.endpoint, Sender::Http1(sender), Instant::now());
                }
            });
        }
    }
}
