//! The meeting point of one task and whoever waits for its result.
//!
//! A slot holds the input until the task starts and the result afterwards. The worker's side is a
//! [`Ticket`] in the queue and then a [`Reply`]; the waiter's side is a [`Handle`](crate::Handle) or a
//! synchronous call. All of it is behind one lock that is held for a few instructions, but for an
//! interrupt (see [`Slot::give_up`]).

use std::sync::Arc;
use std::time::Instant;

use crate::cancel::{CancelReason, CancelToken, earlier};
use crate::engine::{Stop, nested};
use crate::error::{CallError, Cause, JoinError, Payload, SubmitError, SubmitErrorKind};
use crate::interrupter::Interrupter;
use crate::sync::{AtomicBool, Mutex, MutexGuard, OnceLock, Ordering, current, park};
use crate::waiter::Waiter;

/// What a worker did with what it took from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ran it to its end.
    Ran,
    /// It had been cancelled.
    Cancelled,
    /// Somebody else has started it, and counts it.
    Elsewhere,
}

enum Cell<I, O> {
    Queued(I),
    /// With what can interrupt it.
    Running(Option<Interrupter>),
    /// The task has ended and left its output; it is not announced yet.
    Produced(O),
    Done(Result<O, JoinError>),
    /// Given back unstarted, for the waiting caller to fetch, with the reason.
    Returned(I, SubmitErrorKind),
    /// What was here has been taken.
    Empty,
}

struct State<I, O> {
    cell: Cell<I, O>,
    /// What a ticket for a task that is no longer queued stands for.
    fate: Verdict,
    /// Who waits; the first one's place costs no allocation.
    waiter: Option<Waiter>,
    /// Each with a number to find it again by.
    more_waiters: Vec<(u64, Waiter)>,
    next_waiter: u64,
    /// Nobody will ask for the result.
    detached: bool,
}

/// One task's input, then its result.
pub(crate) struct Slot<I, O> {
    state: Mutex<State<I, O>>,
    terms: Terms<I, O>,
    given_up: AtomicBool,
    /// The task's own token, if anyone has asked for it.
    token: OnceLock<CancelToken>,
}

/// Runs a task that needs nothing of its worker.
pub(crate) type Run<I, O> = fn(I, &dyn Cancellable) -> O;

/// What was agreed on when the task was submitted.
pub(crate) struct Terms<I, O> {
    /// The pool that runs the task.
    pub(crate) pool: nested::PoolId,
    /// Whether a caller waits who wants the input back if the task does not start.
    pub(crate) is_call: bool,
    pub(crate) deadline: Option<Instant>,
    /// Cancels the task; and the call, if it is one.
    pub(crate) token: Option<CancelToken>,
    /// How to run the task without a worker's state, if it can be.
    pub(crate) run_here: Option<Run<I, O>>,
    /// The view in one of whose places it has to run.
    pub(crate) view: Option<u64>,
}

/// How a wait ended.
pub(crate) enum Outcome<I, O> {
    Done(Result<O, JoinError>),
    /// The task did not start; its input is back.
    Returned(I, SubmitErrorKind),
    /// A worker of the pool would have waited for itself.
    WouldDeadlock,
    TimedOut,
    /// The token of the call was cancelled.
    Cancelled,
}

impl<I, O> Outcome<I, O> {
    /// The end of a synchronous call.
    pub(crate) fn into_result(self) -> Result<O, CallError<I>> {
        match self {
            Outcome::Done(Ok(output)) => Ok(output),
            Outcome::Done(Err(error)) => Err(CallError::Failed(error)),
            Outcome::Returned(input, kind) => Err(SubmitError::new(kind, input).into()),
            Outcome::WouldDeadlock => Err(JoinError::new(Cause::WouldDeadlock).into()),
            Outcome::TimedOut => Err(JoinError::new(Cause::TimedOut).into()),
            Outcome::Cancelled => Err(JoinError::new(Cause::Stopped).into()),
        }
    }
}

/// What became of a task that was called back from the queue.
pub(crate) enum Recalled<I> {
    Here(I),
    /// The caller who waits for it has it.
    ToCaller,
    /// It was not there any more.
    Gone(Verdict),
}

/// Puts the last word into the cell and tells those who wait; not under the lock, for a waker is somebody else's code.
fn conclude<I, O>(mut state: MutexGuard<'_, State<I, O>>, cell: Cell<I, O>) {
    state.cell = cell;
    let (waiter, more) = (state.waiter.take(), std::mem::take(&mut state.more_waiters));
    drop(state);
    waiter.into_iter().chain(more.into_iter().map(|(_, waiter)| waiter)).for_each(Waiter::wake);
}

impl<I, O> Slot<I, O> {
    pub(crate) fn new(input: I, terms: Terms<I, O>) -> Arc<Self> {
        Arc::new(Slot {
            state: Mutex::new(State {
                cell: Cell::Queued(input),
                fate: Verdict::Elsewhere,
                waiter: None,
                more_waiters: Vec::new(),
                next_waiter: 0,
                detached: false,
            }),
            terms,
            given_up: AtomicBool::new(false),
            token: OnceLock::new(),
        })
    }

    pub(crate) fn terms(&self) -> &Terms<I, O> {
        &self.terms
    }

    fn has_given_up(&self) -> bool {
        // ORDERING: Acquire, so that who has seen an interrupter's mark sees this too.
        self.given_up.load(Ordering::Acquire)
    }

    /// The turn of the task has come: takes the input.
    fn start(&self, interrupter: Option<&Interrupter>) -> Result<I, Verdict> {
        if self.is_cancelled() {
            return match self.recall(SubmitErrorKind::Cancelled, Cause::Cancelled) {
                // Dropped here, on the worker.
                Recalled::Here(_) | Recalled::ToCaller => Err(Verdict::Cancelled),
                Recalled::Gone(verdict) => Err(verdict),
            };
        }
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.cell, Cell::Empty) {
            Cell::Queued(input) => {
                state.cell = Cell::Running(interrupter.cloned());
                Ok(input)
            }
            other => {
                state.cell = other;
                Err(state.fate)
            }
        }
    }

    /// Leaves the output, to be announced by [`Settle::settle`]. If nobody wants it, it is dropped here: on the
    /// worker, before the task counts as ended.
    fn produce(&self, output: O) {
        let mut state = self.state.lock();
        if state.detached {
            drop(state);
            drop(output);
        } else {
            state.cell = Cell::Produced(output);
        }
    }

    /// A task that has not started never will.
    fn recall(&self, kind: SubmitErrorKind, cause: Cause) -> Recalled<I> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.cell, Cell::Empty) {
            Cell::Queued(input) => {
                state.fate = Verdict::Cancelled;
                if self.terms.is_call {
                    conclude(state, Cell::Returned(input, kind));
                    Recalled::ToCaller
                } else {
                    conclude(state, Cell::Done(Err(JoinError::new(cause))));
                    Recalled::Here(input)
                }
            }
            other => {
                state.cell = other;
                Recalled::Gone(state.fate)
            }
        }
    }

    /// Nobody will ask for the result any more. One that is there already is dropped here, so that the worker need not
    /// do it on its way to the next task.
    pub(crate) fn detach(&self) {
        let mut state = self.state.lock();
        state.detached = true;
        let unwanted = match std::mem::replace(&mut state.cell, Cell::Empty) {
            found @ (Cell::Done(_) | Cell::Produced(_)) => Some(found),
            other => {
                state.cell = other;
                None
            }
        };
        drop(state);
        drop(unwanted);
    }

    /// The task should stop. One that has not started never will: says whether that is so.
    pub(crate) fn cancel(&self) -> bool {
        let mut state = self.state.lock();
        let queued = match std::mem::replace(&mut state.cell, Cell::Empty) {
            Cell::Queued(input) => {
                state.fate = Verdict::Cancelled;
                self.tell_to_stop(None);
                conclude(state, Cell::Done(Err(JoinError::new(Cause::Cancelled))));
                Some(input)
            }
            other => {
                if let Cell::Running(interrupter) = &other {
                    self.tell_to_stop(interrupter.as_ref());
                }
                state.cell = other;
                drop(state);
                None
            }
        };
        self.cancel_token();
        queued.is_some()
    }

    /// After the task was told to stop. Not under the lock: a waker is somebody else's code.
    fn cancel_token(&self) {
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }

    /// Under the lock that the worker needs to end the task, so that an interrupt cannot reach the task after it.
    fn tell_to_stop(&self, interrupter: Option<&Interrupter>) {
        // ORDERING: Release, see `has_given_up`.
        self.given_up.store(true, Ordering::Release);
        if let Some(interrupter) = interrupter {
            interrupter.interrupt();
        }
    }

    /// The caller stops waiting, because of its deadline or of its token. What runs is interrupted: under the lock that the worker needs to
    /// end the task, so that the interrupt cannot reach the task after it.
    pub(crate) fn give_up(&self, kind: SubmitErrorKind) -> Outcome<I, O> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.cell, Cell::Empty) {
            Cell::Queued(input) => {
                state.fate = Verdict::Cancelled;
                Outcome::Returned(input, kind)
            }
            Cell::Returned(input, kind) => Outcome::Returned(input, kind),
            Cell::Done(result) => Outcome::Done(result),
            // Just in time; there is nothing left to announce.
            Cell::Produced(output) => {
                state.detached = true;
                Outcome::Done(Ok(output))
            }
            other => {
                state.detached = true;
                if let Cell::Running(interrupter) = &other {
                    self.tell_to_stop(interrupter.as_ref());
                }
                state.cell = other;
                drop(state);
                if self.has_given_up() {
                    self.cancel_token();
                }
                match kind {
                    SubmitErrorKind::WouldDeadlock => Outcome::WouldDeadlock,
                    SubmitErrorKind::Cancelled => Outcome::Cancelled,
                    _ => Outcome::TimedOut,
                }
            }
        }
    }

    /// The synchronous call: waits for the result, and gives up at the task's deadline.
    pub(crate) fn call(&self) -> Outcome<I, O> {
        match self.wait(self.terms.deadline, self.terms.token.as_ref()) {
            Outcome::TimedOut => self.give_up(SubmitErrorKind::TimedOut),
            Outcome::Cancelled => self.give_up(SubmitErrorKind::Cancelled),
            Outcome::WouldDeadlock => self.give_up(SubmitErrorKind::WouldDeadlock),
            other => other,
        }
    }

    /// The task was not let in, for this reason: the input comes back.
    pub(crate) fn refused(&self, kind: SubmitErrorKind) -> SubmitError<I> {
        match self.give_up(kind) {
            Outcome::Returned(input, _) => SubmitError::new(kind, input),
            _ => unreachable!("a refused task has not started"),
        }
    }

    /// Waits for the result, at most until `deadline` or until `token` is cancelled.
    pub(crate) fn wait(&self, deadline: Option<Instant>, token: Option<&CancelToken>) -> Outcome<I, O> {
        if let Some(outcome) = self.poll(None) {
            return outcome;
        }
        let _listening = token.map(|token| token.listen(Waiter::Thread(current())));
        loop {
            let Ok(guard) = nested::enter_wait(self.terms.pool, deadline) else {
                // Nobody else can make progress, so this worker does what is queued. Others may have by the time it has.
                match self.poll(None) {
                    Some(outcome) => return outcome,
                    None if nested::help(self.terms.pool) => continue,
                    None => return Outcome::WouldDeadlock,
                }
            };
            let me = guard.waiter();
            while !guard.is_doomed() {
                if let Some(outcome) = self.poll(Some(&me)) {
                    return outcome;
                }
                if deadline.is_some_and(|d| Instant::now() >= d) {
                    return Outcome::TimedOut;
                }
                match token.and_then(CancelToken::reason) {
                    Some(CancelReason::Deadline) => return Outcome::TimedOut,
                    Some(_) => return Outcome::Cancelled,
                    None => park(earlier(deadline, token.and_then(CancelToken::deadline))),
                }
            }
        }
    }

    /// Takes the result if it is there; otherwise leaves word to have `waiter` woken.
    pub(crate) fn poll(&self, waiter: Option<&Waiter>) -> Option<Outcome<I, O>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.cell, Cell::Empty) {
            Cell::Done(result) => Some(Outcome::Done(result)),
            Cell::Returned(input, kind) => Some(Outcome::Returned(input, kind)),
            Cell::Empty => Some(Outcome::Done(Err(JoinError::new(Cause::Taken)))),
            other => {
                state.cell = other;
                let replaced = match waiter {
                    Some(waiter) => state.waiter.replace(waiter.clone()),
                    None => None,
                };
                // Dropping a waker is somebody else's code.
                drop(state);
                drop(replaced);
                None
            }
        }
    }

    /// Waits until a [`poll`](Self::poll) would have an answer, as one of several who do, or until `token` is cancelled, which
    /// the caller has listened to. If the task `is_younger` than the one that waits for it, and has started, no circle of waits
    /// is possible and none is looked for: that would be careful beyond need, for it counts who has only just been woken.
    pub(crate) fn await_end(
        &self,
        deadline: Option<Instant>,
        token: Option<&CancelToken>,
        is_younger: bool,
    ) -> AwaitedEnd {
        let is_cancelled = || token.is_some_and(CancelToken::is_cancelled);
        loop {
            let guard = match nested::enter_wait(self.terms.pool, deadline) {
                Ok(guard) => guard,
                Err(_) if self.is_finished() => return AwaitedEnd::Over,
                Err(_) if is_cancelled() => return AwaitedEnd::Cancelled,
                Err(_) if is_younger && self.has_started() => nested::enter_wait_regardless(self.terms.pool),
                // As in `wait`.
                Err(_) if nested::help(self.terms.pool) => continue,
                Err(_) => return AwaitedEnd::WouldDeadlock,
            };
            let Some(place) = self.state.lock().list(guard.waiter()) else { return AwaitedEnd::Over };
            let end = loop {
                if self.is_finished() {
                    return AwaitedEnd::Over;
                } else if is_cancelled() {
                    break Some(AwaitedEnd::Cancelled);
                } else if deadline.is_some_and(|d| Instant::now() >= d) {
                    break Some(AwaitedEnd::TimedOut);
                } else if guard.is_doomed() {
                    break None;
                }
                park(earlier(deadline, token.and_then(CancelToken::deadline)));
            };
            // Whoever asks again and again must not leave more and more entries.
            self.state.lock().strike_out(place);
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Whether the task is not queued any more.
    pub(crate) fn has_started(&self) -> bool {
        !matches!(self.state.lock().cell, Cell::Queued(_))
    }

    /// Whether a wait would return at once.
    pub(crate) fn is_finished(&self) -> bool {
        self.state.lock().is_over()
    }
}

/// The number of the waiter whose place costs no allocation.
const FIRST: u64 = 0;

impl<I, O> State<I, O> {
    /// Lists one of several waiters, unless the task has ended.
    fn list(&mut self, waiter: Waiter) -> Option<u64> {
        if self.is_over() {
            return None;
        }
        if self.waiter.is_none() {
            self.waiter = Some(waiter);
            return Some(FIRST);
        }
        self.next_waiter += 1;
        self.more_waiters.push((self.next_waiter, waiter));
        Some(self.next_waiter)
    }

    fn strike_out(&mut self, place: u64) {
        if place == FIRST {
            self.waiter = None;
        } else {
            self.more_waiters.retain(|(number, _)| *number != place);
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.cell, Cell::Done(_) | Cell::Returned(..) | Cell::Empty)
    }
}

/// How one of several waits for the same task ended.
pub(crate) enum AwaitedEnd {
    Over,
    TimedOut,
    /// The token of the wait was cancelled.
    Cancelled,
    WouldDeadlock,
}

/// A task that can be told to stop, whatever its types.
pub(crate) trait Cancellable {
    /// Whether it should not start, or stop if it has.
    fn is_cancelled(&self) -> bool;
    /// Its own token, below the one that it was submitted with. Made when it is first asked for.
    fn token(&self) -> &CancelToken;
}

impl<I, O> Cancellable for Slot<I, O> {
    fn is_cancelled(&self) -> bool {
        self.has_given_up() || self.token.get().or(self.terms.token.as_ref()).is_some_and(CancelToken::is_cancelled)
    }

    fn token(&self) -> &CancelToken {
        if let Some(token) = self.token.get() {
            return token;
        }
        let token = self.token.get_or_init(|| match &self.terms.token {
            Some(parent) => parent.child(),
            None => CancelToken::new(),
        });
        // It may have been made just after the task was told to stop, which is done under the lock; whoever does so later
        // finds it.
        let state = self.state.lock();
        if self.has_given_up() {
            drop(state);
            token.cancel();
        }
        token
    }
}

/// A task that has only its token left.
impl Cancellable for CancelToken {
    fn is_cancelled(&self) -> bool {
        CancelToken::is_cancelled(self)
    }

    fn token(&self) -> &CancelToken {
        self
    }
}

impl<I: Send, O: Send> Stop for Slot<I, O> {
    fn stop(&self) {
        self.cancel();
    }
}

/// The end of a task's way: tells whoever waits.
pub(crate) trait Settle: Send + Sync {
    /// Announces the output that was left, or the panic.
    fn settle(&self, panic: Option<Payload>);
}

impl<I: Send, O: Send> Settle for Slot<I, O> {
    fn settle(&self, panic: Option<Payload>) {
        let mut state = self.state.lock();
        let result = match (std::mem::replace(&mut state.cell, Cell::Empty), panic) {
            (Cell::Produced(output), None) => Ok(output),
            (_, Some(payload)) => Err(JoinError::panic(payload)),
            (_, None) => Err(JoinError::new(Cause::Cancelled)),
        };
        if state.detached {
            drop(state);
            drop(result);
        } else {
            conclude(state, Cell::Done(result));
        }
    }
}

/// Where the answer to a task goes, if anywhere. The task sets it before any user code runs.
#[derive(Default)]
pub(crate) struct Reply(Option<Arc<dyn Settle>>);

impl Reply {
    /// From now on the answer goes to `settle`.
    pub(crate) fn set(&mut self, settle: Arc<dyn Settle>) {
        self.0 = Some(settle);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Announces the end of the task. A panic that nobody waits for comes back.
    pub(crate) fn send(self, panic: Option<Payload>) -> Option<Payload> {
        match self.0 {
            None => panic,
            Some(to) => {
                to.settle(panic);
                None
            }
        }
    }
}

/// The queue's side of a slot. Dropping a ticket that was not used cancels the task.
pub(crate) struct Ticket<I, O>(Option<Arc<Slot<I, O>>>);

impl<I, O> Ticket<I, O> {
    pub(crate) fn new(slot: &Arc<Slot<I, O>>) -> Self {
        Ticket(Some(Arc::clone(slot)))
    }

    /// Calls the task back; `kind` is for a caller who waits, `cause` for a handle.
    pub(crate) fn recall(mut self, kind: SubmitErrorKind, cause: Cause) -> Recalled<I> {
        match self.0.take() {
            Some(slot) => slot.recall(kind, cause),
            None => Recalled::Gone(Verdict::Elsewhere),
        }
    }
}

impl<I: Send + 'static, O: Send + 'static> Ticket<I, O> {
    /// Runs the task with `f` and leaves its output; `reply` is set first.
    pub(crate) fn run(
        mut self,
        reply: &mut Reply,
        interrupter: Option<&Interrupter>,
        f: impl FnOnce(I, &Slot<I, O>) -> O,
    ) -> Verdict {
        let Some(slot) = self.0.take() else { return Verdict::Elsewhere };
        match slot.start(interrupter) {
            Err(verdict) => verdict,
            Ok(input) => {
                reply.set(Arc::clone(&slot) as _);
                let stoppable =
                    slot.terms.token.as_ref().map(|_| nested::stoppable(slot.terms.pool, Arc::clone(&slot) as _));
                let output = f(input, &slot);
                drop(stoppable);
                slot.produce(output);
                Verdict::Ran
            }
        }
    }
}

impl<I, O> Drop for Ticket<I, O> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            drop(slot.recall(SubmitErrorKind::Cancelled, Cause::Cancelled));
        }
    }
}
