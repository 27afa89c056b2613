//! What accepts tasks and is no pool: tasks that go through a policy before they go to a pool.

use std::future::Future;

use crate::error::{CallError, SubmitError};
use crate::task::handle::Handle;

/// What accepts tasks of type `X` on their way to a pool: a [`Retrying`](crate::Retrying) or a [`Guarded`](crate::Guarded). Sealed.
///
/// It is for code that is generic over them:
///
/// ```
/// use formicary::{Breaker, Pool, Retry, Starts, SubmitError};
/// use std::time::Duration;
///
/// fn twice<S, X>(calls: &S, x: X) -> Result<[S::Output; 2], SubmitError<X>>
/// where
///     S: Starts<X>,
///     X: Clone + Send + 'static,
/// {
///     let handles = [calls.start(x.clone())?, calls.start(x)?];
///     Ok(handles.map(|handle| handle.join().unwrap()))
/// }
/// let pool = Pool::new(1)?;
/// assert_eq!(twice(&pool.guarded(Breaker::ratio(0.5)), || Ok::<_, String>(7))?, [Ok(7), Ok(7)]);
/// assert!(twice(&pool.retrying(Retry::fixed(Duration::ZERO)), || Ok::<_, String>(7))?.iter().all(Result::is_ok));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Starts<X: Send + 'static>: Sync {
    /// What the handles are for.
    type Output: Send + 'static;

    /// Submits a task, as `spawn` does.
    ///
    /// # Errors
    /// [`SubmitError`], with the task.
    fn start(&self, x: X) -> Result<Handle<Self::Output>, SubmitError<X>> {
        self.start_for(x, true)
    }

    #[doc(hidden)]
    fn start_for(&self, x: X, waits: bool) -> Result<Handle<Self::Output>, SubmitError<X>>;

    #[doc(hidden)]
    fn start_async(&self, x: X) -> impl Future<Output = Result<Handle<Self::Output>, SubmitError<X>>> + Send;
}

/// Submits a task and waits for its result; for room only if it `waits`.
pub(super) fn run<S: Starts<X>, X: Send + 'static>(to: &S, x: X, waits: bool) -> Result<S::Output, CallError<X>> {
    Ok(to.start_for(x, waits)?.join()?)
}

/// The same as a future.
pub(super) async fn run_async<S: Starts<X>, X: Send + 'static>(to: &S, x: X) -> Result<S::Output, CallError<X>> {
    Ok(to.start_async(x).await?.await?)
}
