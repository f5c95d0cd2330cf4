//! The slow lane and what it tells the metrics.

use std::io;
use std::sync::Arc;

use crate::config::Legacy;
use crate::legacy::{Lane, LaneObserver};
use crate::observe::metrics::Metrics;

/// Starts the slow lane where the configuration turns it on.
pub(super) fn start(settings: &Legacy, metrics: &Arc<Metrics>) -> io::Result<Option<Arc<Lane>>> {
    let observer = || Arc::new(Observer { metrics: metrics.clone() });
    settings.enabled.then(|| Lane::start(settings, observer())).transpose()
}

struct Observer {
    metrics: Arc<Metrics>,
}

impl LaneObserver for Observer {
    fn verified(&self, seconds: f64) {
        self.metrics.legacy_verify_duration.observe(seconds);
    }

    fn shed(&self) {
        self.metrics.legacy_shed.inc();
    }

    fn queue_depth(&self, depth: usize) {
        self.metrics.legacy_queue_depth.set(depth as i64);
    }

    fn answered(&self, cpu_seconds: f64, seconds: f64) {
        self.metrics.legacy_cpu_seconds.inc_by(cpu_seconds);
        self.metrics.legacy_wait.observe(seconds);
    }
}
