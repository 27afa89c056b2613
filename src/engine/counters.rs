//! The counters of a pool. Each worker writes its own cache line, and readers sum them up.

use crossbeam_utils::CachePadded;

use crate::engine::options::DropReason;
use crate::engine::stats::{Drops, Refusals};
use crate::error::SubmitErrorKind;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};

/// The counters for one worker number. A later worker with the same number continues them.
#[derive(Default)]
pub(crate) struct Tally {
    completed: AtomicU64,
    panicked: AtomicU64,
    cancelled: AtomicU64,
    /// Jobs of its own deque that the worker ran inside another task.
    direct: AtomicU64,
    /// Set while the result of a task is being announced.
    answering: AtomicBool,
}

impl Tally {
    /// Increments with a load and a store, because only the worker itself writes.
    fn bump(counter: &AtomicU64) {
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn completed(&self) {
        Self::bump(&self.completed);
    }

    pub(crate) fn panicked(&self) {
        Self::bump(&self.panicked);
    }

    pub(crate) fn cancelled(&self) {
        Self::bump(&self.cancelled);
    }

    pub(crate) fn direct(&self) {
        Self::bump(&self.direct);
    }

    pub(crate) fn set_answering(&self, on: bool) {
        // ORDERING: Release pairs with the Acquire in `Counters::is_answering`: a thread that sees the end of the announcement sees its
        // effects. It is a read-modify-write for the sake of the fence after it.
        self.answering.swap(on, Ordering::Release);
    }
}

/// Sums over all workers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    pub(crate) completed: u64,
    pub(crate) panicked: u64,
    pub(crate) cancelled: u64,
}

/// The number of kinds of refusals.
const KINDS: usize = 9;
static_assertions::const_assert_eq!(SubmitErrorKind::Dropped as usize + 1, KINDS);

/// All counters of a pool that are not the queue's own.
#[derive(Default)]
pub(crate) struct Counters {
    tallies: Mutex<Vec<Arc<CachePadded<Tally>>>>,
    /// Workers in `ready`, where that may block.
    unready: AtomicUsize,
    /// Refused submissions, by kind.
    refused: [AtomicU64; KINDS],
    /// Tasks that `shutdown_now` gave back.
    pub(crate) returned: AtomicU64,
    /// Tasks that were cancelled outside of a worker.
    pub(crate) cancelled: AtomicU64,
    /// Tasks that were accepted and dropped, by reason.
    pub(crate) dropped: [AtomicU64; DropReason::COUNT],
    /// Tasks that ran without having been queued, but for those that the tallies count.
    pub(crate) direct: AtomicU64,
    /// Tasks that limited views have taken back unstarted. They do not count as submitted.
    pub(crate) taken_back: AtomicU64,
    /// Panics of the panic handler and of other hooks.
    pub(crate) handler_panics: AtomicU64,
    /// Threads that the system refused, and worker states that could not be made.
    pub(crate) failed_starts: AtomicU64,
}

impl Counters {
    /// The tally of worker `id`.
    pub(crate) fn tally(&self, id: usize) -> Arc<CachePadded<Tally>> {
        let mut tallies = self.tallies.lock();
        while tallies.len() <= id {
            tallies.push(Arc::default());
        }
        Arc::clone(&tallies[id])
    }

    #[cold]
    pub(crate) fn count_refusal(&self, kind: SubmitErrorKind) {
        count(&self.refused[kind as usize]);
    }

    pub(crate) fn refusals(&self) -> Refusals {
        let of = |kind| get(&self.refused[kind as usize]);
        Refusals {
            full: of(SubmitErrorKind::Full),
            overloaded: of(SubmitErrorKind::Overloaded),
            timed_out: of(SubmitErrorKind::TimedOut),
            cancelled: of(SubmitErrorKind::Cancelled),
            closed: of(SubmitErrorKind::Closed),
            spawn: of(SubmitErrorKind::Spawn),
            would_deadlock: of(SubmitErrorKind::WouldDeadlock),
        }
    }

    pub(crate) fn drops(&self) -> Drops {
        let of = |reason| get(&self.dropped[reason as usize]);
        Drops { oldest: of(DropReason::Oldest), newest: of(DropReason::Newest), late: of(DropReason::Late) }
    }

    pub(crate) fn ended(&self) -> Ended {
        let mut sum = Ended { cancelled: get(&self.cancelled), ..Ended::default() };
        for tally in self.tallies.lock().iter() {
            sum.completed += get(&tally.completed);
            sum.panicked += get(&tally.panicked);
            sum.cancelled += get(&tally.cancelled);
        }
        sum
    }

    /// Tasks that ran without having been queued.
    pub(crate) fn direct(&self) -> u64 {
        get(&self.direct) + self.tallies.lock().iter().map(|tally| get(&tally.direct)).sum::<u64>()
    }

    /// How many workers are unavailable, because they are in `ready`.
    pub(crate) fn unready(&self) -> usize {
        // ORDERING: Relaxed. Where the order matters, the engine fences on both sides.
        self.unready.load(Ordering::Relaxed)
    }

    /// Records that the calling worker enters `ready`, until [`is_ready`](Self::is_ready).
    pub(crate) fn gets_ready(&self) {
        // ORDERING: Relaxed, see `unready`.
        self.unready.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_ready(&self) {
        // ORDERING: Relaxed, see `unready`.
        self.unready.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the result of a finished task is still being announced. It visits all workers. It is called only for those who wait for the
    /// pool to be at rest, when no task runs.
    pub(crate) fn is_answering(&self) -> bool {
        // ORDERING: Acquire, see `Tally::set_answering`.
        self.tallies.lock().iter().any(|tally| tally.answering.load(Ordering::Acquire))
    }
}

/// Increments a counter. These are statistics.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
