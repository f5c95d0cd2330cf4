//! The time limits of one request and its response, and whose fault it was if they fail.

use std::cell::Cell;
use std::time::Duration;

use crate::edge::deadline::Watch;

/// One request and its response. Shared by both bodies, since either one's bytes count as life.
#[derive(Debug)]
pub(crate) struct Exchange {
    watch: Watch,
    idle_timeout: Duration,
    response_timeout: Duration,
    sent: Cell<bool>,
    answered: Cell<bool>,
    too_large: Cell<bool>,
    broken: Cell<bool>,
}

impl Exchange {
    pub(crate) fn new(watch: Watch, idle_timeout: Duration, response_timeout: Duration) -> Self {
        let flag = || Cell::new(false);
        Self {
            watch,
            idle_timeout,
            response_timeout,
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

    /// Bytes went by.
    pub(crate) fn moved(&self) {
        match self.sent.get() && !self.answered.get() {
            true => self.watch.set(self.response_timeout),
            false => self.watch.set(self.idle_timeout),
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
