//! A task of a group, and what it shares with the others.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

use super::ledger::Ledger;
use super::permits::GroupPermit;
use crate::cancel::CancelToken;
use crate::engine::wait_queue::WaitQueue;
use crate::error::{Cause, SubmitErrorKind};
use crate::sync::{Mutex, thread_local};
use crate::task::closure::{Body, Task};
use crate::task::liveness::Liveness;
use crate::task::state::{Cancellable, Completion, Retracted, RunOutcome, TaskRef};

/// The state that a group's tasks share.
pub(super) struct Shared<T, E> {
    pub(super) token: CancelToken,
    pub(super) collects_all: bool,
    pub(super) limit: usize,
    /// The address of the state of the task that failed first.
    pub(super) first_failure: OnceLock<usize>,
    pub(super) ledger: Mutex<Ledger<T, E>>,
    /// Submitters that wait at the group's limit.
    pub(super) wait_queue: WaitQueue,
}

impl<T, E> Shared<T, E> {
    /// Called when a task of the group fails or will not run.
    pub(super) fn fail(&self) {
        if !self.collects_all {
            self.token.cancel();
        }
    }
}

thread_local! {
    /// The groups of which the calling thread runs a task, by address.
    static WITHIN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Whether the calling thread is running a task of this group.
pub(super) fn is_within<T, E>(group: &Shared<T, E>) -> bool {
    WITHIN.try_with(|within| within.borrow().contains(&address(group))).unwrap_or(false)
}

/// A task of a group before it runs.
pub(super) struct Member<F, T: Send + 'static, E: Send + 'static> {
    pub(super) f: F,
    pub(super) permit: GroupPermit<T, E>,
}

pub(super) fn address<T: ?Sized>(task: &T) -> usize {
    std::ptr::from_ref(task).cast::<()>().addr()
}

pub(super) fn run<F, T, E>(member: Member<F, T, E>, task: &dyn Cancellable) -> Result<T, E>
where
    F: FnOnce(&CancelToken) -> Result<T, E>,
    T: Send + 'static,
    E: Send + 'static,
{
    let Member { f, permit } = member;
    let shared = permit.start();
    // This fails on a thread whose thread-locals are gone, which can be an inline worker. Then the mark is left out.
    let marked = WITHIN.try_with(|within| within.borrow_mut().push(address(&*shared)));
    let result = catch_unwind(AssertUnwindSafe(|| f(&shared.token)));
    let _ = marked.and_then(|()| WITHIN.try_with(|within| within.borrow_mut().pop()));
    if !matches!(result, Ok(Ok(_))) {
        // Only the first call takes effect.
        let _ = shared.first_failure.set(address(task));
        shared.fail();
    }
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// A task of a group in the pool's queue.
pub(super) struct GroupTask<F, T: Send + 'static, E: Send + 'static>(pub(super) TaskRef<Member<F, T, E>, Result<T, E>>);

impl<F, T, E> Body for GroupTask<F, T, E>
where
    F: FnOnce(&CancelToken) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    fn call(self, completion: &mut Completion) -> RunOutcome {
        self.0.run(completion, None, |member, task_state| run(member, task_state))
    }

    fn retract(self, kind: SubmitErrorKind, cause: Cause) -> Retracted<Task> {
        match self.0.retract(kind, cause) {
            // The permit is released and the group goes on without the task. The caller that gets the task back may still run it.
            Retracted::Here(Member { f, permit }) => {
                permit.fail();
                Retracted::Here(Task::new(move || drop(f(&CancelToken::new()))))
            }
            Retracted::ToCaller => Retracted::ToCaller,
            Retracted::Gone(outcome) => Retracted::Gone(outcome),
        }
    }

    fn liveness(&self) -> Liveness {
        self.0.liveness()
    }
}
