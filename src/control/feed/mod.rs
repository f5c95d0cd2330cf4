//! `/feed/`: what gates that follow from afar ask for. For tokens of the operator's account alone,
//! since what is told is everybody's: records with digests and hashes, never a secret or a key.
//!
//! A gate takes a snapshot (`snapshots`), then asks again and again for what came after its cursor
//! (`frames`), and tells in turn how tokens were used (`uses`).

mod frames;
mod snapshots;
mod uses;

use std::path::PathBuf;

use self::snapshots::Snapshots;
use self::uses::Batches;
use super::operation::Operation;
use super::query::Parameter;
use crate::core::permissions::Level;
use crate::usage::Told;

/// What `/feed/` remembers between requests.
#[derive(Debug)]
pub(crate) struct Feed {
    snapshots: Snapshots,
    batches: Batches,
}

impl Feed {
    /// Snapshots are written to files without a name in `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { snapshots: Snapshots::new(folder), batches: Batches::default() }
    }

    /// Waits while a snapshot is being built.
    pub(super) async fn wait_for_snapshot(&self) {
        self.snapshots.wait().await;
    }
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", "/feed/snapshot", "Take a snapshot", snapshots::take)
            .needs("Service tokens", Level::Read)
            .of_feed(),
        Operation::new("GET", "/feed/frames", "Follow changes", frames::next)
            .needs("Service tokens", Level::Read)
            .query(&[Parameter::After, Parameter::Wait])
            .of_feed(),
        Operation::new("POST", "/feed/usage", "Tell how tokens were used", uses::record)
            .needs("Service tokens", Level::Read)
            .takes::<Told>()
            .of_feed(),
    ]
}
