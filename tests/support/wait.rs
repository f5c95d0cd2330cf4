//! Waiting for a condition: never for a fixed time.

use std::time::{Duration, Instant};

/// Long enough for a loaded machine; reached only where a test is about to fail.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What the condition gives once it gives something.
///
/// Panics, saying `what`, where that takes longer than [`PATIENCE`].
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look).0
}

/// What the condition gives once it gives something, and how long that took.
///
/// Panics, saying `what`, where that takes longer than `limit`.
pub fn within<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> (T, Duration) {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return (found, started.elapsed());
        }
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::park_timeout(LOOK);
    }
}
