//! The task that the calling thread runs, for code in it that asks ([`Context::with`](crate::Context::with)).

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::Cancellable;
use crate::sync::thread_local;

thread_local! {
    /// It has no destructor, so it is usable as long as the thread runs.
    static CURRENT: Cell<Option<NonNull<dyn Cancellable>>> = const { Cell::new(None) };
}

/// Makes a task the thread's current one until it is dropped, in the frame that made it. After that the thread has no current task. A
/// thread that runs one task inside another [suspends](SuspendedTask) the outer one first.
pub(crate) struct Running<'t>(PhantomData<&'t ()>);

impl<'t> Running<'t> {
    #[inline]
    pub(crate) fn new(task: &'t (dyn Cancellable + 'static)) -> Self {
        CURRENT.with(|current| current.set(Some(NonNull::from(task))));
        Running(PhantomData)
    }
}

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(None));
    }
}

/// Suspends the current task while the thread runs others inside it. Dropping it makes the task current again.
pub(crate) struct SuspendedTask(Option<NonNull<dyn Cancellable>>);

impl SuspendedTask {
    pub(crate) fn new() -> Self {
        SuspendedTask(CURRENT.with(Cell::take))
    }
}

impl Drop for SuspendedTask {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(self.0));
    }
}

/// Calls `f` with the task that the calling thread runs, if that has a [`TaskState`](super::TaskState) or a token.
pub(crate) fn with_current<O>(f: impl FnOnce(Option<&dyn Cancellable>) -> O) -> O {
    let task = CURRENT.with(Cell::get);
    // SAFETY: `Running` borrows the task and clears the pointer when it is dropped. `SuspendedTask` restores only a pointer whose
    // `Running` still exists and will clear it. That guard lives in a frame of this thread below this one, so it outlives the call of `f`.
    f(task.map(|task| unsafe { task.as_ref() }))
}
