//! How a task is submitted: by which lane, and how long its submitter waits.

use std::time::{Duration, Instant};

use crate::cancel::{CancelReason, CancelToken, earlier};
use crate::error::SubmitErrorKind;
use crate::queue::DEFAULT_LANE;
use crate::sync::clock;

/// How long a submission waits for room.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitMode {
    Never,
    Until(Instant),
    Forever,
}

impl WaitMode {
    /// For a duration; one that the clock cannot hold is for ever.
    pub(crate) fn at_most(limit: Duration) -> Self {
        clock::now().checked_add(limit).map_or(WaitMode::Forever, WaitMode::Until)
    }

    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            WaitMode::Until(deadline) => Some(deadline),
            _ => None,
        }
    }
}

/// The lane that a task enters by, how long its submitter waits for room there, and what ends that wait.
#[derive(Clone, Copy, Debug)]
pub struct SubmitOptions<'t> {
    pub(super) lane: usize,
    pub(super) mode: WaitMode,
    pub(super) token: Option<&'t CancelToken>,
    /// The submitter is a future that is polled where it is woken. It enters the wait queue however many wait there.
    pub(super) is_inline: bool,
    /// The task was accepted before, by a view, a batch or a pipeline, which waits for room: the overflow policy does not apply.
    pub(super) is_accepted: bool,
    /// The submitter keeps a task that finds no room and submits it again: that is not counted as a refusal.
    pub(super) is_retry: bool,
    /// The submitter counts a refusal itself.
    pub(super) is_uncounted: bool,
    /// The task counts against the bound, whichever thread submits it.
    pub(super) is_bounded: bool,
}

impl From<WaitMode> for SubmitOptions<'_> {
    /// By the default lane.
    fn from(mode: WaitMode) -> Self {
        SubmitOptions {
            lane: DEFAULT_LANE,
            mode,
            token: None,
            is_inline: false,
            is_accepted: false,
            is_retry: false,
            is_uncounted: false,
            is_bounded: false,
        }
    }
}

impl<'t> SubmitOptions<'t> {
    /// Gives up when the token is cancelled.
    pub(crate) fn with_token(self, token: Option<&'t CancelToken>) -> Self {
        SubmitOptions { token, ..self }
    }

    /// For a future that is polled where it is woken. It blocks no thread, so `max_blocking` does not apply.
    pub(crate) fn inline(self) -> Self {
        SubmitOptions { is_inline: true, ..self }
    }

    pub(super) fn is_inline(&self) -> bool {
        self.is_inline
    }

    /// For a task that was accepted before.
    pub(crate) fn accepted(self) -> Self {
        SubmitOptions { is_accepted: true, ..self }
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.is_accepted
    }

    pub(crate) fn retried(self) -> Self {
        SubmitOptions { is_retry: true, ..self }
    }

    /// A refusal is not counted here.
    pub(crate) fn uncounted(self) -> Self {
        SubmitOptions { is_uncounted: true, ..self }
    }

    /// The calling thread submits the task for another: the bound applies, even if the thread is a worker of the pool.
    pub(crate) fn bounded(self) -> Self {
        SubmitOptions { is_bounded: true, ..self }
    }

    /// By this lane.
    pub(crate) fn in_lane(self, lane: usize) -> Self {
        SubmitOptions { lane, ..self }
    }

    pub(crate) fn with_mode(self, mode: WaitMode) -> Self {
        SubmitOptions { mode, ..self }
    }

    pub(crate) fn lane(&self) -> usize {
        self.lane
    }

    pub(crate) fn mode(&self) -> WaitMode {
        self.mode
    }

    /// Why the wait has to end, if it has to.
    pub(crate) fn end(&self) -> Option<SubmitErrorKind> {
        let is_late = || self.mode.deadline().is_some_and(|d| clock::now() >= d);
        self.cancelled().or_else(|| is_late().then_some(SubmitErrorKind::TimedOut))
    }

    /// The refusal, if the token is cancelled.
    #[inline]
    pub(crate) fn cancelled(&self) -> Option<SubmitErrorKind> {
        self.token.and_then(CancelToken::reason).map(|reason| match reason {
            CancelReason::Deadline => SubmitErrorKind::TimedOut,
            CancelReason::Asked => SubmitErrorKind::Cancelled,
        })
    }

    pub(crate) fn token(&self) -> Option<&'t CancelToken> {
        self.token
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        earlier(self.mode.deadline(), self.token.and_then(CancelToken::deadline))
    }
}
