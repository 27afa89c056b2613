#![doc = include_str!("../README.md")]

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::thread;

use formicary::{Nested, OnDrop, Pool, WorkerThread};

/// The settings of a [`ThreadPool`], before it is built.
///
/// ```
/// let pool = threadpool::Builder::new().num_threads(8).thread_stack_size(8_000_000).build();
/// assert_eq!(pool.max_count(), 8);
/// ```
#[derive(Clone, Default)]
pub struct Builder {
    num_threads: Option<usize>,
    thread_name: Option<String>,
    thread_stack_size: Option<usize>,
}

impl Builder {
    /// A builder with the defaults. As `Builder::default()`.
    ///
    /// ```
    /// let pool = threadpool::Builder::new().build();
    /// assert_eq!(pool, pool.clone());
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    /// How many jobs may run at the same time, 1 to [`formicary::MAX_WORKERS`]. Default: the number of processors.
    ///
    /// ```
    /// assert_eq!(threadpool::Builder::new().num_threads(8).build().max_count(), 8);
    /// ```
    ///
    /// # Panics
    /// If `num_threads` is 0.
    #[track_caller]
    pub fn num_threads(mut self, num_threads: usize) -> Builder {
        assert!(num_threads > 0);
        self.num_threads = Some(num_threads);
        self
    }

    /// The name of every thread of the pool. Default: the threads have no name.
    ///
    /// ```
    /// let pool = threadpool::Builder::new().thread_name("foo".into()).build();
    /// pool.execute(|| assert_eq!(std::thread::current().name(), Some("foo")));
    /// pool.join();
    /// assert_eq!(pool.panic_count(), 0);
    /// ```
    pub fn thread_name(mut self, name: String) -> Builder {
        self.thread_name = Some(name);
        self
    }

    /// The size of each thread's stack, in bytes. Default: the standard library's.
    ///
    /// ```
    /// let pool = threadpool::Builder::new().thread_stack_size(4_000_000).build();
    /// pool.execute(|| println!("on a stack of 4 MB"));
    /// # pool.join();
    /// ```
    pub fn thread_stack_size(mut self, size: usize) -> Builder {
        self.thread_stack_size = Some(size);
        self
    }

    /// Builds the pool and starts all of its threads.
    ///
    /// ```
    /// let pool = threadpool::Builder::new().num_threads(2).build();
    /// assert_eq!(pool.active_count(), 0);
    /// ```
    ///
    /// # Panics
    /// If the system gives no thread, if the name contains a NUL byte, or if the number of threads is above
    /// [`formicary::MAX_WORKERS`].
    #[track_caller]
    pub fn build(self) -> ThreadPool {
        let num_threads = self.num_threads.unwrap_or_else(num_cpus::get);
        let (name, stack_size) = (self.thread_name.clone(), self.thread_stack_size);
        // Threads of formicary's own making have a number in their name, and none is without a name.
        let spawn = move |worker: WorkerThread| {
            let mut thread = thread::Builder::new();
            if let Some(name) = &name {
                thread = thread.name(name.clone());
            }
            if let Some(bytes) = stack_size {
                thread = thread.stack_size(bytes);
            }
            thread.spawn(|| worker.run()).map(drop)
        };
        let pool = Pool::builder()
            .workers(num_threads)
            .min_workers(num_threads)
            // Threads keep their thread-locals for as long as the pool lives.
            .expiry(None)
            // `execute` never blocks. Jobs of the pool's own jobs go to the end of the same queue.
            .unbounded_queue()
            .nested(Nested::Bounded)
            .on_drop(OnDrop::Detach)
            .spawn_handler(spawn)
            .build()
            .unwrap();
        ThreadPool { shared: Arc::new(Shared { pool, name: self.thread_name }) }
    }
}

struct Shared {
    pool: Pool,
    name: Option<String>,
}

/// A pool of threads that run jobs, first come, first served. Clones share the pool.
///
/// Dropping the last clone waits for nothing: the threads run the jobs that are queued, and then end.
///
/// ```
/// use std::sync::mpsc::channel;
/// use threadpool::ThreadPool;
///
/// let pool = ThreadPool::new(4);
/// let (sender, receiver) = channel();
/// for n in 0..8 {
///     let sender = sender.clone();
///     pool.execute(move || sender.send(n).unwrap());
/// }
/// assert_eq!(receiver.iter().take(8).sum::<i32>(), 28);
/// ```
#[derive(Clone)]
pub struct ThreadPool {
    shared: Arc<Shared>,
}

impl ThreadPool {
    /// A pool of `num_threads` threads without names.
    ///
    /// ```
    /// assert_eq!(threadpool::ThreadPool::new(4).max_count(), 4);
    /// ```
    ///
    /// # Panics
    /// If `num_threads` is 0, and as [`Builder::build`].
    #[track_caller]
    pub fn new(num_threads: usize) -> ThreadPool {
        Builder::new().num_threads(num_threads).build()
    }

    /// A pool of `num_threads` threads, all with the same name.
    ///
    /// ```
    /// let pool = threadpool::ThreadPool::with_name("worker".into(), 2);
    /// pool.execute(|| assert_eq!(std::thread::current().name(), Some("worker")));
    /// pool.join();
    /// assert_eq!(pool.panic_count(), 0);
    /// ```
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[track_caller]
    pub fn with_name(name: String, num_threads: usize) -> ThreadPool {
        Builder::new().num_threads(num_threads).thread_name(name).build()
    }

    /// As [`with_name`](Self::with_name), also in its panics.
    ///
    /// ```
    /// # #![allow(deprecated)]
    /// assert_eq!(threadpool::ThreadPool::new_with_name("worker".into(), 2).max_count(), 2);
    /// ```
    #[deprecated(since = "1.4.0", note = "use ThreadPool::with_name")]
    #[track_caller]
    pub fn new_with_name(name: String, num_threads: usize) -> ThreadPool {
        Self::with_name(name, num_threads)
    }

    /// Queues a job. Never blocks: any number of jobs may wait.
    ///
    /// A panic in the job is caught and counted, and the process's panic hook prints it.
    ///
    /// ```
    /// let pool = threadpool::ThreadPool::new(2);
    /// pool.execute(|| println!("hello"));
    /// pool.join();
    /// ```
    #[track_caller]
    pub fn execute<F>(&self, job: F)
    where
        F: FnOnce() + Send + 'static,
    {
        // Not refused: the pool is open as long as there is a handle to it, and at least one of its threads stays.
        self.shared.pool.submit(job).expect("ThreadPool::execute unable to send job into queue.");
    }

    /// The number of jobs that have not started.
    ///
    /// ```
    /// let pool = threadpool::ThreadPool::new(2);
    /// (0..10).for_each(|_| pool.execute(|| loop { std::thread::park() }));
    /// while pool.active_count() < 2 {}
    /// assert_eq!(pool.queued_count(), 8);
    /// ```
    pub fn queued_count(&self) -> usize {
        self.shared.pool.queued()
    }

    /// The number of jobs that run now.
    ///
    /// ```
    /// assert_eq!(threadpool::ThreadPool::new(2).active_count(), 0);
    /// ```
    pub fn active_count(&self) -> usize {
        self.shared.pool.running()
    }

    /// How many jobs may run at the same time.
    ///
    /// ```
    /// let mut pool = threadpool::ThreadPool::new(4);
    /// pool.set_num_threads(8);
    /// assert_eq!(pool.max_count(), 8);
    /// ```
    pub fn max_count(&self) -> usize {
        self.shared.pool.capacity()
    }

    /// The number of jobs that have panicked since the pool was built.
    ///
    /// ```
    /// let pool = threadpool::ThreadPool::new(4);
    /// (0..10).for_each(|n| pool.execute(move || assert!(n % 2 == 0)));
    /// pool.join();
    /// assert_eq!(pool.panic_count(), 5);
    /// ```
    pub fn panic_count(&self) -> usize {
        usize::try_from(self.shared.pool.stats().panicked).unwrap_or(usize::MAX)
    }

    /// As [`set_num_threads`](Self::set_num_threads), also in its panics.
    ///
    /// ```
    /// # #![allow(deprecated)]
    /// let mut pool = threadpool::ThreadPool::new(4);
    /// pool.set_threads(2);
    /// assert_eq!(pool.max_count(), 2);
    /// ```
    #[deprecated(since = "1.3.0", note = "use ThreadPool::set_num_threads")]
    #[track_caller]
    pub fn set_threads(&mut self, num_threads: usize) {
        self.set_num_threads(num_threads);
    }

    /// Sets how many jobs may run at the same time. Does not wait for jobs, and ends none.
    ///
    /// More threads start when there are jobs for them. After a reduction no job starts while `num_threads` or more run.
    ///
    /// ```
    /// let mut pool = threadpool::ThreadPool::new(4);
    /// pool.set_num_threads(2);
    /// assert_eq!(pool.max_count(), 2);
    /// ```
    ///
    /// # Panics
    /// If `num_threads` is 0 or above [`formicary::MAX_WORKERS`].
    #[track_caller]
    pub fn set_num_threads(&mut self, num_threads: usize) {
        assert!(num_threads >= 1);
        self.shared.pool.tune(num_threads).unwrap();
    }

    /// Blocks until no job is queued or running. Returns at once if there is none.
    ///
    /// At the moment at which the pool has no job, all threads that are in `join` return, even if the pool has new jobs by then.
    /// Called from a job of the same pool, this never returns: the job waits for itself.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    ///
    /// let pool = threadpool::ThreadPool::new(8);
    /// let count = Arc::new(AtomicUsize::new(0));
    /// for _ in 0..42 {
    ///     let count = Arc::clone(&count);
    ///     pool.execute(move || { count.fetch_add(1, Relaxed); });
    /// }
    /// pool.join();
    /// assert_eq!(count.load(Relaxed), 42);
    /// ```
    pub fn join(&self) {
        // `wait_idle` is false only in a job of this pool. A return would tell the job that the others have ended.
        while !self.shared.pool.wait_idle() {
            thread::park();
        }
    }
}

/// A pool with as many threads as there are processors.
///
/// ```
/// assert!(threadpool::ThreadPool::default().max_count() > 0);
/// ```
impl Default for ThreadPool {
    fn default() -> Self {
        ThreadPool::new(num_cpus::get())
    }
}

/// ```
/// let pool = threadpool::ThreadPool::with_name("hello".into(), 4);
/// let text = r#"ThreadPool { name: Some("hello"), queued_count: 0, active_count: 0, max_count: 4 }"#;
/// assert_eq!(format!("{pool:?}"), text);
/// ```
impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("name", &self.shared.name)
            .field("queued_count", &self.queued_count())
            .field("active_count", &self.active_count())
            .field("max_count", &self.max_count())
            .finish()
    }
}

/// Two handles are equal if they are handles to the same pool.
///
/// ```
/// use threadpool::ThreadPool;
///
/// let (a, b) = (ThreadPool::new(2), ThreadPool::new(2));
/// assert!(a == a.clone() && a != b);
/// ```
impl PartialEq for ThreadPool {
    fn eq(&self, other: &ThreadPool) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for ThreadPool {}

// As in `threadpool`. A panic elsewhere leaves nothing half done in a pool.
impl UnwindSafe for ThreadPool {}
impl RefUnwindSafe for ThreadPool {}
