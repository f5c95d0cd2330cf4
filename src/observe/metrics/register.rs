//! How metrics come into a registry and out of it.

use prometheus::{
    Counter, Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Registers metrics. A name that is refused is a mistake in these files, found by any test.
pub(super) struct Registrar<'r> {
    pub(super) registry: &'r Registry,
}

const FIXED_NAME: &str = "invariant: the names of metrics are valid and distinct";

impl Registrar<'_> {
    fn add<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        collector: prometheus::Result<C>,
    ) -> C {
        let collector = collector.expect(FIXED_NAME);
        self.registry.register(Box::new(collector.clone())).expect(FIXED_NAME);
        collector
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    pub(super) fn float_counter(&self, name: &str, help: &str) -> Counter {
        self.add(Counter::new(name, help))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    pub(super) fn float(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::new(name, help))
    }

    pub(super) fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)))
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels))
    }

    pub(super) fn last_reload(&self) -> IntGauge {
        let gauge = self.gauge(
            "portcullis_config_last_reload_successful",
            "1 where the last reload was applied, 0 where it was refused.",
        );
        gauge.set(1);
        gauge
    }

    pub(super) fn build_info(&self) {
        let opts = Opts::new("portcullis_build_info", "1, with the version of the program.");
        let info = self.add(IntGaugeVec::new(opts, &["version"]));
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    }
}

/// Everything in the Prometheus text format.
pub(super) fn render(registry: &Registry) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing to a vector cannot fail, and every name was checked when it was registered.
    let _ = TextEncoder::new().encode(&registry.gather(), &mut text);
    text
}

/// 1 µs to 10 ms for the fast lane, on to 10 s for the slow one.
pub(super) fn decision_buckets() -> Vec<f64> {
    decades(&[1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0], 10.0)
}

pub(super) fn overhead_buckets() -> Vec<f64> {
    decades(&[1e-5, 1e-4, 1e-3, 1e-2, 1e-1], 1.0)
}

pub(super) fn upstream_buckets() -> Vec<f64> {
    decades(&[1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0], 100.0)
}

fn decades(starts: &[f64], end: f64) -> Vec<f64> {
    let steps = starts.iter().flat_map(|start| [*start, start * 2.5, start * 5.0]);
    steps.chain([end]).collect()
}
