//! Metrics: registered once, counted per worker without a lock or an allocation, and flushed to
//! the registry on a tick. Names are promises; no label has an unbounded value.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{
    Counter, Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::core::verdict::{Lane, Reason};

/// How often workers flush their counts: a scrape includes what finished a second earlier.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(250);

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

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    decisions: IntCounterVec,
    decision_duration: HistogramVec,
    requests: IntCounterVec,
    overhead: Histogram,
    upstream_duration: Histogram,
    streams_cut: IntCounterVec,
    /// Client connections that are open.
    pub connections: IntGauge,
    connections_ended: IntCounterVec,
    /// What the slow lane does.
    pub lane: LaneMetrics,
    /// 1 while the slow lane can be asked.
    pub legacy_lane_up: IntGauge,
    /// Secrets of legacy tokens that the slow lane remembers.
    pub legacy_remembered: IntGauge,
    /// Questions to the introspection endpoint, by what came of them.
    pub introspection: IntCounterVec,
    /// Time that it took to answer.
    pub introspection_duration: Histogram,
    /// Tokens in the index, revoked ones included.
    pub index_tokens: IntGauge,
    /// Seconds since the index was last known to be up to date.
    pub index_age: Gauge,
    /// Position of the last change that the index holds.
    pub index_sequence: IntGauge,
    /// Changes since the base of the index.
    pub index_overlay_entries: IntGauge,
    /// 1 while what is on a following gate's disk is behind what is in force.
    pub feed_cache_behind: IntGauge,
    /// 1 where the last reload was applied, 0 where it was refused.
    pub config_last_reload_successful: IntGauge,
}

impl Metrics {
    /// Registers every metric.
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let register = Registrar { registry: &registry };
        let metrics = Self {
            decisions: register.counters(
                "portcullis_decisions_total",
                "Decisions, by verdict, reason and lane.",
                &["verdict", "reason", "lane"],
            ),
            decision_duration: register.histograms(
                "portcullis_decision_duration_seconds",
                "Time from a request's head to the decision about it.",
                &["lane"],
                decision_buckets(),
            ),
            requests: register.counters(
                "portcullis_requests_total",
                "Answers, by where they came from, class of status and upstream.",
                &["origin", "code_class", "upstream"],
            ),
            overhead: register.histogram(
                "portcullis_overhead_seconds",
                "Time that the gate added up to the response head: the upstream's is taken out.",
                overhead_buckets(),
            ),
            upstream_duration: register.histogram(
                "portcullis_upstream_duration_seconds",
                "Time from sending a request to the upstream to its response head.",
                upstream_buckets(),
            ),
            streams_cut: register.counters(
                "portcullis_streams_cut_total",
                "Streams ended because their request would be refused by now, by reason.",
                &["reason"],
            ),
            connections: register.gauge("portcullis_connections", "Client connections that are open."),
            connections_ended: register.counters(
                "portcullis_connections_ended_total",
                "Client connections that the gate ended, by cause.",
                &["cause"],
            ),
            lane: LaneMetrics::register(&register),
            legacy_lane_up: register.gauge(
                "portcullis_legacy_lane_up",
                "1 while the slow lane can be asked: always, unless it is a process of its own.",
            ),
            legacy_remembered: register.gauge(
                "portcullis_legacy_remembered",
                "Secrets of legacy tokens that the slow lane has verified within cache_ttl.",
            ),
            introspection: register.counters(
                "portcullis_introspection_total",
                "Questions to the introspection endpoint, by outcome.",
                &["outcome"],
            ),
            introspection_duration: register.histogram(
                "portcullis_introspection_duration_seconds",
                "Time from a question to the introspection endpoint to its answer, or to giving up.",
                upstream_buckets(),
            ),
            index_tokens: register
                .gauge("portcullis_index_tokens", "Tokens in the index, revoked ones included."),
            index_age: register.float(
                "portcullis_index_age_seconds",
                "Seconds since the index was last known to be up to date.",
            ),
            index_sequence: register.gauge(
                "portcullis_index_sequence",
                "Position of the last change that the index holds.",
            ),
            index_overlay_entries: register
                .gauge("portcullis_index_overlay_entries", "Changes since the base of the index."),
            feed_cache_behind: register.gauge(
                "portcullis_feed_cache_behind",
                "1 while the cache of a gate that follows a control is behind what is in force.",
            ),
            config_last_reload_successful: register.last_reload(),
            registry: registry.clone(),
        };
        register.build_info();
        Arc::new(metrics)
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self) -> Vec<u8> {
        render(&self.registry)
    }
}

/// What a slow lane does, in whichever process it is.
#[derive(Debug)]
pub struct LaneMetrics {
    /// Verifications that wait.
    pub queue_depth: IntGauge,
    /// Requests that it turned away.
    pub shed: IntCounter,
    /// CPU time that password hashes took.
    pub cpu_seconds: Counter,
    /// Time from a request's entering the lane to its answer.
    pub wait: Histogram,
    /// Time that one hash took, rests included.
    pub verify_duration: Histogram,
}

impl LaneMetrics {
    fn register(register: &Registrar<'_>) -> Self {
        Self {
            queue_depth: register.gauge(
                "portcullis_legacy_queue_depth",
                "Verifications that wait for the slow lane.",
            ),
            shed: register.counter(
                "portcullis_legacy_shed_total",
                "Requests turned away by the slow lane: no place in time, or too many wrong tokens.",
            ),
            cpu_seconds: register.float_counter(
                "portcullis_legacy_cpu_seconds_total",
                "CPU time of the slow lane's threads.",
            ),
            wait: register.histogram(
                "portcullis_legacy_wait_seconds",
                "Time from entering the slow lane to its answer, waiting included.",
                upstream_buckets(),
            ),
            verify_duration: register.histogram(
                "portcullis_legacy_verify_duration_seconds",
                "Time that one hash in the slow lane took, rests included.",
                upstream_buckets(),
            ),
        }
    }
}

/// Every metric of a slow lane that is a process of its own.
#[derive(Debug)]
pub struct LaneProcessMetrics {
    registry: Registry,
    /// What it does.
    pub lane: LaneMetrics,
    /// 1 where the last reload was applied, 0 where it was refused.
    pub config_last_reload_successful: IntGauge,
}

impl LaneProcessMetrics {
    /// Registers every metric.
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let register = Registrar { registry: &registry };
        let lane = LaneMetrics::register(&register);
        let config_last_reload_successful = register.last_reload();
        register.build_info();
        Arc::new(Self { lane, config_last_reload_successful, registry })
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self) -> Vec<u8> {
        render(&self.registry)
    }
}

fn render(registry: &Registry) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing to a vector cannot fail, and every name was checked when it was registered.
    let _ = TextEncoder::new().encode(&registry.gather(), &mut text);
    text
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

/// 1 µs to 10 ms for the fast lane, on to 10 s for the slow one.
fn decision_buckets() -> Vec<f64> {
    decades(&[1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0], 10.0)
}

fn overhead_buckets() -> Vec<f64> {
    decades(&[1e-5, 1e-4, 1e-3, 1e-2, 1e-1], 1.0)
}

fn upstream_buckets() -> Vec<f64> {
    decades(&[1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0], 100.0)
}

fn decades(starts: &[f64], end: f64) -> Vec<f64> {
    let steps = starts.iter().flat_map(|start| [*start, start * 2.5, start * 5.0]);
    steps.chain([end]).collect()
}

/// Registers metrics. A name that is refused is a mistake in this file, found by any test.
struct Registrar<'r> {
    registry: &'r Registry,
}

const FIXED_NAME: &str = "invariant: the names in this file are valid and distinct";

impl Registrar<'_> {
    fn add<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        collector: prometheus::Result<C>,
    ) -> C {
        let collector = collector.expect(FIXED_NAME);
        self.registry.register(Box::new(collector.clone())).expect(FIXED_NAME);
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    fn float_counter(&self, name: &str, help: &str) -> Counter {
        self.add(Counter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    fn float(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::new(name, help))
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)))
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels))
    }

    fn last_reload(&self) -> IntGauge {
        let gauge = self.gauge(
            "portcullis_config_last_reload_successful",
            "1 where the last reload was applied, 0 where it was refused.",
        );
        gauge.set(1);
        gauge
    }

    fn build_info(&self) {
        let opts = Opts::new("portcullis_build_info", "1, with the version of the program.");
        let info = self.add(IntGaugeVec::new(opts, &["version"]));
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_reach_the_registry_at_the_next_flush() {
        let metrics = Metrics::new();
        let worker = WorkerMetrics::new(metrics.clone());
        worker.decided(Reason::Allow, Lane::Fast, Duration::from_nanos(800));
        worker.decided(Reason::IpDenied, Lane::Fast, Duration::from_micros(3));
        worker.answered(Origin::Upstream, 204, Some((0, "api")));
        worker.flush();
        let text = String::from_utf8(metrics.render()).unwrap();
        for line in [
            r#"portcullis_decisions_total{lane="fast",reason="allow",verdict="allow"} 1"#,
            r#"portcullis_decisions_total{lane="fast",reason="ip_denied",verdict="deny"} 1"#,
            r#"portcullis_decision_duration_seconds_bucket{lane="fast",le="0.000001"} 1"#,
            r#"portcullis_requests_total{code_class="2xx",origin="upstream",upstream="api"} 1"#,
            "portcullis_config_last_reload_successful 1",
            "portcullis_index_sequence 0",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
