//! What a look through a queue learns of a task.

use std::time::Instant;

use crate::cancel::CancelToken;

/// Whether a queued task will run when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Nobody can keep it from running.
    Runs,
    /// It has a token or a handle, and is not cancelled; it will be at this time, if that is known.
    Cancellable(Option<Instant>),
    /// It is cancelled, or was run elsewhere.
    Dead,
}

impl Liveness {
    /// Of a task with this token.
    pub(crate) fn of(token: &CancelToken) -> Self {
        if token.is_cancelled() { Liveness::Dead } else { Liveness::Cancellable(token.deadline()) }
    }
}
