//! Timelines: what each worker ran, and when, in a file for a viewer.

mod event;
mod sink;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::event::Event;
use self::sink::{BUFFERS, Buffer, Sink};
use super::labels::reason;
use super::{Observer, TaskEnd, TaskInfo};
use crate::error::SubmitErrorKind;

/// The least time between two values of the counter of queued tasks, but for a return to 0.
const SAMPLE: Duration = Duration::from_micros(10);

/// Added to a worker's number. Viewers treat a thread that has its process's number as the main thread.
const FIRST_THREAD: u64 = 100_000;

/// The buffer for events of no worker.
const SHARED_BUFFER: usize = BUFFERS - 1;

/// Records what pools do in a file that [Perfetto](https://ui.perfetto.dev) and `chrome://tracing` open: which worker ran which task when, and
/// how long each task was queued.
///
/// Each pool is a process in the viewer, and has
///
/// - a track for each worker, with a bar for each task that it ran: its [name](crate::With::name) or "task", with its outcome and its
///   wait in the queue in microseconds. A task that ran within another one is a bar below that one's. A bar is written when its task ends;
/// - a bar for each wait in the queue, in tracks named "queued" (not for tasks without a [`queue_wait`](TaskInfo::queue_wait));
/// - a counter of the queued tasks, with at most one value in 10 µs;
/// - marks for refused, cancelled, returned and taken back tasks, pauses, changes of the capacity, and starts and stops of workers.
///
/// The format is the JSON array of Chrome's trace events, about 400 bytes and 0.4 µs of a worker's time for each task. Events are kept in 33 buffers of 32 KiB. A thread that fills
/// one writes it, so now and then a worker or a submitter waits for the writer. While that is busy, up to 8 MiB more are kept for it; events beyond
/// these are [lost](Self::lost_bytes).
///
/// The file is complete when [`finish`](Self::finish) was called, or when the last of the timeline, its clones, and its pools' observers
/// is dropped, which ignores errors. A process that ends otherwise leaves a file without the events that were in the buffers (call
/// [`flush`](Self::flush) from time to time) and without the closing bracket, which viewers do not need.
///
/// ```
/// use formicary::Pool;
/// use formicary::observe::Timeline;
///
/// let path = std::env::temp_dir().join(format!("timeline-{}.json", std::process::id()));
/// let timeline = Timeline::to_file(&path)?;
/// let pool = Pool::builder().workers(2).observer(timeline.pool("thumbnails")).build()?;
/// pool.with().name("resize").submit(|| ())?;
/// pool.wait_idle();
/// timeline.finish()?;
///
/// assert!(std::fs::read_to_string(&path)?.contains(r#""name":"resize""#));
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Timeline {
    shared: Arc<Shared>,
}

struct Shared {
    sink: Sink<Lane>,
    begin: Instant,
    pools: AtomicU32,
}

/// What is known of the workers whose events go to a buffer.
#[derive(Default)]
struct Lane {
    /// Tasks that have started, those of a worker from the outermost to the innermost.
    open: Vec<Open>,
    waits: u64,
}

struct Open {
    pool: u32,
    worker: usize,
    at: Duration,
}

impl Timeline {
    /// Writes to a file, which is created, or emptied if it exists.
    ///
    /// # Errors
    /// If the file cannot be created.
    ///
    /// ```
    /// use formicary::observe::Timeline;
    ///
    /// assert!(Timeline::to_file("/no/such/folder/timeline.json").is_err());
    /// ```
    pub fn to_file(path: impl AsRef<Path>) -> io::Result<Timeline> {
        File::create(path).map(Timeline::new)
    }

    /// Writes to any writer. It needs no buffer of its own: it is called with many events at a time. It may be called on any thread that uses an
    /// observed pool, by one at a time. A panic in it counts as an error.
    ///
    /// ```
    /// use formicary::observe::Timeline;
    ///
    /// let timeline = Timeline::new(std::io::sink());
    /// timeline.finish()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(writer: impl Write + Send + 'static) -> Timeline {
        let (sink, begin) = (Sink::new(Box::new(writer)), Instant::now());
        Timeline { shared: Arc::new(Shared { sink, begin, pools: AtomicU32::new(1) }) }
    }

    /// The observer for one pool, with the name that the viewer shows. Each call is a pool of its own in the viewer: give each pool its own
    /// observer.
    ///
    /// ```
    /// use formicary::observe::Timeline;
    /// use formicary::{Pool, PoolWithFunc};
    ///
    /// let timeline = Timeline::new(std::io::sink());
    /// let decode = Pool::builder().workers(2).observer(timeline.pool("decode")).build()?;
    /// let count = PoolWithFunc::builder(|n: u32| drop(n)).workers(1).observer(timeline.pool("count")).build()?;
    /// decode.submit(|| ())?;
    /// count.submit(7)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pool(&self, name: &str) -> PoolTimeline {
        let number = self.shared.pools.fetch_add(1, Ordering::Relaxed);
        self.shared.sink.record(SHARED_BUFFER, |buffer| {
            Event::new(&mut buffer.text, "M", "process_name", number).arg("name", name).end();
            Event::new(&mut buffer.text, "M", "process_sort_index", number)
                .arg_number("sort_index", number.into())
                .end();
        });
        PoolTimeline { shared: Arc::clone(&self.shared), number, queued: Queued::default() }
    }

    /// Writes what was recorded so far, and flushes the writer. Waits for another thread that is writing, so the writer itself must not
    /// call it.
    ///
    /// # Errors
    /// The first error of the writer, now or before. Nothing more is written after an error.
    ///
    /// ```
    /// use formicary::observe::Timeline;
    ///
    /// let timeline = Timeline::new(std::io::sink());
    /// timeline.flush()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn flush(&self) -> io::Result<()> {
        self.shared.sink.drain(false)
    }

    /// Writes what was recorded so far, completes the file, and drops the writer. What happens afterwards is not recorded. Waits as
    /// [`flush`](Self::flush) does. A second call does nothing.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    ///
    /// ```
    /// use formicary::observe::Timeline;
    ///
    /// struct FullDisk;
    ///
    /// impl std::io::Write for FullDisk {
    ///     fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
    ///         Err(std::io::ErrorKind::StorageFull.into())
    ///     }
    ///
    ///     fn flush(&mut self) -> std::io::Result<()> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let timeline = Timeline::new(FullDisk);
    /// assert!(timeline.finish().is_err());
    /// ```
    pub fn finish(&self) -> io::Result<()> {
        self.shared.sink.drain(true)
    }

    /// How many bytes of events were dropped because the writer was too slow for them. Otherwise 0.
    ///
    /// ```
    /// use formicary::observe::Timeline;
    ///
    /// assert_eq!(Timeline::new(std::io::sink()).lost_bytes(), 0);
    /// ```
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        self.shared.sink.lost_bytes()
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline").field("lost_bytes", &self.lost_bytes()).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // No caller can receive the error.
        _ = self.sink.drain(true);
    }
}

/// The observer of one pool for a [`Timeline`].
///
/// ```
/// use formicary::observe::Timeline;
///
/// let timeline = Timeline::new(std::io::sink());
/// let pool = formicary::Pool::builder().workers(1).observer(timeline.pool("mill")).build()?;
/// assert_eq!(pool.run(|| 7)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PoolTimeline {
    shared: Arc<Shared>,
    number: u32,
    queued: Queued,
}

/// How many tasks are queued, and what the file says of it.
#[derive(Default)]
struct Queued {
    /// Can be negative for a moment: the start of a task may be told before its acceptance.
    tasks: AtomicI64,
    recorded: AtomicI64,
    /// When, in nanoseconds.
    recorded_at: AtomicU64,
}

impl PoolTimeline {
    fn now(&self) -> Duration {
        self.shared.begin.elapsed()
    }

    fn buffer_of(&self, worker: usize) -> usize {
        (self.number as usize + worker) % SHARED_BUFFER
    }

    /// Begins an event in a worker's track.
    fn event<'t>(&self, text: &'t mut String, phase: &str, name: &str, worker: usize) -> Event<'t> {
        Event::new(text, phase, name, self.number).thread(FIRST_THREAD + worker as u64)
    }

    /// An event of the pool.
    fn mark(&self, name: &str, args: impl FnOnce(Event<'_>) -> Event<'_>) {
        if self.shared.sink.is_open() {
            self.shared.sink.record(SHARED_BUFFER, |buffer| {
                let event = Event::new(&mut buffer.text, "i", name, self.number).thread(self.number.into());
                args(event.at(self.now()).with("s", "p")).end();
            });
        }
    }

    /// An event of a worker.
    fn mark_worker(&self, worker: usize, name: &str) {
        if self.shared.sink.is_open() {
            self.shared.sink.record(self.buffer_of(worker), |Buffer { text, .. }| {
                self.event(text, "M", "thread_name", worker).arg("name", &format!("worker {worker}")).end();
                self.event(text, "M", "thread_sort_index", worker).arg_number("sort_index", worker as u64).end();
                self.event(text, "i", name, worker).at(self.now()).with("s", "t").end();
            });
        }
    }

    /// So many more tasks are queued.
    fn queue_changes(&self, by: i64, now: Duration) {
        let Queued { tasks, recorded, recorded_at } = &self.queued;
        // ORDERING: SeqCst here and at `recorded`: of a thread that records a value and one that brings the count to 0, at least one sees the
        // other, and records the 0.
        let count = tasks.fetch_add(by, Ordering::SeqCst) + by;
        let (nanos, last) = (now.as_nanos() as u64, recorded_at.load(Ordering::Relaxed));
        let is_due = nanos >= last + SAMPLE.as_nanos() as u64
            && recorded_at.compare_exchange(last, nanos, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        // ORDERING: SeqCst, see above.
        if is_due || count <= 0 && recorded.load(Ordering::SeqCst) > 0 {
            // ORDERING: SeqCst, see above.
            if self.record_queued() > 0 && tasks.load(Ordering::SeqCst) <= 0 {
                self.record_queued();
            }
        }
    }

    /// Records how many tasks are queued now. Returns the number.
    fn record_queued(&self) -> i64 {
        let mut count = 0;
        self.shared.sink.record(SHARED_BUFFER, |buffer| {
            // Count and time are read under the buffer's lock, so the values are in the order of their times.
            // ORDERING: SeqCst, see `queue_changes`.
            count = self.queued.tasks.load(Ordering::SeqCst);
            self.queued.recorded.store(count, Ordering::SeqCst);
            let event = Event::new(&mut buffer.text, "C", "queued tasks", self.number).thread(self.number.into());
            event.at(self.now()).arg_number("tasks", count.max(0) as u64).end();
        });
        count
    }

    /// A task that a worker ran.
    fn record_task(&self, buffer: &mut Buffer<Lane>, worker: usize, task: &TaskInfo<'_>, end: TaskEnd) {
        let now = self.now();
        let Buffer { text, with: lane } = buffer;
        let is_own = |open: &Open| (open.pool, open.worker) == (self.number, worker);
        let started = match lane.open.iter().rposition(is_own) {
            Some(index) => lane.open.remove(index).at,
            // Its thread's locals are gone, so its start was not told.
            None => now.saturating_sub(task.run_time.unwrap_or_default()),
        };
        let name = task.name.unwrap_or("task");
        let event = self.event(text, "X", name, worker).at(started).lasts(now.saturating_sub(started));
        let event = event.arg("outcome", if end == TaskEnd::Panicked { "panicked" } else { "completed" });
        let Some(wait) = task.queue_wait else { return event.end() };
        event.arg_time("queue wait in us", wait).end();
        lane.waits += 1;
        let id = lane.waits * BUFFERS as u64 + self.buffer_of(worker) as u64;
        let begin = self.event(text, "b", "queued", worker).at(started.saturating_sub(wait)).pair("queue", id);
        begin.arg("task", name).end();
        self.event(text, "e", "queued", worker).at(started).pair("queue", id).end();
    }
}

impl Observer for PoolTimeline {
    fn accepted(&self) {
        if self.shared.sink.is_open() {
            self.queue_changes(1, self.now());
        }
    }

    fn started(&self, task: &TaskInfo<'_>) {
        let (Some(worker), true) = (task.worker, self.shared.sink.is_open()) else { return };
        let now = self.now();
        self.shared.sink.record(self.buffer_of(worker), |buffer| {
            buffer.with.open.push(Open { pool: self.number, worker, at: now });
        });
        self.queue_changes(-1, now);
    }

    fn ended(&self, task: &TaskInfo<'_>, end: TaskEnd) {
        if !self.shared.sink.is_open() {
            return;
        }
        match (end, task.worker) {
            (TaskEnd::Completed | TaskEnd::Panicked, Some(worker)) => {
                self.shared.sink.record(self.buffer_of(worker), |buffer| self.record_task(buffer, worker, task, end));
            }
            _ => {
                let name = match end {
                    TaskEnd::Cancelled => "cancelled",
                    TaskEnd::Returned => "returned",
                    TaskEnd::Dropped => "dropped",
                    TaskEnd::TakenBack => "taken back",
                    _ => "ended",
                };
                self.mark(name, |event| event);
                self.queue_changes(-1, self.now());
            }
        }
    }

    fn refused(&self, kind: SubmitErrorKind) {
        self.mark("refused", |event| event.arg("reason", reason(kind)));
    }

    fn worker_started(&self, worker: usize) {
        self.mark_worker(worker, "worker started");
    }

    fn worker_stopped(&self, worker: usize) {
        self.mark_worker(worker, "worker stopped");
    }

    fn tuned(&self, workers: usize) {
        self.mark("tuned", |event| event.arg_number("workers", workers as u64));
    }

    fn paused(&self) {
        self.mark("paused", |event| event);
    }

    fn resumed(&self) {
        self.mark("resumed", |event| event);
    }
}
