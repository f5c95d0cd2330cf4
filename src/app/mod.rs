//! Wiring: a configuration becomes running parts, and running parts come to an orderly end.

mod hardening;
mod lane;
mod reload;
mod serve;

pub use hardening::harden;
pub use reload::ReloadError;
pub(crate) use serve::Control;
pub use serve::{AppError, Gate, Stop};
