//! Figures for the `metrics` facade (feature `metrics`).

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Label, Unit};
use parking_lot::RwLock;

use super::labels::{REFUSALS, reason};
use super::{Observer, PoolInfo, RetryInfo, TaskEnd, TaskInfo};
use crate::engine::stats::Stats;
use crate::error::SubmitErrorKind;

/// Keeps the figures of a pool in the [`metrics`] facade, for Prometheus or any other exporter. Needs the feature `metrics`.
///
/// | name | type | labels | what |
/// |---|---|---|---|
/// | `formicary_tasks_accepted_total` | counter | `pool` | tasks that the pool has accepted |
/// | `formicary_tasks_ended_total` | counter | `pool`, `outcome`, `task`* | tasks that have ended: `completed`, `panicked`, `cancelled`, `returned`, `dropped` or `taken_back`, as in [`TaskEnd`] |
/// | `formicary_submissions_refused_total` | counter | `pool`, `reason` | refused submissions: `full`, `overloaded`, `timed_out`, `cancelled`, `closed`, `spawn`, `would_deadlock` or `too_large`, as in [`SubmitErrorKind`] |
/// | `formicary_attempts_retried_total` | counter | `pool` | failed attempts that another one follows ([`Retrying`](crate::Retrying)) |
/// | `formicary_task_queue_wait_seconds` | histogram | `pool`, `task`* | how long a task waited in the queue before it started; not of tasks that did not go through the queue |
/// | `formicary_task_run_seconds` | histogram | `pool`, `task`* | how long a task ran, to its end or its panic |
/// | `formicary_tasks_queued` | gauge | `pool` | tasks that were accepted, have not started and have not left the queue |
/// | `formicary_tasks_running` | gauge | `pool` | tasks that have started and not ended; one that a worker runs inside another one counts as well, and one whose worker was given up |
/// | `formicary_workers` | gauge | `pool` | workers that have started and not ended, also those that were given up |
/// | `formicary_workers_started_total` | counter | `pool` | workers ever started |
/// | `formicary_capacity` | gauge | `pool` | the highest number of workers that may be alive |
/// | `formicary_pauses` | gauge | `pool` | pause guards that have not been dropped, also if the pause has ended by its limit of time |
///
/// \* if [`with_task_names`](Self::with_task_names) asks for it, and the task has a name and has started.
///
/// On a pool without unfinished tasks the counters agree with its [figures](crate::Stats). A limited view can take a task back and submit
/// it again; then `submitted` is the number of accepted tasks less that of those `taken_back`.
///
/// **Install the exporter before [`new`](Self::new).** The series are registered there, once, with the recorder that is installed at that
/// moment, and without one the figures are dropped. An event then costs no look-up. Registration at the first event would not help:
/// gauges would lack the earlier events. All series without the label `task` exist from the start, so the first refusal is an increase from
/// zero, which a rate shows.
///
/// Each event is a call of the recorder on the thread of the event: two on the submitter's side and six on the worker's for each task.
///
/// ```
/// use formicary::Pool;
/// use formicary::observe::Metrics;
/// use metrics_exporter_prometheus::PrometheusBuilder;
///
/// // A service calls `.with_http_listener(…)` here, and `.install()`, for Prometheus to scrape.
/// let exporter = PrometheusBuilder::new().set_buckets(&Metrics::BUCKETS)?.install_recorder()?;
/// Metrics::describe();
///
/// let pool = Pool::builder().workers(2).observer(Metrics::new("thumbnails")).build()?;
/// pool.run(|| 6 * 7)?;
/// pool.wait_idle();
///
/// let scrape = exporter.render();
/// assert!(scrape.contains(r#"formicary_tasks_ended_total{pool="thumbnails",outcome="completed"} 1"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Metrics {
    pool: Arc<str>,
    accepted: Counter,
    refused: [(SubmitErrorKind, Counter); REFUSALS.len()],
    retried: Counter,
    queued: Gauge,
    running: Gauge,
    workers: Gauge,
    workers_started: Counter,
    capacity: Gauge,
    pauses: Gauge,
    /// Of tasks without a name, or of all.
    tasks: TaskSeries,
    /// By the tasks' names, if the user wants that.
    named: Option<RwLock<HashMap<Box<str>, Arc<TaskSeries>>>>,
}

impl Metrics {
    /// Bounds of buckets for both histograms, in seconds: from 10 µs to 10 s. Without them
    /// `metrics-exporter-prometheus` makes summaries, and `histogram_quantile` finds no buckets. `set_buckets` concerns all histograms of the
    /// process; `set_buckets_for_metric` only some.
    ///
    /// ```
    /// use formicary::observe::Metrics;
    /// assert_eq!((Metrics::BUCKETS[0], Metrics::BUCKETS[18]), (10e-6, 10.0));
    /// ```
    pub const BUCKETS: [f64; 19] = [
        10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5,
        5.0, 10.0,
    ];

    /// Registers the series of a pool, which get the label `pool` with this value. Two pools should have different ones: they would add
    /// to the same counters and overwrite each other's capacity.
    ///
    /// ```
    /// use formicary::observe::Metrics;
    ///
    /// let pool = formicary::Pool::builder().workers(1).observer(Metrics::new("mill")).build()?;
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(pool: impl Into<Arc<str>>) -> Self {
        let pool: Arc<str> = pool.into();
        let label = || vec![Label::new("pool", Arc::clone(&pool))];
        let refused = REFUSALS.map(|kind| {
            let reason = Label::from_static_parts("reason", reason(kind));
            let labels = vec![Label::new("pool", Arc::clone(&pool)), reason];
            (kind, metrics::counter!("formicary_submissions_refused_total", labels))
        });
        Metrics {
            accepted: metrics::counter!("formicary_tasks_accepted_total", label()),
            refused,
            retried: metrics::counter!("formicary_attempts_retried_total", label()),
            queued: metrics::gauge!("formicary_tasks_queued", label()),
            running: metrics::gauge!("formicary_tasks_running", label()),
            workers: metrics::gauge!("formicary_workers", label()),
            workers_started: metrics::counter!("formicary_workers_started_total", label()),
            capacity: metrics::gauge!("formicary_capacity", label()),
            pauses: metrics::gauge!("formicary_pauses", label()),
            tasks: TaskSeries::new(&pool, None),
            named: None,
            pool,
        }
    }

    /// Sets the series that no event changes, from the [figures](crate::PoolControl::stats) of a pool: call it before each scrape, or every few
    /// seconds. `pool` is their label `pool`. Costs four calls of the recorder.
    ///
    /// ```
    /// use formicary::observe::Metrics;
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    ///
    /// let exporter = PrometheusBuilder::new().install_recorder()?;
    /// let pool = formicary::Pool::builder().workers(1).observer(Metrics::new("mill")).build()?;
    /// pool.with().after(std::time::Duration::from_secs(60)).submit(|| ())?;
    ///
    /// Metrics::sample("mill", &pool.stats());
    /// assert!(exporter.render().contains(r#"formicary_tasks_scheduled{pool="mill"} 1"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sample(pool: impl Into<Arc<str>>, stats: &Stats) {
        let pool: Arc<str> = pool.into();
        let label = || vec![Label::new("pool", Arc::clone(&pool))];
        metrics::gauge!("formicary_submitters_waiting", label()).set(stats.waiting as f64);
        metrics::gauge!("formicary_tasks_scheduled", label()).set(stats.scheduled as f64);
        metrics::gauge!("formicary_workers_given_up", label()).set(stats.given_up as f64);
        metrics::counter!("formicary_failed_starts_total", label()).absolute(stats.failed_starts);
    }

    /// Adds the label `task` with the task's name ([`With::name`](crate::With::name)) where the table says so. Default: no such label.
    ///
    /// Each name makes seven series, which are registered when its first task starts, on the worker, and stay for ever. So name tasks by
    /// what they do, never by a request or a user: nothing here bounds their number.
    ///
    /// ```
    /// use formicary::observe::Metrics;
    ///
    /// let metrics = Metrics::new("mill").with_task_names();
    /// let pool = formicary::Pool::builder().workers(1).observer(metrics).build()?;
    /// pool.with().name("grind").run(|| ())?; // counts with the labels pool="mill",task="grind"
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it returns the changed value"]
    pub fn with_task_names(mut self) -> Self {
        self.named = Some(RwLock::default());
        self
    }

    /// Gives the installed recorder the help text and unit of each metric. Once for the process, after the exporter is installed.
    ///
    /// ```
    /// use formicary::observe::Metrics;
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    ///
    /// let exporter = PrometheusBuilder::new().install_recorder()?;
    /// Metrics::describe();
    /// let _metrics = Metrics::new("mill");
    /// assert!(exporter.render().contains("# HELP formicary_workers Living workers."));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn describe() {
        metrics::describe_counter!("formicary_tasks_accepted_total", Unit::Count, "Tasks that the pool has accepted.");
        metrics::describe_counter!("formicary_tasks_ended_total", Unit::Count, "Tasks that have ended, by outcome.");
        let refused = "Refused submissions, by reason.";
        metrics::describe_counter!("formicary_submissions_refused_total", Unit::Count, refused);
        let retried = "Failed attempts that another one follows.";
        metrics::describe_counter!("formicary_attempts_retried_total", Unit::Count, retried);
        let wait = "How long tasks waited in the queue before they started.";
        metrics::describe_histogram!("formicary_task_queue_wait_seconds", Unit::Seconds, wait);
        metrics::describe_histogram!("formicary_task_run_seconds", Unit::Seconds, "How long tasks ran.");
        metrics::describe_gauge!("formicary_tasks_queued", Unit::Count, "Accepted tasks that have not started.");
        metrics::describe_gauge!("formicary_tasks_running", Unit::Count, "Tasks that have started and not ended.");
        metrics::describe_gauge!("formicary_workers", Unit::Count, "Living workers.");
        metrics::describe_counter!("formicary_workers_started_total", Unit::Count, "Workers ever started.");
        let capacity = "The highest number of workers that may be alive.";
        metrics::describe_gauge!("formicary_capacity", Unit::Count, capacity);
        metrics::describe_gauge!("formicary_pauses", Unit::Count, "Pause guards that have not been dropped.");
        let waiting = "Submitters that wait for room.";
        metrics::describe_gauge!("formicary_submitters_waiting", Unit::Count, waiting);
        metrics::describe_gauge!("formicary_tasks_scheduled", Unit::Count, "Tasks whose time has not come.");
        let given_up = "Workers that were given up and have not ended.";
        metrics::describe_gauge!("formicary_workers_given_up", Unit::Count, given_up);
        let refused = "Threads that the system has refused.";
        metrics::describe_counter!("formicary_failed_starts_total", Unit::Count, refused);
    }

    /// The series of a task, by its name.
    fn with_series(&self, task: &TaskInfo<'_>, f: impl FnOnce(&TaskSeries)) {
        let (Some(named), Some(name)) = (&self.named, task.name) else { return f(&self.tasks) };
        let known = named.read().get(name).cloned();
        let series = known.unwrap_or_else(|| {
            // The recorder is not called under the lock. It returns the same series to a thread that is here as well.
            let series = Arc::new(TaskSeries::new(&self.pool, Some(name)));
            Arc::clone(named.write().entry(name.into()).or_insert(series))
        });
        f(&series);
    }
}

impl Observer for Metrics {
    fn built(&self, pool: &PoolInfo<'_>) {
        self.tuned(pool.workers);
    }

    fn accepted(&self) {
        self.accepted.increment(1);
        self.queued.increment(1.0);
    }

    fn started(&self, task: &TaskInfo<'_>) {
        self.queued.decrement(1.0);
        self.running.increment(1.0);
        if let Some(wait) = task.queue_wait {
            self.with_series(task, |series| series.queue_wait.record(wait));
        }
    }

    fn ended(&self, task: &TaskInfo<'_>, end: TaskEnd) {
        let has_run = matches!(end, TaskEnd::Completed | TaskEnd::Panicked);
        let left = if has_run { &self.running } else { &self.queued };
        left.decrement(1.0);
        self.with_series(task, |series| {
            if let Some(time) = task.run_time {
                series.run_time.record(time);
            }
            series.ended(end).increment(1);
        });
    }

    fn refused(&self, kind: SubmitErrorKind) {
        if let Some((_, counter)) = self.refused.iter().find(|(of, _)| *of == kind) {
            counter.increment(1);
        }
    }

    fn retried(&self, _retry: &RetryInfo<'_>) {
        self.retried.increment(1);
    }

    fn worker_started(&self, _worker: usize) {
        self.workers_started.increment(1);
        self.workers.increment(1.0);
    }

    fn worker_stopped(&self, _worker: usize) {
        self.workers.decrement(1.0);
    }

    fn tuned(&self, workers: usize) {
        self.capacity.set(workers as f64);
    }

    fn paused(&self) {
        self.pauses.increment(1.0);
    }

    fn resumed(&self) {
        self.pauses.decrement(1.0);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// The series that can have the label `task`.
struct TaskSeries {
    completed: Counter,
    panicked: Counter,
    cancelled: Counter,
    returned: Counter,
    dropped: Counter,
    taken_back: Counter,
    queue_wait: Histogram,
    run_time: Histogram,
}

impl TaskSeries {
    fn new(pool: &Arc<str>, task: Option<&str>) -> Self {
        let labels = || {
            let pool = Label::new("pool", Arc::clone(pool));
            let task = task.map(|name| Label::new("task", name.to_owned()));
            std::iter::once(pool).chain(task).collect::<Vec<_>>()
        };
        let ended = |outcome| {
            let mut labels = labels();
            labels.insert(1, Label::from_static_parts("outcome", outcome));
            metrics::counter!("formicary_tasks_ended_total", labels)
        };
        TaskSeries {
            completed: ended("completed"),
            panicked: ended("panicked"),
            cancelled: ended("cancelled"),
            returned: ended("returned"),
            dropped: ended("dropped"),
            taken_back: ended("taken_back"),
            queue_wait: metrics::histogram!("formicary_task_queue_wait_seconds", labels()),
            run_time: metrics::histogram!("formicary_task_run_seconds", labels()),
        }
    }

    fn ended(&self, end: TaskEnd) -> &Counter {
        match end {
            TaskEnd::Completed => &self.completed,
            TaskEnd::Panicked => &self.panicked,
            TaskEnd::Cancelled => &self.cancelled,
            TaskEnd::Returned => &self.returned,
            TaskEnd::Dropped => &self.dropped,
            TaskEnd::TakenBack => &self.taken_back,
        }
    }
}
