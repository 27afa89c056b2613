//! What the pool does with the entries that stand for a view's tasks: it runs them, gives them back, or drops them.

use super::view::View;
use crate::engine::Runner;
use crate::error::{Cause, SubmitErrorKind};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::deferred::DeferredTasks;
use crate::task::liveness::Liveness;
use crate::task::state::{Completion, Retracted, RunOutcome};

impl<R: Runner, D: Dispatch> DeferredTasks<R::Item, R::Returned> for View<R, D> {
    fn run(
        self: Arc<Self>,
        task: u64,
        completion: &mut Completion,
        run: &mut dyn FnMut(R::Item, &mut Completion) -> RunOutcome,
    ) -> RunOutcome {
        let mut state = self.tree.state.lock();
        let Some(task) = self.tree.end_entry(&mut state, task) else { return RunOutcome::Elsewhere };
        state.count_start(&self.chain, self.chain.len());
        drop(state);
        self.run_started(task.item, self.chain.len(), completion, run)
    }

    fn retract(self: Arc<Self>, task: u64, kind: SubmitErrorKind, cause: Cause) -> Retracted<R::Returned> {
        let mut state = self.tree.state.lock();
        // What is given back is the task, if any entry stands for it. An entry that was found dead stood for nothing then.
        let is_alive = matches!(kind, SubmitErrorKind::Closed | SubmitErrorKind::Dropped);
        let ended = if is_alive { state.end_entry(task) } else { state.drop_entry(task) };
        drop(state);
        match ended {
            Ok(task) => {
                let _permits = ReleasesPermits(&self);
                task.retract(kind, cause)
            }
            Err(was_void) => {
                if was_void {
                    self.tree.note_void_over();
                }
                Retracted::Gone(RunOutcome::Elsewhere)
            }
        }
    }

    fn liveness(&self, task: u64) -> Liveness {
        let state = self.tree.state.lock();
        match state.permitted.get(task).map(|permitted| R::liveness(&permitted.task.item)) {
            // The view may take it back.
            Some(Liveness::Runs) => Liveness::RunsUnlessTaken,
            other => other.unwrap_or(Liveness::Dead),
        }
    }

    fn abandon(self: Arc<Self>, task: u64) {
        let dropped = self.tree.state.lock().drop_entry(task);
        match dropped {
            Ok(task) => {
                let _permits = ReleasesPermits(&self);
                task.discard();
            }
            // The pool has counted the end of its task.
            Err(true) => {
                self.tree.note_void_over();
                self.engine().note_direct();
            }
            Err(false) => {}
        }
    }
}

/// Releases the permits of a task that did not start.
struct ReleasesPermits<'a, R: Runner, D: Dispatch>(&'a View<R, D>);

impl<R: Runner, D: Dispatch> Drop for ReleasesPermits<'_, R, D> {
    fn drop(&mut self) {
        self.0.release_all();
    }
}
