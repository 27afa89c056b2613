//! One shard: its tasks and their counts.

use crate::queue::two_lock_queue::{Head, TwoLockQueue};
use crate::queue::{LazyBatch, LazyItem, Refused};
use crate::sync::{AtomicBool, AtomicU64, Ordering};

pub(super) struct Shard<T>(TwoLockQueue<T, (), WorkerCounts>);

/// What workers write and other threads read, without a lock.
struct WorkerCounts {
    /// How many tasks workers of other shards have popped. Written under the lock of the head.
    stolen: AtomicU64,
    /// Whether a run limit is set. Written under the lock of the head.
    is_limited: AtomicBool,
    finished: AtomicU64,
}

/// Why a worker has no task.
pub(super) enum NoTask {
    Empty,
    /// Check the run limit, under the lock of the control, and then call [`Shard::pop_checked`].
    Limited,
}

/// Pushing.
impl<T> Shard<T> {
    /// Creates an empty shard for `share` unfinished tasks.
    pub(super) fn new(share: u64) -> Self {
        let counts =
            WorkerCounts { stolen: AtomicU64::new(0), is_limited: AtomicBool::new(false), finished: AtomicU64::new(0) };
        Shard(TwoLockQueue::new(share, (), counts))
    }

    /// Pushes a task, if the shard is open and has room for it and for `reserved` more.
    #[inline]
    pub(super) fn push(&self, item: &mut (impl LazyItem<T> + ?Sized), reserved: usize) -> Result<(), Refused> {
        self.0.push(item, reserved, || self.finished())
    }

    /// Pushes up to `most` tasks of a batch. Returns how many.
    pub(super) fn push_batch(&self, batch: &mut impl LazyBatch<T>, most: usize, reserved: usize) -> usize {
        self.0.push_batch(batch, most, reserved, || self.finished())
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.has_room(|| self.finished())
    }

    pub(super) fn set_share(&self, share: u64) {
        self.0.lock_tail().set_room(share, || self.finished());
    }

    pub(super) fn set_closed(&self, is_closed: bool) {
        self.0.lock_tail().set_closed(is_closed);
    }
}

/// Popping.
impl<T> Shard<T> {
    /// Pops the oldest task, unless a run limit is set.
    #[inline]
    pub(super) fn pop(&self, is_stolen: bool) -> Result<T, NoTask> {
        let mut head = self.0.lock_head();
        if self.is_limited() { Err(NoTask::Limited) } else { self.pop_from(&mut head, is_stolen).ok_or(NoTask::Empty) }
    }

    /// Pops the oldest task. The caller has checked the run limit and holds the lock of the control.
    pub(super) fn pop_checked(&self, is_stolen: bool) -> Option<T> {
        self.pop_from(&mut self.0.lock_head(), is_stolen)
    }

    /// Pops the oldest task, and counts it as ended.
    pub(super) fn take_as_ended(&self) -> Option<T> {
        let item = self.pop_checked(false)?;
        self.add_finished(1);
        Some(item)
    }

    #[inline]
    fn pop_from(&self, head: &mut Head<T, ()>, is_stolen: bool) -> Option<T> {
        let item = self.0.pop(head)?;
        if is_stolen {
            let stolen = &self.0.unguarded().stolen;
            // ORDERING: Relaxed. Only the holder of the lock writes it, and its readers want an estimate.
            stolen.store(stolen.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        Some(item)
    }

    /// Takes out all tasks, oldest first, and counts them as finished.
    pub(super) fn drain_into(&self, drained: &mut Vec<T>) {
        let mut head = self.0.lock_head();
        let count = self.0.drain_into(&mut head, drained);
        self.add_finished(count);
    }

    /// Takes out the dead tasks, oldest first, and counts them as finished.
    pub(super) fn sweep_into(&self, is_dead: &mut dyn FnMut(&T) -> bool, swept: &mut Vec<T>) {
        let mut head = self.0.lock_head();
        let count = self.0.sweep_into(&mut head, is_dead, swept);
        self.add_finished(count);
    }

    #[inline]
    pub(super) fn add_finished(&self, tasks: u64) {
        // ORDERING: Release, see `finished`.
        self.0.unguarded().finished.fetch_add(tasks, Ordering::Release);
    }

    /// [`pop`](Self::pop) obeys it once this returns.
    pub(super) fn set_limited(&self, is_limited: bool) {
        let _head = self.0.lock_head();
        // ORDERING: Relaxed. `pop` reads it under the lock; others do not rely on it.
        self.0.unguarded().is_limited.store(is_limited, Ordering::Relaxed);
    }

    /// Exact only under the lock of the head.
    pub(super) fn is_limited(&self) -> bool {
        // ORDERING: Relaxed, see `set_limited`.
        self.0.unguarded().is_limited.load(Ordering::Relaxed)
    }
}

/// Counts. A reader of several reads `finished` before `started` before `accepted`, so that it misses no task.
impl<T> Shard<T> {
    pub(super) fn finished(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `add_finished`: a thread that sees a task finished sees what the task did.
        self.0.unguarded().finished.load(Ordering::Acquire)
    }

    pub(super) fn started(&self) -> u64 {
        self.0.popped()
    }

    pub(super) fn accepted(&self) -> u64 {
        self.0.pushed()
    }

    pub(super) fn stolen(&self) -> u64 {
        // ORDERING: Relaxed. An estimate.
        self.0.unguarded().stolen.load(Ordering::Relaxed)
    }

    /// About how many tasks the shard's own workers have popped.
    pub(super) fn own_pops(&self) -> u64 {
        self.started().wrapping_sub(self.stolen())
    }

    /// Whether tasks wait. Never wrongly `false` to a thread that synchronised with the push.
    pub(super) fn has_work(&self) -> bool {
        !self.0.is_empty()
    }

    /// About how many tasks wait.
    pub(super) fn waiting(&self) -> u64 {
        self.0.len()
    }

    /// Tasks queued and running.
    pub(super) fn unfinished(&self) -> u64 {
        let finished = self.finished();
        self.accepted() - finished
    }

    /// Tasks popped and not finished.
    pub(super) fn running(&self) -> u64 {
        let finished = self.finished();
        self.started() - finished
    }
}
