//! How the workers of a [`PoolWithFunc`] run a task, and how a payload becomes one.

use super::accepts::{Accepts, AnyPool, Takes};
use super::function::PoolWithFunc;
use crate::engine::{Engine, Runner};
use crate::error::{BoxError, Cause, SubmitErrorKind};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::deferred::Deferred;
use crate::task::job::Job;
use crate::task::liveness::Liveness;
use crate::task::running_tasks::Overdue;
use crate::task::state::{Completion, ReplySender, Retracted, Run, RunOutcome, TaskRef, TaskState};

/// Calls the bound function. Its workers have no state.
pub struct CallFunc<T, R> {
    func: Arc<dyn Fn(T) -> R + Send + Sync>,
    overdue: Overdue,
}

impl<T, R> CallFunc<T, R> {
    pub(crate) fn new(func: impl Fn(T) -> R + Send + Sync + 'static) -> Self {
        CallFunc { func: Arc::new(func), overdue: Overdue::default() }
    }
}

impl<T: Send + 'static, R: Send + 'static> Runner for CallFunc<T, R> {
    type Item = Job<T, R>;
    type State = ();
    type Returned = T;

    fn start(&self, _worker: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn run(&self, _state: &mut (), item: Job<T, R>, completion: &mut Completion) -> RunOutcome {
        item.run(completion, None, |payload, _| (self.func)(payload))
    }

    fn overdue(&self) -> &Overdue {
        &self.overdue
    }

    fn spare_state(&self) -> Option<()> {
        Some(())
    }

    fn deferred(deferred: Deferred<Job<T, R>, T>) -> Job<T, R> {
        Job::deferred(deferred)
    }

    fn liveness(item: &Job<T, R>) -> Liveness {
        item.liveness()
    }

    fn retract(item: Job<T, R>, kind: SubmitErrorKind, cause: Cause) -> Retracted<T> {
        item.retract(kind, cause)
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> AnyPool for PoolWithFunc<T, D, R> {
    type Runner = CallFunc<T, R>;
    type Dispatch = D;
    type Shared = Arc<Engine<CallFunc<T, R>, D>>;

    #[inline]
    fn shared(&self) -> &Self::Shared {
        &self.engine
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> Accepts<T> for PoolWithFunc<T, D, R> {
    type Output = R;
}

impl<T: Send + 'static, R: Send + 'static> Takes<T> for CallFunc<T, R> {
    type Output = R;

    const RUN_HERE: Option<Run<T, R>> = None;

    #[inline]
    fn plain(payload: T) -> Job<T, R> {
        Job::plain(payload)
    }

    fn into_input(job: Job<T, R>) -> T {
        job.into_payload()
    }

    fn called(payload: T, sender: ReplySender<T, R>) -> Job<T, R> {
        Job::called(payload, sender)
    }

    fn answered(task_state: &Arc<TaskState<T, R>>) -> Job<T, R> {
        Job::answered(TaskRef::new(task_state))
    }

    fn run_inline<D: Dispatch>(engine: &Engine<Self, D>, task_state: &Arc<TaskState<T, R>>) -> bool {
        engine.run_inline(task_state, |payload| (engine.runner().func)(payload))
    }
}
