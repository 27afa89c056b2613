//! Stopping a task that is running.

use std::fmt;
use std::sync::Arc;

/// Makes a worker stop what it is doing; called from another thread.
///
/// See [`Worker::interrupter`](crate::Worker::interrupter).
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
///         self.0.swap(false, AcqRel); // what is left of a former task
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
/// assert!(pool.wait_idle()); // it did stop
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Interrupter(Arc<dyn Fn() + Send + Sync>);

impl Interrupter {
    /// Calls `interrupt` when a running task is to stop: see [`Worker::interrupter`](crate::Worker::interrupter), which says what
    /// it may do.
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

    /// Interrupts now.
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
