//! Polls on workers that returned `Pending` only because other workers of the pool were free to start the task.
//!
//! A worker that polls a task of its own pool leaves it to free workers ([`PollAction::LeaveToOthers`]). They may take other tasks first,
//! and wait for something that depends on the polling worker. Then the task stays queued, and no worker checks again. So such a poll is
//! registered here, and is woken when a worker is about to wait while there are more unfinished tasks than workers: the future is polled
//! again, and runs its task.
//!
//! There is no cycle of wake-ups. An entry is made only while workers are free for all tasks, and is removed and woken only while they are
//! not. A woken future whose poll finds no free worker runs its task instead of registering again. So between two wake-ups of the same
//! future a task is submitted, started or ended.
//!
//! No wake-up is lost. Suppose that the polled task is queued and that every worker waits. Each worker took a task, then passed the fence in
//! [`notify_unless`](PendingPolls::notify_unless), and then checked; the poll was registered, passed the fence in
//! [`register`](PendingPolls::register), and then checked as well. The last to pass its fence saw the tasks of all workers and the queued
//! one, more tasks than workers. If that was a worker, it also saw the entry, and woke the poll; if it was the poll, it ran the task.
//!
//! [`PollAction::LeaveToOthers`]: crate::task::state::PollAction::LeaveToOthers

use std::mem;
use std::sync::Weak;
use std::task::{Wake, Waker};

use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, fence};

/// The list is pruned when it is twice as long as after the last time, and not before it has this length.
const MIN_PRUNED: usize = 16;

/// The waker of one poll. The state of the polled task owns it, as it owns the waker of any other poll, and drops it as early.
pub(crate) struct PendingPoll(Waker);

impl PendingPoll {
    pub(crate) fn new(waker: &Waker) -> Arc<Self> {
        Arc::new(PendingPoll(waker.clone()))
    }

    /// The waiter to register with the task.
    pub(crate) fn waiter(self: &Arc<Self>) -> Waiter {
        Waiter::Task(Waker::from(Arc::clone(self)))
    }
}

impl Wake for PendingPoll {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// The registered polls of one pool.
#[derive(Default)]
pub(crate) struct PendingPolls {
    has_entries: AtomicBool,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    entries: Vec<Weak<PendingPoll>>,
    /// The length at which the entries of tasks that have ended are removed.
    prune_at: usize,
}

impl PendingPolls {
    /// Registers a poll. Afterwards the caller checks again whether other workers are free: a worker that called
    /// [`notify_unless`](Self::notify_unless) before this may have taken another task.
    pub(crate) fn register(&self, poll: Arc<PendingPoll>) {
        let mut list = self.list.lock();
        if list.entries.len() >= list.prune_at.max(MIN_PRUNED) {
            // Frees memory only: the waker of a dead entry was dropped by its last owner.
            list.entries.retain(|entry| entry.strong_count() > 0);
            list.prune_at = 2 * list.entries.len();
        }
        list.entries.push(Arc::downgrade(&poll));
        // ORDERING: Relaxed, before the fence. The lock orders it among the other stores.
        self.has_entries.store(true, Ordering::Relaxed);
        drop(list);
        // The task may have ended, and have dropped its reference.
        Waiter::Task(Waker::from(poll)).discard();
        // ORDERING: SeqCst fence between the registration and the caller's check for free workers. It pairs with the one in
        // `notify_unless`, between the start of a worker's task and its look at the list: one of the two sees the other.
        fence(Ordering::SeqCst);
    }

    /// Wakes the registered polls, unless other workers `are_free`. For a worker that is about to wait, and for a thread that has made
    /// workers unavailable. May run executors' code: do not call under a lock.
    pub(crate) fn notify_unless(&self, are_free: impl FnOnce() -> bool) {
        // ORDERING: SeqCst fence, see `register`. Also, of several workers that begin to wait, the one whose fence is last sees the tasks of all.
        fence(Ordering::SeqCst);
        if self.has_entries.load(Ordering::Relaxed) && !are_free() {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        let mut list = self.list.lock();
        let entries = mem::take(&mut *list).entries;
        // ORDERING: Relaxed. The lock orders it among the other stores.
        self.has_entries.store(false, Ordering::Relaxed);
        drop(list);
        for poll in entries.iter().filter_map(Weak::upgrade) {
            Waiter::Task(Waker::from(poll)).wake();
        }
    }
}
