//! The pools as one object-safe trait.

use std::ops::Deref;
use std::time::Duration;

use super::accepts::Accepts;
use super::control::PoolControl;
use super::verbs;
use crate::engine::WaitMode;
use crate::error::SubmitError;

/// A pool that accepts items of one type, whatever its kind and dispatch. The trait is object-safe.
///
/// [`Pool`](crate::Pool) is a `WorkerPool<Task>`, [`PoolWithFunc<T>`](crate::PoolWithFunc) a `WorkerPool<T>`,
/// [`StatefulPool<W>`](crate::StatefulPool) a `WorkerPool<W::Input>`. Results are dropped. A `WorkerPool` dereferences to a
/// [`PoolControl`], as every pool does.
///
/// ```
/// use formicary::{Pool, PoolWithFunc, Task, WorkerPool};
///
/// fn run_ten(pool: &dyn WorkerPool<Task>) -> u64 {
///     for _ in 0..10 {
///         pool.submit(Task::new(|| ())).unwrap();
///     }
///     pool.wait_idle();
///     pool.stats().completed
/// }
/// assert_eq!(run_ten(&Pool::new(1)?), 10);
/// assert_eq!(run_ten(&PoolWithFunc::new(1, Task::run)?), 10);
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub trait WorkerPool<X>: Deref<Target = PoolControl<X>> + Send + Sync {
    /// Submits an item. Blocks while the pool is full, unless the pool is [`nonblocking`](crate::Builder::nonblocking).
    ///
    /// # Errors
    /// [`SubmitError`] with the item.
    fn submit(&self, item: X) -> Result<(), SubmitError<X>>;

    /// Submits an item if there is room. Never blocks.
    ///
    /// # Errors
    /// [`SubmitError`] with the item.
    fn try_submit(&self, item: X) -> Result<(), SubmitError<X>>;

    /// Submits an item. Waits for room for at most `limit`.
    ///
    /// # Errors
    /// [`SubmitError`] with the item.
    fn submit_timeout(&self, item: X, limit: Duration) -> Result<(), SubmitError<X>>;

    /// Submits all items of an iterator, and returns how many there were. Blocks as [`submit`](Self::submit) does for each of them.
    ///
    /// # Errors
    /// The number of items accepted before, and the refused item. The rest stays in the iterator.
    fn submit_all(&self, items: &mut dyn Iterator<Item = X>) -> Result<usize, (usize, SubmitError<X>)>;
}

static_assertions::assert_obj_safe!(WorkerPool<u8>);

impl<P, X> WorkerPool<X> for P
where
    P: Accepts<X> + Deref<Target = PoolControl<X>> + Send,
    X: Send + 'static,
{
    fn submit(&self, item: X) -> Result<(), SubmitError<X>> {
        verbs::submit(self, item, verbs::mode(self))
    }

    fn try_submit(&self, item: X) -> Result<(), SubmitError<X>> {
        verbs::submit(self, item, WaitMode::Never)
    }

    fn submit_timeout(&self, item: X, limit: Duration) -> Result<(), SubmitError<X>> {
        verbs::submit(self, item, WaitMode::at_most(limit))
    }

    fn submit_all(&self, items: &mut dyn Iterator<Item = X>) -> Result<usize, (usize, SubmitError<X>)> {
        verbs::submit_each(items, |item| WorkerPool::submit(self, item))
    }
}
