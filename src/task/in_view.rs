//! What the state of a limited view's task knows of the view.

use std::cell::RefCell;
use std::sync::Weak;

use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicU64, Ordering, thread_local};

/// Identifies a view in the process.
pub(crate) type ViewId = u64;

thread_local! {
    /// The views whose permits the tasks on this thread's stack hold.
    static HELD: RefCell<Vec<ViewId>> = const { RefCell::new(Vec::new()) };
}

/// The calling thread holds permits of some views until this is dropped. Dropped in the reverse order.
pub(crate) struct HoldsPermits(usize);

impl HoldsPermits {
    pub(crate) fn of(views: &[ViewId]) -> Self {
        // Fails on a thread whose locals are gone, which can be an inline worker: it does without.
        let _ = HELD.try_with(|held| held.borrow_mut().extend(views));
        HoldsPermits(views.len())
    }
}

impl Drop for HoldsPermits {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            let rest = held.len().saturating_sub(self.0);
            held.truncate(rest);
        });
    }
}

/// How many of these views, of which each is a view of the next, the calling thread holds no permit of. A thread that holds one of a view
/// holds one of each view that this is a view of, so these are the first.
pub(crate) fn missing_permits(views: &[ViewId]) -> usize {
    let is_missing = |held: &RefCell<Vec<ViewId>>| {
        let held = held.borrow();
        views.iter().take_while(|view| !held.contains(view)).count()
    };
    HELD.try_with(is_missing).unwrap_or(views.len())
}

/// What a view does for those that wait for one of its tasks, whatever its pool. Each task has a number. Not to be called under a lock.
pub(crate) trait ViewTasks: Send + Sync {
    /// The task was cancelled before it started: it needs no room and no permit any more.
    fn withdraw(self: Arc<Self>, task: u64);
    /// Whether [`run_next`](Self::run_next) would run anything on the calling worker.
    fn can_run_next(&self, task: u64) -> bool;
    /// Whether there is anything for [`run_next`](Self::run_next) that the other workers, if they `are_free`, would not find. If the task
    /// waits for a permit, the calling worker is woken when there may be.
    fn has_next(&self, task: u64, are_free: &dyn Fn() -> bool, waiter: Waiter) -> bool;
    /// Nobody polls the task any more.
    fn forget(&self, task: u64);
    /// The calling worker does not poll the task any more.
    fn forget_caller(&self, task: u64);
    /// Runs the task on the calling worker, if it has not started and has its permits, or can have them with those that the caller holds.
    fn run(self: Arc<Self>, task: u64);
    /// The same, or runs another task that keeps this one from its permits; says whether there was any.
    fn run_next(self: Arc<Self>, task: u64) -> bool;
    /// Whether no task of the view can start before the task ends that the calling thread is in: the view is the order of a key, and that
    /// task is one of the key.
    fn is_behind_caller(&self) -> bool;
}

/// A task of a view. Does not keep the view, which exists as long as the task has not started.
pub struct InView {
    view: Weak<dyn ViewTasks>,
    task: AtomicU64,
}

impl InView {
    pub(crate) fn new(view: Weak<dyn ViewTasks>, task: u64) -> Self {
        InView { view, task: AtomicU64::new(task) }
    }

    /// The task's number in the view.
    pub(crate) fn task(&self) -> u64 {
        // ORDERING: Relaxed. It is set before the task is accepted, and asked for after that.
        self.task.load(Ordering::Relaxed)
    }

    /// The view takes the task in under this number.
    pub(crate) fn renumber(&self, task: u64) {
        // ORDERING: Relaxed, as above.
        self.task.store(task, Ordering::Relaxed);
    }

    /// See [`ViewTasks::is_behind_caller`].
    pub(crate) fn is_behind_caller(&self) -> bool {
        self.view.upgrade().is_some_and(|view| view.is_behind_caller())
    }

    /// See [`ViewTasks::withdraw`].
    pub(crate) fn withdraw(&self) {
        if let Some(view) = self.view.upgrade() {
            view.withdraw(self.task());
        }
    }

    /// See [`ViewTasks::can_run_next`].
    pub(crate) fn can_run(&self) -> bool {
        self.view.upgrade().is_some_and(|view| view.can_run_next(self.task()))
    }

    /// Whether the calling worker, which awaits the task, has to run it, or what comes before it, since no other worker can
    /// ([`ViewTasks::has_next`]).
    pub(crate) fn is_up_to_caller(&self, are_free: impl Fn() -> bool, waiter: impl FnOnce() -> Waiter) -> bool {
        self.view.upgrade().is_some_and(|view| view.has_next(self.task(), &are_free, waiter()))
    }

    /// See [`ViewTasks::forget`].
    pub(crate) fn forget(&self) {
        if let Some(view) = self.view.upgrade() {
            view.forget(self.task());
        }
    }

    /// See [`ViewTasks::forget_caller`].
    pub(crate) fn forget_caller(&self) {
        if let Some(view) = self.view.upgrade() {
            view.forget_caller(self.task());
        }
    }

    /// See [`ViewTasks::run`].
    pub(crate) fn run(&self) {
        if let Some(view) = self.view.upgrade() {
            view.run(self.task());
        }
    }

    /// See [`ViewTasks::run_next`].
    pub(crate) fn run_next(&self) -> bool {
        self.view.upgrade().is_some_and(|view| view.run_next(self.task()))
    }
}
