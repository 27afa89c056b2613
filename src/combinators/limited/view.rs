//! A view, and the way of a task into it.

use std::convert;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::AtomicU64 as StdAtomicU64;
use std::task::{Context, Poll};
use std::time::Instant;

use super::state::{Closed, Node, Permitted, State, Unstarted};
use super::stats::{LimitedStats, TaskEnd};
use crate::cancel::CancelToken;
use crate::engine::wait_queue::{WaitNode, WaitQueue};
use crate::engine::{BlockedAtView, Engine, Runner, SubmitOptions, WaitMode};
use crate::error::{Cause, SubmitError, SubmitErrorKind};
use crate::queue::{DEFAULT_LANE, Dispatch, LazyItem, LazyWith};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, current, park};
use crate::task::deferred::{Deferred, DeferredTasks};
use crate::task::in_view::{InView, ViewId, missing_permits};
use crate::task::state::{Retracted, RunOutcome};

/// A view of a pool and all views below it, with one lock.
pub(super) struct ViewTree<R: Runner, D: Dispatch> {
    pub(super) engine: Arc<Engine<R, D>>,
    /// The number of the next task.
    next: AtomicU64,
    pub(super) state: Mutex<State<R, D>>,
}

/// One view. It keeps its tasks until they start, each under a number: those that wait for a permit, and those that have one and an entry in
/// the pool's queue ([`Deferred`]). So a task can be taken out of its turn wherever its entry is, and that is known to stand for nothing then.
pub(super) struct View<R: Runner, D: Dispatch> {
    pub(super) tree: Arc<ViewTree<R, D>>,
    /// This view, the one that it is a view of, and so on.
    pub(super) chain: Arc<[ViewId]>,
    /// Submitters that found the view full.
    wait_queue: Arc<WaitQueue>,
}

/// A task that is about to enter.
struct Newcomer<I, F> {
    number: Option<u64>,
    lane: usize,
    lazy: LazyWith<I, F>,
}

/// The outcome of a try to enter.
enum Entered<R: Runner, D: Dispatch> {
    /// The task waits in the view.
    In,
    /// It may enter the pool.
    WithPermit(EnteringPermit<R, D>),
    Full,
}

/// What remains to be done when a task has come into the pool with its permits, without the pool's locks.
#[derive(Default)]
struct AfterEntry {
    /// Workers that poll tasks without a permit.
    awaiting: Vec<Waiter>,
    was_revoked: bool,
}

impl<R: Runner, D: Dispatch> View<R, D> {
    /// A view of a pool, or of another view.
    pub(super) fn new(engine: &Arc<Engine<R, D>>, parent: Option<&Self>, limit: usize) -> Arc<Self> {
        // Not one of `sync`'s atomics: a static of loom's cannot be made.
        static NEXT: StdAtomicU64 = StdAtomicU64::new(0);
        let tree = parent.map_or_else(|| ViewTree::new(engine), |parent| Arc::clone(&parent.tree));
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let above = parent.map_or(&[][..], |parent| &parent.chain);
        let chain: Arc<[ViewId]> = std::iter::once(id).chain(above.iter().copied()).collect();
        let wait_queue = Arc::new(WaitQueue::new());
        tree.state.lock().add_view(&chain, limit, &wait_queue);
        Arc::new(View { tree, chain, wait_queue })
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

    fn is_closed(&self, state: &State<R, D>) -> bool {
        self.engine().is_closed() || state.is_closed(&self.chain)
    }

    fn has_room(&self, state: &State<R, D>, reserved: usize) -> bool {
        state.has_room(&self.chain, reserved, self.engine().capacity(), self.engine().queue_bound())
    }

    /// One try to take a task in, if there is room for it and for `reserved` more. Where that is not `bounded` there always is.
    fn try_enter<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: &mut Newcomer<I, F>,
        reserved: usize,
        bounded: bool,
    ) -> Result<Entered<R, D>, SubmitErrorKind> {
        match self.try_enter_as_is(task, reserved, bounded)? {
            // There may be some now that what is dead has left.
            Entered::Full if self.engine().sweep() => self.try_enter_as_is(task, reserved, bounded),
            entered => Ok(entered),
        }
    }

    fn try_enter_as_is<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: &mut Newcomer<I, F>,
        reserved: usize,
        bounded: bool,
    ) -> Result<Entered<R, D>, SubmitErrorKind> {
        let mut is_kept = false;
        loop {
            let mut state = self.tree.state.lock();
            let is_closed = self.is_closed(&state);
            let gets_permit = !is_closed && bounded && state.has_permits_for_newcomer(&self.chain, reserved);
            let may_wait = !is_closed && !gets_permit && (!bounded || self.has_room(&state, reserved));
            if is_kept && may_wait {
                let (number, unstarted) = task.build(self);
                state.count_accepted(&self.chain);
                state.insert_waiting(number, unstarted);
                drop(state);
                self.engine().note_cancellable(None);
                self.tree.dispatch_waiting();
                return Ok(Entered::In);
            }
            if gets_permit {
                state.acquire(&self.chain);
                state.each(&self.chain[..1], |node| node.entering += 1);
            }
            drop(state);
            if is_kept {
                self.engine().left_views(1);
            }
            if is_closed {
                return Err(SubmitErrorKind::Closed);
            }
            if gets_permit {
                return Ok(Entered::WithPermit(EnteringPermit(Some(Arc::clone(self)))));
            }
            // Called without the lock, which a thread that puts a task into the pool's queue takes in the middle of that.
            is_kept = may_wait && self.engine().keep_in_view(bounded);
            if !is_kept {
                return Ok(Entered::Full);
            }
        }
    }

    /// The first try of a task.
    fn enter_now<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: &mut Newcomer<I, F>,
        options: &SubmitOptions<'_>,
    ) -> Result<Entered<R, D>, SubmitErrorKind> {
        match options.cancelled() {
            Some(kind) => Err(kind),
            // What the pool's own tasks submit is let in beyond the bound.
            None => {
                let reserved = self.wait_queue.reserved_for(DEFAULT_LANE);
                self.try_enter(task, reserved, !self.engine().exceeds_bound())
            }
        }
    }

    /// A try of a submitter in the wait queue.
    fn retry<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: &mut Newcomer<I, F>,
        place: &WaitNode<'_>,
    ) -> Result<Entered<R, D>, SubmitErrorKind> {
        let mut is_head = true;
        let entered = place.consume_notification(|| {
            is_head = place.is_head();
            match is_head {
                true => self.try_enter(task, 0, true),
                false if self.is_closed(&self.tree.state.lock()) => Err(SubmitErrorKind::Closed),
                false => Ok(Entered::Full),
            }
        })?;
        if !is_head {
            self.tree.pass_late_futures(&self.wait_queue, &self.chain);
        }
        Ok(entered)
    }

    fn join_wait_queue(&self, waiter: Waiter) -> Result<(WaitNode<'_>, BlockedAtView<'_>), SubmitErrorKind> {
        let blocked = self.engine().block_at_view();
        let place = self.wait_queue.join(DEFAULT_LANE, self.engine().max_blocking(), waiter);
        place.map(|place| (place, blocked)).ok_or(SubmitErrorKind::Overloaded)
    }

    /// Takes a task in, made of `input` by `make`, under the number that its state knows; on a refusal the input comes back.
    pub(super) fn submit<I>(
        self: &Arc<Self>,
        input: I,
        make: impl FnOnce(I) -> R::Item,
        number: Option<u64>,
        options: SubmitOptions<'_>,
    ) -> Result<(), SubmitError<I>> {
        let mut task = Newcomer { number, lane: options.lane(), lazy: LazyWith::new(input, make) };
        let entered = match self.enter_now(&mut task, &options) {
            Ok(Entered::Full) => self.wait_for_room(&mut task, &options),
            entered => entered,
        };
        let admitted = match entered {
            Ok(Entered::In) => Ok(()),
            Ok(Entered::WithPermit(permit)) => self.enter_pool(task, permit, &options),
            Ok(Entered::Full) => Err((SubmitErrorKind::Full, task)),
            Err(kind) => Err((kind, task)),
        };
        admitted.map_err(|(kind, task)| SubmitError::new(kind, task.lazy.into_input()))?;
        self.engine().sweep_if_worth_it();
        Ok(())
    }

    fn wait_for_room<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: &mut Newcomer<I, F>,
        options: &SubmitOptions<'_>,
    ) -> Result<Entered<R, D>, SubmitErrorKind> {
        match options.mode() {
            WaitMode::Never => return Ok(Entered::Full),
            // Perhaps no other worker is left to make room.
            WaitMode::Forever if self.engine().is_inside() => return Err(SubmitErrorKind::WouldDeadlock),
            WaitMode::Forever | WaitMode::Until(_) => {}
        }
        let me = Waiter::Thread(current());
        let _listening = options.token().map(|token| token.listen(me.clone()));
        let (place, _blocked) = self.join_wait_queue(me)?;
        loop {
            match self.retry(task, &place)? {
                Entered::Full => {}
                entered => return Ok(entered),
            }
            if let Some(kind) = options.end() {
                return Err(kind);
            }
            place.wait(options.deadline());
        }
    }

    /// The pool's own way in, for a task that has its permits: it waits there as any other, but that the end of the view ends the wait.
    fn enter_pool<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: Newcomer<I, F>,
        permit: EnteringPermit<R, D>,
        options: &SubmitOptions<'_>,
    ) -> Result<(), (SubmitErrorKind, Newcomer<I, F>)> {
        let mut after = AfterEntry::default();
        // A refusal is the view's, and not in the pool's figures.
        let at_once = options.with_mode(WaitMode::Never).retried();
        let make = |(task, permit): (Newcomer<I, F>, EnteringPermit<R, D>)| permit.come_in(task, &mut after);
        let entered = self.engine().submit((task, permit), make, at_once).map_err(SubmitError::into_parts);
        let entered = match entered {
            Err((SubmitErrorKind::Full, (task, permit))) if !matches!(options.mode(), WaitMode::Never) => {
                let entering = EnteringToken::new(self, options.token());
                let patient = options.retried().with_token(Some(&entering.token));
                let make = |(task, permit): (Newcomer<I, F>, EnteringPermit<R, D>)| permit.come_in(task, &mut after);
                let entered = self.engine().submit((task, permit), make, patient).map_err(SubmitError::into_parts);
                entered.map_err(|(kind, refused)| (entering.refusal(kind, options), refused))
            }
            entered => entered,
        };
        entered.map_err(|(kind, (task, _permit))| (kind, task))?;
        self.finish_entry(after);
        Ok(())
    }

    fn finish_entry(&self, after: AfterEntry) {
        self.engine().note_cancellable(None);
        after.awaiting.into_iter().for_each(Waiter::wake);
        if after.was_revoked {
            // Its permits may have been released since.
            self.tree.dispatch_waiting();
        }
    }

    /// As [`submit`](Self::submit), waiting as a future.
    pub(super) async fn submit_async(
        self: &Arc<Self>,
        item: R::Item,
        number: Option<u64>,
        options: SubmitOptions<'_>,
    ) -> Result<(), SubmitError<R::Item>> {
        let lazy = LazyWith::new(item, convert::identity);
        let mut task = Newcomer { number, lane: options.lane(), lazy };
        let entered = match self.enter_now(&mut task, &options) {
            Ok(Entered::Full) => self.wait_for_room_async(&mut task, &options).await,
            entered => entered,
        };
        let admitted = match entered {
            Ok(Entered::WithPermit(permit)) => self.enter_pool_async(task, permit, &options).await,
            Ok(Entered::In | Entered::Full) => Ok(()),
            Err(kind) => Err((kind, task)),
        };
        admitted.map_err(|(kind, task)| SubmitError::new(kind, task.lazy.into_input()))
    }

    async fn wait_for_room_async<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: &mut Newcomer<I, F>,
        options: &SubmitOptions<'_>,
    ) -> Result<Entered<R, D>, SubmitErrorKind> {
        let mut cancelled = options.token().map(CancelToken::cancelled);
        let mut joined = None;
        let waiting = |poller: &mut Context<'_>| {
            let waiter = Waiter::Task(poller.waker().clone());
            let (place, _) = match &mut joined {
                Some(joined) => {
                    let (place, _): &(WaitNode<'_>, BlockedAtView<'_>) = joined;
                    place.set_waiter(waiter);
                    joined
                }
                none => none.insert(self.join_wait_queue(waiter)?),
            };
            // Until it has not been notified since it tried: a notification before went to the waiter of an earlier poll.
            loop {
                match self.retry(task, place)? {
                    Entered::Full if place.is_notified() => {}
                    Entered::Full => break,
                    entered => return Ok(Some(entered)),
                }
            }
            let is_cancelled = cancelled.as_mut().is_some_and(|cancelled| Pin::new(cancelled).poll(poller).is_ready());
            if is_cancelled { Err(options.cancelled().unwrap_or(SubmitErrorKind::Cancelled)) } else { Ok(None) }
        };
        let mut waiting = waiting;
        poll_fn(move |poller| waiting(poller).transpose().map_or(Poll::Pending, Poll::Ready)).await
    }

    async fn enter_pool_async<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: Newcomer<I, F>,
        permit: EnteringPermit<R, D>,
        options: &SubmitOptions<'_>,
    ) -> Result<(), (SubmitErrorKind, Newcomer<I, F>)> {
        let mut after = AfterEntry::default();
        let entering = EnteringToken::new(self, options.token());
        let patient = options.retried().with_token(Some(&entering.token));
        let make = |(task, permit): (Newcomer<I, F>, EnteringPermit<R, D>)| permit.come_in(task, &mut after);
        let lazy = LazyWith::new((task, permit), make);
        self.engine().submit_lazy_async(lazy, patient).await.map_err(|refusal| {
            let (kind, lazy) = refusal.into_parts();
            (entering.refusal(kind, options), lazy.into_input().0)
        })?;
        self.finish_entry(after);
        Ok(())
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
        self.engine().left_views(waiting.len());
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
            if deadline.is_some_and(|d| Instant::now() >= d) {
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
    fn new(engine: &Arc<Engine<R, D>>) -> Arc<Self> {
        let tree = Arc::new(ViewTree {
            engine: Arc::clone(engine),
            next: AtomicU64::new(0),
            state: Mutex::new(State::default()),
        });
        engine.add_views(tree.address(), Arc::downgrade(&tree) as _);
        tree
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// A number for a task.
    fn number(&self) -> u64 {
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
        self.engine.remove_views(self.address());
    }
}

impl<I, F> Newcomer<I, F> {
    /// Makes the task. To be called once.
    fn build<R: Runner, D: Dispatch>(&mut self, view: &Arc<View<R, D>>) -> (u64, Unstarted<R, D>)
    where
        F: FnOnce(I) -> R::Item,
    {
        let number = self.number.unwrap_or_else(|| view.tree.number());
        (number, Unstarted { item: self.lazy.build(), lane: self.lane, view: Arc::clone(view) })
    }
}

/// The permits of a submitter that is about to enter the pool. Dropping it releases them.
struct EnteringPermit<R: Runner, D: Dispatch>(Option<Arc<View<R, D>>>);

impl<R: Runner, D: Dispatch> EnteringPermit<R, D> {
    /// The task comes into the pool: makes its entry. It waits instead if its permits were revoked. Called under the queue's locks.
    fn come_in<I, F: FnOnce(I) -> R::Item>(mut self, mut task: Newcomer<I, F>, after: &mut AfterEntry) -> R::Item {
        let Some(view) = self.0.take() else { unreachable!("a permit is used once") };
        let mut state = view.tree.state.lock();
        let (number, task) = task.build(&view);
        state.count_accepted(&view.chain);
        if state.end_entering(&view.chain) {
            state.permitted.insert(number, Permitted { task, is_queued: true });
        } else {
            after.was_revoked = true;
            view.engine().keep_in_view(false);
            state.insert_waiting(number, task);
            view.tree.void_entry(&mut state, number, RunOutcome::Elsewhere);
            view.engine().note_taken_back();
        }
        after.awaiting = state.awaiting.take();
        drop(state);
        R::deferred(Deferred::new(view as Arc<dyn DeferredTasks<R::Item, R::Returned>>, number))
    }
}

impl<R: Runner, D: Dispatch> Drop for EnteringPermit<R, D> {
    fn drop(&mut self) {
        if let Some(view) = self.0.take() {
            let is_permitted = view.tree.state.lock().end_entering(&view.chain);
            if is_permitted {
                view.release_all();
            }
        }
    }
}

/// Ends the wait of a submitter for room in the pool when its view is closed, or when its own token is cancelled.
struct EnteringToken<'v, R: Runner, D: Dispatch> {
    view: &'v View<R, D>,
    number: u64,
    token: CancelToken,
}

impl<'v, R: Runner, D: Dispatch> EnteringToken<'v, R, D> {
    fn new(view: &'v View<R, D>, own: Option<&CancelToken>) -> Self {
        let token = own.map_or_else(CancelToken::new, CancelToken::child);
        let number = view.tree.number();
        let mut state = view.tree.state.lock();
        let is_closed = state.is_closed(&view.chain);
        state.each(&view.chain[..1], |node| drop(node.entering_tokens.insert(number, token.clone())));
        drop(state);
        if is_closed {
            token.cancel();
        }
        EnteringToken { view, number, token }
    }

    /// What a refusal of the pool means to the submitter.
    fn refusal(&self, kind: SubmitErrorKind, options: &SubmitOptions<'_>) -> SubmitErrorKind {
        let is_ours = kind == SubmitErrorKind::Cancelled && options.cancelled().is_none();
        if is_ours { SubmitErrorKind::Closed } else { kind }
    }
}

impl<R: Runner, D: Dispatch> Drop for EnteringToken<'_, R, D> {
    fn drop(&mut self) {
        let mut left = None;
        let mut state = self.view.tree.state.lock();
        state.each(&self.view.chain[..1], |node| left = node.entering_tokens.remove(&self.number));
        drop(state);
        drop(left);
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
        let is_returned = matches!(retracted, Retracted::Here(_)) && kind == SubmitErrorKind::Closed;
        Self::count_unstarted(&view, if is_returned { TaskEnd::Returned } else { TaskEnd::Cancelled });
        retracted
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
