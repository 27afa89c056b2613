//! Observers: user code that is told what happens in a pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::SubmitErrorKind;
use crate::sync::user_code::catch_user_panic;
use crate::task::watch::{Start, Watcher};

/// Is told what happens in a pool ([`Builder::observer`](crate::Builder::observer)). Every method does nothing by default.
///
/// The methods run on the thread on which it happens, and never under a lock of the pool: a submitter, a worker, or whoever closes,
/// resizes or pauses the pool. So they should be short, and must not wait for a task of the same pool. A panic in one is caught and counted
/// ([`Stats::handler_panics`](crate::Stats::handler_panics)), and the other observers are still told.
///
/// Each task is accepted once and ends once, so on a pool without unfinished tasks the calls agree with the
/// [figures](crate::Stats): as many were accepted as `submitted`, and as many have ended in each way as were `completed`, `panicked`,
/// `cancelled`, `returned` and `dropped`. A limited view can take a task back and submit it again
/// ([`TaskEnd::TakenBack`]); then it is accepted twice. Different threads tell of the acceptance and of the start of a task, so either may
/// come first.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use std::time::Duration;
///
/// use formicary::Pool;
/// use formicary::observe::{Observer, TaskEnd, TaskInfo};
///
/// /// The longest time that a task has waited in the queue, in microseconds.
/// #[derive(Clone, Default)]
/// struct LongestWait(Arc<AtomicU64>);
///
/// impl Observer for LongestWait {
///     fn started(&self, task: &TaskInfo<'_>) {
///         let wait = task.queue_wait.unwrap_or(Duration::ZERO);
///         self.0.fetch_max(wait.as_micros() as u64, Relaxed);
///     }
/// }
///
/// let longest = LongestWait::default();
/// let pool = Pool::builder().workers(1).observer(longest.clone()).build()?;
/// pool.submit(|| std::thread::sleep(Duration::from_millis(2)))?;
/// pool.submit(|| ())?;
/// pool.wait_idle();
/// assert!(longest.0.load(Relaxed) > 1_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Observer: Send + Sync + 'static {
    /// A pool with this observer is being built. It is told first, once, on the thread that builds the pool, before a worker starts; `build`
    /// can still fail.
    fn built(&self, _pool: &PoolInfo<'_>) {}

    /// A task was accepted.
    fn accepted(&self) {}

    /// A worker begins to run a task.
    fn started(&self, _task: &TaskInfo<'_>) {}

    /// A task has ended in this way, or will not run. It is told before the figures count it.
    fn ended(&self, _task: &TaskInfo<'_>, _end: TaskEnd) {}

    /// A submission was refused.
    fn refused(&self, _kind: SubmitErrorKind) {}

    /// A worker has started, on the calling thread.
    fn worker_started(&self, _worker: usize) {}

    /// A worker ends, on the calling thread.
    fn worker_stopped(&self, _worker: usize) {}

    /// The capacity was set to so many workers.
    fn tuned(&self, _workers: usize) {}

    /// A pause has begun. Pauses can overlap.
    fn paused(&self) {}

    /// The guard of a pause was dropped. That a pause has ended by its limit of time is not told.
    fn resumed(&self) {}
}

/// A shared observer: the program keeps the other reference.
impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn built(&self, pool: &PoolInfo<'_>) {
        (**self).built(pool);
    }

    fn accepted(&self) {
        (**self).accepted();
    }

    fn started(&self, task: &TaskInfo<'_>) {
        (**self).started(task);
    }

    fn ended(&self, task: &TaskInfo<'_>, end: TaskEnd) {
        (**self).ended(task, end);
    }

    fn refused(&self, kind: SubmitErrorKind) {
        (**self).refused(kind);
    }

    fn worker_started(&self, worker: usize) {
        (**self).worker_started(worker);
    }

    fn worker_stopped(&self, worker: usize) {
        (**self).worker_stopped(worker);
    }

    fn tuned(&self, workers: usize) {
        (**self).tuned(workers);
    }

    fn paused(&self) {
        (**self).paused();
    }

    fn resumed(&self) {
        (**self).resumed();
    }
}

/// What an [`Observer`] learns of its pool.
///
/// ```
/// use formicary::observe::{Observer, PoolInfo};
///
/// struct Print;
///
/// impl Observer for Print {
///     fn built(&self, pool: &PoolInfo<'_>) {
///         println!("{} with {} workers", pool.name, pool.workers);
///     }
/// }
///
/// formicary::Pool::builder().name("mill").workers(2).observer(Print).build()?; // prints "mill with 2 workers"
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PoolInfo<'a> {
    /// Its name ([`Builder::name`](crate::Builder::name)).
    pub name: &'a str,
    /// Its capacity ([`Builder::workers`](crate::Builder::workers)). [`Observer::tuned`] tells of changes.
    pub workers: usize,
}

/// What an [`Observer`] learns of a task.
///
/// ```
/// use formicary::observe::{Observer, TaskEnd, TaskInfo};
///
/// struct Print;
///
/// impl Observer for Print {
///     fn ended(&self, task: &TaskInfo<'_>, end: TaskEnd) {
///         println!("{}: {end:?} after {:?}", task.name.unwrap_or("a task"), task.run_time);
///     }
/// }
///
/// let pool = formicary::Pool::builder().workers(1).observer(Print).build()?;
/// pool.with().name("resize").run(|| ())?; // prints "resize: Completed after Some(…)"
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TaskInfo<'a> {
    /// Its name ([`With::name`](crate::With::name)), if it has one and has started.
    pub name: Option<&'a str>,
    /// The worker that runs it, or has run it.
    pub worker: Option<usize>,
    /// How long it waited in the queue. `None` for a task that has not started, that did not go through the queue (one that its waiter runs
    /// on the spot, or a job of a scope or a fork on its own worker), or that another worker has stolen from there.
    pub queue_wait: Option<Duration>,
    /// How long its code ran. `None` if it has not ended, or has not started.
    pub run_time: Option<Duration>,
    /// For the crate's own observers. `None` when it ends.
    pub(crate) start: Option<&'a Start<'a>>,
}

/// How a task has ended, for an [`Observer`].
///
/// ```
/// use formicary::observe::{Observer, TaskEnd, TaskInfo};
///
/// struct CountFailures(std::sync::mpsc::Sender<TaskEnd>);
///
/// impl Observer for CountFailures {
///     fn ended(&self, _task: &TaskInfo<'_>, end: TaskEnd) {
///         if end != TaskEnd::Completed {
///             let _ = self.0.send(end);
///         }
///     }
/// }
///
/// let (sender, failures) = std::sync::mpsc::channel();
/// let pool = formicary::Pool::builder().workers(1).observer(CountFailures(sender)).build()?;
/// pool.submit(|| ())?;
/// pool.submit(|| panic!("broken"))?;
/// assert_eq!(failures.recv()?, TaskEnd::Panicked);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskEnd {
    /// It ran to its end.
    Completed,
    /// It panicked.
    Panicked,
    /// It was cancelled before it started. A handle cancels a task at once; this is told when its entry leaves the queue.
    Cancelled,
    /// A shutdown gave it back.
    Returned,
    /// The pool dropped it before it started ([`DropReason`](crate::DropReason)).
    Dropped,
    /// A [limited view](crate::Limited) whose limit was lowered has taken it back before it started, and submits it again later. The figures
    /// count it as submitted only once.
    TakenBack,
}

/// The observers of one pool.
pub(crate) struct Observers {
    all: Vec<Arc<dyn Observer>>,
    panics: AtomicU64,
    /// Threads that push a task and have not told of it yet.
    pushing: AtomicUsize,
}

impl Observers {
    /// `None` if there are none.
    pub(super) fn new(all: &[Arc<dyn Observer>]) -> Option<Arc<Self>> {
        let is_some = !all.is_empty();
        is_some
            .then(|| Arc::new(Observers { all: all.to_vec(), panics: AtomicU64::new(0), pushing: AtomicUsize::new(0) }))
    }

    /// Calls each, in the order in which they were set.
    pub(super) fn tell(&self, f: impl Fn(&dyn Observer)) {
        for observer in &self.all {
            if catch_user_panic(|| f(&**observer)).is_none() {
                self.panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The calling thread is about to push a task. It calls [`has_pushed`](Self::has_pushed) when they were told.
    pub(super) fn will_push(&self) {
        // ORDERING: Relaxed. The push comes after it, and whoever finds the pool at rest sees the push.
        self.pushing.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn has_pushed(&self) {
        // ORDERING: Release pairs with the Acquire in `is_pushing`: a thread that sees this sees what the observers were told.
        self.pushing.fetch_sub(1, Ordering::Release);
    }

    /// Whether they may not know yet of a task that was accepted.
    pub(super) fn is_pushing(&self) -> bool {
        // ORDERING: Acquire, see `has_pushed`.
        self.pushing.load(Ordering::Acquire) > 0
    }

    /// Their panics.
    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

impl Watcher for Observers {
    fn started(&self, worker: usize, start: &Start<'_>) {
        let &Start { name, queue_wait, .. } = start;
        let task = TaskInfo { name, worker: Some(worker), queue_wait, run_time: None, start: Some(start) };
        self.tell(|observer| observer.started(&task));
    }
}
