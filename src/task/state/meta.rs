//! What is agreed on when a task is submitted.

use std::sync::Arc;
use std::time::Instant;

use super::cancelling::Cancellable;
use super::task_ref::Permit;
use crate::cancel::CancelToken;
use crate::sync::clock;
use crate::task::current_worker::PoolId;
use crate::task::in_view::InView;
use crate::task::propagated::Propagated;

/// Runs a task that needs no worker state.
pub(crate) type Run<I, O> = fn(I, &dyn Cancellable) -> O;

/// The options of one task. They do not change after the submission.
pub(crate) struct TaskMeta<I, O> {
    /// The pool that runs the task.
    pub(crate) pool: PoolId,
    /// A caller waits for the task, and gets the input back if the task does not start.
    pub(crate) is_call: bool,
    /// Cancels the task, and the call, if it is one.
    pub(crate) token: Option<CancelToken>,
    /// Few tasks have it. In an `Arc`, whose drop costs less than that of a box where there is none.
    pub(crate) extra: Option<Arc<Extra>>,
    /// Runs the task without a worker's state; `None` if the task needs one.
    pub(crate) run_here: Option<Run<I, O>>,
    /// The permit of a concurrency limit, which the task holds while it runs.
    pub(crate) permit: Option<Arc<dyn Permit>>,
}

/// Options that few tasks have.
#[derive(Default)]
pub(crate) struct Extra {
    /// When the caller of a timed call gives up. Other tasks have their deadline in their token.
    pub(crate) deadline: Option<Instant>,
    /// The name that the user gave the task.
    pub(crate) name: Option<Arc<str>>,
    /// When a task that has not started is dropped.
    pub(crate) start_by: Option<Instant>,
    /// The limited view that holds the task until it starts. The task runs under a permit of this view.
    pub(crate) view: Option<InView>,
    /// What the task takes along from its submitter's thread.
    pub(crate) propagated: Option<Propagated>,
}

impl Extra {
    #[cold]
    fn is_late(&self) -> bool {
        self.start_by.is_some_and(|limit| clock::now() > limit)
    }
}

impl<I, O> TaskMeta<I, O> {
    /// Options of a plain task of `pool`.
    pub(crate) fn new(pool: PoolId) -> Self {
        TaskMeta { pool, is_call: false, token: None, extra: None, run_here: None, permit: None }
    }

    /// When the caller gives up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.extra.as_ref()?.deadline
    }

    /// Whether it is too late to start the task.
    #[inline]
    pub(super) fn is_late(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.is_late())
    }

    /// What the task takes along from its submitter's thread.
    #[inline]
    pub(super) fn propagated(&self) -> Option<&Propagated> {
        self.extra.as_ref()?.propagated.as_ref()
    }

    /// The view that the task belongs to.
    #[inline]
    pub(crate) fn view(&self) -> Option<&InView> {
        self.extra.as_ref()?.view.as_ref()
    }
}

#[cfg(test)]
impl<I, O> TaskMeta<I, O> {
    /// Options of a task that belongs to no pool.
    pub(crate) fn of_no_pool() -> Self {
        TaskMeta::new(PoolId::none())
    }
}
