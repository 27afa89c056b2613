//! A closure on the stack of a thread that waits until it has run: one half of a fork.
//!
//! The owner pushes a [`JobRef`] to its deque. Then either the owner takes it back and calls the closure itself, or another worker steals
//! it, and the owner waits for the answer in its [`Oneshot`].

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use super::stack_oneshot::{ErasedSender, Oneshot, ReplySender};
use super::task_ref::{Completion, Retracted, RunOutcome};
use super::wait::Outcome;
use crate::error::{Cause, JoinError, Payload, SubmitErrorKind};
use crate::queue::deques::Victim;
use crate::sync::waiter::Waiter;
use crate::sync::{AtomicUsize, IS_CHECKED, Ordering, UnsafeCell, current};
use crate::task::closure::{Body, Task};

/// No worker has stolen the job.
const NO_THIEF: usize = usize::MAX;

/// A closure, and the place for its result.
#[repr(C)] // the header first: a `JobRef` points to it
pub(crate) struct StackJob<F, R> {
    header: Header,
    /// Taken by the thread that runs it.
    f: UnsafeCell<Option<F>>,
    oneshot: Oneshot<(), R>,
}

pub(super) struct Header {
    run: unsafe fn(NonNull<Header>, &mut Completion),
    abandon: unsafe fn(NonNull<Header>),
    /// The worker that has stolen the job: a hint for the owner.
    thief: AtomicUsize,
}

/// Refers to a [`StackJob`] of any type. The one that leaves the deque is the right to run it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct JobRef(NonNull<Header>);

// SAFETY: the closure is `Send`, and so is its result (`StackJob::new`). The owner keeps the job in place until it is taken back or answered.
unsafe impl Send for JobRef {}

impl<F: FnOnce() -> R + Send, R: Send> StackJob<F, R> {
    pub(crate) fn new(f: F) -> Self {
        StackJob {
            header: Header { run: Self::run, abandon: Self::abandon, thief: AtomicUsize::new(NO_THIEF) },
            f: UnsafeCell::new(Some(f)),
            oneshot: Oneshot::new(),
        }
    }

    /// A reference for the deque.
    ///
    /// # Safety
    /// The job stays in place until the reference was taken back from the deque, or until [`is_complete`](Self::is_complete).
    pub(crate) unsafe fn job_ref(&self) -> JobRef {
        JobRef(NonNull::from(self).cast())
    }

    /// Takes the closure.
    ///
    /// # Safety
    /// The caller is the owner, and has taken the reference back, or has seen [`is_complete`](Self::is_complete).
    pub(crate) unsafe fn take(&self) -> Option<F> {
        self.f.with_mut(|f| {
            // SAFETY: as the caller promises, no other thread accesses the job.
            unsafe { (*f).take() }
        })
    }

    /// The answer of the thief. `None` if it has not run the closure.
    ///
    /// # Safety
    /// The caller is the owner, and has seen [`is_complete`](Self::is_complete).
    pub(crate) unsafe fn answer(&self) -> Option<Result<R, Payload>> {
        match self.oneshot.take()? {
            Outcome::Done(Ok(output)) => Some(Ok(output)),
            // The payload of the panic: nothing else is put.
            Outcome::Done(Err(error)) => error.into_panic().ok().map(Err),
            _ => None,
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.oneshot.is_complete()
    }

    /// Blocks until the answer is there. Meanwhile runs what the thief pushes to its deque, if it has one. `park` may return at any time.
    /// Only the owner may call it, once.
    pub(crate) fn wait_and_help(
        &self,
        thief: Option<&Victim<JobRef>>,
        mut run: impl FnMut(JobRef),
        mut park: impl FnMut(),
    ) {
        let has_jobs = || thief.is_some_and(|thief| !thief.is_empty());
        let mut is_receiver = false;
        while !self.is_complete() {
            if let Some(stolen) = thief.and_then(Victim::steal) {
                run(stolen);
                continue;
            }
            if !is_receiver && !IS_CHECKED && self.oneshot.spin(|| self.is_complete() || has_jobs()) {
                continue;
            }
            let this_thread = current();
            let helping = thief.map(|thief| thief.help(Waiter::Thread(this_thread.clone())));
            if !is_receiver {
                self.oneshot.set_receiver(this_thread);
                is_receiver = true;
            }
            if !self.is_complete() && !has_jobs() {
                park();
            }
            drop(helping);
        }
    }

    /// The worker that has stolen the job, if that is known already.
    pub(crate) fn thief(&self) -> Option<usize> {
        // ORDERING: Relaxed. It is a hint.
        Some(self.header.thief.load(Ordering::Relaxed)).filter(|thief| *thief != NO_THIEF)
    }

    /// # Safety
    /// `header` is that of a job of this type, whose reference the caller has taken from the deque.
    unsafe fn run(header: NonNull<Header>, completion: &mut Completion) {
        let job = header.cast::<Self>().as_ptr();
        // SAFETY: the owner keeps the job in place until the sender below announces. It accesses neither the closure nor the answer
        // before that.
        let (f, oneshot) = unsafe { ((*job).f.with_mut(|f| (*f).take()), NonNull::from(&(*job).oneshot)) };
        let Some(f) = f else { return };
        // SAFETY: this is the one right to answer: it came with the reference.
        completion.set_caller(ErasedSender::of(unsafe { ReplySender::from_oneshot(oneshot) }));
        // The panic is the owner's, which raises it again.
        let result = catch_unwind(AssertUnwindSafe(f)).map_err(JoinError::panic);
        // SAFETY: the sender is in `completion`, and does not announce before this.
        unsafe { Oneshot::put(oneshot, Outcome::Done(result)) };
    }

    /// Announces without an answer: the owner calls the closure.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn abandon(header: NonNull<Header>) {
        let job = header.cast::<Self>().as_ptr();
        // SAFETY: as in `run`.
        drop(unsafe { ReplySender::from_oneshot(NonNull::from(&(*job).oneshot)) });
    }
}

/// A job that was taken from another worker's deque, as a task.
pub struct StolenJob(JobRef);

impl StolenJob {
    /// `job` was stolen by the worker `thief`.
    pub(crate) fn new(job: JobRef, thief: usize) -> Self {
        // SAFETY: the owner keeps the job in place until it is answered, which only this value does.
        let header = unsafe { job.0.as_ref() };
        // ORDERING: Relaxed. It is a hint.
        header.thief.store(thief, Ordering::Relaxed);
        StolenJob(job)
    }

    /// Calls the closure, and sets `completion` first.
    pub(crate) fn run(self, completion: &mut Completion) -> RunOutcome {
        let JobRef(header) = self.0;
        mem::forget(self);
        // SAFETY: `self` was the right to run the job, which is in place; the function is that of its type.
        unsafe { (header.as_ref().run)(header, completion) };
        RunOutcome::Ran
    }
}

impl Drop for StolenJob {
    fn drop(&mut self) {
        let JobRef(header) = self.0;
        // SAFETY: as in `run`.
        unsafe { (header.as_ref().abandon)(header) };
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

#[cfg(all(test, formicary_loom))]
mod models {
    //! A job that its owner takes back, that a thief runs, or that a thief loses; and an owner that helps its thief.

    use loom::thread;

    use super::*;
    use crate::queue::deques::{Deques, Victims};
    use crate::sync::explore::explore;
    use crate::sync::{Arc, park};

    /// Loom finds a job that runs twice or never, an access to it after its end, and an owner that is not woken.
    fn against_a_thief(thief: fn(StolenJob)) {
        explore(3, move || {
            let deques = Deques::new();
            let local = deques.register(0);
            let job = StackJob::new(|| 7);
            // SAFETY: the job stays in place to the end of this closure, which waits for the thief.
            local.push(unsafe { job.job_ref() });
            let thief = thread::spawn(move || {
                let stolen = Victims::new(1).steal(&deques);
                stolen.map(|job| thief(StolenJob::new(job, 1))).is_some()
            });
            let is_own = local.pop().is_some();
            if !is_own {
                job.wait_and_help(None, |_| unreachable!("there is no other job"), || park(None));
            }
            // SAFETY: the job was taken back, or is complete.
            let (answer, f) = unsafe { (if is_own { None } else { job.answer() }, job.take()) };
            // It was run, or is still there.
            assert_eq!(answer.map_or_else(|| f.map(|f| f()), Result::ok), Some(7));
            assert_eq!(thief.join().unwrap(), !is_own);
        });
    }

    #[test]
    fn a_job_is_taken_back_or_answered() {
        against_a_thief(|stolen| {
            let mut completion = Completion::default();
            assert!(stolen.run(&mut completion) == RunOutcome::Ran);
            assert!(completion.send(None).is_none());
        });
    }

    #[test]
    fn a_job_that_its_thief_drops_is_the_owners() {
        against_a_thief(drop);
    }

    /// The thief's job pushes another one, and waits until it was run: only the owner can do that, which may have parked.
    #[test]
    fn an_owner_is_woken_to_help() {
        fn run(job: JobRef, thief: usize) {
            let mut completion = Completion::default();
            assert!(StolenJob::new(job, thief).run(&mut completion) == RunOutcome::Ran);
            assert!(completion.send(None).is_none());
        }
        explore(2, || {
            let deques = Deques::new();
            let local = deques.register(0);
            let theirs = deques.register(1);
            let victim = local.other(1).expect("it is registered");
            let job = StackJob::new(move || {
                let inner = StackJob::new(|| 1);
                // SAFETY: the job stays in place until it was answered.
                theirs.push(unsafe { inner.job_ref() });
                inner.wait_and_help(None, |_| unreachable!("nobody pushes to the owner"), || park(None));
                // SAFETY: the job is complete.
                unsafe { inner.answer() }.and_then(Result::ok)
            });
            // SAFETY: as above.
            local.push(unsafe { job.job_ref() });
            let others = Arc::clone(&deques);
            let thief = thread::spawn(move || {
                let stolen = others.victim(0).and_then(|owner| owner.steal());
                run(stolen.expect("the owner leaves it"), 1);
            });
            job.wait_and_help(Some(&victim), |job| run(job, 0), || park(None));
            // SAFETY: the job is complete.
            assert!(matches!(unsafe { job.answer() }, Some(Ok(Some(1)))));
            thief.join().unwrap();
        });
    }
}
