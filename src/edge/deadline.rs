//! Time limits of connections and exchanges, without a timer each.
//!
//! A worker looks at all its deadlines on one tick. Setting one is a store, so that a request
//! that keeps within its limits costs no timer at all; limits are exact to two ticks.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::waiter::Waiter;

/// How often deadlines are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// The deadlines of one worker.
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// The time of the last tick: near enough for limits of many ticks, and cheaper than asking.
    now: Cell<Instant>,
    watches: RefCell<Vec<Option<Rc<State>>>>,
    free: RefCell<Vec<usize>>,
}

#[derive(Debug, Default)]
struct State {
    deadline: Cell<Option<Instant>>,
    expired: Cell<bool>,
    waiter: Waiter,
    /// Expires with this one.
    linked: RefCell<Option<Rc<State>>>,
}

impl State {
    fn expire(&self) {
        self.deadline.set(None);
        self.expired.set(true);
        self.waiter.wake();
        if let Some(linked) = &*self.linked.borrow() {
            linked.expire();
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            now: Cell::new(Instant::now()),
            watches: RefCell::default(),
            free: RefCell::default(),
        }
    }
}

impl Deadlines {
    /// A watch without a deadline yet.
    pub(crate) fn watch(self: &Rc<Self>) -> Watch {
        let state = Rc::new(State::default());
        let mut watches = self.watches.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or_else(|| {
            watches.push(None);
            watches.len() - 1
        });
        watches[slot] = Some(state.clone());
        Watch { state, slot, owner: self.clone() }
    }

    /// Expires what is due.
    pub(crate) fn tick(&self, now: Instant) {
        self.now.set(now);
        let due = |state: &&Rc<State>| state.deadline.get().is_some_and(|deadline| deadline <= now);
        let due: Vec<Rc<State>> =
            self.watches.borrow().iter().flatten().filter(due).cloned().collect();
        due.iter().for_each(|state| state.expire());
    }
}

/// One time limit that can be set, moved and cleared at the cost of a store.
#[derive(Debug)]
pub(crate) struct Watch {
    state: Rc<State>,
    slot: usize,
    owner: Rc<Deadlines>,
}

/// Lets a watch be made to expire with another.
#[derive(Debug)]
pub(crate) struct WatchEnd(Rc<State>);

impl Watch {
    /// Expires this long from now and up to two ticks more, unless set again or cleared.
    pub(crate) fn set(&self, limit: Duration) {
        self.state.deadline.set(Some(self.owner.now.get() + TICK + limit));
    }

    /// Does not expire unless set again.
    pub(crate) fn clear(&self) {
        self.state.deadline.set(None);
    }

    /// What another watch can be linked to, also where this one is not at hand.
    pub(crate) fn end(&self) -> WatchEnd {
        WatchEnd(self.state.clone())
    }

    /// Expires the other too when this one does.
    pub(crate) fn link(&self, other: &WatchEnd) {
        *self.state.linked.borrow_mut() = Some(other.0.clone());
    }

    /// Whether it has expired; wakes the task when it does.
    pub(crate) fn poll_expired(&self, cx: &Context<'_>) -> Poll<()> {
        if self.state.expired.get() {
            return Poll::Ready(());
        }
        self.state.waiter.wait(cx);
        Poll::Pending
    }

    /// The output of a future, or `None` where this expires first.
    pub(crate) fn poll_limited<F: Future + ?Sized>(
        &self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<F::Output>> {
        match future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll_expired(cx).map(|()| None),
        }
    }

    /// Waits for a future, or until this expires.
    pub(crate) async fn limited<F: Future + Unpin>(&self, mut future: F) -> Option<F::Output> {
        poll_fn(|cx| self.poll_limited(Pin::new(&mut future), cx)).await
    }

    /// The time, up to a tick ago: what is measured in many ticks need not ask the clock.
    pub(crate) fn now(&self) -> Instant {
        self.owner.now.get()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.owner.watches.borrow_mut()[self.slot] = None;
        self.owner.free.borrow_mut().push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_watch_ends_a_future_that_takes_too_long_and_no_other() {
        let deadlines = Rc::new(Deadlines::default());
        let (slow, cleared) = (deadlines.watch(), deadlines.watch());
        slow.set(Duration::ZERO);
        cleared.set(Duration::ZERO);
        cleared.clear();
        deadlines.tick(Instant::now() + 2 * TICK);
        let cx = &mut Context::from_waker(Waker::noop());
        let endless = std::pin::pin!(std::future::pending::<()>());
        assert_eq!(slow.poll_limited(endless, cx), Poll::Ready(None));
        let done = std::pin::pin!(std::future::ready(7));
        assert_eq!(cleared.poll_limited(done, cx), Poll::Ready(Some(7)));
    }

    #[test]
    fn a_linked_watch_expires_too_and_slots_are_used_again() {
        let deadlines = Rc::new(Deadlines::default());
        let (connection, exchange) = (deadlines.watch(), deadlines.watch());
        exchange.link(&connection.end());
        exchange.set(Duration::ZERO);
        deadlines.tick(Instant::now() + 2 * TICK);
        let cx = Context::from_waker(Waker::noop());
        assert!(connection.poll_expired(&cx).is_ready());
        drop(exchange);
        drop(deadlines.watch());
        assert_eq!(deadlines.watches.borrow().len(), 2);
    }
}
