//! Stopping a task that is running.

use std::fmt;
use std::sync::Arc;

/// Makes a worker stop what it is doing; called from another thread.
///
/// See [`Worker::interrupter`](crate::Worker::interrupter).
#[derive(Clone)]
pub struct Interrupter(Arc<dyn Fn() + Send + Sync>);

impl Interrupter {
    /// Calls `interrupt` when a timed call gives up while its task runs.
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
    pub fn interrupt(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupter")
    }
}
