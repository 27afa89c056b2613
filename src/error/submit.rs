//! The error of submitting a task.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
    /// The task's [weight](crate::With::weight) is more than the whole budget.
    TooLarge,
    /// The task was accepted, but the pool dropped it before it started: by its [overflow policy](crate::Builder::overflow), or because the
    /// task waited longer than its [`max_queue_time`](crate::With::max_queue_time).
    Dropped,
    /// The [breaker](crate::Breaker) before the pool was open, or waited for the outcome of a probe.
    Open,
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

    /// A breaker has refused the task, and lets the next one through after `retry_after`.
    pub(crate) fn open(retry_after: Duration, task: T) -> Self {
        let source: SharedError = Arc::new(RetryAfter(retry_after));
        SubmitError { kind: SubmitErrorKind::Open, task: Exclusive::new(task), source: Some(Box::new(source)) }
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

    /// Whether the task's weight is more than the whole budget.
    ///
    /// ```
    /// use formicary::{Pool, Semaphore};
    ///
    /// let pool = Pool::builder().workers(1).budget(&Semaphore::new(10)).build()?;
    /// assert!(pool.with().weight(11).submit(|| ()).unwrap_err().is_too_large());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_too_large(&self) -> bool {
        self.kind == SubmitErrorKind::TooLarge
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

    /// Whether a [breaker](crate::Breaker) has refused the task.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.shutdown();
    /// assert!(!pool.submit(|| ()).unwrap_err().is_open());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_open(&self) -> bool {
        self.kind == SubmitErrorKind::Open
    }

    /// When a [breaker](crate::Breaker) that has refused the task lets the next one through, counted from the refusal. `None` for other
    /// refusals.
    ///
    /// ```
    /// use std::time::Duration;
    /// use formicary::{Breaker, Pool};
    ///
    /// let pool = Pool::new(1)?;
    /// let guarded = pool.guarded(Breaker::ratio(1.0).window(1).rest(Duration::from_secs(30)));
    /// let _ = guarded.run(|| Err::<(), _>("no route"))?;
    /// let refusal = guarded.submit(|| Ok::<_, &str>(())).unwrap_err();
    /// assert!(refusal.is_open() && refusal.retry_after() <= Some(Duration::from_secs(30)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retry_after(&self) -> Option<Duration> {
        self.source.as_ref()?.downcast_ref::<RetryAfter>().map(|after| after.0)
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

/// The source of a breaker's refusal.
#[derive(Debug)]
struct RetryAfter(Duration);

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it lets a task through in {:?}", self.0)
    }
}

impl Error for RetryAfter {}

impl SubmitErrorKind {
    /// Whether a later attempt may succeed.
    pub(crate) fn is_temporary(self) -> bool {
        matches!(self, Self::Full | Self::Overloaded | Self::TimedOut | Self::Cancelled | Self::Open)
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
            Self::TooLarge => "the task's weight is more than the whole budget",
            Self::Dropped => DROPPED,
            Self::Open => "the breaker is open",
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
    /// The factory's error, if the worker's state could not be created; of a breaker's refusal, when it lets a task through.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| &**source as _)
    }
}
