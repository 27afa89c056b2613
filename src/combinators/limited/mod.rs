//! A view of a pool that runs at most so many tasks at once.
//!
//! A task acquires a permit of the view before it goes to the pool, and releases it when it has run. One that finds a permit free goes to
//! the pool as any other does, and its submitter waits there for room. One that finds none waits in the view, where it occupies no worker;
//! when it has got its permit and the pool is full, its entry waits in the pool's wait queue as a future does, so no thread waits for it.
//!
//! What goes to the pool is an entry that stands for the task ([`Deferred`](crate::task::deferred::Deferred)). The task stays with the view
//! until it starts, so a task that is cancelled, or run by a worker that waits for it, leaves at once, wherever its entry is. A view of a
//! view shares its lock, so a task gets a permit of each in one step.

mod accepts;
mod admission;
mod admit;
mod awaiting;
mod by_number;
mod dispatch;
mod entering;
mod entries;
mod inside;
mod lanes;
mod node;
mod overflow;
mod pace;
mod pool_views;
#[cfg(feature = "rate")]
mod quota;
#[cfg(feature = "rate")]
mod rate;
#[cfg(feature = "async")]
mod reentry;
mod scheduled;
mod state;
mod stats;
pub(crate) mod steering;
mod verbs;
mod view;

use std::fmt;
use std::time::Duration;

use crate::engine::{Engine, Runner};
use crate::pool::{AnyPool, Pool, PoolWithFunc, StatefulPool};
use crate::queue::Dispatch;
use crate::semaphore::Semaphore;
use crate::sync::Arc;
use crate::sync::clock::deadline;
use crate::task::worker::Worker;
#[cfg(feature = "rate")]
pub use quota::Quota;
pub use stats::LimitedStats;

use view::View;

/// A view of a pool that runs at most so many tasks at once, on the pool's workers; made by [`Pool::limited`],
/// [`PoolWithFunc::limited`], [`StatefulPool::limited`], or [`Limited::limited`] of another view.
///
/// It accepts what its pool does, with the same verbs and the same options ([`with`](Self::with)). It has figures of its own, and a queue of
/// its own with as much room as the pool's: it takes in as many tasks as may run at once, which is its limit but no more than the pool's
/// workers, and the pool's queue beyond them, or fewer ([`queue`](Self::queue)). A task that waits in it occupies no worker. In the pool's
/// figures each of its tasks is one task, from when it goes there.
///
/// **Bounds.** A view does not widen the pool's bound. A task that could run at once as far as the view goes needs room in the pool, and its
/// submitter waits for that in the wait queue of the pool, with the pool's own. Any other waits in the view, which takes it in only if the pool
/// has room for it and for all tasks that wait in any of its views. So all its views together never have more tasks waiting than the pool may
/// hold, and a view of a full pool is full. (With an unbounded queue there is no bound here either.) A task that its handle cancels, or that
/// is run by the worker that waits for it, gives its room and its permit back at once; one that is cancelled by its token does so when
/// the room is needed.
///
/// **Views of views.** A task of a view of a view counts against both limits, both queues and both figures, and needs a permit of each. A
/// release of a permit looks at each view of the same view of the pool.
///
/// **Inside the pool.** Its tasks never wait for room in a view, which takes their tasks in however many there are (where
/// [`Builder::nested`](crate::Builder::nested) sets a cap they are refused with `WouldDeadlock` instead of waiting). A task of the view that
/// joins or awaits another one runs that with its own permit. A task of a view that waits for one of a view of it lends its permit in the same
/// way. Any other task of the pool runs it with the permit that the view has given it; if it waits for a permit, and no other worker is free
/// to, those of the view that have one run first, on the same worker. Two views whose tasks wait for a permit of the other deadlock. So does,
/// on a [`StatefulPool`], a task that waits for one of the same view while that needs its permit: the state is in use, so it cannot run on the
/// spot. And so may a half of a [`join`](Pool::join), or a task of a scope, that another worker has stolen, if it waits for a task of a view
/// that its own task has the last permit of: the permit stays with the worker that waits for the half. Wait for such tasks outside of the halves.
///
/// Dropping the view closes it and drops what has not gone to the pool.
///
/// ```
/// use formicary::{Pool, PoolWithFunc};
///
/// let pool = Pool::new(4)?;
/// let disk = pool.limited(1);
/// let handles: Vec<_> = (0..10).map(|n| disk.spawn(move || n).unwrap()).collect();
/// assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap()).sum::<u32>(), 45);
/// assert_eq!((disk.stats().completed, disk.stats().peak_running), (10, 1));
///
/// let lengths = PoolWithFunc::new(4, |word: &'static str| word.len())?;
/// let api = lengths.limited(2);
/// let slow = api.limited(1).queue(100); // at most 1 of the 2
/// assert_eq!(slow.with().name("count").run("formica")?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Limited<P: AnyPool = Pool> {
    view: Arc<View<P::Runner, P::Dispatch>>,
}

/// What a view gives back of a task: the task, payload or input of its pool.
type Returned<P> = <<P as AnyPool>::Runner as Runner>::Returned;

fn limited<P: AnyPool>(
    engine: &Arc<Engine<P::Runner, P::Dispatch>>,
    parent: Option<&View<P::Runner, P::Dispatch>>,
    limit: usize,
) -> Limited<P> {
    Limited { view: View::new(engine, parent, limit) }
}

#[track_caller]
fn checked(limit: usize) -> usize {
    assert!(limit > 0, "`limit` is 0: a view of a pool needs at least one permit");
    limit
}

impl<D: Dispatch> Pool<D> {
    /// A view of this pool that runs at most `limit` tasks at once, and holds no more tasks than the pool may hold, however large its
    /// limit is ([`Limited`] has the details). Does not keep the pool open: when the pool is closed, so is the view, and what waits in the
    /// view is dropped and counted as cancelled.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let one_by_one = pool.limited(1);
    /// assert_eq!(one_by_one.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `limit` is 0: such a view could run nothing.
    #[track_caller]
    pub fn limited(&self, limit: usize) -> Limited<Self> {
        limited(&self.engine, None, checked(limit))
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    /// A view of this pool that runs at most `limit` tasks at once, and holds no more tasks than the pool may hold, however large its
    /// limit is ([`Limited`] has the details). Does not keep the pool open: when the pool is closed, so is the view, and what waits in the
    /// view is dropped and counted as cancelled.
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::new(4, |word: &'static str| word.len())?;
    /// let one_by_one = lengths.limited(1);
    /// assert_eq!(one_by_one.run("formica")?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `limit` is 0: such a view could run nothing.
    #[track_caller]
    pub fn limited(&self, limit: usize) -> Limited<Self> {
        limited(&self.engine, None, checked(limit))
    }
}

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// A view of this pool that runs at most `limit` tasks at once, and holds no more tasks than the pool may hold, however large its
    /// limit is ([`Limited`] has the details). Does not keep the pool open: when the pool is closed, so is the view, and what waits in the
    /// view is dropped and counted as cancelled.
    ///
    /// ```
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(4, |_| Ok(Square))?;
    /// let one_by_one = squares.limited(1);
    /// assert_eq!(one_by_one.run(6)?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `limit` is 0: such a view could run nothing.
    #[track_caller]
    pub fn limited(&self, limit: usize) -> Limited<Self> {
        limited(&self.engine, None, checked(limit))
    }
}

/// What an owner does with a view.
impl<P: AnyPool> Limited<P> {
    /// A view of this view: its tasks count against both limits. When this view is closed, so is that one.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let api = pool.limited(3);
    /// let uploads = api.limited(1);
    /// assert_eq!(uploads.run(|| 7)?, 7);
    /// assert_eq!((uploads.stats().completed, api.stats().completed), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `limit` is 0.
    #[track_caller]
    pub fn limited(&self, limit: usize) -> Self {
        limited(self.view.engine(), Some(&self.view), checked(limit))
    }

    /// Bounds the tasks that may wait in the view for a permit. Beyond that a submitter waits, or is refused. Those that the pool's own tasks
    /// submit are let in all the same. Default: no bound but that of the pool.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(1).queue(0);
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// view.submit(move || drop(gate.recv()))?;
    /// assert!(view.try_submit(|| ()).unwrap_err().is_full());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it is the view"]
    pub fn queue(self, tasks: usize) -> Self {
        self.view.with_node(|node| node.queue = Some(tasks));
        self
    }

    /// The semaphore from which the tasks of this view, and of its views, take their weights ([`With::weight`](crate::With::weight)), in place of
    /// the pool's. Default: that of the view that this is a view of, or the pool's.
    ///
    /// ```
    /// use formicary::{Pool, Semaphore};
    ///
    /// let (pool, memory) = (Pool::new(4)?, Semaphore::new(100));
    /// let images = pool.limited(2).budget(&memory);
    /// images.with().weight(60).run(|| ())?;
    /// assert_eq!(memory.available(), 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it is the view"]
    pub fn budget(self, budget: &Semaphore) -> Self {
        let before = self.view.with_node(|node| node.budget.replace(budget.clone()));
        drop(before);
        self
    }

    /// Changes the limit, at once: when this returns, no task starts while `limit` or more run. Those that run beyond a lower limit go on. Tasks
    /// that were in the pool's queue and may not run yet wait in the view again, in their order, and leave the pool's figures meanwhile. Does
    /// not block. Takes time in proportion to them.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(1);
    /// view.set_limit(3);
    /// assert_eq!(view.limit(), 3);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Panics
    /// If `limit` is 0. (To hold the tasks of a view back, [pause](crate::PoolControl::pause) the pool.)
    #[doc(alias("tune", "resize"))]
    #[track_caller]
    pub fn set_limit(&self, limit: usize) {
        self.view.set_limit(checked(limit));
    }

    /// The most tasks that it runs at once.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(2).limit(), 2);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn limit(&self) -> usize {
        self.view.with_node(|node| node.limit)
    }

    /// A snapshot of the view's figures.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(2).stats().submitted, 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn stats(&self) -> LimitedStats {
        self.view.stats()
    }

    /// How many submitters of this view, threads and futures, wait for room: in the view, or with a permit in the pool. Those of its own
    /// views are not counted.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(2).waiting(), 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn waiting(&self) -> usize {
        self.view.waiting()
    }

    /// Blocks until the view has nothing that waits or runs, and leaves it open. Returns `true`; called from a task of the
    /// pool, which might wait for itself, it returns `false` at once.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(2);
    /// view.submit(|| ())?;
    /// assert!(view.wait_idle());
    /// assert_eq!(view.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_idle(&self) -> bool {
        self.view.wait_idle(None)
    }

    /// The same for at most `limit`; returns whether the view is idle.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert!(pool.limited(2).wait_idle_timeout(std::time::Duration::from_secs(1)));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use = "the view may not be idle when the time is up"]
    pub fn wait_idle_timeout(&self, limit: Duration) -> bool {
        self.view.wait_idle(deadline(limit))
    }

    /// The same as a future, which blocks no thread. Polled by a task of the pool, it is `false` at once unless the view is idle.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(2);
    /// view.submit(|| ())?;
    /// assert!(view.wait_idle_async().await);
    /// assert_eq!(view.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If it is polled after it was ready.
    pub async fn wait_idle_async(&self) -> bool {
        self.view.wait_idle_async().await
    }

    /// Refuses all that comes from now on, and gives back what waits in the view, and in its own views, in the order of its coming. What has
    /// gone to the pool goes on; the pool stays open. A task that is given back counts as returned. Does not block.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(1);
    /// assert!(view.close().is_empty());
    /// assert!(view.submit(|| ()).unwrap_err().is_closed());
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the tasks that waited are in it, and go with it"]
    pub fn close(&self) -> Vec<Returned<P>> {
        self.view.close_and_return()
    }
}

impl<P: AnyPool> Drop for Limited<P> {
    fn drop(&mut self) {
        self.view.close_and_drop();
    }
}

impl<P: AnyPool> fmt::Debug for Limited<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited").field("limit", &self.limit()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
