//! What becomes of every task, told by what it captures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The tasks of one pool.
#[derive(Default)]
pub(crate) struct Ledger {
    made: AtomicU64,
    ran: AtomicU64,
    dropped: AtomicU64,
    /// Tasks beside: the pool may have run them, or whoever brought them.
    beside: AtomicU64,
}

impl Ledger {
    /// What one task captures.
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

    /// Whether a pool that says it ran so many tells the truth.
    pub(crate) fn confirms(&self, ran: u64) -> bool {
        let own = self.ran();
        (own..=own + self.beside.load(SeqCst)).contains(&ran)
    }

    /// Whether no task, and nothing that one had captured, is left anywhere.
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
