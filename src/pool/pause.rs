//! Pausing a pool: the guard.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{PauseId, Pausing};
use crate::sync::clock::deadline;

/// A pause of a pool: as long as one lives no queued task starts. Dropping it resumes.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let pause = pool.pause();
/// pool.submit(|| ())?;
/// assert!(pause.wait_quiet());
/// assert_eq!((pool.stats().completed, pool.queued()), (0, 1));
/// drop(pause);
/// pool.wait_idle();
/// assert_eq!(pool.stats().completed, 1);
/// # Ok::<(), Arc<dyn std::error::Error>>(())
/// ```
#[must_use = "the pool resumes when the guard is dropped"]
pub struct PauseGuard {
    pool: Arc<dyn Pausing>,
    id: PauseId,
}

impl PauseGuard {
    pub(crate) fn new(pool: Arc<dyn Pausing>, id: PauseId) -> Self {
        PauseGuard { pool, id }
    }

    /// Blocks until no task is running. Returns at once, with `false`, when called from a task of the same pool.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| ())?;
    /// let pause = pool.pause();
    /// assert!(pause.wait_quiet());
    /// assert_eq!(pool.running(), 0);
    /// # Ok::<(), Arc<dyn std::error::Error>>(())
    /// ```
    #[must_use = "a task of the pool does not wait"]
    pub fn wait_quiet(&self) -> bool {
        self.pool.wait_quiet(None)
    }

    /// The same for at most `limit`; says whether nothing is running.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// assert!(pause.wait_quiet_timeout(std::time::Duration::from_secs(60)));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use = "tasks may run when the time is up"]
    pub fn wait_quiet_timeout(&self, limit: Duration) -> bool {
        self.pool.wait_quiet(deadline(limit))
    }
}

impl Drop for PauseGuard {
    fn drop(&mut self) {
        self.pool.resume(self.id);
    }
}

impl fmt::Debug for PauseGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PauseGuard").field("id", &self.id).finish_non_exhaustive()
    }
}
