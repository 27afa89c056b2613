//! What all pools share, as a trait to write code against.

use std::ops::Deref;
use std::time::Duration;

use super::accepts::Accepts;
use super::control::PoolControl;
use super::verbs;
use crate::engine::WaitMode;
use crate::error::SubmitError;

/// A pool that takes items of one type, whatever its kind and its dispatch. The trait is object-safe.
///
/// [`Pool`](crate::Pool) is a `WorkerPool<Task>`, [`PoolWithFunc<T>`](crate::PoolWithFunc) a `WorkerPool<T>`,
/// [`StatefulPool<W>`](crate::StatefulPool) a `WorkerPool<W::Input>`. Results are dropped. A `WorkerPool` dereferences to a
/// [`PoolControl`], as every pool does: to wait, watch, resize, pause and end.
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
    /// Submits an item; blocks while the pool is full, unless it is [`nonblocking`](crate::Builder::nonblocking).
    ///
    /// # Errors
    /// [`SubmitError`] with the item.
    fn submit(&self, item: X) -> Result<(), SubmitError<X>>;

    /// Submits an item if there is room; never blocks.
    ///
    /// # Errors
    /// [`SubmitError`] with the item.
    fn try_submit(&self, item: X) -> Result<(), SubmitError<X>>;

    /// Submits an item; waits for room for at most `limit`.
    ///
    /// # Errors
    /// [`SubmitError`] with the item.
    fn submit_timeout(&self, item: X, limit: Duration) -> Result<(), SubmitError<X>>;

    /// Submits all items of an iterator, blocking where one of them must; says how many were accepted.
    ///
    /// # Errors
    /// The count of those accepted before, and the refused item; what is left stays in the iterator.
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
