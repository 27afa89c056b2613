//! How the workers of a [`Pool`] run a task, and how a closure becomes one.

use super::accepts::{Accepts, AnyPool, Takes};
use super::answered::{Answered, Called, CalledTask};
use super::closures::Pool;
use crate::engine::{Engine, Runner};
use crate::error::{BoxError, Cause, SubmitErrorKind};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::closure::Task;
use crate::task::deferred::Deferred;
use crate::task::liveness::Liveness;
use crate::task::running_tasks::Overdue;
use crate::task::state::{Completion, ReplySender, Retracted, Run, RunOutcome, StolenJob, TaskRef, TaskState};

/// Calls closures. Its workers have no state.
#[derive(Default)]
pub struct CallTask {
    overdue: Overdue,
}

impl Runner for CallTask {
    type Item = Task;
    type State = ();
    type Returned = Task;

    fn start(&self, _worker: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn run(&self, _state: &mut (), item: Task, completion: &mut Completion) -> RunOutcome {
        item.call(completion)
    }

    fn overdue(&self) -> &Overdue {
        &self.overdue
    }

    fn spare_state(&self) -> Option<()> {
        Some(())
    }

    fn deferred(deferred: Deferred<Task, Task>) -> Task {
        Task::from_body(deferred)
    }

    fn stolen(job: StolenJob) -> Option<Task> {
        Some(Task::from_body(job))
    }

    fn liveness(item: &Task) -> Liveness {
        item.liveness()
    }

    fn retract(item: Task, kind: SubmitErrorKind, cause: Cause) -> Retracted<Task> {
        item.retract(kind, cause)
    }
}

impl<D: Dispatch> AnyPool for Pool<D> {
    type Runner = CallTask;
    type Dispatch = D;
    type Shared = Arc<Engine<CallTask, D>>;

    #[inline]
    fn shared(&self) -> &Self::Shared {
        &self.engine
    }
}

// So that the error names what a pool accepts, and not a bound of `F`.
#[diagnostic::do_not_recommend]
impl<F, T, D> Accepts<F> for Pool<D>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
    D: Dispatch,
{
    type Output = T;
}

/// A closure that is already a [`Task`] is queued as it is.
impl<D: Dispatch> Accepts<Task> for Pool<D> {
    type Output = ();
}

impl<F, T> Takes<F> for CallTask
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = T;

    const RUN_HERE: Option<Run<F, T>> = Some(|f, _| f());

    #[inline]
    fn plain(f: F) -> Task {
        Task::from_closure(f)
    }

    fn into_input(task: Task) -> F {
        task.into_closure()
    }

    fn called(f: F, sender: ReplySender<F, T>) -> Task {
        Task::from_body(Called(f, sender))
    }

    fn answered(task_state: &Arc<TaskState<F, T>>) -> Task {
        Task::from_body(Answered(TaskRef::new(task_state), |f, _| f()))
    }

    fn run_inline<D: Dispatch>(engine: &Engine<Self, D>, task_state: &Arc<TaskState<F, T>>) -> bool {
        engine.run_inline(task_state, |f| f())
    }
}

impl Takes<Task> for CallTask {
    type Output = ();

    const RUN_HERE: Option<Run<Task, ()>> = Some(|task, _| task.run());

    fn plain(task: Task) -> Task {
        task
    }

    fn into_input(task: Task) -> Task {
        task
    }

    fn called(task: Task, sender: ReplySender<Task, ()>) -> Task {
        Task::from_body(CalledTask(task, sender))
    }

    fn answered(task_state: &Arc<TaskState<Task, ()>>) -> Task {
        Task::from_body(Answered(TaskRef::new(task_state), |task: Task, _| task.run()))
    }

    fn run_inline<D: Dispatch>(engine: &Engine<Self, D>, task_state: &Arc<TaskState<Task, ()>>) -> bool {
        engine.run_inline(task_state, Task::run)
    }
}
