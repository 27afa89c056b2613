//! What a sweep through a queue asks of each task.

use std::time::Instant;

use crate::cancel::CancelToken;

/// Whether a queued task will run when a worker takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It will: nothing can cancel it.
    Runs,
    /// As `Runs`, unless another thread takes it first.
    RunsUnlessTaken,
    /// It has a token or a handle, and is not cancelled. If a time is given, a deadline cancels it then.
    Cancellable(Option<Instant>),
    /// It is cancelled, or was taken by another thread.
    Dead,
}

impl Liveness {
    /// The liveness of a task with this token.
    pub(crate) fn of(token: &CancelToken) -> Self {
        if token.is_cancelled() { Liveness::Dead } else { Liveness::Cancellable(token.deadline()) }
    }
}
