//! Which tokens are used: when last, from where, and how often a day.
//!
//! Workers count for themselves and hand their counts over on a tick (`tally`); a thread of its
//! own adds them up and writes them to the store from time to time (`collector`). The slow lane
//! tells the same thread what verifying cost and which tokens become fast ones (`lane_tally`).
//! A crash loses the last interval. What is counted is each request whose token is recognised and valid, also
//! one that a later step refuses: whoever sends it relies on the token.

mod collector;
mod lane_tally;
mod report;
mod silence;
mod tally;
mod told;

pub(crate) use collector::{Collector, Recorder};
pub use lane_tally::{LaneTally, Upgraded};
pub(crate) use report::{LegacyToken, report};
pub(crate) use silence::Silence;
pub use tally::{Batch, Tally, Use};
pub(crate) use told::{Cost, Told, Used};
