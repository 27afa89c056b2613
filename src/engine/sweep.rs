//! Sweeping: removing dead tasks from the queue before a submitter is refused, or waits, for want of room.
//!
//! Cancelling is lazy: a token does not know the tasks that have it, and a handle does not know the queue. So a submitter that finds the
//! queue full sweeps it, if something in it may have died since the last sweep. Three cheap checks tell: the stale entries of
//! withdrawn tasks are counted, each cancelled token increments a number of the process, and the earliest deadline of a queued task is
//! kept.

use std::time::Instant;

use super::counters::count;
use super::observer::TaskEnd;
use super::views::Discard;
use super::{Engine, Runner};
use crate::cancel::{self, CancelToken, earlier};
use crate::error::{Cause, SubmitErrorKind};
use crate::queue::Dispatch;
use crate::sync::clock;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, fence_after_rmw};
use crate::task::liveness::Liveness;
use crate::task::state::{Retracted, RunOutcome};

/// So few stale entries are left alone.
const MIN_STALE: usize = 64;

/// What is known of the queue since its last sweep.
#[derive(Default)]
pub(super) struct Sweeps {
    /// Whether the queue may contain tasks that can be cancelled.
    has_cancellable: AtomicBool,
    /// Whether a sweep has ever found anything.
    has_found: AtomicBool,
    /// Sweeps under way, which may not have counted yet what they have found.
    under_way: AtomicUsize,
    /// Held during a sweep.
    last: Mutex<LastSweep>,
}

#[derive(Default)]
struct LastSweep {
    /// How many tokens of the process had been cancelled when it began.
    cancellations: u64,
    /// The earliest deadline of a task in the queue.
    deadline: Option<Instant>,
}

impl LastSweep {
    fn is_outdated(&self) -> bool {
        self.cancellations != cancel::cancellations() || self.deadline.is_some_and(|at| at <= clock::now())
    }
}

impl Sweeps {
    /// Records that a task which can be cancelled was queued.
    pub(super) fn note(&self, deadline: Option<Instant>) {
        // ORDERING: Relaxed, and after the push: a sweep that clears the mark before this reads it finds the task.
        if !self.has_cancellable.load(Ordering::Relaxed) {
            self.has_cancellable.store(true, Ordering::Relaxed);
        }
        if deadline.is_some() {
            let mut last = self.last.lock();
            last.deadline = earlier(last.deadline, deadline);
        }
    }

    /// Whether a sweep may not have counted yet what it has found. Call it after reading the queue's figures that the sweep may explain.
    pub(super) fn is_under_way(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `Counting`: a thread that sees the end of a sweep sees its counts.
        self.under_way.load(Ordering::Acquire) > 0
    }
}

/// A sweep is under way until this is dropped.
struct Counting<'a>(&'a Sweeps);

impl<'a> Counting<'a> {
    fn begin(sweeps: &'a Sweeps) -> Self {
        // ORDERING: Relaxed. A thread that finds the queue emptied by the sweep sees this through the queue's lock.
        sweeps.under_way.fetch_add(1, Ordering::Relaxed);
        Counting(sweeps)
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        // ORDERING: Release, see `Sweeps::is_under_way`.
        self.0.under_way.fetch_sub(1, Ordering::Release);
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Records that a task was queued that can be cancelled, by this token if there is one.
    pub(crate) fn note_cancellable(&self, token: Option<&CancelToken>) {
        self.sweeps.note(token.and_then(CancelToken::deadline));
    }

    /// Removes dead tasks from the queue and from the pool's views, if there may be any. Returns whether there may be room because of
    /// that; another submitter's sweep may have made it.
    #[cold]
    pub(crate) fn sweep(&self) -> bool {
        let has_withdrawn = self.id().stale_entries() > 0;
        // The order matters. A thread that misses a mark which another sweep has cleared finds that sweep under way and waits for it, or
        // knows what it has found. Otherwise the submitter would be refused although room is being made.
        // ORDERING: Acquire pairs with the Release in `sweep_queue`.
        let has_cancellable = self.sweeps.has_cancellable.load(Ordering::Acquire);
        if has_withdrawn || has_cancellable || self.sweeps.is_under_way() {
            let last = self.sweeps.last.lock();
            if has_withdrawn || last.is_outdated() {
                self.sweep_queue(last);
                return true;
            }
        }
        // ORDERING: Relaxed. It is set before the lock is released and before the sweep ends.
        self.sweeps.has_found.load(Ordering::Relaxed)
    }

    /// Sweeps if most of the queue is stale entries, so that a loop which withdraws tasks uses bounded memory.
    #[inline]
    pub(crate) fn sweep_if_worth_it(&self) {
        if self.id().stale_entries() > MIN_STALE {
            self.sweep_if_mostly_dead();
        }
    }

    #[cold]
    fn sweep_if_mostly_dead(&self) {
        if self.id().stale_entries() > self.queue.load().queued / 2 {
            self.sweep_queue(self.sweeps.last.lock());
        }
    }

    fn sweep_queue(&self, last: MutexGuard<'_, LastSweep>) {
        let counting = Counting::begin(&self.sweeps);
        let (dead, views) = self.take_out_dead(last);
        let makes_room = !dead.is_empty();
        let captured: Vec<_> = dead.into_iter().filter_map(|item| self.discard_dead(item)).collect();
        drop(counting);
        // ORDERING: SeqCst fence between the end of the count, a read-modify-write, and the looks for waiters and sleepers below.
        fence_after_rmw();
        self.notify_if_watched();
        // A queue may have moved live tasks to where they are found only now (parking.md).
        self.wake();
        if makes_room {
            // Only then: the head of the wait queue may be the submitter that sweeps, and would notify itself again and again.
            self.notify_blocked();
        }
        for input in captured {
            self.catch_user_panic(|| drop(input));
        }
        views.into_iter().for_each(|discard| discard());
    }

    /// Takes the dead tasks out of the queue and of the views, and records what is known of the rest.
    fn take_out_dead(&self, mut last: MutexGuard<'_, LastSweep>) -> (Vec<R::Item>, Vec<Discard>) {
        // ORDERING: Release, see `sweep`. It comes before the sweep, see `Sweeps::note`.
        self.sweeps.has_cancellable.store(false, Ordering::Release);
        // Read before the sweep: what is cancelled meanwhile is left to the next one.
        *last = LastSweep { cancellations: cancel::cancellations(), deadline: None };
        let (mut any_cancellable, deadline) = (false, &mut last.deadline);
        let mut is_dead = |liveness| match liveness {
            Liveness::Dead => true,
            Liveness::Runs | Liveness::RunsUnlessTaken => false,
            Liveness::Cancellable(at) => {
                any_cancellable = true;
                *deadline = earlier(*deadline, at);
                false
            }
        };
        let dead = self.queue.sweep(&mut |item| is_dead(R::liveness(item)));
        let views: Vec<_> = self.views.all().into_iter().filter_map(|views| views.sweep(&mut is_dead)).collect();
        if any_cancellable {
            self.sweeps.has_cancellable.store(true, Ordering::Relaxed);
        }
        if !dead.is_empty() || !views.is_empty() {
            self.sweeps.has_found.store(true, Ordering::Relaxed);
        }
        (dead, views)
    }

    /// Counts a dead task that was removed from the queue, and wakes its waiters. The caller drops the returned input.
    fn discard_dead(&self, item: R::Item) -> Option<R::Returned> {
        let retracted = self.catch_user_panic(|| R::retract(item, SubmitErrorKind::Cancelled, Cause::Cancelled));
        if !matches!(retracted, Some(Retracted::Gone(RunOutcome::Elsewhere | RunOutcome::Ran))) {
            self.tell_unstarted(TaskEnd::Cancelled);
        }
        match retracted {
            Some(Retracted::Here(input)) => {
                count(&self.counters.cancelled);
                Some(input)
            }
            Some(Retracted::Gone(RunOutcome::Cancelled) | Retracted::ToCaller) | None => {
                count(&self.counters.cancelled);
                None
            }
            Some(Retracted::Gone(_)) => None,
        }
    }
}
