//! Calls into user code that is not a task: handlers, hooks, drops. A panic there is caught, counted, and reported.

use super::counters::count;
use super::{Engine, Runner};
use crate::engine::options::panic_location::take_place;
use crate::engine::options::{Hook, TaskPanic};
use crate::error::Payload;
use crate::queue::Dispatch;
use crate::sync::user_code::catch_user_panic;
use crate::task::state::Completion;

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Runs user code that is not a task, on any thread. `None`: it panicked, which is counted.
    pub(crate) fn catch_user_panic<O>(&self, f: impl FnOnce() -> O) -> Option<O> {
        let output = catch_user_panic(f);
        if output.is_none() {
            count(&self.counters.handler_panics);
        }
        output
    }

    pub(super) fn call_hook(&self, hook: &Option<Hook>, id: usize) {
        if let Some(hook) = hook {
            self.catch_user_panic(|| hook(id));
        }
    }

    /// Calls the panic handler.
    pub(super) fn report(&self, payload: &Payload, worker: usize, task: Option<&str>) {
        if let Some(handler) = &self.options.panic_handler {
            let place = if self.options.panic_locations { take_place() } else { None };
            let panic = TaskPanic { payload: &**payload, worker, pool: self.options.name(), task, place };
            self.catch_user_panic(|| handler(&panic));
        }
    }

    /// Counts and reports a panic that was not a task's.
    pub(super) fn report_side_panic(&self, payload: &Payload, worker: usize) {
        count(&self.counters.handler_panics);
        self.report(payload, worker, None);
    }

    /// Reports a panic in the drop of what a cancelled task had captured, if there was one.
    #[inline]
    pub(super) fn report_drop_panic(&self, completion: &mut Completion, worker: usize) {
        if let Some(payload) = completion.take_drop_panic() {
            self.report_drop_panic_cold(payload, worker);
        }
    }

    #[cold]
    fn report_drop_panic_cold(&self, payload: Payload, worker: usize) {
        self.report_side_panic(&payload, worker);
        self.catch_user_panic(|| drop(payload));
    }
}
