//! How a task enters a view, and the pool with a permit of the view.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::entering::EnteringToken;
use super::state::{Permitted, State, Unstarted};
use crate::cancel::CancelToken;
use crate::engine::wait_queue::WaitNode;
use crate::engine::{BlockedAtView, Runner, SubmitOptions, WaitMode};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::queue::{DEFAULT_LANE, Dispatch, LazyItem, LazyWith};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, current};
use crate::task::current_worker;
use crate::task::deferred::{Deferred, DeferredTasks};
use crate::task::in_view::InView;
use crate::task::state::RunOutcome;

use super::view::View;

/// A task that is about to enter.
pub(super) struct Newcomer<'v, I, F> {
    /// What its state knows of the view, if it has one.
    pub(super) in_view: Option<&'v InView>,
    pub(super) lane: usize,
    pub(super) lazy: LazyWith<I, F>,
}

/// The outcome of a try to enter.
pub(super) enum Entered<R: Runner, D: Dispatch> {
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
    fn has_room(&self, state: &State<R, D>, reserved: usize) -> bool {
        state.has_room(&self.chain, reserved, self.engine().capacity(), self.engine().queue_bound())
    }

    /// One try to take a task in, if there is room for it and for `reserved` more. Where that is not `bounded` there always is.
    pub(super) fn try_enter<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: &mut Newcomer<'_, I, F>,
        reserved: usize,
        bounded: bool,
    ) -> Result<Entered<R, D>, SubmitErrorKind> {
        match self.try_enter_as_is(task, reserved, bounded)? {
            // There may be some now that what is dead has left.
            Entered::Full if self.engine().sweep() => self.try_enter_as_is(task, reserved, bounded),
            entered => Ok(entered),
        }
    }

    pub(super) fn try_enter_as_is<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: &mut Newcomer<'_, I, F>,
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
                self.tree.left(1);
            }
            if is_closed {
                return Err(SubmitErrorKind::Closed);
            }
            if gets_permit {
                return Ok(Entered::WithPermit(EnteringPermit(Some(Arc::clone(self)))));
            }
            // Called without the lock, which a thread that puts a task into the pool's queue takes in the middle of that.
            is_kept = may_wait && self.tree.keep(bounded);
            if !is_kept {
                return Ok(Entered::Full);
            }
        }
    }

    /// The first try of a task.
    fn enter_now<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: &mut Newcomer<'_, I, F>,
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
        task: &mut Newcomer<'_, I, F>,
        node: &WaitNode<'_>,
    ) -> Result<Entered<R, D>, SubmitErrorKind> {
        let mut is_head = true;
        let entered = node.consume_notification(|| {
            is_head = node.is_head();
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
        let node = self.wait_queue.join(DEFAULT_LANE, self.engine().max_blocking(), waiter);
        node.map(|node| (node, blocked)).ok_or(SubmitErrorKind::Overloaded)
    }

    /// Takes a task in, made of `input` by `make`, under the number that its state knows, if it has one; on a refusal the input comes back.
    pub(super) fn submit<I>(
        self: &Arc<Self>,
        input: I,
        make: impl FnOnce(I) -> R::Item,
        in_view: Option<&InView>,
        options: SubmitOptions<'_>,
    ) -> Result<(), SubmitError<I>> {
        let mut task = Newcomer { in_view, lane: options.lane(), lazy: LazyWith::new(input, make) };
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
        task: &mut Newcomer<'_, I, F>,
        options: &SubmitOptions<'_>,
    ) -> Result<Entered<R, D>, SubmitErrorKind> {
        if let Some(entered) = self.overflow(task, options)? {
            return Ok(entered);
        }
        match options.mode() {
            WaitMode::Never => return Ok(Entered::Full),
            // Perhaps no other worker is left to make room.
            WaitMode::Forever if self.engine().is_inside() => return Err(SubmitErrorKind::WouldDeadlock),
            WaitMode::Forever | WaitMode::Until(_) => {}
        }
        let me = Waiter::Thread(current());
        let _listening = options.token().map(|token| token.listen(me.clone()));
        let (node, _blocked) = self.join_wait_queue(me)?;
        loop {
            match self.retry(task, &node)? {
                Entered::Full => {}
                entered => return Ok(entered),
            }
            if let Some(kind) = options.end() {
                return Err(kind);
            }
            node.wait(options.deadline());
        }
    }

    /// The pool's own way in, for a task that has its permits: it waits there as any other, but that the end of the view ends the wait.
    fn enter_pool<'v, I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: Newcomer<'v, I, F>,
        permit: EnteringPermit<R, D>,
        options: &SubmitOptions<'_>,
    ) -> Result<(), (SubmitErrorKind, Newcomer<'v, I, F>)> {
        let mut after = AfterEntry::default();
        // A refusal is the view's, and not in the pool's figures.
        let at_once = options.with_mode(WaitMode::Never).retried();
        let make = |(task, permit): (Newcomer<'_, I, F>, EnteringPermit<R, D>)| permit.come_in(task, &mut after);
        let entered = self.engine().submit((task, permit), make, at_once).map_err(SubmitError::into_parts);
        let entered = match entered {
            Err((SubmitErrorKind::Full, (task, permit))) if !matches!(options.mode(), WaitMode::Never) => {
                let entering = EnteringToken::new(self, options.token());
                let patient = options.retried().with_token(Some(&entering.token));
                let make =
                    |(task, permit): (Newcomer<'_, I, F>, EnteringPermit<R, D>)| permit.come_in(task, &mut after);
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
            self.engine().tell_taken_back(1);
            // Its permits may have been released since.
            self.tree.dispatch_waiting();
        }
    }

    /// As [`submit`](Self::submit), waiting as a future.
    pub(super) async fn submit_async<I>(
        self: &Arc<Self>,
        input: I,
        make: impl FnOnce(I) -> R::Item,
        in_view: Option<&InView>,
        options: SubmitOptions<'_>,
    ) -> Result<(), SubmitError<I>> {
        let lazy = LazyWith::new(input, make);
        let mut task = Newcomer { in_view, lane: options.lane(), lazy };
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

    /// Waits until a task would find room, here and in the pool, or the view is closed.
    #[cfg(feature = "tower")]
    pub(super) async fn room(&self) {
        let is_over = || self.is_closed(&self.tree.state.lock()) || self.engine().exceeds_bound();
        let has_room = || self.tree.may_enter(&self.chain);
        if !is_over() && (self.wait_queue.waiting() > 0 || !has_room()) {
            self.wait_queue.room(DEFAULT_LANE, has_room, is_over, || self.engine().block_at_view()).await;
        }
        if !is_over() {
            self.engine().room().await;
        }
    }

    async fn wait_for_room_async<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: &mut Newcomer<'_, I, F>,
        options: &SubmitOptions<'_>,
    ) -> Result<Entered<R, D>, SubmitErrorKind> {
        if let Some(entered) = self.overflow(task, options)? {
            return Ok(entered);
        }
        let mut cancelled = options.token().map(CancelToken::cancelled);
        let mut joined = None;
        let waiting = |poller: &mut Context<'_>| {
            let waiter = Waiter::Task(poller.waker().clone());
            let (node, _) = match &mut joined {
                Some(joined) => {
                    let (node, _): &(WaitNode<'_>, BlockedAtView<'_>) = joined;
                    node.set_waiter(waiter);
                    joined
                }
                none => none.insert(self.join_wait_queue(waiter)?),
            };
            // Until it has not been notified since it tried: a notification before went to the waiter of an earlier poll.
            loop {
                match self.retry(task, node)? {
                    Entered::Full if node.is_notified() => {}
                    Entered::Full => break,
                    entered => return Ok(Some(entered)),
                }
            }
            let is_cancelled = cancelled.as_mut().is_some_and(|cancelled| Pin::new(cancelled).poll(poller).is_ready());
            if is_cancelled { Err(options.cancelled().unwrap_or(SubmitErrorKind::Cancelled)) } else { Ok(None) }
        };
        let mut waiting = waiting;
        poll_fn(move |poller| {
            let entered = waiting(poller).transpose();
            if entered.is_none() {
                // As a submission to the pool does.
                current_worker::notify_pending_polls(self.engine().id());
            }
            entered.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    async fn enter_pool_async<'v, I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: Newcomer<'v, I, F>,
        permit: EnteringPermit<R, D>,
        options: &SubmitOptions<'_>,
    ) -> Result<(), (SubmitErrorKind, Newcomer<'v, I, F>)> {
        let mut after = AfterEntry::default();
        let entering = EnteringToken::new(self, options.token());
        let patient = options.retried().with_token(Some(&entering.token));
        let make = |(task, permit): (Newcomer<'_, I, F>, EnteringPermit<R, D>)| permit.come_in(task, &mut after);
        let lazy = LazyWith::new((task, permit), make);
        self.engine().submit_lazy_async(lazy, patient).await.map_err(|refusal| {
            let (kind, lazy) = refusal.into_parts();
            (entering.refusal(kind, options), lazy.into_input().0)
        })?;
        self.finish_entry(after);
        Ok(())
    }
}

impl<I, F> Newcomer<'_, I, F> {
    /// Makes the task. To be called once.
    fn build<R: Runner, D: Dispatch>(&mut self, view: &Arc<View<R, D>>) -> (u64, Unstarted<R, D>)
    where
        F: FnOnce(I) -> R::Item,
    {
        let number = match self.in_view {
            Some(in_view) if view.lane.is_none() => in_view.task(),
            in_view => {
                // In the order of acceptance, which may not be that of the states.
                let number = view.tree.number();
                in_view.into_iter().for_each(|in_view| in_view.renumber(number));
                number
            }
        };
        let lane = view.engine().keep_lane(self.lane);
        let rate_key = self.in_view.and_then(InView::rate_key);
        let (item, view) = (self.lazy.build(), Arc::clone(view));
        (number, Unstarted { item, lane, view, rate_key, paced: 0, leads: None })
    }
}

/// The permits of a submitter that is about to enter the pool. Dropping it releases them.
pub(super) struct EnteringPermit<R: Runner, D: Dispatch>(Option<Arc<View<R, D>>>);

impl<R: Runner, D: Dispatch> EnteringPermit<R, D> {
    /// The task comes into the pool: makes its entry. It waits instead if its permits were revoked. Called under the queue's locks.
    fn come_in<I, F: FnOnce(I) -> R::Item>(mut self, mut task: Newcomer<'_, I, F>, after: &mut AfterEntry) -> R::Item {
        let Some(view) = self.0.take() else { unreachable!("a permit is used once") };
        let mut state = view.tree.state.lock();
        let (number, task) = task.build(&view);
        state.count_accepted(&view.chain);
        if state.end_entering(&view.chain) {
            state.permitted.insert(number, Permitted { task, is_queued: true });
        } else {
            after.was_revoked = true;
            view.tree.keep(false);
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
