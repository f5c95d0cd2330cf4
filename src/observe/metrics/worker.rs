//! What one worker counts, and what it is told apart by.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use prometheus::IntGauge;
use prometheus::local::{LocalHistogram, LocalIntCounter};

use super::Metrics;
use crate::core::verdict::{Lane, Reason};

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The gate itself.
    Gate,
    /// The upstream.
    Upstream,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Upstream => "upstream",
        }
    }
}

/// Why the gate ended a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// No TLS came about in time, or none that both sides take.
    Tls,
    /// A head took longer than `[limits] header_timeout`.
    HeadTimeout,
    /// It was without a request for too long.
    Idle,
    /// Frames of HTTP/2 came in such numbers, and did no work.
    Flood,
    /// What came was not HTTP/2 (RFC 9113 section 5.4.1).
    Protocol,
}

impl Ended {
    fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::HeadTimeout => "head_timeout",
            Self::Idle => "idle",
            Self::Flood => "flood",
            Self::Protocol => "protocol",
        }
    }
}

/// What answers are told apart by: origin, class of status, position of the upstream.
type Answer = (Origin, u16, Option<usize>);

/// One worker's counts. Not shared: counting is an addition.
#[derive(Debug)]
pub struct WorkerMetrics {
    metrics: Arc<Metrics>,
    decisions: RefCell<Vec<Option<LocalIntCounter>>>,
    durations: [LocalHistogram; 4],
    requests: RefCell<HashMap<Answer, LocalIntCounter, FixedState>>,
    overhead: LocalHistogram,
    upstream_duration: LocalHistogram,
}

impl WorkerMetrics {
    /// Counts for one worker.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let duration =
            |lane: Lane| metrics.decision_duration.with_label_values(&[lane.name()]).local();
        Self {
            decisions: RefCell::new(vec![None; Reason::ALL.len() * Lane::ALL.len()]),
            durations: Lane::ALL.map(duration),
            requests: RefCell::default(),
            overhead: metrics.overhead.local(),
            upstream_duration: metrics.upstream_duration.local(),
            metrics,
        }
    }

    /// Counts a decision and the time that it took.
    pub fn decided(&self, reason: Reason, lane: Lane, took: Duration) {
        let position = reason as usize * Lane::ALL.len() + lane as usize;
        let mut decisions = self.decisions.borrow_mut();
        let counter = decisions[position].get_or_insert_with(|| {
            let verdict = if reason.is_allow() { "allow" } else { "deny" };
            let labels = [verdict, reason.name(), lane.name()];
            self.metrics.decisions.with_label_values(&labels).local()
        });
        counter.inc();
        self.durations[lane as usize].observe(took.as_secs_f64());
    }

    /// Counts an answer. `upstream` is its position and name, where one was to be asked.
    pub fn answered(&self, origin: Origin, status: u16, upstream: Option<(usize, &str)>) {
        let class = status / 100;
        let mut requests = self.requests.borrow_mut();
        let counter = requests
            .entry((origin, class, upstream.map(|(position, _)| position)))
            .or_insert_with(|| {
                let name = upstream.map_or("", |(_, name)| name);
                self.metrics
                    .requests
                    .with_label_values(&[origin.name(), class_name(class), name])
                    .local()
            });
        counter.inc();
    }

    /// Notes the time to a response head that was the gate's own.
    pub fn overhead(&self, took: Duration) {
        self.overhead.observe(took.as_secs_f64());
    }

    /// Notes the time to a response head that was the upstream's.
    pub fn upstream(&self, took: Duration) {
        self.upstream_duration.observe(took.as_secs_f64());
    }

    /// Counts a stream that was cut.
    pub fn cut(&self, reason: Reason) {
        self.metrics.streams_cut.with_label_values(&[reason.name()]).inc();
    }

    /// Counts a connection that the gate ended.
    pub fn ended(&self, cause: Ended) {
        self.metrics.connections_ended.with_label_values(&[cause.name()]).inc();
    }

    /// Counts a connection as open until what comes back is dropped.
    pub fn connected(&self) -> Connected {
        self.metrics.connections.inc();
        Connected(self.metrics.connections.clone())
    }

    /// Adds the counts to the registry.
    pub fn flush(&self) {
        self.decisions.borrow().iter().flatten().for_each(LocalIntCounter::flush);
        self.requests.borrow().values().for_each(LocalIntCounter::flush);
        self.durations.iter().for_each(LocalHistogram::flush);
        self.overhead.flush();
        self.upstream_duration.flush();
    }

    /// Forgets which upstream is at which position, after a reload moved them.
    pub fn forget_upstreams(&self) {
        self.flush();
        self.requests.borrow_mut().clear();
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connected(IntGauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn class_name(class: u16) -> &'static str {
    match class {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
