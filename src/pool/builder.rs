//! The builder of all pools. What it sets about threads is in `builder_threads.rs`, about tasks that find no room in
//! `builder_overflow.rs`, about the end in `builder_ending.rs`, about shards in `builder_sharded.rs`.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::observer::Observer;
use crate::engine::options::{Nested, Options, TaskPanic};
use crate::queue::{Dispatch, MAX_WORKERS, Stack};
use crate::semaphore::Semaphore;

/// All settings of a pool, before it is built. `K` is the kind of pool, `D` its dispatch.
///
/// ```
/// use formicary::Pool;
/// use std::time::Duration;
///
/// let pool = Pool::builder()
///     .workers(8)
///     .min_workers(2)
///     .queue(100)
///     .expiry(Duration::from_secs(30))
///     .thread_name("mill")
///     .build()?;
/// assert_eq!(pool.stats().live, 2);
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[doc(alias("ThreadPoolBuilder", "Options", "Executors"))]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder<K, D: Dispatch = Stack> {
    pub(crate) kind: K,
    pub(crate) options: Options,
    dispatch: PhantomData<fn() -> D>,
}

impl<K> Builder<K> {
    pub(crate) fn of(kind: K) -> Self {
        Builder { kind, options: Options::default(), dispatch: PhantomData }
    }
}

impl<K, D: Dispatch> Builder<K, D> {
    /// How tasks find workers. Default: [`Stack`].
    ///
    /// ```
    /// use formicary::{Pool, Ring};
    ///
    /// let pool: Pool<Ring> = Pool::builder().workers(1).dispatch::<Ring>().build()?;
    /// assert_eq!(pool.run(|| 1)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dispatch<E: Dispatch>(self) -> Builder<K, E> {
        Builder { kind: self.kind, options: self.options, dispatch: PhantomData }
    }

    /// The capacity: the greatest number of workers that may be alive, 1 to [`MAX_WORKERS`]. Default: the number of processors that the
    /// process may use.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(3).build()?;
    /// assert_eq!(pool.capacity(), 3);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[doc(alias("num_threads", "max_workers", "worker_threads", "max_blocking_threads", "maximumPoolSize"))]
    pub fn workers(mut self, workers: usize) -> Self {
        self.options.workers = workers;
        self
    }

    /// As many workers as tasks need, up to [`MAX_WORKERS`]: no task waits for another, as long as the system has threads.
    ///
    /// All pools of a process together stay below the number of threads that the system says it can give: on Linux about 14,000 with the
    /// usual limit on memory maps, fewer if that or the number of threads is limited further. A thread beyond that number counts as
    /// [refused](crate::Stats::failed_starts), and the existing workers run what is queued. Threads that a
    /// [`spawn_handler`](Self::spawn_handler) starts are not counted.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().unlimited_workers().build()?;
    /// assert_eq!(pool.capacity(), formicary::MAX_WORKERS);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[doc(alias("newCachedThreadPool"))]
    pub fn unlimited_workers(self) -> Self {
        self.workers(MAX_WORKERS)
    }

    /// The number of workers that `build` starts and that never expire, 0 to `workers`. The others start when tasks need them. Default: 1,
    /// so that `build` finds out whether the system gives a thread and whether the worker's state can be made.
    ///
    /// `build` waits for a state or an [`on_thread_start`](Self::on_thread_start), and not for a worker that has neither. A minimum that
    /// the system has no room for is an error of `build`. A minimum that is lost later, because a thread was refused or a state could not
    /// be made, is restored: an idle worker tries after 10 milliseconds, then twice as late each time, up to 2 seconds.
    ///
    /// With 0, a task may be accepted at the moment in which the last worker expires, or, if there may not be one more, while another
    /// submitter starts the first worker. If the system refuses a thread at that moment, the thread that asked for it runs queued tasks
    /// until there is a worker, even in a call that does not block. So do not submit under a lock that tasks take, or keep a minimum of 1.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(4).min_workers(0).build()?;
    /// assert_eq!(pool.stats().live, 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[doc(alias("corePoolSize", "min_threads", "core_size"))]
    pub fn min_workers(mut self, workers: usize) -> Self {
        self.options.min_workers = workers;
        self
    }

    /// How many tasks may wait beyond those that have a worker: a pool holds at most `workers + queue` tasks. With 0 a task is accepted
    /// only when a worker is free for it. Tasks that the pool's own tasks submit come on top ([`nested`](Self::nested)). Default: 1024.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(1).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// pool.submit(|| ())?;
    /// assert!(pool.try_submit(|| ()).is_err());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("max_capacity", "queue_size", "SynchronousQueue", "ArrayBlockingQueue"))]
    pub fn queue(mut self, tasks: usize) -> Self {
        self.options.queue = Some(tasks);
        self
    }

    /// Any number of tasks may wait, as long as memory lasts.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).unbounded_queue().build()?;
    /// for _ in 0..10_000 {
    ///     assert!(pool.try_submit(|| ()).is_ok());
    /// }
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[doc(alias("LinkedBlockingQueue", "Unbounded"))]
    pub fn unbounded_queue(mut self) -> Self {
        self.options.queue = None;
        self
    }

    /// What the pool's own tasks may submit to it beyond the bound of the queue. Default: [`Nested::Any`]: submitting from a task neither
    /// waits nor is refused for lack of room, also on a [`nonblocking`](Self::nonblocking) pool. So a tree of tasks that submit their
    /// children completes on any number of workers.
    ///
    /// Such tasks never take room from those that come from outside. A worker runs them first, in the order of their submission (different
    /// keys take turns), but every 61st time it takes a task from outside first.
    /// [`Stats::overcommitted`](crate::Stats::overcommitted) is the number of those that are unfinished. On [`Priority`](crate::Priority)
    /// and [`Fair`](crate::Fair) pools they start in the order of levels and tenants, as all tasks do.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use formicary::{Nested, Pool};
    ///
    /// fn count_down(pool: &Arc<Pool>, n: u32) {
    ///     let inner = Arc::clone(pool);
    ///     if n > 0 {
    ///         pool.submit(move || count_down(&inner, n - 1)).unwrap();
    ///     }
    /// }
    /// let pool = Arc::new(Pool::builder().workers(1).queue(0).build()?);
    /// let inner = Arc::clone(&pool);
    /// pool.submit(move || count_down(&inner, 1000))?;
    /// pool.wait_idle();
    /// assert_eq!(pool.stats().completed, 1001);
    ///
    /// let pool = Pool::builder().workers(1).nested(Nested::AtMost(10_000)).build()?;
    /// # drop(pool);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nested(mut self, nested: Nested) -> Self {
        self.options.nested = nested;
        self
    }

    /// Starts another worker only when more than `queued_per_worker` tasks are queued for each living worker, instead of for every task that
    /// no worker is free for. Default: 0, which is at once. For tasks that are short against the start of a thread, or its state.
    ///
    /// A pool without a living worker starts one at once in any case. It also starts them as with 0 while it is full, while a submitter
    /// waits for room, and while a task waits for a task of the same pool or for room in it, in any way that the pool offers. A task that waits
    /// for another in a way of its own, such as a channel, may wait for one that is queued and never gets a worker: leave the default then.
    ///
    /// The number of workers is looked at when a task is submitted, so a queue that does not grow gets no worker, however long it waits.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(4).grow_when(2).build()?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || drop(gate.recv()))?;
    /// while pool.running() == 0 {
    ///     std::thread::yield_now();
    /// }
    /// pool.submit(|| ())?;
    /// pool.submit(|| ())?;
    /// assert_eq!(pool.stats().live, 1);
    /// pool.submit(|| ())?; // the third for one worker
    /// assert_eq!(pool.stats().live, 2);
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn grow_when(mut self, queued_per_worker: usize) -> Self {
        self.options.grow_when = queued_per_worker;
        self
    }

    /// Whether `submit` refuses a task instead of blocking, as `try_submit` does. Default: `false`.
    ///
    /// It is about blocked threads: `submit_async` and its kin wait for room all the same, and so does a verb with a limit on its wait
    /// ([`With::room_timeout`](crate::With::room_timeout), [`With::timeout`](crate::With::timeout)). To refuse futures at once as well:
    /// [`max_blocking(0)`](Self::max_blocking).
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).nonblocking(true).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert!(pool.submit(|| ()).unwrap_err().is_full());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("WithNonblocking", "AbortPolicy"))]
    pub fn nonblocking(mut self, nonblocking: bool) -> Self {
        self.options.nonblocking = nonblocking;
        self
    }

    /// How many submitters, threads and futures together, may wait for room. One more is refused at once as
    /// [`Overloaded`](crate::SubmitErrorKind::Overloaded); with 0 nobody waits. Default: any number.
    ///
    /// ```
    /// use formicary::{Pool, SubmitErrorKind};
    ///
    /// let pool = Pool::builder().workers(1).queue(0).max_blocking(0).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert_eq!(pool.submit(|| ()).unwrap_err().kind(), SubmitErrorKind::Overloaded);
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("WithMaxBlockingTasks", "try_run_async", "try_spawn_async"))]
    pub fn max_blocking(mut self, submitters: usize) -> Self {
        self.options.max_blocking = submitters;
        self
    }

    /// How long a worker above the minimum stays idle before it ends: a [`Duration`], or `None` for ever. Default: 10 seconds.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).expiry(None).build()?;
    /// assert_eq!(pool.stats().live, 1);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[doc(alias("keep_alive", "keepAliveTime", "thread_keep_alive", "WithExpiryDuration", "idle_timeout"))]
    pub fn expiry(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.options.expiry = idle.into();
        self
    }

    /// How long an idle worker may spin before it parks: latency against processor time. Default: 10 microseconds, about what
    /// it costs to park and be woken.
    ///
    /// A worker spins for up to `limit` if it is new, or if its last idle period was no longer than `limit`; otherwise for about two
    /// microseconds. A longer limit is for tasks that come at such intervals and must start within a microsecond: the worker then keeps a
    /// processor busy. While other workers are parked, only one spins at a time. With 0 every spin is short.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::builder().workers(1).spin(Duration::ZERO).build()?;
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spin(mut self, limit: Duration) -> Self {
        self.options.spin = limit;
        self
    }

    /// Called once for each task that panics, on the worker's thread, before the result is delivered; also for a panic in the drop of what
    /// a cancelled task had captured. A panic in the handler is caught and counted. Default: none. The process's panic hook, which prints
    /// the panic, runs in any case.
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    ///
    /// let (sender, receiver) = channel();
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .panic_handler(move |panic| drop(sender.send(panic.worker())))
    ///     .build()?;
    /// pool.submit(|| panic!("a test's panic"))?;
    /// assert_eq!(receiver.recv()?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("WithPanicHandler", "UncaughtExceptionHandler"))]
    pub fn panic_handler(mut self, handler: impl Fn(&TaskPanic<'_>) + Send + Sync + 'static) -> Self {
        self.options.panic_handler = Some(Arc::new(handler));
        self
    }

    /// Adds an observer, which is told of every task, refusal and worker ([`Observer`]). Several are called in the order in which they were
    /// added. Default: none; then a submit makes one check for it.
    ///
    /// With an observer a task costs an allocation and three looks at the clock more, and tasks are not pushed in batches.
    ///
    /// ```
    /// use formicary::observe::{Observer, TaskEnd, TaskInfo};
    ///
    /// struct Print;
    ///
    /// impl Observer for Print {
    ///     fn ended(&self, task: &TaskInfo<'_>, end: TaskEnd) {
    ///         println!("{end:?} after {:?}", task.run_time);
    ///     }
    /// }
    ///
    /// let pool = formicary::Pool::builder().workers(1).observer(Print).build()?;
    /// pool.run(|| ())?; // prints "Completed after Some(…)"
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.options.observers.push(Arc::new(observer));
        self
    }

    /// Lets the [`panic_handler`](Self::panic_handler) know where in the source a panic began ([`TaskPanic::location`]), and by which calls
    /// if the environment asks for backtraces ([`TaskPanic::backtrace`]). Default: it does not know.
    ///
    /// Only a panic hook learns the location, so this installs one, once for the process, which calls the hook that was there before. A
    /// hook that the program installs later replaces it. Costs nothing until a panic.
    ///
    /// ```
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .panic_locations()
    ///     .panic_handler(|panic| eprintln!("{panic}"))
    ///     .build()?;
    /// pool.submit(|| panic!("broken"))?; // prints "worker 0 of formicary panicked at src/main.rs:6:17: broken"
    /// # pool.wait_idle();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [`TaskPanic::location`]: crate::TaskPanic::location
    /// [`TaskPanic::backtrace`]: crate::TaskPanic::backtrace
    pub fn panic_locations(mut self) -> Self {
        self.options.panic_locations = true;
        self
    }

    /// The semaphore from which the tasks of this pool take their weights ([`With::weight`](crate::With::weight)). Several pools and views
    /// can have the same one, and other code can use it beside them. Tasks without a weight take nothing. Default: none.
    ///
    /// ```
    /// use formicary::{Pool, Semaphore};
    ///
    /// let memory = Semaphore::new(64 << 20);
    /// let pool = Pool::builder().workers(2).budget(&memory).build()?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// let handle = pool.with().weight(48 << 20).spawn(move || drop(gate.recv()))?;
    /// assert_eq!(memory.available(), 16 << 20);
    /// drop(done);
    /// handle.join()?;
    /// assert_eq!(memory.available(), 64 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn budget(mut self, budget: &Semaphore) -> Self {
        self.options.budget = Some(budget.clone());
        self
    }
}

impl<K, D: Dispatch> fmt::Debug for Builder<K, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("dispatch", &D::NAME)
            .field("workers", &self.options.workers)
            .field("min_workers", &self.options.min_workers)
            .field("queue", &self.options.queue)
            .field("expiry", &self.options.expiry)
            .finish_non_exhaustive()
    }
}
