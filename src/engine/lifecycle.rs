//! Open, paused, closed, ended: what a pool may do, and how one waits for it.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::sync::waiter::Waiter;
use crate::sync::waiter_list::{Registration, SharedWaiterList};
use crate::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, fence};

/// A pause, by number; none of them knows of the others.
pub(crate) type PauseId = u64;

/// A state of rest that one can wait for. Whatever is idle is quiet, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RestState {
    /// Nothing is running.
    Quiet,
    /// Nothing is queued either.
    Idle,
}

#[derive(Default)]
pub(crate) struct Phase {
    closed: bool,
    /// How many are taking out what is queued.
    drains: usize,
    /// Pauses in force, with the time when each ends by itself.
    pauses: BTreeMap<PauseId, Option<Instant>>,
    next_pause: PauseId,
    /// How often each state of rest was seen.
    seen: [u64; 2],
}

impl Phase {
    /// The pool is at rest: all who wait for that now may go, whatever comes next.
    fn note(&mut self, rest: RestState) {
        self.seen.iter_mut().take(rest as usize + 1).for_each(|seen| *seen += 1);
    }

    /// Whether no task may start. The end overrides a pause.
    pub(crate) fn is_paused(&self) -> bool {
        self.drains > 0 || !self.closed && !self.pauses.is_empty()
    }

    pub(crate) fn begin_drain(&mut self) {
        self.drains += 1;
    }

    pub(crate) fn end_drain(&mut self) {
        self.drains -= 1;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn open(&mut self) {
        self.closed = false;
        self.pauses.clear();
    }

    pub(crate) fn add_pause(&mut self, limit: Option<Duration>) -> PauseId {
        let id = self.next_pause;
        self.next_pause += 1;
        // A time beyond the clock's range is no limit.
        self.pauses.insert(id, limit.and_then(|d| Instant::now().checked_add(d)));
        id
    }

    pub(crate) fn end_pause(&mut self, id: PauseId) {
        self.pauses.remove(&id);
    }

    /// Ends the pauses whose time is up; says when the next one will be. Looks at each: they are the user's, and few.
    pub(crate) fn expire_pauses(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.pauses.retain(|_, until| until.is_none_or(|until| until > now));
        // As long as one has no limit, the others' ends change nothing.
        let ends: Option<Vec<_>> = self.pauses.values().copied().collect();
        ends?.into_iter().max()
    }
}

/// The phase of a pool, and those who wait for it to change.
pub(crate) struct Lifecycle {
    phase: Mutex<Phase>,
    /// Copies of the phase for workers, written under its lock.
    closed: AtomicBool,
    paused: AtomicBool,
    changed: Condvar,
    /// How many threads wait for `changed`, and futures for the pool to be idle.
    waiters: AtomicUsize,
    /// Those futures. They are told only when it is idle, not of other changes.
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
        // ORDERING: Acquire pairs with the Release in `publish`: who sees the pool closed sees its queue
        // closed, and so a queue found empty afterwards stays empty.
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Changes the phase. `f` also makes the rest of the pool follow, under the same lock, so that two
    /// changes cannot cross.
    pub(crate) fn edit<O>(&self, f: impl FnOnce(&mut Phase) -> O) -> O {
        let mut phase = self.phase.lock();
        let out = f(&mut phase);
        self.publish(&phase);
        self.changed.notify_all();
        out
    }

    /// Tells workers and others of the phase that an [`edit`](Self::edit) has made, which may go on after that.
    pub(crate) fn publish(&self, phase: &Phase) {
        // ORDERING: Relaxed. A sleeper that must not miss it has a fence of its own (parking.md, **sleep**).
        self.paused.store(phase.is_paused(), Ordering::Relaxed);
        // ORDERING: Release, see `is_closed`.
        self.closed.store(phase.closed, Ordering::Release);
    }

    /// Waits until the pool has been seen at such a `rest` since this was called, at most until `deadline`; says whether it was. `look`
    /// says how it is.
    pub(crate) fn wait_for(
        &self,
        rest: RestState,
        deadline: Option<Instant>,
        look: impl Fn() -> Option<RestState>,
    ) -> bool {
        self.add_waiter();
        let mut phase: MutexGuard<'_, Phase> = self.phase.lock();
        let seen = |phase: &Phase| phase.seen[rest as usize];
        let before = seen(&phase);
        let mut is_idle = self.check_rest(&mut phase, &look);
        while seen(&phase) == before && deadline.is_none_or(|d| Instant::now() < d) {
            crate::sync::wait(&self.changed, &mut phase, deadline);
            if seen(&phase) == before {
                is_idle |= self.check_rest(&mut phase, &look);
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
        // ORDERING: SeqCst fence between this watcher's entry and its first look; `notify_waiters` is called after a
        // fence that follows the change. One of the two sees the other.
        fence(Ordering::SeqCst);
    }

    /// A future begins to wait for the pool to be idle.
    pub(crate) fn watch(&self) -> IdleWatch<'_> {
        self.add_waiter();
        let before = self.phase.lock().seen[RestState::Idle as usize];
        IdleWatch { lifecycle: self, before, registration: None }
    }

    /// Whoever sees the pool at rest lets all go that wait for it: before they have woken up it may have work again. Says whether it
    /// is idle: then the futures are to be woken, without the lock.
    fn check_rest(&self, phase: &mut Phase, look: impl Fn() -> Option<RestState>) -> bool {
        let found = look();
        if let Some(rest) = found {
            phase.note(rest);
            self.changed.notify_all();
        }
        found == Some(RestState::Idle)
    }

    /// Whether anyone waits. Call it after a sequentially consistent fence that follows the change.
    pub(crate) fn is_watched(&self) -> bool {
        // ORDERING: Relaxed, after the caller's fence.
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Something changed that a watcher may wait for. Looks on behalf of all of them. May run an executor's code: not to be called
    /// under a lock.
    pub(crate) fn notify_waiters(&self, look: impl Fn() -> Option<RestState>) {
        // The lock keeps this from falling between a watcher's look and its sleep.
        let mut phase = self.phase.lock();
        let is_idle = self.check_rest(&mut phase, look);
        drop(phase);
        self.changed.notify_all();
        if is_idle {
            self.futures.wake_all();
        }
    }
}

/// A future's wait for the pool to be idle, as [`Lifecycle::wait_for`] is a thread's.
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

    /// The same, after one more `look`. If not, the waker is woken when it is so.
    pub(crate) fn poll(&mut self, waker: &Waker, look: impl Fn() -> Option<RestState>) -> bool {
        match &self.registration {
            Some(registration) => registration.replace(Waiter::Task(waker.clone())),
            // Most often it need not wait.
            None => {
                if self.look(&look) {
                    return true;
                }
                self.registration = Some(self.lifecycle.futures.register(Waiter::Task(waker.clone())));
            }
        }
        self.look(look)
    }

    fn look(&mut self, look: impl Fn() -> Option<RestState>) -> bool {
        let mut phase = self.lifecycle.phase.lock();
        let seen = |phase: &Phase| phase.seen[RestState::Idle as usize] != self.before;
        let is_idle = !seen(&phase) && self.lifecycle.check_rest(&mut phase, look);
        let is_seen = seen(&phase);
        drop(phase);
        if is_idle {
            // It is not to be woken in its own poll.
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
