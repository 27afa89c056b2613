//! Closures whose result is nobody's business.

use std::future::Future;
use std::time::Duration;

use super::Pool;
use crate::cancel::CancelToken;
use crate::dispatch::Dispatch;
use crate::engine::{Patience, Prospect, Way};
use crate::error::{Cause, SubmitAllError, SubmitError, SubmitErrorKind};
use crate::slot::{Recalled, Reply, Verdict};
use crate::task::{Body, Task};

impl<D: Dispatch> Pool<D> {
    /// Submits a closure; blocks while the pool is full (or, with
    /// [`nonblocking`](crate::Builder::nonblocking), refuses). Its result is nobody's business; a panic in it is caught.
    ///
    /// A submitter that blocks keeps the locks that it holds. If the tasks that would make room for it need one of them, neither goes
    /// on: so submit after the lock is released, or with a limit ([`submit_timeout`](Self::submit_timeout)).
    ///
    /// From inside a task of the same pool it neither blocks nor refuses for want of room, and so do all other ways to submit
    /// ([`Builder::nested`](crate::Builder::nested)).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| println!("on a worker"))?;
    /// pool.wait_idle();
    /// assert_eq!(pool.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure, if the pool is closed, full and not to be waited for, if too many wait
    /// already ([`max_blocking`](crate::Builder::max_blocking)), or if no thread can be had.
    pub fn submit<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enter(f, self.engine.default_patience())
    }

    /// Submits a closure if there is room; never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || drop(gate.recv()))?;
    /// assert!(pool.try_submit(|| ()).unwrap_err().is_full());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure; of kind `Full` if there is no room.
    pub fn try_submit<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enter(f, Patience::None)
    }

    /// Submits a closure; blocks for at most `limit`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || drop(gate.recv()))?;
    /// let refusal = pool.submit_timeout(|| (), Duration::from_millis(1)).unwrap_err();
    /// assert!(refusal.is_timed_out());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure; of kind `TimedOut` if there was no room in time.
    pub fn submit_timeout<F>(&self, f: F, limit: Duration) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enter(f, Patience::at_most(limit))
    }

    /// Submits a closure unless `token` is cancelled; blocks while the pool is full, and gives up when the token is cancelled
    /// meanwhile. If it is cancelled while the closure is queued, the closure never runs; it is dropped when its turn comes, and
    /// counted as cancelled. A closure that runs may look at a clone of the token.
    ///
    /// ```
    /// use formicary::{CancelToken, Pool, SubmitErrorKind};
    ///
    /// let pool = Pool::new(1)?;
    /// let token = CancelToken::new();
    /// let pause = pool.pause();
    /// pool.submit_cancellable(&token, || unreachable!("it was cancelled"))?;
    /// token.cancel();
    /// drop(pause);
    /// pool.wait_idle();
    /// assert_eq!(pool.stats().cancelled, 1);
    /// assert_eq!(pool.submit_cancellable(&token, || ()).unwrap_err().kind(), SubmitErrorKind::Cancelled);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit); `Cancelled`, or `TimedOut` if it was by the token's deadline.
    pub fn submit_cancellable<F>(&self, token: &CancelToken, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let way = Way::from(self.engine.default_patience()).unless(Some(token));
        self.engine.submit(f, |f| Cancellable::task(token, f), way)?;
        self.engine.note_cancellable(Some(token));
        Ok(())
    }

    /// Submits a closure; waits for room without blocking the thread, in one line with the threads that wait.
    /// Dropping the future takes it out of the line, and drops the closure. No room is kept for a future, as it may never be polled
    /// again: a newcomer may take what it was woken for, and those behind it get in if it does not come soon. It keeps its place in
    /// the line, and is woken again. Not on a worker of this pool: there nobody sees
    /// that it waits for itself.
    ///
    /// ```
    /// # fn block_on<F: std::future::Future>(f: F) -> F::Output {
    /// #     let mut f = std::pin::pin!(f);
    /// #     struct Unpark(std::thread::Thread);
    /// #     impl std::task::Wake for Unpark { fn wake(self: std::sync::Arc<Self>) { self.0.unpark() } }
    /// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    /// #     loop {
    /// #         match f.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
    /// #             std::task::Poll::Ready(out) => return out,
    /// #             std::task::Poll::Pending => std::thread::park(),
    /// #         }
    /// #     }
    /// # }
    /// let pool = formicary::Pool::new(1).unwrap();
    /// block_on(async {
    ///     pool.submit_async(|| ()).await.unwrap();
    ///     let handle = pool.spawn_async(|| 6 * 7).await.unwrap();
    ///     assert_eq!(handle.await.unwrap(), 42);
    /// });
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure.
    pub fn submit_async<F>(&self, f: F) -> impl Future<Output = Result<(), SubmitError<F>>> + Send
    where
        F: FnOnce() + Send + 'static,
    {
        let entering = self.engine.submit_async(Task::new(f), Patience::Forever.into());
        async move { entering.await.map_err(|e| e.map(Task::into_closure)) }
    }

    /// As [`submit_async`](Self::submit_async), unless `token` is cancelled: then the wait for room ends, and a closure that has
    /// entered fares as with [`submit_cancellable`](Self::submit_cancellable).
    ///
    /// ```
    /// # fn block_on<F: std::future::Future>(f: F) -> F::Output {
    /// #     let mut f = std::pin::pin!(f);
    /// #     struct Unpark(std::thread::Thread);
    /// #     impl std::task::Wake for Unpark { fn wake(self: std::sync::Arc<Self>) { self.0.unpark() } }
    /// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    /// #     loop {
    /// #         match f.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
    /// #             std::task::Poll::Ready(out) => return out,
    /// #             std::task::Poll::Pending => std::thread::park(),
    /// #         }
    /// #     }
    /// # }
    /// use formicary::{CancelToken, Pool};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::builder().workers(1).queue(0).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// let token = CancelToken::new();
    /// token.cancel_after(Duration::from_millis(5));
    /// let refusal = block_on(pool.submit_async_cancellable(&token, || ())).unwrap_err();
    /// assert!(refusal.is_timed_out());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure; `Cancelled`, or `TimedOut` if it was by the token's deadline.
    pub fn submit_async_cancellable<'a, F>(
        &'a self,
        token: &'a CancelToken,
        f: F,
    ) -> impl Future<Output = Result<(), SubmitError<F>>> + Send
    where
        F: FnOnce() + Send + 'static,
    {
        let way = Way::from(Patience::Forever).unless(Some(token));
        let entering = self.engine.submit_async(Cancellable::task(token, f), way);
        async move {
            entering.await.map_err(Cancellable::back)?;
            self.engine.note_cancellable(Some(token));
            Ok(())
        }
    }

    /// Submits all closures of an iterator. Blocks where [`submit`](Self::submit) would. At most
    /// one worker is being woken at any time, not one for each task. Says how many were accepted.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// assert_eq!(pool.submit_all((0..100).map(|_| || ())).unwrap(), 100);
    /// pool.wait_idle();
    /// assert_eq!(pool.stats().completed, 100);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitAllError`] at the first refusal, with the count before it, the refused closure, and the rest of the iterator.
    pub fn submit_all<F, I>(&self, closures: I) -> Result<usize, SubmitAllError<F, I::IntoIter>>
    where
        F: FnOnce() + Send + 'static,
        I: IntoIterator<Item = F>,
    {
        let mut rest = closures.into_iter();
        let result = self.engine.submit_all(&mut rest.by_ref(), Task::new);
        result.map_err(|(accepted, error)| SubmitAllError::new(accepted, error, rest))
    }

    pub(crate) fn enter<'t, F>(&self, f: F, way: impl Into<Way<'t>>) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.engine.submit(f, Task::new, way)
    }
}

/// A closure that runs only if its token is not cancelled when its turn comes.
struct Cancellable<F> {
    token: CancelToken,
    f: F,
}

impl<F: FnOnce() + Send + 'static> Cancellable<F> {
    fn task(token: &CancelToken, f: F) -> Task {
        Task::from_body(Cancellable { token: token.clone(), f })
    }

    /// The closure of a task that was refused.
    fn back(refusal: SubmitError<Task>) -> SubmitError<F> {
        refusal.map(|task| task.into_body::<Self>().f)
    }
}

impl<F: FnOnce() + Send + 'static> Body for Cancellable<F> {
    fn call(self, reply: &mut Reply) -> Verdict {
        if self.token.is_cancelled() {
            return reply.drop_cancelled(self.f);
        }
        (self.f)();
        Verdict::Ran
    }

    fn recall(self, _kind: SubmitErrorKind, _cause: Cause) -> Recalled<Task> {
        Recalled::Here(Task::from_body(self))
    }

    fn prospect(&self) -> Prospect {
        Prospect::of(&self.token)
    }
}
