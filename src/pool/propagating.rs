//! What tasks take along from the threads that submit them.

use std::sync::Arc;

use super::builder::Builder;
use crate::queue::Dispatch;
use crate::task::propagated::Functions;

impl<K, D: Dispatch> Builder<K, D> {
    /// Carries a value from the thread that submits a task to the task: a span, a request id, a locale. `capture` makes the value, and `enter`
    /// sets it on the worker. Several are entered in the order in which they were added, and dropped in the reverse order. Default: none; then a submit makes one check for it.
    ///
    /// `capture` runs in the verb, once for each task, before the submitter waits for room; a verb that is `async` calls it before it returns
    /// its future. `enter` runs on the worker, just before the task's code. What it returns is dropped on the same thread just after that
    /// code, also after a panic. This applies to every verb, also through a [`Limited`](crate::Limited) view, in groups, maps, races, scopes,
    /// and for the second closure of a [`join`](crate::Pool::join); not for broadcasts, and not for a task that
    /// a shutdown has returned. A value whose task does not run is dropped with the task.
    ///
    /// A panic in one of these closures is caught and counted ([`Stats::handler_panics`](crate::Stats::handler_panics)), and the task
    /// runs without the value. A task of such a pool costs an allocation for its state and two for each value, and tasks are not pushed in
    /// batches.
    ///
    /// ```
    /// use std::cell::Cell;
    ///
    /// thread_local!(static REQUEST: Cell<u32> = const { Cell::new(0) });
    ///
    /// /// Sets the request of the thread back when it is dropped.
    /// struct Leave(u32);
    /// impl Drop for Leave {
    ///     fn drop(&mut self) {
    ///         REQUEST.set(self.0);
    ///     }
    /// }
    ///
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .propagate(|| REQUEST.get(), |request| Leave(REQUEST.replace(request)))
    ///     .build()?;
    /// REQUEST.set(7);
    /// assert_eq!(pool.run(|| REQUEST.get())?, 7);
    /// REQUEST.set(8);
    /// assert_eq!(pool.run(|| REQUEST.get())?, 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn propagate<T, G>(
        mut self,
        capture: impl Fn() -> T + Send + Sync + 'static,
        enter: impl Fn(T) -> G + Send + Sync + 'static,
    ) -> Self
    where
        T: Send + 'static,
        G: 'static,
    {
        self.options.propagators.push(Arc::new(Functions { capture, enter: Arc::new(enter) }));
        self
    }
}
