//! What is queued and will not run any more leaves the queue before anyone is refused, or waits, for want of room.
//!
//! Cancelling is lazy: a token does not know the tasks that have it, and a handle does not know the queue. So a submitter that
//! finds the queue full looks it through, if something in it may have died since the last look. That is known without looking: the
//! queued tickets of withdrawn tasks are counted, a token that is cancelled counts up one number of the process, and what was
//! queued with a deadline has left word of it.

use std::time::Instant;

use super::counters::count;
use super::{Engine, Runner};
use crate::cancel::{self, CancelToken, earlier};
use crate::error::{Cause, SubmitErrorKind};
use crate::queue::Dispatch;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, fence_after_rmw};
use crate::task::liveness::Liveness;
use crate::task::state::{Retracted, RunOutcome};

/// So many dead tickets are nothing to speak of.
const FEW: usize = 64;

/// What is known of the queue since the last look through it.
#[derive(Default)]
pub(super) struct Sweeps {
    /// Whether there may be tasks that can be cancelled.
    has_cancellable: AtomicBool,
    /// Whether a look has ever found anything.
    has_found: AtomicBool,
    /// Looks that are not over, which may yet count what they have found.
    at_work: AtomicUsize,
    /// Held during a look.
    last: Mutex<Look>,
}

#[derive(Default)]
struct Look {
    /// How many tokens of the process had been cancelled.
    cancellations: u64,
    /// When the next task will be cancelled by itself.
    deadline: Option<Instant>,
}

impl Look {
    fn is_outdated(&self) -> bool {
        self.cancellations != cancel::cancellations() || self.deadline.is_some_and(|at| at <= Instant::now())
    }
}

impl Sweeps {
    /// A task that can be cancelled has been queued.
    pub(super) fn note(&self, deadline: Option<Instant>) {
        // ORDERING: Relaxed, and after the push: a look that takes the mark away before this sees it finds the task.
        if !self.has_cancellable.load(Ordering::Relaxed) {
            self.has_cancellable.store(true, Ordering::Relaxed);
        }
        if deadline.is_some() {
            let mut last = self.last.lock();
            last.deadline = earlier(last.deadline, deadline);
        }
    }

    /// Whether what a look found may not be counted yet. To be asked after the look at the queue that it may explain.
    pub(super) fn is_at_work(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `Counting`: who sees the end of a look sees its counts.
        self.at_work.load(Ordering::Acquire) > 0
    }
}

/// A look is not over until this is dropped.
struct Counting<'a>(&'a Sweeps);

impl<'a> Counting<'a> {
    fn begin(sweeps: &'a Sweeps) -> Self {
        // ORDERING: Relaxed. Who finds the queue emptied by the look sees this through the queue's lock.
        sweeps.at_work.fetch_add(1, Ordering::Relaxed);
        Counting(sweeps)
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        // ORDERING: Release, see `Sweeps::is_at_work`.
        self.0.at_work.fetch_sub(1, Ordering::Release);
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// A task has been queued that can be cancelled, by this token if there is one.
    pub(crate) fn note_cancellable(&self, token: Option<&CancelToken>) {
        self.sweeps.note(token.and_then(CancelToken::deadline));
    }

    /// Takes out of the queue, and of the pool's views, what will not run any more, if there may be anything. Says whether there may be
    /// room because of that; perhaps another submitter has made it.
    #[cold]
    pub(crate) fn sweep(&self) -> bool {
        let has_withdrawn = self.id().tickets() > 0;
        // In this order: whoever misses a mark that another's look has taken away finds that look at work, and waits for it, or knows
        // what it has found. Otherwise it would be refused for what is just being swept out.
        // ORDERING: Acquire pairs with the Release in `sweep_queue`.
        let has_cancellable = self.sweeps.has_cancellable.load(Ordering::Acquire);
        if has_withdrawn || has_cancellable || self.sweeps.is_at_work() {
            let last = self.sweeps.last.lock();
            if has_withdrawn || last.is_outdated() {
                self.sweep_queue(last);
                return true;
            }
        }
        // ORDERING: Relaxed. Set before the lock is left and before the look is over.
        self.sweeps.has_found.load(Ordering::Relaxed)
    }

    /// Sweeps if most of what is queued are tickets of withdrawn tasks: so a loop that makes them takes no more and more memory.
    #[inline]
    pub(crate) fn sweep_if_worth_it(&self) {
        if self.id().tickets() > FEW {
            self.sweep_if_mostly_dead();
        }
    }

    #[cold]
    fn sweep_if_mostly_dead(&self) {
        if self.id().tickets() > self.queue.load().queued / 2 {
            self.sweep_queue(self.sweeps.last.lock());
        }
    }

    fn sweep_queue(&self, mut last: crate::sync::MutexGuard<'_, Look>) {
        let counting = Counting::begin(&self.sweeps);
        // ORDERING: Release, see `sweep`; and before the look, see `Sweeps::note`.
        self.sweeps.has_cancellable.store(false, Ordering::Release);
        // As it was before the look: what is cancelled meanwhile is for the next one.
        *last = Look { cancellations: cancel::cancellations(), deadline: None };
        let (mut any_cancellable, deadline) = (false, &mut last.deadline);
        let mut is_dead = |liveness| match liveness {
            Liveness::Dead => true,
            Liveness::Runs => false,
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
        let makes_room = !dead.is_empty();
        if makes_room || !views.is_empty() {
            self.sweeps.has_found.store(true, Ordering::Relaxed);
        }
        drop(last);
        let captured: Vec<_> = dead.into_iter().filter_map(|item| self.discard_dead(item)).collect();
        drop(counting);
        fence_after_rmw();
        self.notify_if_watched();
        // A queue may have put live tasks where they are found only now (parking.md).
        self.wake();
        if makes_room {
            // Not otherwise: the first in line, who may be the one that looks, would call itself again and again.
            self.notify_blocked();
        }
        for input in captured {
            self.catch_user_panic(|| drop(input));
        }
        views.into_iter().for_each(|discard| discard());
    }

    /// Counts a task that was taken out of the queue dead, and tells whoever waits for it. What it captured is to be dropped.
    fn discard_dead(&self, item: R::Item) -> Option<R::Returned> {
        match self.catch_user_panic(|| R::retract(item, SubmitErrorKind::Cancelled, Cause::Cancelled)) {
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
