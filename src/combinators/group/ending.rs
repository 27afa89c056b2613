//! The end of a group: waiting for its tasks, cancelling those that have not started, and their results.

use std::time::{Duration, Instant};

use super::ledger::Closed;
use super::{Group, Joined};
use crate::error::{GroupError, TaskFailure};
use crate::queue::Dispatch;
use crate::sync::clock::deadline;
use crate::sync::current;
use crate::sync::waiter::Waiter;
use crate::task::state::AwaitedEnd;

impl<T: Send + 'static, E: Send + 'static, D: Dispatch> Group<T, E, D> {
    /// Blocks until every task that has started has ended and no more will start. Returns the values in the order of submission, or the
    /// first failure. An empty group ends at once. When this returns, the group's [`token`](Self::token) is cancelled.
    ///
    /// It returns earlier only on a worker that would wait for itself. While the pool is [paused](crate::PoolControl::pause), it waits for
    /// tasks that have not started, so the thread that will resume the pool must not wait here.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let group = pool.group::<_, ()>();
    /// for n in 0..10 {
    ///     group.spawn(move |_token| Ok(n))?;
    /// }
    /// assert!(group.wait().unwrap().into_iter().eq(0..10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`GroupError`]: the first task in time that returned an error or panicked; if none did, the first in order that never ran because
    /// the group was cancelled or the pool gave it back. `WouldDeadlock` if the caller is a worker of the pool and no other thread can run
    /// a task; then the group is cancelled and running tasks are not waited for. Other values and errors are dropped;
    /// [`collect`](Self::collect) keeps them.
    #[doc(alias("join", "Wait"))]
    pub fn wait(mut self) -> Result<Vec<T>, GroupError<E>> {
        let closed = self.finish();
        let first = closed.first_failed;
        let results = closed.results();
        // A task that could not be waited for is the reason why others were cancelled.
        let not_waited_for = || results.iter().position(|result| matches!(result, Err(TaskFailure::WouldDeadlock)));
        let first = first.or_else(not_waited_for);
        let mut values = Vec::with_capacity(results.len());
        for (index, result) in results.into_iter().enumerate() {
            match result {
                Ok(value) => values.push(value),
                Err(failure) if first.is_none_or(|first| first == index) => return Err(GroupError { index, failure }),
                // A later failure, or a consequence of the first.
                Err(_) => {}
            }
        }
        Ok(values)
    }

    /// Blocks as [`wait`](Self::wait) does, and returns the result of each task, in the order of submission. After a failure, tasks that
    /// had not started are `Cancelled`, unless [`collect_all`](Self::collect_all) is set.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let group = pool.group().collect_all(true);
    /// for word in ["1", "two", "3"] {
    ///     group.spawn(move |_token| word.parse::<u32>())?;
    /// }
    /// let sum: u32 = group.collect().into_iter().flatten().sum();
    /// assert_eq!(sum, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the failures are in it"]
    pub fn collect(mut self) -> Vec<Result<T, TaskFailure<E>>> {
        self.finish().results()
    }

    /// Blocks for at most `limit` until [`wait`](Self::wait) would return at once. Returns whether it would. A worker of the pool runs the
    /// group's tasks here only if no other worker can make progress; that can take longer than the limit.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let group = pool.group::<_, ()>();
    /// group.spawn(move |_token| Ok(gate.recv().is_ok()))?;
    /// assert!(!group.wait_timeout(Duration::from_millis(1)));
    /// go.send(())?;
    /// assert!(group.wait_timeout(Duration::from_secs(60)));
    /// assert_eq!(group.wait().unwrap(), [true]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "tasks may still run when the time is up"]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.await_end(deadline(limit))
    }

    /// Waits until all tasks that were accepted before the call have ended, or until the deadline. Returns whether they have.
    fn await_end(&self, deadline: Option<Instant>) -> bool {
        if deadline.is_none() && self.engine.is_inside() {
            // First everything that needs no waiting, including tasks that could not be run from a nested call.
            self.shared.ledger.lock().try_all_again();
            while self.run_next() {}
        }
        let mut token = Some(&self.shared.token);
        let _listening = self.shared.token.listen(Waiter::Thread(current()));
        let (mut from, end) = (0, self.len());
        while let Some((index, task)) = self.first_open(from).filter(|(index, _)| *index < end) {
            match task.await_end(deadline, token, true) {
                AwaitedEnd::Over => from = index + 1,
                AwaitedEnd::TimedOut => return false,
                AwaitedEnd::WouldDeadlock => {
                    self.cancel_unstarted();
                    return false;
                }
                AwaitedEnd::Cancelled => {
                    self.cancel_unstarted();
                    token = None;
                }
            }
        }
        true
    }

    fn first_open(&self, from: usize) -> Option<(usize, Joined<T, E>)> {
        self.shared.ledger.lock().first_open(from)
    }

    fn cancel_unstarted(&self) {
        self.shared.token.cancel();
        let tasks: Vec<_> = self.shared.ledger.lock().open().cloned().collect();
        for task in tasks {
            // This drops the task's captures, which may panic. The other tasks must still be cancelled and waited for.
            self.engine.catch_user_panic(|| task.cancel());
        }
    }

    /// Waits for all tasks and takes their results.
    fn finish(&mut self) -> Closed<T, E> {
        self.await_end(None);
        self.close()
    }

    /// Takes the results of the tasks that have ended, and discards those of the others.
    fn close(&mut self) -> Closed<T, E> {
        let closed = self.shared.ledger.lock().close(self.shared.first_failure.get().copied());
        closed.open.iter().for_each(|task| task.detach());
        closed
    }
}

impl<T: Send + 'static, E: Send + 'static, D: Dispatch> Drop for Group<T, E, D> {
    fn drop(&mut self) {
        self.cancel_unstarted();
        drop(self.close());
    }
}
