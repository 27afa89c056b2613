//! Giving up on a worker whose task does not end, and starting another one in its place.
//!
//! The thread stays: it cannot be stopped. It leaves the registry, so that its place is free and nothing waits for it, and it ends when its
//! task does. Until then its task has started and not ended, as the queue counts; [`GivenUp`] is the number of such tasks, which the
//! engine subtracts.

use super::{Engine, Runner};
use crate::error::{Cause, JoinError};
use crate::queue::Dispatch;
use crate::sync::{Arc, AtomicUsize, Ordering};

/// How many unfinished tasks are those of workers that were given up.
#[derive(Clone, Default)]
pub(crate) struct GivenUp(Arc<AtomicUsize>);

impl GivenUp {
    pub(super) fn tasks(&self) -> usize {
        // ORDERING: Acquire, after the queue's counts were read. A task is subtracted here before it is counted as ended, so a reader that finds it
        // ended does not subtract it again: the Release of that count publishes this one.
        self.0.load(Ordering::Acquire)
    }

    fn add(&self) {
        // ORDERING: Relaxed. Under the lock of the running list, and published by the locks that follow.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One of these tasks is about to end. It must be called before its end is counted.
    pub(crate) fn task_ends(&self) {
        // ORDERING: Release, see `tasks`.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Replacing workers, whatever the types of the engine.
pub(crate) trait Replacing: Send + Sync {
    /// Gives up on a worker, whose outermost task must not end meanwhile. `None` if the worker's thread is not one of the pool's own. The caller
    /// lets the task end, and calls [`replace`](Self::replace).
    fn give_up(&self, worker: usize) -> Option<GivenUp>;

    /// Starts a worker in place of one that was given up. A refused thread is counted.
    fn replace(&self, worker: usize);
}

impl<R: Runner, D: Dispatch> Replacing for Engine<R, D> {
    fn give_up(&self, worker: usize) -> Option<GivenUp> {
        self.lifecycle.edit(|phase| {
            if !self.threads.give_up(worker) {
                return None;
            }
            self.given_up.add();
            // The worker looks at this before it takes another task.
            self.mailboxes.give_up(worker);
            self.blocked_workers.forget(worker);
            self.apply_limits(phase);
            Some(self.given_up.clone())
        })
    }

    fn replace(&self, worker: usize) {
        self.fail_broadcasts(worker);
        if let Some(engine) = self.shared() {
            // Refusals are counted. The caller, perhaps the timer's thread, does not become an inline worker.
            drop(engine.spawn_worker(None));
            drop(engine.spawn_to_demand());
        }
        self.recheck_waits();
        self.wake();
        if self.is_closed() {
            // Those that have waited for a task behind that of the worker.
            self.parking.wake_all();
        }
        self.notify_blocked();
        self.threads.notify_end();
        // It may have been the last that was running.
        self.notify_waiters();
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Fails the broadcasts that wait for a worker which was given up.
    fn fail_broadcasts(&self, worker: usize) {
        let Some(mailbox) = self.mailboxes.take_given_up(worker) else { return };
        while let Some(envelope) = mailbox.next() {
            envelope.broadcast.fail(worker, JoinError::new(Cause::Cancelled));
            self.catch_user_panic(|| drop(envelope));
        }
    }
}
