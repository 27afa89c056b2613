//! How the workers of a [`StatefulPool`] make their states and run a task, and how an input becomes one.

use std::marker::PhantomData;

use super::accepts::{Accepts, AnyPool, Takes};
use super::stateful::StatefulPool;
use crate::engine::{Engine, Runner};
use crate::error::{BoxError, Cause, SubmitErrorKind};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::deferred::Deferred;
use crate::task::interrupter::Interrupter;
use crate::task::job::Job;
use crate::task::liveness::Liveness;
use crate::task::running_tasks::Overdue;
use crate::task::state::{Cancellable, Completion, ReplySender, Retracted, Run, RunOutcome, TaskRef, TaskState};
use crate::task::worker::{Context, PanicPolicy, Worker};

type Factory<W> = Arc<dyn Fn(usize) -> Result<W, BoxError> + Send + Sync>;

/// Makes the workers' states and has them process inputs.
pub struct RunWorker<W> {
    factory: Factory<W>,
    panic_policy: PanicPolicy,
    /// Whether running tasks are told to stop.
    overdue: Overdue,
    /// No state is stored here: each is owned by its worker's thread.
    states: PhantomData<fn() -> W>,
}

impl<W: Worker> RunWorker<W> {
    pub(crate) fn new(
        factory: impl Fn(usize) -> Result<W, BoxError> + Send + Sync + 'static,
        panic_policy: PanicPolicy,
    ) -> Self {
        RunWorker { factory: Arc::new(factory), panic_policy, overdue: Overdue::default(), states: PhantomData }
    }
}

/// The state of one worker, with the worker's number and the state's interrupter.
pub struct StateOfWorker<W> {
    state: W,
    worker: usize,
    interrupter: Option<Interrupter>,
}

impl<W> StateOfWorker<W> {
    pub(crate) fn state(&mut self) -> &mut W {
        &mut self.state
    }
}

impl<W: Worker> Runner for RunWorker<W> {
    type Item = Job<W::Input, W::Output>;
    type State = StateOfWorker<W>;
    type Returned = W::Input;

    const HAS_FACTORY: bool = true;
    const READY_BLOCKS: bool = W::READY_BLOCKS;

    fn start(&self, worker: usize) -> Result<StateOfWorker<W>, BoxError> {
        let state = (self.factory)(worker)?;
        let interrupter = state.interrupter();
        Ok(StateOfWorker { state, worker, interrupter })
    }

    fn ready(&self, made: &mut StateOfWorker<W>) {
        made.state.ready();
    }

    fn run(&self, made: &mut StateOfWorker<W>, item: Self::Item, completion: &mut Completion) -> RunOutcome {
        let StateOfWorker { state, worker, interrupter } = made;
        item.run(completion, interrupter.as_ref(), |input, task_state| {
            let cx = Context {
                worker: *worker,
                task: task_state.map(|task_state| task_state as &dyn Cancellable),
                overdue: &self.overdue,
            };
            state.process(input, &cx)
        })
    }

    fn stop(&self, made: StateOfWorker<W>) {
        made.state.terminate();
    }

    fn overdue(&self) -> &Overdue {
        &self.overdue
    }

    fn discards_after_panic(&self) -> bool {
        self.panic_policy == PanicPolicy::Rebuild
    }

    fn deferred(deferred: Deferred<Self::Item, W::Input>) -> Self::Item {
        Job::deferred(deferred)
    }

    fn liveness(item: &Self::Item) -> Liveness {
        item.liveness()
    }

    fn retract(item: Self::Item, kind: SubmitErrorKind, cause: Cause) -> Retracted<W::Input> {
        item.retract(kind, cause)
    }
}

impl<W: Worker, D: Dispatch> AnyPool for StatefulPool<W, D> {
    type Runner = RunWorker<W>;
    type Dispatch = D;
    type Shared = Arc<Engine<RunWorker<W>, D>>;

    #[inline]
    fn shared(&self) -> &Self::Shared {
        &self.engine
    }
}

impl<W: Worker, D: Dispatch> Accepts<W::Input> for StatefulPool<W, D> {
    type Output = W::Output;
}

impl<W: Worker> Takes<W::Input> for RunWorker<W> {
    type Output = W::Output;

    const RUN_HERE: Option<Run<W::Input, W::Output>> = None;

    #[inline]
    fn plain(input: W::Input) -> Job<W::Input, W::Output> {
        Job::plain(input)
    }

    fn into_input(job: Job<W::Input, W::Output>) -> W::Input {
        job.into_payload()
    }

    fn called(input: W::Input, sender: ReplySender<W::Input, W::Output>) -> Job<W::Input, W::Output> {
        Job::called(input, sender)
    }

    fn answered(task_state: &Arc<TaskState<W::Input, W::Output>>) -> Job<W::Input, W::Output> {
        Job::answered(TaskRef::new(task_state))
    }

    fn run_inline<D: Dispatch>(_: &Engine<Self, D>, _: &Arc<TaskState<W::Input, W::Output>>) -> bool {
        false
    }
}
