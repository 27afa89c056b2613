//! The task that the calling thread is running, for code inside it that asks ([`Context::with`](crate::Context::with)).

use std::cell::Cell;
use std::ptr::NonNull;

use super::Cancellable;
use crate::sync::thread_local;

thread_local! {
    /// Has no destructor, so that it can be used as long as the thread runs.
    static CURRENT: Cell<Option<NonNull<dyn Cancellable>>> = const { Cell::new(None) };
}

/// Makes `task` the thread's current task until it is dropped, which is in the frame that made it.
pub(crate) struct Entered<'t> {
    before: Option<NonNull<dyn Cancellable>>,
    _task: std::marker::PhantomData<&'t ()>,
}

impl<'t> Entered<'t> {
    /// `None`: a task that has no slot. Used where it runs in the middle of another.
    pub(crate) fn new(task: Option<&'t (dyn Cancellable + 'static)>) -> Self {
        let before = CURRENT.with(|current| current.replace(task.map(NonNull::from)));
        Entered { before, _task: std::marker::PhantomData }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(self.before));
    }
}

/// Calls `f` with the task that the calling thread is running, if that has a slot.
pub(crate) fn with_current<O>(f: impl FnOnce(Option<&dyn Cancellable>) -> O) -> O {
    let task = CURRENT.with(Cell::get);
    // SAFETY: `Entered` borrows the task and takes the pointer away when it is dropped. It lives in a frame of this thread that is
    // below this one, so neither can end before `f` has.
    f(task.map(|task| unsafe { task.as_ref() }))
}
