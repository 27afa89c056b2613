//! The answer to a synchronous call, on its caller's own stack.
//!
//! A caller that cannot give up needs no slot: the input travels in the queue, and the answer has a place in the caller's frame,
//! which stays until it is there. So a call allocates nothing, and its way there and back is one line of memory each.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crossbeam_utils::CachePadded;

use super::reply_spin::spin_for_reply;
use super::task_ref::Completion;
use super::wait::Outcome;
use crate::error::{Cause, JoinError, Payload, SubmitError};
use crate::sync::abort::AbortOnUnwind;
use crate::sync::{AtomicU8, Ordering, Thread, UnsafeCell, current, park};

/// The answer is not there, and the caller looks for it.
const EMPTY: u8 = 0;
/// The answer is not there, and the caller sleeps.
const PARKED: u8 = 1;
/// The answer is there, and nobody but the caller touches the desk any more.
const COMPLETE: u8 = 2;

/// Where the answer to one call is put.
pub(crate) struct StackOneshot<I, O>(CachePadded<Inner<I, O>>);

struct Inner<I, O> {
    state: AtomicU8,
    /// Written by the caller before it sleeps, and taken by whoever finds it asleep.
    receiver: UnsafeCell<Option<Thread>>,
    /// Written by whoever answers, and read by the caller when it is `COMPLETE`.
    answer: UnsafeCell<Option<Outcome<I, O>>>,
}

impl<I, O> StackOneshot<I, O> {
    /// Calls `submit` with the right to answer, once, and returns its refusal, or else the answer, which it waits for.
    pub(crate) fn call<E>(submit: impl FnOnce(ReplySender<I, O>) -> Result<(), E>) -> Result<Outcome<I, O>, E> {
        let oneshot = StackOneshot(CachePadded::new(Inner {
            state: AtomicU8::new(EMPTY),
            receiver: UnsafeCell::new(None),
            answer: UnsafeCell::new(None),
        }));
        let present = WaitOnDrop(&oneshot.0);
        let submitted = submit(ReplySender(NonNull::from(&*oneshot.0)));
        // Also after a refusal, and if `submit` unwinds: the right was dropped then, which is an answer.
        drop(present);
        submitted.map(|()| oneshot.0.take())
    }
}

impl<I, O> Inner<I, O> {
    fn is_complete(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `announce`: the answer is there, and the answerer is gone.
        self.state.load(Ordering::Acquire) == COMPLETE
    }

    /// Waits for the answer: looks for a while, then sleeps.
    fn wait(&self) {
        if spin_for_reply(|| self.is_complete()) {
            return;
        }
        let me = current();
        self.receiver.with_mut(|receiver| {
            // SAFETY: the answerer touches it only after it has read `PARKED`, which only this function stores, below.
            unsafe { *receiver = Some(me) }
        });
        // ORDERING: Release: who finds the caller asleep sees whom to wake. It fails only if the answer is there.
        let _ = self.state.compare_exchange(EMPTY, PARKED, Ordering::Release, Ordering::Relaxed);
        while !self.is_complete() {
            park(None);
        }
    }

    /// The answer. To be asked for by the caller, and once it has waited.
    fn take(&self) -> Outcome<I, O> {
        let answer = self.answer.with_mut(|answer| {
            // SAFETY: the caller has read `COMPLETE`, after which the answerer does not touch the desk.
            unsafe { (*answer).take() }
        });
        answer.unwrap_or_else(|| Outcome::Done(Err(JoinError::new(Cause::Cancelled))))
    }
}

/// Keeps the caller's frame in place until the answer is there: it cannot be left before, by a panic either.
struct WaitOnDrop<'a, I, O>(&'a Inner<I, O>);

impl<I, O> Drop for WaitOnDrop<'_, I, O> {
    fn drop(&mut self) {
        AbortOnUnwind::run(|| self.0.wait());
    }
}

/// What one with the right to answer does to a desk. By pointer: in `announce` the desk goes while the function runs, and a
/// reference would promise that it does not.
impl<I, O> Inner<I, O> {
    /// # Safety
    /// The caller has the right to answer, and has not used it up.
    unsafe fn put(oneshot: NonNull<Self>, answer: Outcome<I, O>) {
        // SAFETY: `WaitOnDrop` keeps the desk in place until `COMPLETE` is stored, which only using up the right does. The reference
        // ends with this function, before that.
        let oneshot = unsafe { oneshot.as_ref() };
        oneshot.answer.with_mut(|place| {
            // SAFETY: there is one right to answer, and the caller does not look here before `COMPLETE` is stored.
            unsafe { *place = Some(answer) }
        });
    }

    /// Uses the right to answer up. The desk may be gone when this returns.
    ///
    /// # Safety
    /// As for `put`.
    unsafe fn announce(oneshot: NonNull<Self>) {
        let oneshot = oneshot.as_ptr();
        // SAFETY: as in `put`: the desk is in place until `COMPLETE` is stored. The reference is to the atomic alone, which may go
        // in the very step that stores this.
        let state = unsafe { &(*oneshot).state };
        // ORDERING: Release pairs with `is_complete`: the caller sees the answer, and that this thread has done with the desk.
        // Acquire on failure pairs with the Release in `wait`: this thread sees whom to wake.
        if state.compare_exchange(EMPTY, COMPLETE, Ordering::Release, Ordering::Acquire).is_err() {
            // SAFETY: the exchange failed, so nothing was stored, and the desk is in place.
            let receiver = unsafe { &(*oneshot).receiver };
            let receiver = receiver.with_mut(|receiver| {
                // SAFETY: the state is `PARKED`: the caller has written this and touches it no more before it is answered.
                unsafe { (*receiver).take() }
            });
            // ORDERING: Release, as above.
            state.store(COMPLETE, Ordering::Release);
            // From here on nothing of the desk may be touched; whom to wake is this thread's own.
            if let Some(receiver) = receiver {
                receiver.unpark();
            }
        }
    }
}

/// The right to answer a call. There is one for each, and dropping it is an answer: that the task was cancelled.
pub struct ReplySender<I, O>(NonNull<Inner<I, O>>);

// SAFETY: it points to a desk that is there until this is gone (`WaitOnDrop`), through which values of these types go to the thread
// that waits.
unsafe impl<I: Send, O: Send> Send for ReplySender<I, O> {}

impl<I, O> ReplySender<I, O> {
    /// Gives the input back.
    pub(crate) fn give_back(self, refusal: SubmitError<I>) {
        // SAFETY: `self` is the right to answer, and is used up when it is dropped, at the end.
        unsafe { Inner::put(self.0, Outcome::Returned(refusal)) };
    }
}

impl<I: Send + 'static, O: Send + 'static> ReplySender<I, O> {
    /// Runs the task and leaves its output. The right to answer goes to `completion` first.
    pub(crate) fn run(self, completion: &mut Completion, f: impl FnOnce() -> O) {
        let oneshot = self.0;
        completion.set_caller(ErasedSender::of(self));
        let output = f();
        // SAFETY: the right to answer is in `completion`, which is this function's to use until it returns.
        unsafe { Inner::put(oneshot, Outcome::Done(Ok(output))) };
    }
}

impl<I, O> Drop for ReplySender<I, O> {
    fn drop(&mut self) {
        // SAFETY: this is the right to answer, and the end of it.
        unsafe { Inner::announce(self.0) };
    }
}

/// The same, whatever the types. The answer, if one was put, is announced when it is dropped.
pub(crate) struct ErasedSender {
    oneshot: NonNull<()>,
    vtable: &'static VTable,
}

/// What can be done with a desk of forgotten types. A `&dyn` would be a reference to the desk.
struct VTable {
    fail: unsafe fn(NonNull<()>, Payload),
    announce: unsafe fn(NonNull<()>),
}

impl ErasedSender {
    fn of<I: Send + 'static, O: Send + 'static>(sender: ReplySender<I, O>) -> Self {
        let oneshot = sender.0.cast();
        std::mem::forget(sender);
        ErasedSender { oneshot, vtable: Erased::<I, O>::VTABLE }
    }

    /// The answer is that the task panicked.
    pub(crate) fn panicked(self, payload: Payload) {
        // SAFETY: `of` made pointer and table of the same types; `self` is the right to answer.
        unsafe { (self.vtable.fail)(self.oneshot, payload) };
    }
}

impl Drop for ErasedSender {
    fn drop(&mut self) {
        // SAFETY: as in `panicked`; this is the end of the right.
        unsafe { (self.vtable.announce)(self.oneshot) };
    }
}

/// The functions for a desk of these types.
struct Erased<I, O>(PhantomData<(I, O)>);

impl<I: 'static, O: 'static> Erased<I, O> {
    const VTABLE: &'static VTable = &VTable { fail: Self::fail, announce: Self::announce };

    /// # Safety
    /// `oneshot` is an `Inner<I, O>`, and the caller has the right to answer.
    unsafe fn fail(oneshot: NonNull<()>, payload: Payload) {
        // SAFETY: as the caller promises.
        unsafe { Inner::<I, O>::put(oneshot.cast(), Outcome::Done(Err(JoinError::panic(payload)))) };
    }

    /// # Safety
    /// As for `fail`.
    unsafe fn announce(oneshot: NonNull<()>) {
        // SAFETY: as the caller promises.
        unsafe { Inner::<I, O>::announce(oneshot.cast()) };
    }
}

#[cfg(all(test, formicary_loom))]
mod models {
    //! A caller that looks and then sleeps, against each way in which its call can be answered.

    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::error::SubmitErrorKind;
    use crate::sync::explore::explore;

    /// Loom finds an access to the desk after its end, a value that is read while it is written, one that is never dropped,
    /// and a caller who is not woken.
    fn answered_by(answer: fn(ReplySender<Arc<u8>, Arc<u8>>, Arc<u8>), check: fn(Outcome<Arc<u8>, Arc<u8>>)) {
        explore(3, move || {
            let mut worker = None;
            let outcome = StackOneshot::call(|sender| {
                worker = Some(thread::spawn(move || answer(sender, Arc::new(7))));
                Ok::<(), ()>(())
            });
            check(outcome.unwrap());
            worker.unwrap().join().unwrap();
        });
    }

    #[test]
    fn a_caller_gets_its_answer() {
        let run = |sender: ReplySender<_, _>, input| {
            let mut completion = Completion::default();
            sender.run(&mut completion, || input);
            assert!(completion.send(None).is_none());
        };
        answered_by(run, |outcome| assert!(matches!(outcome, Outcome::Done(Ok(output)) if *output == 7)));
    }

    #[test]
    fn a_caller_learns_of_a_panic() {
        let run = |sender: ReplySender<_, _>, input| {
            let mut completion = Completion::default();
            sender.run(&mut completion, || input);
            assert!(completion.send(Some(Box::new("panicked"))).is_none());
        };
        answered_by(run, |outcome| assert!(matches!(outcome, Outcome::Done(Err(error)) if error.is_panic())));
    }

    #[test]
    fn a_caller_gets_its_input_back() {
        let give_back = |sender: ReplySender<_, _>, input| {
            sender.give_back(SubmitError::new(SubmitErrorKind::Closed, input));
        };
        answered_by(give_back, |outcome| {
            let Outcome::Returned(refusal) = outcome else { panic!("it was given back") };
            assert!(refusal.is_closed());
            assert_eq!(*refusal.into_task(), 7);
        });
    }

    #[test]
    fn a_right_that_is_dropped_is_an_answer() {
        let lose = |sender: ReplySender<_, _>, _input| drop(sender);
        answered_by(lose, |outcome| assert!(matches!(outcome, Outcome::Done(Err(error)) if error.is_cancelled())));
    }
}
