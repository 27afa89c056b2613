//! The end of a group: waiting for its tasks, cancelling those that have not started, and what became of each.

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
    /// Blocks until every task that has started has ended, and none will start any more: the values in the order of submission,
    /// or the first failure. Never returns earlier, but for a worker that would wait for itself. An empty group is done at once.
    /// The group's [`token`](Self::token) is cancelled when this returns.
    /// While the pool is [paused](crate::PoolControl::pause) tasks that have not started keep this waiting, so the thread that is to resume
    /// it does not wait here.
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
    /// [`GroupError`]: the first task, in time, that returned an error or panicked; if none did, the first, in order, that never
    /// ran because the group was cancelled or the pool gave it back. `WouldDeadlock` if the caller is a worker of the pool and
    /// nobody is left to run a task; then the group is cancelled and what runs is not waited for. Other values and errors are
    /// dropped: [`collect`](Self::collect) keeps them.
    pub fn wait(mut self) -> Result<Vec<T>, GroupError<E>> {
        let closed = self.finish();
        let first = closed.first_failed;
        let results = closed.results();
        // The others are cancelled because of this one.
        let not_waited_for = || results.iter().position(|result| matches!(result, Err(TaskFailure::WouldDeadlock)));
        let first = first.or_else(not_waited_for);
        let mut values = Vec::with_capacity(results.len());
        for (index, result) in results.into_iter().enumerate() {
            match result {
                Ok(value) => values.push(value),
                Err(failure) if first.is_none_or(|first| first == index) => return Err(GroupError { index, failure }),
                // A later failure, or one that followed from the first.
                Err(_) => {}
            }
        }
        Ok(values)
    }

    /// Blocks as [`wait`](Self::wait) does: what became of each task, in the order of submission. After a failure the tasks that
    /// had not started are `Cancelled`, unless the group is to [`collect_all`](Self::collect_all).
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

    /// Blocks for at most `limit` until a [`wait`](Self::wait) would return at once; says whether it would. A worker of the pool
    /// runs the group's tasks only where it would be the last one that could make progress; that can take longer than the limit.
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
    #[must_use = "tasks may run when the time is up"]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.await_end(deadline(limit))
    }

    /// Waits until all have ended that were accepted by now, or until the deadline; says whether they have.
    fn await_end(&self, deadline: Option<Instant>) -> bool {
        if deadline.is_none() && self.engine.is_inside() {
            // All that can be done without waiting comes first; also what could not be tried somewhere deeper.
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
            // What it captured is dropped here, and may panic: the others are cancelled and waited for all the same.
            self.engine.catch_user_panic(|| task.cancel());
        }
    }

    /// Waits for all and takes their results.
    fn finish(&mut self) -> Closed<T, E> {
        self.await_end(None);
        self.close()
    }

    /// What is there of results. Nobody will ask for the others.
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
