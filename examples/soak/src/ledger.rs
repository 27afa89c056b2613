//! Counts what happens to every task, by a value that the task captures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The tasks of one pool.
#[derive(Default)]
pub(crate) struct Ledger {
    made: AtomicU64,
    ran: AtomicU64,
    dropped: AtomicU64,
    /// Tasks that the pool or their submitter may have run.
    beside: AtomicU64,
}

impl Ledger {
    /// The value for one task to capture.
    pub(crate) fn receipt(self: &Arc<Self>) -> Receipt {
        self.made.fetch_add(1, SeqCst);
        Receipt(Arc::clone(self))
    }

    pub(crate) fn ran(&self) -> u64 {
        self.ran.load(SeqCst)
    }

    pub(crate) fn note_beside(&self, tasks: u64) {
        self.beside.fetch_add(tasks, SeqCst);
    }

    /// Whether a pool may report that it ran `ran` tasks.
    pub(crate) fn confirms(&self, ran: u64) -> bool {
        let own = self.ran();
        (own..=own + self.beside.load(SeqCst)).contains(&ran)
    }

    /// Whether every task and everything that it captured has been dropped.
    pub(crate) fn is_settled(&self) -> bool {
        self.dropped.load(SeqCst) == self.made.load(SeqCst)
    }
}

pub(crate) struct Receipt(Arc<Ledger>);

impl Receipt {
    /// The task runs.
    pub(crate) fn sign(&self) {
        self.0.ran.fetch_add(1, SeqCst);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, SeqCst);
    }
}
