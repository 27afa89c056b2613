//! A span for each task (feature `tracing`).

use std::sync::{Arc, OnceLock};
use std::thread;

use tracing::dispatcher::{self, DefaultGuard, Dispatch as Subscriber};
use tracing::span::{EnteredSpan, Span};

use super::labels::reason;
use super::{Observer, PoolInfo, RetryInfo};
use crate::error::SubmitErrorKind;
use crate::pool::builder::Builder;
use crate::queue::Dispatch;
use crate::task::worker::Context;

/// With the feature `tracing`.
impl<K, D: Dispatch> Builder<K, D> {
    /// Each task runs in a span of its own, whose parent is the span that the submitter was in. So a trace of a request contains the
    /// tasks that were submitted for it, on whichever threads they ran. Default: no spans.
    ///
    /// All have the target `formicary` and a field `pool`, the pool's [name](Self::name):
    ///
    /// | | level | fields |
    /// |---|---|---|
    /// | span `task` | `INFO` | `task`, the name that the task was submitted with, and `worker` |
    /// | event "task panicked", in the task's span | `ERROR` | |
    /// | event "submission refused", in the submitter's span | `WARN` | `reason`: `full`, `overloaded`, `timed_out`, `cancelled`, `closed`, `spawn`, `would_deadlock` or `too_large` |
    /// | event "attempt failed, to be retried" | `WARN` | `task`, the name if there is one, `attempts`, the number made, and `delay`, before the next |
    /// | events "pool paused", "pool resumed", "pool tuned" | `INFO` | of the last: `workers` |
    /// | events "worker started", "worker stopped" | `TRACE` | `worker` |
    ///
    /// The level of the span is that of `#[instrument]`. A filter such as `formicary=warn` leaves out the spans and keeps the failures;
    /// what a task records then is in no span.
    ///
    /// The span begins when the task starts, and closes when its code has ended. A task that never runs has none. The task's span, and all
    /// that the task records, go to the subscriber of the submitter at the submit: the global one, or that of
    /// [`with_default`](tracing::subscriber::with_default). Workers record their own start and stop with the global one.
    ///
    /// This is an [`observer`](Self::observer) and a [`propagate`](Self::propagate), at their cost, and holds for the tasks that the
    /// latter holds for. The second closure of a [`join`](crate::Pool::join) has a span as well, with the name of the task that it is
    /// part of, if it is not stolen.
    ///
    /// ```
    /// use formicary::Pool;
    ///
    /// let pool = Pool::builder().workers(2).name("thumbnails").tracing().build()?;
    ///
    /// let request = tracing::info_span!("request", id = 7);
    /// let width = request.in_scope(|| {
    ///     pool.with().name("resize").run(|| {
    ///         tracing::info!("halved"); // in request{id=7}:task{pool="thumbnails" task="resize" worker=0}
    ///         640 / 2
    ///     })
    /// })?;
    /// assert_eq!(width, 320);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tracing(self) -> Self {
        let name = Arc::new(OnceLock::new());
        let of_pool = Arc::clone(&name);
        self.observer(Events { pool: name }).propagate(Submitter::current, move |submitter| submitter.enter(&of_pool))
    }
}

/// The name of a pool, as soon as it is built.
type PoolName = OnceLock<Box<str>>;

fn text(name: &PoolName) -> &str {
    name.get().map_or("", |name| name)
}

/// What the submitter's thread carries.
struct Submitter {
    span: Span,
    /// The span's id means something to this one only.
    subscriber: Subscriber,
}

impl Submitter {
    fn current() -> Self {
        Submitter { span: Span::current(), subscriber: dispatcher::get_default(Subscriber::clone) }
    }

    /// Begins the span of the task that the calling thread is about to run.
    fn enter(self, pool: &Arc<PoolName>) -> InTask {
        let subscriber = dispatcher::set_default(&self.subscriber);
        let span = |task: Option<&str>, worker: Option<usize>| tracing::info_span!(target: "formicary", parent: &self.span, "task", pool = text(pool), task, worker);
        let span = Context::with(|cx| span(cx.name(), Some(cx.worker()))).unwrap_or_else(|| span(None, None));
        let was_panicking = thread::panicking();
        InTask { pool: Arc::clone(pool), was_panicking, _span: span.entered(), _subscriber: subscriber }
    }
}

/// A task's span, entered on the worker until this is dropped.
struct InTask {
    pool: Arc<PoolName>,
    was_panicking: bool,
    // The span ends before its subscriber is left.
    _span: EnteredSpan,
    _subscriber: DefaultGuard,
}

impl Drop for InTask {
    fn drop(&mut self) {
        // The task's panic unwinds through here. That of an outer task, in whose drops this one ran, was there before.
        if thread::panicking() && !self.was_panicking {
            tracing::error!(target: "formicary", pool = text(&self.pool), "task panicked");
        }
    }
}

/// Records what has no span.
struct Events {
    pool: Arc<PoolName>,
}

impl Observer for Events {
    fn built(&self, pool: &PoolInfo<'_>) {
        // An observer of one pool is told once.
        _ = self.pool.set(pool.name.into());
    }

    fn refused(&self, kind: SubmitErrorKind) {
        let reason = reason(kind);
        tracing::warn!(target: "formicary", pool = text(&self.pool), reason, "submission refused");
    }

    fn retried(&self, retry: &RetryInfo<'_>) {
        let &RetryInfo { name: task, attempts, delay } = retry;
        let pool = text(&self.pool);
        tracing::warn!(target: "formicary", pool, task, attempts, ?delay, "attempt failed, to be retried");
    }

    fn worker_started(&self, worker: usize) {
        tracing::trace!(target: "formicary", pool = text(&self.pool), worker, "worker started");
    }

    fn worker_stopped(&self, worker: usize) {
        tracing::trace!(target: "formicary", pool = text(&self.pool), worker, "worker stopped");
    }

    fn tuned(&self, workers: usize) {
        tracing::info!(target: "formicary", pool = text(&self.pool), workers, "pool tuned");
    }

    fn paused(&self) {
        tracing::info!(target: "formicary", pool = text(&self.pool), "pool paused");
    }

    fn resumed(&self) {
        tracing::info!(target: "formicary", pool = text(&self.pool), "pool resumed");
    }
}
