//! What a builder collects and an engine reads.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::error::BuildError;
use crate::queue::{Balance, MAX_WORKERS};
use crate::sync::user_code::catch_user_panic;

/// Tasks that may wait beyond the workers, if nothing else is said.
///
/// ```
/// assert_eq!(formicary::DEFAULT_QUEUE, 1024);
/// ```
pub const DEFAULT_QUEUE: usize = 1024;
/// How long a worker above the minimum stays idle before it ends, if nothing else is said.
///
/// ```
/// assert_eq!(formicary::DEFAULT_EXPIRY.as_secs(), 10);
/// ```
pub const DEFAULT_EXPIRY: Duration = Duration::from_secs(10);
/// How long an idle worker looks for work at most before it sleeps, if nothing else is said.
///
/// ```
/// assert_eq!(formicary::DEFAULT_SPIN.as_micros(), 60);
/// ```
pub const DEFAULT_SPIN: Duration = Duration::from_micros(60);
/// The prefix of the threads' names, if nothing else is said.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let name = pool.run(|| std::thread::current().name().map(str::to_owned))?;
/// assert!(name.unwrap().starts_with(formicary::DEFAULT_NAME));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const DEFAULT_NAME: &str = "formicary";

/// What a pool's own tasks may submit to it beyond the bound of its queue; see [`Builder::nested`](crate::Builder::nested).
///
/// ```
/// assert_eq!(formicary::Nested::default(), formicary::Nested::Any);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Nested {
    /// Whatever they like, as long as memory lasts. The default.
    #[default]
    Any,
    /// As long as fewer than so many of these tasks are unfinished; what is more goes as with [`Bounded`](Self::Bounded).
    AtMost(usize),
    /// Nothing: their tasks are within the bound, as those of all others. A worker that finds the queue full waits, as others do. The
    /// last one that could make room runs queued tasks meanwhile, or the task in hand, but no more than 32 in the middle of one
    /// another; beyond that, and on a [`StatefulPool`](crate::StatefulPool), it is refused with
    /// [`WouldDeadlock`](crate::SubmitErrorKind::WouldDeadlock).
    Bounded,
}

impl Nested {
    /// How many unfinished tasks there may be beyond the bound.
    pub(crate) fn most(self) -> usize {
        match self {
            Nested::Any => usize::MAX,
            Nested::AtMost(tasks) => tasks,
            Nested::Bounded => 0,
        }
    }
}

/// A panic that was caught, as the panic handler sees it.
///
/// ```
/// use formicary::Pool;
/// use std::sync::mpsc::channel;
///
/// let (sender, receiver) = channel();
/// let pool = Pool::builder()
///     .workers(1)
///     .thread_name("kitchen")
///     .panic_handler(move |panic| {
///         let _ = sender.send((panic.pool().to_owned(), panic.worker(), panic.to_string()));
///     })
///     .build()?;
/// pool.submit(|| std::panic::panic_any("burnt"))?;
/// let (name, worker, text) = receiver.recv()?;
/// assert_eq!((&*name, worker), ("kitchen", 0));
/// assert_eq!(text, "worker 0 of kitchen panicked: burnt");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TaskPanic<'a> {
    pub(crate) payload: &'a (dyn Any + Send),
    pub(crate) worker: usize,
    pub(crate) pool: &'a str,
    pub(crate) task: Option<&'a str>,
}

impl TaskPanic<'_> {
    /// What the task was called when it was submitted ([`With::name`](crate::With::name)).
    ///
    /// ```
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .panic_handler(move |panic| drop(sender.send(panic.task().map(str::to_owned))))
    ///     .build()?;
    /// pool.with().name("resize").submit(|| panic!("broken"))?;
    /// assert_eq!(receiver.recv()?.as_deref(), Some("resize"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn task(&self) -> Option<&str> {
        self.task
    }

    /// What the task panicked with.
    ///
    /// ```
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .thread_name("mill")
    ///     .panic_handler(move |panic| drop(sender.send(panic.payload().downcast_ref::<u8>().copied())))
    ///     .build()?;
    /// pool.submit(|| std::panic::panic_any(7_u8))?;
    /// assert_eq!(receiver.recv()?, Some(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn payload(&self) -> &(dyn Any + Send) {
        self.payload
    }

    /// The worker's number.
    ///
    /// ```
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .thread_name("mill")
    ///     .panic_handler(move |panic| drop(sender.send(panic.worker())))
    ///     .build()?;
    /// pool.submit(|| std::panic::panic_any(7_u8))?;
    /// assert_eq!(receiver.recv()?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// The pool's name ([`Builder::name`](crate::Builder::name)).
    ///
    /// ```
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .thread_name("mill")
    ///     .panic_handler(move |panic| drop(sender.send(panic.pool().to_owned())))
    ///     .build()?;
    /// pool.submit(|| std::panic::panic_any(7_u8))?;
    /// assert_eq!(receiver.recv()?, "mill");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pool(&self) -> &str {
        self.pool
    }
}

impl fmt::Display for TaskPanic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = crate::error::panic_text(self.payload);
        match self.task {
            Some(task) => write!(f, "{task} panicked on worker {} of {}: {text}", self.worker, self.pool),
            None => write!(f, "worker {} of {} panicked: {text}", self.worker, self.pool),
        }
    }
}

impl fmt::Debug for TaskPanic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskPanic({self})")
    }
}

/// A worker that wants a thread: what a [`spawn_handler`](crate::Builder::spawn_handler) gets.
///
/// The handler must see to it that [`run`](Self::run) is called on a thread of its making, or return an error.
///
/// ```
/// let pool = formicary::Pool::builder()
///     .workers(1)
///     .thread_name("mill")
///     .stack_size(128 * 1024)
///     .spawn_handler(|worker| {
///         assert!(worker.index() < 1);
///         std::thread::spawn(|| worker.run());
///         Ok(())
///     })
///     .build()?;
/// assert_eq!(pool.run(|| 7)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WorkerThread {
    pub(crate) name: String,
    pub(crate) index: usize,
    pub(crate) stack_size: Option<usize>,
    pub(crate) body: Box<dyn FnOnce() + Send>,
}

impl WorkerThread {
    /// The thread's name: at most 15 bytes, or whatever [`thread_names`](crate::Builder::thread_names) says.
    ///
    /// ```
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .thread_name("mill")
    ///     .stack_size(128 * 1024)
    ///     .spawn_handler(|worker| {
    ///         assert_eq!(worker.name(), "mill-0");
    ///         std::thread::spawn(|| worker.run());
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The worker's number, below the highest capacity that the pool has had.
    ///
    /// ```
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .thread_name("mill")
    ///     .stack_size(128 * 1024)
    ///     .spawn_handler(|worker| {
    ///         assert_eq!(worker.index(), 0);
    ///         std::thread::spawn(|| worker.run());
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn index(&self) -> usize {
        self.index
    }

    /// The stack size asked for, in bytes.
    ///
    /// ```
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .thread_name("mill")
    ///     .stack_size(128 * 1024)
    ///     .spawn_handler(|worker| {
    ///         assert_eq!(worker.stack_size(), Some(128 * 1024));
    ///         std::thread::spawn(|| worker.run());
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stack_size(&self) -> Option<usize> {
        self.stack_size
    }

    /// Is the worker: returns when it ends.
    ///
    /// ```
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .thread_name("mill")
    ///     .stack_size(128 * 1024)
    ///     .spawn_handler(|worker| {
    ///         // A thread of the handler's making:
    ///         std::thread::spawn(|| worker.run());
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(self) {
        (self.body)();
    }
}

impl fmt::Debug for WorkerThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerThread")
            .field("name", &self.name)
            .field("index", &self.index)
            .field("stack_size", &self.stack_size)
            .finish_non_exhaustive()
    }
}

/// What dropping a pool does with its tasks ([`Builder::on_drop`](crate::Builder::on_drop)). In each case the pool is closed first.
/// A pool that is dropped on one of its own threads never waits.
///
/// ```
/// use formicary::{OnDrop, Pool};
///
/// let pool = Pool::builder().workers(1).on_drop(OnDrop::Cancel).build()?;
/// let pause = pool.pause();
/// let handle = pool.spawn(|| 7)?;
/// drop(pool);
/// assert!(handle.join().unwrap_err().is_cancelled());
/// # drop(pause);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDrop {
    /// Runs all that is queued and waits for the end of every thread, as [`PoolControl::shutdown`](crate::PoolControl::shutdown) does. A task
    /// that never ends keeps the drop waiting for ever.
    #[default]
    Drain,
    /// Drops what is queued, which counts as cancelled; tells what runs to stop
    /// ([`Context::is_cancelled`](crate::Context::is_cancelled), and the tokens of tasks that were submitted with one); and waits
    /// for the end of every thread. A caller who waits for a queued task gets its input back.
    Cancel,
    /// Waits for nothing: the workers run what is queued and end by themselves. They own all that they need. When the process ends
    /// they end with it, wherever they are; and if the system gives no thread for what is queued, that never runs.
    Detach,
}

pub(crate) type Hook = Arc<dyn Fn(usize) + Send + Sync>;
pub(crate) type PanicHandler = Arc<dyn Fn(&TaskPanic<'_>) + Send + Sync>;
pub(crate) type ThreadNames = Arc<dyn Fn(usize) -> String + Send + Sync>;
pub(crate) type SpawnHandler = Arc<dyn Fn(WorkerThread) -> io::Result<()> + Send + Sync>;

/// Everything that can be set about a pool, whatever its kind.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) workers: usize,
    pub(crate) min_workers: usize,
    pub(crate) queue: Option<usize>,
    pub(crate) nested: Nested,
    pub(crate) shards: Option<usize>,
    pub(crate) balance: Option<Balance>,
    pub(crate) nonblocking: bool,
    pub(crate) max_blocking: usize,
    pub(crate) expiry: Option<Duration>,
    pub(crate) spin: Duration,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) thread_name: Arc<str>,
    pub(crate) thread_names: Option<ThreadNames>,
    pub(crate) stack_size: Option<usize>,
    pub(crate) on_thread_start: Option<Hook>,
    pub(crate) on_thread_stop: Option<Hook>,
    pub(crate) spawn_handler: Option<SpawnHandler>,
    pub(crate) panic_handler: Option<PanicHandler>,
    pub(crate) on_drop: OnDrop,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            workers: num_cpus::get().clamp(1, MAX_WORKERS),
            min_workers: 1,
            queue: Some(DEFAULT_QUEUE),
            nested: Nested::default(),
            shards: None,
            balance: None,
            nonblocking: false,
            max_blocking: usize::MAX,
            expiry: Some(DEFAULT_EXPIRY),
            spin: DEFAULT_SPIN,
            name: None,
            thread_name: DEFAULT_NAME.into(),
            thread_names: None,
            stack_size: None,
            on_thread_start: None,
            on_thread_stop: None,
            spawn_handler: None,
            panic_handler: None,
            on_drop: OnDrop::default(),
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        check_workers(self.workers)?;
        if self.min_workers > self.workers {
            return Err(BuildError::MinAboveMax { min: self.min_workers, max: self.workers });
        }
        if self.thread_name.is_empty() || self.thread_name.contains('\0') {
            return Err(BuildError::ThreadName(self.thread_name.to_string()));
        }
        match self.stack_size {
            Some(0) => Err(BuildError::ZeroStackSize),
            _ => Ok(()),
        }
    }

    /// A setting that is for shards only, if there is one.
    pub(crate) fn about_shards(&self) -> Option<&'static str> {
        self.shards.map(|_| "shards").or(self.balance.map(|_| "balance"))
    }

    /// The pool's name.
    pub(crate) fn name(&self) -> &Arc<str> {
        self.name.as_ref().unwrap_or(&self.thread_name)
    }

    /// The name of the thread of worker `index`, or why it can have none.
    pub(crate) fn name_of(&self, index: usize) -> io::Result<String> {
        let Some(names) = &self.thread_names else { return Ok(self.numbered(index)) };
        let Some(name) = catch_user_panic(|| names(index)) else {
            return Err(io::Error::other("the function that names threads panicked"));
        };
        if name.is_empty() || name.contains('\0') {
            let text =
                format!("{name:?} is no name for the thread of worker {index}: it is empty or has a NUL byte in it");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(name)
    }

    /// Linux shows 15 bytes, so the prefix gives way to the number.
    fn numbered(&self, index: usize) -> String {
        let number = format!("-{index}");
        let mut end = self.thread_name.len().min(15 - number.len());
        while !self.thread_name.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{number}", &self.thread_name[..end])
    }
}

/// Whether a pool can have `workers` workers.
pub(crate) fn check_workers(workers: usize) -> Result<(), BuildError> {
    match workers {
        0 => Err(BuildError::ZeroWorkers),
        n if n > MAX_WORKERS => Err(BuildError::TooManyWorkers { asked: n, limit: MAX_WORKERS }),
        _ => Ok(()),
    }
}
