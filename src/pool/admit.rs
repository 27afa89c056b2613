//! What admits tasks: the engine of a pool, or a view of it. Whatever refers to one hands it out, and forwards nothing.

use std::future::Future;

use super::accepts::Takes;
use crate::engine::{Engine, Runner, SubmitOptions, ThroughView};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::queue::{Dispatch, LazyBatch};
use crate::semaphore::Semaphore;
use crate::sync::Arc;
use crate::task::in_view::InView;
use crate::task::state::TaskState;

/// The engine of a pool, or a view: what all references to it share. It does not keep the pool open. No method has a default.
pub trait Admit: Clone + Send + Sync + 'static {
    type Runner: Runner;
    type Dispatch: Dispatch;
    /// The same, for the tasks of one key.
    type Lane: Admit<Runner = Self::Runner, Dispatch = Self::Dispatch>;

    /// Where tasks of this key wait for their turn.
    fn lane(&self, key: u64) -> Self::Lane;

    fn engine(&self) -> &Arc<Engine<Self::Runner, Self::Dispatch>>;

    /// The budget from which its tasks take their weights.
    fn budget(&self) -> Option<Semaphore>;

    /// Waits, without a thread, until a task would find room, or would be refused for another reason. Nothing is reserved.
    #[cfg(feature = "tower")]
    fn room(&self) -> impl Future<Output = ()> + Send;

    /// Whether it accepts nothing any more.
    fn is_closed(&self) -> bool;

    /// A submission was refused before it came to [`admit`](Self::admit). The refusals of a view are not in the pool's figures.
    fn note_refusal(&self, kind: SubmitErrorKind);

    /// Where a task that was accepted before, and has run, is queued again.
    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn Reentry<<Self::Runner as Runner>::Item>>;

    /// What the state of a new task keeps of the view that it is for; `None` for a pool.
    fn in_view(&self) -> Option<InView>;

    /// The view by which a scheduled task enters, if this is one.
    fn through_view(&self) -> Option<ThroughView<Self::Runner>>;

    /// Submits the task that `make` makes of `input`. A refusal returns the input. `view` is what [`in_view`](Self::in_view) returned for
    /// the task, if it has a state.
    fn admit<I>(
        &self,
        input: I,
        make: impl FnOnce(I) -> <Self::Runner as Runner>::Item,
        view: Option<&InView>,
        options: SubmitOptions<'_>,
    ) -> Result<(), SubmitError<I>>;

    /// Submits as many tasks of a batch as there is room for now, and returns how many. 0 says nothing about why.
    fn admit_batch(
        &self,
        batch: &mut impl LazyBatch<<Self::Runner as Runner>::Item>,
        options: &SubmitOptions<'_>,
    ) -> usize;

    /// As [`admit`](Self::admit), waiting as a future.
    fn admit_async<'p>(
        &'p self,
        item: <Self::Runner as Runner>::Item,
        view: Option<&'p InView>,
        options: SubmitOptions<'p>,
    ) -> impl Future<Output = Result<(), SubmitError<<Self::Runner as Runner>::Item>>> + Send;

    /// Runs the task of a state on the calling thread, if that is a worker of this pool and the task needs no worker's state. Returns
    /// whether it did.
    fn run_inline<X>(&self, task_state: &Arc<TaskState<X, <Self::Runner as Takes<X>>::Output>>) -> bool
    where
        Self::Runner: Takes<X>,
        X: Send + 'static;
}

/// A pool or a view, for tasks that it has accepted before.
#[cfg(feature = "async")]
pub trait Reentry<T>: Send + Sync {
    /// Queues the task, beyond every bound. Never waits for room. Returns it if the pool or the view is closed and does not take it.
    fn enter_again(self: Arc<Self>, item: T) -> Result<(), T>;

    /// Whether it is a view, and closed.
    fn is_over(&self) -> bool;
}
