//! What a pool that has observers notes of a task while a worker runs it.
//!
//! It is kept with the thread, and not with the task's completion, so that the way of a task in a pool without observers stays as it is.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::clock;
use crate::sync::thread_local;
use crate::task::liveness::Liveness;
use crate::task::state::Complete;

thread_local! {
    /// The runs on this thread's stack, of pools with observers.
    static RUNS: RefCell<Vec<Watch>> = const { RefCell::new(Vec::new()) };
    /// Whether there are any. It has no destructor, so it is cheap, and usable as long as the thread runs.
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Told when the user's code of a task begins.
pub(crate) trait Watcher: Send + Sync {
    fn started(&self, worker: usize, start: &Start<'_>);
}

/// What is known of a task whose code begins.
pub(crate) struct Start<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) queue_wait: Option<Duration>,
    pub(crate) at: Instant,
    /// `None` for a task that nobody can ask for its options.
    pub(crate) task: Option<&'a Arc<dyn Complete>>,
    /// Whether the worker took it from the queue, and runs it within no other code.
    pub(crate) is_from_queue: bool,
}

impl fmt::Debug for Start<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("at", &self.at).finish_non_exhaustive()
    }
}

/// One run of a task.
pub(crate) struct Watch {
    watcher: Arc<dyn Watcher>,
    worker: usize,
    is_from_queue: bool,
    /// When the task was queued. `None` if it was not.
    queued: Option<Instant>,
    queue_wait: Option<Duration>,
    started: Option<Instant>,
    /// Whether it is known which task it is of.
    is_claimed: bool,
}

impl Watch {
    pub(crate) fn new(watcher: Arc<dyn Watcher>, worker: usize, is_from_queue: bool) -> Self {
        Watch { watcher, worker, is_from_queue, queued: None, queue_wait: None, started: None, is_claimed: false }
    }

    /// It is of a task that was queued then, if it was.
    pub(crate) fn claim(&mut self, queued: Option<Instant>) {
        self.queued = queued;
        self.is_claimed = true;
    }

    /// Whether it waits for the task that it is of.
    pub(crate) fn is_unclaimed(&self) -> bool {
        !self.is_claimed
    }

    /// The user's code begins. Only the first call of this and [`start_task`](Self::start_task) counts.
    pub(crate) fn start(&mut self, name: Option<&str>) {
        self.begin(name, None);
    }

    /// The same, of a task that can be asked for its options.
    pub(crate) fn start_task(&mut self, task: &Arc<dyn Complete>) {
        self.begin(task.name(), Some(task));
    }

    fn begin(&mut self, name: Option<&str>, task: Option<&Arc<dyn Complete>>) {
        if self.started.is_none() {
            self.is_claimed = true;
            let at = clock::now();
            self.queue_wait = self.queued.map(|queued| at.saturating_duration_since(queued));
            self.watcher.started(
                self.worker,
                &Start { name, queue_wait: self.queue_wait, at, task, is_from_queue: self.is_from_queue },
            );
            self.started = Some(clock::now());
        }
    }

    pub(crate) fn queue_wait(&self) -> Option<Duration> {
        self.queue_wait
    }

    /// How long the user's code has run. `None` if it has not.
    pub(crate) fn run_time(&self) -> Option<Duration> {
        self.started.map(|at| clock::now().saturating_duration_since(at))
    }
}

/// The calling thread is about to run a task, if that is not cancelled. It calls [`end`] afterwards.
pub(crate) fn begin(watch: Watch) {
    // Fails on a thread whose locals are gone, which can be an inline worker: its tasks end without having started.
    let _ = RUNS.try_with(|runs| runs.borrow_mut().push(watch));
    IS_WATCHED.with(|is_watched| is_watched.set(true));
}

/// The run that began last is over.
pub(crate) fn end() -> Option<Watch> {
    let (last, is_watched) = RUNS
        .try_with(|runs| {
            let mut runs = runs.borrow_mut();
            (runs.pop(), !runs.is_empty())
        })
        .unwrap_or_default();
    IS_WATCHED.with(|it| it.set(is_watched));
    last
}

/// Whether a pool with observers runs a task on the calling thread.
#[inline]
pub(crate) fn is_watched() -> bool {
    IS_WATCHED.with(Cell::get)
}

/// The calling thread is about to run a task that it alone has. One that nothing can keep from running, of which no more is to be known, starts.
#[inline]
pub(crate) fn start_if_certain(liveness: impl FnOnce() -> Liveness) {
    if is_watched() && liveness() == Liveness::Runs {
        _ = edit(|watch| watch.start(None));
    }
}

/// Changes what is noted of the run that began last. It may call the observers, so it is not in its place meanwhile.
#[cold]
#[inline(never)]
pub(crate) fn edit<O>(f: impl FnOnce(&mut Watch) -> O) -> Option<O> {
    let mut watch = end()?;
    let out = f(&mut watch);
    begin(watch);
    Some(out)
}
