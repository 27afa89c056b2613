//! The state that a task shares with those who wait for its result.
//!
//! A [`TaskState`] holds the input until the task starts, and the result afterwards. The worker's side is a [`TaskRef`] in the queue
//! and then a [`Completion`]. The waiter's side is a [`Handle`](crate::Handle) or a synchronous call. One lock protects the state. It
//! is held for a few instructions, and never while user code runs: not the task, an interrupter, a waker (its clone and drop
//! included), or the drop of an input or a result.
//!
//! This file has the stages of a task and the steps between them. `meta.rs` has its options, `cancelling.rs` and `interrupts.rs` how it
//! is stopped, `task_ref.rs` the worker's side, `wait.rs` the waiter's.

mod cancelling;
mod current;
mod heap_job;
mod inside;
mod interrupts;
mod job_ref;
mod meta;
mod outside;
mod packed;
mod promise;
mod reply_spin;
mod scheduled;
mod stack_job;
mod stack_oneshot;
mod task_ref;
mod wait;
mod waiters;

use std::sync::Arc;

use crate::cancel::CancelToken;
use crate::error::{JoinError, SubmitError};
use crate::sync::waiter::Waiter;
use crate::sync::waiter_list::WaiterList;
use crate::sync::{AtomicBool, Mutex, MutexGuard, OnceLock, Ordering};
use crate::task::interrupter::Interrupter;

use interrupts::Interrupt;
use packed::Packed;

pub(crate) use cancelling::Cancellable;
pub(crate) use current::Running;
pub(crate) use current::{SuspendedTask, with_current};
pub(crate) use heap_job::{JobOwner, heap_job};
pub(crate) use inside::PollAction;
pub(crate) use job_ref::{JobRef, StolenJob};
pub(crate) use meta::{Extra, HeldWeight, Run, TaskMeta};
pub(crate) use promise::Promise;
pub(crate) use reply_spin::spin_for_reply;
pub(crate) use stack_job::StackJob;
pub(crate) use stack_oneshot::{ReplySender, StackOneshot};
pub(crate) use task_ref::{Complete, Completion, Permit, Retracted, RunOutcome, TaskRef};
pub(crate) use wait::{AwaitedEnd, Outcome};

enum Stage<I, O> {
    Queued(Packed<I>),
    /// With the interrupter, until it is called.
    Running(Option<Interrupter>),
    /// The task has ended and has left its output. It is not announced yet.
    Produced(Packed<O>),
    Done(Result<Packed<O>, JoinError>),
    /// The task did not start. The waiting caller takes the input from here, with the reason.
    Returned(SubmitError<Packed<I>>),
    /// The content was taken.
    Empty,
}

/// Which side takes a queued task.
#[derive(Clone, Copy, PartialEq)]
enum Taker {
    /// The holder of the queue entry, which has left the queue.
    Queue,
    /// A thread that waits for the task. The entry is still in the queue.
    Waiter,
}

struct State<I, O> {
    stage: Stage<I, O>,
    /// What a worker reports for the queue entry when the task is no longer queued.
    withdrawn_outcome: RunOutcome,
    /// The pool has counted the queue entry as stale.
    is_withdrawn: bool,
    /// The first waiter, which needs no allocation.
    waiter: Option<Waiter>,
    more_waiters: Option<Box<WaiterList>>,
    interrupt: Interrupt,
    /// The result will not be asked for.
    detached: bool,
    /// The task has not entered the pool: its time has not come, or it waits for room since.
    is_scheduled: bool,
}

impl<I, O> State<I, O> {
    /// Takes the input of a task that has not started.
    fn take_queued(&mut self) -> Option<Packed<I>> {
        match std::mem::replace(&mut self.stage, Stage::Empty) {
            Stage::Queued(input) => Some(input),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// Whether a wait would return at once.
    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Done(_) | Stage::Returned(..) | Stage::Empty)
    }
}

/// One task's input, then its result. See the [module](self).
pub struct TaskState<I, O> {
    state: Mutex<State<I, O>>,
    /// A copy of [`State::is_over`] for waiters that spin.
    over: AtomicBool,
    /// The task has ended without an output. It is set before the task is over, and stays when the result is taken.
    failed: AtomicBool,
    meta: TaskMeta<I, O>,
    /// The handle or the caller has asked the task to stop.
    stop_requested: AtomicBool,
    /// The task's own token, once it was asked for.
    token: OnceLock<CancelToken>,
}

impl<I, O> TaskState<I, O> {
    pub(crate) fn new(input: I, meta: TaskMeta<I, O>) -> Arc<Self> {
        let is_scheduled = meta.schedule().is_some();
        Arc::new(TaskState {
            state: Mutex::new(State {
                stage: Stage::Queued(Packed::new(input)),
                withdrawn_outcome: RunOutcome::Elsewhere,
                is_withdrawn: false,
                waiter: None,
                more_waiters: None,
                interrupt: Interrupt::default(),
                detached: false,
                is_scheduled,
            }),
            over: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            meta,
            stop_requested: AtomicBool::new(false),
            token: OnceLock::new(),
        })
    }

    /// The state of a task that runs already, in several steps, and whose result [`produce`](Self::produce) stores.
    #[cfg(feature = "async")]
    pub(crate) fn started(input: I, meta: TaskMeta<I, O>) -> Arc<Self> {
        let task_state = Self::new(input, meta);
        let input = std::mem::replace(&mut task_state.state.lock().stage, Stage::Running(None));
        drop(input);
        task_state
    }

    pub(crate) fn meta(&self) -> &TaskMeta<I, O> {
        &self.meta
    }

    /// Takes the input, to run the task. On an error the task must not run, and the caller reports that outcome.
    fn start(
        &self,
        taker: Taker,
        interrupter: Option<&Interrupter>,
        completion: &mut Completion,
    ) -> Result<I, RunOutcome> {
        if self.is_cancelled() {
            let (kind, cause) = self.why_cancelled();
            return Err(self.end_cancelled(taker, kind, cause, completion));
        }
        let mut state = self.state.lock();
        match state.take_queued() {
            Some(input) => {
                if taker == Taker::Waiter {
                    self.withdraw(&mut state, RunOutcome::Elsewhere);
                }
                state.stage = Stage::Running(interrupter.cloned());
                drop(state);
                Ok(input.into_inner())
            }
            None => Err(self.withdrawn_outcome(&state, taker)),
        }
    }

    /// Stores the output, which [`Complete::complete`] announces. The output of a detached task is dropped here: on the worker, before
    /// the task counts as ended.
    pub(crate) fn produce(&self, output: O) {
        let output = Packed::new(output);
        let mut state = self.state.lock();
        if state.detached {
            drop(state);
            drop(output);
        } else {
            // The old stage may own an interrupter. The worker holds a clone of it, so this drops no user value under the lock.
            state.stage = Stage::Produced(output);
        }
    }

    /// Stores the final stage and wakes the waiters. It wakes them without the lock, because a waker is user code.
    fn finish(&self, mut state: MutexGuard<'_, State<I, O>>, stage: Stage<I, O>) {
        debug_assert!(matches!(state.stage, Stage::Empty), "a value would be dropped under the lock");
        if matches!(stage, Stage::Done(Err(_))) {
            self.note_failed();
        }
        state.stage = stage;
        let (waiter, more) = (state.waiter.take(), state.more_waiters.take());
        // ORDERING: Relaxed. A thread that sees the flag takes the lock before it reads anything else.
        self.over.store(true, Ordering::Relaxed);
        drop(state);
        waiter.into_iter().for_each(Waiter::wake);
        if let Some(more) = more {
            more.wake_all();
        }
    }

    /// Declares that the result will not be asked for. A result that is there already is dropped here, so that the worker need not drop
    /// it before its next task. A waker that a poll has left is dropped too.
    pub(crate) fn detach(&self) {
        let mut state = self.state.lock();
        state.detached = true;
        let waiter = state.waiter.take();
        let has_result = matches!(state.stage, Stage::Done(_) | Stage::Produced(_));
        let unwanted = has_result.then(|| std::mem::replace(&mut state.stage, Stage::Empty));
        drop(state);
        if let (Some(_), Some(view)) = (&waiter, self.meta.view()) {
            view.forget();
        }
        waiter.into_iter().for_each(Waiter::discard);
        drop(unwanted);
    }
}
