//! The result of work that is no queued task of its own, with a handle as a task has.

use std::sync::Arc;

use super::interrupts::WaitForInterrupt;
use super::packed::Packed;
use super::{Cancellable, Stage, TaskMeta, TaskState};
use crate::cancel::CancelToken;
use crate::error::{Cause, JoinError};
use crate::sync::user_code::catch_user_panic;

/// The result of such work, which is due until [`settle`](Self::settle). It counts as running from the start, so its handle tells it to
/// stop by its token. Dropped before, it is settled as cancelled.
pub(crate) struct Promise<T: Send + 'static>(Option<Arc<TaskState<(), T>>>);

impl<T: Send + 'static> Promise<T> {
    /// Only the pool and the token of `meta` count.
    pub(crate) fn new(meta: TaskMeta<(), T>) -> Self {
        let task_state = TaskState::new((), meta);
        task_state.state.lock().stage = Stage::Running(None);
        Promise(Some(task_state))
    }

    /// What a handle is made of.
    pub(crate) fn task_state(&self) -> Arc<TaskState<(), T>> {
        match &self.0 {
            Some(task_state) => Arc::clone(task_state),
            None => unreachable!("a settled promise is gone"),
        }
    }

    /// Cancelled when the work is to stop.
    pub(crate) fn token(&self) -> CancelToken {
        self.task_state().token().clone()
    }

    /// Announces the result. A panic in the drop of one that nobody wants is caught.
    pub(crate) fn settle(mut self, result: Result<T, JoinError>) {
        if let Some(task_state) = self.0.take() {
            task_state.settle(result);
        }
    }
}

impl<T: Send + 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(task_state) = self.0.take() {
            task_state.settle(Err(JoinError::new(Cause::Cancelled)));
        }
    }
}

impl<T> TaskState<(), T> {
    fn settle(&self, result: Result<T, JoinError>) {
        let result = result.map(Packed::new);
        let mut state = self.state.lock();
        state.stage = Stage::Empty;
        // See `complete`.
        let _interrupt = state.is_interrupting().then(|| WaitForInterrupt(self));
        if state.detached {
            drop(state);
            catch_user_panic(|| drop(result));
        } else {
            self.finish(state, Stage::Done(result));
        }
    }
}
