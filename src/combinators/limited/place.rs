//! The places of a view, and who is in one.

use super::view::View;
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::closure::Task;
use crate::task::in_view::HoldsPlace;
use crate::task::state::{Completion, Permit, RunOutcome};

/// The calling thread is in a task of the view until this is dropped. What that task runs in its own place is not counted twice.
struct Held<'a, D: Dispatch> {
    _mark: HoldsPlace,
    _runs: Runs<'a, D>,
}

impl<'a, D: Dispatch> Held<'a, D> {
    /// Of a task that the view has counted as one that runs.
    fn by(view: &'a View<D>) -> Self {
        Held { _mark: HoldsPlace::of(view.address()), _runs: Runs(view) }
    }
}

/// Counts a running task less when it is dropped.
struct Runs<'a, D: Dispatch>(&'a View<D>);

impl<D: Dispatch> Drop for Runs<'_, D> {
    fn drop(&mut self) {
        self.0.count(&mut |figures| figures.running -= 1);
    }
}

/// One of the view's places; dropping it gives it to the next.
pub(super) struct Place<D: Dispatch>(Option<Arc<View<D>>>);

impl<D: Dispatch> Place<D> {
    /// One that the view has counted.
    pub(super) fn of(view: &Arc<View<D>>) -> Self {
        Place(Some(Arc::clone(view)))
    }

    /// Leaves it to a task that the view keeps.
    pub(super) fn leave(mut self) -> Option<Arc<View<D>>> {
        self.0.take()
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
    completion: &'a mut Completion,
    permit: Option<Arc<View<D>>>,
}

impl<D: Dispatch> Drop for PassesOn<'_, D> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.completion.hold(permit);
        }
    }
}

impl<D: Dispatch> Permit for View<D> {
    fn release(self: Arc<Self>) {
        self.release_place();
    }
}

/// Runs a task in the place that it has. The view has counted it as one that runs.
pub(super) fn run_in_place<D: Dispatch>(view: &Arc<View<D>>, task: Task, completion: &mut Completion) -> RunOutcome {
    let passing_on = PassesOn { completion, permit: Some(Arc::clone(view)) };
    let _held = Held::by(view);
    task.call(passing_on.completion)
}
