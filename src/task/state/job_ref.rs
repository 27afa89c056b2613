//! References to jobs: what local deques hold.

use std::mem;
use std::ptr::NonNull;

use super::task_ref::{Completion, Retracted, RunOutcome};
use crate::error::{Cause, SubmitErrorKind};
use crate::sync::{AtomicUsize, Ordering};
use crate::task::closure::{Body, Task};

/// No worker has stolen the job.
const NO_THIEF: usize = usize::MAX;

/// The first field of every job.
pub(super) struct Header {
    vtable: &'static VTable,
    /// The worker that has stolen the job: a hint for the one that waits for it.
    thief: AtomicUsize,
    /// Whether the thread that waits for the job is a worker of the same pool, inside a task.
    owner_is_inside: bool,
}

/// The operations on a job of an erased type. Each takes the header of such a job from the thread that has the right to run it, once.
pub(super) struct VTable {
    /// Runs the job. Sets the completion before user code runs, and may unwind after that.
    pub(super) run: unsafe fn(NonNull<Header>, &mut Completion),
    /// Leaves the job to the thread that waits for it.
    pub(super) abandon: unsafe fn(NonNull<Header>),
}

impl Header {
    pub(super) fn new(vtable: &'static VTable, owner_is_inside: bool) -> Self {
        Header { vtable, thief: AtomicUsize::new(NO_THIEF), owner_is_inside }
    }

    pub(super) fn thief(&self) -> Option<usize> {
        // ORDERING: Relaxed. It is a hint.
        Some(self.thief.load(Ordering::Relaxed)).filter(|thief| *thief != NO_THIEF)
    }
}

/// Refers to a job of any type. The one that leaves the deque is the right to run it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct JobRef(NonNull<Header>);

// SAFETY: the closure is `Send`, and so is its result (`StackJob::new`, `heap_job::push`). The job stays in place until it was run or taken
// back.
unsafe impl Send for JobRef {}

impl JobRef {
    /// `header` is the first field of a job that stays in place until it was run, or until the reference was taken back.
    pub(super) fn new(header: NonNull<Header>) -> Self {
        JobRef(header)
    }

    /// Whether the thread that waits for the job is a worker of the same pool. It runs the job itself if the job is abandoned.
    ///
    /// # Safety
    /// The caller has the right to run the job.
    pub(crate) unsafe fn owner_is_inside(self) -> bool {
        let JobRef(header) = self;
        // SAFETY: the job is in place until it is run.
        unsafe { header.as_ref().owner_is_inside }
    }

    /// Runs the job on the worker that has pushed it. May unwind.
    ///
    /// # Safety
    /// The caller has taken the reference from its deque, or from where [`StolenJob`] has left it, and does not use it again.
    pub(crate) unsafe fn run(self, completion: &mut Completion) {
        let JobRef(header) = self;
        // SAFETY: the caller has the right to run the job, which is in place; the function is that of its type.
        unsafe { (header.as_ref().vtable.run)(header, completion) };
    }
}

/// A job that was taken from another worker's deque, as a task.
pub struct StolenJob(JobRef);

impl StolenJob {
    /// `job` was taken out of a deque by the worker `thief`.
    pub(crate) fn new(job: JobRef, thief: usize) -> Self {
        // SAFETY: the job stays in place until it is run or abandoned, which only this value does.
        let header = unsafe { job.0.as_ref() };
        // ORDERING: Relaxed. It is a hint.
        header.thief.store(thief, Ordering::Relaxed);
        StolenJob(job)
    }

    /// Calls the closure, and sets `completion` first. May unwind.
    pub(crate) fn run(self, completion: &mut Completion) -> RunOutcome {
        let StolenJob(job) = self;
        mem::forget(self);
        // SAFETY: `self` was the right to run the job.
        unsafe { job.run(completion) };
        RunOutcome::Ran
    }
}

impl Drop for StolenJob {
    fn drop(&mut self) {
        let JobRef(header) = self.0;
        // SAFETY: as in `run`.
        unsafe { (header.as_ref().vtable.abandon)(header) };
    }
}

impl Body for StolenJob {
    fn call(self, completion: &mut Completion) -> RunOutcome {
        self.run(completion)
    }

    fn retract(self, _kind: SubmitErrorKind, _cause: Cause) -> Retracted<Task> {
        Retracted::ToCaller
    }
}
