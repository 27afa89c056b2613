//! What an attempt needs of what is below it: a pool, a view, or a breaker in front of one.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::cancel::CancelToken;
use crate::error::{JoinError, SubmitError};
use crate::pool::{Accepts, AnyPool, Linked, With};
use crate::sync::detached_future::DetachedFuture;
use crate::task::handle::Handle;
use crate::task::state::{Promise, TaskMeta};

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

/// Options that are kept without their pool.
pub(super) type Options = With<'static, ()>;

/// Submits a task with options, under a token of its own. Blocks for room only if it `waits`.
pub(super) fn enter<P, X>(
    options: &Options,
    pool: &Linked<P>,
    token: &CancelToken,
    x: X,
    waits: bool,
) -> Result<Handle<P::Output>, SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let with = options.bind(pool).token(token);
    if waits { with.spawn(x) } else { with.try_spawn(x) }
}

/// As [`enter`], waiting for room as a future. The task takes along what the calling thread carries now, whoever polls.
pub(super) fn enter_async<'p, P, X>(
    options: &Options,
    pool: &'p Linked<P>,
    token: &CancelToken,
    x: X,
) -> impl Future<Output = Result<Handle<P::Output>, SubmitError<X>>> + Send + use<'p, P, X>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    options.bind(pool).token(token).spawn_async(x)
}

/// The result of a task that is to be submitted, and the token that cancels the task as a whole: with the token of the options, and at their
/// deadline. The options of its attempts need neither.
pub(super) fn promise<P: AnyPool, O: Send + 'static>(options: &Options, pool: &Linked<P>) -> (Promise<O>, CancelToken) {
    let promise = Promise::new(TaskMeta { token: options.token.clone(), ..TaskMeta::new(pool.engine().id()) });
    let token = promise.token();
    if let Some(deadline) = options.deadline {
        token.cancel_at(deadline);
    }
    (promise, token)
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
