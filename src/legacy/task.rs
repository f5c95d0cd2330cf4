//! What is to be hashed, and who hashes: threads of this process, or a lane that is a process of
//! its own.

use std::sync::Arc;
use std::time::Duration;

use super::queue::Waiting;
use crate::core::index::Candidate;
use crate::core::record::AccountId;
use crate::core::token::Secret;

/// Whoever computes password hashes.
pub(super) trait Hasher: Send + Sync {
    /// Has a task done. It is answered from whatever thread, at once where there is no place;
    /// dropped, it is unavailable.
    fn submit(&self, task: Box<dyn Task>);

    /// How many tasks wait.
    fn waiting(&self) -> usize;

    /// When one that comes now, and finds no place, would probably be done.
    fn retry_after(&self) -> Duration;
}

/// A secret to be compared with password hashes.
pub(super) trait Task: Send {
    /// Whose tokens it is compared with; who takes turns.
    fn account(&self) -> AccountId;

    /// What it is made of.
    fn parts(&mut self) -> Parts<'_>;

    /// Takes what came of it.
    fn answer(self: Box<Self>, hashed: Hashed);
}

/// What a task is made of.
pub(super) struct Parts<'t> {
    pub(super) secret: &'t Secret,
    /// Tried in this order, as far as they have a hash.
    pub(super) candidates: &'t Arc<[Candidate]>,
    pub(super) asker: &'t mut dyn Waiting,
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hashed {
    pub(super) outcome: Outcome,
    /// CPU time that it took.
    pub(super) cpu: Duration,
    /// What each hash took, in their order, as far as they were tried.
    pub(super) hashes: Vec<HashCost>,
    /// When a task that comes now would probably be done.
    pub(super) retry_after: Duration,
}

/// What is known of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is that of the candidate at this position of [`with_hash`].
    Matched(usize),
    /// It is nobody's.
    Mismatch {
        /// Each hash was computed to its end.
        is_certain: bool,
    },
    /// Nothing.
    Unavailable,
    /// Nothing: there was no place.
    Full,
}

/// What computing one hash took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HashCost {
    pub(super) cpu: Duration,
    /// Rests included; `None` where it was not computed to its end.
    pub(super) took: Option<Duration>,
}

impl Hashed {
    /// Without anything being hashed.
    pub(super) fn without_work(outcome: Outcome, retry_after: Duration) -> Self {
        Self { outcome, cpu: Duration::ZERO, hashes: Vec::new(), retry_after }
    }
}

/// The candidates that a secret can be compared with by hashing.
pub(super) fn with_hash(candidates: &[Candidate]) -> impl Iterator<Item = &Candidate> + Clone {
    candidates.iter().filter(|candidate| candidate.encoded.is_some())
}

impl Waiting for Box<dyn Task> {
    fn is_over(&mut self) -> bool {
        self.parts().asker.is_over()
    }
}
