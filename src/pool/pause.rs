//! The guard of a pause.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{PauseId, Pausing};
use crate::sync::clock::deadline;

/// A pause of a pool: while a guard is alive, no queued task starts. Dropping the last one resumes the pool.
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
/// # Ok::<(), Box<dyn std::error::Error>>(())
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

    /// Blocks until no task is running, and returns `true`. Called from a task of the same pool, it returns `false` at once.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| ())?;
    /// let pause = pool.pause();
    /// assert!(pause.wait_quiet());
    /// assert_eq!(pool.running(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it does not wait on a thread of the pool"]
    pub fn wait_quiet(&self) -> bool {
        self.pool.wait_quiet(None)
    }

    /// As [`wait_quiet`](Self::wait_quiet), for at most `limit`. Returns whether no task is running.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let (started, begun) = std::sync::mpsc::channel();
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || { started.send(()).unwrap(); drop(gate.recv()) })?;
    /// begun.recv()?;
    /// let pause = pool.pause();
    /// assert!(!pause.wait_quiet_timeout(Duration::from_millis(1)));
    /// drop(done);
    /// assert!(pause.wait_quiet_timeout(Duration::from_secs(60)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "tasks may still run when the time is up"]
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
