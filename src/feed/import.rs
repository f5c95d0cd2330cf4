//! A bulk import as the feed tells of it, and when its snapshot is due.

use std::time::{Duration, Instant};

use crate::store::Bulk;

/// How long a bulk import must have been quiet before a snapshot of it is taken, unless it says
/// that it is over: an import that was killed says nothing.
const BULK_QUIET: Duration = Duration::from_secs(1);

/// How long an import that goes on and on is waited for.
const BULK_PATIENCE: Duration = Duration::from_secs(60);

/// A bulk import that is not in the index yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Import {
    /// When it was first and last heard of.
    began: Instant,
    heard: Instant,
    over: bool,
    /// Where in the change log it was last heard of, at the latest.
    position: u64,
}

impl Import {
    /// Notes what a frame says that ends at `position`.
    pub(super) fn hear(
        known: Option<Self>,
        bulk: Bulk,
        position: u64,
        now: Instant,
    ) -> Option<Self> {
        match bulk {
            Bulk::Nothing => known,
            Bulk::Going | Bulk::Done => Some(Self {
                began: known.map_or(now, |known| known.began),
                heard: now,
                over: bulk == Bulk::Done,
                position,
            }),
        }
    }

    /// Whether its snapshot is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.over || now - self.heard >= BULK_QUIET || now - self.began >= BULK_PATIENCE
    }

    /// Whether a snapshot as of that position holds everything that was heard of.
    pub(super) fn is_in(&self, snapshot: u64) -> bool {
        self.position <= snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_snapshot_is_due_when_the_import_is_over_or_quiet_or_endless() {
        let start = Instant::now();
        let going = Import::hear(None, Bulk::Going, 7, start).unwrap();
        assert!(!going.is_due(start));
        assert!(going.is_due(start + BULK_QUIET));
        let done = Import::hear(Some(going), Bulk::Done, 8, start).unwrap();
        assert!(done.is_due(start));
        let mut endless = going;
        for second in 0..60 {
            endless = Import::hear(Some(endless), Bulk::Going, 9, at(start, second)).unwrap();
            assert!(!endless.is_due(at(start, second)));
        }
        endless = Import::hear(Some(endless), Bulk::Going, 9, at(start, 60)).unwrap();
        assert!(endless.is_due(at(start, 60)));
    }

    #[test]
    fn a_frame_without_a_marker_leaves_the_import_as_it_is() {
        let start = Instant::now();
        let going = Import::hear(None, Bulk::Going, 7, start);
        let after = Import::hear(going, Bulk::Nothing, 9, at(start, 1)).unwrap();
        assert!(after.is_due(at(start, 1)) && after.is_in(7) && !after.is_in(6));
        assert!(Import::hear(None, Bulk::Nothing, 1, start).is_none());
    }
}
