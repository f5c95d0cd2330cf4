//! Threads of this process that hash, behind a bounded queue.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::load::LaneStats;
use super::queue::{Queue, Refused};
use super::task::{Hashed, Hasher, Outcome, Task};
use super::worker::{Check, Worker};
use crate::config::Legacy;

/// The threads. They end with it, after the slice of a hash that each is at.
pub(super) struct Threads {
    queue: Arc<Queue<Box<dyn Task>>>,
    stats: Arc<LaneStats>,
}

impl Threads {
    /// Starts them, named `legacy-0` and on, at the lowest priority.
    ///
    /// # Errors
    /// The operating system's, where it starts no more threads.
    pub(super) fn start(
        settings: &Legacy,
        stats: Arc<LaneStats>,
        check: Arc<Check>,
    ) -> io::Result<Self> {
        let budget = Arc::new(Budget::new(LaneStats::rate_of(settings), Instant::now()));
        let queue = Arc::new(Queue::new(settings.queue_limit));
        // Made before the threads, so that those that could be started end with it.
        let threads = Self { queue: queue.clone(), stats: stats.clone() };
        let worker = Worker { queue, check, budget, stats };
        for number in 0..settings.threads.max(1) {
            let (builder, worker) = (thread::Builder::new(), worker.clone());
            builder.name(format!("legacy-{number}")).spawn(move || worker.run())?;
        }
        Ok(threads)
    }
}

impl Hasher for Threads {
    fn submit(&self, task: Box<dyn Task>) {
        match self.queue.push(task.account(), task, self.stats.most_ahead()) {
            Ok(depth) => self.stats.queued(depth),
            Err(Refused::Full(task)) => {
                task.answer(Hashed::without_work(Outcome::Full, self.retry_after()));
            }
            // The threads are gone; dropping the task answers it as unavailable.
            Err(Refused::Closed(task)) => drop(task),
        }
    }

    fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn retry_after(&self) -> Duration {
        self.stats.retry_after(self.queue.len())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.queue.close();
    }
}
