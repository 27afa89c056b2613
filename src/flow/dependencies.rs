//! Tasks that start when others have ended.
//!
//! The task has a state and a handle from the beginning, and a detached future that waits for the ends of the others and then for room. No
//! thread waits.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::cancel::{CancelReason, CancelToken};
use crate::combinators::limited::Limited;
use crate::error::{Cause, JoinError};
use crate::flow::Continuation;
use crate::pool::{Accepts, Admit, AnyPool, Later, Pool, PoolWithFunc, StatefulPool, With};
use crate::queue::Dispatch;
use crate::sync::detached_future::DetachedFuture;
use crate::sync::notifier::Notifier;
use crate::sync::waiter::Waiter;
use crate::sync::waking;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};
use crate::task::handle::{Awaited, Dependency, Handle, Link};
use crate::task::worker::Worker;

impl<T: Send + 'static> Handle<T> {
    /// Runs `f` on `pool` with the task's result, when the task has ended: its output, or why it has none. Returns at once, with a handle to the
    /// result of `f`.
    ///
    /// Until the task has ended, nothing waits on a thread, and `f` is in no queue: `pool` counts it as submitted when it enters, after
    /// the wait for room, which blocks no thread either; a pool that drops tasks when it is full ([`Overflow`](crate::Overflow)) may drop
    /// this one, and the handle says so. `pool` is a pool of closures or a view of one: that of the task, or another.
    ///
    /// - [`cancel`](Self::cancel) of the new handle drops `f` at once if it has not started. The first task goes on.
    /// - Dropping the new handle detaches: `f` runs all the same.
    /// - If `pool` is closed when the task has ended, `f` is dropped, and the handle says so ([`JoinError::refusal`]). Without a handle, `f`
    ///   is dropped silently.
    /// - A worker that joins or awaits the new handle runs the task that it waits for, and then `f`, where no other worker would, as with any
    ///   handle of its own pool. (For an await, and for [`wait_any`](crate::wait_any), only if both belong to this pool.)
    /// - A circle cannot be built: a task can only depend on a handle, which exists only after all that its task depends on.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let length = pool.spawn(|| "formica")?.then(&pool, |word| word.map_or(0, str::len));
    /// assert_eq!(length.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("and_then", "thenApply", "ContinueWith", "add_done_callback"))]
    pub fn then<P, F, U>(self, pool: &P, f: F) -> Handle<U>
    where
        P: Accepts<Continuation<U>, Output = U>,
        F: FnOnce(Result<T, JoinError>) -> U + Send + 'static,
        U: Send + 'static,
    {
        let dependency = self.dependency().even_if_failed();
        let run: Continuation<U> = Box::new(move || f(self.join()));
        With::new(pool).spawn_after([dependency], run)
    }

    /// As [`then`](Self::then), with the output. If the task has none, `f` is dropped, and the handle's error says so
    /// ([`JoinError::is_dependency`]), with the task's error as its source. So in a chain the first failure ends all that follow.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let length = pool.spawn(|| "formica")?.then_ok(&pool, str::len).then_ok(&pool, |n| 6 * n);
    /// assert_eq!(length.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn then_ok<P, F, U>(self, pool: &P, f: F) -> Handle<U>
    where
        P: Accepts<Continuation<U>, Output = U>,
        F: FnOnce(T) -> U + Send + 'static,
        U: Send + 'static,
    {
        let dependency = self.dependency();
        let run: Continuation<U> = Box::new(move || match self.join() {
            Ok(output) => f(output),
            Err(error) => unreachable!("a task that has failed ends what depends on it: {error}"),
        });
        With::new(pool).spawn_after([dependency], run)
    }
}

impl<P: AnyPool> With<'_, P> {
    /// Submits `x` when all of `after` have ended, and returns a handle at once. If one of them has failed (it panicked, was cancelled, or never
    /// started), `x` is dropped at once, and the handle's error says so ([`JoinError::is_dependency`]), unless the dependency counts
    /// [even if it failed](Dependency::even_if_failed). The results stay with the handles.
    ///
    /// Waits, cancels and ends as [`Handle::then`] does. A token or deadline of the options also ends the wait for the others, and a
    /// [`room_timeout`](Self::room_timeout) counts from their end. Takes a few hundred bytes and constant time for each dependency.
    ///
    /// ```
    /// use formicary::{Context, Pool};
    ///
    /// let pool = Pool::new(2)?;
    /// let parts = [pool.spawn(|| 6)?, pool.spawn(|| 7)?];
    /// let name = pool.with().name("sum").spawn_after(&parts, || Context::with(|cx| cx.name().map(str::to_owned)).flatten());
    /// assert_eq!(name.join()?.as_deref(), Some("sum"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If the options name a time ([`after`](Self::after), [`at`](Self::at)) or a [`weight`](Self::weight).
    #[track_caller]
    pub fn spawn_after<I, X>(&self, after: I, x: X) -> Handle<P::Output>
    where
        I: IntoIterator,
        I::Item: Into<Dependency>,
        P: Accepts<X>,
        X: Send + 'static,
    {
        match self.lane() {
            Some(lane) => spawn_after(self.later_to(&lane, x), after),
            None => spawn_after(self.later_to(self.pool(), x), after),
        }
    }
}

fn spawn_after<S, X, O, I>(later: Later<S, X, O>, after: I) -> Handle<O>
where
    S: Admit,
    X: Send + 'static,
    O: Send + 'static,
    I: IntoIterator,
    I::Item: Into<Dependency>,
{
    let link = Arc::new(After {
        dependencies: Mutex::new(after.into_iter().map(Into::into).collect()),
        has_entered: AtomicBool::new(false),
        entering: Mutex::new(None),
    });
    let handle = Handle::linked(Arc::clone(&later.task_state), Arc::clone(&link) as _);
    let entering = DetachedFuture::new(enter_after(later, Arc::clone(&link)));
    *link.entering.lock() = Some(Arc::clone(&entering));
    std::task::Wake::wake(entering);
    handle
}

/// `spawn_after` of the pools and views, without options.
macro_rules! spawn_after {
    ($example:literal) => {
        /// As [`With::spawn_after`], without options.
        ///
        /// ```
        #[doc = $example]
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn spawn_after<I, X>(&self, after: I, x: X) -> Handle<<Self as Accepts<X>>::Output>
        where
            I: IntoIterator,
            I::Item: Into<Dependency>,
            Self: Accepts<X>,
            X: Send + 'static,
        {
            With::new(self).spawn_after(after, x)
        }
    };
}

impl<D: Dispatch> Pool<D> {
    spawn_after!(
        "let pool = formicary::Pool::new(2)?;
let (a, b) = (pool.spawn(|| 6)?, pool.spawn(|| 7)?);
let product = pool.spawn_after([&a.shared(), &b.shared()], || 42);
assert_eq!(product.join()?, 42);"
    );
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    spawn_after!(
        "let pool = formicary::PoolWithFunc::new(2, |n: u32| n + 1)?;
let first = pool.spawn(1)?;
assert_eq!(pool.spawn_after([&first], 6).join()?, 7);"
    );
}

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    spawn_after!(
        "use formicary::{Context, StatefulPool, Worker};

struct Counter(u32);
impl Worker for Counter {
    type Input = u32;
    type Output = u32;
    fn process(&mut self, n: u32, _: &Context<'_>) -> u32 {
        self.0 += n;
        self.0
    }
}
let pool = StatefulPool::new(1, |_worker| Ok(Counter(0)))?;
let first = pool.spawn(3)?;
assert_eq!(pool.spawn_after([&first], 4).join()?, 7);"
    );
}

impl<P: AnyPool> Limited<P> {
    spawn_after!(
        "let pool = formicary::Pool::new(2)?;
let view = pool.limited(1);
let first = pool.spawn(|| 6)?;
assert_eq!(view.spawn_after([&first], || 7).join()?, 7);"
    );
}

/// What a dependent task waits for.
struct After {
    /// Empty once the task may enter.
    dependencies: Mutex<Vec<Dependency>>,
    has_entered: AtomicBool,
    /// Waits for the dependencies, and then for room.
    entering: Mutex<Option<Arc<DetachedFuture>>>,
}

impl Link for After {
    fn next(&self) -> Option<Arc<dyn Awaited>> {
        let dependencies = self.dependencies.lock();
        let left = dependencies.iter().find(|dependency| !dependency.awaited.is_finished());
        left.map(|dependency| Arc::clone(&dependency.awaited))
    }

    fn has_entered(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `enter_after`: the entry is in the queue.
        self.has_entered.load(Ordering::Acquire)
    }

    fn cancelled(&self) {
        let entering = self.entering.lock().take();
        entering.into_iter().for_each(|entering| entering.abort());
        self.release();
    }
}

impl After {
    /// Lets go of the tasks that were waited for.
    fn release(&self) {
        let dependencies = std::mem::take(&mut *self.dependencies.lock());
        drop(dependencies);
    }
}

/// Waits until the dependencies have ended, and submits the task.
async fn enter_after<S, I, O>(later: Later<S, I, O>, link: Arc<After>)
where
    S: Admit,
    I: Send + 'static,
    O: Send + 'static,
{
    let dependencies = link.dependencies.lock().clone();
    let token = later.task_state.meta().token.clone();
    let ended = all_ended(dependencies, token.as_ref()).await;
    link.release();
    match ended {
        // Not within the wake-up: the end of this one may fail the next.
        Err(error) => waking::defer(move || later.fail(error)),
        Ok(()) => {
            let has_entered = later.enter().await;
            // ORDERING: Release, see `has_entered`.
            link.has_entered.store(has_entered, Ordering::Release);
        }
    }
    let entering = link.entering.lock().take();
    drop(entering);
}

/// Waits until all of these have ended, one that must succeed has failed, or the token is cancelled.
async fn all_ended(dependencies: Vec<Dependency>, token: Option<&CancelToken>) -> Result<(), JoinError> {
    let mut cancelled = token.map(CancelToken::cancelled);
    let mut waiting = WaitingForAll::new(dependencies);
    poll_fn(move |poller: &mut Context<'_>| {
        if let Some(end) = waiting.look(poller.waker()) {
            return Poll::Ready(end);
        }
        let Some(cancelled) = &mut cancelled else { return Poll::Pending };
        if Pin::new(cancelled).poll(poller).is_pending() {
            return Poll::Pending;
        }
        let is_late = token.and_then(CancelToken::reason) == Some(CancelReason::Deadline);
        Poll::Ready(Err(JoinError::new(if is_late { Cause::Expired } else { Cause::Cancelled })))
    })
    .await
}

/// Tasks that notify one waiter of their ends, each in constant time.
struct WaitingForAll {
    /// Each with its entry among the waiters of the task; `None` if it is over.
    dependencies: Vec<(Dependency, Option<u64>)>,
    left: usize,
    notifier: Arc<Notifier>,
}

impl WaitingForAll {
    fn new(dependencies: Vec<Dependency>) -> Self {
        let notifier = Notifier::new(true);
        let listen = |(number, dependency): (u64, Dependency)| {
            let entry = dependency.awaited.listen_beside(Waiter::Listed(Arc::clone(&notifier), number));
            if entry.is_none() {
                notifier.note(number);
            }
            (dependency, entry)
        };
        let dependencies: Vec<_> = (0..).zip(dependencies).map(listen).collect();
        WaitingForAll { left: dependencies.len(), dependencies, notifier }
    }

    /// The end of the wait, if it is there. Otherwise the waker is woken at the next end of a task.
    fn look(&mut self, waker: &Waker) -> Option<Result<(), JoinError>> {
        if let Some(end) = self.count_ended() {
            return Some(end);
        }
        self.notifier.listen(Waiter::Inline(waker.clone()), None);
        // One that ended before has woken nobody.
        self.count_ended()
    }

    fn count_ended(&mut self) -> Option<Result<(), JoinError>> {
        while self.left > 0 {
            let number = usize::try_from(self.notifier.next_ended()?).ok()?;
            let (dependency, entry) = &mut self.dependencies[number];
            *entry = None;
            self.left -= 1;
            if let Some(error) = dependency.awaited.failure().filter(|_| dependency.must_succeed) {
                return Some(Err(JoinError::of_dependency(error)));
            }
        }
        Some(Ok(()))
    }
}

impl Drop for WaitingForAll {
    fn drop(&mut self) {
        self.notifier.stop_listening();
        for (dependency, entry) in &self.dependencies {
            entry.iter().for_each(|entry| dependency.awaited.stop_listening(*entry));
        }
    }
}
