//! The task that the calling thread is running, for code inside it that asks ([`Context::with`](crate::Context::with)).

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::Cancellable;
use crate::sync::thread_local;

thread_local! {
    /// Has no destructor, so that it can be used as long as the thread runs.
    static CURRENT: Cell<Option<NonNull<dyn Cancellable>>> = const { Cell::new(None) };
}

/// Makes a task the thread's current one until it is dropped, which is in the frame that made it. Then the thread has none: who runs a
/// task in the middle of another has [set that aside](SuspendedTask).
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

/// The task in the middle of which others run on the same thread until this is dropped: then it is the current one again.
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

/// Calls `f` with the task that the calling thread is running, if that has a slot.
pub(crate) fn with_current<O>(f: impl FnOnce(Option<&dyn Cancellable>) -> O) -> O {
    let task = CURRENT.with(Cell::get);
    // SAFETY: `Running` borrows the task and takes the pointer away when it is dropped; `SuspendedTask` puts one back that such a guard has
    // still to take away. The guard lives in a frame of this thread that is below this one, so neither can end before `f` has.
    f(task.map(|task| unsafe { task.as_ref() }))
}
