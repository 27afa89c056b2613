//! A weighted semaphore: so many permits, of which each holder has some.
//!
//! One short lock has the permits and the queue (`state.rs`). Whoever releases permits gives them to the first in the queue and wakes it
//! (`waiting.rs`), so no wake-up can be lost and nobody overtakes. A woken future may never be polled: after a grace its permits go on to
//! the next.

#[cfg(all(test, formicary_loom))]
mod models;
mod state;
mod waiting;

use std::fmt;
use std::time::{Duration, Instant};

use crate::cancel::{CancelReason, CancelToken};
use crate::error::AcquireError;
use crate::sync::clock;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, current};

use waiting::Shared;

pub use waiting::Acquire;

/// So many permits of something, for threads, futures and tasks: bytes of memory, connections, tokens of an API. Clones share the permits.
///
/// - **Weights.** A holder takes as many permits as it needs, in one step or not at all, and gives all of them back when it drops its
///   [`SemaphorePermit`]. Asking for more than there are in all is an error at once. Asking for 0 succeeds at once, also while others wait,
///   unless the semaphore is closed.
/// - **First come, first served**, for threads and futures alike. A large request at the head waits until enough permits are free, and all
///   that came later wait behind it, even if there are enough for them. `try_acquire` does not overtake either.
/// - **Futures that are not polled hold up nobody.** Permits that are given to a future and not taken within 2 ms go to the next in the
///   queue, if there is one. When the future is polled after all, it is back in its old place. Nothing is given to a future before its first poll.
///   Only a future that *has* its permit, and is not polled on, keeps the permit from others.
/// - **Resizing** while it is in use is exact ([`resize`](Self::resize)).
/// - **Cost.** All calls take one short lock. Entering and leaving the queue takes logarithmic time. Waiting allocates; a permit does not.
///
/// A thread that waits is parked. That may be a worker of a pool, which runs nothing else meanwhile. So tasks that wait for permits, which only
/// tasks behind them in the same pool would release, deadlock: take the permits before the submission
/// ([`With::weight`](crate::With::weight)), which occupies no worker, or use a [`Limited`](crate::Limited) view.
///
/// A pool can take the weights of its tasks from a semaphore ([`Builder::budget`](crate::Builder::budget)), and several pools from the same.
///
/// ```
/// use formicary::{Pool, Semaphore};
///
/// let memory = Semaphore::new(100); // megabytes
/// let pool = Pool::new(4)?;
/// for _ in 0..10 {
///     let share = memory.acquire(30)?; // at most three at a time
///     pool.submit(move || drop(share))?;
/// }
/// pool.wait_idle();
/// assert_eq!(memory.available(), 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Semaphore {
    shared: Arc<Shared>,
}

impl Semaphore {
    /// A semaphore with so many permits, from 0. With 0 it gives none until it is [resized](Self::resize).
    ///
    /// ```
    /// assert_eq!(formicary::Semaphore::new(3).available(), 3);
    /// ```
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Semaphore { shared: Shared::new(permits) }
    }

    /// Takes `n` permits. Blocks until they are free and all who came before have theirs.
    ///
    /// ```
    /// let semaphore = formicary::Semaphore::new(3);
    /// let permit = semaphore.acquire(2)?;
    /// assert_eq!(semaphore.available(), 1);
    /// drop(permit);
    /// assert_eq!(semaphore.available(), 3);
    /// # Ok::<(), formicary::AcquireError>(())
    /// ```
    ///
    /// # Errors
    /// `TooLarge` if `n` is more than there are in all, at once or when a [`resize`](Self::resize) makes it so; `Closed` if the semaphore is
    /// closed, before or meanwhile.
    pub fn acquire(&self, n: usize) -> Result<SemaphorePermit, AcquireError> {
        self.wait(n, || None, || None)
    }

    /// Takes `n` permits, if they are free and nobody waits. Never blocks.
    ///
    /// ```
    /// let semaphore = formicary::Semaphore::new(3);
    /// let permit = semaphore.try_acquire(2)?;
    /// assert!(semaphore.try_acquire(2).unwrap_err().is_full());
    /// # drop(permit);
    /// # Ok::<(), formicary::AcquireError>(())
    /// ```
    ///
    /// # Errors
    /// `Full` if it would have to wait; otherwise as [`acquire`](Self::acquire).
    pub fn try_acquire(&self, n: usize) -> Result<SemaphorePermit, AcquireError> {
        self.shared.take(n)?.ok_or(AcquireError::Full)
    }

    /// As [`acquire`](Self::acquire), for at most `limit`. A limit that the clock cannot hold is none.
    ///
    /// ```
    /// let semaphore = formicary::Semaphore::new(1);
    /// let permit = semaphore.acquire_timeout(1, std::time::Duration::from_secs(1))?;
    /// # drop(permit);
    /// # Ok::<(), formicary::AcquireError>(())
    /// ```
    ///
    /// # Errors
    /// `TimedOut` when the time is up; otherwise as [`acquire`](Self::acquire). With no time it is as
    /// [`try_acquire`](Self::try_acquire).
    pub fn acquire_timeout(&self, n: usize, limit: Duration) -> Result<SemaphorePermit, AcquireError> {
        self.wait_until(n, clock::deadline(limit))
    }

    /// As [`acquire_timeout`](Self::acquire_timeout), until a point in time.
    ///
    /// ```
    /// let semaphore = formicary::Semaphore::new(1);
    /// let permit = semaphore.acquire(1)?;
    /// assert!(semaphore.acquire_deadline(1, std::time::Instant::now()).unwrap_err().is_timed_out());
    /// # drop(permit);
    /// # Ok::<(), formicary::AcquireError>(())
    /// ```
    ///
    /// # Errors
    /// As [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_deadline(&self, n: usize, deadline: Instant) -> Result<SemaphorePermit, AcquireError> {
        self.wait_until(n, Some(deadline))
    }

    fn wait_until(&self, n: usize, deadline: Option<Instant>) -> Result<SemaphorePermit, AcquireError> {
        self.wait(n, || deadline, || refusal(None, deadline))
    }

    /// As [`acquire`](Self::acquire), until the token is cancelled.
    ///
    /// ```
    /// use formicary::{CancelToken, Semaphore};
    ///
    /// let (semaphore, token) = (Semaphore::new(1), CancelToken::new());
    /// let permit = semaphore.acquire_with(1, &token)?;
    /// token.cancel();
    /// assert!(semaphore.acquire_with(1, &token).unwrap_err().is_cancelled());
    /// # drop(permit);
    /// # Ok::<(), formicary::AcquireError>(())
    /// ```
    ///
    /// # Errors
    /// `Cancelled` if the token is cancelled, before or meanwhile, or `TimedOut` if its time is up; otherwise as
    /// [`acquire`](Self::acquire).
    pub fn acquire_with(&self, n: usize, token: &CancelToken) -> Result<SemaphorePermit, AcquireError> {
        if let Some(error) = refusal(Some(token), None) {
            return Err(error);
        }
        let _listening = token.listen(Waiter::Thread(current()));
        self.wait(n, || token.deadline(), || refusal(Some(token), None))
    }

    /// As [`acquire`](Self::acquire), as a future, which blocks no thread. Works on any executor. It waits from its first poll on.
    /// Dropping it gives up its place, and gives back what it got.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let semaphore = formicary::Semaphore::new(1);
    /// let permit = semaphore.acquire_async(1).await?;
    /// assert_eq!((permit.permits(), semaphore.available()), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    /// If it is polled after it was ready.
    pub fn acquire_async(&self, n: usize) -> Acquire {
        Acquire::new(&self.shared, n)
    }

    /// Changes the number of permits, at once. With more, those who wait get them in their order. With fewer than are in use, none is given
    /// until enough have come back. Who waits for more than there are now is refused with `TooLarge`. Does not block; takes time in
    /// proportion to those who wait.
    ///
    /// ```
    /// let semaphore = formicary::Semaphore::new(3);
    /// let permit = semaphore.acquire(3)?;
    /// semaphore.resize(2);
    /// assert_eq!((semaphore.permits(), semaphore.available()), (2, 0));
    /// drop(permit);
    /// assert_eq!(semaphore.available(), 2);
    /// # Ok::<(), formicary::AcquireError>(())
    /// ```
    #[doc(alias("add_permits", "forget_permits", "set_limit"))]
    pub fn resize(&self, permits: usize) {
        self.shared.change(|state, woken| state.resize(permits, clock::now, woken));
    }

    /// How many permits there are in all, those in use included.
    ///
    /// ```
    /// assert_eq!(formicary::Semaphore::new(3).permits(), 3);
    /// ```
    pub fn permits(&self) -> usize {
        self.shared.change(|state, _| state.permits)
    }

    /// How many are free. Others may wait for more than that.
    ///
    /// ```
    /// assert_eq!(formicary::Semaphore::new(3).available(), 3);
    /// ```
    #[doc(alias = "available_permits")]
    pub fn available(&self) -> usize {
        self.shared.change(|state, _| state.free())
    }

    /// How many threads and futures wait.
    ///
    /// ```
    /// assert_eq!(formicary::Semaphore::new(3).waiting(), 0);
    /// ```
    pub fn waiting(&self) -> usize {
        self.shared.change(|state, _| state.waiting())
    }

    /// Refuses all who wait, and all who come from now on, with `Closed`. Permits that were given stay valid. It stays closed.
    ///
    /// ```
    /// let semaphore = formicary::Semaphore::new(3);
    /// semaphore.close();
    /// assert!(semaphore.is_closed() && semaphore.acquire(0).is_err());
    /// ```
    pub fn close(&self) {
        self.shared.change(|state, woken| state.close(woken));
    }

    /// Whether it was [closed](Self::close).
    ///
    /// ```
    /// assert!(!formicary::Semaphore::new(3).is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.shared.change(|state, _| state.is_closed)
    }
}

/// Why a wait has to end that has this token and this deadline, if it has to.
pub(crate) fn refusal(token: Option<&CancelToken>, deadline: Option<Instant>) -> Option<AcquireError> {
    match token.and_then(CancelToken::reason) {
        Some(CancelReason::Asked) => Some(AcquireError::Cancelled),
        Some(CancelReason::Deadline) => Some(AcquireError::TimedOut),
        None => deadline.is_some_and(|deadline| clock::now() >= deadline).then_some(AcquireError::TimedOut),
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.permits())
            .field("available", &self.available())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

/// Permits of a [`Semaphore`], which are given back when this is dropped. It owns a share of the semaphore, so a task can take it along.
///
/// ```
/// let semaphore = formicary::Semaphore::new(3);
/// let permit = semaphore.acquire(2)?;
/// let thread = std::thread::spawn(move || drop(permit));
/// thread.join().unwrap();
/// assert_eq!(semaphore.available(), 3);
/// # Ok::<(), formicary::AcquireError>(())
/// ```
#[must_use = "dropping it gives the permits back"]
pub struct SemaphorePermit {
    shared: Arc<Shared>,
    weight: usize,
}

impl SemaphorePermit {
    fn new(shared: &Arc<Shared>, weight: usize) -> Self {
        SemaphorePermit { shared: Arc::clone(shared), weight }
    }

    /// How many permits it holds.
    ///
    /// ```
    /// assert_eq!(formicary::Semaphore::new(3).acquire(2)?.permits(), 2);
    /// # Ok::<(), formicary::AcquireError>(())
    /// ```
    pub fn permits(&self) -> usize {
        self.weight
    }
}

impl Drop for SemaphorePermit {
    fn drop(&mut self) {
        self.shared.release(self.weight);
    }
}

impl fmt::Debug for SemaphorePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphorePermit").field("permits", &self.weight).finish_non_exhaustive()
    }
}
