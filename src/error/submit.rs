//! Why a task was not taken.

use std::error::Error;
use std::fmt;

use super::exclusive::Exclusive;
use super::{Cause, SharedError};

/// Why a task was refused.
///
/// ```
/// assert_eq!(formicary::SubmitErrorKind::Full.to_string(), "the pool is full");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubmitErrorKind {
    /// There was no room, and the call does not wait.
    Full,
    /// As many submitters wait already as `max_blocking` allows.
    Overloaded,
    /// There was no room until the time was up.
    TimedOut,
    /// The task was cancelled before it was taken.
    Cancelled,
    /// The pool has been shut down.
    Closed,
    /// The system refused a thread, and no worker is alive to run the task.
    Spawn,
    /// The task was taken, and the state of the worker that was to run it could not be made: the factory failed.
    NoState,
    /// The caller is a worker of this pool, and waiting here would have been waiting for itself.
    WouldDeadlock,
}

/// A refusal, with the task that was refused.
///
/// Needs nothing of the task's type: it is [`Debug`](fmt::Debug) and an [`Error`] for any `T`. It is `Send` and `Sync` for any `T`
/// that is `Send`, for the task can only be taken out by value ([`into_task`](Self::into_task)). So `?` makes a `Box<dyn Error +
/// Send + Sync>`, or an error of a crate like `anyhow`, of every refusal whose task borrows nothing.
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
/// task(); // the closure came back, and still runs
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub struct SubmitError<T> {
    kind: SubmitErrorKind,
    task: Exclusive<T>,
    /// What led to it, if there is more to say. Boxed, because it is rare and the error travels by value.
    source: Option<Box<SharedError>>,
}

impl<T> SubmitError<T> {
    pub(crate) fn new(kind: SubmitErrorKind, task: T) -> Self {
        SubmitError { kind, task: Exclusive::new(task), source: None }
    }

    /// Why the task was refused.
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

    /// The task that was refused, as it was handed in.
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

    /// Why, and the task.
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

    /// Whether the pool was full and the call does not wait for room.
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

    /// Whether too many submitters waited for the pool already ([`max_blocking`](crate::Builder::max_blocking)).
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

    /// Whether the time was up.
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

    /// Whether the task was cancelled before it was taken.
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

    /// Whether no worker was alive and the system refused a thread.
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

    /// Whether the task was taken, and a worker's state to run it with could not be made.
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

    /// Whether the caller is a worker of the pool and would have waited for itself.
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

    /// With what led to it, where a task that was taken in comes back because of `cause`.
    pub(crate) fn because(self, cause: Cause) -> Self {
        match cause {
            Cause::NoState(source) => SubmitError { source: Some(Box::new(source)), ..self },
            _ => self,
        }
    }

    /// The same refusal of what `f` makes of the task.
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
    /// There may be room later.
    pub(crate) fn is_for_now(self) -> bool {
        matches!(self, Self::Full | Self::Overloaded | Self::TimedOut | Self::Cancelled)
    }
}

impl fmt::Display for SubmitErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the pool is full",
            Self::Overloaded => "too many submitters wait for the pool already",
            Self::TimedOut => "the pool had no room until the time was up",
            Self::Cancelled => "the task was cancelled before it was taken",
            Self::Closed => "the pool has been shut down",
            Self::Spawn => "no thread could be started to run the task",
            Self::NoState => "the state of the worker that was to run the task could not be made",
            Self::WouldDeadlock => "a worker of the pool would have waited for itself",
        })
    }
}

/// So that a reason without its task (`map_err(|refusal| refusal.kind())?`) is an error too.
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
    /// The factory's error, if there was no state to run the task with.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| &**source as _)
    }
}

/// `submit_all` stopped early. Nothing is lost: what was accepted is counted, and the refused task is in the error as well as the
/// rest of the iterator.
///
/// `Send` and `Sync` as a [`SubmitError`] is, where the iterator is `Send`.
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

    /// How many tasks were accepted before.
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

    /// Why the next one was refused.
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

    /// The refusal, with its task, and the iterator from the task after that.
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
    /// That of the refusal, whose text this error has.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
