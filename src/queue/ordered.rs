//! A queue under one lock whose tasks start by a rule: what the dispatches `Priority` and `Fair` have in common.

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use super::counts::to_usize;
use super::fair::{TenantLanes, TenantStats};
use super::finished_counters::{FinishedCounter, FinishedCounters};
use super::order::Order;
use super::room_order::RoomOrder;
use super::run_limit::RunLimit;
use super::task_list::Queued;
use super::{DEFAULT_LANE, LazyBatch, LazyItem, Load, Queue, Refused, Shape};
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering};

/// The queue. One short lock guards all of it; submitters and workers share that lock.
///
/// Tasks of the pool's own workers go through the same order, beyond the bound, so they keep their level or tenant.
#[doc(hidden)]
pub struct OrderedQueue<O: Order> {
    /// How many tasks wait: a copy, written under the lock.
    queued: CachePadded<AtomicUsize>,
    /// Whether a run limit is set: a copy, written under the lock.
    is_limited: AtomicBool,
    levels: usize,
    tenant_lanes: Option<Arc<TenantLanes>>,
    state: Mutex<State<O>>,
}

struct State<O> {
    order: O,
    /// Tasks ever accepted.
    accepted: u64,
    /// Tasks ever popped or taken out.
    taken: u64,
    nested: Nested,
    finished_counters: FinishedCounters,
    run_limit: RunLimit,
    bound: Option<usize>,
    /// How many unfinished tasks within the bound there may be.
    room: u64,
    /// How many tasks within the bound may ever have been accepted: the finished ones and the room. Finished tasks do not come back, so it
    /// stays valid, and is computed anew only when it is reached.
    limit: u64,
    is_closed: bool,
}

/// Tasks beyond the bound. All counters of a queue include them.
#[derive(Default)]
struct Nested {
    accepted: u64,
    finished: u64,
}

#[doc(hidden)]
pub struct OrderedCx {
    counter: FinishedCounter,
    /// The lane of its current task.
    lane: Cell<usize>,
    is_nested: Cell<bool>,
}

impl<O> State<O> {
    /// Whether one more task may start.
    fn may_start(&self) -> bool {
        self.run_limit.allows_one_more(|| self.taken - self.finished_counters.finished())
    }

    fn set_room(&mut self, workers: usize) {
        self.room = self.bound.map_or(u64::MAX, |bound| workers.saturating_add(bound) as u64);
        self.refresh_limit();
    }

    fn refresh_limit(&mut self) {
        // A nested task counts as finished in both under the lock, so this is never too high.
        let finished = self.finished_counters.finished() - self.nested.finished;
        self.limit = self.room.saturating_add(finished);
    }

    /// How many of `wanted` tasks the pool's bound has room for, beside so many others.
    fn room_for(&mut self, wanted: usize, others: usize) -> usize {
        let last = (self.accepted - self.nested.accepted).saturating_add(others as u64);
        if last.saturating_add(wanted as u64) > self.limit {
            self.refresh_limit();
        }
        to_usize(self.limit.saturating_sub(last)).min(wanted)
    }
}

impl<O: Order> State<O> {
    /// Whether there is room for a task beside `reserved` others of its lane.
    fn has_room(&mut self, lane: usize, reserved: usize) -> bool {
        self.room_for(1, reserved) > 0 && self.order.room(lane) > reserved
    }

    fn accept(&mut self, lane: usize, item: O::Item, is_nested: bool) {
        self.order.push(lane, Queued { item, is_nested });
        self.accepted += 1;
        self.nested.accepted += u64::from(is_nested);
    }

    /// Counts tasks that were taken out and that no worker will count.
    fn count_taken_out(&mut self, tasks: &[Queued<O::Item>]) {
        self.taken += tasks.len() as u64;
        self.nested.finished += tasks.iter().filter(|task| task.is_nested).count() as u64;
        self.finished_counters.add_untracked(tasks.len() as u64);
    }
}

impl<O: Order> OrderedQueue<O> {
    fn queued(&self) -> usize {
        // ORDERING: Acquire pairs with the Release in `publish`: a thread that sees a task counted sees what went before.
        self.queued.load(Ordering::Acquire)
    }

    /// Publishes the number of waiting tasks, and releases the lock.
    fn publish(&self, state: MutexGuard<'_, State<O>>) {
        // ORDERING: Release, under the lock. A reader that must not miss this store has a sequentially consistent fence between its own
        // announcement and its load; the pusher has one after it has released the lock (`fence_after_rmw`, parking.md).
        self.queued.store(to_usize(state.accepted - state.taken), Ordering::Release);
    }

    /// Counts a task that was taken out of the order as ended, and releases the lock.
    fn take_as_ended(&self, mut state: MutexGuard<'_, State<O>>, task: Queued<O::Item>) -> O::Item {
        state.count_taken_out(std::slice::from_ref(&task));
        self.publish(state);
        task.item
    }

    /// Takes out the dead tasks.
    fn take_out(&self, is_dead: &mut dyn FnMut(&O::Item) -> bool) -> Vec<O::Item> {
        let mut state = self.state.lock();
        let mut taken = Vec::new();
        state.order.sweep_into(is_dead, &mut taken);
        state.count_taken_out(&taken);
        self.publish(state);
        taken.into_iter().map(|task| task.item).collect()
    }
}

impl<O: Order> Queue<O::Item> for OrderedQueue<O> {
    type Cx = OrderedCx;

    const ORDERS_NESTED: bool = true;
    const HAS_LEVELS: bool = O::HAS_LEVELS;
    const HAS_TENANTS: bool = O::HAS_TENANTS;

    fn new(shape: &Shape) -> Result<Self, String> {
        let order = O::new(shape)?;
        let tenant_lanes = order.tenant_lanes();
        let mut state = State {
            order,
            accepted: 0,
            taken: 0,
            nested: Nested::default(),
            finished_counters: FinishedCounters::new(),
            run_limit: RunLimit::default(),
            bound: shape.bound,
            room: 0,
            limit: 0,
            is_closed: false,
        };
        state.set_room(shape.workers);
        Ok(OrderedQueue {
            queued: CachePadded::new(AtomicUsize::new(0)),
            is_limited: AtomicBool::new(false),
            levels: O::levels(shape),
            tenant_lanes,
            state: Mutex::new(state),
        })
    }

    fn push(
        &self,
        item: &mut (impl LazyItem<O::Item> + ?Sized),
        lane: usize,
        reserved: usize,
        _idle: Option<usize>,
    ) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        if !state.has_room(lane, reserved) {
            return Err(Refused::Full);
        }
        state.accept(lane, item.build(), false);
        self.publish(state);
        Ok(())
    }

    fn push_batch(&self, batch: &mut impl LazyBatch<O::Item>, lane: usize, reserved: usize) -> usize {
        let mut state = self.state.lock();
        if state.is_closed {
            return 0;
        }
        let wanted = batch.remaining().min(state.order.room(lane).saturating_sub(reserved));
        let count = state.room_for(wanted, reserved);
        (0..count).for_each(|_| state.accept(lane, batch.build(), false));
        self.publish(state);
        count
    }

    fn push_nested(
        &self,
        item: &mut (impl LazyItem<O::Item> + ?Sized),
        lane: usize,
        most: usize,
    ) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        if state.nested.accepted - state.nested.finished >= most as u64 {
            return Err(Refused::Full);
        }
        state.accept(lane, item.build(), true);
        self.publish(state);
        Ok(())
    }

    fn nested_unfinished(&self, is_dead: &dyn Fn(&O::Item) -> bool) -> usize {
        let state = self.state.lock();
        let unfinished = to_usize(state.nested.accepted - state.nested.finished);
        let mut dead = 0;
        if unfinished > 0 {
            state.order.for_each(&mut |item, is_nested| dead += usize::from(is_nested && is_dead(item)));
        }
        unfinished - dead
    }

    fn lane(&self, key: u64) -> usize {
        O::lane(self.levels, key)
    }

    fn levels(&self) -> usize {
        self.levels
    }

    fn tenant_lanes(&self) -> Option<&Arc<TenantLanes>> {
        self.tenant_lanes.as_ref()
    }

    fn tenants(&self) -> Vec<TenantStats> {
        self.state.lock().order.tenants()
    }

    fn room_order(&self) -> RoomOrder {
        self.state.lock().order.room_order()
    }

    fn has_room(&self, lane: usize, others: usize) -> bool {
        // The others are not of this lane.
        let mut state = self.state.lock();
        state.order.room(lane) > 0 && state.room_for(1, others) > 0
    }

    fn cx(&self, worker: usize) -> OrderedCx {
        let counter = self.state.lock().finished_counters.register(worker);
        OrderedCx { counter, lane: Cell::new(DEFAULT_LANE), is_nested: Cell::new(false) }
    }

    fn pop(&self, cx: &OrderedCx) -> Option<O::Item> {
        let mut state = self.state.lock();
        if !state.may_start() {
            return None;
        }
        let (lane, task) = state.order.pop(true)?;
        state.taken += 1;
        self.publish(state);
        cx.lane.set(lane);
        cx.is_nested.set(task.is_nested);
        Some(task.item)
    }

    fn pop_instead(&self) -> Option<O::Item> {
        let mut state = self.state.lock();
        if state.run_limit.is_zero() {
            return None;
        }
        // It replaces a task that is counted as running.
        let (_, task) = state.order.pop(false)?;
        Some(self.take_as_ended(state, task))
    }

    fn take_oldest(&self, lane: usize) -> Option<O::Item> {
        let mut state = self.state.lock();
        let task = state.order.take_oldest(lane)?;
        Some(self.take_as_ended(state, task))
    }

    fn finished(&self, cx: &OrderedCx) {
        if !O::COUNTS_RUNNING && !cx.is_nested.get() {
            return cx.counter.finished();
        }
        let mut state = self.state.lock();
        state.nested.finished += u64::from(cx.is_nested.get());
        state.order.ended(cx.lane.get());
        cx.counter.finished();
    }

    fn started(&self) -> u64 {
        self.state.lock().taken
    }

    fn ended(&self) -> u64 {
        self.state.lock().finished_counters.finished()
    }

    fn has_work(&self) -> bool {
        // ORDERING: Relaxed. Threads that must not miss a change are woken after it, through a lock.
        self.queued() > 0 && (!self.is_limited.load(Ordering::Relaxed) || self.state.lock().may_start())
    }

    fn has_more(&self, searching: usize) -> bool {
        self.queued() > searching
    }

    fn load(&self) -> Load {
        let state = self.state.lock();
        let running = state.taken - state.finished_counters.finished();
        let queued = state.accepted - state.taken;
        Load { accepted: state.accepted, queued: to_usize(queued), running: to_usize(running) }
    }

    fn set_limits(&self, running: Option<usize>, workers: usize) {
        let mut state = self.state.lock();
        state.run_limit.set(running);
        state.set_room(workers);
        // ORDERING: Relaxed, see `has_work`.
        self.is_limited.store(running.is_some(), Ordering::Relaxed);
    }

    fn set_bound(&self, bound: Option<usize>, _workers: usize) -> Result<(), String> {
        self.state.lock().bound = bound;
        Ok(())
    }

    fn set_elsewhere(&self, running: usize) {
        self.state.lock().run_limit.set_elsewhere(running);
    }

    fn frees_room_on_pop(&self) -> bool {
        // A tenant's bound counts the tasks that wait.
        self.tenant_lanes.as_ref().is_some_and(|lanes| lanes.have_bounds())
    }

    fn close(&self) {
        self.state.lock().is_closed = true;
    }

    fn open(&self) {
        self.state.lock().is_closed = false;
    }

    fn drain(&self) -> Vec<O::Item> {
        self.take_out(&mut |_| true)
    }

    fn sweep(&self, is_dead: &mut dyn FnMut(&O::Item) -> bool) -> Vec<O::Item> {
        self.take_out(is_dead)
    }

    fn leave(&self, _cx: OrderedCx) {
        self.state.lock().finished_counters.unregister();
    }
}
