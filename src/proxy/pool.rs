//! A worker's own connections to its upstreams: kept alive, used again, never shared between
//! workers, so that taking one is a pop.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;

use super::body::RequestBody;
use super::connect::{ConnectError, connect};
use crate::config::{Config, Upstream};

/// Idle connections that a worker keeps to one endpoint.
const IDLE_LIMIT: usize = 256;

/// How long an idle connection is kept: less than the 60 to 75 s after which common servers
/// close theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

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
    next: Cell<usize>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    since: Instant,
}

impl Pool {
    fn new(upstream: Upstream) -> Self {
        let idle = upstream.endpoints.iter().map(|_| RefCell::default()).collect();
        Self { upstream, idle, next: Cell::new(0) }
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// An idle connection to the endpoint whose turn it is, or to any other.
    pub(crate) fn reuse(self: &Rc<Self>) -> Option<Lease> {
        let first = self.turn();
        let endpoints = self.idle.len();
        (0..endpoints).map(|offset| (first + offset) % endpoints).find_map(|endpoint| {
            let mut idle = self.idle[endpoint].borrow_mut();
            while let Some(Idle { sender, .. }) = idle.pop() {
                if sender.is_ready() {
                    return Some(Lease { pool: self.clone(), endpoint, sender });
                }
            }
            None
        })
    }

    /// A new connection to the endpoint whose turn it is, or to the first other that answers.
    pub(crate) async fn connect(self: &Rc<Self>) -> Result<Lease, ConnectError> {
        let first = self.turn();
        let endpoints = self.upstream.endpoints.len();
        let mut failed = None;
        for endpoint in (0..endpoints).map(|offset| (first + offset) % endpoints) {
            match connect(&self.upstream.endpoints[endpoint], self.upstream.connect_timeout).await {
                Ok(sender) => return Ok(Lease { pool: self.clone(), endpoint, sender }),
                Err(error) => {
                    tracing::warn!(upstream = self.upstream.name, endpoint, %error, "endpoint failed");
                    failed = Some(error);
                }
            }
        }
        Err(failed.unwrap_or(ConnectError::Timeout(Duration::ZERO)))
    }

    fn turn(&self) -> usize {
        let turn = self.next.get();
        self.next.set((turn + 1) % self.upstream.endpoints.len());
        turn
    }

    fn keep(&self, endpoint: usize, sender: SendRequest<RequestBody>) {
        let mut idle = self.idle[endpoint].borrow_mut();
        if idle.len() < IDLE_LIMIT {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}

/// A connection in use. Dropped, it is closed; given back, it is used again.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Rc<Pool>,
    endpoint: usize,
    pub(crate) sender: SendRequest<RequestBody>,
}

impl Lease {
    pub(crate) fn give_back(mut self) {
        if self.sender.is_ready() {
            self.pool.keep(self.endpoint, self.sender);
        } else if !self.sender.is_closed() {
            // The connection's task has yet to see that the response is at its end.
            tokio::task::spawn_local(async move {
                if poll_fn(|cx| self.sender.poll_ready(cx)).await.is_ok() {
                    self.pool.keep(self.endpoint, self.sender);
                }
            });
        }
    }
}
