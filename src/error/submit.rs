//! The errors of submitting a task.

use std::error::Error;
use std::fmt;

use super::exclusive::Exclusive;
use super::{Cause, DROPPED, SharedError, WOULD_DEADLOCK};

/// Why a submission was refused.
///
/// ```
/// assert_eq!(formicary::SubmitErrorKind::Full.to_string(), "the pool is full");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubmitErrorKind {
    /// The pool was full and the call was not to wait for room.
    Full,
    /// As many submitters were waiting as [`max_blocking`](crate::Builder::max_blocking) allows.
    Overloaded,
    /// A timeout or deadline passed before the pool had room or, for a call that waits for its result, before the task started.
    TimedOut,
    /// The task's token was cancelled before the pool accepted it or, for a call that waits for its result, before the task
    /// started.
    Cancelled,
    /// The pool has been shut down.
    Closed,
    /// No worker was alive and no thread could be started to run the task.
    Spawn,
    /// The task was accepted, but the factory failed to create the state of the worker that was to run it.
    NoState,
    /// Waiting for room or for the result would have deadlocked: the calling thread is a worker of this pool.
    WouldDeadlock,
    /// The task was accepted, but the pool dropped it before it started: by its [overflow policy](crate::Builder::overflow), or because the
    /// task waited longer than its [`max_queue_time`](crate::With::max_queue_time).
    Dropped,
}

/// A refused submission: the reason and the task.
///
/// Implements [`Debug`](fmt::Debug) and [`Error`] for any `T`, and is `Send` and `Sync` if `T` is `Send`: the task can only be
/// taken out by value ([`into_task`](Self::into_task)). So `?` converts it into a `Box<dyn Error + Send + Sync>`, or into the
/// error of a crate like `anyhow`, whenever `T` is `Send + 'static`.
///
/// ```
/// use formicary::{Pool, SubmitErrorKind};
///
/// let pool = Pool::new(1)?;
/// pool.shutdown();
/// let name = String::from("kept");
/// let refusal = pool.submit(move || drop(name)).unwrap_err();
/// assert_eq!(refusal.kind(), SubmitErrorKind::Closed);
/// let task = refusal.into_task();
/// task(); // the closure still works
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub struct SubmitError<T> {
    kind: SubmitErrorKind,
    task: Exclusive<T>,
    /// The cause, if there is one. Boxed because it is rare and the error is moved by value.
    source: Option<Box<SharedError>>,
}

impl<T> SubmitError<T> {
    pub(crate) fn new(kind: SubmitErrorKind, task: T) -> Self {
        SubmitError { kind, task: Exclusive::new(task), source: None }
    }

    /// The reason of the refusal.
    ///
    /// ```
    /// use formicary::SubmitErrorKind;
    ///
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// assert_eq!(pool.submit(7).map_err(|refusal| refusal.kind()), Err(SubmitErrorKind::Closed));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn kind(&self) -> SubmitErrorKind {
        self.kind
    }

    /// Returns the refused task.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// assert_eq!(pool.submit(7).unwrap_err().into_task(), 7);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn into_task(self) -> T {
        self.task.into_inner()
    }

    /// Returns the reason and the refused task.
    ///
    /// ```
    /// use formicary::SubmitErrorKind;
    ///
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// assert_eq!(pool.submit(7).unwrap_err().into_parts(), (SubmitErrorKind::Closed, 7));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn into_parts(self) -> (SubmitErrorKind, T) {
        (self.kind, self.task.into_inner())
    }

    /// Whether the pool was full and the call was not to wait for room.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).nonblocking(true).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert!(pool.submit(|| ()).unwrap_err().is_full());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_full(&self) -> bool {
        self.kind == SubmitErrorKind::Full
    }

    /// Whether as many submitters were waiting as [`max_blocking`](crate::Builder::max_blocking) allows.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).max_blocking(0).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert!(pool.submit(|| ()).unwrap_err().is_overloaded());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_overloaded(&self) -> bool {
        self.kind == SubmitErrorKind::Overloaded
    }

    /// Whether a timeout or deadline passed before the task started.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::builder(|n: u8| n).workers(1).queue(0).build()?;
    /// let pause = pool.pause();
    /// pool.submit(7)?;
    /// let refusal = pool.with().room_timeout(std::time::Duration::from_millis(1)).submit(7).unwrap_err();
    /// assert!(refusal.is_timed_out());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_timed_out(&self) -> bool {
        self.kind == SubmitErrorKind::TimedOut
    }

    /// Whether the task was cancelled before it started.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let token = formicary::CancelToken::new();
    /// token.cancel();
    /// assert!(pool.with().token(&token).submit(|| ()).unwrap_err().is_cancelled());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.kind == SubmitErrorKind::Cancelled
    }

    /// Whether the pool has been shut down.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.shutdown();
    /// assert!(pool.submit(|| ()).unwrap_err().is_closed());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_closed(&self) -> bool {
        self.kind == SubmitErrorKind::Closed
    }

    /// Whether no worker was alive and no thread could be started.
    ///
    /// ```
    /// let no_thread = |_worker| Err(std::io::Error::other("no more threads"));
    /// let pool = formicary::Pool::builder().workers(1).min_workers(0).spawn_handler(no_thread).build()?;
    /// assert!(pool.submit(|| ()).unwrap_err().is_spawn());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_spawn(&self) -> bool {
        self.kind == SubmitErrorKind::Spawn
    }

    /// Whether the task was accepted, but the state of its worker could not be created.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// assert!(!pool.submit(7).unwrap_err().is_no_state());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_no_state(&self) -> bool {
        self.kind == SubmitErrorKind::NoState
    }

    /// Whether the call would have deadlocked: the calling thread is a worker of this pool.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.shutdown();
    /// assert!(!pool.submit(|| ()).unwrap_err().is_would_deadlock());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_would_deadlock(&self) -> bool {
        self.kind == SubmitErrorKind::WouldDeadlock
    }

    /// Whether the task was accepted, and dropped before it started. Only `run` reports it, which gives the task back.
    ///
    /// ```
    /// use formicary::{CallError, Overflow, Pool};
    ///
    /// let pool = Pool::builder().workers(1).queue(0).overflow(Overflow::DropNewest).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert!(matches!(pool.run(|| 7).unwrap_err(), CallError::Refused(refused) if refused.is_dropped()));
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_dropped(&self) -> bool {
        self.kind == SubmitErrorKind::Dropped
    }

    /// Adds `cause` as the source, for an accepted task that comes back.
    pub(crate) fn with_cause(self, cause: Cause) -> Self {
        match cause {
            Cause::NoState(source) => SubmitError { source: Some(Box::new(source)), ..self },
            _ => self,
        }
    }

    /// Converts the task with `f` and keeps the reason.
    ///
    /// ```
    /// use formicary::Task;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// pool.shutdown();
    /// let refusal = pool.submit(|| println!("here, then")).unwrap_err().map(Task::new);
    /// refusal.into_task().run();
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> SubmitError<U> {
        SubmitError { kind: self.kind, task: Exclusive::new(f(self.task.into_inner())), source: self.source }
    }
}

impl SubmitErrorKind {
    /// Whether a later attempt may succeed.
    pub(crate) fn is_temporary(self) -> bool {
        matches!(self, Self::Full | Self::Overloaded | Self::TimedOut | Self::Cancelled)
    }
}

impl fmt::Display for SubmitErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the pool is full",
            Self::Overloaded => "too many submitters are waiting for the pool",
            Self::TimedOut => "the task timed out before it started",
            Self::Cancelled => "the task was cancelled before it started",
            Self::Closed => "the pool has been shut down",
            Self::Spawn => "no thread could be started to run the task",
            Self::NoState => "the state of the worker that was to run the task could not be created",
            Self::WouldDeadlock => WOULD_DEADLOCK,
            Self::Dropped => DROPPED,
        })
    }
}

/// So a reason without its task is an error too: `map_err(|refusal| refusal.kind())?`.
impl Error for SubmitErrorKind {}

impl<T> fmt::Debug for SubmitError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("SubmitError");
        fields.field("kind", &self.kind);
        if let Some(source) = &self.source {
            fields.field("source", source);
        }
        fields.finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SubmitError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl<T> Error for SubmitError<T> {
    /// The factory's error, if the worker's state could not be created.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| &**source as _)
    }
}

/// A [`submit_all`](crate::Pool::submit_all) that stopped early. It holds the number of accepted tasks, the refused task with
/// the reason, and the rest of the iterator, so no task is lost.
///
/// `Send` and `Sync` if the task and the iterator are `Send`.
///
/// ```
/// let pool = formicary::PoolWithFunc::builder(|_: u8| ()).workers(1).queue(1).nonblocking(true).build()?;
/// let pause = pool.pause();
/// let stopped = pool.submit_all(0..5).unwrap_err();
/// assert_eq!((stopped.accepted(), stopped.kind().to_string()), (2, "the pool is full".to_owned()));
/// let (error, rest) = stopped.into_parts();
/// assert_eq!(error.into_task(), 2);
/// assert!(rest.eq(3..5));
/// # drop(pause);
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub struct SubmitAllError<T, I> {
    accepted: usize,
    error: SubmitError<T>,
    rest: Exclusive<I>,
}

impl<T, I> SubmitAllError<T, I> {
    pub(crate) fn new(accepted: usize, error: SubmitError<T>, rest: I) -> Self {
        SubmitAllError { accepted, error, rest: Exclusive::new(rest) }
    }

    /// The number of tasks accepted before the refusal.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.shutdown();
    /// assert_eq!(pool.submit_all([|| ()]).unwrap_err().accepted(), 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn accepted(&self) -> usize {
        self.accepted
    }

    /// The reason of the refusal.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.shutdown();
    /// assert_eq!(pool.submit_all([|| ()]).unwrap_err().kind(), formicary::SubmitErrorKind::Closed);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn kind(&self) -> SubmitErrorKind {
        self.error.kind
    }

    /// Returns the refusal with its task, and the iterator over the tasks after it.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// let (error, rest) = pool.submit_all([7, 8, 9]).unwrap_err().into_parts();
    /// assert_eq!(error.into_task(), 7);
    /// assert!(rest.eq([8, 9]));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn into_parts(self) -> (SubmitError<T>, I) {
        (self.error, self.rest.into_inner())
    }
}

impl<T, I> fmt::Debug for SubmitAllError<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitAllError")
            .field("accepted", &self.accepted)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T, I> fmt::Display for SubmitAllError<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} accepted tasks", self.error, self.accepted)
    }
}

impl<T, I> Error for SubmitAllError<T, I> {
    /// The source of the refusal, whose text this error displays.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
