//! What became of every task of a plan, and the conservation law that the pool's own counts must obey.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::ThreadId;

use formicary::{CancelToken, Stats};

use super::account::Account;
use super::gate::Gate;
use super::job::{Job, Nest, Of, What};
use super::told::Told;

/// More jobs than a plan can have.
const MOST_JOBS: usize = 4096;

/// As many as trees may have in all.
const MOST_IN_TREES: usize = 600;

/// The records of one plan. Everything that is given to a pool holds an `Arc` of it, so a sole owner knows that nothing is left.
pub(crate) struct Ledger {
    records: Vec<Record>,
    jobs: AtomicUsize,
    completed: AtomicU64,
    panicked: AtomicU64,
    /// The same of jobs that the pool may have counted, or not.
    perhaps_completed: AtomicU64,
    perhaps_panicked: AtomicU64,
    running: AtomicUsize,
    /// The most that may have been running at a time since the pool was last quiet.
    bound: AtomicUsize,
    in_trees: AtomicUsize,
    /// Whether what jobs submit may be refused for want of room.
    is_nesting_bounded: AtomicBool,
    /// Whether the states may fail.
    is_faulty: AtomicBool,
    /// Whether what waits in a view may be dropped, because the pool is being closed.
    is_closed: AtomicBool,
    complaints: Mutex<Vec<String>>,
    gate: Gate,
    pub(crate) told: Told,
    /// The plan's thread, which runs what the pool does not. It is no worker.
    planner: ThreadId,
    /// The pool, for tasks that use it.
    pub(crate) nest: OnceLock<Weak<dyn Nest>>,
}

#[derive(Default)]
struct Record {
    entry: AtomicU8,
    ran: AtomicU8,
    /// How often it came back, in a refusal or from a shutdown.
    back: AtomicU8,
    may_be_cancelled: AtomicU8,
    /// The token that cancels it.
    token: OnceLock<CancelToken>,
    /// The account of its view, if it was submitted to one.
    account: OnceLock<Arc<Account>>,
    /// The pool's figures do not count it, or it is unknown whether they do.
    is_outside: AtomicBool,
}

impl Record {
    fn may_be_cancelled(&self) -> bool {
        self.may_be_cancelled.load(SeqCst) == 1
            || self.token.get().is_some_and(CancelToken::is_cancelled)
            || self.account.get().is_some_and(|account| account.is_over())
    }
}

const ACCEPTED: u8 = 1;
const REFUSED: u8 = 2;
/// Came back from a call: it may have been in the pool meanwhile.
const UNSURE: u8 = 3;
/// An item of a map: accepted if it ran, and otherwise unknown.
const MAPPED: u8 = 4;
/// A task of a scope: it runs, on whatever thread.
const SCOPED: u8 = 5;
/// Dropped together with its unfinished submission.
const DROPPED: u8 = 6;

/// Why a job that is run only reports its number.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Back {
    Refused,
    FromPool,
    FromView,
}

thread_local! {
    /// Whether a job that is run here only reports its number, and why.
    static IDENTIFIES: Cell<Option<Back>> = const { Cell::new(None) };
    /// How many jobs this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Counts of jobs as the plan's thread knows them.
struct Sums {
    accepted: u64,
    unsure: u64,
    back: u64,
    lost: u64,
}

impl Ledger {
    pub(crate) fn new(bound: usize) -> Arc<Self> {
        Arc::new(Ledger {
            records: std::iter::repeat_with(Record::default).take(MOST_JOBS).collect(),
            jobs: AtomicUsize::new(0),
            completed: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            perhaps_completed: AtomicU64::new(0),
            perhaps_panicked: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            bound: AtomicUsize::new(bound),
            in_trees: AtomicUsize::new(0),
            is_nesting_bounded: AtomicBool::new(false),
            is_faulty: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            complaints: Mutex::default(),
            gate: Gate::default(),
            told: Told::default(),
            planner: std::thread::current().id(),
            nest: OnceLock::new(),
        })
    }

    /// A new job, with an empty record.
    pub(crate) fn job(self: &Arc<Self>, what: What) -> Job {
        self.job_of(Of::Pool, what)
    }

    /// The same for one that is not the pool's own.
    pub(crate) fn job_of(self: &Arc<Self>, of: Of, what: What) -> Job {
        let id = self.jobs.fetch_add(1, SeqCst);
        assert!(id < MOST_JOBS, "a plan is too long");
        match &of {
            Of::Pool => {}
            Of::View(account) => {
                drop(self.records[id].account.set(Arc::clone(account)));
                // A thread that closes the pool sees the job, or this thread sees the close.
                if self.is_closed.load(SeqCst) {
                    self.may_be_cancelled(id);
                }
            }
            Of::Scope(_) => self.enters(id, SCOPED),
        }
        Job::new(id, what, of, self.gate.now(), Arc::clone(self))
    }

    /// Calls `f`, which runs the jobs that came back: they only report their numbers.
    pub(crate) fn identify(back: Back, f: impl FnOnce()) {
        IDENTIFIES.set(Some(back));
        // A task whose token is cancelled drops its job without running it, and that drop may be meant to panic.
        let _dropped = catch_unwind(AssertUnwindSafe(f));
        IDENTIFIES.set(None);
    }

    /// Whether jobs on this thread only report their numbers.
    pub(crate) fn identifies() -> bool {
        IDENTIFIES.get().is_some()
    }

    /// A job starts: `false` if it has come back and must not run.
    pub(crate) fn starts(&self, id: usize, of: &Of) -> bool {
        let record = &self.records[id];
        if let Some(back) = IDENTIFIES.get() {
            record.back.fetch_add(1, SeqCst);
            record.is_outside.store(back == Back::FromView, SeqCst);
            if let (Of::View(account), Back::FromPool | Back::FromView) = (of, back) {
                account.came_back();
            }
            return false;
        }
        record.ran.fetch_add(1, SeqCst);
        // A job that runs inside another one does not count again.
        if DEPTH.replace(DEPTH.get() + 1) == 0 && !self.is_planner() {
            let running = self.running.fetch_add(1, SeqCst) + 1;
            let bound = self.bound.load(SeqCst);
            if running > bound {
                self.complain(format!("{running} jobs run where {bound} may"));
            }
        }
        true
    }

    pub(crate) fn ends(&self, id: usize, of: &Of, panics: bool) {
        if DEPTH.replace(DEPTH.get() - 1) == 1 && !self.is_planner() {
            self.running.fetch_sub(1, SeqCst);
        }
        let is_perhaps = matches!(of, Of::Scope(true));
        let is_outside = is_perhaps || self.is_planner();
        self.records[id].is_outside.store(is_outside, SeqCst);
        let count = match (is_outside, panics) {
            (false, false) => &self.completed,
            (false, true) => &self.panicked,
            (true, false) => &self.perhaps_completed,
            (true, true) => &self.perhaps_panicked,
        };
        count.fetch_add(u64::from(is_perhaps || !is_outside), SeqCst);
        if let Of::View(account) = of {
            account.ended(panics);
        }
    }

    pub(crate) fn is_planner(&self) -> bool {
        std::thread::current().id() == self.planner
    }

    pub(crate) fn accepted(&self, id: usize) {
        self.enters(id, ACCEPTED);
    }

    pub(crate) fn refused(&self, id: usize) {
        self.enters(id, REFUSED);
    }

    pub(crate) fn unsure(&self, id: usize) {
        self.enters(id, UNSURE);
    }

    /// All that is known is whether it has run.
    pub(crate) fn unsure_unless_ran(&self, id: usize) {
        self.enters(id, MAPPED);
    }

    /// It was dropped before its submission had a result.
    pub(crate) fn dropped(&self, id: usize) {
        self.enters(id, DROPPED);
    }

    fn enters(&self, id: usize, entry: u8) {
        let before = self.records[id].entry.swap(entry, SeqCst);
        assert_eq!(before, 0, "job {id} has two answers");
        match (self.records[id].account.get(), entry) {
            (Some(account), ACCEPTED) => account.accepted(),
            (Some(account), UNSURE) => account.unsure(),
            _ => {}
        }
    }

    /// The pool is about to be closed: what waits in its views may be dropped.
    pub(crate) fn closes(&self) {
        self.is_closed.store(true, SeqCst);
        let jobs = 0..self.jobs.load(SeqCst);
        jobs.filter(|id| self.records[*id].account.get().is_some()).for_each(|id| self.may_be_cancelled(id));
    }

    /// It is open again, and no thread closes it meanwhile.
    pub(crate) fn reopens(&self) {
        self.is_closed.store(false, SeqCst);
    }

    /// From now on the job may be cancelled, by a token or otherwise.
    pub(crate) fn may_be_cancelled(&self, id: usize) {
        self.records[id].may_be_cancelled.store(1, SeqCst);
    }

    pub(crate) fn has_token(&self, id: usize, token: &CancelToken) {
        drop(self.records[id].token.set(token.clone()));
    }

    pub(crate) fn ran(&self, id: usize) -> u8 {
        self.records[id].ran.load(SeqCst)
    }

    /// Whether a tree may have one more job.
    pub(crate) fn may_grow(&self) -> bool {
        self.in_trees.fetch_add(1, SeqCst) < MOST_IN_TREES
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(SeqCst)
    }

    pub(crate) fn bounds_nesting(&self) {
        self.is_nesting_bounded.store(true, SeqCst);
    }

    pub(crate) fn is_nesting_bounded(&self) -> bool {
        self.is_nesting_bounded.load(SeqCst)
    }

    pub(crate) fn has_faults(&self) {
        self.is_faulty.store(true, SeqCst);
    }

    pub(crate) fn is_faulty(&self) -> bool {
        self.is_faulty.load(SeqCst)
    }

    pub(crate) fn running(&self) -> usize {
        self.running.load(SeqCst)
    }

    /// The capacity is about to be this.
    pub(crate) fn raise_bound(&self, workers: usize) {
        self.bound.fetch_max(workers, SeqCst);
    }

    /// Nothing runs, and the capacity is this.
    pub(crate) fn set_bound(&self, workers: usize) {
        self.bound.store(workers, SeqCst);
    }

    /// Records a fault, on a thread on which a panic might be caught.
    pub(crate) fn complain(&self, complaint: String) {
        self.complaints.lock().unwrap().push(complaint);
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The conservation law, on a quiet pool without submitters. `is_faulty` pools may cancel anything.
    pub(crate) fn check(&self, stats: &Stats, returned: u64, is_faulty: bool) {
        let sums = self.sums(is_faulty);
        let context = || format!("{stats:?}");
        assert_eq!((stats.queued, stats.running, stats.waiting), (0, 0, 0), "{}", context());
        let ended = stats.completed + stats.panicked + stats.cancelled + stats.returned;
        assert_eq!(stats.submitted, ended, "the law: {}", context());
        self.told.check(stats);
        let between = |least: &AtomicU64, perhaps: &AtomicU64, count: u64| {
            let least = least.load(SeqCst);
            (least..=least + perhaps.load(SeqCst)).contains(&count)
        };
        let is_right = between(&self.completed, &self.perhaps_completed, stats.completed);
        assert!(is_right, "completed, not {}: {}", self.completed.load(SeqCst), context());
        let is_right = between(&self.panicked, &self.perhaps_panicked, stats.panicked);
        assert!(is_right, "panicked, not {}: {}", self.panicked.load(SeqCst), context());
        let within = |least: u64, count: u64| least <= count && count <= least + sums.unsure;
        assert!(within(sums.accepted, stats.submitted), "submitted, not {}: {}", sums.accepted, context());
        assert!(within(returned, stats.returned), "returned, not {returned}: {}", context());
        // A returned task whose token is cancelled does not run, and so does not report its number.
        let silent = returned.checked_sub(sums.back).filter(|silent| *silent <= sums.lost + sums.unsure);
        let silent = silent.unwrap_or_else(|| panic!("given back, not {}: {}", sums.back, context()));
        let lost = sums.lost.saturating_sub(silent);
        assert!(within(lost, stats.cancelled), "cancelled, not {lost}: {}", context());
    }

    /// The same for a pool that has no counts to show any more.
    pub(crate) fn check_records(&self, is_faulty: bool) {
        let _ = self.sums(is_faulty);
    }

    /// Whether an accepted job that nothing may cancel has not run yet.
    pub(crate) fn has_waiting(&self) -> bool {
        self.records[..self.jobs.load(SeqCst)].iter().any(|record| {
            let is_waiting =
                record.ran.load(SeqCst) + record.back.load(SeqCst) == 0 && record.entry.load(SeqCst) == ACCEPTED;
            is_waiting && !record.may_be_cancelled()
        })
    }

    fn sums(&self, is_faulty: bool) -> Sums {
        let complaints = self.complaints.lock().unwrap();
        assert!(complaints.is_empty(), "{complaints:?}");
        let mut sums = Sums { accepted: 0, unsure: 0, back: 0, lost: 0 };
        for (id, record) in self.records[..self.jobs.load(SeqCst)].iter().enumerate() {
            let (ran, back) = (record.ran.load(SeqCst), record.back.load(SeqCst));
            let is_outside = record.is_outside.load(SeqCst);
            match record.entry.load(SeqCst) {
                ACCEPTED => {
                    let may_be_cancelled = is_faulty || record.may_be_cancelled();
                    match ran + back {
                        // From a view: the pool has not seen it.
                        1 if is_outside => {}
                        1 => {
                            sums.accepted += 1;
                            sums.back += u64::from(back);
                        }
                        0 if may_be_cancelled && record.account.get().is_some() => sums.unsure += 1,
                        0 if may_be_cancelled => {
                            sums.accepted += 1;
                            sums.lost += 1;
                        }
                        _ => panic!("job {id} was accepted, ran {ran} times and came back {back} times"),
                    }
                }
                SCOPED => {
                    assert_eq!((ran, back), (1, 0), "job {id} of a scope: ran, came back");
                    sums.accepted += u64::from(!is_outside);
                    sums.unsure += u64::from(is_outside);
                }
                DROPPED => assert_eq!((ran, back), (0, 0), "job {id} was dropped: ran, came back"),
                MAPPED => {
                    assert!(ran + back <= 1, "item {id} ran {ran} times and came back {back} times");
                    sums.accepted += u64::from(ran);
                    sums.unsure += u64::from(1 - ran);
                }
                entry => {
                    sums.unsure += u64::from(entry == UNSURE);
                    assert_eq!((ran, back), (0, 1), "job {id} was refused: ran, came back");
                }
            }
        }
        sums
    }
}
