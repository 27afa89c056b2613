//! What a pool accepts, and how it becomes a task: all that the verbs need to know about a kind of pool.

use std::future::Future;

use crate::engine::{Engine, Runner, SubmitOptions};
use crate::error::SubmitError;
use crate::queue::{Dispatch, LazyBatch};
use crate::sync::Arc;
use crate::task::in_view::InView;
use crate::task::state::{ReplySender, Run, TaskState};

/// A pool of any kind, or a limited view of one.
pub trait AnyPool: Sync {
    type Runner: Runner;
    type Dispatch: Dispatch;
    /// What [`share`](Self::share) returns.
    type Shared: AnyPool<Runner = Self::Runner, Dispatch = Self::Dispatch> + Clone + Send + Sync + 'static;

    /// The entrance of the pool or view for a task that enters later. It does not keep the pool or view open.
    fn share(&self) -> Self::Shared;

    /// Whether it was closed.
    fn refuses_all(&self) -> bool {
        Engine::is_closed(self.engine())
    }

    /// The same pool or view, for the tasks of one key.
    type Lane: AnyPool<Runner = Self::Runner, Dispatch = Self::Dispatch> + Send;

    /// Where tasks of this key wait for their turn.
    fn lane(&self, key: u64) -> Self::Lane;

    fn engine(&self) -> &Arc<Engine<Self::Runner, Self::Dispatch>>;

    /// Waits, without a thread, until a task would find room, or would be refused for another reason. Nothing is reserved.
    #[cfg(feature = "tower")]
    fn room(&self) -> impl Future<Output = ()> + Send {
        Engine::room(self.engine())
    }

    /// Whether it accepts nothing any more.
    #[cfg(feature = "tower")]
    fn is_closed(&self) -> bool {
        Engine::is_closed(self.engine())
    }

    /// Where a task that was accepted before, and has run, is queued again.
    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn Reentry<Item<Self>>>;

    /// What the state of a new task keeps of the view that it is for; `None` for a pool.
    fn in_view(&self) -> Option<InView> {
        None
    }

    /// Submits the task that `make` makes of `input`. A refusal returns the input. `_view` is what [`in_view`](Self::in_view) returned for
    /// the task, if it has a state.
    #[inline]
    fn admit<I>(
        &self,
        input: I,
        make: impl FnOnce(I) -> Item<Self>,
        _view: Option<&InView>,
        options: SubmitOptions<'_>,
    ) -> Result<(), SubmitError<I>> {
        self.engine().submit(input, make, options)
    }

    /// Submits as many tasks of a batch as there is room for now, and returns how many. 0 says nothing about why.
    fn admit_batch(&self, batch: &mut impl LazyBatch<Item<Self>>, options: &SubmitOptions<'_>) -> usize {
        self.engine().submit_batch(batch, options)
    }

    /// As [`admit`](Self::admit), waiting as a future.
    fn admit_async<'p>(
        &'p self,
        item: Item<Self>,
        _view: Option<&'p InView>,
        options: SubmitOptions<'p>,
    ) -> impl Future<Output = Result<(), SubmitError<Item<Self>>>> + Send {
        self.engine().submit_async(item, options)
    }
}

/// A pool or a view, for tasks that it has accepted before.
#[cfg(feature = "async")]
pub trait Reentry<T>: Send + Sync {
    /// Queues the task, beyond every bound. Never waits for room. Returns it if the pool or the view is closed and does not take it.
    fn enter_again(self: Arc<Self>, item: T) -> Result<(), T>;

    /// Whether it is a view, and closed.
    fn is_over(&self) -> bool;
}

/// The type of a pool's queued tasks.
pub(crate) type Item<P> = <<P as AnyPool>::Runner as Runner>::Item;

/// A pool that accepts an `X`: closures for a [`Pool`](crate::Pool), payloads for a [`PoolWithFunc`](crate::PoolWithFunc), the worker's
/// [`Input`](crate::Worker::Input) for a [`StatefulPool`](crate::StatefulPool). A [`Limited`](crate::Limited) view accepts what its pool
/// does. The trait is sealed.
///
/// It is for code that is generic over pools and uses the verbs of [`With`](crate::With):
///
/// ```
/// use formicary::{Accepts, Pool, PoolWithFunc, With};
///
/// fn run_twice<P, X>(pool: With<'_, P>, x: X) -> [P::Output; 2]
/// where
///     P: Accepts<X>,
///     X: Clone + Send + 'static,
/// {
///     [pool.run(x.clone()), pool.run(x)].map(|result| result.unwrap_or_else(|_| panic!("refused")))
/// }
/// assert_eq!(run_twice(Pool::new(1)?.with(), || 7), [7, 7]);
/// assert_eq!(run_twice(PoolWithFunc::new(1, |n: u8| n + 1)?.with(), 6), [7, 7]);
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not accept `{X}`",
    note = "a `Pool` accepts `FnOnce() -> T + Send + 'static`, a `PoolWithFunc<T>` its `T`, a `StatefulPool<W>` a `W::Input`, a `Limited` view what its pool accepts"
)]
pub trait Accepts<X>: AnyPool
where
    X: Send + 'static,
{
    /// The type of the result: what the closure or function returns, or the worker's [`Output`](crate::Worker::Output).
    type Output: Send + 'static;

    /// A task for `x` whose result is discarded.
    #[doc(hidden)]
    fn plain(x: X) -> Item<Self>;

    /// The inverse of [`plain`](Self::plain).
    #[doc(hidden)]
    fn into_input(item: Item<Self>) -> X;

    /// A task for `x` whose result goes to the stack of the waiting caller.
    #[doc(hidden)]
    fn called(x: X, sender: ReplySender<X, Self::Output>) -> Item<Self>;

    /// A task whose input and result are in a task state.
    #[doc(hidden)]
    fn answered(task_state: &Arc<TaskState<X, Self::Output>>) -> Item<Self>;

    /// How to run the task on any thread; `None` if it needs a worker's state.
    #[doc(hidden)]
    const RUN_HERE: Option<Run<X, Self::Output>> = None;

    /// Runs the task of a state on the calling thread, if that is a worker of this pool and the task needs no worker's state. Returns
    /// whether it did.
    #[doc(hidden)]
    fn run_inline(&self, _task_state: &Arc<TaskState<X, Self::Output>>) -> bool {
        false
    }
}
