//! The three verbs, once for every kind of pool: submit a task, with or without a handle to its result, or wait for the result.

use std::convert;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use super::accepts::{Accepts, AnyPool, Takes};
use super::admit::Admit;
use super::ready_items::{MOST_AT_A_TIME, ReadyItems, are_at_hand};
use crate::cancel::{CancelReason, CancelToken};
use crate::engine::{Engine, Runner, SubmitOptions, WaitMode};
use crate::error::{CallError, Cause, JoinError, SubmitAllError, SubmitError};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::handle::Handle;
use crate::task::in_view::InView;
use crate::task::state::{Extra, HeldWeight, Run, StackOneshot, TaskMeta, TaskState};

/// The options that a task carries.
#[derive(Clone, Default)]
pub(crate) struct TaskOptions {
    pub(super) deadline: Option<Instant>,
    pub(super) token: Option<CancelToken>,
    pub(super) name: Option<Arc<str>>,
    pub(super) weight: Option<usize>,
    pub(super) rate_key: Option<u64>,
    /// When the task is to enter the pool.
    pub(super) due: Option<Instant>,
    /// When the task is dropped if it has not started.
    pub(super) start_by: Option<Instant>,
}

impl TaskOptions {
    pub(crate) fn is_none(&self) -> bool {
        self.deadline.is_none()
            && self.token.is_none()
            && self.name.is_none()
            && self.start_by.is_none()
            && self.weight.is_none()
            && self.rate_key.is_none()
            && self.due.is_none()
    }

    /// Moves the deadline into the token, for a task whose caller does not wait with it.
    pub(crate) fn in_token(mut self) -> Self {
        if let Some(deadline) = self.deadline.take() {
            let token = self.token.as_ref().map_or_else(CancelToken::new, CancelToken::child);
            token.cancel_at(deadline);
            self.token = Some(token);
        }
        self
    }
}

/// How long a blocking verb without options waits for room.
pub(crate) fn mode<P: AnyPool>(pool: &P) -> WaitMode {
    pool.engine().default_mode()
}

/// Submits a task without options, whose result is discarded.
#[inline]
pub(crate) fn submit<'t, P, X>(pool: &P, x: X, options: impl Into<SubmitOptions<'t>>) -> Result<(), SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    if pool.engine().propagates() {
        return submit_state(pool, x, TaskOptions::default(), options.into());
    }
    pool.shared().admit(x, P::Runner::plain, None, options.into())
}

/// Submits a task with a state, whose result is discarded.
#[cold]
pub(super) fn submit_state<P, X>(
    pool: &P,
    x: X,
    task_options: TaskOptions,
    options: SubmitOptions<'_>,
) -> Result<(), SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let task_state = detached_state(pool, x, task_options);
    enter(pool, &task_state, options.with_token(task_state.meta().token.as_ref()))
}

/// The state of a task whose result is discarded.
pub(super) fn detached_state<P, X>(pool: &P, x: X, task_options: TaskOptions) -> Arc<TaskState<X, P::Output>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let task_state = task_state(pool, x, task_options, false);
    // Before the task can end, so that its result is dropped on the worker.
    task_state.detach();
    task_state
}

/// Submits all that an iterator yields, each by `submit`, until one is refused.
///
/// Each task is announced to the workers before the next item is pulled, since the iterator may block or panic. A spinning worker keeps
/// that from waking one worker per task.
pub(crate) fn submit_each<X>(
    all: &mut (impl Iterator<Item = X> + ?Sized),
    submit: impl Fn(X) -> Result<(), SubmitError<X>>,
) -> Result<usize, (usize, SubmitError<X>)> {
    let mut accepted = 0;
    for x in all {
        submit(x).map_err(|refusal| (accepted, refusal))?;
        accepted += 1;
    }
    Ok(accepted)
}

/// As [`submit_each`], for an iterator by value; the error holds the rest of it.
pub(crate) fn submit_all<I: IntoIterator>(
    all: I,
    submit: impl Fn(I::Item) -> Result<(), SubmitError<I::Item>>,
) -> Result<usize, SubmitAllError<I::Item, I::IntoIter>> {
    let mut rest = all.into_iter();
    let submitted = submit_each(&mut rest.by_ref(), submit);
    submitted.map_err(|(accepted, refusal)| SubmitAllError::new(accepted, refusal, rest))
}

/// As [`submit_all`], for tasks without options of their own. Items that are at hand go in batches, as far as there is room. Where there is
/// none, `submit` is called for one, which waits, or is refused with the reason.
pub(crate) fn submit_all_plain<P, I>(
    pool: &P,
    all: I,
    options: SubmitOptions<'_>,
    submit: impl Fn(I::Item) -> Result<(), SubmitError<I::Item>>,
) -> Result<usize, SubmitAllError<I::Item, I::IntoIter>>
where
    P: Accepts<I::Item>,
    I: IntoIterator,
    I::Item: Send + 'static,
{
    if !are_at_hand::<I::IntoIter, I::Item>() || pool.engine().propagates() {
        return submit_all(all, submit);
    }
    let (mut rest, mut accepted) = (all.into_iter(), 0);
    loop {
        let batch = pool.shared().admit_batch(&mut ReadyItems::<P, _>::new(&mut rest), &options);
        accepted += batch;
        if batch == MOST_AT_A_TIME {
            continue;
        }
        let Some(x) = rest.next() else { return Ok(accepted) };
        match submit(x) {
            Ok(()) => accepted += 1,
            Err(refusal) => return Err(SubmitAllError::new(accepted, refusal, rest)),
        }
    }
}

/// Submits a task without options, and returns its handle.
pub(crate) fn spawn<P, X>(pool: &P, x: X, options: WaitMode) -> Result<Handle<P::Output>, SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let task_state = task_state(pool, x, TaskOptions::default(), false);
    enter(pool, &task_state, options.into())?;
    Ok(Handle::new(task_state))
}

/// Submits a task without options, and waits for its result.
pub(crate) fn run<P, X>(pool: &P, x: X, options: SubmitOptions<'_>) -> Result<P::Output, CallError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let engine = pool.engine();
    if !engine.is_inside() && !engine.propagates() {
        return StackOneshot::call(|sender| pool.shared().admit(x, |x| P::Runner::called(x, sender), None, options))?
            .into_result();
    }
    // A worker of the pool may have to run the task itself, for which it needs a task state.
    let task_state = task_state(pool, x, TaskOptions::default(), true);
    if !pool.shared().run_inline(&task_state) {
        enter(pool, &task_state, options)?;
    }
    task_state.call().into_result()
}

/// The state of a task. `is_call` if the caller waits for it in `run`.
pub(crate) fn task_state<P, X>(pool: &P, x: X, task_options: TaskOptions, is_call: bool) -> Arc<TaskState<X, P::Output>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    task_state_at(pool.shared(), x, task_options, is_call, <P::Runner as Takes<X>>::RUN_HERE)
}

/// The same at the entrance of a pool, which does not know what the pool accepts.
pub(super) fn task_state_at<S: Admit, X, O>(
    pool: &S,
    x: X,
    task_options: TaskOptions,
    is_call: bool,
    run_here: Option<Run<X, O>>,
) -> Arc<TaskState<X, O>> {
    task_state_in(pool.engine(), pool.in_view(), x, task_options, is_call, run_here)
}

/// The same for a pool of which only the engine is at hand, and what the state keeps of the view.
pub(super) fn task_state_in<R: Runner, D: Dispatch, X, O>(
    engine: &Engine<R, D>,
    view: Option<InView>,
    x: X,
    task_options: TaskOptions,
    is_call: bool,
    run_here: Option<Run<X, O>>,
) -> Arc<TaskState<X, O>> {
    let TaskOptions { deadline, token, name, start_by, weight, rate_key, due } = task_options;
    let has_options = deadline.is_some() || name.is_some() || start_by.is_some() || weight.is_some();
    let view = view.map(|view| view.with_rate_key(rate_key));
    let has_extra = has_options || due.is_some() || view.is_some() || engine.propagates();
    let extra = has_extra.then(|| {
        let (schedule, propagated) = (due.map(|due| engine.place(due)), engine.capture());
        let weight = weight.map(|_| HeldWeight::default());
        Arc::new(Extra { deadline, name, start_by, view, schedule, propagated, weight })
    });
    TaskState::new(x, TaskMeta { is_call, token, extra, run_here, ..TaskMeta::new(engine.id()) })
}

/// Submits the task of a state.
pub(crate) fn enter<P, X>(
    pool: &P,
    task_state: &Arc<TaskState<X, P::Output>>,
    options: SubmitOptions<'_>,
) -> Result<(), SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let (item, view, engine) = (P::Runner::answered(task_state), task_state.meta().view(), pool.engine());
    let admitted = pool.shared().admit(item, convert::identity, view, options);
    admitted.map_err(|refusal| task_state.refused(refusal.kind()))?;
    engine.note_cancellable(task_state.meta().token.as_ref());
    engine.sweep_if_worth_it();
    Ok(())
}

/// As [`submit`], waiting as a future.
pub(crate) fn submit_async<'p, P, X>(
    pool: &'p P,
    x: X,
    options: SubmitOptions<'p>,
) -> impl Future<Output = Result<(), SubmitError<X>>> + Send + use<'p, P, X>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let (item, task_state) = if pool.engine().propagates() {
        let task_state = detached_state(pool, x, TaskOptions::default());
        (P::Runner::answered(&task_state), Some(task_state))
    } else {
        (P::Runner::plain(x), None)
    };
    async move {
        let view = task_state.as_ref().and_then(|task_state| task_state.meta().view());
        pool.shared().admit_async(item, view, options).await.map_err(|refusal| match &task_state {
            Some(task_state) => task_state.refused(refusal.kind()),
            None => refusal.map(P::Runner::into_input),
        })
    }
}

/// As [`enter`], waiting as a future, whose output is the state.
pub(crate) async fn enter_async<P, X>(
    pool: &P,
    task_state: Arc<TaskState<X, P::Output>>,
    options: SubmitOptions<'_>,
) -> Result<Arc<TaskState<X, P::Output>>, SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let admission = pool.shared().admit_async(P::Runner::answered(&task_state), task_state.meta().view(), options);
    admission.await.map_err(|refusal| task_state.refused(refusal.kind()))?;
    pool.engine().note_cancellable(task_state.meta().token.as_ref());
    Ok(task_state)
}

/// As [`spawn`], waiting as a future.
pub(crate) fn spawn_async<'p, P, X>(
    pool: &'p P,
    x: X,
) -> impl Future<Output = Result<Handle<P::Output>, SubmitError<X>>> + Send + use<'p, P, X>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let entering = enter_async(pool, task_state(pool, x, TaskOptions::default(), false), WaitMode::Forever.into());
    async move { entering.await.map(Handle::new) }
}

/// As [`run`], waiting as a future, for room and then for the result.
pub(crate) fn run_async<'p, P, X>(
    pool: &'p P,
    x: X,
) -> impl Future<Output = Result<P::Output, CallError<X>>> + Send + use<'p, P, X>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let entering = spawn_async(pool, x);
    async move { Ok(entering.await?.await?) }
}

/// Waits for the result of a task, or until the token is cancelled. Then it cancels the task.
pub(crate) async fn outcome<T: Send + 'static>(
    mut handle: Handle<T>,
    token: Option<&CancelToken>,
) -> Result<T, JoinError> {
    let mut cancelled = token.map(CancelToken::cancelled);
    poll_fn(move |poller| {
        if let Poll::Ready(result) = Pin::new(&mut handle).poll(poller) {
            return Poll::Ready(result);
        }
        let Some(cancelled) = &mut cancelled else { return Poll::Pending };
        if Pin::new(cancelled).poll(poller).is_pending() {
            return Poll::Pending;
        }
        let is_late = token.and_then(CancelToken::reason) == Some(CancelReason::Deadline);
        let never_starts = handle.cancel();
        Poll::Ready(Err(JoinError::new(match (is_late, never_starts) {
            (true, true) => Cause::Expired,
            (true, false) => Cause::TimedOut,
            (false, true) => Cause::Cancelled,
            (false, false) => Cause::Stopped,
        })))
    })
    .await
}
