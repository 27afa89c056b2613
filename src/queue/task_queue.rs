//! All tasks of a pool: the queue of its dispatch, and the overflow list beside it.

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use super::ShardStats;
use super::counts::to_usize;
use super::high_water::{Busy, HighWater};
use super::overflow::Overflow;
use super::{LazyItem, Load, Queue, Refused, Shape};

/// A worker with tasks in both lists begins at the bounded queue every so many times: outsiders must not wait for ever behind tasks that
/// submit themselves again.
const OUTSIDERS_TURN: u32 = 61;

/// The queue of a dispatch, which has a bound, and beside it a list for what the pool's own workers submit. Both are one for
/// those who take tasks out, count them, close them, or limit how many run. See [`Queue`] for what the methods promise.
pub(crate) struct TaskQueue<T: Send + 'static, Q: Queue<T>> {
    queue: Q,
    overflow: Overflow<T>,
    peak: CachePadded<HighWater>,
}

/// A worker's place at both.
pub(crate) struct QueueCx<S> {
    queue: S,
    /// Whether its task is one of the overflow list.
    overflowed: Cell<bool>,
    /// How often it has looked while there was something in the overflow list.
    looks: Cell<u32>,
    busy: Busy,
    is_woken: Cell<bool>,
}

impl<T: Send + 'static, Q: Queue<T>> TaskQueue<T, Q> {
    /// `nested` is how many unfinished tasks there may be beyond the bound.
    pub(crate) fn new(shape: &Shape, nested: usize) -> Result<Self, String> {
        Ok(TaskQueue {
            queue: Q::new(shape)?,
            overflow: Overflow::new(nested),
            peak: CachePadded::new(HighWater::new()),
        })
    }

    /// Takes a task in within the bound.
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

    /// Takes a task of one of the pool's own workers in, beyond the bound. `Full` is for the cap on those.
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
            looks: Cell::new(0),
            is_woken: Cell::new(false),
            busy: Busy::new(false),
        }
    }

    #[inline]
    pub(crate) fn pop(&self, cx: &QueueCx<Q::Cx>) -> Option<T> {
        let item = self.take_next(cx);
        match item {
            Some(_) if self.peak.enter(&cx.busy) => _ = self.peak_running(),
            Some(_) => {}
            None => self.peak.exit(&cx.busy),
        }
        item
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

    /// A task of the overflow list, if it is not the turn of the queue.
    #[cold]
    fn pop_overflow_first(&self, cx: &QueueCx<Q::Cx>) -> Option<T> {
        if cx.is_woken.replace(false) {
            return None;
        }
        let looks = cx.looks.get();
        cx.looks.set((looks + 1) % OUTSIDERS_TURN);
        if looks == 0 && self.queue.has_work() { None } else { self.pop_overflow(cx) }
    }

    /// The worker was asleep: it may have been woken for a task that the queue keeps for it alone, so its next look begins there.
    pub(crate) fn woken(&self, cx: &QueueCx<Q::Cx>) {
        cx.is_woken.set(true);
    }

    fn pop_overflow(&self, cx: &QueueCx<Q::Cx>) -> Option<T> {
        let item = self.overflow.pop(&self.queue)?;
        cx.overflowed.set(true);
        Some(item)
    }

    /// At least so many tasks ran at one moment of this call: that of the look at the overflow list. What was started is read before,
    /// and what has ended after it; both only grow.
    fn running(&self) -> u64 {
        let started = self.queue.started();
        let nested = self.overflow.running() as u64;
        started.saturating_sub(self.queue.ended()) + nested
    }

    /// The most tasks that ever ran at one moment, as far as was seen ([`HighWater`]).
    #[cold]
    #[inline(never)]
    pub(crate) fn peak_running(&self) -> usize {
        self.peak.record(to_usize(self.running()))
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

    /// Both together. That there is no task it says only if there was none.
    pub(crate) fn load(&self) -> Load {
        self.overflow.load(&self.queue)
    }

    /// Tasks beyond the bound that have not ended, but for those that are dead.
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

    pub(crate) fn frees_place_on_pop(&self) -> bool {
        self.queue.frees_place_on_pop()
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
        self.peak.exit(&cx.busy);
        self.queue.leave(cx.queue);
    }
}
