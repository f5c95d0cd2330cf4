//! The memory that memory-hard hashes fill while they are computed: bounded for all threads.

use std::sync::{Condvar, Mutex, PoisonError};

/// Most bytes that hashes fill at a time. One that asks for more than all of it has it alone.
pub(super) const SCRATCH_BYTES: u64 = 512 << 20;

/// A semaphore of bytes.
pub(super) struct Scratch {
    limit: u64,
    taken: Mutex<u64>,
    freed: Condvar,
}

/// Bytes that are taken until this is dropped.
pub(super) struct Reservation<'s> {
    scratch: &'s Scratch,
    bytes: u64,
}

impl Scratch {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, taken: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits until so many bytes are free. Others end, since none waits for more with some taken.
    pub(super) fn reserve(&self, bytes: u64) -> Reservation<'_> {
        let bytes = bytes.min(self.limit);
        if bytes > 0 {
            let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let is_short = |taken: &mut u64| *taken + bytes > self.limit;
            let mut taken =
                self.freed.wait_while(taken, is_short).unwrap_or_else(PoisonError::into_inner);
            *taken += bytes;
        }
        Reservation { scratch: self, bytes }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            *self.scratch.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
            self.scratch.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn no_more_is_taken_at_a_time_than_there_is() {
        let (scratch, taken) = (Scratch::new(10), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for bytes in [7, 5, 3, 40, 0, 9, 6] {
                let (scratch, taken) = (&scratch, &taken);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let _reserved = scratch.reserve(bytes);
                        let counted = bytes.min(10);
                        assert!(taken.fetch_add(counted, Ordering::SeqCst) + counted <= 10);
                        taken.fetch_sub(counted, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(*scratch.taken.lock().unwrap(), 0);
    }
}
