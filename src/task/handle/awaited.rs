//! Tasks of any type that others wait for.

use std::sync::Arc;
use std::time::Instant;

use super::{Handle, Joinable, SharedHandle};
use crate::error::JoinError;
use crate::sync::waiter::Waiter;
use crate::task::state::{AwaitedEnd, PollAction};

/// A task without the type of its result.
pub(crate) trait Awaited: Send + Sync {
    fn is_finished(&self) -> bool;
    /// Why it has no output, if it has ended without: `Some(None)` where the error was taken.
    fn failure(&self) -> Option<Option<JoinError>>;
    /// Waits as [`Joinable::await_end`] does, for a task that may be older than the waiting one.
    fn await_end(&self, deadline: Option<Instant>) -> AwaitedEnd;
    fn can_run(&self) -> bool;
    fn can_be_run(&self) -> bool;
    fn has_started(&self) -> bool;
    fn run_inside(&self);
    fn poll_action(&self, waiter: &dyn Fn() -> Waiter) -> PollAction;
    fn run_for_poll(&self, waiter: &dyn Fn() -> Waiter);
    fn listen_beside(&self, waiter: Waiter) -> Option<u64>;
    fn stop_listening(&self, entry: u64);
    fn cancel(&self) -> bool;
}

impl<T: Send + 'static> Awaited for Arc<dyn Joinable<T>> {
    fn is_finished(&self) -> bool {
        (**self).is_finished()
    }

    fn failure(&self) -> Option<Option<JoinError>> {
        (**self).failure()
    }

    fn await_end(&self, deadline: Option<Instant>) -> AwaitedEnd {
        if (**self).is_finished() {
            return AwaitedEnd::Over;
        }
        Arc::clone(self).await_end(deadline, None, false)
    }

    fn can_run(&self) -> bool {
        (**self).can_run()
    }

    fn can_be_run(&self) -> bool {
        (**self).can_be_run()
    }

    fn has_started(&self) -> bool {
        (**self).has_started()
    }

    fn run_inside(&self) {
        Arc::clone(self).run_inside();
    }

    fn poll_action(&self, waiter: &dyn Fn() -> Waiter) -> PollAction {
        (**self).poll_action(waiter)
    }

    fn run_for_poll(&self, waiter: &dyn Fn() -> Waiter) {
        Arc::clone(self).run_for_poll(waiter);
    }

    fn listen_beside(&self, waiter: Waiter) -> Option<u64> {
        (**self).listen_beside(waiter)
    }

    fn stop_listening(&self, entry: u64) {
        (**self).stop_listening(entry);
    }

    fn cancel(&self) -> bool {
        (**self).cancel()
    }
}

/// A task that another one depends on; made of `&Handle`, `&SharedHandle`, or by [`Handle::dependency`]. It does not take the result, and
/// holds the task's state until the dependent task has been submitted.
///
/// ```
/// use formicary::{Dependency, Pool};
///
/// let pool = Pool::new(2)?;
/// let (word, number) = (pool.spawn(|| "formica")?, pool.spawn(|| 7)?);
/// let after = pool.spawn_after([Dependency::from(&word), Dependency::from(&number)], || "done");
/// assert_eq!(after.join()?, "done");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Dependency {
    pub(crate) awaited: Arc<dyn Awaited>,
    pub(crate) must_succeed: bool,
}

impl Dependency {
    /// The dependent task also runs if this one fails: if it panics, is cancelled, or never starts.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let fails = pool.spawn(|| std::panic::panic_any("no"))?;
    /// let after = pool.spawn_after([fails.dependency().even_if_failed()], || 7);
    /// assert_eq!(after.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it returns the changed dependency"]
    pub fn even_if_failed(mut self) -> Self {
        self.must_succeed = false;
        self
    }
}

impl std::fmt::Debug for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dependency")
            .field("is_finished", &self.awaited.is_finished())
            .field("must_succeed", &self.must_succeed)
            .finish()
    }
}

impl<T: Send + 'static> Handle<T> {
    /// The task as one that others depend on, for `spawn_after` with handles of several types.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let first = pool.spawn(|| 7)?;
    /// assert_eq!(pool.spawn_after([first.dependency()], || 8).join()?, 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dependency(&self) -> Dependency {
        Dependency { awaited: Arc::new(Arc::clone(&self.task_state)), must_succeed: true }
    }
}

impl<T: Send + 'static> From<&Handle<T>> for Dependency {
    fn from(handle: &Handle<T>) -> Self {
        handle.dependency()
    }
}

impl<T: Send + 'static> From<&SharedHandle<T>> for Dependency {
    fn from(handle: &SharedHandle<T>) -> Self {
        handle.task_handle().dependency()
    }
}
