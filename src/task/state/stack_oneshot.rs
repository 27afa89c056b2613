//! The answer to a synchronous call, on the caller's stack.
//!
//! A caller that cannot leave early needs no [`TaskState`](super::TaskState). The input travels in the queue, and the answer has a place
//! in the caller's frame, which stays until the answer is there. So a call allocates nothing, and each direction moves one cache line.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use crossbeam_utils::CachePadded;

use super::reply_spin::spin_for_reply;
use super::task_ref::Completion;
use super::wait::Outcome;
use crate::error::{Cause, JoinError, Payload, SubmitError};
use crate::sync::abort::AbortOnUnwind;
use crate::sync::{AtomicU8, Ordering, Thread, UnsafeCell, current, park};

/// There is no answer yet. The caller spins.
const EMPTY: u8 = 0;
/// There is no answer yet. The caller is parked.
const PARKED: u8 = 1;
/// The answer is there. From now on only the caller accesses the oneshot.
const COMPLETE: u8 = 2;

/// The place for the answer to one call.
pub(crate) struct StackOneshot<I, O>(CachePadded<Oneshot<I, O>>);

/// The same without the padding, for an owner that keeps it in place itself.
pub(super) struct Oneshot<I, O> {
    state: AtomicU8,
    /// Written by the caller before it parks, and taken by the answering thread if it finds `PARKED`.
    receiver: UnsafeCell<Option<Thread>>,
    /// Written by the answering thread, and read by the caller after `COMPLETE`.
    answer: UnsafeCell<Option<Outcome<I, O>>>,
}

impl<I, O> StackOneshot<I, O> {
    /// Calls `submit` with the sender, once. Returns its error, or else waits for the answer and returns that.
    pub(crate) fn call<E>(submit: impl FnOnce(ReplySender<I, O>) -> Result<(), E>) -> Result<Outcome<I, O>, E> {
        let oneshot = StackOneshot(CachePadded::new(Oneshot::new()));
        let wait = WaitOnDrop(&oneshot.0);
        let submitted = submit(ReplySender(NonNull::from(&*oneshot.0)));
        // This also waits after a refusal, and if `submit` unwinds: then the sender was dropped, which is an answer.
        drop(wait);
        let answer = || oneshot.0.take().unwrap_or_else(|| Outcome::Done(Err(JoinError::new(Cause::Cancelled))));
        submitted.map(|()| answer())
    }
}

impl<I, O> Oneshot<I, O> {
    pub(super) fn new() -> Self {
        Oneshot { state: AtomicU8::new(EMPTY), receiver: UnsafeCell::new(None), answer: UnsafeCell::new(None) }
    }

    pub(super) fn is_complete(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `announce`: the answer is visible, and the answering thread is done here.
        self.state.load(Ordering::Acquire) == COMPLETE
    }

    /// Waits for the answer: spins, then parks.
    fn wait(&self) {
        if self.spin(|| self.is_complete()) {
            return;
        }
        self.set_receiver(current());
        while !self.is_complete() {
            park(None);
        }
    }

    /// Spins for a moment until `is_there`. Returns whether it is.
    pub(super) fn spin(&self, is_there: impl Fn() -> bool) -> bool {
        spin_for_reply(is_there)
    }

    /// From now on the answer wakes this thread. Only the caller may call it, once.
    pub(super) fn set_receiver(&self, thread: Thread) {
        self.receiver.with_mut(|receiver| {
            // SAFETY: the answering thread accesses it only after it has read `PARKED`, which only the next step stores.
            unsafe { *receiver = Some(thread) }
        });
        // ORDERING: Release publishes `receiver` to the thread that reads `PARKED`. The exchange fails only if the answer is there.
        let _ = self.state.compare_exchange(EMPTY, PARKED, Ordering::Release, Ordering::Relaxed);
    }

    /// Drops the handle of the caller's thread. Only the caller may call it, after it has seen [`is_complete`](Self::is_complete).
    pub(super) fn drop_receiver(&self) {
        self.receiver.with_mut(|receiver| {
            // SAFETY: as in `take`.
            unsafe { *receiver = None }
        });
    }

    /// Takes the answer; `None` if the sender was dropped without one. Only the caller may call it, after it has seen
    /// [`is_complete`](Self::is_complete).
    pub(super) fn take(&self) -> Option<Outcome<I, O>> {
        self.answer.with_mut(|answer| {
            // SAFETY: the caller has read `COMPLETE`, after which the answering thread does not access the oneshot.
            unsafe { (*answer).take() }
        })
    }
}

/// Keeps the caller's frame in place until the answer is there, also when it unwinds.
struct WaitOnDrop<'a, I, O>(&'a Oneshot<I, O>);

impl<I, O> Drop for WaitOnDrop<'_, I, O> {
    fn drop(&mut self) {
        AbortOnUnwind::run(|| self.0.wait());
    }
}

/// What the answering thread does. These take a pointer: in `announce` the oneshot may be freed while the function runs, and a
/// reference would promise that it is not.
impl<I, O> Oneshot<I, O> {
    /// # Safety
    /// The caller owns the sender of this oneshot, and has not announced yet.
    pub(super) unsafe fn put(oneshot: NonNull<Self>, answer: Outcome<I, O>) {
        // SAFETY: `WaitOnDrop` keeps the oneshot in place until `COMPLETE` is stored, which only `announce` does. This reference ends
        // with this function, before that.
        let oneshot = unsafe { oneshot.as_ref() };
        oneshot.answer.with_mut(|place| {
            // SAFETY: there is one sender, and the caller does not access this before `COMPLETE` is stored.
            unsafe { *place = Some(answer) }
        });
    }

    /// Announces the answer. The oneshot may be gone when this returns.
    ///
    /// # Safety
    /// As for `put`.
    unsafe fn announce(oneshot: NonNull<Self>) {
        let oneshot = oneshot.as_ptr();
        // SAFETY: as in `put`, the oneshot is in place until `COMPLETE` is stored. This reference is to the atomic alone, which may be
        // freed by the very step that stores this.
        let state = unsafe { &(*oneshot).state };
        // ORDERING: Release pairs with `is_complete`: the caller sees the answer, and that this thread is done with the oneshot.
        // Acquire on failure pairs with the Release in `wait`: this thread sees `receiver`.
        if state.compare_exchange(EMPTY, COMPLETE, Ordering::Release, Ordering::Acquire).is_err() {
            // SAFETY: the exchange failed, so `COMPLETE` was not stored, and the oneshot is in place.
            let receiver = unsafe { &(*oneshot).receiver };
            let receiver = receiver.with_mut(|receiver| {
                // SAFETY: the state is `PARKED`: the caller has written this, and does not access it again before `COMPLETE`.
                unsafe { (*receiver).take() }
            });
            // ORDERING: Release, as above.
            state.store(COMPLETE, Ordering::Release);
            // From here on this thread must not access the oneshot. It owns `receiver`.
            if let Some(receiver) = receiver {
                receiver.unpark();
            }
        }
    }
}

/// The right to answer a call. There is one for each call. Dropping it without an answer tells the caller that the task was cancelled.
pub struct ReplySender<I, O>(NonNull<Oneshot<I, O>>);

// SAFETY: the oneshot outlives this (`WaitOnDrop`). Values of these types move through it to the waiting thread.
unsafe impl<I: Send, O: Send> Send for ReplySender<I, O> {}

impl<I, O> ReplySender<I, O> {
    /// # Safety
    /// There is no other sender of this oneshot, which stays in place until the sender announces.
    pub(super) unsafe fn from_oneshot(oneshot: NonNull<Oneshot<I, O>>) -> Self {
        ReplySender(oneshot)
    }

    /// The sender as a pointer. Its address is a multiple of 4.
    pub(crate) fn into_pointer(self) -> NonNull<()> {
        const { assert!(align_of::<Oneshot<I, O>>() >= 4) };
        ManuallyDrop::new(self).0.cast()
    }

    /// # Safety
    /// The pointer comes from [`into_pointer`](Self::into_pointer) of a sender of the same types, and becomes one again once.
    pub(crate) unsafe fn from_pointer(pointer: NonNull<()>) -> Self {
        ReplySender(pointer.cast())
    }

    /// Answers with the input.
    pub(crate) fn give_back(self, refusal: SubmitError<I>) {
        // SAFETY: `self` is the sender. It announces when it is dropped, at the end of this function.
        unsafe { Oneshot::put(self.0, Outcome::Returned(refusal)) };
    }
}

impl<I: Send + 'static, O: Send + 'static> ReplySender<I, O> {
    /// Runs the task and stores its output. `completion` becomes the owner of the sender first.
    pub(crate) fn run(self, completion: &mut Completion, f: impl FnOnce() -> O) {
        let oneshot = self.0;
        completion.set_caller(ErasedSender::of(self));
        let output = f();
        // SAFETY: the sender is in `completion`, which this function borrows exclusively.
        unsafe { Oneshot::put(oneshot, Outcome::Done(Ok(output))) };
    }
}

impl<I, O> Drop for ReplySender<I, O> {
    fn drop(&mut self) {
        // SAFETY: this is the sender, and its end.
        unsafe { Oneshot::announce(self.0) };
    }
}

/// A [`ReplySender`] without its types. Dropping it announces the answer.
pub(crate) struct ErasedSender {
    oneshot: NonNull<()>,
    vtable: &'static VTable,
}

/// The operations on a oneshot of erased types. A `&dyn` would be a reference to the oneshot.
struct VTable {
    fail: unsafe fn(NonNull<()>, Payload),
    announce: unsafe fn(NonNull<()>),
}

impl ErasedSender {
    pub(super) fn of<I: Send, O: Send>(sender: ReplySender<I, O>) -> Self {
        ErasedSender { oneshot: sender.into_pointer(), vtable: Erased::<I, O>::VTABLE }
    }

    /// Answers that the task panicked.
    pub(crate) fn panicked(self, payload: Payload) {
        // SAFETY: `of` made the pointer and the table for the same types. `self` is the sender.
        unsafe { (self.vtable.fail)(self.oneshot, payload) };
    }
}

impl Drop for ErasedSender {
    fn drop(&mut self) {
        // SAFETY: as in `panicked`. This is the end of the sender.
        unsafe { (self.vtable.announce)(self.oneshot) };
    }
}

/// The operations for these types.
struct Erased<I, O>(PhantomData<(I, O)>);

impl<I, O> Erased<I, O> {
    const VTABLE: &'static VTable = &VTable { fail: Self::fail, announce: Self::announce };

    /// # Safety
    /// `oneshot` is an `Oneshot<I, O>`, and the caller owns its sender.
    unsafe fn fail(oneshot: NonNull<()>, payload: Payload) {
        // SAFETY: as the caller promises.
        unsafe { Oneshot::<I, O>::put(oneshot.cast(), Outcome::Done(Err(JoinError::panic(payload)))) };
    }

    /// # Safety
    /// As for `fail`.
    unsafe fn announce(oneshot: NonNull<()>) {
        // SAFETY: as the caller promises.
        unsafe { Oneshot::<I, O>::announce(oneshot.cast()) };
    }
}

#[cfg(all(test, formicary_loom))]
mod models {
    //! A caller that spins and then parks, against each way to answer.

    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::error::SubmitErrorKind;
    use crate::sync::explore::explore;

    /// Loom finds an access to the oneshot after its end, a data race, a value that is never dropped, and a caller that is not woken.
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
    fn a_dropped_sender_is_an_answer() {
        let lose = |sender: ReplySender<_, _>, _input| drop(sender);
        answered_by(lose, |outcome| assert!(matches!(outcome, Outcome::Done(Err(error)) if error.is_cancelled())));
    }
}
