//! A hash computed in slices, between which whoever computes it may pause or stop.

use std::ops::ControlFlow;

use super::Unverified;

/// How far a hash is: so many of its rounds are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rounds that are done, at least one.
    pub done: u64,
    /// All of them.
    pub total: u64,
}

impl Progress {
    /// Whether going on costs less than beginning again later.
    pub fn is_past_half(self) -> bool {
        self.done >= self.total - self.done
    }
}

/// What is asked between slices: it may take its time, and says whether to go on.
pub type Pace<'p> = dyn FnMut(Progress) -> ControlFlow<()> + 'p;

/// Goes on without a pause.
pub fn without_pause(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Asks the pace, unless all is done.
pub(super) fn keep(pace: &mut Pace<'_>, done: u64, total: u64) -> Result<(), Unverified> {
    if done < total && pace(Progress { done, total }).is_break() {
        return Err(Unverified::Stopped);
    }
    Ok(())
}
