//! What a spawn handler gets.

use std::fmt;

/// A worker that needs a thread. A [`spawn_handler`](crate::Builder::spawn_handler) gets it.
///
/// The handler must arrange that [`run`](Self::run) is called on a thread that it starts, or return an error.
///
/// ```
/// let pool = formicary::Pool::builder()
///     .workers(1)
///     .thread_name("mill")
///     .stack_size(128 * 1024)
///     .spawn_handler(|worker| {
///         assert!(worker.index() < 1);
///         std::thread::spawn(|| worker.run());
///         Ok(())
///     })
///     .build()?;
/// assert_eq!(pool.run(|| 7)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WorkerThread {
    pub(crate) name: String,
    pub(crate) index: usize,
    pub(crate) stack_size: Option<usize>,
    pub(crate) body: Box<dyn FnOnce() + Send>,
}

impl WorkerThread {
    /// The thread's name: at most 15 bytes, or what [`thread_names`](crate::Builder::thread_names) returns.
    ///
    /// ```
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .thread_name("mill")
    ///     .stack_size(128 * 1024)
    ///     .spawn_handler(|worker| {
    ///         assert_eq!(worker.name(), "mill-0");
    ///         std::thread::spawn(|| worker.run());
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The worker's number, below the highest capacity that the pool has had; in a pool that has
    /// [replaced](crate::PoolControl::replace) workers it can be above that, by as many as were replaced.
    ///
    /// ```
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .thread_name("mill")
    ///     .stack_size(128 * 1024)
    ///     .spawn_handler(|worker| {
    ///         assert_eq!(worker.index(), 0);
    ///         std::thread::spawn(|| worker.run());
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn index(&self) -> usize {
        self.index
    }

    /// The stack size in bytes that the pool's builder asked for ([`Builder::stack_size`](crate::Builder::stack_size)).
    ///
    /// ```
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .thread_name("mill")
    ///     .stack_size(128 * 1024)
    ///     .spawn_handler(|worker| {
    ///         assert_eq!(worker.stack_size(), Some(128 * 1024));
    ///         std::thread::spawn(|| worker.run());
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stack_size(&self) -> Option<usize> {
        self.stack_size
    }

    /// Runs the worker loop on the calling thread, until the worker exits.
    ///
    /// ```
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .thread_name("mill")
    ///     .stack_size(128 * 1024)
    ///     .spawn_handler(|worker| {
    ///         // A thread of the handler's making:
    ///         std::thread::spawn(|| worker.run());
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(self) {
        (self.body)();
    }
}

impl fmt::Debug for WorkerThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerThread")
            .field("name", &self.name)
            .field("index", &self.index)
            .field("stack_size", &self.stack_size)
            .finish_non_exhaustive()
    }
}
