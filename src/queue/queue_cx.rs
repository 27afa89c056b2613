//! What a worker, or a submitter that runs a task, has of its own of a pool's queue.

use std::cell::Cell;
use std::rc::Rc;

#[cfg(doc)]
use super::TaskQueue;
use super::high_water::Busy;
use super::overflow::{OverflowCx, OwnQueue};

/// A worker's own view of a [`TaskQueue`].
pub(crate) struct QueueCx<T, S> {
    pub(super) queue: S,
    pub(super) overflow: OverflowCx<T>,
    /// Whether its task came from an overflow list.
    pub(super) overflowed: Cell<bool>,
    /// The number of pops so far while overflow lists were in use, modulo `TURNS`.
    pub(super) turn: Cell<u32>,
    pub(super) busy: Busy,
    pub(super) is_woken: Cell<bool>,
}

/// See [`TaskQueue::caller_cx`].
pub(crate) struct CallerCx<T>(pub(super) OverflowCx<T>);

impl<T> CallerCx<T> {
    pub(crate) fn own_queue(&self) -> &Rc<OwnQueue<T>> {
        self.0.own()
    }
}

impl<T, S> QueueCx<T, S> {
    /// The worker's own list, for [`TaskQueue::push_nested`].
    pub(crate) fn own_queue(&self) -> &Rc<OwnQueue<T>> {
        self.overflow.own()
    }

    /// Whether the worker has moved tasks from another list to its own since the last call. They may have been missed by a worker that fell
    /// asleep meanwhile, so the caller wakes one.
    #[inline]
    pub(crate) fn take_moved(&self) -> bool {
        self.overflow.take_moved()
    }
}
