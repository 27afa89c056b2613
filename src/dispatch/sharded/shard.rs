//! One shard: its tasks, and what is counted of them on the way in and on the way out.

use crossbeam_deque::{Injector, Steal};
use crossbeam_utils::CachePadded;

use crate::dispatch::entrance::Entrance;
use crate::dispatch::turnstile::Turnstile;
use crate::sync::{AtomicU64, Backoff, Ordering};

pub(super) struct Shard<T> {
    /// Written by submitters.
    pub(super) inward: CachePadded<Inward>,
    /// Written by workers.
    pub(super) outward: CachePadded<Outward>,
    pub(super) tasks: Injector<T>,
}

pub(super) struct Inward {
    pub(super) entrance: Entrance,
    /// How many tasks are in the injector or have been: a worker that has a ticket below this finds one there.
    pub(super) pushed: AtomicU64,
}

pub(super) struct Outward {
    /// A ticket here is the right to one task. Shut while not every worker that finds a task may start it.
    pub(super) exit: Turnstile,
    pub(super) finished: AtomicU64,
    pub(super) stolen: AtomicU64,
}

impl<T> Shard<T> {
    /// An empty one with so much room.
    pub(super) fn new(share: u64) -> Self {
        Shard {
            inward: CachePadded::new(Inward { entrance: Entrance::new(share), pushed: AtomicU64::new(0) }),
            outward: CachePadded::new(Outward {
                exit: Turnstile::new(),
                finished: AtomicU64::new(0),
                stolen: AtomicU64::new(0),
            }),
            tasks: Injector::new(),
        }
    }

    pub(super) fn finished(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `finish`: who sees a task finished sees what it did.
        self.outward.finished.load(Ordering::Acquire)
    }

    pub(super) fn finish(&self) {
        // ORDERING: Release, see `finished`.
        self.outward.finished.fetch_add(1, Ordering::Release);
    }

    pub(super) fn has_task(&self, ticket: u64) -> bool {
        // ORDERING: Acquire pairs with the Release in `push`: the task can be found in the injector.
        ticket < self.inward.pushed.load(Ordering::Acquire)
    }

    /// Whether there is a task that nobody has a ticket for.
    pub(super) fn has_work(&self) -> bool {
        self.has_task(self.outward.exit.count())
    }

    /// Tasks queued and running.
    /// Tasks that nobody has taken, about.
    pub(super) fn waiting(&self) -> u64 {
        let started = self.outward.exit.count();
        self.inward.entrance.count().saturating_sub(started)
    }

    pub(super) fn held(&self) -> u64 {
        let finished = self.finished();
        self.inward.entrance.count() - finished
    }

    /// Tasks that have a ticket for the exit and are not finished.
    pub(super) fn running(&self) -> u64 {
        let started = self.outward.exit.count();
        started.saturating_sub(self.finished())
    }

    /// The task for a ticket of the exit.
    pub(super) fn take(&self) -> T {
        let backoff = Backoff::new();
        loop {
            match self.tasks.steal() {
                Steal::Success(item) => return item,
                // As many tasks have been put in as tickets given out: somebody else is just taking or putting.
                Steal::Retry | Steal::Empty => backoff.snooze(),
            }
        }
    }
}
