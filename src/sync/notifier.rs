//! One notification list for many tasks: whoever waits for any of them is told which have ended, in constant time for each.

use std::collections::VecDeque;

use crate::sync::waiter::Waiter;
use crate::sync::{Arc, Mutex};

/// Notified by every task that was given a [`Waiter::Listed`], be its end a result, a panic, or that it never started.
pub(crate) struct Notifier {
    /// Whether the ends are listed, or only reported.
    keeps_order: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Tasks by their end, where that is kept.
    ended: VecDeque<u64>,
    waiter: Option<Waiter>,
    /// The only task that the waiter waits for, if not for any.
    only: Option<u64>,
}

impl Notifier {
    pub(crate) fn new(keeps_order: bool) -> Arc<Self> {
        Arc::new(Notifier { keeps_order, state: Mutex::default() })
    }

    /// A task has ended: wakes the waiter, if that waits for it. Not in line, where most tasks that end have another waiter.
    #[inline(never)]
    pub(crate) fn notify(&self, number: u64) {
        let mut state = self.state.lock();
        if self.keeps_order {
            state.ended.push_back(number);
        }
        let is_awaited = state.only.is_none_or(|only| only == number);
        let waiter = if is_awaited { state.waiter.take() } else { None };
        drop(state);
        waiter.into_iter().for_each(Waiter::wake);
    }

    /// The waiter knows by itself that a task has ended.
    pub(crate) fn note(&self, number: u64) {
        if self.keeps_order {
            self.state.lock().ended.push_back(number);
        }
    }

    /// The task that ended first of those that were not handed out here.
    pub(crate) fn next_ended(&self) -> Option<u64> {
        self.state.lock().ended.pop_front()
    }

    /// Has `waiter` woken by the next end of any task, or of `only` one. Look again after this: a task that ended before it
    /// woke nobody.
    pub(crate) fn listen(&self, waiter: Waiter, only: Option<u64>) {
        let mut state = self.state.lock();
        let replaced = state.waiter.replace(waiter);
        state.only = only;
        drop(state);
        // Dropping a waker is somebody else's code: not under the lock.
        replaced.into_iter().for_each(Waiter::discard);
    }

    /// Nobody waits any more. Tasks that run on have the notifier, and would keep whoever waited last.
    pub(crate) fn stop_listening(&self) {
        let waiter = self.state.lock().waiter.take();
        waiter.into_iter().for_each(Waiter::discard);
    }
}
