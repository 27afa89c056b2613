//! One shard: its tasks, and what is counted of them on the way in and on the way out.

use std::mem;

use crossbeam_utils::CachePadded;

use crate::queue::list::List;
use crate::queue::{LazyItem, Refused};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering};

/// Two lists, each with a lock of its own: submitters put into one, workers take from the other. Whoever finds the second one
/// empty swaps the two, so under load the two sides meet once in many tasks.
///
/// Who holds both locks took the one of the way out first.
pub(super) struct Shard<T> {
    /// Written by submitters.
    inward: CachePadded<Inward<T>>,
    /// Written by workers.
    outward: CachePadded<Outward<T>>,
}

struct Inward<T> {
    /// How many tasks have ever come in. Written under the lock.
    accepted: AtomicU64,
    arrivals: Mutex<Arrivals<T>>,
}

struct Arrivals<T> {
    tasks: List<T>,
    /// How many tasks the shard may hold.
    share: u64,
    /// How many may ever have come in: a permission that stays true, so it is reckoned anew only when it is used up, and
    /// submitters need not read, each time, what workers write.
    limit: u64,
    is_closed: bool,
}

struct Outward<T> {
    /// How many tasks have ever been taken. Written under the lock, as is what follows.
    started: AtomicU64,
    /// Those of them that were taken by workers of other shards.
    stolen: AtomicU64,
    /// Whether not every worker that finds a task may start it.
    is_shut: AtomicBool,
    departures: Mutex<List<T>>,
    finished: AtomicU64,
}

/// Why a worker has no task.
pub(super) enum NoTask {
    Empty,
    /// Ask under the lock of the book.
    Shut,
}

/// Adds to a counter that only the holder of a lock writes.
fn add(counter: &AtomicU64, more: u64) {
    // ORDERING: Release: who sees a task counted sees what went before, such as the same task counted on its way in. A fence
    // after the lock is left comes after this (see `fence_after_rmw`).
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Release);
}

/// The way in.
impl<T> Shard<T> {
    /// An empty one with so much room.
    pub(super) fn new(share: u64) -> Self {
        Shard {
            inward: CachePadded::new(Inward {
                accepted: AtomicU64::new(0),
                arrivals: Mutex::new(Arrivals { tasks: List::new(), share, limit: share, is_closed: false }),
            }),
            outward: CachePadded::new(Outward {
                started: AtomicU64::new(0),
                stolen: AtomicU64::new(0),
                is_shut: AtomicBool::new(false),
                departures: Mutex::new(List::new()),
                finished: AtomicU64::new(0),
            }),
        }
    }

    /// Takes a task in, if the shard is open and has room for it and for `reserved` more.
    #[inline]
    pub(super) fn push(&self, item: &mut (impl LazyItem<T> + ?Sized), reserved: usize) -> Result<(), Refused> {
        let mut arrivals = self.inward.arrivals.lock();
        if arrivals.is_closed {
            return Err(Refused::Closed);
        }
        let last = self.accepted() + reserved as u64;
        if last >= arrivals.limit && last >= self.renew_limit(&mut arrivals) {
            return Err(Refused::Full);
        }
        arrivals.tasks.push(item.build());
        add(&self.inward.accepted, 1);
        Ok(())
    }

    #[cold]
    fn renew_limit(&self, arrivals: &mut Arrivals<T>) -> u64 {
        arrivals.limit = arrivals.share.saturating_add(self.finished());
        arrivals.limit
    }

    pub(super) fn has_room(&self) -> bool {
        let mut arrivals = self.inward.arrivals.lock();
        self.accepted() < self.renew_limit(&mut arrivals)
    }

    pub(super) fn set_share(&self, share: u64) {
        let mut arrivals = self.inward.arrivals.lock();
        arrivals.share = share;
        self.renew_limit(&mut arrivals);
    }

    pub(super) fn set_closed(&self, is_closed: bool) {
        self.inward.arrivals.lock().is_closed = is_closed;
    }
}

/// The way out.
impl<T> Shard<T> {
    /// The oldest task, unless the way out is shut.
    #[inline]
    pub(super) fn pop(&self, is_stolen: bool) -> Result<T, NoTask> {
        let mut departures = self.outward.departures.lock();
        if self.is_shut() {
            Err(NoTask::Shut)
        } else {
            self.take_first(&mut departures, is_stolen).ok_or(NoTask::Empty)
        }
    }

    /// The oldest task, shut or not. The caller has the lock of the book and knows that it may start.
    pub(super) fn pop_shut(&self, is_stolen: bool) -> Option<T> {
        self.take_first(&mut self.outward.departures.lock(), is_stolen)
    }

    #[inline]
    fn take_first(&self, departures: &mut List<T>, is_stolen: bool) -> Option<T> {
        if departures.is_empty() {
            // A look first, so that whoever finds nothing leaves submitters alone.
            if !self.has_work() {
                return None;
            }
            mem::swap(departures, &mut self.inward.arrivals.lock().tasks);
        }
        let item = departures.pop()?;
        if is_stolen {
            add(&self.outward.stolen, 1);
        }
        add(&self.outward.started, 1);
        Some(item)
    }

    /// Takes all tasks, oldest first, as if they had run.
    pub(super) fn drain_into(&self, drained: &mut Vec<T>) {
        self.take_into(drained, &mut |list, drained| list.drain_into(drained));
    }

    /// The same with those that are dead.
    pub(super) fn sweep_into(&self, is_dead: &mut dyn FnMut(&T) -> bool, swept: &mut Vec<T>) {
        self.take_into(swept, &mut |list, swept| list.sweep_into(is_dead, swept));
    }

    fn take_into(&self, taken: &mut Vec<T>, take: &mut dyn FnMut(&mut List<T>, &mut Vec<T>)) {
        let mut departures = self.outward.departures.lock();
        let mut arrivals = self.inward.arrivals.lock();
        let before = taken.len();
        take(&mut departures, taken);
        take(&mut arrivals.tasks, taken);
        let count = (taken.len() - before) as u64;
        add(&self.outward.started, count);
        // ORDERING: Release, see `finished`.
        self.outward.finished.fetch_add(count, Ordering::Release);
    }

    pub(super) fn finish(&self) {
        // ORDERING: Release, see `finished`.
        self.outward.finished.fetch_add(1, Ordering::Release);
    }

    /// From the moment that this returns, [`pop`](Self::pop) heeds it.
    pub(super) fn set_shut(&self, is_shut: bool) {
        let _departures = self.outward.departures.lock();
        self.outward.is_shut.store(is_shut, Ordering::Relaxed);
    }

    /// Certain under the lock only.
    pub(super) fn is_shut(&self) -> bool {
        self.outward.is_shut.load(Ordering::Relaxed)
    }
}

/// The figures. Those of the way out are to be read first, from the last to the first, so that none is missed.
impl<T> Shard<T> {
    pub(super) fn finished(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `finish`: who sees a task finished sees what it did.
        self.outward.finished.load(Ordering::Acquire)
    }

    pub(super) fn started(&self) -> u64 {
        // ORDERING: Acquire, here and in `accepted`, pairs with the Release in `add`.
        self.outward.started.load(Ordering::Acquire)
    }

    pub(super) fn accepted(&self) -> u64 {
        self.inward.accepted.load(Ordering::Acquire)
    }

    pub(super) fn stolen(&self) -> u64 {
        self.outward.stolen.load(Ordering::Relaxed)
    }

    /// How many tasks the shard's own workers have taken, about.
    pub(super) fn own_pops(&self) -> u64 {
        self.started().wrapping_sub(self.stolen())
    }

    /// Whether there is a task that nobody has taken. A stale count of the way out errs to the safe side.
    pub(super) fn has_work(&self) -> bool {
        self.waiting() > 0
    }

    /// Tasks that nobody has taken, about.
    pub(super) fn waiting(&self) -> u64 {
        let started = self.started();
        self.accepted().saturating_sub(started)
    }

    /// Tasks queued and running.
    pub(super) fn held(&self) -> u64 {
        let finished = self.finished();
        self.accepted() - finished
    }

    /// Tasks that were taken and are not finished.
    pub(super) fn running(&self) -> u64 {
        let finished = self.finished();
        self.started() - finished
    }
}
