//! Interrupting a task that runs.

use std::fmt;
use std::sync::Arc;

/// Makes a running task stop. It is called on the thread that cancels the task.
///
/// A worker returns one from [`Worker::interrupter`](crate::Worker::interrupter).
///
/// ```
/// use formicary::{Context, Interrupter, StatefulPool, Worker};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
/// use std::time::Duration;
///
/// struct Stoppable(Arc<AtomicBool>);
/// impl Worker for Stoppable {
///     type Input = ();
///     type Output = ();
///     fn process(&mut self, _: (), cx: &Context<'_>) {
///         self.0.swap(false, AcqRel); // clears the mark of an earlier task
///         while !cx.is_cancelled() && !self.0.load(Acquire) {
///             std::thread::yield_now();
///         }
///     }
///     fn interrupter(&self) -> Option<Interrupter> {
///         let stop = self.0.clone();
///         Some(Interrupter::new(move || stop.store(true, Release)))
///     }
/// }
/// let pool = StatefulPool::new(1, |_| Ok(Stoppable(Arc::default())))?;
/// assert!(pool.with().timeout(Duration::from_millis(5)).run(()).unwrap_err().is_timed_out());
/// assert!(pool.wait_idle()); // the task has stopped
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Interrupter(Arc<dyn Fn() + Send + Sync>);

impl Interrupter {
    /// Creates an interrupter that calls `interrupt`. [`Worker::interrupter`](crate::Worker::interrupter) says what it may do.
    ///
    /// ```
    /// use formicary::Interrupter;
    /// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    /// use std::sync::Arc;
    ///
    /// let stop = Arc::new(AtomicBool::new(false));
    /// let interrupter = Interrupter::new({
    ///     let stop = stop.clone();
    ///     move || stop.store(true, Relaxed)
    /// });
    /// interrupter.interrupt();
    /// assert!(stop.load(Relaxed));
    /// ```
    pub fn new(interrupt: impl Fn() + Send + Sync + 'static) -> Self {
        Interrupter(Arc::new(interrupt))
    }

    /// Calls the interrupter.
    ///
    /// ```
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let interrupter = formicary::Interrupter::new(move || sender.send("stop").unwrap());
    /// interrupter.interrupt();
    /// assert_eq!(receiver.recv(), Ok("stop"));
    /// ```
    pub fn interrupt(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupter")
    }
}
