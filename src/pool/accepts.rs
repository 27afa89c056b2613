//! What a pool accepts, and how it becomes a task: all that the verbs need to know about a kind of pool.

use super::admit::Admit;
use crate::engine::{Engine, Runner};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::state::{ReplySender, Run, TaskState};

/// A pool of any kind, a limited view of one, or a reference to either.
pub trait AnyPool: Sync + 'static {
    type Runner: Runner;
    type Dispatch: Dispatch;
    type Shared: Admit<Runner = Self::Runner, Dispatch = Self::Dispatch>;

    /// What all references to the pool share, which admits its tasks.
    fn shared(&self) -> &Self::Shared;

    fn engine(&self) -> &Arc<Engine<Self::Runner, Self::Dispatch>> {
        self.shared().engine()
    }
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
    note = "a `Pool` accepts `FnOnce() -> T + Send + 'static`, a `PoolWithFunc<T>` its `T`, a `StatefulPool<W>` a `W::Input`, a `Limited` view what its pool accepts; `with().submit_every` takes a closure that makes such a task"
)]
pub trait Accepts<X>: AnyPool<Runner: Takes<X, Output = <Self as Accepts<X>>::Output>>
where
    X: Send + 'static,
{
    /// The type of the result: what the closure or function returns, or the worker's [`Output`](crate::Worker::Output).
    type Output: Send + 'static;
}

/// A runner whose tasks can be made of an `X`. No method has a default.
pub trait Takes<X: Send + 'static>: Runner {
    type Output: Send + 'static;

    /// How to run the task on any thread; `None` if it needs a worker's state.
    const RUN_HERE: Option<Run<X, Self::Output>>;

    /// A task for `x` whose result is discarded.
    fn plain(x: X) -> Self::Item;

    /// The inverse of [`plain`](Self::plain).
    fn into_input(item: Self::Item) -> X;

    /// A task for `x` whose result goes to the stack of the waiting caller.
    fn called(x: X, sender: ReplySender<X, Self::Output>) -> Self::Item;

    /// A task whose input and result are in a task state.
    fn answered(task_state: &Arc<TaskState<X, Self::Output>>) -> Self::Item;

    /// Runs the task of a state on the calling thread, if that is a worker of this engine and the task needs no worker's state. Returns
    /// whether it did.
    fn run_inline<D: Dispatch>(engine: &Engine<Self, D>, task_state: &Arc<TaskState<X, Self::Output>>) -> bool;
}
