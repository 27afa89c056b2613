//! A bounded first-in-first-out queue with one lock for submitters and one for workers.

use std::mem;

use crossbeam_utils::CachePadded;

use super::counts::to_usize;
use super::list::List;
use super::{LazyBatch, LazyItem, Refused};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

/// Two lists, each under its own lock: submitters push to the tail, workers pop from the head. A worker that finds the head
/// empty swaps the two lists, so under load the two sides meet once in many tasks.
///
/// Lock order: head before tail.
///
/// The queue does not know which tasks have finished, which decides how much room there is: methods that admit tasks take
/// that count as an argument. `G` is what else the lock of the head guards; `U` lies beside that lock, unguarded, in memory that
/// workers write.
pub(super) struct TwoLockQueue<T, G = (), U = ()> {
    head: CachePadded<End<Head<T, G>, U>>,
    tail: CachePadded<End<Tail<T>, ()>>,
}

struct End<L, U> {
    /// How many tasks have passed this end of the queue. Written under the lock, and read without it.
    passed: AtomicU64,
    locked: Mutex<L>,
    unguarded: U,
}

/// What the lock of the head guards.
pub(super) struct Head<T, G> {
    tasks: List<T>,
    pub(super) guarded: G,
}

/// What the lock of the tail guards.
pub(super) struct Tail<T> {
    tasks: List<T>,
    /// How many unfinished tasks there may be.
    room: u64,
    /// How many tasks may ever have been pushed: the finished ones and the room. Finished tasks do not come back, so a limit once
    /// computed stays valid. It is recomputed only when it is reached, so submitters rarely read what workers write.
    limit: u64,
    is_closed: bool,
}

impl<L, U> End<L, U> {
    fn new(locked: L, unguarded: U) -> Self {
        End { passed: AtomicU64::new(0), locked: Mutex::new(locked), unguarded }
    }

    fn passed(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `set_passed`.
        self.passed.load(Ordering::Acquire)
    }

    /// Called under the lock.
    fn set_passed(&self, passed: u64) {
        // ORDERING: Release: a thread that sees a task counted sees what went before, such as the same task counted at the tail. A
        // reader that must not miss this store has a sequentially consistent fence between its own announcement and its load; the
        // pusher has one after it has released the lock (`fence_after_rmw`, parking.md).
        self.passed.store(passed, Ordering::Release);
    }

    /// Counts `tasks` more. Called under the lock.
    fn add_passed(&self, tasks: u64) {
        // ORDERING: Relaxed. Only holders of the lock write it.
        self.set_passed(self.passed.load(Ordering::Relaxed) + tasks);
    }
}

impl<T> Tail<T> {
    #[cold]
    fn refresh_limit(&mut self, finished: impl FnOnce() -> u64) -> u64 {
        self.limit = self.room.saturating_add(finished());
        self.limit
    }

    pub(super) fn set_room(&mut self, room: u64, finished: impl FnOnce() -> u64) {
        self.room = room;
        self.refresh_limit(finished);
    }

    pub(super) fn set_closed(&mut self, is_closed: bool) {
        self.is_closed = is_closed;
    }
}

impl<T, G, U> TwoLockQueue<T, G, U> {
    /// Creates an empty, open queue for `room` unfinished tasks.
    pub(super) fn new(room: u64, guarded: G, unguarded: U) -> Self {
        let tail = Tail { tasks: List::new(), room, limit: room, is_closed: false };
        TwoLockQueue {
            head: CachePadded::new(End::new(Head { tasks: List::new(), guarded }, unguarded)),
            tail: CachePadded::new(End::new(tail, ())),
        }
    }

    pub(super) fn unguarded(&self) -> &U {
        &self.head.unguarded
    }

    pub(super) fn lock_head(&self) -> MutexGuard<'_, Head<T, G>> {
        self.head.locked.lock()
    }

    pub(super) fn lock_tail(&self) -> MutexGuard<'_, Tail<T>> {
        self.tail.locked.lock()
    }

    /// How many tasks were ever pushed.
    pub(super) fn pushed(&self) -> u64 {
        self.tail.passed()
    }

    /// How many tasks were ever popped or taken out. Read it before [`pushed`](Self::pushed): then it is not the larger one.
    pub(super) fn popped(&self) -> u64 {
        self.head.passed()
    }

    /// How many tasks wait. Never too low for a thread that synchronised with the pushes: a stale count of the pops errs to the safe
    /// side.
    pub(super) fn len(&self) -> u64 {
        let popped = self.popped();
        self.pushed().saturating_sub(popped)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pushes the task, if the queue is open and has room for it and for `reserved` more.
    #[inline]
    pub(super) fn push(
        &self,
        item: &mut (impl LazyItem<T> + ?Sized),
        reserved: usize,
        finished: impl FnOnce() -> u64,
    ) -> Result<(), Refused> {
        let mut tail = self.lock_tail();
        self.admit(&mut tail, reserved, finished)?;
        self.put(&mut tail, item);
        Ok(())
    }

    /// Pushes up to `most` tasks of a batch, as so many [`push`](Self::push)es do. Returns how many.
    pub(super) fn push_batch(
        &self,
        batch: &mut impl LazyBatch<T>,
        most: usize,
        reserved: usize,
        finished: impl FnOnce() -> u64,
    ) -> usize {
        let mut tail = self.lock_tail();
        if tail.is_closed {
            return 0;
        }
        let (wanted, last) = (most.min(batch.remaining()) as u64, self.pushed().saturating_add(reserved as u64));
        if last.saturating_add(wanted) > tail.limit {
            tail.refresh_limit(finished);
        }
        let count = wanted.min(tail.limit.saturating_sub(last));
        (0..count).for_each(|_| tail.tasks.push(batch.build()));
        self.tail.add_passed(count);
        to_usize(count)
    }

    #[inline]
    fn admit(&self, tail: &mut Tail<T>, reserved: usize, finished: impl FnOnce() -> u64) -> Result<(), Refused> {
        if tail.is_closed {
            return Err(Refused::Closed);
        }
        let last = self.pushed() + reserved as u64;
        if last >= tail.limit && last >= tail.refresh_limit(finished) {
            return Err(Refused::Full);
        }
        Ok(())
    }

    #[inline]
    fn put(&self, tail: &mut Tail<T>, item: &mut (impl LazyItem<T> + ?Sized)) {
        tail.tasks.push(item.build());
        self.tail.add_passed(1);
    }

    /// Pops the oldest task.
    #[inline]
    pub(super) fn pop(&self, head: &mut Head<T, G>) -> Option<T> {
        if head.tasks.is_empty() {
            // A worker that finds nothing does not disturb submitters.
            if self.is_empty() {
                return None;
            }
            mem::swap(&mut head.tasks, &mut self.lock_tail().tasks);
        }
        let item = head.tasks.pop()?;
        self.head.add_passed(1);
        Some(item)
    }

    pub(super) fn has_room(&self, finished: impl FnOnce() -> u64) -> bool {
        let mut tail = self.lock_tail();
        self.pushed() < tail.refresh_limit(finished)
    }

    /// Pushes the task like [`push`](Self::push). If the queue is empty and `may_bypass`, counts the task as pushed and popped and
    /// returns it instead.
    pub(super) fn push_or_bypass(
        &self,
        head: &mut Head<T, G>,
        item: &mut (impl LazyItem<T> + ?Sized),
        reserved: usize,
        finished: impl FnOnce() -> u64,
        may_bypass: bool,
    ) -> Result<Option<T>, Refused> {
        let mut tail = self.lock_tail();
        self.admit(&mut tail, reserved, finished)?;
        if may_bypass && head.tasks.is_empty() && tail.tasks.is_empty() {
            // The head first: `len`, which reads it first, then finds the queue empty in between as well.
            self.head.add_passed(1);
            self.tail.add_passed(1);
            return Ok(Some(item.build()));
        }
        self.put(&mut tail, item);
        Ok(None)
    }

    /// Takes a task back that was popped or that bypassed the queue: it becomes the oldest one.
    pub(super) fn unpop(&self, head: &mut Head<T, G>, item: T) {
        head.tasks.push_oldest(item);
        self.head.set_passed(self.head.passed() - 1);
    }

    /// Takes out all tasks, oldest first, as if they were popped. Returns their number.
    pub(super) fn drain_into(&self, head: &mut Head<T, G>, drained: &mut Vec<T>) -> u64 {
        self.take_into(head, drained, &mut |list, drained| list.drain_into(drained))
    }

    /// Takes out the dead tasks, oldest first, as if they were popped. Returns how many those are.
    pub(super) fn sweep_into(
        &self,
        head: &mut Head<T, G>,
        is_dead: &mut dyn FnMut(&T) -> bool,
        swept: &mut Vec<T>,
    ) -> u64 {
        self.take_into(head, swept, &mut |list, swept| list.sweep_into(is_dead, swept))
    }

    fn take_into(
        &self,
        head: &mut Head<T, G>,
        taken: &mut Vec<T>,
        take: &mut dyn FnMut(&mut List<T>, &mut Vec<T>),
    ) -> u64 {
        let mut tail = self.lock_tail();
        let before = taken.len();
        take(&mut head.tasks, taken);
        take(&mut tail.tasks, taken);
        let count = (taken.len() - before) as u64;
        self.head.add_passed(count);
        count
    }
}
