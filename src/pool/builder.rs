//! One builder for all pools.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::options::{Nested, OnDrop, Options, TaskPanic, WorkerThread};
use crate::queue::{Balance, Dispatch, MAX_WORKERS, Sharded, Stack};

/// Everything that can be set about a pool. `K` is the kind of pool, `D` its dispatch.
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
    /// use formicary::{Pool, Stack};
    ///
    /// let pool = Pool::builder().workers(1).dispatch::<Stack>().build()?;
    /// assert_eq!(pool.run(|| 1)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dispatch<E: Dispatch>(self) -> Builder<K, E> {
        Builder { kind: self.kind, options: self.options, dispatch: PhantomData }
    }

    /// The capacity: the most workers that may be alive, 1 to [`MAX_WORKERS`]. Default: the number of processors
    /// that the process may use.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(3).build()?;
    /// assert_eq!(pool.capacity(), 3);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn workers(mut self, workers: usize) -> Self {
        self.options.workers = workers;
        self
    }

    /// As many workers as tasks need, up to [`MAX_WORKERS`]: no task waits for another, as long as the system has threads.
    ///
    /// All pools of a process together stay below what the system says it can give: on Linux about 14,000 threads with the usual
    /// limit on memory maps, fewer where that or the number of threads is limited more. A thread beyond it counts as
    /// [refused](crate::Stats::failed_starts): the living workers run what is queued. It is not counted what a
    /// [`spawn_handler`](Self::spawn_handler) starts.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().unlimited_workers().build()?;
    /// assert_eq!(pool.capacity(), formicary::MAX_WORKERS);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn unlimited_workers(self) -> Self {
        self.workers(MAX_WORKERS)
    }

    /// Workers that are started by `build` and never expire, 0 to `workers`. Default: 1, so that `build` finds out
    /// whether a thread can be had and the worker's state be made. `build` waits for a state or for an
    /// [`on_thread_start`](Self::on_thread_start), and not for a worker that has neither. The others start when tasks need them.
    /// A minimum that the system has no room for is an error of `build`. One that is lost later, because a thread was refused or a
    /// state could not be made, is restored as soon as that works again: an idle worker tries after 10 milliseconds, and then
    /// twice as late each time, up to 2 seconds.
    ///
    /// With 0, a task may be accepted just when the last worker expires, or, where there is no place for one more, while another
    /// submitter starts the first worker. Should the system refuse a thread in that moment, the thread that asked for it
    /// runs what is queued, until there is a worker; also where it would not block. So do not submit
    /// under a lock that tasks take, or have a minimum of 1.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(4).min_workers(0).build()?;
    /// assert_eq!(pool.stats().live, 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn min_workers(mut self, workers: usize) -> Self {
        self.options.min_workers = workers;
        self
    }

    /// How many tasks may wait beyond those that have a worker: a pool holds at most `workers + queue` tasks. 0 is pure
    /// hand-off: a task is accepted only when a worker is free for it. What the pool's own tasks submit comes on top
    /// ([`nested`](Self::nested)). Default: 1024.
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
    pub fn unbounded_queue(mut self) -> Self {
        self.options.queue = None;
        self
    }

    /// What the pool's own tasks may submit to it beyond the bound of the queue. Default: [`Nested::Any`], so that submitting from
    /// inside a task never waits and is never refused for want of room, also where the pool is
    /// [`nonblocking`](Self::nonblocking). A tree of tasks that submit their children completes on any number of workers.
    ///
    /// Such tasks never take the room of those that come from outside. A worker runs them first, in the order in which they
    /// came (those with different keys in turn), but begins with a task from outside every 61st time.
    /// [`Stats::overcommitted`](crate::Stats::overcommitted) says how many are unfinished.
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

    /// Whether `submit` refuses where it would block, as `try_submit` does. Default: `false`.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).nonblocking(true).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert!(pool.submit(|| ()).unwrap_err().is_full());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nonblocking(mut self, nonblocking: bool) -> Self {
        self.options.nonblocking = nonblocking;
        self
    }

    /// How many submitters may wait for room; one more is refused at once as
    /// [`Overloaded`](crate::SubmitErrorKind::Overloaded). Default: any number.
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
    pub fn max_blocking(mut self, submitters: usize) -> Self {
        self.options.max_blocking = submitters;
        self
    }

    /// How long a worker above the minimum stays idle before it ends: a [`Duration`], or `None` for ever. Default: 10
    /// seconds.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).expiry(None).build()?;
    /// assert_eq!(pool.stats().live, 1);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn expiry(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.options.expiry = idle.into();
        self
    }

    /// How long an idle worker may look for work before it sleeps: the trade between latency and processor time. Each look
    /// is a few microseconds long in any case; one up to this limit is a new worker's first, or follows an idle time that was no
    /// longer than this, and only one worker looks at a time while others sleep. With 0 every look is short. Default: 60 microseconds.
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

    /// The pool's name, in its [`Stats`](crate::Stats) and in reports of panics; any text. Default: the prefix of its threads' names
    /// ([`thread_name`](Self::thread_name)).
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).name("thumbnails of the shop").thread_name("thumbs").build()?;
    /// assert_eq!(&*pool.stats().name, "thumbnails of the shop");
    /// let thread = pool.run(|| std::thread::current().name().map(str::to_owned))?;
    /// assert_eq!(thread.as_deref(), Some("thumbs-0"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into().into());
        self
    }

    /// The prefix of the threads' names, which are it and the worker's number; and the pool's name, unless it has
    /// [another](Self::name). Linux shows 15 bytes of a thread's name: a longer prefix is cut so that the number stays. `build` fails
    /// for one that is empty or has a NUL byte in it. Default: `formicary`.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).thread_name("mill").build()?;
    /// let name = pool.run(|| std::thread::current().name().map(str::to_owned))?;
    /// assert_eq!(name.as_deref(), Some("mill-0"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn thread_name(mut self, prefix: impl Into<String>) -> Self {
        self.options.thread_name = prefix.into().into();
        self
    }

    /// The whole name of each thread, by its worker's number; [`thread_name`](Self::thread_name) then only names the pool. A number
    /// is below the highest capacity that the pool has had, and is given to another thread when its worker has ended. The names
    /// are taken as they are: of a longer one Linux shows 15 bytes.
    ///
    /// The function is called on whichever thread starts a worker, often that of a submitter, while others that submit may wait for
    /// it: it must not wait for anything. A name that is empty or has a NUL byte in it, and a panic in the function, count as a
    /// [refused](crate::Stats::failed_starts) thread: `build` fails where that is one of the minimum and there is no other.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).thread_names(|worker| format!("mill {worker}")).build()?;
    /// let name = pool.run(|| std::thread::current().name().map(str::to_owned))?;
    /// assert_eq!(name.as_deref(), Some("mill 0"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn thread_names(mut self, names: impl Fn(usize) -> String + Send + Sync + 'static) -> Self {
        self.options.thread_names = Some(Arc::new(names));
        self
    }

    /// The size of the threads' stacks, in bytes: at least 1. The system may round it up, to the least that it can have or to whole
    /// pages. Default: the standard library's, 2 MiB.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).stack_size(256 * 1024).build()?;
    /// assert_eq!(pool.run(|| 1)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.options.stack_size = Some(bytes);
        self
    }

    /// Called on each worker's thread before its first task, with the worker's number. A panic in it is caught and
    /// counted. Default: nothing.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    /// use std::sync::Arc;
    ///
    /// let alive = Arc::new(AtomicUsize::new(0));
    /// let (up, down) = (alive.clone(), alive.clone());
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .on_thread_start(move |_worker| { up.fetch_add(1, Relaxed); })
    ///     .on_thread_stop(move |_worker| { down.fetch_sub(1, Relaxed); })
    ///     .build()?;
    /// assert_eq!(alive.load(Relaxed), 1);
    /// pool.shutdown();
    /// assert_eq!(alive.load(Relaxed), 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn on_thread_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.options.on_thread_start = Some(Arc::new(hook));
        self
    }

    /// Called on each worker's thread after its last task and after its state was dropped. As
    /// [`on_thread_start`](Self::on_thread_start) otherwise.
    ///
    /// ```
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .on_thread_stop(|worker| assert_eq!(worker, 0))
    ///     .build()?;
    /// pool.shutdown();
    /// assert_eq!(pool.stats().handler_panics, 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn on_thread_stop(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.options.on_thread_stop = Some(Arc::new(hook));
        self
    }

    /// Makes the threads: pinned, with other priorities, from another pool. The handler gets each [`WorkerThread`] and
    /// must have [`run`](WorkerThread::run) called on a new thread, or return an error, which counts as a refused
    /// thread. The pool does not join such a thread, it waits for its `run` to end.
    ///
    /// The handler is called on the thread that needs a worker, which may be a worker itself. It may submit to the pool, and wait for
    /// other threads that do. A submit may call it again, for another worker, before it has returned: a handler that submits in every
    /// call nests as deep as the pool may have workers. It should not wait for a task of the pool, which may need the very worker
    /// that is being started.
    ///
    /// Whoever drops a `WorkerThread` later that was promised may have to run tasks that were queued on the
    /// strength of it. Default: a thread of the standard library.
    ///
    /// ```
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .spawn_handler(|worker| {
    ///         std::thread::Builder::new().name("mine".into()).spawn(|| worker.run()).map(drop)
    ///     })
    ///     .build()?;
    /// let name = pool.run(|| std::thread::current().name().map(str::to_owned))?;
    /// assert_eq!(name.as_deref(), Some("mine"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn_handler(mut self, handler: impl Fn(WorkerThread) -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.options.spawn_handler = Some(Arc::new(handler));
        self
    }

    /// Called on the worker's thread once for each task that panics, before whoever waits for the task is told; and for a panic
    /// in the drop of what a cancelled task had captured. A
    /// panic in the handler is caught and counted. Default: nothing beyond the process's panic hook, which
    /// prints the panic in any case.
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
    pub fn panic_handler(mut self, handler: impl Fn(&TaskPanic<'_>) + Send + Sync + 'static) -> Self {
        self.options.panic_handler = Some(Arc::new(handler));
        self
    }

    /// What dropping the pool does with its tasks, and whether it waits. Default: [`OnDrop::Drain`].
    ///
    /// ```
    /// use formicary::{OnDrop, Pool};
    ///
    /// let pool = Pool::builder().workers(1).on_drop(OnDrop::Detach).build()?;
    /// pool.submit(|| loop { std::thread::park() })?;
    /// drop(pool); // does not wait
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.options.on_drop = on_drop;
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

impl<K> Builder<K, Sharded> {
    /// How many shards: 1 to 65,535, and not more than the pool may hold tasks (`workers + queue`); `build` fails otherwise, and
    /// where another [`dispatch`](Self::dispatch) is chosen after this. Default: the number of processors that the process may
    /// use, but no more than workers.
    ///
    /// ```
    /// use formicary::{Pool, Sharded};
    ///
    /// let pool = Pool::builder().workers(2).dispatch::<Sharded>().shards(8).build()?;
    /// assert_eq!(pool.stats().shards.len(), 8);
    /// assert!(Pool::builder().dispatch::<Sharded>().shards(0).build().is_err());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn shards(mut self, shards: usize) -> Self {
        self.options.shards = Some(shards);
        self
    }

    /// How tasks without a key are spread over the shards; as [`shards`](Self::shards), only for this dispatch. Default:
    /// [`Balance::RoundRobin`].
    ///
    /// ```
    /// use formicary::{Balance, Pool, Sharded};
    ///
    /// let pool = Pool::builder().workers(2).dispatch::<Sharded>().balance(Balance::Thread).build()?;
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn balance(mut self, balance: Balance) -> Self {
        self.options.balance = Some(balance);
        self
    }
}
