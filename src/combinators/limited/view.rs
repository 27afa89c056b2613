//! A view: its lock, its figures and its end.

use std::future::poll_fn;
use std::sync::atomic::AtomicU64 as StdAtomicU64;
use std::task::Poll;
use std::time::Instant;

use super::lanes::{LaneEntry, Lanes};
use super::state::{Closed, Node, State, Unstarted};
use super::stats::{LimitedStats, TaskEnd};
use super::steering::Meters;
use crate::cancel::CancelToken;
use crate::engine::wait_queue::WaitQueue;
use crate::engine::{Engine, Runner};
use crate::error::{Cause, SubmitErrorKind};
use crate::queue::Dispatch;
use crate::sync::clock;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicU64, Mutex, OnceLock, Ordering, current, park};
use crate::task::in_view::{InView, ViewId, missing_permits};
use crate::task::state::Retracted;

/// A view of a pool and all views below it, with one lock.
pub(super) struct ViewTree<R: Runner, D: Dispatch> {
    pub(super) engine: Arc<Engine<R, D>>,
    /// The number of the next task.
    next: AtomicU64,
    pub(super) meters: Meters,
    pub(super) state: Mutex<State<R, D>>,
    /// It is the order of a key of the pool: its tasks are the pool's, also those that wait.
    pub(super) is_lane: bool,
}

/// One view. It keeps its tasks until they start, each under a number: those that wait for a permit, and those that have one and an entry in
/// the pool's queue ([`Deferred`](crate::task::deferred::Deferred)). So a task can be taken out of its turn wherever its entry is, and that is known to stand for nothing then.
pub(super) struct View<R: Runner, D: Dispatch> {
    pub(super) tree: Arc<ViewTree<R, D>>,
    /// This view, the one that it is a view of, and so on.
    pub(super) chain: Arc<[ViewId]>,
    /// Submitters that found the view full.
    pub(super) wait_queue: Arc<WaitQueue>,
    /// If it is the order of a key: where that is found.
    pub(super) lane: Option<LaneEntry<R, D>>,
    /// The orders of the keys of this view's tasks, once there was any.
    pub(super) lanes: OnceLock<Arc<Lanes<R, D>>>,
}

impl<R: Runner, D: Dispatch> View<R, D> {
    /// A view of a pool, or of another view.
    pub(super) fn new(engine: &Arc<Engine<R, D>>, parent: Option<&Self>, limit: usize) -> Arc<Self> {
        Self::with_lane(engine, parent, limit, None)
    }

    /// The order of a key, of a pool or of a view.
    pub(super) fn new_lane(engine: &Arc<Engine<R, D>>, parent: Option<&Self>, lane: LaneEntry<R, D>) -> Arc<Self> {
        Self::with_lane(engine, parent, 1, Some(lane))
    }

    fn with_lane(
        engine: &Arc<Engine<R, D>>,
        parent: Option<&Self>,
        limit: usize,
        lane: Option<LaneEntry<R, D>>,
    ) -> Arc<Self> {
        // Not one of `sync`'s atomics: a static of loom's cannot be made.
        static NEXT: StdAtomicU64 = StdAtomicU64::new(0);
        let tree = parent.map_or_else(|| ViewTree::new(engine, lane.is_some()), |parent| Arc::clone(&parent.tree));
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let above = parent.map_or(&[][..], |parent| &parent.chain);
        let chain: Arc<[ViewId]> = std::iter::once(id).chain(above.iter().copied()).collect();
        let wait_queue = Arc::new(WaitQueue::new());
        tree.state.lock().add_view(&chain, limit, &wait_queue);
        Arc::new(View { tree, chain, wait_queue, lane, lanes: OnceLock::new() })
    }

    pub(super) fn id(&self) -> ViewId {
        self.chain[0]
    }

    pub(super) fn engine(&self) -> &Arc<Engine<R, D>> {
        &self.tree.engine
    }

    /// What the state of a new task knows.
    pub(super) fn in_view(self: &Arc<Self>) -> InView {
        InView::new(Arc::downgrade(self) as _, self.tree.number())
    }

    /// Reads or changes what is kept of this view, which exists while it has an owner.
    pub(super) fn with_node<T>(&self, f: impl FnOnce(&mut Node<R, D>) -> T) -> T {
        match self.tree.state.lock().nodes.get_mut(&self.id()) {
            Some(node) => f(node),
            None => unreachable!("a view that has an owner is there"),
        }
    }

    pub(super) fn stats(&self) -> LimitedStats {
        self.with_node(|node| node.stats)
    }

    /// Submitters that wait for room in this view, or with a permit for room in the pool.
    pub(super) fn waiting(&self) -> usize {
        self.wait_queue.waiting() + self.with_node(|node| node.entering)
    }

    pub(super) fn is_closed(&self, state: &State<R, D>) -> bool {
        self.engine().is_closed() || state.is_closed(&self.chain)
    }

    /// If the calling worker is in a task of this view, or of one that it is a view of, and the permits that it holds none of are free, runs a
    /// task on it; says whether it did. Not in a pool whose workers have a state, which is in use.
    pub(super) fn run_inline(self: &Arc<Self>, item: impl FnOnce() -> R::Item) -> bool {
        let missing = missing_permits(&self.chain);
        let is_outside = !self.engine().is_inside() || missing == self.chain.len();
        if is_outside || self.engine().runner().spare_state().is_none() {
            return false;
        }
        let mut state = self.tree.state.lock();
        if self.is_closed(&state) || !state.has_permits(&self.chain[..missing]) {
            return false;
        }
        state.acquire(&self.chain[..missing]);
        state.count_accepted(&self.chain);
        drop(state);
        self.engine().note_direct();
        self.run_on_caller(item(), missing, true);
        true
    }

    // The end of a view.

    fn close(&self) -> Vec<Unstarted<R, D>> {
        let Closed { waiting, tokens, wait_queues } = self.tree.state.lock().close(self.id());
        self.tree.left(waiting.len());
        wait_queues.iter().for_each(|wait_queue| wait_queue.notify_all());
        tokens.iter().for_each(CancelToken::cancel);
        self.tree.wake_awaiting();
        waiting.into_iter().map(|(_, task)| task).collect()
    }

    /// Closes the view and gives back what waits.
    pub(super) fn close_and_return(&self) -> Vec<R::Returned> {
        self.close().into_iter().filter_map(|task| task.retract_waiting(SubmitErrorKind::Closed)).collect()
    }

    /// The view has lost its owner.
    pub(super) fn close_and_drop(&self) {
        self.close().into_iter().for_each(Unstarted::discard);
        let mut state = self.tree.state.lock();
        state.each(&self.chain[..1], |node| node.is_dropped = true);
        state.prune(&self.chain);
    }

    // Waiting for a view to be idle.

    /// Waits for a moment at which no task of the view waits or runs. A worker of the pool does not wait for itself.
    pub(super) fn wait_idle(&self, deadline: Option<Instant>) -> bool {
        if self.engine().is_inside() {
            return false;
        }
        let mut watch = IdleWatch::new(self);
        loop {
            if watch.look(|| Waiter::Thread(current())) {
                return true;
            }
            if deadline.is_some_and(|d| clock::now() >= d) {
                return false;
            }
            park(deadline);
        }
    }

    pub(super) async fn wait_idle_async(&self) -> bool {
        let mut watch = IdleWatch::new(self);
        poll_fn(|poller| {
            let is_idle = watch.look(|| Waiter::Task(poller.waker().clone()));
            match is_idle || self.engine().is_inside() {
                true => Poll::Ready(is_idle),
                false => Poll::Pending,
            }
        })
        .await
    }
}

impl<R: Runner, D: Dispatch> ViewTree<R, D> {
    fn new(engine: &Arc<Engine<R, D>>, is_lane: bool) -> Arc<Self> {
        let tree = Arc::new(ViewTree {
            engine: Arc::clone(engine),
            next: AtomicU64::new(0),
            meters: Self::no_meters(),
            state: Mutex::new(State::default()),
            is_lane,
        });
        // The order of a key is found through `Lanes`.
        if !is_lane {
            engine.add_views(tree.address(), Arc::downgrade(&tree) as _);
        }
        tree
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Counts one more task that waits here, if there is room for it where that is `bounded`.
    pub(super) fn keep(&self, bounded: bool) -> bool {
        let is_kept = self.engine.keep_in_view(bounded);
        if is_kept && self.is_lane {
            self.engine.note_in_order();
        }
        is_kept
    }

    /// So many of them wait no more.
    pub(super) fn left(&self, tasks: usize) {
        self.engine.left_views(tasks);
        if self.is_lane {
            self.engine.left_order(tasks);
        }
    }

    /// A number for a task.
    pub(super) fn number(&self) -> u64 {
        // ORDERING: Relaxed. Each is given once.
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a submitter of the view with this chain may find room.
    pub(super) fn may_enter(&self, chain: &[ViewId]) -> bool {
        let state = self.state.lock();
        state.has_permits_for_newcomer(chain, 0)
            || state.has_room(chain, 0, self.engine.capacity(), self.engine.queue_bound())
    }
}

impl<R: Runner, D: Dispatch> Drop for ViewTree<R, D> {
    fn drop(&mut self) {
        if !self.is_lane {
            self.engine.remove_views(self.address());
        }
    }
}

/// The order of a key has no task left, and no submitter.
impl<R: Runner, D: Dispatch> Drop for View<R, D> {
    fn drop(&mut self) {
        let Some(lane) = &self.lane else { return };
        lane.remove(self);
        let mut state = self.tree.state.lock();
        state.each(&self.chain[..1], |node| node.is_dropped = true);
        state.prune(&self.chain);
    }
}

/// Watches for a moment at which a view is idle. One that has passed counts too: another waiter may have submitted more since.
struct IdleWatch<'v, R: Runner, D: Dispatch> {
    view: &'v View<R, D>,
    number: u64,
    before: u64,
}

impl<'v, R: Runner, D: Dispatch> IdleWatch<'v, R, D> {
    fn new(view: &'v View<R, D>) -> Self {
        IdleWatch { view, number: view.tree.number(), before: view.with_node(|node| node.idle_moments) }
    }

    /// Whether there was one; otherwise has the waiter woken by it.
    fn look(&mut self, waiter: impl FnOnce() -> Waiter) -> bool {
        let is_idle = |node: &mut Node<R, D>| node.stats.is_idle() || node.idle_moments != self.before;
        if self.view.with_node(is_idle) {
            return true;
        }
        let waiter = waiter();
        let (is_idle, unused) = self.view.with_node(|node| match is_idle(node) {
            true => (true, Some(waiter)),
            false => (false, node.idle_waiters.insert(self.number, waiter)),
        });
        unused.into_iter().for_each(Waiter::discard);
        is_idle
    }
}

impl<R: Runner, D: Dispatch> Drop for IdleWatch<'_, R, D> {
    fn drop(&mut self) {
        let left = self.view.with_node(|node| node.idle_waiters.remove(&self.number));
        left.into_iter().for_each(Waiter::discard);
    }
}

impl<R: Runner, D: Dispatch> Unstarted<R, D> {
    /// Counts a task that will not start, and tells those who wait for its view to be idle.
    pub(super) fn count_unstarted(view: &View<R, D>, end: TaskEnd) {
        let mut state = view.tree.state.lock();
        let idle = state.count_unstarted(&view.chain, end);
        state.prune(&view.chain);
        drop(state);
        idle.into_iter().for_each(Waiter::wake);
    }

    /// Retracts a task that is nowhere any more, and counts it.
    pub(super) fn retract(self, kind: SubmitErrorKind, cause: Cause) -> Retracted<R::Returned> {
        let Unstarted { item, view, .. } = self;
        let retracted = R::retract(item, kind, cause);
        Self::count_unstarted(
            &view,
            match (&retracted, kind) {
                (Retracted::Here(_), SubmitErrorKind::Closed) => TaskEnd::Returned,
                (Retracted::Here(_) | Retracted::ToCaller, SubmitErrorKind::Dropped) => TaskEnd::Dropped,
                _ => TaskEnd::Cancelled,
            },
        );
        retracted
    }

    /// Drops a task that has not gone to the pool, for a newer one.
    pub(super) fn drop_oldest(self) {
        let view = Arc::clone(&self.view);
        let retracted = view.engine().catch_user_panic(|| self.retract(SubmitErrorKind::Dropped, Cause::Dropped));
        retracted.into_iter().for_each(|retracted| view.engine().drop_kept(retracted));
    }

    /// The same for a task that has not gone to the pool: returns what its user gets back.
    fn retract_waiting(self, kind: SubmitErrorKind) -> Option<R::Returned> {
        match self.retract(kind, Cause::Cancelled) {
            Retracted::Here(task) => Some(task),
            Retracted::Gone(_) | Retracted::ToCaller => None,
        }
    }

    /// Drops a task that will not start, on a thread that must not have its panic. It is counted when its captures are gone.
    pub(super) fn discard(self) {
        let Unstarted { item, view, .. } = self;
        let drops = || drop(R::retract(item, SubmitErrorKind::Cancelled, Cause::Cancelled));
        view.engine().catch_user_panic(drops);
        if view.tree.is_lane {
            view.engine().note_cancelled_in_order();
        }
        Self::count_unstarted(&view, TaskEnd::Cancelled);
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use crate::Pool;

    /// Nothing is left of views of a view that were dropped, in whichever order, when their tasks are over.
    #[test]
    fn dropped_views_leave_nothing() {
        let pool = Pool::new(2).unwrap();
        let outer = pool.limited(2);
        for n in 0..100 {
            let view = outer.limited(1);
            let inner = view.limited(1);
            (0..3).for_each(|_| inner.submit(|| ()).unwrap());
            view.submit(|| ()).unwrap();
            if n % 2 == 0 {
                drop(inner);
            } else {
                drop((view, inner));
            }
        }
        assert!(outer.wait_idle() && pool.wait_idle());
        let state = outer.view.tree.state.lock();
        assert_eq!((state.nodes.len(), state.permitted.is_empty(), state.at_pool.len()), (1, true, 0));
    }
}
