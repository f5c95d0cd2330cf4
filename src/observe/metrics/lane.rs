//! What a slow lane tells, in the gate or in a process of its own.

use std::sync::Arc;

use prometheus::{Counter, Histogram, IntCounter, IntGauge, Registry};

use super::register::{Registrar, render, upstream_buckets};

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
    pub(super) fn register(register: &Registrar<'_>) -> Self {
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
