//! The slow lane, and what it tells metrics and store.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Legacy, Upgrade};
use crate::core::record::{TokenId, Verifier};
use crate::core::token::Secret;
use crate::feed::Shared;
use crate::legacy::{Asked, Lane, LaneObserver};
use crate::observe::metrics::Metrics;
use crate::time::now;
use crate::usage::{LaneTally, Upgraded};

/// What the lane tells, and to whom.
#[derive(Clone)]
pub(super) struct Observer {
    pub(super) metrics: Arc<Metrics>,
    pub(super) shared: Arc<Shared>,
    pub(super) tally: Arc<LaneTally>,
}

impl Observer {
    /// Starts the slow lane where the configuration turns it on.
    pub(super) fn start(&self, settings: &Legacy) -> io::Result<Option<Arc<Lane>>> {
        // A process of its own is yet to be reached.
        let is_elsewhere = settings.enabled && settings.socket.is_some();
        self.metrics.legacy_lane_up.set(i64::from(!is_elsewhere));
        settings.enabled.then(|| Lane::start(settings, Arc::new(self.clone()))).transpose()
    }
}

impl LaneObserver for Observer {
    fn verified(&self, seconds: f64) {
        self.metrics.lane.verify_duration.observe(seconds);
    }

    fn hashed(&self, token: TokenId, cpu: Duration) {
        if self.shared.live().config.usage.enabled {
            self.tally.count(token, cpu, now());
        }
    }

    fn matched(&self, token_id: TokenId, secret: &Secret) {
        let live = self.shared.live();
        let Some(index) = &live.index else { return };
        let is_wanted = live.config.legacy.upgrade == Upgrade::OnFirstUse;
        if is_wanted && index.is_slow_and_usable(token_id, now()) {
            let key = index.policy().keys.current();
            let digest = key.digest(secret.expose().as_bytes());
            let verifier = Verifier::Digest { key_id: key.id().to_owned(), digest };
            self.tally.upgrade(Upgraded { token_id, verifier });
        }
    }

    fn asked(&self, outcome: Asked, took: Duration) {
        self.metrics.introspection.with_label_values(&[outcome.name()]).inc();
        if outcome != Asked::Refused {
            self.metrics.introspection_duration.observe(took.as_secs_f64());
        }
    }

    fn shed(&self) {
        self.metrics.lane.shed.inc();
    }

    fn queue_depth(&self, depth: usize) {
        self.metrics.lane.queue_depth.set(depth as i64);
    }

    fn reached(&self, is_reached: bool) {
        self.metrics.legacy_lane_up.set(i64::from(is_reached));
    }

    fn answered(&self, cpu_seconds: f64, seconds: f64) {
        self.metrics.lane.cpu_seconds.inc_by(cpu_seconds);
        self.metrics.lane.wait.observe(seconds);
    }
}
