//! Wiring: a configuration becomes running parts, and running parts come to an orderly end.

mod hardening;
mod lane;
mod lane_process;
mod process;
mod reload;
mod serve;

pub use hardening::{harden, silence_panics};
pub use lane_process::LaneProcess;
pub use process::Stop;
pub use reload::ReloadError;
pub(crate) use reload::Reloaded;
pub(crate) use serve::Control;
pub use serve::{AppError, Gate};

use crate::config::Config;
use crate::store::{AuditKeys, Rules};

/// What the store enforces of a configuration.
pub fn store_rules(config: &Config) -> Rules {
    Rules {
        permission_sets: config.permission_sets.clone(),
        cutoff_end: config.legacy.cutoff_end,
        candidates_limit: config.legacy.candidates_limit,
        audit_keys: AuditKeys::from(&*config.keys),
    }
}
