//! A closure on the stack of a thread that waits until it has run: one half of a fork.
//!
//! The owner pushes a [`JobRef`] to its deque. Then either the owner takes it back and calls the closure itself, or another worker steals
//! it, and the owner waits for the answer in its [`Oneshot`].

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use super::job_ref::{Header, JobRef, VTable};
use super::stack_oneshot::{ErasedSender, Oneshot, ReplySender};
use super::task_ref::Completion;
use super::wait::Outcome;
use crate::error::{JoinError, Payload};
use crate::queue::deques::Victim;
use crate::sync::waiter::Waiter;
use crate::sync::{IS_CHECKED, UnsafeCell, current};

/// A closure, and the place for its result.
#[repr(C)] // the header first: a `JobRef` points to it
pub(crate) struct StackJob<F, R> {
    header: Header,
    /// Moved out by the thread that runs it. It is not dropped with the job.
    f: UnsafeCell<ManuallyDrop<F>>,
    oneshot: Oneshot<(), R>,
}

impl<F: FnOnce() -> R + Send, R: Send> StackJob<F, R> {
    const VTABLE: &'static VTable = &VTable { run: Self::run, abandon: Self::abandon };

    pub(crate) fn new(f: F) -> Self {
        StackJob {
            header: Header::new(Self::VTABLE, true),
            f: UnsafeCell::new(ManuallyDrop::new(f)),
            oneshot: Oneshot::new(),
        }
    }

    /// A reference for the deque.
    ///
    /// # Safety
    /// The job stays in place until the reference was taken back from the deque, or until [`is_complete`](Self::is_complete).
    pub(crate) unsafe fn job_ref(&self) -> JobRef {
        JobRef::new(NonNull::from(self).cast())
    }

    /// Takes the closure.
    ///
    /// # Safety
    /// The caller is the owner, and has either taken the reference back, or found the job complete without an [`answer`](Self::answer). It
    /// calls this once.
    pub(crate) unsafe fn take(&self) -> F {
        self.f.with_mut(|f| {
            // SAFETY: as the caller promises, no other thread accesses the job, and none has run it: the closure is there.
            unsafe { ManuallyDrop::take(&mut *f) }
        })
    }

    /// Takes the answer of the thief. `None` if it has not run the closure, which then is all that is left in the job.
    ///
    /// # Safety
    /// The caller is the owner, and has seen [`is_complete`](Self::is_complete).
    pub(crate) unsafe fn answer(&self) -> Option<Result<R, Payload>> {
        self.oneshot.drop_receiver();
        match self.oneshot.take()? {
            Outcome::Done(Ok(output)) => Some(Ok(output)),
            Outcome::Done(Err(error)) => Some(Err(error.into_panic().unwrap_or_else(|error| Box::new(error)))),
            _ => unreachable!("a job is answered with the result of its closure"),
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
        self.header.thief()
    }

    /// # Safety
    /// `header` is that of a job of this type, whose reference the caller has taken from the deque.
    unsafe fn run(header: NonNull<Header>, completion: &mut Completion) {
        let job = header.cast::<Self>().as_ptr();
        // SAFETY: the owner keeps the job in place until the sender below announces.
        let oneshot = unsafe { NonNull::from(&(*job).oneshot) };
        // SAFETY: this is the one right to answer: it came with the reference.
        completion.set_caller(ErasedSender::of(unsafe { ReplySender::from_oneshot(oneshot) }));
        // SAFETY: as above. The owner accesses the closure only if there is no answer, and from here on nothing unwinds before `put`. No
        // other thread has the right to run it, so it is there.
        let f = unsafe { (*job).f.with_mut(|f| ManuallyDrop::take(&mut *f)) };
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

#[cfg(all(test, formicary_loom))]
mod models {
    //! A job that its owner takes back, that a thief runs, or that a thief loses; and an owner that helps its thief.

    use loom::thread;

    use super::*;
    use crate::queue::deques::{Deques, Victims};
    use crate::sync::explore::explore;
    use crate::sync::{Arc, park};
    use crate::task::state::{RunOutcome, StolenJob};

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
            // SAFETY: the job is complete if it was not taken back.
            let answer = if is_own { None } else { unsafe { job.answer() } };
            // SAFETY: the job was taken back, or is complete without an answer.
            let answer = answer.unwrap_or_else(|| Ok(unsafe { job.take() }()));
            assert_eq!(answer.ok(), Some(7));
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
