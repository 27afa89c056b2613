//! Pools and views as services of `tower`.
//!
//! A service reserves nothing in [`poll_ready`](Service::poll_ready): what is reserved for a caller that does not call is lost to the
//! others. It is ready when there is room. If others take that before the call, the call waits for room in its future, so it is never
//! refused for want of room.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tower_service::Service;

use crate::combinators::limited::Limited;
use crate::engine::{SubmitOptions, WaitMode};
use crate::error::{CallError, JoinError, SubmitError, SubmitErrorKind};
use crate::pool::verbs::{self, TaskOptions};
use crate::pool::{Accepts, Admit, AnyPool, Pool, PoolWithFunc, StatefulPool};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::handle::Handle;
use crate::task::worker::Worker;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A pool that is waited for.
struct Room<P> {
    pool: Arc<P>,
    /// The wait of a service that found no room. The lock makes the service `Sync`, and is never taken.
    wait: Mutex<Option<Boxed<()>>>,
}

impl<P: AnyPool + Send + 'static> Room<P> {
    fn new(pool: Arc<P>) -> Self {
        Room { pool, wait: Mutex::new(None) }
    }

    fn poll_ready(&mut self, poller: &mut Context<'_>) -> Poll<Result<(), CallError<()>>> {
        let wait = self.wait.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !self.pool.engine().is_closed() {
            let pool = &self.pool;
            let room = wait.get_or_insert_with(|| {
                let pool = Arc::clone(pool);
                Box::pin(async move { pool.shared().room().await })
            });
            ready!(room.as_mut().poll(poller));
        }
        *wait = None;
        match self.pool.shared().is_closed() {
            true => Poll::Ready(Err(CallError::Refused(SubmitError::new(SubmitErrorKind::Closed, ())))),
            false => Poll::Ready(Ok(())),
        }
    }

    /// Takes room at once if there is any, or else in the future.
    fn call<X>(&self, x: X) -> ResponseFuture<P::Output>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let task_state = verbs::task_state(&*self.pool, x, TaskOptions::default(), false);
        let at_once = SubmitOptions::from(WaitMode::Never).retried();
        let entered = match verbs::enter(&*self.pool, &task_state, at_once) {
            Err(refusal) if refusal.is_full() => Err(refusal.into_task()),
            entered => Ok(entered.map(|()| CancelsOnDrop(Handle::new(task_state)))),
        };
        let pool = Arc::clone(&self.pool);
        ResponseFuture(Box::pin(async move {
            let entered = match entered {
                Ok(entered) => entered,
                Err(x) => verbs::spawn_async(&*pool, x).await.map(CancelsOnDrop),
            };
            let response = entered.map_err(|refusal| CallError::Refused(refusal.map(drop)))?;
            Ok(response.await?)
        }))
    }
}

/// The readiness that was reached is not cloned.
impl<P: AnyPool + Send + 'static> Clone for Room<P> {
    fn clone(&self) -> Self {
        Room::new(Arc::clone(&self.pool))
    }
}

/// A task that is cancelled when nobody waits for it.
struct CancelsOnDrop<T: Send + 'static>(Handle<T>);

impl<T: Send + 'static> Future for CancelsOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(poller)
    }
}

impl<T: Send + 'static> Drop for CancelsOnDrop<T> {
    fn drop(&mut self) {
        if !self.0.is_finished() {
            self.0.cancel();
        }
    }
}

/// The response of a [`PoolService`] or a [`FnService`]. Dropping it cancels the task as [`Handle::cancel`] does: one that has not started
/// never will, and one that runs is told to stop.
#[must_use = "dropping it cancels the task"]
pub struct ResponseFuture<T>(Boxed<Result<T, CallError<()>>>);

impl<T> Future for ResponseFuture<T> {
    type Output = Result<T, CallError<()>>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(poller)
    }
}

impl<T> fmt::Debug for ResponseFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// A pool of any kind, or a view of one, as a [`tower_service::Service`] (feature `tower`). A request is what the pool accepts: a payload
/// of a [`PoolWithFunc`], an input of a [`StatefulPool`], a closure for a [`Pool`]; for a function and closures see [`FnService`].
///
/// - **Ready** means that there is room, in the pool and in the view. Otherwise `poll_ready` waits without a thread, in the order of all
///   submitters, so `LoadShed` sheds what finds no room. Nothing is reserved: if others take the room, the call waits for it in its future.
///   A closed pool is never ready: its service returns an error.
/// - **A call** queues its task at once if there is room. Dropping the response cancels the task, so `Timeout` and `Buffer` do. A task that
///   has started is only told to stop ([`Context::is_cancelled`](crate::Context::is_cancelled)).
/// - **An error** is a [`CallError`] without the request: refused, panicked, or cancelled. `Retry` needs a request that it can clone.
/// - **A clone** is another service on the same pool, and costs no allocation. The pool ends when its last owner drops it, also in a
///   service.
///
/// Each call costs an allocation beside those of a handle.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use formicary::{PoolService, PoolWithFunc};
/// use tower::{Service, ServiceBuilder, ServiceExt};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let lengths = Arc::new(PoolWithFunc::new(2, |word: &'static str| word.len())?);
/// let mut service = ServiceBuilder::new()
///     .load_shed()
///     .timeout(Duration::from_secs(10))
///     .service(PoolService::new(lengths));
/// assert_eq!(service.ready().await?.call("formica").await?, 7);
/// # Ok::<(), tower::BoxError>(())
/// # })?;
/// # Ok::<(), tower::BoxError>(())
/// ```
pub struct PoolService<P>(Room<P>);

impl<P: AnyPool + Send + 'static> PoolService<P> {
    /// A service on a pool or a view.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use formicary::{Pool, PoolService};
    ///
    /// let pool = Pool::new(4)?;
    /// let view = PoolService::new(Arc::new(pool.limited(2)));
    /// # drop(view);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn new(pool: Arc<P>) -> Self {
        PoolService(Room::new(pool))
    }
}

impl<P, X> Service<X> for PoolService<P>
where
    P: Accepts<X> + Send + 'static,
    X: Send + 'static,
{
    type Response = P::Output;
    type Error = CallError<()>;
    type Future = ResponseFuture<P::Output>;

    fn poll_ready(&mut self, poller: &mut Context<'_>) -> Poll<Result<(), CallError<()>>> {
        self.0.poll_ready(poller)
    }

    fn call(&mut self, x: X) -> ResponseFuture<P::Output> {
        self.0.call(x)
    }
}

impl<P: AnyPool + Send + 'static> Clone for PoolService<P> {
    fn clone(&self) -> Self {
        PoolService(self.0.clone())
    }
}

impl<P> fmt::Debug for PoolService<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolService").finish_non_exhaustive()
    }
}

/// A function that runs on the workers of a [`Pool`], or of a view of one, as a [`tower_service::Service`] (feature `tower`). Each call has
/// a clone of the function. In all else it is a [`PoolService`].
///
/// ```
/// use std::sync::Arc;
/// use formicary::Pool;
/// use tower::{Service, ServiceExt};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let pool = Arc::new(Pool::new(2)?);
/// let mut service = pool.service(|word: String| word.len());
/// assert_eq!(service.ready().await?.call("formica".to_owned()).await?, 7);
/// # Ok::<(), tower::BoxError>(())
/// # })?;
/// # Ok::<(), tower::BoxError>(())
/// ```
pub struct FnService<P, F> {
    room: Room<P>,
    f: F,
}

impl<P: AnyPool + Send + 'static, F> FnService<P, F> {
    /// A service that runs `f` on the workers of a [`Pool`] or a view of one.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use formicary::{FnService, Pool};
    ///
    /// let pool = Pool::new(4)?;
    /// let square = FnService::new(Arc::new(pool.limited(2)), |n: u32| n * n);
    /// # drop(square);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn new(pool: Arc<P>, f: F) -> Self {
        FnService { room: Room::new(pool), f }
    }
}

macro_rules! call_functions {
    ($($pool:ty),*) => {
        $(impl<D, F, X, T> Service<X> for FnService<$pool, F>
        where
            D: Dispatch,
            F: Fn(X) -> T + Clone + Send + 'static,
            X: Send + 'static,
            T: Send + 'static,
        {
            type Response = T;
            type Error = CallError<()>;
            type Future = ResponseFuture<T>;

            fn poll_ready(&mut self, poller: &mut Context<'_>) -> Poll<Result<(), CallError<()>>> {
                self.room.poll_ready(poller)
            }

            fn call(&mut self, x: X) -> ResponseFuture<T> {
                let f = self.f.clone();
                self.room.call(move || f(x))
            }
        })*
    };
}
call_functions!(Pool<D>, Limited<Pool<D>>);

impl<P: AnyPool + Send + 'static, F: Clone> Clone for FnService<P, F> {
    fn clone(&self) -> Self {
        FnService { room: self.room.clone(), f: self.f.clone() }
    }
}

impl<P, F> fmt::Debug for FnService<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnService").finish_non_exhaustive()
    }
}

impl<D: Dispatch> Pool<D> {
    /// A `tower` service that runs `f` on the workers (feature `tower`). For a view of a pool: [`FnService::new`].
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// let pool = Arc::new(formicary::Pool::new(2)?);
    /// let service = pool.service(|n: u32| n * n);
    /// # drop(service);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn service<F>(self: &Arc<Self>, f: F) -> FnService<Self, F> {
        FnService::new(Arc::clone(self), f)
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    /// This pool as a `tower` service (feature `tower`).
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// let pool = Arc::new(formicary::PoolWithFunc::new(2, |n: u32| n * n)?);
    /// let service = pool.service();
    /// # drop(service);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn service(self: &Arc<Self>) -> PoolService<Self> {
        PoolService::new(Arc::clone(self))
    }
}

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// This pool as a `tower` service (feature `tower`).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use formicary::{Context, StatefulPool, Worker};
    ///
    /// struct Count(u64);
    /// impl Worker for Count {
    ///     type Input = u64;
    ///     type Output = u64;
    ///     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 {
    ///         self.0 += n;
    ///         self.0
    ///     }
    /// }
    /// let pool = Arc::new(StatefulPool::new(1, |_| Ok(Count(0)))?);
    /// let service = pool.service();
    /// # drop(service);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn service(self: &Arc<Self>) -> PoolService<Self> {
        PoolService::new(Arc::clone(self))
    }
}
