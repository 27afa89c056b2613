//! The limit of a group: its permits, and how a submitter waits for one.

use std::sync::Arc;

use super::Group;
use super::member::{Shared, is_within};
use crate::engine::wait_queue::WaitNode;
use crate::engine::{SubmitOptions, WaitMode};
use crate::error::SubmitErrorKind;
use crate::queue::{DEFAULT_LANE, Dispatch};
use crate::sync::waiter::Waiter;
use crate::sync::{Thread, current};
use crate::task::blocked_workers::{self, BlockGuard};
use crate::task::handle::Joinable;
use crate::task::state::Permit;

/// A permit within the group's limit. Dropping it releases it.
pub(super) struct GroupPermit<T: Send + 'static, E: Send + 'static> {
    shared: Arc<Shared<T, E>>,
    /// The task has started, and its [`Permit`] releases this one.
    is_started: bool,
}

impl<T: Send + 'static, E: Send + 'static> GroupPermit<T, E> {
    /// Called when the task starts. From then on its [`Permit`], which outlives the closure, is in charge of the release.
    pub(super) fn start(mut self) -> Arc<Shared<T, E>> {
        self.is_started = true;
        Arc::clone(&self.shared)
    }

    /// Called when the task will not run in its group.
    pub(super) fn fail(self) {
        self.shared.fail();
    }
}

impl<T: Send + 'static, E: Send + 'static> Drop for GroupPermit<T, E> {
    fn drop(&mut self) {
        if !self.is_started {
            Arc::clone(&self.shared).release();
        }
    }
}

/// Releases the permit of a task that has run, after its end has been counted.
impl<T: Send + 'static, E: Send + 'static> Permit for Shared<T, E> {
    fn release(self: Arc<Self>) {
        let mut ledger = self.ledger.lock();
        ledger.taken -= 1;
        let ended = ledger.record_end(self.first_failure.get().copied());
        drop(ledger);
        drop(ended);
        self.wait_queue.notify_heads(|_, _| self.ledger.lock().taken < self.limit);
    }
}

impl<T: Send + 'static, E: Send + 'static> Shared<T, E> {
    /// Takes a permit, if one is free besides `reserved` for earlier waiters.
    fn try_acquire(self: &Arc<Self>, reserved: usize) -> Option<GroupPermit<T, E>> {
        let mut ledger = self.ledger.lock();
        let is_free = ledger.taken.saturating_add(reserved) < self.limit;
        is_free.then(|| {
            ledger.taken += 1;
            GroupPermit { shared: Arc::clone(self), is_started: false }
        })
    }
}

impl<T: Send + 'static, E: Send + 'static, D: Dispatch> Group<T, E, D> {
    /// Waits for a permit as `mode` says. Submitters that find none free join the wait queue, and each release notifies one of them.
    pub(super) fn acquire(
        &self,
        options: &SubmitOptions<'_>,
        mode: WaitMode,
    ) -> Result<GroupPermit<T, E>, SubmitErrorKind> {
        let (shared, is_inside) = (&self.shared, self.engine.is_inside());
        // Submitters in the wait queue came first.
        let try_acquire = || shared.try_acquire(shared.wait_queue.waiting());
        if let Some(permit) = try_acquire() {
            return Ok(permit);
        }
        if let WaitMode::Never = mode {
            return Err(options.cancelled().unwrap_or(SubmitErrorKind::Full));
        }
        let me = current();
        let _listening = shared.token.listen(Waiter::Thread(me.clone()));
        loop {
            // Not while it is in the wait queue: those behind it would wait for the tasks that it runs.
            while is_inside && options.cancelled().is_none() && self.run_next() {
                if let Some(permit) = try_acquire() {
                    return Ok(permit);
                }
            }
            let waiter = Waiter::Thread(me.clone());
            let node = shared.wait_queue.join(DEFAULT_LANE, usize::MAX, waiter).ok_or(SubmitErrorKind::Overloaded)?;
            if let Some(permit) = self.wait_in_queue(options, &node, is_inside.then_some(&me))? {
                return Ok(permit);
            }
        }
    }

    /// Waits for a permit; `None` if `helper`, a worker of the pool, has a task to run meanwhile.
    fn wait_in_queue(
        &self,
        options: &SubmitOptions<'_>,
        node: &WaitNode<'_>,
        helper: Option<&Thread>,
    ) -> Result<Option<GroupPermit<T, E>>, SubmitErrorKind> {
        let (shared, mut waits) = (&self.shared, None::<BlockGuard>);
        loop {
            let permit = node.consume_notification(|| if node.is_head() { shared.try_acquire(0) } else { None });
            if permit.is_some() {
                return Ok(permit);
            }
            if let Some(kind) = options.cancelled() {
                return Err(kind);
            }
            let mut _helper = None;
            if let Some(me) = helper {
                let Some(ticket) = shared.ledger.lock().await_task(me) else { return Ok(None) };
                _helper = Some(Helper(shared, ticket));
            }
            // It would wait for the task that it is running.
            if is_within(shared) {
                return Err(SubmitErrorKind::WouldDeadlock);
            }
            if let Some(guard) = waits.take_if(|guard| !guard.is_evicted()) {
                guard.park(|| node.wait(shared.token.deadline()));
                waits = Some(guard);
                continue;
            }
            // Looks once more before it parks, now that it counts as blocked.
            drop(waits.take());
            waits = Some(match blocked_workers::enter_wait(self.engine.id(), None) {
                Ok(guard) => guard,
                // All are younger than the caller's task, and so do not wait for it.
                Err(_) if self.have_all_started() => blocked_workers::enter_wait_regardless(self.engine.id()),
                // A task was added since.
                Err(_) if shared.ledger.lock().has_task_to_try() => return Ok(None),
                Err(_) if blocked_workers::recheck(self.engine.id()) => continue,
                Err(_) => return Err(SubmitErrorKind::WouldDeadlock),
            });
        }
    }

    /// Tries to run the oldest untried task on this worker. Returns whether there was one.
    pub(super) fn run_next(&self) -> bool {
        let next = self.shared.ledger.lock().next_to_try();
        next.map(Joinable::run_inside).is_some()
    }

    /// Whether all open tasks have started. Checks each, and is called only where a worker would otherwise be refused.
    fn have_all_started(&self) -> bool {
        self.shared.ledger.lock().open().all(|task| task.has_started())
    }
}

/// The registration of a worker that can run a task while it waits.
struct Helper<'a, T: Send + 'static, E: Send + 'static>(&'a Shared<T, E>, u64);

impl<T: Send + 'static, E: Send + 'static> Drop for Helper<'_, T, E> {
    fn drop(&mut self) {
        self.0.ledger.lock().remove(self.1);
    }
}
