//! The places of a view, and who is in one.

use std::cell::RefCell;

use super::view::View;
use crate::dispatch::Dispatch;
use crate::engine::Prospect;
use crate::error::{Cause, SubmitErrorKind};
use crate::slot::{Permit, Recalled, Reply, Verdict};
use crate::sync::{Arc, thread_local};
use crate::task::{Body, Task};

thread_local! {
    /// The views whose places the tasks on this thread's stack have.
    static HELD: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Whether the calling thread is in a task of this view.
pub(crate) fn holds_place(view: u64) -> bool {
    HELD.try_with(|held| held.borrow().contains(&view)).unwrap_or(false)
}

/// Marks the calling thread as one in a task of the view until dropped. What that task runs in its own place is not counted
/// twice.
struct Held<'a, D: Dispatch>(&'a View<D>);

impl<'a, D: Dispatch> Held<'a, D> {
    fn by(view: &'a View<D>) -> Self {
        // Fails on a thread whose locals are gone, which can be a guest: it does without.
        let _ = HELD.try_with(|held| held.borrow_mut().push(view.id()));
        view.count(&mut |figures| {
            figures.running += 1;
            figures.peak_running = figures.peak_running.max(figures.running);
        });
        Held(view)
    }
}

impl<D: Dispatch> Drop for Held<'_, D> {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| held.borrow_mut().pop());
        self.0.count(&mut |figures| figures.running -= 1);
    }
}

/// One of the view's places; dropping it gives it to the next. Empty when it was given back without that.
pub(super) struct Place<D: Dispatch>(Option<Arc<View<D>>>);

impl<D: Dispatch> Place<D> {
    /// One that the view has counted.
    pub(super) fn of(view: &Arc<View<D>>) -> Self {
        Place(Some(Arc::clone(view)))
    }
}

impl<D: Dispatch> Drop for Place<D> {
    fn drop(&mut self) {
        if let Some(view) = self.0.take() {
            view.release_place();
        }
    }
}

/// Leaves the place with the reply of the task that has it, when dropped, also by a panic: the pool has counted the end of the task
/// when the place goes to the next one.
struct PassesOn<'a, D: Dispatch> {
    reply: &'a mut Reply,
    permit: Option<Arc<View<D>>>,
}

impl<D: Dispatch> Drop for PassesOn<'_, D> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.reply.hold(permit);
        }
    }
}

impl<D: Dispatch> Permit for View<D> {
    fn release(self: Arc<Self>) {
        self.release_place();
    }
}

/// A task with its place, as the pool has it.
pub(super) struct Placed<D: Dispatch> {
    // In this order: the place is free when the task is gone.
    task: Task,
    place: Place<D>,
}

impl<D: Dispatch> Placed<D> {
    pub(super) fn new(task: Task, place: Place<D>) -> Self {
        Placed { task, place }
    }

    /// The task without its place, which the view has to count as free.
    pub(super) fn into_task(mut self) -> Task {
        self.place.0 = None;
        self.task
    }
}

impl<D: Dispatch> Body for Placed<D> {
    fn call(self, reply: &mut Reply) -> Verdict {
        let Placed { task, mut place } = self;
        let Some(view) = place.0.take() else { return task.call(reply) };
        let permit = Arc::clone(&view);
        let passing_on = PassesOn { reply, permit: Some(permit) };
        let _held = Held::by(&view);
        task.call(passing_on.reply)
    }

    fn recall(self, kind: SubmitErrorKind, cause: Cause) -> Recalled<Task> {
        self.task.recall(kind, cause)
    }

    fn prospect(&self) -> Prospect {
        self.task.prospect()
    }
}
