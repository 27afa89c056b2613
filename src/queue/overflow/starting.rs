//! Starts and ends of tasks of the overflow lists.

use super::local_queue::Locked;
use super::{LocalQueue, Overflow, OverflowCx, Shared};
use crate::queue::Queue;
use crate::sync::{Arc, Ordering};

impl<T> Overflow<T> {
    /// Takes the next task of the worker's own list, if it may start; the task counts as running from now on.
    pub(in crate::queue) fn pop_own<Q: Queue<T>>(&self, queue: &Q, cx: &OverflowCx<T>) -> Option<T> {
        let own = cx.own.get().filter(|own| own.waiting() > 0)?;
        self.start_under((own, None), queue, |locked| {
            let item = locked.own.list.pop();
            own.publish(&locked.own);
            item
        })
    }

    /// The same for the shared list.
    pub(in crate::queue) fn pop_shared<Q: Queue<T>>(&self, queue: &Q, cx: &OverflowCx<T>) -> Option<T> {
        if self.shared_waiting() == 0 {
            return None;
        }
        let own = self.own(&cx.own);
        let mut shared = self.shared.lock();
        if shared.lanes.len() == 0 || !shared.reserve(queue) {
            return None;
        }
        own.set_running();
        let item = shared.lanes.pop();
        self.publish(&shared);
        item
    }

    /// The same for another worker's list. Moves some of its tasks to the worker's own. Takes time in proportion to the number of workers.
    pub(in crate::queue) fn steal<Q: Queue<T>>(&self, queue: &Q, cx: &OverflowCx<T>) -> Option<T> {
        if !self.has_local_tasks(cx) {
            return None;
        }
        let own = self.own(&cx.own);
        let locals = cx.locals.borrow();
        let at = |n: usize| (cx.next.get() + n) % locals.len();
        let mut others = (0..locals.len()).map(at).filter(|at| !Arc::ptr_eq(&locals[*at], own));
        let from = others.find(|at| locals[*at].waiting() > 0)?;
        // There may be more where this one was.
        cx.next.set(from);
        let victim = &locals[from];
        let item = self.start_under((own, Some(victim)), queue, |locked| {
            let item = locked.steal()?;
            locked.victim.iter().for_each(|theirs| victim.publish(theirs));
            own.publish(&locked.own);
            Some(item)
        });
        cx.has_moved.set(item.is_some() && own.waiting() > 0);
        item
    }

    /// Starts a task that comes from none of these lists, if it may start and `take` finds one. It counts as accepted and as running from
    /// now on.
    pub(in crate::queue) fn start<Q: Queue<T>>(
        &self,
        queue: &Q,
        cx: &OverflowCx<T>,
        take: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        self.start_under((self.own(&cx.own), None), queue, |locked| {
            let item = take();
            locked.own.accepted += u64::from(item.is_some());
            item
        })
    }

    /// Starts what `take` takes under the locks of the worker's own list and of the victim's, if it may start.
    #[inline]
    fn start_under<Q: Queue<T>>(
        &self,
        (own, victim): (&LocalQueue<T>, Option<&LocalQueue<T>>),
        queue: &Q,
        take: impl FnOnce(&mut Locked<'_, T>) -> Option<T>,
    ) -> Option<T> {
        let mut locked = own.lock_with(victim);
        if locked.own.rules.is_limited {
            drop(locked);
            return self.start_limited((own, victim), queue, take);
        }
        let item = take(&mut locked)?;
        own.set_running();
        Some(item)
    }

    #[cold]
    fn start_limited<Q: Queue<T>>(
        &self,
        (own, victim): (&LocalQueue<T>, Option<&LocalQueue<T>>),
        queue: &Q,
        take: impl FnOnce(&mut Locked<'_, T>) -> Option<T>,
    ) -> Option<T> {
        let shared = self.shared.lock();
        if !shared.reserve(queue) {
            return None;
        }
        let item = take(&mut own.lock_with(victim));
        match item {
            Some(_) => own.set_running(),
            None => shared.update_queue(queue),
        }
        item
    }

    /// Counts the task that the worker has started as finished, by a read-modify-write.
    pub(in crate::queue) fn finished<Q: Queue<T>>(&self, queue: &Q, cx: &OverflowCx<T>) {
        self.own(&cx.own).set_finished();
        // ORDERING: Relaxed, after the fence in `set_finished`. It pairs with the one in `set_limits`: either this sees the limit, or
        // `set_limits` sees that the task has ended.
        if self.is_limited.load(Ordering::Relaxed) {
            self.shared.lock().update_queue(queue);
        }
    }
}

impl<T> Shared<T> {
    /// Whether one more task may start beside the queue. Then the queue knows of it, if a limit is in force.
    fn reserve<Q: Queue<T>>(&self, queue: &Q) -> bool {
        let Some(limit) = self.limit else { return true };
        let running = self.running();
        // From now on the queue starts no task that would exceed the limit together with this one. It may have started one before.
        queue.set_elsewhere(running + 1);
        let may_start = queue.load().running + running < limit;
        if !may_start {
            self.update_queue(queue);
        }
        may_start
    }

    /// Tells the queue how many tasks run elsewhere.
    ///
    /// Another worker may have found nothing because of a reservation that this takes back, and sleep. The caller checks all lists again
    /// before it sleeps (parking.md).
    fn update_queue<Q: Queue<T>>(&self, queue: &Q) {
        if self.limit.is_some() {
            queue.set_elsewhere(self.running());
        }
    }
}
