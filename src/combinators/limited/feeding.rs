//! From a view to the pool: by turns, and out of turn.

use std::collections::btree_map::Entry;
use std::task::Wake;

use super::errand::Errand;
use super::place::{Place, run_in_place};
use super::turn::Turn;
use super::view::{Placed, State, View};
use crate::engine::{SubmitOptions, SweptView, WaitMode};
use crate::queue::Dispatch;
use crate::sync::waiter::Waiter;
use crate::sync::waking;
use crate::sync::{Arc, MutexGuard};
use crate::task::closure::Task;
use crate::task::current_worker;
use crate::task::in_view::ViewOps;
use crate::task::liveness::Liveness;
use crate::task::state::{Completion, RunOutcome};
use crate::task::withdrawn::Withdrawn;

/// What has to run before a task can start, or that itself.
#[derive(Clone, Copy)]
enum Next {
    /// It has a place.
    Placed(u64),
    /// It waits for one, but may have that of a submitter which is not in the pool yet.
    Lent(u64),
}

/// What came of the sending of a turn.
enum Sent {
    In,
    /// It waits at the pool's door.
    Later,
    /// The pool is closed, or has no thread: nobody will run the task, which is here without its place.
    Back(Option<Task>),
}

impl Next {
    fn number(self) -> u64 {
        let (Next::Placed(number) | Next::Lent(number)) = self;
        number
    }
}

impl<D: Dispatch> View<D> {
    /// A place is free again.
    pub(super) fn release_place(self: &Arc<Self>) {
        self.state.lock().places -= 1;
        self.feed();
    }

    /// Gives the free places to those that wait longest.
    pub(super) fn feed(self: &Arc<Self>) {
        // From here on a worker that waits for one of these tasks may count on this thread.
        let inflight = self.engine.inflight();
        let (mut unwanted, mut awaiting) = (Vec::new(), Vec::new());
        let mut state = self.state.lock();
        // One at a time: whoever else has a place to give leaves it to that one.
        if std::mem::replace(&mut state.is_feeding, true) {
            return;
        }
        while state.places < self.limit {
            let Some((number, task)) = state.waiting.pop_first() else { break };
            if task.liveness() == Liveness::Dead {
                awaiting.extend(state.awaiting.leave(number));
                self.engine.left_views(1);
                unwanted.push(task);
                continue;
            }
            state.places += 1;
            state.placed.insert(number, Placed { task, is_queued: false });
            awaiting.append(&mut state.awaiting.take());
            drop(state);
            let sent = self.send(number);
            state = self.state.lock();
            match sent {
                Sent::In => self.note_queued(&mut state, number),
                Sent::Later => {}
                Sent::Back(task) => unwanted.extend(task),
            }
        }
        state.is_feeding = false;
        drop(state);
        drop(inflight);
        self.notify_blocked();
        // Somebody else's code, and so when no place depends on it any more. Mostly there is none.
        if !awaiting.is_empty() {
            awaiting.into_iter().for_each(Waiter::wake);
        }
        if !unwanted.is_empty() {
            unwanted.into_iter().for_each(|task| self.discard(task));
        }
    }

    /// Has the workers look again that await a task without a place.
    pub(super) fn wake_awaiting(&self) {
        let awaiting = self.state.lock().awaiting.take();
        awaiting.into_iter().for_each(Waiter::wake);
    }

    /// Lets the first in line try, if there is room.
    fn notify_blocked(&self) {
        self.wait_queue.notify_one(|_| {
            let state = self.state.lock();
            self.has_place(&state, 0) || self.has_room(&state, 0)
        });
    }

    /// Sends the turn of a task with a place to the pool: at once, or from the pool's line when its time comes.
    fn send(self: &Arc<Self>, number: u64) -> Sent {
        let options = SubmitOptions::from(WaitMode::Forever).inline().bounded();
        let mut turn = Some(Task::from_body(Turn::of(number, self)));
        match self.engine.enter_now(&mut turn, &options) {
            Ok(false) => {
                turn.into_iter().for_each(|turn| self.send_later(number, turn, options));
                Sent::Later
            }
            Ok(true) => {
                self.engine.left_views(1);
                Sent::In
            }
            Err(_) => {
                self.engine.left_views(1);
                // Before the turn goes, which would drop the task.
                Sent::Back(self.take_back(number))
            }
        }
    }

    /// The task of a turn that is not to come, without its place.
    fn take_back(&self, number: u64) -> Option<Task> {
        let mut state = self.state.lock();
        let placed = state.placed.remove(number)?;
        state.places -= 1;
        Some(placed.task)
    }

    /// The turn of a task has come into the pool's queue.
    fn note_queued(&self, state: &mut State, number: u64) {
        self.engine.note_cancellable(None);
        if let Some(placed) = state.placed.get_mut(number) {
            placed.is_queued = true;
        }
    }

    fn send_later(self: &Arc<Self>, number: u64, turn: Task, options: SubmitOptions<'static>) {
        let (view, kept) = (Arc::clone(self), KeptInView(Arc::clone(self)));
        let errand = Errand::new(async move {
            let entered = view.engine.submit_async(turn, options).await;
            let mut state = view.state.lock();
            let errand = state.at_door.remove(&number);
            if entered.is_ok() {
                view.note_queued(&mut state, number);
            }
            drop(state);
            drop((errand, kept));
            // A guest's work and the drop of a task are somebody else's code.
            waking::defer(move || match entered {
                Ok(()) => view.engine.ensure_workers(),
                Err(refusal) => drop(refusal),
            });
        });
        let mut state = self.state.lock();
        // Perhaps it has been taken out of turn meanwhile.
        let is_placed = state.placed.contains(number);
        if is_placed {
            state.at_door.insert(number, Arc::clone(&errand));
        }
        drop(state);
        if is_placed {
            errand.wake();
        }
    }

    /// What a task can expect whose turn is in the pool.
    pub(super) fn liveness(&self, task: u64) -> Liveness {
        self.state.lock().placed.get(task).map_or(Liveness::Dead, |placed| placed.task.liveness())
    }

    /// The task whose turn has come, with its place, unless it was taken out of turn. If it starts, it is counted.
    pub(super) fn take_turn(&self, task: u64, starts: bool) -> Option<Task> {
        let mut state = self.state.lock();
        let task = self.end_turn(&mut state, task).ok()?;
        if starts {
            state.start();
        }
        Some(task)
    }

    /// A turn will not come: the pool has not taken it in.
    pub(super) fn lose_turn(self: &Arc<Self>, task: u64) {
        let ended = self.end_turn(&mut self.state.lock(), task);
        match ended {
            Ok(task) => {
                // Free when the task is gone.
                let _place = Place::of(self);
                self.discard(task);
            }
            // The pool has counted its end.
            Err(true) => self.engine.note_direct(),
            Err(false) => {}
        }
    }

    /// The task of a turn that is over. If there is none: whether the turn stood for nothing.
    fn end_turn(&self, state: &mut State, number: u64) -> Result<Task, bool> {
        if let Some(placed) = state.placed.remove(number) {
            return Ok(placed.task);
        }
        let Entry::Occupied(mut void) = state.void.entry(number) else { return Err(false) };
        *void.get_mut() -= 1;
        if *void.get() == 0 {
            void.remove();
        }
        self.withdrawn().inspect(|withdrawn| withdrawn.clear());
        Err(true)
    }

    /// A turn stands for nothing from here on. Under the lock, so that whoever finds it void finds it counted.
    fn void_turn(&self, state: &mut State, number: u64, fate: RunOutcome) {
        *state.void.entry(number).or_default() += 1;
        self.withdrawn().inspect(|withdrawn| withdrawn.add(fate == RunOutcome::Cancelled));
    }

    /// Takes a task that has a place out of turn; `fate` is what becomes of it. The place is the caller's.
    fn take_out_of_turn(&self, mut state: MutexGuard<'_, State>, number: u64, fate: RunOutcome) -> Option<Task> {
        let placed = state.placed.remove(number)?;
        self.void_turn(&mut state, number, fate);
        let at_door = state.at_door.remove(&number);
        drop(state);
        if let Some(errand) = at_door {
            errand.give_up();
        }
        Some(placed.task)
    }

    /// A task comes into the pool with its place; or, if that is lent, waits for another one. Says whether it is.
    pub(super) fn come_in(&self, state: &mut State, number: u64, task: Task) -> bool {
        state.entering -= 1;
        let is_lent = state.lent > 0;
        if is_lent {
            state.lent -= 1;
            self.engine.keep_in_view(false);
            state.waiting.insert(number, task);
            // In the pool's figures it is the turn of the task that has got the place.
            self.void_turn(state, number, RunOutcome::Elsewhere);
        } else {
            state.placed.insert(number, Placed { task, is_queued: true });
        }
        is_lent
    }

    /// A submitter does not come into the pool with its place.
    pub(super) fn turn_away(&self, place: Place<D>) {
        let mut state = self.state.lock();
        state.entering -= 1;
        let is_lent = state.lent > 0;
        state.lent -= usize::from(is_lent);
        drop(state);
        if is_lent {
            drop(place.leave());
            self.engine.note_direct();
        }
    }

    /// What a task that has not started needs next.
    fn next_for(&self, state: &State, task: u64) -> Option<Next> {
        if state.placed.contains(task) {
            return Some(Next::Placed(task));
        }
        if !state.waiting.contains(task) {
            return None;
        }
        let can_lend = state.entering > state.lent;
        let lent = state.waiting.first().filter(|_| can_lend).map(Next::Lent);
        let next = state.placed.first().map(Next::Placed).or(lent);
        next.filter(|next| next.number() == task || !current_worker::is_too_deep())
    }

    /// Takes a task out of turn, with its place or one that is lent, unless others were faster.
    fn take(&self, next: Next) -> Option<Task> {
        let mut state = self.state.lock();
        match next {
            Next::Placed(number) => self.take_out_of_turn(state, number, RunOutcome::Elsewhere),
            Next::Lent(number) => {
                let can_lend = state.entering > state.lent;
                let task = if can_lend { state.waiting.remove(number) } else { None }?;
                state.lent += 1;
                let awaiting = state.awaiting.leave(number);
                drop(state);
                awaiting.into_iter().for_each(Waiter::discard);
                self.engine.left_views(1);
                Some(task)
            }
        }
    }

    /// Runs a task on this worker.
    fn run_out_of_turn(self: &Arc<Self>, next: Next, completion: &mut Completion) -> RunOutcome {
        let Some(task) = self.take(next) else { return RunOutcome::Elsewhere };
        self.state.lock().start();
        run_in_place(self, task, completion)
    }

    /// Where the pool counts turns that stand for nothing.
    fn withdrawn(&self) -> Option<&'static Withdrawn> {
        self.engine.id().withdrawn()
    }
}

/// One more task is kept in views until this is dropped.
struct KeptInView<D: Dispatch>(Arc<View<D>>);

impl<D: Dispatch> Drop for KeptInView<D> {
    fn drop(&mut self) {
        self.0.engine.left_views(1);
    }
}

impl<D: Dispatch> ViewOps for View<D> {
    fn withdraw(self: Arc<Self>, task: u64, fate: RunOutcome) {
        let mut state = self.state.lock();
        if let Some(task_ref) = state.waiting.remove(task) {
            let awaiting = state.awaiting.leave(task);
            drop(state);
            self.engine.left_views(1);
            self.discard(task_ref);
            self.notify_blocked();
            awaiting.into_iter().for_each(Waiter::discard);
        } else if let Some(task_ref) = self.take_out_of_turn(state, task, fate) {
            drop(task_ref);
            self.release_place();
        }
    }

    fn can_run_next(&self, task: u64) -> bool {
        self.next_for(&self.state.lock(), task).is_some()
    }

    fn is_queued(&self, task: u64) -> bool {
        self.state.lock().is_queued(task)
    }

    fn has_next(&self, task: u64, are_free: &dyn Fn() -> bool, waiter: Waiter) -> bool {
        let worker = current_worker::worker_of(self.engine.id());
        let mut state = self.state.lock();
        let unused = match worker.filter(|_| state.waiting.contains(task)) {
            Some(worker) => state.awaiting.enter(worker, task, waiter),
            None => Some(waiter),
        };
        let next = self.next_for(&state, task).map(|next| (state.is_queued(next.number()), next));
        drop(state);
        unused.into_iter().for_each(Waiter::discard);
        match next {
            // Asked after the waiter was left: who comes later tells it.
            Some((is_queued, Next::Placed(_))) => !is_queued || !are_free(),
            Some((_, Next::Lent(_))) => true,
            None => false,
        }
    }

    fn forget(&self, task: u64) {
        let awaiting = self.state.lock().awaiting.leave(task);
        awaiting.into_iter().for_each(Waiter::discard);
    }

    fn forget_caller(&self, task: u64) {
        let Some(worker) = current_worker::worker_of(self.engine.id()) else { return };
        let awaiting = self.state.lock().awaiting.leave_by(worker, task);
        awaiting.into_iter().for_each(Waiter::discard);
    }

    fn run(self: Arc<Self>, task: u64) {
        let is_placed = self.state.lock().placed.contains(task);
        if is_placed {
            let run = |completion: &mut Completion| self.run_out_of_turn(Next::Placed(task), completion);
            current_worker::run_here_unbounded(self.engine.id(), run);
        }
    }

    fn run_next(self: Arc<Self>, task: u64) -> bool {
        let Some(next) = self.next_for(&self.state.lock(), task) else { return false };
        let run = |completion: &mut Completion| self.run_out_of_turn(next, completion);
        match next.number() == task {
            true => current_worker::run_here_unbounded(self.engine.id(), run),
            false => current_worker::run_here(self.engine.id(), run),
        }
    }
}

impl<D: Dispatch> SweptView for View<D> {
    fn sweep(&self, is_dead: &mut dyn FnMut(Liveness) -> bool) -> Vec<Task> {
        let mut state = self.state.lock();
        let dead = state.waiting.extract(|task| is_dead(task.liveness()));
        drop(state);
        self.engine.left_views(dead.len());
        dead
    }

    fn discard_all(&self, swept: Vec<Task>) {
        swept.into_iter().for_each(|task| self.discard(task));
        self.notify_blocked();
        self.wake_awaiting();
    }
}
