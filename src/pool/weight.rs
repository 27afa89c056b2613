//! Taking the weight of a task from its budget, before the task is queued.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use super::admit::Admit;
use crate::cancel::{CancelToken, earlier};
use crate::engine::WaitMode;
use crate::error::{AcquireError, SubmitErrorKind};
use crate::semaphore::{SemaphorePermit, refusal};
use crate::sync::current;
use crate::sync::waiter::Waiter;
use crate::task::current_worker;

/// Waits for the weight as long as `mode` and the token allow. A worker of the pool does not wait without a limit: the tasks that hold the
/// budget may wait for it.
pub(super) fn take<S: Admit>(
    pool: &S,
    weight: usize,
    mode: WaitMode,
    token: Option<&CancelToken>,
) -> Result<SemaphorePermit, SubmitErrorKind> {
    let Some(budget) = pool.budget() else { unreachable!("a weight was set, so there is a budget") };
    if let Some(error) = closing(pool).or_else(|| refusal(token, None)) {
        return Err(error.into());
    }
    match budget.try_acquire(weight) {
        Err(AcquireError::Full) => {}
        other => return other.map_err(SubmitErrorKind::from),
    }
    match mode {
        WaitMode::Never => return Err(SubmitErrorKind::Full),
        WaitMode::Forever if pool.engine().is_inside() => return Err(SubmitErrorKind::WouldDeadlock),
        WaitMode::Until(_) | WaitMode::Forever => {}
    }
    let me = Waiter::Thread(current());
    let _listening = token.map(|token| token.listen(me.clone()));
    let _closing = pool.engine().await_budget(me);
    let deadline = mode.deadline();
    let ends = || earlier(deadline, token.and_then(CancelToken::deadline));
    let stop = || closing(pool).or_else(|| refusal(token, deadline));
    budget.wait(weight, ends, stop).map_err(SubmitErrorKind::from)
}

/// As [`take`], waiting as a future, until the token is cancelled.
pub(super) async fn take_async<S: Admit>(
    pool: &S,
    weight: usize,
    token: Option<&CancelToken>,
) -> Result<SemaphorePermit, SubmitErrorKind> {
    let Some(budget) = pool.budget() else { unreachable!("a weight was set, so there is a budget") };
    let mut acquire = budget.acquire_async(weight);
    let mut cancelled = token.map(CancelToken::cancelled);
    let mut closed = None;
    poll_fn(move |poller| {
        if let Some(error) = closing(pool).or_else(|| refusal(token, None)) {
            return Poll::Ready(Err(error.into()));
        }
        if let Poll::Ready(result) = Pin::new(&mut acquire).poll(poller) {
            return Poll::Ready(result.map_err(SubmitErrorKind::from));
        }
        _ = closed.insert(pool.engine().await_budget(Waiter::Task(poller.waker().clone())));
        let is_cancelled = cancelled.as_mut().is_some_and(|cancelled| Pin::new(cancelled).poll(poller).is_ready());
        let error = if is_cancelled { refusal(token, None) } else { closing(pool) };
        if let Some(error) = error {
            return Poll::Ready(Err(error.into()));
        }
        // As a submission that waits for room does.
        current_worker::notify_pending_polls(pool.engine().id());
        Poll::Pending
    })
    .await
}

fn closing<S: Admit>(pool: &S) -> Option<AcquireError> {
    pool.is_closed().then_some(AcquireError::Closed)
}
