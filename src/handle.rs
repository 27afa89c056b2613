//! What comes back from a submit: the way to the result.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::nested;
use crate::error::{Cause, JoinError};
use crate::slot::{Outcome, Slot, Ticket, Verdict};

/// The result of a task, once it has one.
///
/// Dropping a handle detaches: the task runs all the same and its result is dropped. A handle costs its task one
/// allocation.
///
/// ```
/// use formicary::Pool;
///
/// let pool = Pool::new(2)?;
/// let handle = pool.spawn(|| 6 * 7)?;
/// assert_eq!(handle.join()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Handle<T: Send + 'static> {
    slot: Arc<dyn Joinable<T>>,
}

/// A slot of a task whose input type is nobody's business any more.
trait Joinable<T>: Send + Sync {
    fn is_finished(&self) -> bool;
    /// `None` when the time is up.
    fn wait(self: Arc<Self>, deadline: Option<Instant>) -> Option<Result<T, JoinError>>;
    fn detach(&self);
}

impl<I: Send + 'static, T: Send + 'static> Joinable<T> for Slot<I, T> {
    fn is_finished(&self) -> bool {
        Slot::is_finished(self)
    }

    fn wait(self: Arc<Self>, deadline: Option<Instant>) -> Option<Result<T, JoinError>> {
        if let (Some(run), None) = (self.terms().run_here, deadline) {
            // A worker that waits for a task of its own pool runs it, if nobody has started it. Not under a
            // time limit, which could not be kept.
            nested::run_here(self.terms().pool, |reply| {
                match Ticket::new(&self).run(reply, None, |input, _| run(input)) {
                    Verdict::Ran => Verdict::Ran,
                    // Whoever started or cancelled it counts it.
                    _ => Verdict::Elsewhere,
                }
            });
        }
        match Slot::wait(&*self, deadline) {
            Outcome::Done(result) => Some(result),
            Outcome::TimedOut => None,
            Outcome::WouldDeadlock => Some(Err(JoinError::new(Cause::WouldDeadlock))),
            Outcome::Returned(..) => Some(Err(JoinError::new(Cause::Cancelled))),
        }
    }

    fn detach(&self) {
        Slot::detach(self);
    }
}

impl<T: Send + 'static> Handle<T> {
    pub(crate) fn new<I: Send + 'static>(slot: Arc<Slot<I, T>>) -> Self {
        Handle { slot }
    }

    /// Waits for the task to end.
    ///
    /// Called from a task of the same pool, it runs the awaited task on the spot if that has not started
    /// (`Pool`), so that a pool of one worker can wait for its own tasks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.spawn(|| 7)?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`JoinError`] if the task panicked, if it was cancelled or given back before it started, or if a
    /// worker of the pool would wait for itself for ever.
    pub fn join(self) -> Result<T, JoinError> {
        // Without a deadline the wait ends only with a result.
        Arc::clone(&self.slot).wait(None).unwrap_or_else(|| Err(JoinError::new(Cause::TimedOut)))
    }

    /// Waits for the task to end, for at most `limit`. `None`: it has not ended; the handle stays good.
    ///
    /// The first `Some` has the result; after it every call says that it has been taken.
    ///
    /// ```
    /// use formicary::Pool;
    /// use std::sync::mpsc::channel;
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let (go, gate) = channel::<()>();
    /// let mut handle = pool.spawn(move || gate.recv().is_ok())?;
    /// assert!(handle.join_timeout(Duration::from_millis(1)).is_none());
    /// go.send(())?;
    /// assert!(handle.join_timeout(Duration::from_secs(60)).unwrap()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_timeout(&mut self, limit: Duration) -> Option<Result<T, JoinError>> {
        Arc::clone(&self.slot).wait(Instant::now().checked_add(limit))
    }

    /// Whether the task has ended, so that [`join`](Self::join) would not wait. Never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let handle = pool.spawn(|| ())?;
    /// pool.wait_idle();
    /// assert!(handle.is_finished());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.slot.is_finished()
    }
}

impl<T: Send + 'static> Drop for Handle<T> {
    fn drop(&mut self) {
        self.slot.detach();
    }
}

impl<T: Send + 'static> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("is_finished", &self.is_finished()).finish()
    }
}
