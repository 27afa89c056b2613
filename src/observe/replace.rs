//! Giving up on a worker whose task does not end.

use super::running_list::{RunningList, RunningTask};
use crate::pool::PoolControl;

/// Tasks that do not end.
impl<X> PoolControl<X> {
    /// Gives up on the worker that runs `task`, and starts another one in its place. Returns whether it did: `false` if the task has ended, if
    /// its worker was given up before, if it is a task of another pool, or if it runs on a thread that is not the pool's own, or within a
    /// thread hook, a factory, the end of a state, or a broadcast. The pool must have a
    /// [list of its running tasks](crate::Builder::running_tasks), or a [watchdog](crate::Builder::stuck_after), which passes the task to
    /// its handler.
    ///
    /// The thread cannot be stopped. It goes on with its task, and ends after it: the result is delivered, and the task is counted then.
    /// Until then the pool ignores the worker: it does not count against the capacity, nothing waits for it ([`wait_idle`](Self::wait_idle), a
    /// shutdown, a drop of the pool), it is not joined, and [`Stats::given_up`](crate::Stats::given_up) counts its worker. Broadcasts
    /// that wait for the worker get an error as its answer. What the task holds stays held: its permit of a [`Limited`](crate::Limited)
    /// view or a group, its locks, the worker's state, the turn of its [key](crate::With::in_order). So this is for a task that hangs in foreign
    /// code; ask a task that can be asked to stop by its [token](crate::With::token).
    ///
    /// A shutdown does not wait for tasks of the key either: they are `queued` in its report, and cancelled when the task ends after the pool. A
    /// shutdown or a drop without a limit that has begun before this call may be in the join of this very thread, and goes on to wait for it.
    ///
    /// Does not wait. The new worker gets a number that no other worker has, which may be above the capacity. If the system refuses its
    /// thread, that is counted ([`Stats::failed_starts`](crate::Stats::failed_starts)), and tried again at the next submit, and when a worker
    /// ends; until then accepted tasks may wait.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// let pool = Arc::new(formicary::Pool::builder().workers(1).running_tasks().build()?);
    /// let (begins, has_begun) = std::sync::mpsc::channel();
    /// let (end, gate) = std::sync::mpsc::channel::<()>();
    /// let hangs = pool.spawn(move || {
    ///     begins.send(()).unwrap();
    ///     gate.recv().is_err()
    /// })?;
    /// has_begun.recv()?;
    ///
    /// let task = &pool.running_tasks().unwrap()[0];
    /// assert!(pool.replace(task) && !pool.replace(task));
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// assert!(pool.wait_idle());
    /// assert_eq!(pool.stats().given_up, 1);
    ///
    /// drop(end);
    /// assert!(hangs.join()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace(&self, task: &RunningTask) -> bool {
        let Some(list) = self.engine.extensions().get::<RunningList>() else { return false };
        let is_given_up = list.give_up(task, |worker| self.engine.give_up(worker));
        if is_given_up {
            self.engine.replace(task.worker);
        }
        is_given_up
    }
}
