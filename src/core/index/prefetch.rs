//! Asking memory for what will be read soon.
//!
//! A read that no cache can answer stops the processor after some hundred instructions. One that
//! has been asked for beforehand does not, and several that were asked for together take as long
//! as one.

/// Has the cache line that a value begins in brought, without waiting for it.
#[inline]
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(super) fn prefetch<T>(value: &T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let place: *const T = value;
    // SAFETY: every processor of this architecture has SSE, which is all that the call asks for;
    // it changes nothing that a program could read.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) }
}

/// Nothing: elsewhere the way to ask is not stable yet.
#[inline]
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn prefetch<T>(_: &T) {}

/// Likewise of the lines that a run begins in, as far as `length` values.
#[inline]
pub(super) fn prefetch_run<T>(run: &[T], length: usize) {
    let line = 64 / size_of::<T>();
    let mut at = 0;
    while at < length {
        if let Some(value) = run.get(at) {
            prefetch(value);
        }
        at += line;
    }
    if let Some(value) = run.get(length - 1) {
        prefetch(value);
    }
}
