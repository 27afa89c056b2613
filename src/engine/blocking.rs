//! How a submitter waits for room in a full pool: it spins, then queues up and parks. The last worker that could make room runs tasks
//! instead.

use std::ops::Deref;
use std::time::Duration;

use super::submit_options::{SubmitOptions, WaitMode};
use super::wait_queue::WaitNode;
use super::{Engine, Runner};
use crate::error::SubmitErrorKind;
use crate::queue::{Dispatch, LazyItem, Refused};
use crate::sync::clock;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, IS_CHECKED, current, spin_loop, yield_now};
use crate::task::blocked_workers;
use crate::task::current_worker::{self, CurrentPool};

/// Rounds of spinning before a submitter enters the wait queue, and the length of each: some microseconds in all, about what it costs to
/// park and be woken.
const SPIN_ROUNDS: usize = 2;
const SPINS_PER_ROUND: usize = if IS_CHECKED { 1 } else { 100 };

/// How long the first submitter in the wait queue parks before it asks to be notified, where the backlog keeps the workers busy for
/// longer: so many tasks for each worker, and so many in all. The workers finish several tasks in that time, and wake it once.
const PARK_WITHOUT_NOTIFICATION: Duration = Duration::from_micros(50);
const BACKLOG_PER_WORKER: usize = 8;
const BACKLOG_TOTAL: usize = 64;

/// A node in the wait queue. Blocked workers may count on this submitter to make progress ([`CurrentPool::progress_capacity`]). So when it
/// leaves, or was notified and found no room, the engine checks again whether they may stay blocked.
pub(super) struct WaitGuard<'e, R: Runner, D: Dispatch> {
    // Dropped in this order: the submitter has left before the waits are checked.
    node: WaitNode<'e>,
    _rechecks: RechecksWaits<'e, R, D>,
}

impl<'e, R: Runner, D: Dispatch> Deref for WaitGuard<'e, R, D> {
    type Target = WaitNode<'e>;

    fn deref(&self) -> &WaitNode<'e> {
        &self.node
    }
}

struct RechecksWaits<'e, R: Runner, D: Dispatch>(&'e Engine<R, D>);

impl<R: Runner, D: Dispatch> Drop for RechecksWaits<'_, R, D> {
    fn drop(&mut self) {
        if self.0.wait_queue.shares_room() {
            // What it has left may be another lane's.
            self.0.notify_blocked();
        }
        self.0.blocked_workers.shrink(|| self.0.progress_capacity());
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Blocks until the task is in, or the wait has to end.
    #[cold]
    pub(super) fn wait_for_room(
        self: &Arc<Self>,
        item: &mut dyn LazyItem<R::Item>,
        options: &SubmitOptions<'_>,
    ) -> Result<(), SubmitErrorKind> {
        if self.overflow(item, options)? {
            return Ok(());
        }
        if let WaitMode::Never = options.mode {
            return Err(SubmitErrorKind::Full);
        }
        if self.spin_before_wait(item, options)? {
            return Ok(());
        }
        let has_fallback = self.runner.spare_state().is_some();
        loop {
            let entered = match blocked_workers::enter_wait_for_room(self.id(), options.deadline(), has_fallback) {
                Ok(guard) => self.wait_in_queue(item, options, &guard),
                Err(blocked_workers::WouldDeadlock) => self.make_room(item, options.lane),
            };
            match entered {
                Err(SubmitErrorKind::WouldDeadlock) if blocked_workers::recheck(self.id()) => {}
                entered => break entered?,
            }
        }
        // After it has left the wait queue: this thread may become an inline worker, which the next submitters need not wait for.
        self.ensure_workers();
        Ok(())
    }

    /// Spins for a moment before the caller enters the wait queue. Returns whether the task is in. Meanwhile workers with small
    /// tasks make room for many, without a submitter that takes their cache lines for each; parking would cost more.
    fn spin_before_wait(
        self: &Arc<Self>,
        item: &mut dyn LazyItem<R::Item>,
        options: &SubmitOptions<'_>,
    ) -> Result<bool, SubmitErrorKind> {
        for _ in 0..SPIN_ROUNDS {
            if self.wait_queue.waiting() > 0 || options.end().is_some() {
                break;
            }
            (0..SPINS_PER_ROUND).for_each(|_| spin_loop());
            yield_now();
            if self.enter_now(item, options)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Enters the wait queue of the lane, unless too many submitters wait.
    pub(super) fn enqueue(&self, options: &SubmitOptions<'_>, waiter: Waiter) -> Option<WaitGuard<'_, R, D>> {
        let most = if options.is_inline { usize::MAX } else { self.settings.max_blocking() };
        let node = self.wait_queue.join(options.lane, most, waiter)?;
        // An inline submission may not run a spawn handler. The pool is full, so the next task that enters starts the worker.
        if !options.is_inline {
            self.grow_for_waiter();
        }
        Some(WaitGuard { node, _rechecks: RechecksWaits(self) })
    }

    /// Checks again whether workers may stay blocked. `false`.
    #[cfg(feature = "tower")]
    pub(super) fn recheck_blocked(&self) -> bool {
        self.blocked_workers.shrink(|| self.progress_capacity());
        false
    }

    /// The same when it is dropped.
    #[cfg(feature = "tower")]
    pub(super) fn rechecks_when_dropped(&self) -> impl Sized {
        RechecksWaits(self)
    }

    /// Tries again from the wait queue. Returns whether the task is in: then the caller has to leave the queue and to call
    /// [`ensure_workers`](Self::ensure_workers). Otherwise it has to wait again.
    pub(super) fn retry_from_wait_queue(
        self: &Arc<Self>,
        item: &mut (impl LazyItem<R::Item> + ?Sized),
        options: &SubmitOptions<'_>,
        node: &WaitNode<'_>,
    ) -> Result<bool, SubmitErrorKind> {
        let mut is_head = true;
        let answer = node.consume_notification(|| {
            is_head = node.is_head();
            match is_head {
                true => self.try_enter(item, options.lane, node.reserved()),
                false if self.lifecycle.is_closed() => Err(Refused::Closed),
                false => Err(Refused::Full),
            }
        });
        match answer {
            Ok(()) => Ok(true),
            Err(Refused::Closed) => Err(SubmitErrorKind::Closed),
            Err(Refused::Full) => {
                self.blocked_workers.shrink(|| self.progress_capacity());
                if !is_head {
                    // A future before it may never be polled.
                    self.pass_late_futures();
                }
                Ok(false)
            }
        }
    }

    fn wait_in_queue(
        self: &Arc<Self>,
        item: &mut dyn LazyItem<R::Item>,
        options: &SubmitOptions<'_>,
        guard: &blocked_workers::BlockGuard,
    ) -> Result<(), SubmitErrorKind> {
        let me = Waiter::Thread(current());
        let _listening = options.token.map(|token| token.listen(me.clone()));
        let Some(node) = self.enqueue(options, me) else { return Err(SubmitErrorKind::Overloaded) };
        let mut may_park_first = self.has_backlog() && !IS_CHECKED;
        loop {
            if self.retry_from_wait_queue(item, options, &node)? {
                return Ok(());
            }
            if may_park_first && node.is_head() {
                may_park_first = false;
                let end = clock::now() + PARK_WITHOUT_NOTIFICATION;
                guard.park(|| node.timed_park(options.deadline().map_or(end, |deadline| end.min(deadline))));
                continue;
            }
            if guard.is_evicted() {
                drop(node);
                return self.make_room(item, options.lane);
            }
            if let Some(kind) = options.end() {
                return Err(kind);
            }
            guard.park(|| node.wait(options.deadline()));
        }
    }

    /// Whether a full queue keeps the workers busy for longer than [`PARK_WITHOUT_NOTIFICATION`].
    fn has_backlog(&self) -> bool {
        let most = BACKLOG_TOTAL.max(self.capacity().saturating_mul(BACKLOG_PER_WORKER));
        self.settings.queue().is_some_and(|queue| queue >= most)
    }

    /// The caller is the last worker that could make room. It runs queued tasks until there is room, or the task itself where nothing is
    /// queued.
    fn make_room(self: &Arc<Self>, item: &mut dyn LazyItem<R::Item>, lane: usize) -> Result<(), SubmitErrorKind> {
        loop {
            match self.try_enter(item, lane, 0) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed) => return Err(SubmitErrorKind::Closed),
                Err(Refused::Full) if self.help() => {}
                Err(Refused::Full) => return self.run_nested_instead(item),
            }
        }
    }

    /// Runs the task on the calling worker, within the one that it is running.
    fn run_nested_instead(&self, item: &mut dyn LazyItem<R::Item>) -> Result<(), SubmitErrorKind> {
        let Some(mut state) = self.runner.spare_state() else { return Err(SubmitErrorKind::WouldDeadlock) };
        let has_run = current_worker::run_here(self.id(), |completion| {
            self.note_direct();
            self.runner.run(&mut state, item.build(), completion)
        });
        if has_run { Ok(()) } else { Err(SubmitErrorKind::WouldDeadlock) }
    }
}
