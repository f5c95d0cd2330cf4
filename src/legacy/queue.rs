//! What waits for the lane's threads: a bounded line for each account, served in turn, so that
//! no account waits for another's crowd.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::core::record::AccountId;

/// How often at most a full queue is searched for what nobody waits for any more.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Something that may no longer be worth its place.
pub(super) trait Waiting {
    /// Whether nobody waits for it any more.
    fn is_over(&mut self) -> bool;
}

/// A bounded queue, shared out fairly among accounts.
pub(super) struct Queue<T> {
    limit: usize,
    account_limit: usize,
    state: Mutex<State<T>>,
    filled: Condvar,
    closing: Condvar,
}

/// Why something was not taken.
pub(super) enum Refused<T> {
    /// No place, or a wait that is longer than it is worth.
    Full(T),
    /// The queue is closed.
    Closed(T),
}

struct State<T> {
    lines: HashMap<AccountId, VecDeque<T>, RandomState>,
    /// The accounts that have a line, the next to be served first.
    turns: VecDeque<AccountId>,
    /// At `n`, how many lines are longer than `n`.
    longer: Vec<usize>,
    len: usize,
    closed: bool,
    swept: Option<Instant>,
}

impl<T: Waiting> Queue<T> {
    /// Holds at most `limit`, and of one account at most half of that.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            account_limit: limit.div_ceil(2),
            state: Mutex::new(State::default()),
            filled: Condvar::new(),
            closing: Condvar::new(),
        }
    }

    /// Takes something in at the end of its account's line, unless more than `most_ahead` others
    /// would be served before it. Gives how many wait now.
    pub(super) fn push(
        &self,
        account: AccountId,
        item: T,
        most_ahead: usize,
    ) -> Result<usize, Refused<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed(item));
        }
        if !state.has_place(account, self.limit, self.account_limit) {
            state.sweep(Instant::now());
        }
        if !state.has_place(account, self.limit, self.account_limit)
            || state.ahead_of(account) > most_ahead
        {
            return Err(Refused::Full(item));
        }
        state.push(account, item);
        let len = state.len;
        drop(state);
        self.filled.notify_one();
        Ok(len)
    }

    /// Waits for the next in turn; `None` once the queue is closed.
    pub(super) fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(item) = state.pop() {
                return Some(item);
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().len
    }

    /// Rests, or less if the queue is closed meanwhile.
    pub(super) fn rest(&self, time: Duration) {
        if !time.is_zero() {
            let rested = self.closing.wait_timeout_while(self.lock(), time, |state| !state.closed);
            drop(rested);
        }
    }

    /// Ends everything: nothing is taken in or given out any more. Drops what waits.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.lines);
        state.len = 0;
        drop(state);
        drop(waiting);
        self.filled.notify_all();
        self.closing.notify_all();
    }

    /// Whether everything has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            lines: HashMap::default(),
            turns: VecDeque::new(),
            longer: Vec::new(),
            len: 0,
            closed: false,
            swept: None,
        }
    }
}

impl<T: Waiting> State<T> {
    fn has_place(&self, account: AccountId, limit: usize, account_limit: usize) -> bool {
        self.len < limit && self.line_len(account) < account_limit
    }

    fn line_len(&self, account: AccountId) -> usize {
        self.lines.get(&account).map_or(0, VecDeque::len)
    }

    /// How many are served before one more of this account: of each other account as many as of
    /// this one.
    fn ahead_of(&self, account: AccountId) -> usize {
        self.longer.iter().take(self.line_len(account) + 1).sum()
    }

    fn push(&mut self, account: AccountId, item: T) {
        let line = self.lines.entry(account).or_default();
        if line.is_empty() {
            self.turns.push_back(account);
        }
        match self.longer.get_mut(line.len()) {
            Some(count) => *count += 1,
            None => self.longer.push(1),
        }
        line.push_back(item);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<T> {
        let account = self.turns.pop_front()?;
        let line = self.lines.get_mut(&account)?;
        let item = line.pop_front()?;
        self.longer[line.len()] -= 1;
        self.len -= 1;
        match line.is_empty() {
            true => drop(self.lines.remove(&account)),
            false => self.turns.push_back(account),
        }
        Some(item)
    }

    /// Lets go of what nobody waits for, so that those who come and go leave places to others.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|at| now.saturating_duration_since(at) < SWEEP_INTERVAL) {
            return;
        }
        self.swept = Some(now);
        let turns = std::mem::take(&mut self.turns);
        let mut lines = std::mem::take(&mut self.lines);
        self.longer.clear();
        self.len = 0;
        for account in turns {
            for mut item in lines.remove(&account).unwrap_or_default() {
                if !item.is_over() {
                    self.push(account, item);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An account's item, and whether it is over.
    #[derive(Debug, PartialEq)]
    struct Item(AccountId, u32, bool);

    impl Waiting for Item {
        fn is_over(&mut self) -> bool {
            self.2
        }
    }

    fn push(queue: &Queue<Item>, account: AccountId, number: u32) -> bool {
        queue.push(account, Item(account, number, false), usize::MAX).is_ok()
    }

    fn drain(queue: &Queue<Item>) -> Vec<(AccountId, u32)> {
        let next = || queue.pop().map(|Item(account, number, _)| (account, number));
        (0..queue.len()).filter_map(|_| next()).collect()
    }

    #[test]
    fn accounts_are_served_in_turn_and_each_in_its_own_order() {
        let queue = Queue::new(64);
        (1..=4).for_each(|number| assert!(push(&queue, 1, number)));
        (1..=2).for_each(|number| assert!(push(&queue, 2, number)));
        assert!(push(&queue, 3, 1));
        let order = [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (1, 3), (1, 4)];
        assert_eq!(drain(&queue), order);
    }

    #[test]
    fn one_account_takes_at_most_half_of_the_places() {
        let queue = Queue::new(5);
        let taken = (0..5).filter(|number| push(&queue, 1, *number)).count();
        assert_eq!(taken, 3);
        assert!(push(&queue, 2, 0) && push(&queue, 3, 0));
        assert!(!push(&queue, 4, 0), "there are five places");
    }

    #[test]
    fn who_would_wait_too_long_is_refused_and_a_newcomer_is_not() {
        let queue = Queue::new(64);
        (0..9).for_each(|number| assert!(push(&queue, 1, number)));
        assert!(queue.push(1, Item(1, 9, false), 8).is_err());
        // Of the first account's nine only one comes before it.
        assert!(queue.push(2, Item(2, 0, false), 1).is_ok());
        assert!(queue.push(2, Item(2, 1, false), 2).is_err());
        assert!(queue.push(2, Item(2, 1, false), 3).is_ok());
    }

    #[test]
    fn what_nobody_waits_for_makes_room() {
        let queue = Queue::new(4);
        assert!(queue.push(1, Item(1, 0, true), usize::MAX).is_ok());
        assert!(queue.push(1, Item(1, 1, false), usize::MAX).is_ok());
        assert!(push(&queue, 1, 2), "the first of two is over");
        assert_eq!(drain(&queue), [(1, 1), (1, 2)]);
    }

    #[test]
    fn closing_wakes_who_waits_and_who_rests() {
        let queue = Queue::<Item>::new(4);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| queue.pop());
            let rests = scope.spawn(|| queue.rest(Duration::from_secs(3600)));
            queue.close();
            assert_eq!(waits.join().unwrap(), None);
            rests.join().unwrap();
        });
        assert!(!push(&queue, 1, 0));
    }

    proptest::proptest! {
        #[test]
        fn how_many_are_ahead_is_how_many_are_served_before(
            pushed in proptest::collection::vec(0_u64..5, 0..40), popped in 0_usize..20, account in 0_u64..6,
        ) {
            let mut state = State::default();
            for (number, account) in (0..).zip(pushed) {
                state.push(account, Item(account, number, false));
            }
            for _ in 0..popped {
                state.pop();
            }
            let ahead = state.ahead_of(account);
            state.push(account, Item(account, u32::MAX, false));
            let mut served = 0;
            while state.pop().is_some_and(|item| item.1 != u32::MAX) {
                served += 1;
            }
            // Whose turn it is decides about one of each other account.
            proptest::prop_assert!(served <= ahead, "{served} {ahead}");
            proptest::prop_assert!(served + 5 >= ahead, "{served} {ahead}");
        }
    }
}
