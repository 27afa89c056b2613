//! Scheduled tasks that did not start, on their way to the user's handler.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc as StdArc;
use std::thread;

use crate::engine::{Engine, Runner};
use crate::error::SubmitError;
use crate::queue::Dispatch;
use crate::sync::Mutex;
use crate::sync::timer::is_timer_thread;
use crate::sync::waking;

/// A handler of a pool that returns tasks as `X`.
type Handler<X> = Box<dyn Fn(SubmitError<X>) + Send + Sync>;

/// The same in a pool's options, which do not know the type.
#[derive(Clone)]
pub(crate) struct MissedHandler(StdArc<dyn Any + Send + Sync>);

impl MissedHandler {
    pub(crate) fn new<X: 'static>(handler: impl Fn(SubmitError<X>) + Send + Sync + 'static) -> Self {
        MissedHandler(StdArc::new(Box::new(handler) as Handler<X>))
    }

    fn call<X: 'static>(&self, refusal: SubmitError<X>) {
        if let Some(handler) = self.0.downcast_ref::<Handler<X>>() {
            handler(refusal);
        }
    }
}

/// The tasks that the handler is still to be told of.
pub(in crate::engine) struct MissedTasks<X>(Mutex<State<X>>);

struct State<X> {
    tasks: VecDeque<SubmitError<X>>,
    /// Whether a thread tells the handler of them.
    is_telling: bool,
}

impl<X> Default for MissedTasks<X> {
    fn default() -> Self {
        MissedTasks(Mutex::new(State { tasks: VecDeque::new(), is_telling: false }))
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Hands tasks to the handler, or drops them if there is none or if they were cancelled. On the timer thread this is left to a thread of
    /// its own, if the system gives one.
    pub(super) fn tell_missed(&self, tasks: Vec<SubmitError<R::Returned>>) {
        let mut state = self.missed.0.lock();
        state.tasks.extend(tasks);
        let tells = !state.tasks.is_empty() && !state.is_telling;
        state.is_telling |= tells;
        drop(state);
        if !tells {
            return;
        }
        if !is_timer_thread() {
            return self.tell_here();
        }
        let Some(engine) = self.shared() else { return self.tell_here() };
        let telling = StdArc::clone(&engine);
        let thread = thread::Builder::new().name("formicary-missed".into());
        if thread.spawn(move || telling.tell_here()).is_err() {
            waking::defer(move || engine.tell_here());
        }
    }

    fn tell_here(&self) {
        while let Some(refusal) = self.take_missed() {
            self.catch_user_panic(|| match &self.options.missed {
                Some(handler) if !refusal.is_cancelled() => handler.call(refusal),
                _ => drop(refusal),
            });
        }
    }

    /// The next task to tell of. `None` ends the telling.
    fn take_missed(&self) -> Option<SubmitError<R::Returned>> {
        let mut state = self.missed.0.lock();
        let task = state.tasks.pop_front();
        state.is_telling = task.is_some();
        task
    }
}
