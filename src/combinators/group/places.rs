//! The limit of a group: its places, and how a submitter waits for one.

use std::sync::Arc;

use super::Group;
use super::member::{Shared, is_within};
use crate::engine::wait_queue::WaitNode;
use crate::engine::{SubmitOptions, WaitMode};
use crate::error::SubmitErrorKind;
use crate::queue::{DEFAULT_LANE, Dispatch};
use crate::sync::waiter::Waiter;
use crate::sync::{Thread, current};
use crate::task::block_permits;
use crate::task::handle::Joinable;
use crate::task::state::Permit;

/// A place within the group's limit. Dropped, it is given back.
pub(super) struct Place<T: Send + 'static, E: Send + 'static> {
    shared: Arc<Shared<T, E>>,
    /// It was left to the [`Permit`].
    is_left: bool,
}

impl<T: Send + 'static, E: Send + 'static> Place<T, E> {
    /// The task starts: from here on the place is a matter of its [`Permit`], which outlives the closure.
    pub(super) fn start(mut self) -> Arc<Shared<T, E>> {
        self.is_left = true;
        Arc::clone(&self.shared)
    }

    /// The task will not run in its group.
    pub(super) fn fail(self) {
        self.shared.fail();
    }
}

impl<T: Send + 'static, E: Send + 'static> Drop for Place<T, E> {
    fn drop(&mut self) {
        if !self.is_left {
            Arc::clone(&self.shared).release();
        }
    }
}

/// The place of a task that has run.
impl<T: Send + 'static, E: Send + 'static> Permit for Shared<T, E> {
    fn release(self: Arc<Self>) {
        let mut ledger = self.ledger.lock();
        ledger.taken -= 1;
        let ended = ledger.note_end(self.first_failure.get().copied());
        drop(ledger);
        drop(ended);
        self.wait_queue.notify_one(|_| self.ledger.lock().taken < self.limit);
    }
}

impl<T: Send + 'static, E: Send + 'static> Shared<T, E> {
    /// A place within the limit, if there is one and `keep` more.
    fn take_place(self: &Arc<Self>, keep: usize) -> Option<Place<T, E>> {
        let mut ledger = self.ledger.lock();
        let is_free = ledger.taken.saturating_add(keep) < self.limit;
        is_free.then(|| {
            ledger.taken += 1;
            Place { shared: Arc::clone(self), is_left: false }
        })
    }
}

impl<T: Send + 'static, E: Send + 'static, D: Dispatch> Group<T, E, D> {
    /// A place within the limit. Those who find none wait in wait_queue, and each that is free calls one.
    pub(super) fn find_place(
        &self,
        options: &SubmitOptions<'_>,
        mode: WaitMode,
    ) -> Result<Place<T, E>, SubmitErrorKind> {
        let (shared, is_inside) = (&self.shared, self.engine.is_inside());
        // Those in wait_queue came first.
        let take = || shared.take_place(shared.wait_queue.waiting());
        if let Some(place) = take() {
            return Ok(place);
        }
        if let WaitMode::Never = mode {
            return Err(options.cancelled().unwrap_or(SubmitErrorKind::Full));
        }
        let me = current();
        let _listening = shared.token.listen(Waiter::Thread(me.clone()));
        loop {
            // Not while it is in wait_queue: those behind it would wait for what it runs.
            while is_inside && options.cancelled().is_none() && self.run_next() {
                if let Some(place) = take() {
                    return Ok(place);
                }
            }
            let waiter = Waiter::Thread(me.clone());
            let node = shared.wait_queue.join(DEFAULT_LANE, usize::MAX, waiter).ok_or(SubmitErrorKind::Overloaded)?;
            if let Some(place) = self.wait_in_queue(options, &node, is_inside.then_some(&me))? {
                return Ok(place);
            }
        }
    }

    /// Waits for a place; `None` if `helper`, a worker of the pool, has a task to run meanwhile.
    fn wait_in_queue(
        &self,
        options: &SubmitOptions<'_>,
        node: &WaitNode<'_>,
        helper: Option<&Thread>,
    ) -> Result<Option<Place<T, E>>, SubmitErrorKind> {
        let shared = &self.shared;
        loop {
            let place = node.consume_notification(|| if node.is_head() { shared.take_place(0) } else { None });
            if place.is_some() {
                return Ok(place);
            }
            if let Some(kind) = options.cancelled() {
                return Err(kind);
            }
            let mut _helper = None;
            if let Some(me) = helper {
                let Some(ticket) = shared.ledger.lock().await_task(me) else { return Ok(None) };
                _helper = Some(Helper(shared, ticket));
            }
            // It would wait for the task that it is in the middle of.
            if is_within(shared) {
                return Err(SubmitErrorKind::WouldDeadlock);
            }
            let _guard = match block_permits::enter_wait(self.engine.id(), None) {
                Ok(guard) => guard,
                // They are younger than the caller, and do not wait for it.
                Err(_) if self.have_all_started() => block_permits::enter_wait_regardless(self.engine.id()),
                // One that has come since.
                Err(_) if shared.ledger.lock().has_task_to_try() => return Ok(None),
                Err(_) => return Err(SubmitErrorKind::WouldDeadlock),
            };
            node.wait(shared.token.deadline());
        }
    }

    /// Runs the oldest task that has not started on this worker, if there may be one left.
    pub(super) fn run_next(&self) -> bool {
        let next = self.shared.ledger.lock().next_to_try();
        next.map(Joinable::run_inside).is_some()
    }

    /// Looks at all tasks that are open; asked where a worker would otherwise be refused.
    fn have_all_started(&self) -> bool {
        self.shared.ledger.lock().open().all(|task| task.has_started())
    }
}

/// A worker that is listed as one that would rather run a task.
struct Helper<'a, T: Send + 'static, E: Send + 'static>(&'a Shared<T, E>, u64);

impl<T: Send + 'static, E: Send + 'static> Drop for Helper<'_, T, E> {
    fn drop(&mut self) {
        self.0.ledger.lock().remove(self.1);
    }
}
