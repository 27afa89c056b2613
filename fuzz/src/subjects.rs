//! The three kinds of pool behind one interface, and the options that they are built with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use arbitrary::Arbitrary;
use formicary::{
    Builder, CallError, CancelToken, Context, Dispatch, Handle, Pool, PoolWithFunc, Ring, StatefulPool, SubmitError,
    SubmitErrorKind, Task, Worker, WorkerPool,
};

use super::job::{Job, Nest, Nested, Output, What, panics};
use super::ledger::Ledger;

/// Long for a task, short for a plan.
pub(crate) const MOMENT: Duration = Duration::from_micros(200);

/// The options of a pool.
#[derive(Arbitrary, Debug)]
pub(crate) struct Shape {
    workers: u8,
    min_workers: u8,
    queue: u8,
    expiry: u8,
    max_blocking: u8,
    spins: bool,
    nonblocking: bool,
    handlers_panic: bool,
    keeps_state: bool,
}

impl Shape {
    pub(crate) fn workers(&self) -> usize {
        1 + usize::from(self.workers % 4)
    }

    /// Whether submitters may be sent away for being too many.
    pub(crate) fn limits_blocking(&self) -> bool {
        self.max_blocking < 128
    }

    pub(crate) fn keeps_state(&self) -> bool {
        self.keeps_state
    }

    pub(crate) fn is_nonblocking(&self) -> bool {
        self.nonblocking
    }

    pub(crate) fn on<K, D: Dispatch>(&self, builder: Builder<K, D>, name: &str, ledger: &Arc<Ledger>) -> Builder<K, D> {
        let workers = self.workers();
        let is_loud = self.handlers_panic;
        let hold = Arc::clone(ledger);
        let mut builder = builder
            .workers(workers)
            .min_workers(usize::from(self.min_workers) % (workers + 1))
            .nonblocking(self.nonblocking)
            .expiry(match self.expiry % 4 {
                0 => Some(Duration::ZERO),
                1 => Some(MOMENT),
                _ => None,
            })
            .thread_name(name)
            .panic_handler(move |_| {
                let _ = &hold;
                if is_loud {
                    panics();
                }
            });
        if !self.spins {
            builder = builder.spin(Duration::ZERO);
        }
        if is_loud {
            builder = builder.on_thread_start(|_| panics()).on_thread_stop(|_| panics());
        }
        if self.limits_blocking() {
            builder = builder.max_blocking(usize::from(self.max_blocking) % 3);
        }
        match self.queue % 8 {
            // A ring has a bound.
            7 if D::NAME != Ring::NAME => builder.unbounded_queue(),
            tasks => builder.queue(tasks.into()),
        }
    }
}

/// How a job is handed in.
#[derive(Clone, Copy)]
pub(crate) enum Way<'t> {
    Block,
    Try,
    Timed,
    Token(&'t CancelToken),
    Handle,
    HandleToken(&'t CancelToken),
}

/// A pool of any kind.
pub(crate) trait Subject: WorkerPool<Self::Item> + Sized + 'static {
    type Item: Send;

    /// Whether a call can give up.
    const CALLS_WITH_LIMIT: bool = false;

    /// Hands a job in. It comes back with a refusal, which is noted.
    fn enter(&self, job: Job, way: Way<'_>) -> Result<Option<Handle<Output>>, SubmitErrorKind>;

    /// Hands several in: how many were accepted, and why no more.
    fn enter_all(&self, jobs: Vec<Job>) -> Result<usize, (usize, SubmitErrorKind)>;

    /// Waits for the job's output; where the kind can, no longer than a moment, or until the token is cancelled.
    fn call(&self, job: Job, patience: Patience<'_>) -> Result<Output, CallError<()>>;

    /// Notes that an item came back.
    fn back(item: Self::Item);

    /// Says something to every state, if there are any.
    fn order(&self, _order: Order, _ledger: &Arc<Ledger>) {}
}

#[derive(Clone, Copy)]
pub(crate) enum Patience<'t> {
    Endless,
    Moment,
    Token(&'t CancelToken),
}

choices! {
    /// What the states are told.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Order {
        Tell,
        TellPanicking,
        Remember(bool),
        Forget(bool),
    }
}

/// Notes that a job came back.
pub(crate) fn job_back(job: Job) {
    Ledger::identify(|| drop(job.run()));
}

fn refuse<T>(refusal: SubmitError<T>, back: impl FnOnce(T)) -> SubmitErrorKind {
    let kind = refusal.kind;
    back(refusal.task);
    kind
}

fn without_handle<F: FnOnce()>(entered: Result<(), SubmitError<F>>) -> Result<Option<Handle<Output>>, SubmitErrorKind> {
    entered.map(|()| None).map_err(|refusal| refuse(refusal, |f| Ledger::identify(f)))
}

fn fail<T>(error: CallError<T>, back: impl FnOnce(T)) -> CallError<()> {
    match error {
        CallError::Refused(refusal) => CallError::Refused(SubmitError { kind: refuse(refusal, back), task: () }),
        CallError::Failed(error) => CallError::Failed(error),
    }
}

impl<D: Dispatch> Subject for Pool<D> {
    type Item = Task;

    fn enter(&self, job: Job, way: Way<'_>) -> Result<Option<Handle<Output>>, SubmitErrorKind> {
        match way {
            Way::Block => without_handle(self.submit(move || drop(job.run()))),
            Way::Try => without_handle(self.try_submit(move || drop(job.run()))),
            Way::Timed => without_handle(self.submit_timeout(move || drop(job.run()), MOMENT)),
            Way::Token(token) => without_handle(self.submit_cancellable(token, move || drop(job.run()))),
            Way::Handle => {
                let entered = self.spawn(move || job.run());
                entered.map(Some).map_err(|refusal| refuse(refusal, |f| Ledger::identify(|| drop(f()))))
            }
            Way::HandleToken(token) => {
                let entered = self.spawn_cancellable(token, move |_: &CancelToken| job.run());
                entered.map(Some).map_err(|refusal| refuse(refusal, |f| Ledger::identify(|| drop(f(token)))))
            }
        }
    }

    fn enter_all(&self, jobs: Vec<Job>) -> Result<usize, (usize, SubmitErrorKind)> {
        let tasks = jobs.into_iter().map(|job| move || drop(job.run()));
        self.submit_all(tasks).map_err(|stopped| {
            Ledger::identify(|| (stopped.error.task)());
            Ledger::identify(|| stopped.rest.for_each(|task| task()));
            (stopped.accepted, stopped.error.kind)
        })
    }

    fn call(&self, job: Job, _patience: Patience<'_>) -> Result<Output, CallError<()>> {
        self.run(move || job.run()).map_err(|error| fail(error, |f| Ledger::identify(|| drop(f()))))
    }

    fn back(task: Task) {
        Ledger::identify(|| task.run());
    }
}

impl<D: Dispatch> Subject for PoolWithFunc<Job, D, Output> {
    type Item = Job;

    fn enter(&self, job: Job, way: Way<'_>) -> Result<Option<Handle<Output>>, SubmitErrorKind> {
        let entered = match way {
            Way::Block | Way::Handle => self.invoke(job),
            Way::Try => self.try_invoke(job),
            Way::Timed => self.invoke_timeout(job, MOMENT),
            Way::Token(token) | Way::HandleToken(token) => self.invoke_cancellable(token, job),
        };
        entered.map(|()| None).map_err(|refusal| refuse(refusal, job_back))
    }

    fn enter_all(&self, jobs: Vec<Job>) -> Result<usize, (usize, SubmitErrorKind)> {
        self.invoke_all(jobs).map_err(|stopped| {
            job_back(stopped.error.task);
            stopped.rest.for_each(job_back);
            (stopped.accepted, stopped.error.kind)
        })
    }

    fn call(&self, job: Job, _patience: Patience<'_>) -> Result<Output, CallError<()>> {
        self.call(job).map_err(|error| fail(error, job_back))
    }

    fn back(job: Job) {
        job_back(job);
    }
}

impl<D: Dispatch> Subject for StatefulPool<Adept, D> {
    type Item = Job;
    const CALLS_WITH_LIMIT: bool = true;

    fn enter(&self, job: Job, way: Way<'_>) -> Result<Option<Handle<Output>>, SubmitErrorKind> {
        let entered = match way {
            Way::Block => WorkerPool::submit(self, job).map(|()| None),
            Way::Try => WorkerPool::try_submit(self, job).map(|()| None),
            Way::Timed => self.submit_timeout(job, MOMENT).map(Some),
            Way::Handle => self.submit(job).map(Some),
            Way::Token(token) | Way::HandleToken(token) => self.submit_cancellable(token, job).map(Some),
        };
        entered.map_err(|refusal| refuse(refusal, job_back))
    }

    fn enter_all(&self, jobs: Vec<Job>) -> Result<usize, (usize, SubmitErrorKind)> {
        let mut rest = jobs.into_iter();
        WorkerPool::submit_all(self, &mut rest).map_err(|(accepted, refusal)| {
            let kind = refuse(refusal, job_back);
            rest.for_each(job_back);
            (accepted, kind)
        })
    }

    fn call(&self, job: Job, patience: Patience<'_>) -> Result<Output, CallError<()>> {
        let result = match patience {
            Patience::Endless => self.process(job),
            Patience::Moment => self.process_timeout(job, MOMENT),
            Patience::Token(token) => self.process_cancellable(token, job),
        };
        result.map_err(|error| fail(error, job_back))
    }

    fn back(job: Job) {
        job_back(job);
    }

    fn order(&self, order: Order, ledger: &Arc<Ledger>) {
        let hold = Arc::clone(ledger);
        let tell = move |adept: &mut Adept| {
            let _ = &hold;
            adept.worker
        };
        let key = |which| if which { "one" } else { "other" };
        let answers = match order {
            Order::Tell => self.broadcast(tell).ok(),
            Order::TellPanicking => self.broadcast(|_| panics()).ok(),
            Order::Remember(which) => self.broadcast_and_remember(key(which), tell).ok(),
            Order::Forget(which) => {
                self.forget(key(which));
                return;
            }
        };
        let Some(answers) = answers else {
            assert!(self.is_closed(), "an open pool takes an order");
            return;
        };
        assert!(answers.windows(2).all(|two| two[0].0 <= two[1].0), "answers in the order of the workers");
        for (worker, answer) in answers {
            match answer {
                Ok(said) => assert_eq!(said, worker, "every state answers for itself"),
                Err(error) => assert!(error.is_cancelled() || matches!(order, Order::TellPanicking), "{error}"),
            }
        }
    }
}

/// The state of a worker.
pub(crate) struct Adept {
    worker: usize,
    faults: Arc<Faults>,
    _ledger: Arc<Ledger>,
}

impl Adept {
    pub(crate) fn make(
        ledger: &Arc<Ledger>,
        faults: &Arc<Faults>,
    ) -> impl Fn(usize) -> Result<Adept, formicary::BoxError> + Send + Sync + 'static {
        let (ledger, faults) = (Arc::clone(ledger), Arc::clone(faults));
        move |worker| {
            if faults.take(Fault::Factory) {
                return Err("planned".into());
            }
            faults.strike(Fault::FactoryPanics);
            Ok(Adept { worker, faults: Arc::clone(&faults), _ledger: Arc::clone(&ledger) })
        }
    }
}

impl Worker for Adept {
    type Input = Job;
    type Output = Output;

    fn process(&mut self, job: Job, cx: &Context<'_>) -> Output {
        assert_eq!(cx.worker(), self.worker, "a state stays where it was made");
        job.run()
    }

    fn ready(&mut self) {
        self.faults.strike(Fault::Ready);
    }

    fn terminate(self) {
        self.faults.strike(Fault::Terminate);
    }
}

impl Drop for Adept {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.faults.strike(Fault::Drop);
        }
    }
}

choices! {
    /// What can go wrong with a state.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Fault {
        Factory,
        FactoryPanics,
        Ready,
        Terminate,
        Drop,
    }
}

/// How many times more each goes wrong.
#[derive(Default)]
pub(crate) struct Faults([AtomicUsize; 5]);

impl Faults {
    pub(crate) fn plan(&self, fault: Fault, times: usize) {
        self.0[fault as usize].store(times, SeqCst);
    }

    fn take(&self, fault: Fault) -> bool {
        self.0[fault as usize].fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    fn strike(&self, fault: Fault) {
        if self.take(fault) {
            panics();
        }
    }
}

impl<S: Subject> Nest for S {
    fn nest(&self, how: Nested, ledger: &Arc<Ledger>) {
        let what = if how == Nested::CallPanicking { What::Panic } else { What::Return };
        match how {
            Nested::Try | Nested::Submit => {
                let job = ledger.job(what);
                let id = job.id;
                match self.enter(job, if how == Nested::Try { Way::Try } else { Way::Block }) {
                    Ok(_) => ledger.accepted(id),
                    Err(_) => ledger.refused(id),
                }
            }
            Nested::Call | Nested::CallPanicking => {
                let job = ledger.job(what);
                let id = job.id;
                match self.call(job, Patience::Endless) {
                    Ok(_) => ledger.accepted(id),
                    Err(CallError::Failed(_)) => {
                        ledger.accepted(id);
                    }
                    Err(CallError::Refused(_)) => ledger.unsure(id),
                }
            }
            Nested::Close => {
                let _report = self.shutdown_timeout(Duration::ZERO);
            }
        }
    }
}
