//! A job on a worker: the handler, its context, and what is reported of it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use crate::error::{BoxError, chain};
use crate::job::Job;
use crate::store::Reserved;

/// How a run ended.
pub(super) enum End {
    /// The work is done.
    Done,
    /// It failed, and may succeed another time.
    Failed(String),
    /// It will never succeed.
    Hopeless(String),
    /// It has not begun: the pool dropped it, or the runner took it back.
    NotBegun,
}

/// What the runner's thread is told.
pub(super) enum Event {
    Ended {
        id: String,
        end: End,
    },
    /// Ends the runner when nothing is in flight, or at this time.
    Stop {
        give_up: Option<Instant>,
    },
}

/// What the runner and the run of a job share.
#[derive(Default)]
pub(super) struct Shared {
    claimed: AtomicBool,
    lost: AtomicBool,
}

impl Shared {
    /// Takes the right to run the job, or to give it back. Only the first caller gets it.
    pub(super) fn claim(&self) -> bool {
        // ORDERING: nothing is published by it; the one modification order of the flag gives it to one caller.
        !self.claimed.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_begun(&self) -> bool {
        // ORDERING: a hint for figures, as above.
        self.claimed.load(Ordering::Relaxed)
    }

    pub(super) fn set_lost(&self, lost: bool) {
        // ORDERING: a hint to the handler; nothing else is read because of it.
        self.lost.store(lost, Ordering::Relaxed);
    }
}

/// What a handler may know of its job.
///
/// ```
/// use std::sync::Arc;
/// use formicary::Pool;
/// use formicary_jobs::{BoxError, Job, JobContext, Runner, Sqlite};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct Mail { to: String }
/// # impl Job for Mail { const KIND: &'static str = "mail"; }
///
/// fn send(mail: Mail, cx: &JobContext) -> Result<(), BoxError> {
///     println!("{} to {}, attempt {} of {}", cx.key(), mail.to, cx.attempt(), cx.attempts());
///     Ok(())
/// }
/// let pool = Arc::new(Pool::new(2)?);
/// let runner = Runner::new(Arc::new(Sqlite::in_memory()?)).on(&pool, send);
/// # drop(runner);
/// # Ok::<(), BoxError>(())
/// ```
pub struct JobContext {
    job: Reserved,
    shared: Arc<Shared>,
}

impl JobContext {
    /// The job's id in its store, which stays the same over all attempts.
    ///
    /// ```
    /// # use formicary_jobs::JobContext;
    /// fn log(cx: &JobContext) {
    ///     println!("job {}", cx.id());
    /// }
    /// ```
    pub fn id(&self) -> &str {
        &self.job.lease.id
    }

    /// The key that the job was pushed with, or else its id. An effect that is stored under this key, unless there is one already, happens
    /// once, however often the job runs.
    ///
    /// ```
    /// # use formicary_jobs::JobContext;
    /// fn charge(cx: &JobContext, charged: &mut std::collections::HashSet<String>) -> bool {
    ///     charged.insert(cx.key().to_owned())
    /// }
    /// ```
    pub fn key(&self) -> &str {
        self.job.key.as_deref().unwrap_or(self.id())
    }

    /// Which attempt this is, from 1.
    ///
    /// ```
    /// # use formicary_jobs::JobContext;
    /// fn is_first(cx: &JobContext) -> bool {
    ///     cx.attempt() == 1
    /// }
    /// ```
    pub fn attempt(&self) -> u32 {
        self.job.attempt
    }

    /// How many attempts the job may have. After the last one that fails it is a dead letter.
    ///
    /// ```
    /// # use formicary_jobs::JobContext;
    /// fn is_last(cx: &JobContext) -> bool {
    ///     cx.attempt() == cx.attempts()
    /// }
    /// ```
    pub fn attempts(&self) -> u32 {
        self.job.attempts
    }

    /// The lease ended although the job runs, because the store was away for too long: another worker may run it as well. A handler that can
    /// stop should.
    ///
    /// ```
    /// # use formicary_jobs::{BoxError, JobContext};
    /// fn step(cx: &JobContext) -> Result<(), BoxError> {
    ///     if cx.is_lost() { Err("somebody else goes on".into()) } else { Ok(()) }
    /// }
    /// ```
    pub fn is_lost(&self) -> bool {
        // ORDERING: see `Shared::set_lost`.
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext").field("id", &self.id()).field("key", &self.key()).finish_non_exhaustive()
    }
}

/// A handler of one type of job, without the type.
pub(super) type Handler = Arc<dyn Fn(&JobContext) -> End + Send + Sync>;

pub(super) fn erased<J: Job>(f: impl Fn(J, &JobContext) -> Result<(), BoxError> + Send + Sync + 'static) -> Handler {
    Arc::new(move |cx| match J::decode(cx.job.version, &cx.job.payload) {
        Err(error) => End::Hopeless(format!("the payload does not decode: {}", chain(&*error))),
        Ok(job) => match f(job, cx) {
            Ok(()) => End::Done,
            Err(error) => End::Failed(chain(&*error)),
        },
    })
}

/// A reserved job on its way through the pool. However that ends, the runner is told, once.
pub(super) struct Run {
    pub(super) context: JobContext,
    events: Sender<Event>,
    end: End,
}

impl Run {
    pub(super) fn new(job: Reserved, shared: Arc<Shared>, events: Sender<Event>) -> Self {
        Run { context: JobContext { job, shared }, events, end: End::NotBegun }
    }

    /// Runs the job, unless the runner has taken it back. A panic goes on, so that the pool reports it.
    pub(super) fn run(mut self, handler: &Handler) {
        if !self.context.shared.claim() {
            return;
        }
        match catch_unwind(AssertUnwindSafe(|| handler(&self.context))) {
            Ok(end) => self.end = end,
            Err(panic) => {
                let text = panic
                    .downcast_ref::<&str>()
                    .copied()
                    .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
                self.end = End::Failed(format!("panicked: {}", text.unwrap_or("with no text")));
                drop(self);
                resume_unwind(panic);
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let id = self.context.id().to_owned();
        // The runner is gone if it gave up: the lease will end.
        let _ = self.events.send(Event::Ended { id, end: std::mem::replace(&mut self.end, End::NotBegun) });
    }
}
