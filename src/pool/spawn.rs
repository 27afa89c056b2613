//! Closures with an answer: a handle to it, or waiting for it.

use std::future::Future;
use std::sync::Arc;

use super::Pool;
use crate::cancel::CancelToken;
use crate::dispatch::Dispatch;
use crate::engine::{Patience, Prospect, Way};
use crate::error::{CallError, Cause, SubmitError, SubmitErrorKind};
use crate::handle::Handle;
use crate::slot::{Caller, Desk, Recalled, Reply, Run, Slot, Terms, Ticket, Verdict};
use crate::task::{Body, Task};

impl<D: Dispatch> Pool<D> {
    /// Submits a closure and returns a handle to its result; blocks while the pool is full.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let lengths = ["an", "ant"].map(|word| pool.spawn(move || word.len()).unwrap());
    /// assert_eq!(lengths.map(|handle| handle.join().unwrap()), [2, 3]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn spawn<F, T>(&self, f: F) -> Result<Handle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (slot, task) = self.slot(f, |f, _| f(), false, None);
        self.engine.submit_slot(&slot, task, self.engine.default_patience())?;
        Ok(Handle::new(slot))
    }

    /// As [`spawn`](Self::spawn), unless `token` is cancelled. The closure gets a token of its own below it, which
    /// [`Handle::cancel`] cancels, too.
    ///
    /// ```
    /// use formicary::{CancelToken, Pool};
    ///
    /// let pool = Pool::new(1)?;
    /// let all = CancelToken::new();
    /// let handle = pool.spawn_cancellable(&all, |token| {
    ///     let mut rounds = 0;
    ///     while !token.is_cancelled() {
    ///         rounds += 1;
    ///     }
    ///     rounds
    /// })?;
    /// all.cancel();
    /// // Stopped, or not even begun.
    /// assert!(handle.join().map_or_else(|error| error.is_cancelled(), |_rounds| true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit_cancellable`](Self::submit_cancellable).
    pub fn spawn_cancellable<F, T>(&self, token: &CancelToken, f: F) -> Result<Handle<T>, SubmitError<F>>
    where
        F: FnOnce(&CancelToken) -> T + Send + 'static,
        T: Send + 'static,
    {
        let (slot, task) = self.slot(f, |f, task| f(task.token()), false, Some(token));
        let way = Way::from(self.engine.default_patience()).unless(Some(token));
        self.engine.submit_slot(&slot, task, way)?;
        Ok(Handle::new(slot))
    }

    /// As [`spawn`](Self::spawn), waiting for room as [`submit_async`](Self::submit_async).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let future = pool.spawn_async(|| 7);
    /// # drop(future);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure.
    pub fn spawn_async<F, T>(&self, f: F) -> impl Future<Output = Result<Handle<T>, SubmitError<F>>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (slot, task) = self.slot(f, |f, _| f(), false, None);
        let entering = self.engine.submit_slot_async(slot, task, Patience::Forever.into());
        async move { entering.await.map(Handle::new) }
    }

    /// As [`spawn_async`](Self::spawn_async), unless `token` is cancelled: then the wait for room ends, and a closure that has
    /// entered fares as with [`spawn_cancellable`](Self::spawn_cancellable).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let token = formicary::CancelToken::new();
    /// let future = pool.spawn_async_cancellable(&token, |token| token.is_cancelled());
    /// # drop(future);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit_async_cancellable`](Self::submit_async_cancellable).
    pub fn spawn_async_cancellable<'a, F, T>(
        &'a self,
        token: &'a CancelToken,
        f: F,
    ) -> impl Future<Output = Result<Handle<T>, SubmitError<F>>> + Send
    where
        F: FnOnce(&CancelToken) -> T + Send + 'static,
        T: Send + 'static,
    {
        let (slot, task) = self.slot(f, |f, task| f(task.token()), false, Some(token));
        let way = Way::from(Patience::Forever).unless(Some(token));
        let entering = self.engine.submit_slot_async(slot, task, way);
        async move { entering.await.map(Handle::new) }
    }

    /// Runs a closure on a worker and waits for its result. From inside a task of the same pool it runs on the spot. While the pool
    /// is [paused](Self::pause) this waits: not to be called by the thread that is to resume it.
    ///
    /// Tasks of two pools that wait for each other in a circle, each with all its workers, wait for ever: no pool sees more than its own
    /// waits. Where that can be, wait with a limit: [`spawn`](Self::spawn) and [`join_timeout`](Handle::join_timeout).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.run(|| 6 * 7)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the closure, or failed: the closure panicked.
    pub fn run<F, T>(&self, f: F) -> Result<T, CallError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if !self.engine.is_inside() {
            let make = |caller| move |f: F| Task::from_body(Called(f, caller));
            return Desk::call(|caller| self.engine.submit(f, make(caller), self.engine.default_patience()))?
                .into_result();
        }
        let (slot, task) = self.slot(f, |f, _| f(), true, None);
        if !self.engine.run_on_the_spot(&slot, |f| f()) {
            self.engine.submit_slot(&slot, task, self.engine.default_patience())?;
        }
        slot.call().into_result()
    }

    /// A slot for a closure, and the task that stands for it in the queue.
    pub(crate) fn slot<F, T>(
        &self,
        f: F,
        run: Run<F, T>,
        is_call: bool,
        token: Option<&CancelToken>,
    ) -> (Arc<Slot<F, T>>, Task)
    where
        F: Send + 'static,
        T: Send + 'static,
    {
        let terms = Terms {
            pool: self.engine.id(),
            is_call,
            deadline: None,
            token: token.cloned(),
            run_here: Some(run),
            view: None,
            permit: None,
        };
        answered(f, run, terms)
    }
}

/// A slot for a closure, and the task that stands for it in a queue.
pub(crate) fn answered<F, T>(f: F, run: Run<F, T>, terms: Terms<F, T>) -> (Arc<Slot<F, T>>, Task)
where
    F: Send + 'static,
    T: Send + 'static,
{
    let slot = Slot::new(f, terms);
    let task = Task::from_body(Answered(Ticket::new(&slot), run));
    (slot, task)
}

/// A closure whose result is wanted, and how to call it.
struct Answered<F, T>(Ticket<F, T>, Run<F, T>);

impl<F, T> Body for Answered<F, T>
where
    F: Send + 'static,
    T: Send + 'static,
{
    fn call(self, reply: &mut Reply) -> Verdict {
        self.0.run(reply, None, |f, slot| self.1(f, slot))
    }

    fn recall(self, kind: SubmitErrorKind, cause: Cause) -> Recalled<Task> {
        match self.0.recall(kind, cause) {
            // Its handle has been told; whoever gets the task may still run it.
            Recalled::Here(f) => Recalled::Here(Task::new(move || drop(self.1(f, &CancelToken::new())))),
            Recalled::ToCaller => Recalled::ToCaller,
            Recalled::Gone(verdict) => Recalled::Gone(verdict),
        }
    }

    fn prospect(&self) -> Prospect {
        self.0.prospect()
    }
}

/// A closure that somebody calls and waits for.
struct Called<F, T>(F, Caller<F, T>);

impl<F, T> Body for Called<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn call(self, reply: &mut Reply) -> Verdict {
        self.1.run(reply, self.0);
        Verdict::Ran
    }

    fn recall(self, kind: SubmitErrorKind, cause: Cause) -> Recalled<Task> {
        self.1.give_back(SubmitError::new(kind, self.0).because(cause));
        Recalled::ToCaller
    }
}
