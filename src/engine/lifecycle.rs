//! The phases of a pool (open, paused, closed), and waiting for it to be at rest.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::sync::clock;
use crate::sync::waiter::Waiter;
use crate::sync::waiter_list::{Registration, SharedWaiterList};
use crate::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, fence};

/// Identifies a pause. Pauses are independent of one another.
pub(crate) type PauseId = u64;

/// A state of rest to wait for. A pool that is idle is also quiet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RestState {
    /// No task runs.
    Quiet,
    /// No task is queued or runs.
    Idle,
}

#[derive(Default)]
pub(crate) struct Phase {
    closed: bool,
    /// How many threads are taking out what is queued.
    drains: usize,
    /// What was queued has been taken out since the pool was opened.
    is_drained: bool,
    /// The pauses in force, and when each ends by itself.
    pauses: BTreeMap<PauseId, Option<Instant>>,
    next_pause: PauseId,
    /// How often each state of rest was seen.
    seen: [u64; 2],
}

impl Phase {
    /// Records that the pool is at rest. All current waits for that end, whatever follows.
    fn note(&mut self, rest: RestState) {
        self.seen.iter_mut().take(rest as usize + 1).for_each(|seen| *seen += 1);
    }

    /// Whether no task may start. A close overrides pauses.
    pub(crate) fn is_paused(&self) -> bool {
        self.drains > 0 || !self.closed && !self.pauses.is_empty()
    }

    pub(crate) fn begin_drain(&mut self) {
        self.drains += 1;
        self.is_drained = true;
    }

    pub(crate) fn end_drain(&mut self) {
        self.drains -= 1;
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.is_drained
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn open(&mut self) {
        self.closed = false;
        self.is_drained = false;
        self.pauses.clear();
    }

    pub(crate) fn add_pause(&mut self, limit: Option<Duration>) -> PauseId {
        let id = self.next_pause;
        self.next_pause += 1;
        // A time beyond the range of the clock is no limit.
        self.pauses.insert(id, limit.and_then(|d| clock::now().checked_add(d)));
        id
    }

    pub(crate) fn end_pause(&mut self, id: PauseId) {
        self.pauses.remove(&id);
    }

    /// Ends the pauses whose time is over. Returns when the last of the others ends, if each has a limit. Visits all pauses; they are few.
    pub(crate) fn expire_pauses(&mut self) -> Option<Instant> {
        let now = clock::now();
        self.pauses.retain(|_, until| until.is_none_or(|until| until > now));
        // As long as one pause has no limit, the ends of the others change nothing.
        let ends: Option<Vec<_>> = self.pauses.values().copied().collect();
        ends?.into_iter().max()
    }
}

/// The phase of a pool, and the threads and futures that wait for rest.
pub(crate) struct Lifecycle {
    phase: Mutex<Phase>,
    /// Copies of the phase for workers. They are written under its lock.
    closed: AtomicBool,
    paused: AtomicBool,
    changed: Condvar,
    /// The number of threads that wait for `changed`, and of futures that wait for the pool to be idle.
    waiters: AtomicUsize,
    /// These futures. They are woken only when the pool is idle, not by other changes.
    futures: SharedWaiterList,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Lifecycle {
            phase: Mutex::new(Phase::default()),
            closed: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            changed: Condvar::new(),
            waiters: AtomicUsize::new(0),
            futures: SharedWaiterList::default(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `publish`: a thread that sees the pool closed sees its queue closed, so a queue
        // that it finds empty afterwards stays empty.
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Changes the phase. `f` also makes the rest of the pool follow, under the same lock, so that concurrent changes are ordered.
    pub(crate) fn edit<O>(&self, f: impl FnOnce(&mut Phase) -> O) -> O {
        let mut phase = self.phase.lock();
        let out = f(&mut phase);
        self.publish(&phase);
        self.changed.notify_all();
        out
    }

    /// Publishes the phase to workers and others, within an [`edit`](Self::edit), which may change it further.
    pub(crate) fn publish(&self, phase: &Phase) {
        // ORDERING: Relaxed. A sleeping worker that must not miss it has a fence of its own (parking.md, **sleep**).
        self.paused.store(phase.is_paused(), Ordering::Relaxed);
        // ORDERING: Release, see `is_closed`.
        self.closed.store(phase.closed, Ordering::Release);
    }

    /// Waits until the pool is seen at `rest` after this call, at most until `deadline`. Returns whether it was. `current` returns the
    /// current state of rest.
    pub(crate) fn wait_for(
        &self,
        rest: RestState,
        deadline: Option<Instant>,
        current: impl Fn() -> Option<RestState>,
    ) -> bool {
        self.add_waiter();
        let mut phase: MutexGuard<'_, Phase> = self.phase.lock();
        let seen = |phase: &Phase| phase.seen[rest as usize];
        let before = seen(&phase);
        let mut is_idle = self.check_rest(&mut phase, &current);
        while seen(&phase) == before && deadline.is_none_or(|d| clock::now() < d) {
            crate::sync::wait(&self.changed, &mut phase, deadline);
            if seen(&phase) == before {
                is_idle |= self.check_rest(&mut phase, &current);
            }
        }
        let was_seen = seen(&phase) != before;
        drop(phase);
        self.waiters.fetch_sub(1, Ordering::Relaxed);
        if is_idle {
            self.futures.wake_all();
        }
        was_seen
    }

    fn add_waiter(&self) {
        self.waiters.fetch_add(1, Ordering::Relaxed);
        // ORDERING: SeqCst fence between this waiter's entry and its first check. `notify_waiters` is called after a fence that follows
        // the change. One of the two sees the other.
        fence(Ordering::SeqCst);
    }

    /// Begins a future's wait for the pool to be idle.
    pub(crate) fn watch(&self) -> IdleWatch<'_> {
        self.add_waiter();
        let before = self.phase.lock().seen[RestState::Idle as usize];
        IdleWatch { lifecycle: self, before, registration: None }
    }

    /// Checks for rest. A thread that sees the pool at rest ends all waits for it, because the pool may have work again before the waiters
    /// wake up. Returns whether the pool is idle: then the caller wakes the futures, without the lock.
    fn check_rest(&self, phase: &mut Phase, current: impl Fn() -> Option<RestState>) -> bool {
        let found = current();
        if let Some(rest) = found {
            phase.note(rest);
            self.changed.notify_all();
        }
        found == Some(RestState::Idle)
    }

    /// Whether there are waiters. Call it after a sequentially consistent fence that follows the change.
    pub(crate) fn is_watched(&self) -> bool {
        // ORDERING: Relaxed, after the caller's fence.
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Checks for rest after a change, on behalf of all waiters. It runs wakers, so it must not be called under a lock.
    pub(crate) fn notify_waiters(&self, current: impl Fn() -> Option<RestState>) {
        // The lock keeps this from falling between a waiter's check and its sleep.
        let mut phase = self.phase.lock();
        let is_idle = self.check_rest(&mut phase, current);
        drop(phase);
        self.changed.notify_all();
        if is_idle {
            self.futures.wake_all();
        }
    }
}

/// A future's wait for the pool to be idle, as [`Lifecycle::wait_for`] is that of a thread.
pub(crate) struct IdleWatch<'l> {
    lifecycle: &'l Lifecycle,
    before: u64,
    registration: Option<Registration<'l>>,
}

impl IdleWatch<'_> {
    /// Whether the pool was seen idle since this was made.
    pub(crate) fn has_seen(&self) -> bool {
        self.lifecycle.phase.lock().seen[RestState::Idle as usize] != self.before
    }

    /// The same, after one more check. If it is false, `waker` is woken when that changes.
    pub(crate) fn poll(&mut self, waker: &Waker, current: impl Fn() -> Option<RestState>) -> bool {
        match &self.registration {
            Some(registration) => registration.replace(Waiter::Task(waker.clone())),
            // In most cases this need not register.
            None => {
                if self.check(&current) {
                    return true;
                }
                self.registration = Some(self.lifecycle.futures.register(Waiter::Task(waker.clone())));
            }
        }
        self.check(current)
    }

    fn check(&mut self, current: impl Fn() -> Option<RestState>) -> bool {
        let mut phase = self.lifecycle.phase.lock();
        let seen = |phase: &Phase| phase.seen[RestState::Idle as usize] != self.before;
        let is_idle = !seen(&phase) && self.lifecycle.check_rest(&mut phase, current);
        let is_seen = seen(&phase);
        drop(phase);
        if is_idle {
            // The poll must not wake itself.
            self.registration = None;
            self.lifecycle.futures.wake_all();
        }
        is_seen
    }
}

impl Drop for IdleWatch<'_> {
    fn drop(&mut self) {
        self.lifecycle.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}
