//! The three verbs, once for every kind of pool: hand a task over, with or without a way to its result, or wait for that.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use super::accepts::{Accepts, AnyPool};
use crate::cancel::{CancelReason, CancelToken};
use crate::engine::{Engine, Patience, Way};
use crate::error::{CallError, Cause, JoinError, SubmitAllError, SubmitError};
use crate::sync::Arc;
use crate::task::handle::Handle;
use crate::task::slot::{Desk, Extra, Slot, Terms};

/// The engine behind a pool.
type EngineOf<P> = Arc<Engine<<P as AnyPool>::Runner, <P as AnyPool>::Dispatch>>;

/// What a task carries that was submitted with options.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) deadline: Option<Instant>,
    pub(super) token: Option<CancelToken>,
    pub(super) name: Option<Arc<str>>,
}

impl Marks {
    pub(super) fn is_none(&self) -> bool {
        self.deadline.is_none() && self.token.is_none() && self.name.is_none()
    }

    /// The same with the deadline in the token, for a task whose caller does not keep the time.
    pub(super) fn in_token(mut self) -> Self {
        if let Some(deadline) = self.deadline.take() {
            let token = self.token.as_ref().map_or_else(CancelToken::new, CancelToken::child);
            token.cancel_at(deadline);
            self.token = Some(token);
        }
        self
    }
}

/// How long a blocking verb without options waits for room.
pub(super) fn patience<P: AnyPool>(pool: &P) -> Patience {
    pool.engine().default_patience()
}

/// Submits a task that carries nothing and whose result nobody wants.
#[inline]
pub(super) fn submit<'t, P, X>(pool: &P, x: X, way: impl Into<Way<'t>>) -> Result<(), SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    pool.engine().submit(x, P::plain, way)
}

/// Submits all that an iterator gives, each by `submit`, until one is refused. Nothing is left unannounced while the iterator is
/// asked, for it may block or panic; it is the searcher that keeps workers from being woken one for each task.
pub(super) fn submit_each<X>(
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

/// The same for an iterator that is given away; what is left of it is in the error.
pub(super) fn submit_all<I: IntoIterator>(
    all: I,
    submit: impl Fn(I::Item) -> Result<(), SubmitError<I::Item>>,
) -> Result<usize, SubmitAllError<I::Item, I::IntoIter>> {
    let mut rest = all.into_iter();
    let submitted = submit_each(&mut rest.by_ref(), submit);
    submitted.map_err(|(accepted, refusal)| SubmitAllError::new(accepted, refusal, rest))
}

/// Submits a task with a slot.
pub(super) fn spawn<P, X>(pool: &P, x: X, way: Patience) -> Result<Handle<P::Output>, SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let slot = slot(pool, x, Marks::default(), false);
    enter(pool, &slot, way.into())?;
    Ok(Handle::new(slot))
}

/// Runs a task that carries nothing, and waits for its result.
pub(super) fn run<P, X>(pool: &P, x: X, way: Way<'_>) -> Result<P::Output, CallError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let engine = pool.engine();
    if !engine.is_inside() {
        return Desk::call(|caller| engine.submit(x, |x| P::called(x, caller), way))?.into_result();
    }
    // A worker of the pool may have to run the task itself.
    let slot = slot(pool, x, Marks::default(), true);
    if !pool.run_on_the_spot(&slot) {
        enter(pool, &slot, way)?;
    }
    slot.call().into_result()
}

/// A slot for a task.
pub(super) fn slot<P, X>(pool: &P, x: X, marks: Marks, is_call: bool) -> Arc<Slot<X, P::Output>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let Marks { deadline, token, name } = marks;
    let has_extra = deadline.is_some() || name.is_some();
    let extra = has_extra.then(|| Box::new(Extra { deadline, name, view: None }));
    Slot::new(x, Terms { is_call, token, extra, run_here: P::RUN_HERE, ..Terms::new(pool.engine().id()) })
}

/// Submits the task of a slot.
pub(super) fn enter<P, X>(pool: &P, slot: &Arc<Slot<X, P::Output>>, way: Way<'_>) -> Result<(), SubmitError<X>>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    pool.engine().submit_slot(slot, P::answered(slot), way)
}

/// As [`submit`], waiting as a future.
pub(super) fn submit_async<'p, P, X>(
    pool: &'p P,
    x: X,
    way: Way<'p>,
) -> impl Future<Output = Result<(), SubmitError<X>>> + Send + use<'p, P, X>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let engine: &'p EngineOf<P> = pool.engine();
    let entering = engine.submit_async(P::plain(x), way);
    async move { entering.await.map_err(|refusal| refusal.map(P::into_input)) }
}

/// As [`enter`], waiting as a future, which gives the slot back.
pub(super) fn enter_async<'p, P, X>(
    pool: &'p P,
    slot: Arc<Slot<X, P::Output>>,
    way: Way<'p>,
) -> impl Future<Output = Result<Arc<Slot<X, P::Output>>, SubmitError<X>>> + Send + use<'p, P, X>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let task = P::answered(&slot);
    pool.engine().submit_slot_async(slot, task, way)
}

/// As [`spawn`], waiting as a future.
pub(super) fn spawn_async<'p, P, X>(
    pool: &'p P,
    x: X,
) -> impl Future<Output = Result<Handle<P::Output>, SubmitError<X>>> + Send + use<'p, P, X>
where
    P: Accepts<X>,
    X: Send + 'static,
{
    let entering = enter_async(pool, slot(pool, x, Marks::default(), false), Patience::Forever.into());
    async move { entering.await.map(Handle::new) }
}

/// As [`run`], waiting as a future, for room and then for the result.
pub(super) fn run_async<'p, P, X>(
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

/// The result of a task, or why its caller gives up waiting for it.
pub(super) async fn outcome<T: Send + 'static>(
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
        handle.cancel();
        let is_late = token.and_then(CancelToken::reason) == Some(CancelReason::Deadline);
        Poll::Ready(Err(JoinError::new(if is_late { Cause::TimedOut } else { Cause::Stopped })))
    })
    .await
}
