//! All tasks of a pool: the queue of its dispatch, and the overflow list beside it.

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use super::ShardStats;
use super::counts::to_usize;
use super::overflow::Overflow;
use super::peak::{Busy, Peak};
use super::{Load, Parcel, Queue, Refused, Shape};

/// A worker with tasks in both lists begins at the bounded queue every so many times: outsiders must not wait for ever behind tasks that
/// submit themselves again.
const OUTSIDERS_TURN: u32 = 61;

/// The queue of a dispatch, which has a bound, and beside it a list for what the pool's own workers submit. Both are one for
/// those who take tasks out, count them, close them, or limit how many run. See [`Queue`] for what the methods promise.
pub(crate) struct TaskQueue<T: Send + 'static, Q: Queue<T>> {
    queue: Q,
    overflow: Overflow<T>,
    peak: CachePadded<Peak>,
}

/// A worker's place at both.
pub(crate) struct Seat<S> {
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
        Ok(TaskQueue { queue: Q::new(shape)?, overflow: Overflow::new(nested), peak: CachePadded::new(Peak::new()) })
    }

    /// Takes a task in within the bound.
    #[inline]
    pub(crate) fn push(
        &self,
        item: &mut (impl Parcel<T> + ?Sized),
        door: usize,
        keep: usize,
        idle: Option<usize>,
    ) -> Result<(), Refused> {
        self.queue.push(item, door, keep, idle)
    }

    /// Takes a task of one of the pool's own workers in, beyond the bound. `Full` is for the cap on those.
    pub(crate) fn push_nested(&self, item: &mut (impl Parcel<T> + ?Sized), door: usize) -> Result<(), Refused> {
        self.overflow.push(item, door)
    }

    pub(crate) fn door(&self, key: u64) -> usize {
        self.queue.door(key)
    }

    pub(crate) fn shard_behind(&self, door: usize) -> usize {
        self.queue.shard_behind(door)
    }

    pub(crate) fn has_room(&self, door: usize) -> bool {
        self.queue.has_room(door)
    }

    pub(crate) fn seat(&self, worker: usize) -> Seat<Q::Seat> {
        let queue = self.queue.seat(worker);
        Seat {
            queue,
            overflowed: Cell::new(false),
            looks: Cell::new(0),
            is_woken: Cell::new(false),
            busy: Busy::new(false),
        }
    }

    #[inline]
    pub(crate) fn pop(&self, seat: &Seat<Q::Seat>) -> Option<T> {
        let item = self.take_next(seat);
        match item {
            Some(_) if self.peak.works(&seat.busy) => _ = self.peak_running(),
            Some(_) => {}
            None => self.peak.rests(&seat.busy),
        }
        item
    }

    #[inline]
    fn take_next(&self, seat: &Seat<Q::Seat>) -> Option<T> {
        if self.overflow.waiting() > 0 {
            if let Some(item) = self.pop_overflow_first(seat) {
                return Some(item);
            }
        }
        self.queue.pop(&seat.queue)
    }

    /// A task of the overflow list, if it is not the turn of the queue.
    #[cold]
    fn pop_overflow_first(&self, seat: &Seat<Q::Seat>) -> Option<T> {
        if seat.is_woken.replace(false) {
            return None;
        }
        let looks = seat.looks.get();
        seat.looks.set((looks + 1) % OUTSIDERS_TURN);
        if looks == 0 && self.queue.has_work() { None } else { self.pop_overflow(seat) }
    }

    /// The worker was asleep: it may have been woken for a task that the queue keeps for it alone, so its next look begins there.
    pub(crate) fn woken(&self, seat: &Seat<Q::Seat>) {
        seat.is_woken.set(true);
    }

    fn pop_overflow(&self, seat: &Seat<Q::Seat>) -> Option<T> {
        let item = self.overflow.pop(&self.queue)?;
        seat.overflowed.set(true);
        Some(item)
    }

    /// At least so many tasks ran at one moment of this call: that of the look at the overflow list. What was started is read before,
    /// and what has ended after it; both only grow.
    fn running(&self) -> u64 {
        let started = self.queue.started();
        let nested = self.overflow.running() as u64;
        started.saturating_sub(self.queue.ended()) + nested
    }

    /// The most tasks that ever ran at one moment, as far as was seen ([`Peak`]).
    #[cold]
    #[inline(never)]
    pub(crate) fn peak_running(&self) -> usize {
        self.peak.saw(to_usize(self.running()))
    }

    pub(crate) fn pop_instead(&self) -> Option<T> {
        self.queue.pop_instead().or_else(|| self.overflow.pop_instead())
    }

    #[inline]
    pub(crate) fn finished(&self, seat: &Seat<Q::Seat>) {
        if seat.overflowed.get() { self.finished_nested(seat) } else { self.queue.finished(&seat.queue) }
    }

    #[cold]
    fn finished_nested(&self, seat: &Seat<Q::Seat>) {
        seat.overflowed.set(false);
        self.overflow.finished(&self.queue);
    }

    #[inline(never)]
    pub(crate) fn has_work(&self) -> bool {
        self.queue.has_work() || self.overflow.has_work(&self.queue)
    }

    #[inline]
    pub(crate) fn glance(&self) -> bool {
        self.queue.glance() || self.overflow.has_work(&self.queue)
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

    pub(crate) fn leave(&self, seat: Seat<Q::Seat>) {
        self.peak.rests(&seat.busy);
        self.queue.leave(seat.queue);
    }
}
