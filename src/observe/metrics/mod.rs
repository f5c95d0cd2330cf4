//! Metrics: registered once, counted per worker without a lock or an allocation, and flushed to
//! the registry on a tick. Names are promises; no label has an unbounded value.

mod lane;
mod register;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Gauge, Histogram, HistogramVec, IntCounterVec, IntGauge, Registry};

pub use lane::{LaneMetrics, LaneProcessMetrics};
use register::{Registrar, decision_buckets, overhead_buckets, render, upstream_buckets};
pub use worker::{Connected, Ended, Origin, WorkerMetrics};

/// How often workers flush their counts: a scrape includes what finished a second earlier.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(250);

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::verdict::{Lane, Reason};

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
