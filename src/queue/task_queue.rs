//! All queued tasks of a pool: the queue of its dispatch, and the overflow list beside it.

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use super::ShardStats;
use super::counts::to_usize;
use super::high_water::{Busy, HighWater};
use super::overflow::Overflow;
use super::{LazyBatch, LazyItem, Load, Queue, Refused, Shape};

/// A worker checks the bounded queue first once in this many times, even while the overflow list has tasks: other submitters
/// must not wait forever behind tasks that submit themselves again.
const BOUNDED_QUEUE_INTERVAL: u32 = 61;

/// The bounded queue of a dispatch, and beside it an overflow list for what the pool's own workers submit. Pops, counts, closing
/// and limits treat both as one. The methods promise what [`Queue`] promises.
pub(crate) struct TaskQueue<T: Send + 'static, Q: Queue<T>> {
    queue: Q,
    overflow: Overflow<T>,
    high_water: CachePadded<HighWater>,
}

/// A worker's own view of both.
pub(crate) struct QueueCx<S> {
    queue: S,
    /// Whether its task came from the overflow list.
    overflowed: Cell<bool>,
    /// The number of pops so far with tasks in the overflow list.
    overflow_pops: Cell<u32>,
    busy: Busy,
    is_woken: Cell<bool>,
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

    /// Accepts a task of one of the pool's own workers, beyond the bound. `Full` means that there are `max_nested` of them.
    pub(crate) fn push_nested(&self, item: &mut (impl LazyItem<T> + ?Sized), lane: usize) -> Result<(), Refused> {
        self.overflow.push(item, lane)
    }

    pub(crate) fn lane(&self, key: u64) -> usize {
        self.queue.lane(key)
    }

    pub(crate) fn shard_of_lane(&self, lane: usize) -> usize {
        self.queue.shard_of_lane(lane)
    }

    pub(crate) fn has_room(&self, lane: usize) -> bool {
        self.queue.has_room(lane)
    }

    pub(crate) fn cx(&self, worker: usize) -> QueueCx<Q::Cx> {
        let queue = self.queue.cx(worker);
        QueueCx {
            queue,
            overflowed: Cell::new(false),
            overflow_pops: Cell::new(0),
            is_woken: Cell::new(false),
            busy: Busy::new(false),
        }
    }

    #[inline]
    pub(crate) fn pop(&self, cx: &QueueCx<Q::Cx>) -> Option<T> {
        let item = self.take_next(cx);
        match item {
            Some(_) if self.high_water.enter(&cx.busy) => _ = self.peak_running(),
            Some(_) => {}
            None => self.high_water.exit(&cx.busy),
        }
        item
    }

    /// Starts a task that `take` finds elsewhere, if it may start.
    pub(crate) fn start_stolen(&self, cx: &QueueCx<Q::Cx>, take: impl FnOnce() -> Option<T>) -> Option<T> {
        let item = self.overflow.start(&self.queue, take)?;
        cx.overflowed.set(true);
        if self.high_water.enter(&cx.busy) {
            self.peak_running();
        }
        Some(item)
    }

    /// Whether the limit on running tasks allows one more.
    pub(crate) fn may_start_stolen(&self) -> bool {
        self.overflow.may_start(&self.queue)
    }

    #[inline]
    fn take_next(&self, cx: &QueueCx<Q::Cx>) -> Option<T> {
        if self.overflow.waiting() > 0 {
            if let Some(item) = self.pop_overflow_first(cx) {
                return Some(item);
            }
        }
        self.queue.pop(&cx.queue)
    }

    /// A task of the overflow list, unless it is the bounded queue's turn.
    #[cold]
    fn pop_overflow_first(&self, cx: &QueueCx<Q::Cx>) -> Option<T> {
        if cx.is_woken.replace(false) {
            return None;
        }
        let overflow_pops = cx.overflow_pops.get();
        cx.overflow_pops.set((overflow_pops + 1) % BOUNDED_QUEUE_INTERVAL);
        if overflow_pops == 0 && self.queue.has_work() { None } else { self.pop_overflow(cx) }
    }

    /// Tells that the worker was asleep: the task that it was woken for may be reserved for it in the bounded queue, so its next
    /// pop begins there.
    pub(crate) fn woken(&self, cx: &QueueCx<Q::Cx>) {
        cx.is_woken.set(true);
    }

    fn pop_overflow(&self, cx: &QueueCx<Q::Cx>) -> Option<T> {
        let item = self.overflow.pop(&self.queue)?;
        cx.overflowed.set(true);
        Some(item)
    }

    /// A lower bound of the tasks that ran at one moment of this call, the one at which the overflow list is read. Started tasks
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

    pub(crate) fn pop_instead(&self) -> Option<T> {
        self.queue.pop_instead().or_else(|| self.overflow.pop_instead())
    }

    #[inline]
    pub(crate) fn finished(&self, cx: &QueueCx<Q::Cx>) {
        if cx.overflowed.get() { self.finished_nested(cx) } else { self.queue.finished(&cx.queue) }
    }

    #[cold]
    fn finished_nested(&self, cx: &QueueCx<Q::Cx>) {
        cx.overflowed.set(false);
        self.overflow.finished(&self.queue);
    }

    #[inline(never)]
    pub(crate) fn has_work(&self) -> bool {
        self.queue.has_work() || self.overflow.has_work(&self.queue)
    }

    #[inline]
    pub(crate) fn peek(&self) -> bool {
        self.queue.peek() || self.overflow.has_work(&self.queue)
    }

    #[inline(never)]
    pub(crate) fn has_more(&self) -> bool {
        self.queue.has_more() || self.overflow.waiting() > 1
    }

    /// The load of both together. It is empty only if there was no task.
    pub(crate) fn load(&self) -> Load {
        self.overflow.load(&self.queue)
    }

    /// Unfinished tasks beyond the bound that are not dead.
    pub(crate) fn overcommitted(&self, is_dead: impl Fn(&T) -> bool) -> usize {
        self.overflow.unfinished(is_dead)
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

    pub(crate) fn leave(&self, cx: QueueCx<Q::Cx>) {
        self.high_water.exit(&cx.busy);
        self.queue.leave(cx.queue);
    }
}
