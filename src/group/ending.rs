//! The end of a group: waiting for its tasks, cancelling those that have not started, and what became of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::member::address;
use super::{Collected, Group, Joined};
use crate::dispatch::Dispatch;
use crate::error::{GroupError, TaskFailure};
use crate::handle::Joinable;
use crate::slot::AwaitedEnd;
use crate::sync::current;
use crate::waiter::Waiter;
use crate::worker_pool::deadline;

impl<T: Send + 'static, E: Send + 'static, D: Dispatch> Group<T, E, D> {
    /// Blocks until every task that has started has ended, and none will start any more: the values in the order of submission,
    /// or the first failure. Never returns earlier, but for a worker that would wait for itself. An empty group is done at once.
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
        let (tasks, results) = self.finish();
        let first = self.shared.first_failure.get();
        let first = first.and_then(|first| tasks.iter().position(|task| address(&**task) == *first));
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
    pub fn collect(mut self) -> Vec<Result<T, TaskFailure<E>>> {
        self.finish().1
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
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        let tasks = self.tasks.lock().accepted.clone();
        self.await_end(&tasks, deadline(limit))
    }

    /// Waits until all have ended, or until the deadline; says whether they have.
    fn await_end(&self, tasks: &[Joined<T, E>], deadline: Option<Instant>) -> bool {
        if deadline.is_none() && self.engine.is_inside() {
            // All that can be done without waiting comes first.
            tasks.iter().cloned().for_each(Joinable::run_inside);
        }
        let mut token = Some(&self.shared.token);
        let _listening = self.shared.token.listen(Waiter::Thread(current()));
        for task in tasks {
            loop {
                match Arc::clone(task).await_end(deadline, token, true) {
                    AwaitedEnd::Over => break,
                    AwaitedEnd::TimedOut => return false,
                    AwaitedEnd::WouldDeadlock => {
                        self.cancel_unstarted(tasks);
                        return false;
                    }
                    AwaitedEnd::Cancelled => {
                        self.cancel_unstarted(tasks);
                        token = None;
                    }
                }
            }
        }
        true
    }

    fn cancel_unstarted(&self, tasks: &[Joined<T, E>]) {
        self.shared.token.cancel();
        for task in tasks {
            // What it captured is dropped here, and may panic: the others are cancelled and waited for all the same.
            self.engine.guard(|| task.cancel());
        }
    }

    /// Waits for all and takes their results.
    fn finish(&mut self) -> (Vec<Joined<T, E>>, Collected<T, E>) {
        let tasks = std::mem::take(&mut self.tasks.lock().accepted);
        self.await_end(&tasks, None);
        let results = tasks.iter().map(|task| match task.poll(None) {
            Some(Ok(Ok(value))) => Ok(value),
            Some(Ok(Err(error))) => Err(TaskFailure::Failed(error)),
            Some(Err(error)) => Err(TaskFailure::of(error)),
            None => {
                task.detach();
                Err(TaskFailure::WouldDeadlock)
            }
        });
        let results = results.collect();
        (tasks, results)
    }
}

impl<T: Send + 'static, E: Send + 'static, D: Dispatch> Drop for Group<T, E, D> {
    fn drop(&mut self) {
        let tasks = std::mem::take(&mut self.tasks.lock().accepted);
        if !tasks.is_empty() {
            self.cancel_unstarted(&tasks);
            tasks.iter().for_each(|task| task.detach());
        }
    }
}
