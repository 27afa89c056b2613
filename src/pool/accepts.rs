//! What a pool can be given, and how that becomes a task: all that the verbs need to know of a kind of pool.

use crate::engine::{Engine, Runner};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::state::{ReplySender, Run, TaskState};

/// A pool of any kind.
pub trait AnyPool: Sync {
    type Runner: Runner;
    type Dispatch: Dispatch;

    fn engine(&self) -> &Arc<Engine<Self::Runner, Self::Dispatch>>;
}

/// What a pool's queue holds.
pub(crate) type Item<P> = <<P as AnyPool>::Runner as Runner>::Item;

/// Says what a pool can be given: closures for a [`Pool`](crate::Pool), payloads for a [`PoolWithFunc`](crate::PoolWithFunc), the
/// worker's [`Input`](crate::Worker::Input) for a [`StatefulPool`](crate::StatefulPool). It cannot be implemented outside this crate.
///
/// It is for code that is generic over pools, with the verbs of [`With`](crate::With):
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
    note = "a `Pool` accepts `FnOnce() -> T + Send + 'static`, a `PoolWithFunc<T>` its `T`, a `StatefulPool<W>` a `W::Input`"
)]
pub trait Accepts<X>: AnyPool
where
    X: Send + 'static,
{
    /// What becomes of it: what the closure or function returns, or the worker's [`Output`](crate::Worker::Output).
    type Output: Send + 'static;

    /// The task for `x` when nobody wants its result.
    #[doc(hidden)]
    fn plain(x: X) -> Item<Self>;

    /// What [`plain`](Self::plain) was given.
    #[doc(hidden)]
    fn into_input(item: Item<Self>) -> X;

    /// The task for `x` whose caller waits for the result in its own frame.
    #[doc(hidden)]
    fn called(x: X, sender: ReplySender<X, Self::Output>) -> Item<Self>;

    /// The task whose input and result are in a slot.
    #[doc(hidden)]
    fn answered(task_state: &Arc<TaskState<X, Self::Output>>) -> Item<Self>;

    /// How to run it without a worker's state, if the input is all that it takes.
    #[doc(hidden)]
    const RUN_HERE: Option<Run<X, Self::Output>> = None;

    /// Runs the task of a slot on the calling thread if that is a worker of this pool and the task needs no state; says whether it did.
    #[doc(hidden)]
    fn run_inline(&self, _slot: &Arc<TaskState<X, Self::Output>>) -> bool {
        false
    }
}
