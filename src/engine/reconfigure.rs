//! Changing the settings of an open pool.

use std::time::Duration;

/// Changes to a pool, for [`PoolControl::reconfigure`](crate::PoolControl::reconfigure). Settings that are not set here stay as they are.
///
/// ```
/// use std::time::Duration;
/// use formicary::{Pool, Reconfigure};
///
/// let pool = Pool::builder().workers(1).queue(0).build()?;
/// pool.reconfigure(&Reconfigure::new().queue(100).expiry(Duration::from_secs(1)))?;
/// assert_eq!(pool.stats().queue_bound, Some(100));
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "it changes nothing until it is given to `reconfigure`"]
pub struct Reconfigure {
    pub(crate) queue: Option<Option<usize>>,
    pub(crate) nonblocking: Option<bool>,
    pub(crate) max_blocking: Option<usize>,
    pub(crate) expiry: Option<Option<Duration>>,
}

impl Reconfigure {
    /// Creates an empty set of changes.
    ///
    /// ```
    /// use formicary::{Pool, Reconfigure};
    ///
    /// Pool::new(1)?.reconfigure(&Reconfigure::new())?;
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn new() -> Self {
        Reconfigure::default()
    }

    /// Sets how many tasks may wait beyond those that have a worker, as [`Builder::queue`](crate::Builder::queue) does. A
    /// [`Ring`](crate::Ring) does not support it, because its slots are allocated once.
    ///
    /// A higher bound admits blocked submitters at once. A lower one removes no task: submissions are refused, or wait, until enough
    /// tasks have ended. On a [`Sharded`](crate::Sharded) queue each shard applies its share of the new bound, also while another shard
    /// still holds more than its own.
    ///
    /// ```
    /// use formicary::{Pool, Reconfigure};
    ///
    /// let pool = Pool::builder().workers(1).queue(1).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// pool.submit(|| ())?;
    /// assert!(pool.try_submit(|| ()).is_err());
    /// pool.reconfigure(&Reconfigure::new().queue(2))?;
    /// assert!(pool.try_submit(|| ()).is_ok());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn queue(mut self, tasks: usize) -> Self {
        self.queue = Some(Some(tasks));
        self
    }

    /// Removes the bound of the queue, as [`Builder::unbounded_queue`](crate::Builder::unbounded_queue) does. A [`Ring`](crate::Ring) does
    /// not support it.
    ///
    /// ```
    /// use formicary::{Pool, Reconfigure};
    ///
    /// let pool = Pool::builder().workers(1).queue(0).build()?;
    /// let pause = pool.pause();
    /// pool.reconfigure(&Reconfigure::new().unbounded_queue())?;
    /// for _ in 0..1000 {
    ///     pool.try_submit(|| ())?;
    /// }
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unbounded_queue(mut self) -> Self {
        self.queue = Some(None);
        self
    }

    /// Sets whether `submit` refuses where it would block, as [`Builder::nonblocking`](crate::Builder::nonblocking) does. Submitters
    /// that are blocked already go on waiting.
    ///
    /// ```
    /// use formicary::{Pool, Reconfigure};
    ///
    /// let pool = Pool::builder().workers(1).queue(0).build()?;
    /// pool.reconfigure(&Reconfigure::new().nonblocking(true))?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert!(pool.submit(|| ()).unwrap_err().is_full());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nonblocking(mut self, nonblocking: bool) -> Self {
        self.nonblocking = Some(nonblocking);
        self
    }

    /// Sets how many submitters may wait for room, as [`Builder::max_blocking`](crate::Builder::max_blocking) does. Submitters that are
    /// blocked already go on waiting, also if they are more.
    ///
    /// ```
    /// use formicary::{Pool, Reconfigure};
    ///
    /// let pool = Pool::builder().workers(1).queue(0).build()?;
    /// pool.reconfigure(&Reconfigure::new().max_blocking(0))?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert!(pool.submit(|| ()).unwrap_err().is_overloaded());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_blocking(mut self, submitters: usize) -> Self {
        self.max_blocking = Some(submitters);
        self
    }

    /// Sets after which idle time a worker above the minimum ends, as [`Builder::expiry`](crate::Builder::expiry) does. Idle time that has
    /// passed counts: a worker that has been idle for longer ends at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use formicary::{Pool, Reconfigure};
    ///
    /// let pool = Pool::builder().workers(1).min_workers(0).expiry(None).build()?;
    /// pool.run(|| ())?;
    /// pool.reconfigure(&Reconfigure::new().expiry(Duration::ZERO))?;
    /// while pool.stats().live > 0 {
    ///     std::thread::yield_now();
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expiry(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.expiry = Some(idle.into());
        self
    }
}
