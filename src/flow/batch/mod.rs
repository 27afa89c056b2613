//! Batching: single items in, slices to a function, each item gets its own result.
//!
//! An item is a task state that no pool knows; a batch is one task of the pool. The last item of a batch, the timer, or a flush sends it, by
//! a detached future that waits for room and then for the end, and hands out the results.

mod core;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use self::core::Core;
use crate::combinators::limited::Limited;
use crate::engine::WaitMode;
use crate::error::{CallError, SubmitError};
use crate::flow::Continuation;
use crate::pool::{Accepts, AnyPool, Pool};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::handle::Handle;

/// How many full batches may wait, unless [`Batched::queue`] says otherwise.
const DEFAULT_BATCHES: usize = 4;

/// Takes single items, and gives them in batches to a function on a pool's workers; made by [`Pool::batched`] and [`Limited::batched`].
///
/// A batch is sent when it has `max` items, when its first item has waited for `max_delay`, at a [`flush`](Self::flush), or when this is
/// dropped. It is then one task of the pool, which waits for room without a thread. Batches are sent in the order of their items; several
/// may run at a time (a view with the limit 1 runs one after the other).
///
/// - **Results.** The function returns one result for each item, in their order. An item without one gets an error
///   ([`JoinError::is_no_result`](crate::JoinError::is_no_result)); results beyond the items are dropped.
/// - **Panics.** A panic of the function is the error of the items of its batch, and of no others. The pool counts and reports it once.
/// - **Bound.** At most [`queue`](Self::queue) items wait for the start of their batches. When there are so many, `submit` blocks in
///   first-come order. A worker of the pool never waits here: its items come on top.
/// - **Cancelling.** [`Handle::cancel`] removes an item whose batch has not started. A batch without items does not run.
/// - **The end.** If the pool is closed, or refuses or returns a batch, the handles of its items say so. [`close`](Self::close) gives back the
///   items that are in no batch yet; dropping this sends them. It does not keep the pool open.
/// - **Inside the pool.** A worker that waits for an item sends its batch at once, and runs it if no other worker would.
///
/// An item costs one allocation and a lock, a batch a few more.
///
/// ```
/// use std::time::Duration;
///
/// let pool = formicary::Pool::new(2)?;
/// // One statement for many rows, say.
/// let insert = pool.batched(100, Duration::from_millis(5), |rows: Vec<&str>| {
///     rows.iter().map(|row| row.len()).collect()
/// });
/// let handles: Vec<_> = ["ant", "formica"].map(|row| insert.spawn(row).unwrap()).into();
/// insert.flush(); // does not wait for more
/// let lengths: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
/// assert_eq!(lengths, [3, 7]);
/// assert_eq!((insert.stats().batches, pool.stats().submitted), (1, 1));
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub struct Batched<T: Send + 'static, R: Send + 'static> {
    core: Arc<Core<T, R>>,
}

/// The figures of a [`Batched`], at one moment: `submitted = waiting + running + completed + failed + cancelled`.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let batched = pool.batched(2, std::time::Duration::MAX, |items: Vec<u32>| items);
/// let handles = [1, 2, 3].map(|n| batched.spawn(n).unwrap());
/// assert_eq!(handles.map(|handle| if handle.cancel() { 0 } else { 1 })[2], 0);
/// let stats: formicary::BatchStats = batched.stats();
/// assert_eq!(stats.submitted, 3);
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchStats {
    /// Items that were taken in.
    pub submitted: u64,
    /// Items whose batches have not started.
    pub waiting: usize,
    /// Items in batches that run.
    pub running: usize,
    /// Items that got a result.
    pub completed: u64,
    /// Items whose batch panicked, or had no result for them.
    pub failed: u64,
    /// Items that were cancelled or given back, or whose batch never ran.
    pub cancelled: u64,
    /// Batches that have started.
    pub batches: u64,
    /// Submitters that wait for room.
    pub blocked: usize,
}

#[track_caller]
fn batched<P, T, R, F>(pool: &P, max: usize, max_delay: Duration, f: F) -> Batched<T, R>
where
    P: Accepts<Continuation<Vec<R>>, Output = Vec<R>>,
    T: Send + 'static,
    R: Send + 'static,
    F: Fn(Vec<T>) -> Vec<R> + Send + Sync + 'static,
{
    assert!(max > 0, "`max` is 0: a batch has at least one item");
    Batched { core: Arc::new(Core::new(pool, max, max_delay, std::sync::Arc::new(f))) }
}

impl<D: Dispatch> Pool<D> {
    /// Single items in, batches of up to `max` to `f`, on this pool's workers. A batch goes out when it is full or its first item has waited
    /// for `max_delay` ([`Duration::MAX`]: only when it is full, or flushed). See [`Batched`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(2)?;
    /// let double = pool.batched(10, Duration::from_millis(1), |ns: Vec<u32>| ns.iter().map(|n| 2 * n).collect());
    /// assert_eq!(double.run(21)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `max` is 0.
    #[doc(alias("chunk", "coalesce", "DataLoader"))]
    #[track_caller]
    pub fn batched<T, R, F>(&self, max: usize, max_delay: Duration, f: F) -> Batched<T, R>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: Fn(Vec<T>) -> Vec<R> + Send + Sync + 'static,
    {
        batched(self, max, max_delay, f)
    }
}

impl<P: AnyPool> Limited<P> {
    /// As [`Pool::batched`], for a view of a pool of closures: no more batches run at once than the view's limit.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(4)?;
    /// let disk = pool.limited(1);
    /// let write = disk.batched(10, Duration::from_millis(1), |lines: Vec<&str>| lines.iter().map(|line| line.len()).collect());
    /// assert_eq!(write.run("formica")?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `max` is 0.
    #[track_caller]
    pub fn batched<T, R, F>(&self, max: usize, max_delay: Duration, f: F) -> Batched<T, R>
    where
        P: Accepts<Continuation<Vec<R>>, Output = Vec<R>>,
        T: Send + 'static,
        R: Send + 'static,
        F: Fn(Vec<T>) -> Vec<R> + Send + Sync + 'static,
    {
        batched(self, max, max_delay, f)
    }
}

/// The item of a submission that was refused.
fn taken<T>(x: Option<T>) -> T {
    match x {
        Some(x) => x,
        None => unreachable!("a refused item was not taken in"),
    }
}

impl<T: Send + 'static, R: Send + 'static> Batched<T, R> {
    /// How many items may wait for the start of their batches. Default: four times `max`.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let batched = pool.batched(10, std::time::Duration::MAX, |items: Vec<u32>| items).queue(10);
    /// let pause = pool.pause();
    /// (0..10).for_each(|n| batched.submit(n).unwrap());
    /// assert!(batched.try_submit(10).unwrap_err().is_full());
    /// # drop(pause);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Panics
    /// If `items` is less than the size of a batch, which would never be full; or after the first use.
    #[track_caller]
    pub fn queue(mut self, items: usize) -> Self {
        let max = self.core.max();
        assert!(items >= max, "`items` is {items}: a batch of {max} would never be full");
        match Arc::get_mut(&mut self.core) {
            Some(core) => core.set_queue(items),
            None => panic!("`queue` is called after the first item"),
        }
        self
    }

    /// Takes an item in; its result is dropped. Blocks while too many items wait, or is refused if the pool is
    /// [`nonblocking`](crate::Builder::nonblocking).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let batched = pool.batched(10, std::time::Duration::from_secs(1), |items: Vec<u32>| items);
    /// batched.submit(7)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the item: `Closed` if this or the pool is closed; `Full` if it is not to wait.
    pub fn submit(&self, x: T) -> Result<(), SubmitError<T>> {
        self.spawn(x).map(drop)
    }

    /// As [`submit`](Self::submit), but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let batched = pool.batched(10, std::time::Duration::from_secs(1), |items: Vec<u32>| items);
    /// batched.try_submit(7)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`; `Full` if there is no room.
    pub fn try_submit(&self, x: T) -> Result<(), SubmitError<T>> {
        self.try_spawn(x).map(drop)
    }

    /// As [`submit`](Self::submit), but waits for room as a future. Dropping the future takes the item back.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// let batched = pool.batched(10, std::time::Duration::from_secs(1), |items: Vec<u32>| items);
    /// batched.submit_async(7).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`, also on a `nonblocking` pool.
    pub fn submit_async(&self, x: T) -> impl Future<Output = Result<(), SubmitError<T>>> + Send + use<T, R> {
        let adding = self.spawn_async(x);
        async move { adding.await.map(drop) }
    }

    /// Takes an item in, and returns a handle to its result. Blocks as [`submit`](Self::submit) does.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let batched = pool.batched(1, std::time::Duration::from_secs(1), |items: Vec<u32>| items);
    /// assert_eq!(batched.spawn(7)?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`.
    pub fn spawn(&self, x: T) -> Result<Handle<R>, SubmitError<T>> {
        self.add(x, self.core.mode())
    }

    /// As [`spawn`](Self::spawn), but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let batched = pool.batched(1, std::time::Duration::from_secs(1), |items: Vec<u32>| items);
    /// assert_eq!(batched.try_spawn(7)?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn try_spawn(&self, x: T) -> Result<Handle<R>, SubmitError<T>> {
        self.add(x, WaitMode::Never)
    }

    /// As [`spawn`](Self::spawn), but waits for room as a future. Dropping the future takes the item back.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// let batched = pool.batched(1, std::time::Duration::from_secs(1), |items: Vec<u32>| items);
    /// assert_eq!(batched.spawn_async(7).await?.await?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit_async`](Self::submit_async).
    pub fn spawn_async(&self, x: T) -> impl Future<Output = Result<Handle<R>, SubmitError<T>>> + Send + use<T, R> {
        let adding = Arc::clone(&self.core).add_async(x);
        async move { adding.await.map_err(|(kind, x)| SubmitError::new(kind, x)) }
    }

    /// Takes an item in and waits for its result: for its batch to be sent, and to run.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let batched = pool.batched(10, std::time::Duration::from_millis(1), |items: Vec<u32>| items);
    /// assert_eq!(batched.run(7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the item, as by `submit`; or failed, as its handle would say.
    pub fn run(&self, x: T) -> Result<R, CallError<T>> {
        Ok(self.spawn(x)?.join()?)
    }

    /// The same as a future.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// let batched = pool.batched(10, std::time::Duration::from_millis(1), |items: Vec<u32>| items);
    /// assert_eq!(batched.run_async(7).await?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_async(&self, x: T) -> impl Future<Output = Result<R, CallError<T>>> + Send + use<T, R> {
        let adding = self.spawn_async(x);
        async move { Ok(adding.await?.await?) }
    }

    fn add(&self, x: T, mode: WaitMode) -> Result<Handle<R>, SubmitError<T>> {
        self.core.add(x, mode).map_err(|(kind, x)| SubmitError::new(kind, x))
    }

    /// Sends the items that wait for more, as one batch. Does not block, and does not wait for the batch.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let batched = pool.batched(10, std::time::Duration::MAX, |items: Vec<u32>| items);
    /// let handle = batched.spawn(7)?;
    /// batched.flush();
    /// assert_eq!(handle.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush(&self) {
        self.core.flush();
    }

    /// Refuses what comes from now on, and gives back the items that are in no batch yet. Their handles say that they were cancelled. Batches
    /// that were sent go on. Does not block.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let batched = pool.batched(10, std::time::Duration::MAX, |items: Vec<u32>| items);
    /// batched.submit(7)?;
    /// assert_eq!(batched.close(), [7]);
    /// assert!(batched.submit(8).unwrap_err().is_closed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the items that waited are in it, and go with it"]
    pub fn close(&self) -> Vec<T> {
        self.core.close()
    }

    /// A snapshot of the figures.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let batched = pool.batched(10, std::time::Duration::MAX, |items: Vec<u32>| items);
    /// batched.submit(7)?;
    /// assert_eq!((batched.stats().submitted, batched.stats().waiting), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> BatchStats {
        self.core.stats()
    }
}

impl<T: Send + 'static, R: Send + 'static> Drop for Batched<T, R> {
    fn drop(&mut self) {
        self.core.finish();
    }
}

impl<T: Send + 'static, R: Send + 'static> fmt::Debug for Batched<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batched").field("max", &self.core.max()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
