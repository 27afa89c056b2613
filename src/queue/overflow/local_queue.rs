//! What one worker's tasks have submitted to their own pool.

use crate::queue::list::List;
use crate::queue::{LazyItem, Refused};
use crate::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, fence_after_rmw};

/// A batch that is stolen has at most this many tasks.
const MAX_BATCH: usize = 32;

/// First in, first out. The worker that owns the queue pushes and pops; idle workers steal.
///
/// Its lock is hardly ever contended, so it costs its owner as much as the atomic operations of a deque without locks would. In return the
/// tasks can be counted, swept and drained exactly.
pub(crate) struct LocalQueue<T> {
    /// The order in which lists are locked.
    serial: usize,
    /// A copy of the length, for looks without the lock.
    waiting: AtomicUsize,
    /// Whether the owner runs a task that the overflow lists have started.
    is_running: AtomicBool,
    state: Mutex<LocalState<T>>,
}

/// What the lock guards.
pub(super) struct LocalState<T> {
    pub(super) list: List<T>,
    /// Tasks ever accepted.
    pub(super) accepted: u64,
    pub(super) rules: Rules,
}

/// Copies of what holds for all overflow lists.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// Whether a task starts only under the lock of all.
    pub(super) is_limited: bool,
    pub(super) is_closed: bool,
}

impl<T> LocalQueue<T> {
    pub(super) fn new(serial: usize, rules: Rules) -> Self {
        LocalQueue {
            serial,
            waiting: AtomicUsize::new(0),
            is_running: AtomicBool::new(false),
            state: Mutex::new(LocalState { list: List::new(), accepted: 0, rules }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LocalState<T>> {
        self.state.lock()
    }

    /// The number of waiting tasks. A hint, unless there are fences as for [`Queue::has_work`](crate::queue::Queue::has_work).
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        // ORDERING: Relaxed. A worker that must not miss the store in `publish` has a sequentially consistent fence between its
        // own announcement and this load, and the pusher has one after that store (parking.md).
        self.waiting.load(Ordering::Relaxed)
    }

    /// Publishes the number of waiting tasks. The caller holds the lock and releases it afterwards, so a fence after that follows a
    /// read-modify-write.
    pub(super) fn publish(&self, state: &LocalState<T>) {
        // ORDERING: Relaxed, see `waiting`.
        self.waiting.store(state.list.len(), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn push(&self, item: &mut (impl LazyItem<T> + ?Sized)) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.rules.is_closed {
            return Err(Refused::Closed);
        }
        state.accepted += 1;
        state.list.push(item.build());
        self.publish(&state);
        Ok(())
    }

    /// Changes the list under the lock.
    pub(super) fn change<O>(&self, change: impl FnOnce(&mut List<T>) -> O) -> O {
        let mut state = self.lock();
        let result = change(&mut state.list);
        self.publish(&state);
        result
    }

    /// Whether the owner runs a task of the overflow lists.
    pub(super) fn is_running(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `set_finished`: who sees that a task has ended sees what it has submitted.
        self.is_running.load(Ordering::Acquire)
    }

    /// Counts a task of the owner as started. The caller holds the lock of the list that the task was in.
    pub(super) fn set_running(&self) {
        // ORDERING: Relaxed. Published by the release of that lock.
        self.is_running.store(true, Ordering::Relaxed);
    }

    /// Counts the owner's task as finished, by a read-modify-write. A fence separates it from what follows.
    pub(super) fn set_finished(&self) {
        // ORDERING: Release, see `is_running`.
        self.is_running.swap(false, Ordering::Release);
        fence_after_rmw();
    }

    /// Locks this list and another one, in the order of [`serial`](Self::serial).
    pub(super) fn lock_with<'a>(&'a self, victim: Option<&'a LocalQueue<T>>) -> Locked<'a, T> {
        match victim {
            Some(victim) if victim.serial < self.serial => {
                let theirs = victim.lock();
                Locked { own: self.lock(), victim: Some(theirs) }
            }
            _ => Locked { own: self.lock(), victim: victim.map(LocalQueue::lock) },
        }
    }
}

/// A worker's list, and perhaps one that the worker steals from.
pub(super) struct Locked<'a, T> {
    pub(super) own: MutexGuard<'a, LocalState<T>>,
    pub(super) victim: Option<MutexGuard<'a, LocalState<T>>>,
}

impl<T> Locked<'_, T> {
    /// Takes the victim's oldest task, and moves up to half of the tasks to the worker's own list. The caller publishes both.
    pub(super) fn steal(&mut self) -> Option<T> {
        let victim = self.victim.as_mut()?;
        let batch = (victim.list.len() / 2).min(MAX_BATCH);
        let item = victim.list.pop()?;
        (1..batch).filter_map(|_| victim.list.pop()).for_each(|moved| self.own.list.push(moved));
        Some(item)
    }
}
