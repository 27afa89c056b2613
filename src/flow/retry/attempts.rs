//! The attempts of one task, from the first to its result.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Retrying;
use super::counters::Due;
use super::error::{Failure, GaveUp, RetryError};
use super::letters::Letters;
use super::policy::Delays;
use crate::cancel::{CancelReason, CancelToken};
use crate::error::{JoinError, SubmitError, SubmitErrorKind};
use crate::flow::base::{Base, Judges, detach, ended, enter, enter_async};
use crate::flow::repeats::Repeats;
use crate::pool::{AnyPool, Linked};
use crate::sync::sleep::Sleep;
use crate::sync::user_code::catch_user_panic;
use crate::sync::{Ordering, clock};
use crate::task::handle::Handle;
use crate::task::propagated::Propagated;

type Value<B, X> = <<B as Base>::Pool as Repeats<X>>::Value;
type Kept<B, X> = <<B as Base>::Pool as Repeats<X>>::Kept;
type Attempt<B, X> = <<B as Base>::Pool as Repeats<X>>::Attempt;

type Entered<B, E, X> = Result<Handle<Result<Value<B, X>, E>>, SubmitError<Attempt<B, X>>>;

/// An attempt, as it has begun.
enum Begun<C, T: Send + 'static, E: Send + 'static> {
    Entered(C, Handle<Result<T, E>>),
    Failed(Failure<E>),
}

/// One task, between its submission and its result.
pub(super) struct Attempts<B: Base, E: Send + 'static, L, X: Send + 'static>
where
    B::Pool: Repeats<X, Error = E>,
{
    of: Retrying<B, E, L>,
    kept: Kept<B, X>,
    due: Due<Result<Value<B, X>, RetryError<E>>>,
    /// Cancelled when the task is.
    token: CancelToken,
    delays: Delays,
    /// When no attempt begins any more.
    until: Option<Instant>,
    /// What the attempts take along from the submitter's thread.
    propagated: Option<Propagated>,
    failed: u32,
}

impl<B, E, L, X> Attempts<B, E, L, X>
where
    B: Judges<Result<Value<B, X>, E>>,
    B::Pool: Repeats<X, Error = E>,
    E: Send + 'static,
    L: Letters<X, E>,
    X: Send + 'static,
{
    pub(super) fn new(
        of: &Retrying<B, E, L>,
        x: X,
        due: Due<Result<Value<B, X>, RetryError<E>>>,
        token: CancelToken,
    ) -> Self {
        Attempts {
            kept: B::Pool::keep(x),
            due,
            token,
            delays: of.policy.begin(),
            until: of.policy.limit().and_then(clock::deadline),
            propagated: of.base.linked().engine().capture(),
            failed: 0,
            of: of.clone(),
        }
    }

    /// Submits the first attempt, and leaves the rest to a future of its own. A refusal by the pool returns the task; that of a breaker is a
    /// failed attempt. Blocks for room only if it `waits`.
    pub(super) fn submit(self, waits: bool) -> Result<(), SubmitError<X>> {
        let begun = match self.of.base.begin() {
            Err(after) => Begun::Failed(Failure::Open(after)),
            Ok(call) => {
                let (of, attempt) = (&self.of, B::Pool::attempt(&self.kept));
                match enter(&of.options, of.base.linked(), &self.token, attempt, waits) {
                    Ok(handle) => Begun::Entered(call, handle),
                    Err(refusal) => return Err(self.refused(refusal)),
                }
            }
        };
        self.go(begun);
        Ok(())
    }

    /// The same, waiting for room as a future.
    pub(super) async fn submit_async(self) -> Result<(), SubmitError<X>> {
        let begun = match self.of.base.begin() {
            Err(after) => Begun::Failed(Failure::Open(after)),
            Ok(call) => {
                let (of, attempt) = (&self.of, B::Pool::attempt(&self.kept));
                match enter_async(&of.options, of.base.linked(), &self.token, attempt).await {
                    Ok(handle) => Begun::Entered(call, handle),
                    Err(refusal) => return Err(self.refused(refusal)),
                }
            }
        };
        self.go(begun);
        Ok(())
    }

    fn refused(self, refusal: SubmitError<Attempt<B, X>>) -> SubmitError<X> {
        let kept = self.kept;
        refusal.map(|attempt| {
            drop(attempt);
            match B::Pool::give_back(kept) {
                Some(x) => x,
                None => unreachable!("an attempt that was refused has not taken the task"),
            }
        })
    }

    fn go(mut self, begun: Begun<B::Call, Value<B, X>, E>) {
        self.due.accept(&self.of.counters);
        detach(self.finish(begun));
    }

    /// Makes attempts until one succeeds, or the task is given up.
    async fn finish(mut self, mut begun: Begun<B::Call, Value<B, X>, E>) {
        loop {
            let failure = match begun {
                Begun::Failed(failure) => failure,
                Begun::Entered(call, handle) => {
                    let outcome = ended(handle, &self.token).await;
                    self.of.base.end(call, &outcome);
                    match outcome {
                        Ok(Ok(value)) => return self.succeed(value),
                        Ok(Err(error)) => Failure::Error(error),
                        Err(error) if self.is_final(&error) => {
                            return self.give_up(GaveUp::Cancelled, None);
                        }
                        Err(error) => error.refusal().map_or(Failure::Join(error), Failure::Refused),
                    }
                }
            };
            self.failed += 1;
            let (delay, next) = match self.next_attempt(&failure) {
                Ok(next) => next,
                Err(reason) => return self.give_up(reason, Some(failure)),
            };
            self.of.counters.retried.fetch_add(1, Ordering::Relaxed);
            self.of.base.linked().engine().tell_retried(self.of.options.name.as_deref(), self.failed, delay);
            let waiting = self.of.counters.wait();
            // Boxed, as the next attempt: most tasks need neither, and each would have room for both.
            let end = Box::pin(back_off(self.of.base.linked(), &self.token, next)).await;
            drop(waiting);
            if let Some(reason) = end {
                return self.give_up(reason, Some(failure));
            }
            begun = match self.of.base.begin() {
                Err(after) => Begun::Failed(Failure::Open(after)),
                Ok(call) => {
                    // The clone of an input is user code.
                    let Some(attempt) = catch_user_panic(|| B::Pool::attempt(&self.kept)) else {
                        return self.give_up(GaveUp::Permanent, Some(failure));
                    };
                    match Box::pin(again(&self.of, &mut self.propagated, &self.token, attempt)).await {
                        Ok(handle) => Begun::Entered(call, handle),
                        Err(refusal) => Begun::Failed(Failure::Refused(refusal.kind())),
                    }
                }
            };
        }
    }

    /// After what delay the next attempt begins, and when that is; or why there is none.
    fn next_attempt(&mut self, failure: &Failure<E>) -> Result<(Duration, Instant), GaveUp> {
        if let Some(reason) = cancelled(&self.token) {
            return Err(reason);
        }
        let policy = &self.of.policy;
        let is_temporary = match failure {
            Failure::Error(error) => policy.is_temporary(error),
            Failure::Join(error) => !error.is_panic() || policy.retries_panics(),
            Failure::Refused(SubmitErrorKind::Closed) => return Err(GaveUp::Closed),
            Failure::Refused(_) | Failure::Open(_) => true,
        };
        if !is_temporary {
            return Err(GaveUp::Permanent);
        }
        if self.failed >= policy.most_attempts() {
            return Err(GaveUp::Exhausted);
        }
        let Some(delay) = policy.next(&mut self.delays) else { return Err(GaveUp::Exhausted) };
        let delay = match failure {
            Failure::Open(after) => delay.max(*after),
            _ => delay,
        };
        let next = clock::deadline(delay).filter(|next| self.until.is_none_or(|until| *next <= until));
        next.map(|next| (delay, next)).ok_or(GaveUp::TimeUp)
    }

    /// Whether there is no further attempt after an attempt that was not run. One that was late, or had no worker's state, is a failed one;
    /// so is one that the pool has dropped, unless its handler has it. That, and one that was given back, may be run by whoever has it now.
    fn is_final(&self, error: &JoinError) -> bool {
        match error.is_dropped() {
            true => self.of.base.linked().engine().keeps_dropped(),
            false => error.is_cancelled() && !error.is_no_state() && !error.is_timed_out(),
        }
    }

    fn succeed(self, value: Value<B, X>) {
        catch_user_panic(|| drop(self.kept));
        self.due.settle(|counters| &counters.succeeded, Ok(Ok(value)));
    }

    fn give_up(self, reason: GaveUp, last: Option<Failure<E>>) {
        let error = RetryError { reason, attempts: self.failed, last };
        if reason == GaveUp::Cancelled {
            catch_user_panic(|| drop(self.kept));
            self.due.settle(|counters| &counters.cancelled, Ok(Err(error)));
            return;
        }
        // Before the result is announced, so that a waiter finds the letter.
        if let Some(task) = B::Pool::give_back(self.kept) {
            self.of.letters.receive(task, &error, self.of.task_name());
        }
        self.due.settle(|counters| &counters.failed, Ok(Err(error)));
    }
}

/// Submits a further attempt, which takes along what the first one did.
fn again<'r, B, E, L, X>(
    of: &'r Retrying<B, E, L>,
    propagated: &mut Option<Propagated>,
    token: &CancelToken,
    attempt: Attempt<B, X>,
) -> impl Future<Output = Entered<B, E, X>> + Send + use<'r, B, E, L, X>
where
    B: Base,
    B::Pool: Repeats<X, Error = E>,
    E: Send + 'static,
    X: Send + 'static,
{
    let (pool, before) = (of.base.linked(), propagated.take());
    let entered = before.as_ref().map(Propagated::enter);
    let entering = enter_async(&of.options, pool, token, attempt);
    *propagated = pool.engine().capture();
    drop(entered);
    entering
}

/// Why a cancelled token ends the attempts.
fn cancelled(token: &CancelToken) -> Option<GaveUp> {
    token.reason().map(|reason| match reason {
        CancelReason::Deadline => GaveUp::TimeUp,
        CancelReason::Asked => GaveUp::Cancelled,
    })
}

/// Waits until a time, on the timer. Ends before with the reason why there is no further attempt.
async fn back_off<P: AnyPool>(pool: &Linked<P>, token: &CancelToken, until: Instant) -> Option<GaveUp> {
    let mut cancel = pin!(token.cancelled());
    let mut closed = pin!(pool.engine().closed());
    let mut sleep = pin!(Sleep::until(until));
    poll_fn(|poller| {
        if cancel.as_mut().poll(poller).is_ready() {
            Poll::Ready(cancelled(token))
        } else if closed.as_mut().poll(poller).is_ready() {
            Poll::Ready(Some(GaveUp::Closed))
        } else {
            sleep.as_mut().poll(poller).map(|()| None)
        }
    })
    .await
}
