//! From a view to the pool: permits, the entries that stand for tasks, and their run. What the pool does with them: `entries.rs`.

use std::task::Wake;

use super::state::{Permitted, State, Unstarted};
use super::stats::TaskEnd;
use super::steering::Measured;
use super::view::{View, ViewTree};
use crate::engine::wait_queue::WaitQueue;
use crate::engine::{NotQueued, Runner, SubmitOptions, WaitMode};
use crate::error::SubmitError;
use crate::queue::Dispatch;
use crate::sync::detached_future::DetachedFuture;
use crate::sync::waiter::Waiter;
use crate::sync::waking;
use crate::sync::{Arc, MutexGuard};
use crate::task::current_worker;
use crate::task::deferred::{Deferred, DeferredTasks};
use crate::task::in_view::{HoldsPermits, ViewId};
use crate::task::liveness::Liveness;
use crate::task::state::{Completion, Permit, RunOutcome};
use crate::task::watch;

/// The outcome of sending a task's entry to the pool.
enum Sent<R: Runner, D: Dispatch> {
    In,
    /// It waits for room in the pool.
    Later,
    /// The pool is closed, or has no thread: the task, which has no permits any more.
    Back(Option<Unstarted<R, D>>),
    /// The pool runs nothing any more. The task, if nobody else will give it back.
    Drained(Option<Unstarted<R, D>>),
}

impl<R: Runner, D: Dispatch> ViewTree<R, D> {
    /// Releases permits of the first `levels` of these views.
    pub(super) fn release(self: &Arc<Self>, chain: &[ViewId], levels: usize) {
        let mut state = self.state.lock();
        state.release(&chain[..levels]);
        state.prune(chain);
        drop(state);
        self.dispatch_waiting();
    }

    /// Gives free permits to the tasks that wait longest.
    pub(super) fn dispatch_waiting(self: &Arc<Self>) {
        // From here on a worker that waits for one of these tasks may rely on this thread.
        let inflight = self.engine.inflight();
        let mut unwanted = Vec::new();
        let mut state = self.state.lock();
        // A worker may be able to run its task now, with the permits that it holds.
        let mut awaiting = state.awaiting.take();
        // One thread at a time. It sees the permits that others release meanwhile.
        if !std::mem::replace(&mut state.is_dispatching, true) {
            loop {
                let Some((number, task)) = state.pop_ready() else {
                    let (again, has_set_alarm) = self.set_alarm(state);
                    state = again;
                    if has_set_alarm {
                        continue;
                    }
                    break;
                };
                if R::liveness(&task.item) == Liveness::Dead {
                    awaiting.append(&mut state.awaiting.leave(number));
                    self.left(1);
                    unwanted.push(task);
                    continue;
                }
                state.acquire(&task.view.chain);
                let (view, lane) = (Arc::clone(&task.view), task.lane.number());
                state.permitted.insert(number, Permitted { task, is_queued: false });
                awaiting.append(&mut state.awaiting.take());
                drop(state);
                let sent = self.send(number, &view, lane);
                // Without the lock: this may be the last reference to the order of a key.
                drop(view);
                state = self.state.lock();
                match sent {
                    Sent::In => self.note_queued(&mut state, number),
                    Sent::Later => {}
                    Sent::Back(task) => unwanted.extend(task),
                    Sent::Drained(task) => {
                        unwanted.extend(task);
                        break;
                    }
                }
            }
            state.is_dispatching = false;
        }
        drop(state);
        drop(inflight);
        self.notify_blocked();
        // User code, and so when no permit depends on it any more. Mostly there is none.
        if !awaiting.is_empty() {
            awaiting.into_iter().for_each(Waiter::wake);
        }
        if !unwanted.is_empty() {
            unwanted.into_iter().for_each(Unstarted::discard);
        }
    }

    /// Has the workers poll again that await a task without a permit.
    pub(super) fn wake_awaiting(&self) {
        let awaiting = self.state.lock().awaiting.take();
        awaiting.into_iter().for_each(Waiter::wake);
    }

    /// The views at which submitters are blocked.
    pub(super) fn blocked(&self) -> Vec<(Arc<WaitQueue>, Arc<[ViewId]>)> {
        if !self.engine.has_blocked_at_views() {
            return Vec::new();
        }
        self.state.lock().blocked()
    }

    /// Lets the first submitter in the wait queue of each view try, if there is room.
    pub(super) fn notify_blocked(&self) {
        for (wait_queue, chain) in self.blocked() {
            wait_queue.notify_heads(|_, _| self.may_enter(&chain));
        }
    }

    pub(super) fn pass_late_futures(&self, wait_queue: &WaitQueue, chain: &[ViewId]) {
        wait_queue.pass_late_futures(|_| self.may_enter(chain));
    }

    /// Sends the entry of a task with permits to the pool: at once, or from the pool's wait queue when its time comes.
    fn send(self: &Arc<Self>, number: u64, view: &Arc<View<R, D>>, lane: usize) -> Sent<R, D> {
        let options = SubmitOptions::from(WaitMode::Forever).in_lane(lane).inline().accepted().bounded();
        let tasks = Arc::clone(view) as Arc<dyn DeferredTasks<R::Item, R::Returned>>;
        let mut entry = Some(R::deferred(Deferred::new(tasks, number)));
        match self.engine.enter_now(&mut entry, &options) {
            Ok(false) => {
                entry.into_iter().for_each(|entry| self.send_later(number, entry, options));
                Sent::Later
            }
            Ok(true) => {
                self.left(1);
                Sent::In
            }
            // The task is the pool's already, which runs it also when it is closed.
            Err(_) if self.is_lane => match entry.map_or(Ok(()), |entry| self.engine.enter_admitted(entry)) {
                Ok(()) => {
                    self.left(1);
                    Sent::In
                }
                Err(NotQueued::Drained(entry)) => Sent::Drained(self.put_back(number, entry)),
                Err(NotQueued::Ended(_entry)) => {
                    self.left(1);
                    Sent::Back(self.take_back_permitted(number))
                }
            },
            Err(_) => {
                self.left(1);
                // Before the entry goes, which would drop the task.
                Sent::Back(self.take_back_permitted(number))
            }
        }
    }

    /// The task of an entry that is not to come, without its permits.
    fn take_back_permitted(&self, number: u64) -> Option<Unstarted<R, D>> {
        let mut state = self.state.lock();
        let permitted = state.permitted.remove(number)?;
        state.release(&permitted.task.view.chain);
        Some(permitted.task)
    }

    /// The entry of a task has come into the pool's queue.
    fn note_queued(&self, state: &mut State<R, D>, number: u64) {
        self.engine.note_cancellable(None);
        if let Some(permitted) = state.permitted.get_mut(number) {
            permitted.is_queued = true;
        }
    }

    fn send_later(self: &Arc<Self>, number: u64, entry: R::Item, options: SubmitOptions<'static>) {
        let (tree, kept) = (Arc::clone(self), KeptInView(Arc::clone(self)));
        let sending = DetachedFuture::new(async move {
            let entered = tree.engine.submit_async(entry, options).await;
            let mut state = tree.state.lock();
            let sending = state.at_pool.remove(&number);
            if entered.is_ok() {
                tree.note_queued(&mut state, number);
            }
            drop(state);
            drop(sending);
            let (entered, unwanted) = match entered.map_err(SubmitError::into_task) {
                Err(entry) if tree.is_lane => match tree.engine.enter_admitted(entry) {
                    Ok(()) => {
                        tree.note_queued(&mut tree.state.lock(), number);
                        (Ok(()), None)
                    }
                    Err(NotQueued::Drained(entry)) => (Ok(()), tree.put_back_kept(number, entry)),
                    Err(NotQueued::Ended(entry)) => (Err(entry), None),
                },
                entered => (entered, None),
            };
            drop(kept);
            // An inline worker's tasks and the drop of a task are user code.
            waking::defer(move || match entered {
                Ok(()) => {
                    tree.engine.ensure_workers();
                    unwanted.into_iter().for_each(Unstarted::discard);
                }
                Err(entry) => drop(entry),
            });
        });
        let mut state = self.state.lock();
        // It may have been taken meanwhile.
        let is_permitted = state.permitted.contains(number);
        if is_permitted {
            state.at_pool.insert(number, Arc::clone(&sending));
        }
        drop(state);
        if is_permitted {
            sending.wake();
        }
    }

    /// An entry stands for nothing from here on; `outcome` is what becomes of its task in the pool's figures. Under the lock, so that a
    /// thread that finds it void finds it counted.
    pub(super) fn void_entry(&self, state: &mut State<R, D>, number: u64, outcome: RunOutcome) {
        state.note_void(number);
        self.engine.id().withdrawn().inspect(|withdrawn| withdrawn.add(outcome == RunOutcome::Cancelled));
    }

    /// An entry that stood for nothing has left the pool.
    pub(super) fn note_void_over(&self) {
        self.engine.id().withdrawn().inspect(|withdrawn| withdrawn.clear());
    }

    /// The task of an entry that is over, if there is one.
    pub(super) fn end_entry(&self, state: &mut State<R, D>, number: u64) -> Option<Unstarted<R, D>> {
        let ended = state.end_entry(number);
        if let Err(true) = ended {
            self.note_void_over();
        }
        ended.ok()
    }

    /// Takes a task that has permits out of its turn; `outcome` is as for [`void_entry`](Self::void_entry). The permits are the caller's.
    pub(super) fn take_permitted(
        &self,
        mut state: MutexGuard<'_, State<R, D>>,
        number: u64,
        outcome: RunOutcome,
    ) -> Option<Unstarted<R, D>> {
        let permitted = state.permitted.remove(number)?;
        self.void_entry(&mut state, number, outcome);
        let sending = state.at_pool.remove(&number);
        drop(state);
        if let Some(sending) = sending {
            sending.abort();
        }
        Some(permitted.task)
    }
}

impl<R: Runner, D: Dispatch> View<R, D> {
    /// Changes the limit. Tasks that have a permit and have not started lose it where they are too many, the last to come first.
    pub(super) fn set_limit(&self, limit: usize) {
        let (mut aborted, mut taken_back) = (Vec::new(), 0);
        let mut state = self.tree.state.lock();
        state.each(&self.chain[..1], |node| node.limit = limit);
        while state.excess(self.id()) > 0 {
            if let Some(number) = state.last_permitted(self.id()) {
                let Some(permitted) = state.permitted.remove(number) else { break };
                state.release(&permitted.task.view.chain);
                aborted.extend(state.at_pool.remove(&number));
                self.tree.void_entry(&mut state, number, RunOutcome::Elsewhere);
                self.engine().note_taken_back();
                taken_back += 1;
                self.tree.keep(false);
                state.insert_waiting(number, permitted.task);
            } else if let Some(entering) = state.entering_below(self.id()) {
                state.revoke(&entering);
            } else {
                // What is left runs.
                break;
            }
        }
        drop(state);
        self.engine().tell_taken_back(taken_back);
        aborted.iter().for_each(|sending| sending.abort());
        self.tree.dispatch_waiting();
    }

    /// Releases the permits of a task of this view.
    pub(super) fn release_all(&self) {
        self.tree.release(&self.chain, self.chain.len());
    }

    /// Runs a task that the view has counted as started, with the permits of the first `levels` of its views.
    pub(super) fn run_started(
        self: &Arc<Self>,
        item: R::Item,
        levels: usize,
        completion: &mut Completion,
        run: &mut dyn FnMut(R::Item, &mut Completion) -> RunOutcome,
    ) -> RunOutcome {
        let passing_on =
            PassesOn { completion, permit: Some(Arc::new(HeldPermits { view: Arc::clone(self), levels })) };
        let mut running = Running { view: self, levels, end: TaskEnd::Panicked, measured: self.measure() };
        let _held = HoldsPermits::of(&self.chain[..levels]);
        watch::start_if_certain(|| R::liveness(&item));
        let outcome = run(item, passing_on.completion);
        running.end = match outcome {
            RunOutcome::Ran => TaskEnd::Completed,
            RunOutcome::Dropped => TaskEnd::Dropped,
            _ => TaskEnd::Cancelled,
        };
        outcome
    }

    /// Runs a task on the calling worker, with the permits of the first `levels` of its views, which it has. `is_own` if the depth is
    /// bounded by the caller's own recursion.
    pub(super) fn run_on_caller(self: &Arc<Self>, item: R::Item, levels: usize, is_own: bool) -> bool {
        let mut item = Some(item);
        let body = |completion: &mut Completion| {
            let (Some(item), Some(mut own_state)) = (item.take(), self.engine().runner().spare_state()) else {
                return RunOutcome::Elsewhere;
            };
            self.tree.state.lock().count_start(&self.chain, levels);
            let mut run =
                |item, completion: &mut Completion| self.engine().runner().run(&mut own_state, item, completion);
            self.run_started(item, levels, completion, &mut run)
        };
        match is_own {
            true => current_worker::run_here_unbounded(self.engine().id(), body),
            false => current_worker::run_here(self.engine().id(), body),
        }
    }
}

/// Permits that a running task holds, of the first `levels` of its views.
struct HeldPermits<R: Runner, D: Dispatch> {
    view: Arc<View<R, D>>,
    levels: usize,
}

impl<R: Runner, D: Dispatch> Permit for HeldPermits<R, D> {
    fn release(self: Arc<Self>) {
        if self.levels > 0 {
            self.view.tree.release(&self.view.chain, self.levels);
        }
    }
}

/// Leaves the permits of a task with its completion when dropped, also by a panic: the pool has counted the end of the task when they are
/// released.
struct PassesOn<'a, R: Runner, D: Dispatch> {
    completion: &'a mut Completion,
    permit: Option<Arc<HeldPermits<R, D>>>,
}

impl<R: Runner, D: Dispatch> Drop for PassesOn<'_, R, D> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take().filter(|permit| permit.levels > 0) {
            self.completion.hold(permit);
        }
    }
}

/// Counts the end of a running task when dropped.
struct Running<'a, R: Runner, D: Dispatch> {
    view: &'a View<R, D>,
    levels: usize,
    end: TaskEnd,
    measured: Option<Measured>,
}

impl<R: Runner, D: Dispatch> Drop for Running<'_, R, D> {
    fn drop(&mut self) {
        if let Some(measured) = self.measured.take().filter(|_| self.end != TaskEnd::Cancelled) {
            measured.record();
        }
        let idle = self.view.tree.state.lock().count_end(&self.view.chain, self.levels, self.end);
        idle.into_iter().for_each(Waiter::wake);
    }
}

/// One more task is kept in views until this is dropped.
struct KeptInView<R: Runner, D: Dispatch>(Arc<ViewTree<R, D>>);

impl<R: Runner, D: Dispatch> Drop for KeptInView<R, D> {
    fn drop(&mut self) {
        self.0.left(1);
    }
}
