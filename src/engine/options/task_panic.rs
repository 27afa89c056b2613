//! What the panic handler gets.

use std::any::Any;
use std::backtrace::Backtrace;
use std::fmt;

use super::panic_location::PanicPlace;

/// A caught panic, as the panic handler gets it.
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
    pub(crate) place: Option<PanicPlace>,
}

impl TaskPanic<'_> {
    /// The name that the task was submitted with ([`With::name`](crate::With::name)).
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

    /// Where in the source the panic began, as `file:line:column`, if the pool was built with
    /// [`panic_locations`](crate::Builder::panic_locations). `None` otherwise, and for a panic that ran no panic hook, such as one by
    /// [`resume_unwind`](std::panic::resume_unwind).
    ///
    /// ```
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .panic_locations()
    ///     .panic_handler(move |panic| drop(sender.send(panic.location().map(str::to_owned))))
    ///     .build()?;
    /// let line = line!() + 1;
    /// pool.submit(|| panic!("broken"))?;
    /// assert!(receiver.recv()?.is_some_and(|location| location.contains(&format!(":{line}:"))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn location(&self) -> Option<&str> {
        self.place.as_ref()?.location.as_deref()
    }

    /// The calls that led to the panic, if the [`location`](Self::location) is known and the environment asks for backtraces, as
    /// [`Backtrace::capture`] reads it: `RUST_LIB_BACKTRACE`, or else `RUST_BACKTRACE`, is set and not 0.
    ///
    /// ```
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .panic_locations()
    ///     .panic_handler(move |panic| drop(sender.send(panic.backtrace().map(ToString::to_string))))
    ///     .build()?;
    /// pool.submit(|| panic!("broken"))?;
    /// let calls = receiver.recv()?; // `Some` in a program that was started with `RUST_BACKTRACE=1`
    /// # drop(calls);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn backtrace(&self) -> Option<&Backtrace> {
        self.place.as_ref()?.backtrace.as_ref()
    }

    /// The payload of the panic.
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

    /// The number of the worker that caught the panic.
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
            Some(task) => write!(f, "{task} panicked on worker {} of {}", self.worker, self.pool),
            None => write!(f, "worker {} of {} panicked", self.worker, self.pool),
        }?;
        self.location().map_or(Ok(()), |location| write!(f, " at {location}"))?;
        write!(f, ": {text}")
    }
}

impl fmt::Debug for TaskPanic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskPanic({self})")
    }
}
