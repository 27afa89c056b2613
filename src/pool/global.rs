//! Pools without settings: the default one, and the one that a process shares.

use std::sync::OnceLock;

use crate::pool::Pool;
#[cfg(doc)]
use crate::pool::builder::Builder;
use crate::queue::Stack;

impl Pool<Stack> {
    /// The pool of the whole process: a [`Pool::default`] that the first call makes and that is never dropped. The crate itself does not
    /// use it.
    ///
    /// When the process ends, nothing waits for this pool: its threads end wherever they are, and queued tasks never run. A program
    /// that must not lose tasks waits for them, with [`wait_idle`](crate::PoolControl::wait_idle) or by their handles.
    ///
    /// All code in the process shares this pool, and a change to it affects all of that code. After a
    /// [`shutdown`](crate::PoolControl::shutdown) it refuses every task until it is restarted. A library that needs a pool to itself makes
    /// one.
    ///
    /// ```
    /// use formicary::Pool;
    ///
    /// assert_eq!(Pool::global().run(|| 6 * 7)?, 42);
    /// assert!(std::ptr::eq(Pool::global(), Pool::global()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("build_global", "commonPool", "ForkJoinPool"))]
    pub fn global() -> &'static Self {
        // std's `OnceLock` also under a model checker, whose own types cannot be in a static.
        static GLOBAL: OnceLock<Pool> = OnceLock::new();
        GLOBAL.get_or_init(Pool::default)
    }
}

/// A pool with one worker for each processor that the process may use. All other options have the [`Builder`]'s defaults, except that no
/// worker is started before a task needs it. So this cannot fail.
///
/// A pool without a worker may have to run a task on the submitter's thread: see [`Builder::min_workers`].
///
/// ```
/// use formicary::Pool;
///
/// let pool = Pool::default();
/// assert_eq!(pool.stats().live, 0);
/// assert_eq!(pool.run(|| 6 * 7)?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Default for Pool<Stack> {
    fn default() -> Self {
        match Self::builder().min_workers(0).build() {
            Ok(pool) => pool,
            Err(error) => unreachable!("the defaults are valid, and no thread is started: {error}"),
        }
    }
}
