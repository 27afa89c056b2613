//! Completion notifications of many tasks for one waiter, which learns in constant time per task which ones have ended.

use std::collections::VecDeque;

use crate::sync::waiter::Waiter;
use crate::sync::{Arc, Mutex};

/// Notified by every task that has a [`Waiter::Listed`] for it when the task ends, whether by a result, by a panic, or without
/// having started.
pub(crate) struct Notifier {
    /// Whether to keep the order of completion, or only to wake the waiter.
    keeps_order: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Ended tasks in the order of completion, if `keeps_order`.
    ended: VecDeque<u64>,
    waiter: Option<Waiter>,
    /// The only task that the waiter waits for; `None` means any.
    only: Option<u64>,
}

impl Notifier {
    pub(crate) fn new(keeps_order: bool) -> Arc<Self> {
        Arc::new(Notifier { keeps_order, state: Mutex::default() })
    }

    /// Records the end of a task and wakes the waiter if it waits for that task. Not inlined: most tasks that end have another
    /// kind of waiter.
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

    /// Records the end of a task that the waiter itself found ended.
    pub(crate) fn note(&self, number: u64) {
        if self.keeps_order {
            self.state.lock().ended.push_back(number);
        }
    }

    /// Removes and returns the ended task that ended first.
    pub(crate) fn next_ended(&self) -> Option<u64> {
        self.state.lock().ended.pop_front()
    }

    /// Wakes `waiter` at the next end of any task, or of `only` one. Check the tasks after this call: a task that ended before
    /// it does not wake the waiter.
    pub(crate) fn listen(&self, waiter: Waiter, only: Option<u64>) {
        let mut state = self.state.lock();
        let replaced = state.waiter.replace(waiter);
        state.only = only;
        drop(state);
        // Without the lock: dropping a waker runs user code.
        replaced.into_iter().for_each(Waiter::discard);
    }

    /// Drops the waiter. Running tasks own the notifier and would otherwise keep the waiter alive.
    pub(crate) fn stop_listening(&self) {
        let waiter = self.state.lock().waiter.take();
        waiter.into_iter().for_each(Waiter::discard);
    }
}
