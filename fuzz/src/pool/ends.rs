//! The end of a pool that is dropped without a shutdown: the drop may wait, or cancel, or leave the tasks to the workers.

use formicary::{OnDrop, SubmitErrorKind};

use super::super::job::What;
use super::super::ledger::Ledger;
use super::super::subjects::{MOMENT, Subject, Way};
use super::Driver;
use super::submits::SubmitMode;

/// What the pool had to do when it was dropped.
#[derive(Default)]
pub(super) struct Last {
    /// Whether what was queued has been cancelled.
    pub(super) is_cancelled: bool,
    /// Jobs that cannot have started.
    unstarted: Vec<usize>,
}

impl Last {
    /// The pauses end before the pool does.
    pub(super) fn may_start(&mut self) {
        self.unstarted.clear();
    }

    pub(super) fn check(&self, ledger: &Ledger) {
        self.unstarted.iter().for_each(|id| assert_eq!(ledger.ran(*id), 0, "job {id} of a pool that cancels"));
    }
}

impl<S: Subject> Driver<'_, S> {
    /// Gives the pool something to do that its drop must not wait for, or must cancel.
    pub(super) fn give_last(&mut self) -> Last {
        let mut last = Last::default();
        let gives_up = self.plan.which / 8 % 4 == 3;
        match self.plan.shape.on_drop() {
            OnDrop::Drain if !gives_up => {}
            OnDrop::Cancel if !gives_up => {
                last.is_cancelled = true;
                self.pauses.push(self.pool.pause());
                for _ in 0..2 {
                    let job = self.ledger.job(What::Return);
                    let id = job.id;
                    match self.pool.enter(job, Way::Try) {
                        Ok(handle) => {
                            self.ledger.accepted(id);
                            self.handles.extend(handle.map(|handle| (id, handle)));
                            last.unstarted.push(id);
                        }
                        Err(kind) => {
                            self.ledger.refused(id);
                            assert!(kind == SubmitErrorKind::Full || self.may_refuse(kind), "refused as {kind:?}");
                        }
                    }
                }
                // The thread that closes it lets them run.
                if self.holds_closers() {
                    last.unstarted.clear();
                }
            }
            _ => {
                for what in [What::Hold, What::Return, What::Panic] {
                    self.submit(&SubmitMode::Try, what);
                }
                if gives_up {
                    self.ledger.closes();
                    let _report = self.pool.shutdown_timeout(MOMENT);
                    self.pool.detach();
                }
            }
        }
        last
    }
}
