//! What an engine knows of the views of its pool: how many tasks wait in them, and where.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Instant;

use super::counters::count;
use super::lifecycle::Phase;
use super::{Engine, Runner};
use crate::queue::{Dispatch, LazyItem, Load, Refused};
use crate::sync::{Arc, AtomicUsize, Mutex, OnceLock, Ordering, fence_after_rmw};
use crate::task::liveness::Liveness;

/// Drops dead tasks that were taken out of a view, and notifies the submitters that wait for their room.
pub(crate) type Discard = Box<dyn FnOnce()>;

/// The limited views of a pool, as its engine knows them.
pub(crate) trait PoolViews<T>: Send + Sync {
    /// Takes out the waiting tasks that are dead, and uncounts them here. Drops nothing: what is left to do is returned, if anything.
    fn sweep(self: Arc<Self>, is_dead: &mut dyn FnMut(Liveness) -> bool) -> Option<Discard>;
    /// Notifies the submitters that are behind futures which were notified and have not come.
    fn pass_late_futures(&self);
    /// When there will be any.
    fn grace_ends(&self) -> Option<Instant>;
    /// The pool was closed: notifies all submitters, and drops what waits for its time.
    fn notify_all(&self);
    /// The pool is closed, and what is queued does not run any more. Gives back the waiting tasks that the pool would have run otherwise,
    /// in their order, and uncounts them here.
    fn drain(self: Arc<Self>) -> Vec<T> {
        Vec::new()
    }
}

pub(super) struct Views<T> {
    /// Tasks that wait in views.
    waiting: AtomicUsize,
    /// Those of them that wait for their turn among the tasks of their key.
    in_order: AtomicUsize,
    /// How often such tasks went on to the queue or elsewhere.
    moves: AtomicUsize,
    /// Submitters that are blocked at views.
    blocked: AtomicUsize,
    /// By address.
    all: Mutex<BTreeMap<usize, Weak<dyn PoolViews<T>>>>,
    /// The orders of keys, once there was any. Their type is above this layer.
    lanes: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl<T> Default for Views<T> {
    fn default() -> Self {
        Views {
            waiting: AtomicUsize::new(0),
            in_order: AtomicUsize::new(0),
            moves: AtomicUsize::new(0),
            blocked: AtomicUsize::new(0),
            all: Mutex::new(BTreeMap::new()),
            lanes: OnceLock::new(),
        }
    }
}

impl<T> Views<T> {
    /// All that are there.
    pub(super) fn all(&self) -> Vec<Arc<dyn PoolViews<T>>> {
        self.all.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// All at which submitters are blocked, perhaps.
    fn with_blocked(&self) -> Vec<Arc<dyn PoolViews<T>>> {
        // ORDERING: Relaxed. The views' own locks order what is read there.
        if self.blocked.load(Ordering::Relaxed) == 0 { Vec::new() } else { self.all() }
    }

    /// Changes when tasks that waited for their turn go on.
    pub(super) fn moves(&self) -> usize {
        // ORDERING: Acquire. What is read afterwards is at least as new; a thread that ends a task moves the next one before it announces
        // that the end is over.
        self.moves.load(Ordering::Acquire)
    }

    /// Tasks that wait for their turn among those of their key. They are the pool's as much as the queued ones.
    pub(super) fn in_order(&self) -> usize {
        // ORDERING: Acquire. A task that is not counted any more is found in the queue, if it has gone there.
        self.in_order.load(Ordering::Acquire)
    }
}

/// A task that was admitted before and is not queued.
pub(crate) enum NotQueued<T> {
    /// What is queued was taken out.
    Drained(T),
    /// The pool has ended.
    Ended(T),
}

/// A submitter that is blocked at a view, until this is dropped.
pub(crate) struct BlockedAtView<'e>(&'e AtomicUsize);

impl Drop for BlockedAtView<'_> {
    fn drop(&mut self) {
        // ORDERING: Relaxed, see `has_blocked_at_views`.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// There are views at this address, until [`remove_views`](Self::remove_views).
    pub(crate) fn add_views(&self, address: usize, views: Weak<dyn PoolViews<R::Item>>) {
        self.views.all.lock().insert(address, views);
    }

    pub(crate) fn remove_views(&self, address: usize) {
        let removed = self.views.all.lock().remove(&address);
        drop(removed);
    }

    /// Counts one more task that waits in a view. Where that is `bounded`, only if the pool has room for it beside all those that
    /// wait in views already: so they have one bound together, which is the pool's; says whether it has.
    pub(crate) fn keep_in_view(&self, bounded: bool) -> bool {
        let bound = self.settings.queue().filter(|_| bounded);
        let room = bound.map_or(usize::MAX, |queue| self.capacity().saturating_add(queue));
        let load = if bound.is_some() { self.queue_load() } else { Load::default() };
        let more = |waiting| (load.queued + load.running + waiting < room).then_some(waiting + 1);
        // ORDERING: Relaxed. The number is all that it tells.
        self.views.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts a submitter that is about to block at a view.
    pub(crate) fn block_at_view(&self) -> BlockedAtView<'_> {
        // ORDERING: Relaxed, see `has_blocked_at_views`.
        self.views.blocked.fetch_add(1, Ordering::Relaxed);
        BlockedAtView(&self.views.blocked)
    }

    /// Whether submitters are blocked at views. A submitter is counted before it looks at its view under the view's lock, and this is
    /// called after a change of the view under the same lock: so either the submitter sees the change, or it is seen here.
    pub(crate) fn has_blocked_at_views(&self) -> bool {
        // ORDERING: Relaxed. The view's lock orders it, as above.
        self.views.blocked.load(Ordering::Relaxed) > 0
    }

    pub(super) fn pass_late_futures_at_views(&self) {
        self.views.with_blocked().iter().for_each(|views| views.pass_late_futures());
    }

    pub(super) fn grace_ends_at_views(&self) -> Option<Instant> {
        self.views.with_blocked().iter().filter_map(|views| views.grace_ends()).min()
    }

    pub(super) fn notify_all_at_views(&self) {
        self.views.all().iter().for_each(|views| views.notify_all());
    }

    /// So many tasks have left their views.
    pub(crate) fn left_views(&self, tasks: usize) {
        // ORDERING: Relaxed, as above.
        self.views.waiting.fetch_sub(tasks, Ordering::Relaxed);
    }

    /// One more task waits for its turn among those of its key.
    pub(crate) fn note_in_order(&self) {
        // ORDERING: Relaxed, see `Views::in_order`.
        self.views.in_order.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn left_order(&self, tasks: usize) {
        // ORDERING: Release, see `Views::in_order`.
        self.views.in_order.fetch_sub(tasks, Ordering::Release);
        // ORDERING: Release, see `Views::moves`.
        self.views.moves.fetch_add(1, Ordering::Release);
        // ORDERING: SeqCst fence between the count and the look at the phase. It pairs with the one in `close`: either this finds the pool
        // closed, or the workers that the close wakes find the count changed.
        fence_after_rmw();
        if self.is_closed() {
            // They wait for the last of these tasks before they end.
            self.parking.wake_all();
        }
    }

    /// Whether no task waits for its turn, for a worker of a closed pool: its predecessor ends on a worker, or another thread cancels that one
    /// and is about to queue this one. Not where a predecessor may be the task of a worker that was given up, which may never end.
    pub(super) fn has_no_successors(&self) -> bool {
        self.views.in_order() == 0 || self.given_up.tasks() > 0
    }

    /// The orders of keys of this pool, made by the first call.
    pub(crate) fn lanes(&self, make: impl FnOnce() -> Arc<dyn Any + Send + Sync>) -> &Arc<dyn Any + Send + Sync> {
        self.views.lanes.get_or_init(make)
    }

    /// Counts a task that was cancelled while it waited for its turn.
    pub(crate) fn note_cancelled_in_order(&self) {
        self.note_direct();
        count(&self.counters.cancelled);
        self.tell_cancelled();
    }

    /// Queues a task that was accepted before, even if there is no room or the pool is closed: unless what is queued does not run any more, or
    /// the pool has ended, and stays so.
    pub(crate) fn enter_admitted(self: &Arc<Self>, item: R::Item) -> Result<(), NotQueued<R::Item>> {
        let mut is_drained = false;
        let entered = self.enter_unless(item, |phase| {
            is_drained = phase.is_drained();
            // While there is an entry, a worker comes for it: the shutdown starts one, or another that ends.
            is_drained || phase.is_closed() && self.threads.population().0 == 0 && self.queue.load().queued == 0
        });
        entered.map_err(|item| if is_drained { NotQueued::Drained(item) } else { NotQueued::Ended(item) })
    }

    /// Queues a task that was accepted before, even if there is no room. Returns it if the pool is closed.
    #[cfg(feature = "async")]
    pub(crate) fn enter_unless_closed(self: &Arc<Self>, item: R::Item) -> Result<(), R::Item> {
        self.enter_unless(item, Phase::is_closed)
    }

    fn enter_unless(self: &Arc<Self>, item: R::Item, is_over: impl FnOnce(&Phase) -> bool) -> Result<(), R::Item> {
        let mut item = Some(item);
        let pushed = match self.observers.is_some() {
            true => self.enter_observed(&mut item, |item| self.push_unless(item, is_over)),
            false => self.push_unless(&mut item, is_over),
        };
        match (pushed, item) {
            (Err(_), Some(item)) => Err(item),
            _ => {
                self.parking.notify(|| self.queue.may_start_overflowed(), |searching| self.queue.has_more(searching));
                self.ensure_workers();
                Ok(())
            }
        }
    }

    fn push_unless(
        &self,
        item: &mut (impl LazyItem<R::Item> + ?Sized),
        is_over: impl FnOnce(&Phase) -> bool,
    ) -> Result<(), Refused> {
        // Under the lock of the phase: either a thread that closes the pool, or takes out what is queued, finds the task, or this sees that
        // thread.
        self.lifecycle.edit(|phase| {
            if is_over(phase) {
                return Err(Refused::Closed);
            }
            self.with_local(|local| self.queue.push_admitted(item.build(), local.map(|local| &*local.queue)));
            Ok(())
        })
    }
}
