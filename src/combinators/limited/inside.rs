//! Workers of the pool that wait for a task of a view: which task they can run meanwhile, and with which permits.

use super::state::{State, Unstarted};
use super::stats::TaskEnd;
use super::view::View;
use crate::engine::Runner;
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::sync::waiter::Waiter;
use crate::task::current_worker;
use crate::task::in_view::{ViewTasks, missing_permits};
use crate::task::state::RunOutcome;

/// What the calling worker can run: the task that it waits for, or another that keeps this one from its permits.
#[derive(Clone, Copy)]
enum Next {
    /// A task that has its permits.
    Permitted(u64),
    /// The task itself, which waits, or the first of its key: with free permits of the first `missing` of its views, and for the others
    /// those that the worker holds.
    Waiting { number: u64, missing: usize },
    /// The same, with the permits of a submitter that is about to enter the pool and may have to wait for this worker there.
    Revoking { number: u64, missing: usize },
}

impl Next {
    /// The task that runs next.
    fn number(self) -> u64 {
        match self {
            Next::Permitted(number) | Next::Waiting { number, .. } | Next::Revoking { number, .. } => number,
        }
    }
}

impl<R: Runner, D: Dispatch> View<R, D> {
    fn next_for(&self, state: &State<R, D>, task: u64) -> Option<Next> {
        self.engine().runner().spare_state()?;
        if state.permitted.contains(task) {
            return Some(Next::Permitted(task));
        }
        if !state.is_waiting(self.id(), task) {
            return None;
        }
        let missing = missing_permits(&self.chain);
        let number = if self.lane.is_some() { state.first_waiting(self.id())? } else { task };
        if self.lane.is_some() && (missing == 0 || number != task && current_worker::is_too_deep()) {
            return None;
        }
        let views = &self.chain[..missing];
        if state.has_permits(views) {
            return Some(Next::Waiting { number, missing });
        }
        let in_the_way = state.permitted.iter().find(|(_, other)| {
            let holds_one = |view| other.task.view.chain.contains(view);
            views.iter().any(|view| holds_one(view) && !state.has_permits(std::slice::from_ref(view)))
        });
        match in_the_way {
            Some((number, _)) if !current_worker::is_too_deep() => Some(Next::Permitted(number)),
            Some(_) => None,
            None => state.find_revocable(views).map(|_| Next::Revoking { number, missing }),
        }
    }

    /// Takes a task to run it on this worker, unless others were faster. Returns for how many of its views it has permits.
    fn take_next(&self, next: Next) -> Option<(Unstarted<R, D>, usize)> {
        let mut state = self.tree.state.lock();
        let (number, missing) = match next {
            Next::Permitted(number) => {
                let task = self.tree.take_permitted(state, number, RunOutcome::Elsewhere)?;
                let levels = task.view.chain.len();
                return Some((task, levels));
            }
            Next::Waiting { number, missing } | Next::Revoking { number, missing } => (number, missing),
        };
        let views = &self.chain[..missing];
        let is_overtaken = self.lane.is_some() && state.first_waiting(self.id()) != Some(number);
        if is_overtaken || !state.is_waiting(self.id(), number) {
            return None;
        }
        if !state.has_permits(views) {
            let revoked = state.find_revocable(views)?;
            state.revoke(&revoked);
        }
        let taken = state.remove_waiting(&self.chain, number)?;
        state.acquire(views);
        let awaiting = state.awaiting.leave(number);
        drop(state);
        awaiting.into_iter().for_each(Waiter::discard);
        self.tree.left(1);
        // It has not come through the queue.
        self.engine().note_direct();
        Some((taken, missing))
    }

    /// Whether there was anything to run, which others may have taken meanwhile.
    fn run_taken(&self, next: Next, task: u64) -> bool {
        let is_own = next.number() == task;
        if let Some((taken, levels)) = self.take_next(next) {
            let view = Arc::clone(&taken.view);
            view.run_on_caller(taken.item, levels, is_own);
        }
        true
    }
}

impl<R: Runner, D: Dispatch> ViewTasks for View<R, D> {
    fn withdraw(self: Arc<Self>, task: u64) {
        let mut state = self.tree.state.lock();
        if let Some(unstarted) = state.remove_waiting(&self.chain, task) {
            let awaiting = state.awaiting.leave(task);
            drop(state);
            self.tree.left(1);
            unstarted.discard();
            self.tree.notify_blocked();
            awaiting.into_iter().for_each(Waiter::discard);
        } else if let Some(unstarted) = self.tree.take_permitted(state, task, RunOutcome::Cancelled) {
            drop(unstarted);
            self.engine().tell_cancelled();
            Unstarted::count_unstarted(&self, TaskEnd::Cancelled);
            self.release_all();
        }
    }

    fn is_behind_caller(&self) -> bool {
        self.lane.is_some() && missing_permits(&self.chain) == 0
    }

    fn can_run_next(&self, task: u64) -> bool {
        self.next_for(&self.tree.state.lock(), task).is_some()
    }

    fn has_next(&self, task: u64, are_free: &dyn Fn() -> bool, waiter: Waiter) -> bool {
        let worker = current_worker::worker_of(self.engine().id());
        let mut state = self.tree.state.lock();
        let unused = match worker.filter(|_| state.is_waiting(self.id(), task)) {
            Some(worker) => state.awaiting.enter(worker, task, waiter),
            None => Some(waiter),
        };
        let next = self.next_for(&state, task);
        let is_queued = matches!(next, Some(Next::Permitted(number)) if state.is_queued(number));
        drop(state);
        unused.into_iter().for_each(Waiter::discard);
        match next {
            // Called after the waiter was left: a task that comes later wakes it.
            Some(Next::Permitted(_)) => !is_queued || !are_free(),
            Some(Next::Waiting { .. } | Next::Revoking { .. }) => true,
            None => false,
        }
    }

    fn forget(&self, task: u64) {
        let awaiting = self.tree.state.lock().awaiting.leave(task);
        awaiting.into_iter().for_each(Waiter::discard);
    }

    fn forget_caller(&self, task: u64) {
        let Some(worker) = current_worker::worker_of(self.engine().id()) else { return };
        let awaiting = self.tree.state.lock().awaiting.leave_by(worker, task);
        awaiting.into_iter().for_each(Waiter::discard);
    }

    fn run(self: Arc<Self>, task: u64) {
        let next = self.next_for(&self.tree.state.lock(), task);
        match next {
            Some(next) if next.number() != task => {}
            Some(Next::Revoking { .. }) | None => {}
            Some(next) => _ = self.run_taken(next, task),
        }
    }

    fn run_next(self: Arc<Self>, task: u64) -> bool {
        let next = self.next_for(&self.tree.state.lock(), task);
        next.is_some_and(|next| self.run_taken(next, task))
    }
}
