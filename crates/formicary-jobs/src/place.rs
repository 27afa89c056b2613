//! Where jobs run: a pool, or a view of one.

use std::fmt;

use formicary::{Dispatch, Limited, Pool, SubmitErrorKind, Task};

/// The figures of a pool or a view that jobs run on. On a view they are the view's.
///
/// ```
/// use formicary::Pool;
/// use formicary_jobs::JobPool;
///
/// let pool = Pool::new(4)?;
/// assert_eq!(pool.limited(2).figures().to_string(), "0 of 2 running, 0 queued; 0 completed, 0 panicked");
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Tasks that may run at once.
    pub capacity: usize,
    /// Tasks that run.
    pub running: usize,
    /// Tasks that wait for a worker.
    pub queued: usize,
    /// Tasks that have run.
    pub completed: u64,
    /// Tasks that have panicked.
    pub panicked: u64,
}

impl fmt::Display for PoolFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolFigures { capacity, running, queued, completed, panicked } = self;
        write!(f, "{running} of {capacity} running, {queued} queued; {completed} completed, {panicked} panicked")
    }
}

/// What jobs run on: a [`Pool`] of any dispatch, or a view of one ([`Limited`]), which other tasks may use as well.
///
/// ```
/// use std::sync::Arc;
/// use formicary::Pool;
/// use formicary_jobs::JobPool;
///
/// let pool = Pool::new(4)?;
/// let pools: [Arc<dyn JobPool>; 2] = [Arc::new(pool.limited(2)), Arc::new(pool)];
/// assert_eq!(pools.map(|pool| pool.figures().capacity), [2, 4]);
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub trait JobPool: Send + Sync + 'static {
    /// Runs a task if there is room. Never blocks. A task that is refused is dropped.
    ///
    /// # Errors
    /// Why it was refused.
    fn try_run(&self, task: Task) -> Result<(), SubmitErrorKind>;

    /// What the pool or view is doing.
    fn figures(&self) -> PoolFigures;
}

impl<D: Dispatch> JobPool for Pool<D> {
    fn try_run(&self, task: Task) -> Result<(), SubmitErrorKind> {
        self.try_submit(|| task.run()).map_err(|refusal| refusal.kind())
    }

    fn figures(&self) -> PoolFigures {
        let formicary::Stats { capacity, running, queued, completed, panicked, .. } = self.stats();
        PoolFigures { capacity, running, queued, completed, panicked }
    }
}

impl<D: Dispatch> JobPool for Limited<Pool<D>> {
    fn try_run(&self, task: Task) -> Result<(), SubmitErrorKind> {
        self.try_submit(|| task.run()).map_err(|refusal| refusal.kind())
    }

    fn figures(&self) -> PoolFigures {
        let formicary::LimitedStats { running, queued, completed, panicked, .. } = self.stats();
        PoolFigures { capacity: self.limit(), running, queued, completed, panicked }
    }
}
