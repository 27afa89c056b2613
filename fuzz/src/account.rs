//! What became of a view's jobs, and how many of them run. The view's own figures must agree.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak};

use formicary::LimitedStats;

use super::job::Nest;
use super::ledger::Ledger;

thread_local! {
    /// The accounts of the jobs that this thread is in.
    static HELD: RefCell<Vec<*const Account>> = const { RefCell::new(Vec::new()) };
}

/// A view as its jobs know it.
pub(crate) struct Account {
    limit: usize,
    running: AtomicUsize,
    accepted: AtomicU64,
    /// Came back from a call: it may have been in the view meanwhile.
    unsure: AtomicU64,
    completed: AtomicU64,
    panicked: AtomicU64,
    /// Given back, and asked for their numbers.
    back: AtomicU64,
    /// The view was closed or dropped, and may have dropped what waited in it.
    is_over: AtomicBool,
    /// The view, for tasks of it that use it.
    pub(crate) nest: OnceLock<Weak<dyn Nest>>,
}

/// A job of a view is running, until dropped.
pub(crate) struct Held<'a>(&'a Account, bool);

impl Account {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Account {
            limit,
            running: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            unsure: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            back: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            nest: OnceLock::new(),
        })
    }

    /// A job starts. One that runs inside another one of the same view does not count again.
    pub(crate) fn hold(&self, ledger: &Ledger) -> Held<'_> {
        let is_on_top = HELD.with_borrow(|held| held.contains(&std::ptr::from_ref(self)));
        HELD.with_borrow_mut(|held| held.push(self));
        if !is_on_top {
            let running = self.running.fetch_add(1, SeqCst) + 1;
            if running > self.limit {
                ledger.complain(format!("{running} jobs of a view run where {} may", self.limit));
            }
        }
        Held(self, is_on_top)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn ended(&self, panics: bool) {
        let count = if panics { &self.panicked } else { &self.completed };
        count.fetch_add(1, SeqCst);
    }

    pub(crate) fn came_back(&self) {
        self.back.fetch_add(1, SeqCst);
    }

    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, SeqCst);
    }

    pub(crate) fn unsure(&self) {
        self.unsure.fetch_add(1, SeqCst);
    }

    /// The view is about to be closed.
    pub(crate) fn closes(&self) {
        self.is_over.store(true, SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }

    /// The conservation law for a view that is not in use.
    pub(crate) fn check(&self, figures: &LimitedStats) {
        let context = || format!("{figures:?}");
        assert_eq!((figures.queued, figures.running), (0, 0), "a view: {}", context());
        let ended = figures.completed + figures.panicked + figures.cancelled + figures.returned;
        assert_eq!(figures.submitted, ended, "the law of a view: {}", context());
        let accepted = self.accepted.load(SeqCst);
        let is_right = (accepted..=accepted + self.unsure.load(SeqCst)).contains(&figures.submitted);
        assert!(is_right, "submitted to a view, not {accepted}: {}", context());
        assert!(figures.returned >= self.back.load(SeqCst), "given back by a view: {}", context());
        assert_eq!(figures.completed, self.completed.load(SeqCst), "completed in a view: {}", context());
        assert_eq!(figures.panicked, self.panicked.load(SeqCst), "panicked in a view: {}", context());
        assert!(figures.peak_running <= self.limit, "the limit is {}: {}", self.limit, context());
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Held(account, is_on_top) = *self;
        HELD.with_borrow_mut(|held| held.pop());
        if !is_on_top {
            account.running.fetch_sub(1, SeqCst);
        }
    }
}
