//! The running tasks of a pool, as a list.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::per_worker::PerWorker;
use super::{Observer, TaskEnd, TaskInfo};
use crate::engine::replacing::GivenUp;
use crate::pool::PoolControl;
use crate::pool::builder::Builder;
use crate::queue::Dispatch;
use crate::sync::Mutex;
use crate::sync::clock;
use crate::task::state::{Cancellable, Complete};
use crate::task::watch::Start;

/// A task that runs at the moment of the look ([`PoolControl::running_tasks`]).
///
/// ```
/// let pool = formicary::Pool::builder().workers(1).running_tasks().build()?;
/// let (started, begun) = std::sync::mpsc::channel();
/// let (done, gate) = std::sync::mpsc::channel::<()>();
/// pool.with().name("resize").submit(move || {
///     started.send(()).unwrap();
///     drop(gate.recv());
/// })?;
/// begun.recv()?;
///
/// let tasks = pool.running_tasks().unwrap();
/// assert_eq!((tasks.len(), tasks[0].name.as_deref(), tasks[0].worker), (1, Some("resize"), 0));
/// drop(done);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunningTask {
    /// The name that it was submitted with ([`With::name`](crate::With::name)).
    pub name: Option<Arc<str>>,
    /// The worker that runs it.
    pub worker: usize,
    /// When its code began.
    pub since: Instant,
    /// The deadline of its caller or of its token, whichever is earlier.
    pub deadline: Option<Instant>,
    /// Whether its caller has given up, or its handle or token is cancelled.
    pub is_cancelled: bool,
    /// How many tasks of the pool run around it on the same worker: 0 for one that runs within no other.
    pub depth: usize,
    /// Whether its worker was given up ([`PoolControl::replace`]).
    pub is_given_up: bool,
    id: RunningId,
}

/// Identifies a running task in the process: by the list of its pool, and its number on its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RunningId {
    list: u64,
    number: u64,
}

impl RunningTask {
    /// How long its code has run until now.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).running_tasks().build()?;
    /// assert!(pool.running_tasks().unwrap().iter().all(|task| task.elapsed().as_secs() < 60));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        clock::now().saturating_duration_since(self.since)
    }
}

/// The running list.
impl<K, D: Dispatch> Builder<K, D> {
    /// Keeps a list of the running tasks ([`PoolControl::running_tasks`]). Default: no list.
    ///
    /// Costs what an [observer](Self::observer) costs, and an uncontended lock at the start and at the end of each task.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).running_tasks().build()?;
    /// assert!(pool.running_tasks().unwrap().is_empty());
    /// assert!(formicary::Pool::new(1)?.running_tasks().is_none());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn running_tasks(mut self) -> Self {
        self.options.extension::<RunningList>();
        self
    }
}

/// The running list.
impl<X> PoolControl<X> {
    /// The tasks that run now, by worker, and on each worker the outermost first. `None` unless the pool was built
    /// [with a list](crate::Builder::running_tasks).
    ///
    /// Each worker's tasks are read at one moment, and those of different workers one after the other. A job of a scope or of a fork is a
    /// task here only if it is one in the [figures](crate::Stats). Takes time in proportion to the workers and to what they run.
    ///
    /// ```
    /// let pool = std::sync::Arc::new(formicary::Pool::builder().workers(1).running_tasks().build()?);
    /// let inner = pool.clone();
    /// // A task that the worker runs within its current one.
    /// let depths = pool.run(move || {
    ///     let outer = inner.clone();
    ///     outer.run(move || inner.running_tasks().unwrap().iter().map(|task| task.depth).collect::<Vec<_>>())
    /// })??;
    /// assert_eq!(depths, [0, 1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn running_tasks(&self) -> Option<Vec<RunningTask>> {
        self.engine.extensions().get::<RunningList>().map(|list| list.tasks())
    }
}

/// The running tasks of each worker.
pub(super) struct RunningList {
    workers: PerWorker<Mutex<Tasks>>,
    /// Unique in the process.
    number: u64,
}

impl Default for RunningList {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        RunningList { workers: PerWorker::default(), number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }
}

#[derive(Default)]
struct Tasks {
    /// The innermost last.
    running: Vec<Entry>,
    started: u64,
    /// Set if the worker was given up, until its outermost task ends.
    given_up: Option<GivenUp>,
}

/// Identifies a running task of a pool: its worker, and how many that one has started before.
pub(super) type TaskKey = (usize, u64);

struct Entry {
    number: u64,
    since: Instant,
    task: Option<Arc<dyn Complete>>,
    is_from_queue: bool,
}

impl Tasks {
    fn look(&self, list: u64, worker: usize, depth: usize) -> RunningTask {
        let entry = &self.running[depth];
        let options = entry.task.as_ref().and_then(|task| task.cancellable());
        RunningTask {
            name: options.and_then(Cancellable::name).map(Arc::from),
            worker,
            since: entry.since,
            deadline: options.and_then(Cancellable::deadline),
            is_cancelled: options.is_some_and(Cancellable::is_cancelled),
            depth,
            is_given_up: self.given_up.is_some(),
            id: RunningId { list, number: entry.number },
        }
    }
}

impl RunningList {
    pub(super) fn push(&self, worker: usize, start: &Start<'_>) {
        let mut tasks = self.workers.get(worker).lock();
        let number = tasks.started;
        tasks.started += 1;
        let Start { at: since, task, is_from_queue, .. } = *start;
        tasks.running.push(Entry { number, since, task: task.cloned(), is_from_queue });
    }

    /// The task that `worker` has started last has ended.
    pub(super) fn pop(&self, worker: usize) {
        let mut tasks = self.workers.get(worker).lock();
        let entry = tasks.running.pop();
        if tasks.running.is_empty() {
            if let Some(given_up) = tasks.given_up.take() {
                given_up.task_ends();
            }
        }
        drop(tasks);
        // Without the lock.
        drop(entry);
    }

    /// If this task still runs, calls `give_up` with its worker, whose task does not end meanwhile. Returns whether the worker was given up.
    pub(super) fn give_up(&self, task: &RunningTask, give_up: impl FnOnce(usize) -> Option<GivenUp>) -> bool {
        if task.id.list != self.number {
            return false;
        }
        let mut tasks = self.workers.get(task.worker).lock();
        let is_listed = tasks.running.iter().any(|entry| entry.number == task.id.number);
        // What a hook, a factory or a broadcast runs is not in the queue's counts, and the worker may be about to exit.
        let is_from_queue = tasks.running.first().is_some_and(|outermost| outermost.is_from_queue);
        if tasks.given_up.is_none() && is_listed && is_from_queue {
            tasks.given_up = give_up(task.worker);
            return tasks.given_up.is_some();
        }
        false
    }

    pub(super) fn tasks(&self) -> Vec<RunningTask> {
        let mut all = Vec::new();
        self.each(|_, _, look| all.push(look()));
        all
    }

    /// Calls `f` with each task, since when it runs, and what tells the rest of it. `f` is called under a lock.
    pub(super) fn each(&self, mut f: impl FnMut(TaskKey, Instant, &dyn Fn() -> RunningTask)) {
        for (worker, tasks) in self.workers.iter() {
            let tasks = tasks.lock();
            for (depth, entry) in tasks.running.iter().enumerate() {
                f((worker, entry.number), entry.since, &|| tasks.look(self.number, worker, depth));
            }
        }
    }
}

impl Observer for RunningList {
    fn started(&self, task: &TaskInfo<'_>) {
        if let (Some(worker), Some(start)) = (task.worker, task.start) {
            self.push(worker, start);
        }
    }

    fn ended(&self, task: &TaskInfo<'_>, _end: TaskEnd) {
        // Only a task that was told to start has a time.
        if let (Some(worker), Some(_)) = (task.worker, task.run_time) {
            self.pop(worker);
        }
    }
}
