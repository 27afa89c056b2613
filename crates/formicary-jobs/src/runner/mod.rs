//! Reserves jobs and runs them on pools.

mod handler;
mod rounds;
mod running;
mod stats;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::BoxError;
use crate::job::{Job, check_name};
use crate::place::JobPool;
use crate::store::Store;
use handler::Handler;
pub use handler::JobContext;
pub use running::Running;
pub use stats::Stats;

/// The jobs of one kind.
struct Kind {
    name: &'static str,
    pool: Arc<dyn JobPool>,
    handler: Handler,
}

/// Reserves jobs from a store, as many as pools have room for, and runs them there.
///
/// - **At least once.** A job is acknowledged after its handler has returned `Ok`. A process that dies, or that cannot reach the store until the
///   lease ends, leaves the job to the next attempt. An effect under the job's [`key`](JobContext::key) can be made once.
/// - **Room.** What is reserved fits the free workers of the pool or view, plus [`prefetch`](Self::prefetch). A job that the pool refuses, because
///   other tasks took the room, goes back at once.
/// - **Leases** are extended while a job waits or runs, in thirds of their time. A job whose lease ended in a stall, and that the same runner reserves
///   again while it runs, is not started a second time.
/// - **Failures.** An error or a panic is a failed attempt. The next one comes after a [`backoff`](Self::backoff), until all are used up: then the job
///   is a dead letter, with the error. So is one whose payload does not decode, and one of a kind that no handler is for, at once.
/// - **The store may go away** for any time: the runner asks again (after 0.1 s, then longer, up to 5 s), keeps what is to be acknowledged, and never
///   ends because of it.
///
/// It has one thread of its own, which blocks in the store and on nothing else.
///
/// ```
/// use std::sync::Arc;
/// use formicary::Pool;
/// use formicary_jobs::{Job, Push, Runner, Sqlite, Store};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Mail {
///     to: String,
/// }
/// impl Job for Mail {
///     const KIND: &'static str = "mail";
/// }
///
/// let store = Arc::new(Sqlite::in_memory()?);
/// store.push(&[Push::of(&Mail { to: "ant".into() })?.key("order-17")])?;
///
/// let pool = Arc::new(Pool::new(4)?);
/// let (sent, inbox) = std::sync::mpsc::channel();
/// let running = Runner::new(store.clone())
///     .on(&pool, move |mail: Mail, _cx| Ok(sent.send(mail.to)?))
///     .start()?;
/// assert_eq!(inbox.recv()?, "ant");
/// assert_eq!(running.shutdown().completed, 1);
/// assert_eq!(store.counts()?.to_string(), "0 ready, 0 reserved, 0 dead");
/// # Ok::<(), formicary_jobs::BoxError>(())
/// ```
#[must_use = "it does nothing before it is started"]
pub struct Runner {
    store: Arc<dyn Store>,
    kinds: Vec<Kind>,
    lease: Duration,
    poll: Duration,
    prefetch: usize,
    backoff: (Duration, Duration),
    buries_unknown: bool,
}

impl Runner {
    /// A runner of jobs of a store.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use formicary_jobs::{Runner, Sqlite};
    ///
    /// let runner = Runner::new(Arc::new(Sqlite::in_memory()?));
    /// # drop(runner);
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn new(store: Arc<dyn Store>) -> Self {
        Runner {
            store,
            kinds: Vec::new(),
            lease: Duration::from_secs(60),
            poll: Duration::from_millis(250),
            prefetch: 0,
            backoff: (Duration::from_secs(1), Duration::from_secs(300)),
            buries_unknown: true,
        }
    }

    /// Runs jobs of a type on a pool or a view. Kinds may share a pool, and each may have a view with a limit of its own.
    ///
    /// # Panics
    /// There is a handler for this kind already, or [`Job::KIND`] is no name.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use formicary::Pool;
    /// # use formicary_jobs::{Job, Runner, Sqlite};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Mail { to: String }
    /// # impl Job for Mail { const KIND: &'static str = "mail"; }
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Film { name: String }
    /// # impl Job for Film { const KIND: &'static str = "film"; }
    /// let pool = Arc::new(Pool::new(8)?);
    /// let films = Arc::new(pool.limited(2)); // at most two of the eight workers
    /// let runner = Runner::new(Arc::new(Sqlite::in_memory()?))
    ///     .on(&pool, |mail: Mail, _| Ok(println!("to {}", mail.to)))
    ///     .on(&films, |film: Film, _| Ok(println!("cut {}", film.name)));
    /// # drop(runner);
    /// # Ok::<(), formicary_jobs::BoxError>(())
    /// ```
    #[track_caller]
    pub fn on<J: Job, P: JobPool>(
        mut self,
        pool: &Arc<P>,
        handler: impl Fn(J, &JobContext) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        if let Err(error) = check_name(J::KIND, "kind of job") {
            panic!("{error}");
        }
        assert!(self.kinds.iter().all(|kind| kind.name != J::KIND), "two handlers for `{}`", J::KIND);
        self.kinds.push(Kind { name: J::KIND, pool: Arc::clone(pool) as _, handler: handler::erased(handler) });
        self
    }

    /// How long a job stays reserved when nothing more is heard of its process; 60 s unless said otherwise. It is extended in thirds of this time, so
    /// three times the store's time limit is the least that makes sense. Consumers of NATS have their own.
    ///
    /// # Panics
    /// With less than 10 ms.
    ///
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use formicary_jobs::{Runner, Sqlite};
    /// let runner = Runner::new(Arc::new(Sqlite::in_memory()?)).lease(Duration::from_secs(20));
    /// # drop(runner);
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    #[track_caller]
    pub fn lease(mut self, time: Duration) -> Self {
        assert!(time >= Duration::from_millis(10), "a lease of {time:?} is too short");
        self.lease = time;
        self
    }

    /// How often the store is asked while it has no jobs; 250 ms unless said otherwise.
    ///
    /// # Panics
    /// With 0.
    ///
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use formicary_jobs::{Runner, Sqlite};
    /// let runner = Runner::new(Arc::new(Sqlite::in_memory()?)).poll(Duration::from_secs(2));
    /// # drop(runner);
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    #[track_caller]
    pub fn poll(mut self, time: Duration) -> Self {
        assert!(!time.is_zero(), "a poll without a pause");
        self.poll = time;
        self
    }

    /// How many jobs may be reserved beyond those that have a free worker; none unless said otherwise. They wait in the pool's queue, which
    /// should have room for them. Many short jobs need some, because each call of the store takes longer than a job.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use formicary_jobs::{Runner, Sqlite};
    /// let runner = Runner::new(Arc::new(Sqlite::in_memory()?)).prefetch(64);
    /// # drop(runner);
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn prefetch(mut self, jobs: usize) -> Self {
        self.prefetch = jobs;
        self
    }

    /// The time between the first failed attempt and the second, which doubles with each further one up to a limit; 1 s and 5 minutes unless said
    /// otherwise.
    ///
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use formicary_jobs::{Runner, Sqlite};
    /// let runner = Runner::new(Arc::new(Sqlite::in_memory()?)).backoff(Duration::from_secs(10), Duration::from_secs(3600));
    /// # drop(runner);
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.backoff = (first, most);
        self
    }

    /// Leaves jobs of kinds without a handler in the store, for other programs. Otherwise they become dead letters.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use formicary_jobs::{Runner, Sqlite};
    /// let runner = Runner::new(Arc::new(Sqlite::in_memory()?)).leave_unknown();
    /// # drop(runner);
    /// # Ok::<(), formicary_jobs::StoreError>(())
    /// ```
    pub fn leave_unknown(mut self) -> Self {
        self.buries_unknown = false;
        self
    }

    /// Starts the runner's thread. The store need not be there yet.
    ///
    /// # Errors
    /// The system has no thread.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use formicary_jobs::{Runner, Sqlite};
    /// let running = Runner::new(Arc::new(Sqlite::in_memory()?)).start()?;
    /// assert_eq!(running.shutdown().in_flight, 0);
    /// # Ok::<(), formicary_jobs::BoxError>(())
    /// ```
    pub fn start(self) -> std::io::Result<Running> {
        Running::start(self)
    }

    /// The pause after a failed attempt.
    fn pause_after(&self, attempt: u32) -> Duration {
        let (first, most) = self.backoff;
        first.saturating_mul(1 << attempt.saturating_sub(1).min(31)).min(most)
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.kinds.iter().map(|kind| kind.name).collect();
        f.debug_struct("Runner").field("kinds", &kinds).field("lease", &self.lease).finish_non_exhaustive()
    }
}
