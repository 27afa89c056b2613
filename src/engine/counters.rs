//! What the pool counts. Each worker writes its own cache line, and readers add them up.

use crossbeam_utils::CachePadded;

use crate::engine::stats::Refusals;
use crate::error::SubmitErrorKind;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};

/// The figures of one worker number; a later worker of the same number carries on.
#[derive(Default)]
pub(crate) struct Tally {
    completed: AtomicU64,
    panicked: AtomicU64,
    cancelled: AtomicU64,
    /// Set while a task's answer is on its way to whoever waits for it.
    answering: AtomicBool,
}

impl Tally {
    /// Only the worker itself writes, so a load and a store make an increment.
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

    pub(crate) fn set_answering(&self, on: bool) {
        // ORDERING: Release pairs with the Acquire in `Counters::is_answering`: who sees the end of the
        // answering sees the answer. A read-modify-write, for the fence after it.
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

/// As many as there are kinds of refusals.
const KINDS: usize = 8;
static_assertions::const_assert_eq!(SubmitErrorKind::WouldDeadlock as usize + 1, KINDS);

/// All counters of a pool that are not the queue's own.
#[derive(Default)]
pub(crate) struct Counters {
    tallies: Mutex<Vec<Arc<CachePadded<Tally>>>>,
    /// Workers that are getting ready, where that can take long.
    unready: AtomicUsize,
    /// Refused submissions, by kind.
    refused: [AtomicU64; KINDS],
    /// Tasks that `shutdown_now` gave back.
    pub(crate) returned: AtomicU64,
    /// Tasks that were cancelled outside of any worker.
    pub(crate) cancelled: AtomicU64,
    /// Tasks that a worker ran on the spot, in the middle of another, without the queue.
    pub(crate) direct: AtomicU64,
    /// Tasks that limited views have taken back unstarted. They do not count as submitted.
    pub(crate) taken_back: AtomicU64,
    /// Panics of the panic handler and of the hooks around a worker's life.
    pub(crate) handler_panics: AtomicU64,
    /// Threads that the system refused, and worker states that could not be built.
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

    pub(crate) fn ended(&self) -> Ended {
        let mut sum = Ended { cancelled: get(&self.cancelled), ..Ended::default() };
        for tally in self.tallies.lock().iter() {
            sum.completed += get(&tally.completed);
            sum.panicked += get(&tally.panicked);
            sum.cancelled += get(&tally.cancelled);
        }
        sum
    }

    /// How many workers cannot be counted on, because they are getting ready.
    pub(crate) fn unready(&self) -> usize {
        // ORDERING: Relaxed. Where it matters the engine fences on both sides.
        self.unready.load(Ordering::Relaxed)
    }

    /// The calling worker is getting ready, until [`is_ready`](Self::is_ready).
    pub(crate) fn gets_ready(&self) {
        // ORDERING: Relaxed, see `unready`.
        self.unready.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_ready(&self) {
        // ORDERING: Relaxed, see `unready`.
        self.unready.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether an answer to a finished task is still on its way. Looks at all workers: asked only by those who wait for the pool to be
    /// at rest, and for them when nothing is running.
    pub(crate) fn is_answering(&self) -> bool {
        // ORDERING: Acquire, see `Tally::set_answering`.
        self.tallies.lock().iter().any(|tally| tally.answering.load(Ordering::Acquire))
    }
}

/// Counts one; these are statistics.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
