//! Memory that nobody uses any more, given back to the operating system.
//!
//! The allocator keeps what is freed for a second, for whoever wants it next, and looks whether it may
//! give it back when somebody wants more. A gate at rest wants nothing: whatever its index was built
//! with would stay for good.

// What is called is in it, whether it is the allocator or not.
use mimalloc as _;

/// Gives back what has been free for a second, wherever it was freed. Takes a few microseconds where
/// there is nothing to give back, and some milliseconds after an index was replaced.
pub(crate) fn give_back() {
    mi_collect(false);
}

#[allow(unsafe_code, reason = "without arguments that could be wrong, at any time, by any thread")]
unsafe extern "C" {
    safe fn mi_collect(force: bool);
}
