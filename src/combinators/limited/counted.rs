//! What counts a view's tasks.

use super::stats::LimitedStats;
use super::view::View;
use crate::error::{Cause, SubmitErrorKind};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::closure::{Body, Task};
use crate::task::state::{Completion, Retracted, RunOutcome};

/// What counts a task: dropped unstarted, it was cancelled; started and not ended, it panicked.
pub(super) struct Entry {
    counts: Arc<dyn Counts>,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Queued,
    Running,
    /// It was counted, or is not to be.
    Over,
}

trait Counts: Send + Sync {
    fn count(&self, change: &mut dyn FnMut(&mut LimitedStats));
}

impl<D: Dispatch> Counts for View<D> {
    fn count(&self, change: &mut dyn FnMut(&mut LimitedStats)) {
        View::count(self, change);
    }
}

impl Entry {
    pub(super) fn new<D: Dispatch>(view: &Arc<View<D>>) -> Self {
        Entry { counts: Arc::clone(view) as _, fate: Fate::Queued }
    }

    fn start(&mut self) {
        self.fate = Fate::Running;
        self.counts.count(&mut |figures| figures.queued -= 1);
    }

    fn complete(mut self) {
        self.fate = Fate::Over;
        self.counts.count(&mut |figures| figures.completed += 1);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        match self.fate {
            Fate::Over => {}
            Fate::Queued => self.counts.count(&mut |figures| {
                figures.queued -= 1;
                figures.cancelled += 1;
            }),
            Fate::Running => self.counts.count(&mut |figures| figures.panicked += 1),
        }
    }
}

/// A closure that is counted.
pub(super) struct Counted<F> {
    // In this order: what it captured is dropped before it counts as ended.
    f: F,
    entry: Entry,
}

impl<F> Counted<F> {
    pub(super) fn new(f: F, entry: Entry) -> Self {
        Counted { f, entry }
    }

    pub(super) fn run<T>(self) -> T
    where
        F: FnOnce() -> T,
    {
        let Counted { f, mut entry } = self;
        entry.start();
        let output = f();
        entry.complete();
        output
    }

    /// It runs without having been let in.
    pub(super) fn accepted(&self) {
        self.entry.counts.count(&mut |figures| {
            figures.submitted += 1;
            figures.queued += 1;
        });
    }

    /// It was not let in, and so was never counted.
    pub(super) fn refused(mut self) -> F {
        self.entry.fate = Fate::Over;
        self.f
    }

    /// It was let in, and has come back to its caller: it will never run, and counts as cancelled.
    pub(super) fn returned(self) -> F {
        self.f
    }
}

impl<F: FnOnce() + Send + 'static> Body for Counted<F> {
    fn call(self, _reply: &mut Completion) -> RunOutcome {
        self.run();
        RunOutcome::Ran
    }

    fn retract(self, _kind: SubmitErrorKind, _cause: Cause) -> Retracted<Task> {
        Retracted::Here(Task::from_body(self))
    }
}
