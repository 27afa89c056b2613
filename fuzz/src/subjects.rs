//! The three kinds of pool behind one interface.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use formicary::{
    CallError, CancelToken, Handle, Pool, PoolWithFunc, StatefulPool, SubmitError, SubmitErrorKind, Task, WorkerPool,
};

use super::closures::Closures;
use super::job::{Job, Output, panics};
use super::keys::Keyed;
use super::ledger::{Back, Ledger};
use super::states::Adept;

/// Long for a task, short for a plan.
pub(crate) const MOMENT: Duration = Duration::from_micros(200);

/// How a job is submitted.
#[derive(Clone, Copy)]
pub(crate) enum Way<'t> {
    Block,
    Try,
    Timed,
    Token(&'t CancelToken),
    Handle,
    HandleToken(&'t CancelToken),
    /// With a key, where the dispatch has keys.
    Keyed(u8),
    TryKeyed(u8),
    /// In the order of a key.
    InOrder(u8),
    TryInOrder(u8),
}

/// The result of submitting a job.
pub(crate) type Entered = Result<Option<Handle<Output>>, SubmitErrorKind>;

/// The future of such a result.
pub(crate) type Entering<'p> = Pin<Box<dyn Future<Output = Entered> + Send + 'p>>;

/// A pool of any kind.
pub(crate) trait Subject: WorkerPool<Self::Item> + Sized + 'static {
    type Item: Send;

    /// Its dispatch's name.
    const DISPATCH: &'static str;

    /// Whether a call can give up.
    const CALLS_WITH_LIMIT: bool = false;

    /// Submits a job. A refusal hands it back, which is recorded.
    fn enter(&self, job: Job, way: Way<'_>) -> Entered;

    /// The same without blocking the thread, perhaps with a token, and with a handle where there is a choice.
    fn entering<'p>(&'p self, job: Job, token: Option<&'p CancelToken>, has_handle: bool) -> Entering<'p>;

    /// Submits several: how many were accepted, and why no more.
    fn enter_all(&self, jobs: Vec<Job>) -> Result<usize, (usize, SubmitErrorKind)>;

    /// Waits for the job's output; where the kind can, no longer than a moment, or until the token is cancelled.
    fn call(&self, job: Job, wait: WaitMode<'_>) -> Result<Output, CallError<()>>;

    /// Records that an item came back.
    fn back(item: Self::Item);

    /// Broadcasts to every state, if there are any.
    fn order(&self, _order: Order, _ledger: &Arc<Ledger>) {}

    /// What only a pool of closures has.
    fn closures(&self) -> Option<&dyn Closures> {
        None
    }
}

#[derive(Clone, Copy)]
pub(crate) enum WaitMode<'t> {
    Endless,
    Moment,
    Token(&'t CancelToken),
    Keyed(u8),
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

/// Records that a job came back.
pub(crate) fn job_back(job: Job) {
    Ledger::identify(Back::Refused, || drop(job.run()));
}

/// Runs the refused task, so that its job reports its number.
fn identify(f: impl FnOnce() -> Output) {
    Ledger::identify(Back::Refused, || drop(f()));
}

pub(crate) fn refuse<T>(refusal: SubmitError<T>, back: impl FnOnce(T)) -> SubmitErrorKind {
    let kind = refusal.kind();
    back(refusal.into_task());
    kind
}

pub(crate) fn without_handle<F: FnOnce()>(entered: Result<(), SubmitError<F>>) -> Entered {
    entered.map(|()| None).map_err(|refusal| refuse(refusal, |f| Ledger::identify(Back::Refused, f)))
}

pub(crate) fn fail<T>(error: CallError<T>, back: impl FnOnce(T)) -> CallError<()> {
    match error {
        CallError::Refused(refusal) => CallError::Refused(refusal.map(back)),
        CallError::Failed(error) => CallError::Failed(error),
    }
}

impl<D: Keyed> Subject for Pool<D> {
    type Item = Task;
    const DISPATCH: &'static str = D::NAME;

    fn enter(&self, job: Job, way: Way<'_>) -> Entered {
        match way {
            Way::Block => without_handle(self.submit(move || drop(job.run()))),
            Way::Try => without_handle(self.try_submit(move || drop(job.run()))),
            Way::Timed => without_handle(self.with().room_timeout(MOMENT).submit(move || drop(job.run()))),
            Way::Keyed(key) => without_handle(D::submit(self, key, move || drop(job.run()))),
            Way::TryKeyed(key) => without_handle(D::try_submit(self, key, move || drop(job.run()))),
            Way::Token(token) => without_handle(self.with().token(token).submit(move || drop(job.run()))),
            Way::InOrder(key) => {
                let entered = self.with().in_order(key).spawn(move || job.run());
                entered.map(Some).map_err(|refusal| refuse(refusal, identify))
            }
            Way::TryInOrder(key) => without_handle(self.with().in_order(key).try_submit(move || drop(job.run()))),
            Way::Handle => {
                let entered = self.spawn(move || job.run());
                entered.map(Some).map_err(|refusal| refuse(refusal, identify))
            }
            Way::HandleToken(token) => {
                let entered = self.with().token(token).spawn(move || job.run());
                entered.map(Some).map_err(|refusal| refuse(refusal, identify))
            }
        }
    }

    fn entering<'p>(&'p self, job: Job, token: Option<&'p CancelToken>, has_handle: bool) -> Entering<'p> {
        match (token, has_handle) {
            (None, false) => {
                let entering = self.submit_async(move || drop(job.run()));
                Box::pin(async move { without_handle(entering.await) })
            }
            (Some(token), false) => {
                let entering = self.with().token(token).submit_async(move || drop(job.run()));
                Box::pin(async move { without_handle(entering.await) })
            }
            (None, true) => {
                let entering = self.spawn_async(move || job.run());
                Box::pin(async move { entering.await.map(Some).map_err(|refusal| refuse(refusal, identify)) })
            }
            (Some(token), true) => {
                let entering = self.with().token(token).spawn_async(move || job.run());
                Box::pin(async move { entering.await.map(Some).map_err(|refusal| refuse(refusal, identify)) })
            }
        }
    }

    fn enter_all(&self, jobs: Vec<Job>) -> Result<usize, (usize, SubmitErrorKind)> {
        let tasks = jobs.into_iter().map(|job| move || drop(job.run()));
        self.submit_all(tasks).map_err(|stopped| {
            let (kind, accepted) = (stopped.kind(), stopped.accepted());
            let (error, rest) = stopped.into_parts();
            Ledger::identify(Back::Refused, || error.into_task()());
            Ledger::identify(Back::Refused, || rest.for_each(|task| task()));
            (accepted, kind)
        })
    }

    fn call(&self, job: Job, _wait: WaitMode<'_>) -> Result<Output, CallError<()>> {
        self.run(move || job.run()).map_err(|error| fail(error, identify))
    }

    fn back(task: Task) {
        Ledger::identify(Back::FromPool, || task.run());
    }

    fn closures(&self) -> Option<&dyn Closures> {
        Some(self)
    }
}

impl<D: Keyed> Subject for PoolWithFunc<Job, D, Output> {
    type Item = Job;
    const DISPATCH: &'static str = D::NAME;

    fn enter(&self, job: Job, way: Way<'_>) -> Entered {
        let entered = match way {
            Way::Block | Way::Handle => self.submit(job),
            Way::Try => self.try_submit(job),
            Way::Timed => self.with().room_timeout(MOMENT).submit(job),
            Way::Keyed(key) => D::invoke(self, key, job),
            Way::TryKeyed(key) => D::try_invoke(self, key, job),
            Way::InOrder(key) => self.with().in_order(key).submit(job),
            Way::TryInOrder(key) => self.with().in_order(key).try_submit(job),
            Way::Token(token) | Way::HandleToken(token) => self.with().token(token).submit(job),
        };
        entered.map(|()| None).map_err(|refusal| refuse(refusal, job_back))
    }

    fn entering<'p>(&'p self, job: Job, token: Option<&'p CancelToken>, _has_handle: bool) -> Entering<'p> {
        match token {
            None => {
                let entering = self.submit_async(job);
                Box::pin(async move { entering.await.map(|()| None).map_err(|refusal| refuse(refusal, job_back)) })
            }
            Some(token) => {
                let entering = self.with().token(token).submit_async(job);
                Box::pin(async move { entering.await.map(|()| None).map_err(|refusal| refuse(refusal, job_back)) })
            }
        }
    }

    fn enter_all(&self, jobs: Vec<Job>) -> Result<usize, (usize, SubmitErrorKind)> {
        self.submit_all(jobs).map_err(|stopped| {
            let (kind, accepted) = (stopped.kind(), stopped.accepted());
            let (error, rest) = stopped.into_parts();
            job_back(error.into_task());
            rest.for_each(job_back);
            (accepted, kind)
        })
    }

    fn call(&self, job: Job, _wait: WaitMode<'_>) -> Result<Output, CallError<()>> {
        self.run(job).map_err(|error| fail(error, job_back))
    }

    fn back(job: Job) {
        job_back(job);
    }
}

impl<D: Keyed> Subject for StatefulPool<Adept, D> {
    type Item = Job;
    const DISPATCH: &'static str = D::NAME;
    const CALLS_WITH_LIMIT: bool = true;

    fn enter(&self, job: Job, way: Way<'_>) -> Entered {
        let entered = match way {
            Way::Block => WorkerPool::submit(self, job).map(|()| None),
            Way::Try => WorkerPool::try_submit(self, job).map(|()| None),
            Way::Timed => self.with().room_timeout(MOMENT).spawn(job).map(Some),
            Way::Handle => self.spawn(job).map(Some),
            Way::Keyed(key) => D::hand(self, key, job).map(Some),
            Way::TryKeyed(key) => D::try_hand(self, key, job).map(Some),
            Way::InOrder(key) => self.with().in_order(key).spawn(job).map(Some),
            Way::TryInOrder(key) => self.with().in_order(key).try_submit(job).map(|()| None),
            Way::Token(token) => self.with().token(token).submit(job).map(|()| None),
            Way::HandleToken(token) => self.with().token(token).spawn(job).map(Some),
        };
        entered.map_err(|refusal| refuse(refusal, job_back))
    }

    fn entering<'p>(&'p self, job: Job, token: Option<&'p CancelToken>, _has_handle: bool) -> Entering<'p> {
        match token {
            None => {
                let entering = self.spawn_async(job);
                Box::pin(async move { entering.await.map(Some).map_err(|refusal| refuse(refusal, job_back)) })
            }
            Some(token) => {
                let entering = self.with().token(token).spawn_async(job);
                Box::pin(async move { entering.await.map(Some).map_err(|refusal| refuse(refusal, job_back)) })
            }
        }
    }

    fn enter_all(&self, jobs: Vec<Job>) -> Result<usize, (usize, SubmitErrorKind)> {
        let mut rest = jobs.into_iter();
        WorkerPool::submit_all(self, &mut rest).map_err(|(accepted, refusal)| {
            let kind = refuse(refusal, job_back);
            rest.for_each(job_back);
            (accepted, kind)
        })
    }

    fn call(&self, job: Job, wait: WaitMode<'_>) -> Result<Output, CallError<()>> {
        let result = match wait {
            WaitMode::Endless => self.run(job),
            WaitMode::Moment => self.with().timeout(MOMENT).run(job),
            WaitMode::Token(token) => self.with().token(token).run(job),
            WaitMode::Keyed(key) => D::process(self, key, job),
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
            assert!(self.is_closed(), "an open pool accepts a broadcast");
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
