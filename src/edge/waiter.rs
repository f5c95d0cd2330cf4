//! Who waits for something that happens on the same worker.

use std::cell::RefCell;
use std::task::{Context, Waker};

/// One task, or none.
#[derive(Debug, Default)]
pub(crate) struct Waiter(RefCell<Option<Waker>>);

impl Waiter {
    /// Has this task woken, instead of any before it.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.0.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Wakes it, once.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}
