//! All queued tasks of a pool: the queue of its dispatch, and the overflow lists beside it.

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use super::ShardStats;
use super::counts::to_usize;
use super::high_water::{Busy, HighWater};
use super::overflow::{Overflow, OverflowCx, OwnQueue};
use super::queue_cx::{CallerCx, QueueCx};
use super::{KeptLane, LazyBatch, LazyItem, Load, Queue, Refused, RoomOrder, Shape, TenantLanes, TenantStats};
use crate::sync::Arc;

/// Once in this many pops a worker looks first at each place that is not its own list: other submitters must not wait forever behind tasks
/// that submit themselves again.
const TURNS: u32 = 61;

/// The bounded queue of a dispatch, and beside it overflow lists for what the pool's own workers submit. Pops, counts, closing
/// and limits treat them as one. The methods promise what [`Queue`] promises.
pub(crate) struct TaskQueue<T: Send + 'static, Q: Queue<T>> {
    queue: Q,
    overflow: Overflow<T>,
    high_water: CachePadded<HighWater>,
}

impl<T: Send + 'static, Q: Queue<T>> TaskQueue<T, Q> {
    /// `max_nested` is the most unfinished tasks beyond the bound.
    pub(crate) fn new(shape: &Shape, max_nested: usize) -> Result<Self, String> {
        Ok(TaskQueue {
            queue: Q::new(shape)?,
            overflow: Overflow::new(max_nested),
            high_water: CachePadded::new(HighWater::new()),
        })
    }

    /// Accepts a task within the bound.
    #[inline]
    pub(crate) fn push(
        &self,
        item: &mut (impl LazyItem<T> + ?Sized),
        lane: usize,
        reserved: usize,
        idle: Option<usize>,
    ) -> Result<(), Refused> {
        self.queue.push(item, lane, reserved, idle)
    }

    /// Accepts tasks of a batch within the bound. Returns how many.
    pub(crate) fn push_batch(&self, batch: &mut impl LazyBatch<T>, lane: usize, reserved: usize) -> usize {
        self.queue.push_batch(batch, lane, reserved)
    }

    /// Accepts a task of one of the pool's own workers, beyond the bound; `own` is that worker's list. `Full` means that there are
    /// `max_nested` of them.
    #[inline]
    pub(crate) fn push_nested(
        &self,
        item: &mut (impl LazyItem<T> + ?Sized),
        lane: usize,
        own: Option<&OwnQueue<T>>,
    ) -> Result<(), Refused> {
        match Q::ORDERS_NESTED {
            true => self.queue.push_nested(item, lane, self.overflow.most()),
            false => self.overflow.push(item, lane, own),
        }
    }

    /// Accepts a task of no worker beyond the bound, however many there are.
    pub(crate) fn push_beyond(&self, item: &mut (impl LazyItem<T> + ?Sized), lane: usize) -> Result<(), Refused> {
        self.overflow.push_beyond(item, lane)
    }

    /// Queues a job that a worker's task has left, even if the queue is closed. `own` is that worker's list.
    pub(crate) fn push_left(&self, item: T, own: &OwnQueue<T>) {
        self.overflow.push_left(item, own);
    }

    /// Queues a task that was accepted before, whether the queue is closed or full. `own` is the calling worker's list.
    pub(crate) fn push_admitted(&self, item: T, own: Option<&OwnQueue<T>>) {
        match own {
            Some(own) => self.overflow.push_left(item, own),
            None => self.overflow.push_left_shared(item),
        }
    }

    /// Whether fewer tasks may run than there are workers.
    pub(crate) fn is_limited(&self) -> bool {
        self.overflow.is_limited()
    }

    pub(crate) fn lane(&self, key: u64) -> usize {
        self.queue.lane(key)
    }

    pub(crate) fn shard_of_lane(&self, lane: usize) -> usize {
        self.queue.shard_of_lane(lane)
    }

    pub(crate) fn levels(&self) -> usize {
        self.queue.levels()
    }

    pub(crate) fn tenant_lanes(&self) -> Option<&Arc<TenantLanes>> {
        self.queue.tenant_lanes()
    }

    pub(crate) fn tenants(&self) -> Vec<TenantStats> {
        self.queue.tenants()
    }

    /// Keeps a lane that is there now.
    pub(crate) fn keep_lane(&self, lane: usize) -> KeptLane {
        let lanes = if Q::HAS_TENANTS { self.queue.tenant_lanes() } else { None };
        KeptLane::again(lanes, lane)
    }

    pub(crate) fn room_order(&self) -> RoomOrder {
        self.queue.room_order()
    }

    pub(crate) fn has_room(&self, lane: usize, others: usize) -> bool {
        self.queue.has_room(lane, others)
    }

    pub(crate) fn cx(&self, worker: usize) -> QueueCx<T, Q::Cx> {
        let queue = self.queue.cx(worker);
        QueueCx {
            queue,
            overflow: OverflowCx::new(worker),
            overflowed: Cell::new(false),
            turn: Cell::new(0),
            is_woken: Cell::new(false),
            busy: Busy::new(false),
        }
    }

    #[inline]
    pub(crate) fn pop(&self, cx: &QueueCx<T, Q::Cx>) -> Option<T> {
        let item = self.take_next(cx);
        match item {
            Some(_) if self.high_water.enter(&cx.busy) => _ = self.peak_running(),
            Some(_) => {}
            None => self.high_water.exit(&cx.busy),
        }
        item
    }

    /// Starts a task that `take` finds elsewhere, if it may start.
    pub(crate) fn start_stolen(&self, cx: &QueueCx<T, Q::Cx>, take: impl FnOnce() -> Option<T>) -> Option<T> {
        let item = self.overflowed(cx, self.overflow.start(&self.queue, &cx.overflow, take))?;
        if self.high_water.enter(&cx.busy) {
            self.peak_running();
        }
        Some(item)
    }

    /// Whether the limit on running tasks allows one more that was pushed by [`push_nested`](Self::push_nested) or
    /// [`push_left`](Self::push_left).
    pub(crate) fn may_start_overflowed(&self) -> bool {
        self.overflow.may_start(&self.queue)
    }

    #[inline]
    fn take_next(&self, cx: &QueueCx<T, Q::Cx>) -> Option<T> {
        if self.overflow.is_used() { self.take_from_all(cx) } else { self.queue.pop(&cx.queue) }
    }

    /// The next task of the worker's own list, or else of another place. Each other place comes first when it is its turn.
    #[inline(never)]
    fn take_from_all(&self, cx: &QueueCx<T, Q::Cx>) -> Option<T> {
        let turn = cx.turn.get();
        cx.turn.set((turn + 1) % TURNS);
        if turn < 3 || cx.is_woken.get() {
            if let Some(item) = self.take_in_turn(cx, turn) {
                return Some(item);
            }
        }
        match self.overflow.pop_own(&self.queue, &cx.overflow) {
            Some(item) => self.overflowed(cx, Some(item)),
            None => self.take_elsewhere(cx),
        }
    }

    #[cold]
    fn take_in_turn(&self, cx: &QueueCx<T, Q::Cx>, turn: u32) -> Option<T> {
        let (lists, queue) = (&self.overflow, &self.queue);
        match turn {
            _ if cx.is_woken.replace(false) => queue.pop(&cx.queue),
            0 if queue.has_work() => queue.pop(&cx.queue),
            1 => self.overflowed(cx, lists.pop_shared(queue, &cx.overflow)),
            2 => self.overflowed(cx, lists.steal(queue, &cx.overflow)),
            _ => None,
        }
    }

    #[inline(never)]
    fn take_elsewhere(&self, cx: &QueueCx<T, Q::Cx>) -> Option<T> {
        let (lists, queue) = (&self.overflow, &self.queue);
        self.overflowed(cx, lists.pop_shared(queue, &cx.overflow))
            .or_else(|| queue.pop(&cx.queue))
            .or_else(|| self.overflowed(cx, lists.steal(queue, &cx.overflow)))
    }

    /// Marks the worker's next task as one of an overflow list.
    #[inline]
    fn overflowed(&self, cx: &QueueCx<T, Q::Cx>, item: Option<T>) -> Option<T> {
        cx.overflowed.set(item.is_some());
        item
    }

    /// Tells that the worker was asleep: the task that it was woken for may be reserved for it in the bounded queue, so its next
    /// pop begins there.
    pub(crate) fn woken(&self, cx: &QueueCx<T, Q::Cx>) {
        cx.is_woken.set(true);
    }

    /// A lower bound of the tasks that ran at one moment of this call, the one at which the overflow lists are read. Started tasks
    /// are counted before that and ended ones after it; neither count ever decreases.
    fn running(&self) -> u64 {
        let started = self.queue.started();
        let overflow = self.overflow.running() as u64;
        started.saturating_sub(self.queue.ended()) + overflow
    }

    /// The most tasks that ever ran at one moment, as far as they were counted ([`HighWater`]).
    #[cold]
    #[inline(never)]
    pub(crate) fn peak_running(&self) -> usize {
        self.high_water.record(to_usize(self.running()))
    }

    /// See [`Queue::pop_instead`]. `own` is the calling worker's list.
    pub(crate) fn pop_instead(&self, own: Option<&OwnQueue<T>>) -> Option<T> {
        self.queue.pop_instead().or_else(|| self.overflow.pop_instead(own))
    }

    /// See [`Queue::take_oldest`]. Tasks beyond the bound are not among them: they take no room.
    pub(crate) fn take_oldest(&self, lane: usize) -> Option<T> {
        self.queue.take_oldest(lane)
    }

    /// What a thread needs that runs one task and takes none from the queue: a list for what the task submits.
    pub(crate) fn caller_cx(&self, worker: usize) -> CallerCx<T> {
        CallerCx(OverflowCx::new(worker))
    }

    /// The other workers take over the list of the thread.
    pub(crate) fn caller_leaves(&self, cx: &CallerCx<T>) {
        self.overflow.leave(&cx.0);
    }

    #[inline]
    pub(crate) fn finished(&self, cx: &QueueCx<T, Q::Cx>) {
        if cx.overflowed.get() { self.finished_nested(cx) } else { self.queue.finished(&cx.queue) }
    }

    #[cold]
    fn finished_nested(&self, cx: &QueueCx<T, Q::Cx>) {
        cx.overflowed.set(false);
        self.overflow.finished(&self.queue, &cx.overflow);
    }

    /// Whether a worker may have to be woken. May be wrongly `true` for a moment, as [`Queue::has_work`].
    #[inline(never)]
    pub(crate) fn has_work(&self) -> bool {
        self.queue.has_work() || self.overflow.waiting() > 0 && self.overflow.may_start(&self.queue)
    }

    /// Whether the calling worker's own list has tasks. One load.
    #[inline]
    pub(crate) fn has_own(&self, cx: &QueueCx<T, Q::Cx>) -> bool {
        cx.overflow.has_own()
    }

    /// Whether there is a task that the calling worker could take. Takes no lock, unless the number of running tasks is limited.
    #[inline(never)]
    pub(crate) fn has_work_for(&self, cx: &QueueCx<T, Q::Cx>) -> bool {
        self.queue.has_work() || self.overflow.has_work(&self.queue, &cx.overflow)
    }

    /// See [`Queue::peek`].
    #[inline]
    pub(crate) fn peek(&self, cx: &QueueCx<T, Q::Cx>) -> bool {
        self.queue.peek() || self.overflow.has_work(&self.queue, &cx.overflow)
    }

    #[inline(never)]
    pub(crate) fn has_more(&self, searching: usize) -> bool {
        self.queue.has_more(searching) || self.overflow.waiting() > searching
    }

    /// The load of all together. It is empty only if there was no task.
    pub(crate) fn load(&self) -> Load {
        self.overflow.load(&self.queue)
    }

    /// The load of the bounded queue alone.
    #[cfg(any(feature = "async", feature = "tower"))]
    pub(crate) fn bounded_load(&self) -> Load {
        self.queue.load()
    }

    /// Unfinished tasks beyond the bound that are not dead.
    pub(crate) fn overcommitted(&self, is_dead: impl Fn(&T) -> bool) -> usize {
        self.queue.nested_unfinished(&is_dead) + self.overflow.unfinished(is_dead)
    }

    pub(crate) fn shards(&self) -> Vec<ShardStats> {
        self.queue.shards()
    }

    pub(crate) fn set_limits(&self, running: Option<usize>, workers: usize) {
        self.overflow.set_limits(&self.queue, running, workers);
    }

    pub(crate) fn set_bound(&self, bound: Option<usize>, workers: usize) -> Result<(), String> {
        self.queue.set_bound(bound, workers)
    }

    pub(crate) fn frees_room_on_pop(&self) -> bool {
        self.queue.frees_room_on_pop()
    }

    pub(crate) fn close(&self) {
        self.queue.close();
        self.overflow.set_closed(true);
    }

    pub(crate) fn open(&self) {
        self.queue.open();
        self.overflow.set_closed(false);
    }

    pub(crate) fn drain(&self) -> Vec<T> {
        let mut drained = self.queue.drain();
        self.overflow.drain_into(&mut drained);
        drained
    }

    pub(crate) fn sweep(&self, is_dead: &mut dyn FnMut(&T) -> bool) -> Vec<T> {
        let mut swept = self.queue.sweep(is_dead);
        self.overflow.sweep_into(is_dead, &mut swept);
        swept
    }

    pub(crate) fn leave(&self, cx: QueueCx<T, Q::Cx>) {
        self.high_water.exit(&cx.busy);
        self.overflow.leave(&cx.overflow);
        self.queue.leave(cx.queue);
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use super::*;
    use crate::queue::{DEFAULT_LANE, Dispatch, Fair, Priority, Ring, Sharded, Stack};

    /// One task needs one worker: a push wakes no second one beside a worker that searches.
    fn more_than_searching_workers<D: Dispatch>() {
        let shape = Shape { workers: 2, bound: Some(8), ..Shape::default() };
        let Ok(queue) = TaskQueue::<u8, D::Queue<u8>>::new(&shape, usize::MAX) else { panic!("the shape is good") };
        for tasks in 1..=4 {
            assert_eq!(queue.push(&mut Some(7), DEFAULT_LANE, 0, None), Ok(()));
            assert_eq!((0..=4).map(|n| queue.has_more(n)).filter(|more| *more).count(), tasks, "{}", D::NAME);
        }
    }

    #[test]
    fn there_is_more_work_if_there_are_more_tasks_than_searching_workers() {
        more_than_searching_workers::<Stack>();
        more_than_searching_workers::<Ring>();
        more_than_searching_workers::<Sharded>();
        more_than_searching_workers::<Priority>();
        more_than_searching_workers::<Fair>();
    }
}
