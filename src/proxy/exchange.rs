//! The time limits of one request and its response, and whose fault it was if they fail.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::connect::Health;
use crate::edge::deadline::Watch;
use crate::edge::{Followed, Refusal, Streams};

/// One request and its response. Shared by both bodies, since either one's bytes count as life.
#[derive(Debug)]
pub(crate) struct Exchange {
    watch: Watch,
    /// What the request was let through by, where a token was.
    followed: Option<Rc<Followed>>,
    idle_timeout: Duration,
    response_timeout: Duration,
    /// Of the connection that it shares with others.
    health: RefCell<Option<Rc<Health>>>,
    sent: Cell<bool>,
    answered: Cell<bool>,
    too_large: Cell<bool>,
    broken: Cell<bool>,
}

impl Exchange {
    pub(crate) fn new(
        watch: Watch,
        followed: Option<Rc<Followed>>,
        idle_timeout: Duration,
        response_timeout: Duration,
    ) -> Self {
        let flag = || Cell::new(false);
        Self {
            watch,
            followed,
            idle_timeout,
            response_timeout,
            health: RefCell::default(),
            sent: flag(),
            answered: flag(),
            too_large: flag(),
            broken: flag(),
        }
    }

    /// The limit that runs out when the other side stalls.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Has the request decided again from now on, for as long as this lasts.
    pub(crate) fn follow(&self, streams: &Streams) {
        if let Some(followed) = &self.followed {
            streams.follow(followed);
        }
    }

    /// Why this is to end before its end, once it is. For the response.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> Poll<Refusal> {
        self.followed.as_ref().map_or(Poll::Pending, |followed| followed.poll_cut(cx))
    }

    /// Likewise, for the request's body, which goes on whether the client reads or not.
    pub(crate) fn poll_cut_upward(&self, cx: &Context<'_>) -> Poll<Refusal> {
        self.followed.as_ref().map_or(Poll::Pending, |followed| followed.poll_cut_upward(cx))
    }

    /// It goes over a connection that others share.
    pub(crate) fn sent_on(&self, health: &Rc<Health>) {
        self.health.replace(Some(health.clone()));
    }

    /// Bytes went by.
    pub(crate) fn moved(&self) {
        self.watch.set(self.limit());
    }

    /// How long the other side may take.
    fn limit(&self) -> Duration {
        match self.sent.get() && !self.answered.get() {
            true => self.response_timeout,
            false => self.idle_timeout,
        }
    }

    /// The whole request is on its way: the response head is due.
    pub(crate) fn sent(&self) {
        if !self.sent.replace(true) {
            self.moved();
        }
    }

    /// The response head is there.
    pub(crate) fn answered(&self) {
        self.answered.set(true);
        self.moved();
        if let Some(health) = &*self.health.borrow() {
            health.heard();
        }
    }

    /// The request's body is larger than allowed.
    pub(crate) fn overrun(&self) {
        self.too_large.set(true);
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.too_large.get()
    }

    /// The request's body broke off or cannot be read.
    pub(crate) fn break_off(&self) {
        self.broken.set(true);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }
}
