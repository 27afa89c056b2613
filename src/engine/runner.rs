//! What a kind of pool has its workers do.

use crate::error::{BoxError, Cause, SubmitErrorKind};
use crate::task::deferred::Deferred;
use crate::task::liveness::Liveness;
use crate::task::running_tasks::Overdue;
use crate::task::state::{Completion, Retracted, RunOutcome, StolenJob};

/// What a worker does with a task: the first type parameter of an engine.
pub trait Runner: Send + Sync + Sized + 'static {
    /// What is queued.
    type Item: Send + 'static;
    /// What a worker keeps between tasks. It is made, used and dropped on the worker's thread.
    type State;
    /// What a task that never ran comes back to the user as.
    type Returned: Send + 'static;

    /// Whether user code makes the state, which can fail.
    const HAS_FACTORY: bool = false;

    /// Makes the state of worker `worker`.
    fn start(&self, worker: usize) -> Result<Self::State, BoxError>;

    /// Whether `ready` may block, so that a worker in it is unavailable.
    const READY_BLOCKS: bool = false;

    /// Called before the worker takes work.
    fn ready(&self, _state: &mut Self::State) {}

    /// Runs a task. It must set `completion` before user code runs.
    fn run(&self, state: &mut Self::State, item: Self::Item, completion: &mut Completion) -> RunOutcome;

    /// Ends a worker's state.
    fn stop(&self, _state: Self::State) {}

    /// Whether running and future tasks should stop.
    fn overdue(&self) -> &Overdue;

    /// Whether a panic discards the state, so that it is made anew.
    fn discards_after_panic(&self) -> bool {
        false
    }

    /// A state to run a task with inside another one, if the task does not need the worker's own state.
    fn spare_state(&self) -> Option<Self::State> {
        None
    }

    /// The item that stands for a job which was stolen from another worker. `None` if this kind of pool has none.
    fn stolen(_job: StolenJob) -> Option<Self::Item> {
        None
    }

    /// Whether a queued task will run. It is called under the queue's locks.
    fn liveness(item: &Self::Item) -> Liveness;

    /// The item that stands for a task which a limited view keeps until it starts.
    fn deferred(deferred: Deferred<Self::Item, Self::Returned>) -> Self::Item;

    /// Takes back a task that has left the queue without running.
    fn retract(item: Self::Item, kind: SubmitErrorKind, cause: Cause) -> Retracted<Self::Returned>;
}
