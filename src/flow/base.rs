//! What an attempt needs of what is below it: a pool, a view, or a breaker in front of one.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::cancel::CancelToken;
use crate::engine::{SubmitOptions, WaitMode};
use crate::error::{JoinError, SubmitError};
use crate::pool::verbs::{self, TaskOptions};
use crate::pool::{Accepts, AnyPool, Linked};
use crate::sync::Arc;
use crate::sync::detached_future::DetachedFuture;
use crate::task::handle::Handle;
use crate::task::state::TaskState;

/// What a [`Retrying`](crate::Retrying) can be in front of: a pool or view, or a [`Guarded`](crate::Guarded) one. Sealed. It appears in
/// bounds only.
pub trait Base: Clone + Send + Sync + 'static {
    #[doc(hidden)]
    type Pool: AnyPool;
    /// A call that was let through. Dropping it tells nothing of its outcome.
    #[doc(hidden)]
    type Call: Send + 'static;

    #[doc(hidden)]
    fn linked(&self) -> &Linked<Self::Pool>;

    /// Lets a call through, or says after what time another one may be.
    #[doc(hidden)]
    fn begin(&self) -> Result<Self::Call, Duration>;
}

/// A [`Base`] that tells the failed results of type `O` from the others. Sealed. It appears in bounds only.
pub trait Judges<O>: Base {
    /// The task of a call has ended, or will not run.
    #[doc(hidden)]
    fn end(&self, call: Self::Call, outcome: &Result<O, JoinError>);
}

impl<P: AnyPool> Base for Linked<P> {
    type Pool = P;
    type Call = ();

    fn linked(&self) -> &Self {
        self
    }

    fn begin(&self) -> Result<(), Duration> {
        Ok(())
    }
}

impl<P: AnyPool, O> Judges<O> for Linked<P> {
    fn end(&self, (): (), _outcome: &Result<O, JoinError>) {}
}

/// The state of a task for a pool, under a token and a name.
pub(super) fn task_state<P, X>(
    pool: &Linked<P>,
    x: X,
    token: &CancelToken,
    name: Option<&Arc<str>>,
) -> Arc<TaskState<X, P::Output>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    verbs::task_state(pool, x, TaskOptions::new(Some(token.clone()), name.cloned()), false)
}

/// Submits the task of a state.
pub(super) fn enter<P, X>(
    pool: &Linked<P>,
    task_state: Arc<TaskState<X, P::Output>>,
    mode: WaitMode,
) -> Result<Handle<P::Output>, SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let options = SubmitOptions::from(mode).with_token(task_state.meta().token.as_ref());
    verbs::enter(pool, &task_state, options)?;
    Ok(Handle::new(task_state))
}

/// As [`enter`], waiting for room as a future.
pub(super) async fn enter_async<P, X>(
    pool: &Linked<P>,
    task_state: Arc<TaskState<X, P::Output>>,
) -> Result<Handle<P::Output>, SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let token = task_state.meta().token.clone();
    let options = SubmitOptions::from(WaitMode::Forever).with_token(token.as_ref());
    verbs::enter_async(pool, task_state, options).await.map(Handle::new)
}

/// Waits for the end of a task, and cancels it when the token is. It never runs the task, and waits for one that runs however it was
/// cancelled.
pub(super) async fn ended<O: Send + 'static>(mut handle: Handle<O>, token: &CancelToken) -> Result<O, JoinError> {
    let mut cancelled = pin!(token.cancelled());
    let mut is_cancelled = false;
    poll_fn(move |poller| {
        if !is_cancelled && cancelled.as_mut().poll(poller).is_ready() {
            is_cancelled = true;
            handle.cancel();
        }
        handle.poll_inline(poller.waker()).map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Polls a future on the calling thread, and then where it is woken.
pub(super) fn detach(future: impl Future<Output = ()> + Send + 'static) {
    std::task::Wake::wake(DetachedFuture::new(future));
}
