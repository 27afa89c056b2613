//! What became of every task of a plan, and the law that the pool's own counts must agree with.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};

use formicary::{CancelToken, Stats};

use super::job::{Job, Nest, What};

/// More jobs than a plan can have.
const MOST_JOBS: usize = 1024;

/// The books of one plan. Whatever a pool is given holds an `Arc` of it, so that who is left alone with it knows that nothing is
/// left.
pub(crate) struct Ledger {
    fates: Vec<Fate>,
    jobs: AtomicUsize,
    completed: AtomicU64,
    panicked: AtomicU64,
    running: AtomicUsize,
    /// The most that may have been running at a time since the pool was last quiet.
    bound: AtomicUsize,
    complaints: Mutex<Vec<String>>,
    gate: Gate,
    /// The pool, for tasks that use it.
    pub(crate) nest: OnceLock<Weak<dyn Nest>>,
}

#[derive(Default)]
struct Fate {
    entry: AtomicU8,
    ran: AtomicU8,
    /// How often it came back, in a refusal or from a shutdown.
    back: AtomicU8,
    may_be_cancelled: AtomicU8,
    /// Who cancels this one.
    token: OnceLock<CancelToken>,
}

const ACCEPTED: u8 = 1;
const REFUSED: u8 = 2;
/// Came back from a call: it may have been in the pool meanwhile.
const UNSURE: u8 = 3;
/// An item of a map: accepted if it ran, and otherwise nobody can tell.
const MAPPED: u8 = 4;

thread_local! {
    /// Whether a job that is run here is only asked for its number.
    static IDENTIFIES: Cell<bool> = const { Cell::new(false) };
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
            fates: std::iter::repeat_with(Fate::default).take(MOST_JOBS).collect(),
            jobs: AtomicUsize::new(0),
            completed: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            bound: AtomicUsize::new(bound),
            complaints: Mutex::default(),
            gate: Gate::default(),
            nest: OnceLock::new(),
        })
    }

    /// A new job, which nothing has become of yet.
    pub(crate) fn job(self: &Arc<Self>, what: What) -> Job {
        let id = self.jobs.fetch_add(1, SeqCst);
        assert!(id < MOST_JOBS, "a plan is too long");
        Job::new(id, what, self.gate.now(), Arc::clone(self))
    }

    /// `f` runs jobs, which are those that came back, and does not really run them.
    pub(crate) fn identify(f: impl FnOnce()) {
        IDENTIFIES.set(true);
        f();
        IDENTIFIES.set(false);
    }

    /// Whether this thread only asks jobs for their numbers.
    pub(crate) fn identifies() -> bool {
        IDENTIFIES.get()
    }

    /// A job's turn: `false` if it has come back and is not to run.
    pub(crate) fn starts(&self, id: usize) -> bool {
        if IDENTIFIES.get() {
            self.fates[id].back.fetch_add(1, SeqCst);
            return false;
        }
        self.fates[id].ran.fetch_add(1, SeqCst);
        // A job that runs on top of another has its place.
        if DEPTH.replace(DEPTH.get() + 1) == 0 {
            let running = self.running.fetch_add(1, SeqCst) + 1;
            let bound = self.bound.load(SeqCst);
            if running > bound {
                self.complain(format!("{running} jobs run where {bound} may"));
            }
        }
        true
    }

    pub(crate) fn ends(&self, panics: bool) {
        if DEPTH.replace(DEPTH.get() - 1) == 1 {
            self.running.fetch_sub(1, SeqCst);
        }
        let count = if panics { &self.panicked } else { &self.completed };
        count.fetch_add(1, SeqCst);
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

    fn enters(&self, id: usize, entry: u8) {
        let before = self.fates[id].entry.swap(entry, SeqCst);
        assert_eq!(before, 0, "job {id} has two answers");
    }

    /// From now on the job may be cancelled, whether it is said by a token or not.
    pub(crate) fn may_be_cancelled(&self, id: usize) {
        self.fates[id].may_be_cancelled.store(1, SeqCst);
    }

    pub(crate) fn has_token(&self, id: usize, token: &CancelToken) {
        drop(self.fates[id].token.set(token.clone()));
    }

    pub(crate) fn ran(&self, id: usize) -> u8 {
        self.fates[id].ran.load(SeqCst)
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

    /// Something is wrong, and this thread is one on which a panic might be caught.
    pub(crate) fn complain(&self, complaint: String) {
        self.complaints.lock().unwrap().push(complaint);
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The law of conservation, on a quiet pool on which nobody is submitting. `is_faulty` pools may cancel anything.
    pub(crate) fn check(&self, stats: &Stats, returned: u64, is_faulty: bool) {
        let sums = self.sums(is_faulty);
        let context = || format!("{stats:?}");
        assert_eq!((stats.queued, stats.running, stats.waiting), (0, 0, 0), "{}", context());
        let ended = stats.completed + stats.panicked + stats.cancelled + stats.returned;
        assert_eq!(stats.submitted, ended, "the law: {}", context());
        assert_eq!(stats.completed, self.completed.load(SeqCst), "completed: {}", context());
        assert_eq!(stats.panicked, self.panicked.load(SeqCst), "panicked: {}", context());
        let within = |least: u64, count: u64| least <= count && count <= least + sums.unsure;
        assert!(within(sums.accepted, stats.submitted), "submitted, not {}: {}", sums.accepted, context());
        assert!(within(returned, stats.returned), "returned, not {returned}: {}", context());
        // A task that came back and whose token is cancelled does not run any more, and so does not tell its number.
        let silent = returned.checked_sub(sums.back).filter(|silent| *silent <= sums.lost + sums.unsure);
        let silent = silent.unwrap_or_else(|| panic!("given back, not {}: {}", sums.back, context()));
        let lost = sums.lost.saturating_sub(silent);
        assert!(within(lost, stats.cancelled), "cancelled, not {lost}: {}", context());
    }

    /// The same for a pool that has no counts to show any more.
    pub(crate) fn check_fates(&self, is_faulty: bool) {
        let _ = self.sums(is_faulty);
    }

    fn sums(&self, is_faulty: bool) -> Sums {
        let complaints = self.complaints.lock().unwrap();
        assert!(complaints.is_empty(), "{complaints:?}");
        let mut sums = Sums { accepted: 0, unsure: 0, back: 0, lost: 0 };
        for (id, fate) in self.fates[..self.jobs.load(SeqCst)].iter().enumerate() {
            let (ran, back) = (fate.ran.load(SeqCst), fate.back.load(SeqCst));
            match fate.entry.load(SeqCst) {
                ACCEPTED => {
                    sums.accepted += 1;
                    sums.back += u64::from(back);
                    let may_be_cancelled = is_faulty
                        || fate.may_be_cancelled.load(SeqCst) == 1
                        || fate.token.get().is_some_and(CancelToken::is_cancelled);
                    match ran + back {
                        1 => {}
                        0 if may_be_cancelled => sums.lost += 1,
                        _ => panic!("job {id} was accepted, ran {ran} times and came back {back} times"),
                    }
                }
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

/// Where jobs wait until it is opened next.
#[derive(Default)]
pub(crate) struct Gate {
    openings: Mutex<u64>,
    opened: Condvar,
}

impl Gate {
    fn now(&self) -> u64 {
        *self.openings.lock().unwrap()
    }

    /// Lets all through that were made until now.
    pub(crate) fn open(&self) {
        *self.openings.lock().unwrap() += 1;
        self.opened.notify_all();
    }

    /// Waits until it is opened after that time.
    pub(crate) fn wait(&self, since: u64) {
        let openings = self.openings.lock().unwrap();
        drop(self.opened.wait_while(openings, |openings| *openings <= since).unwrap());
    }
}
