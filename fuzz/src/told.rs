//! What an observer of the pool was told, which must agree with the pool's figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use formicary::observe::{Observer, TaskEnd, TaskInfo};
use formicary::{Stats, SubmitErrorKind};

use super::ledger::Ledger;

/// The counts of an observer, if the pool has one.
#[derive(Default)]
pub(crate) struct Told {
    is_told: AtomicBool,
    accepted: AtomicU64,
    started: AtomicU64,
    refused: AtomicU64,
    completed: AtomicU64,
    panicked: AtomicU64,
    cancelled: AtomicU64,
    returned: AtomicU64,
    taken_back: AtomicU64,
}

/// Counts for a ledger.
pub(crate) struct Counts(Arc<Ledger>);

impl Counts {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        ledger.told.is_told.store(true, SeqCst);
        Counts(Arc::clone(ledger))
    }
}

impl Observer for Counts {
    fn accepted(&self) {
        self.0.told.accepted.fetch_add(1, SeqCst);
    }

    fn started(&self, _task: &TaskInfo<'_>) {
        self.0.told.started.fetch_add(1, SeqCst);
    }

    fn ended(&self, task: &TaskInfo<'_>, end: TaskEnd) {
        let told = &self.0.told;
        let count = match end {
            TaskEnd::Completed => &told.completed,
            TaskEnd::Panicked => &told.panicked,
            TaskEnd::Cancelled => &told.cancelled,
            TaskEnd::Returned => &told.returned,
            TaskEnd::TakenBack => &told.taken_back,
            end => return self.0.complain(format!("a task ended as {end:?}")),
        };
        count.fetch_add(1, SeqCst);
        let has_run = matches!(end, TaskEnd::Completed | TaskEnd::Panicked);
        if (task.run_time.is_some(), task.worker.is_some()) != (has_run, has_run) {
            self.0.complain(format!("{task:?} of a task that ended as {end:?}"));
        }
    }

    fn refused(&self, _kind: SubmitErrorKind) {
        self.0.told.refused.fetch_add(1, SeqCst);
    }
}

impl Told {
    /// On a quiet pool.
    pub(crate) fn check(&self, stats: &Stats) {
        if !self.is_told.load(SeqCst) {
            return;
        }
        let get = |count: &AtomicU64| count.load(SeqCst);
        let ends = [&self.completed, &self.panicked, &self.cancelled, &self.returned].map(get);
        assert_eq!(ends, [stats.completed, stats.panicked, stats.cancelled, stats.returned], "ends: {stats:?}");
        let (accepted, taken_back) = (get(&self.accepted), get(&self.taken_back));
        assert_eq!(accepted, stats.submitted + taken_back, "accepted, {taken_back} were taken back: {stats:?}");
        assert_eq!(get(&self.started), ends[0] + ends[1], "started: {stats:?}");
        assert_eq!(get(&self.refused), stats.rejected, "refused: {stats:?}");
    }
}
