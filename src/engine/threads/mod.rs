//! The threads of a pool: how many there may be, and which worker may start or end.
//!
//! `registry.rs` is what the lock protects. `starting.rs` starts threads, `ending.rs` joins them. What a worker does in between is in
//! `engine/worker/`.

mod ending;
mod registry;
mod starting;

use crossbeam_utils::CachePadded;

use crate::sync::waiter_list::SharedWaiterList;
use crate::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, Ordering};
use crate::task::current_worker::PoolId;

pub(crate) use registry::{ExitReason, WorkerSlot};
use registry::{Registry, ThreadState};

/// One worker of the capacity in [`Threads::population`]: the high half of the word. The low half is the number of workers that stay.
const CAPACITY: usize = 1 << (usize::BITS / 2);

/// Figures about threads.
pub(crate) struct Census {
    pub(crate) capacity: usize,
    pub(crate) live: usize,
    pub(crate) spawned: u64,
    pub(crate) retired: u64,
}

pub(crate) struct Threads {
    pool: PoolId,
    /// Rarely written, but read with every submit and every task.
    population: CachePadded<AtomicUsize>,
    registry: Mutex<Registry>,
    changed: Condvar,
    /// Futures that wait until every thread has ended.
    futures: SharedWaiterList,
    spawn_failing: AtomicBool,
    /// A copy of [`Registry::starting`].
    starting: AtomicUsize,
    /// A copy of [`Registry::min`].
    min: AtomicUsize,
    /// A copy of the number of [`Registry::callers`].
    callers: AtomicUsize,
}

impl Threads {
    pub(crate) fn new(pool: PoolId, capacity: usize, min: usize) -> Self {
        Threads {
            pool,
            population: CachePadded::new(AtomicUsize::new(capacity * CAPACITY)),
            registry: Mutex::new(Registry::new(capacity, min)),
            changed: Condvar::new(),
            futures: SharedWaiterList::default(),
            spawn_failing: AtomicBool::new(false),
            starting: AtomicUsize::new(0),
            min: AtomicUsize::new(min),
            callers: AtomicUsize::new(0),
        }
    }

    /// Changes the registry, and updates the copies that are read without the lock.
    fn edit<O>(&self, f: impl FnOnce(&mut Registry) -> O) -> O {
        let mut registry = self.registry.lock();
        let out = f(&mut registry);
        self.starting.store(registry.starting, Ordering::Relaxed);
        self.min.store(registry.min, Ordering::Relaxed);
        self.callers.store(registry.callers.len(), Ordering::Relaxed);
        // ORDERING: Relaxed, see `population`.
        self.population.store(registry.capacity * CAPACITY + registry.staying(), Ordering::Relaxed);
        out
    }

    /// The number of living workers that have not decided to end, and the capacity.
    #[inline]
    pub(crate) fn population(&self) -> (usize, usize) {
        // ORDERING: Relaxed. It is a hint to check the registry under the lock. Where a worker that ends must not miss a push, the
        // engine fences.
        let word = self.population.load(Ordering::Relaxed);
        (word % CAPACITY, word / CAPACITY)
    }

    /// Whether there is a worker that has its thread and stays. Only [`has_worker_now`](Self::has_worker_now) is certain.
    #[inline]
    pub(crate) fn has_worker(&self) -> bool {
        let (staying, _) = self.population();
        // ORDERING: Relaxed. Both words change in one step under the lock. A thread that reads them in between and finds no worker checks
        // again under the lock. One that finds a worker too many relies on a thread that may be refused; then the thread that fails
        // to start it runs the queued tasks.
        staying > self.starting.load(Ordering::Relaxed)
    }

    /// The same, under the lock.
    pub(crate) fn has_worker_now(&self) -> bool {
        let registry = self.registry.lock();
        registry.staying() > registry.starting
    }

    pub(crate) fn census(&self) -> Census {
        let registry = self.registry.lock();
        Census {
            capacity: registry.capacity,
            live: registry.live,
            spawned: registry.spawned,
            retired: registry.retired,
        }
    }

    /// Whether no thread is left, not even one that starts or ends.
    pub(crate) fn is_empty(&self) -> bool {
        self.registry.lock().threads.is_empty()
    }

    pub(crate) fn min(&self) -> usize {
        self.registry.lock().min
    }

    /// Whether a worker may expire. It is a hint; [`try_exit`](Self::try_exit) decides.
    pub(crate) fn is_above_minimum(&self) -> bool {
        // ORDERING: Relaxed. A sleeping worker that must not miss it has a fence of its own (parking.md, **surplus**).
        self.population().0 > self.min.load(Ordering::Relaxed)
    }

    /// How many workers of the minimum are missing.
    pub(crate) fn missing(&self) -> usize {
        let registry = self.registry.lock();
        registry.min.saturating_sub(registry.staying())
    }

    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.edit(|registry| {
            registry.capacity = capacity;
            registry.min = registry.min.min(capacity);
        });
    }

    /// Ends idle workers after the capacity has shrunk. `dismiss` ends at most the given number of them, and returns how many it did.
    pub(crate) fn dismiss_surplus(&self, dismiss: impl FnOnce(usize) -> usize) {
        self.edit(|registry| registry.exiting += dismiss(registry.staying().saturating_sub(registry.capacity)));
    }

    /// Reserves a number for a new worker, if the capacity allows one more. Calls `is_wanted` under the lock. So no worker is added after
    /// a thread has found the registry empty and knows that no worker is wanted any more.
    pub(crate) fn reserve(&self, is_wanted: impl FnOnce() -> bool) -> Option<WorkerSlot> {
        self.edit(|registry| {
            if !registry.has_room() || !is_wanted() {
                return None;
            }
            Some(registry.add())
        })
    }

    /// Whether the last attempt to start a worker failed, so that the full capacity cannot be relied on.
    pub(crate) fn is_spawn_failing(&self) -> bool {
        self.spawn_failing.load(Ordering::Relaxed)
    }

    pub(crate) fn set_spawn_failing(&self, spawn_failing: bool) {
        // ORDERING: Relaxed. Waiting threads read it again after they are woken through a lock.
        self.spawn_failing.store(spawn_failing, Ordering::Relaxed);
    }

    /// Whether a worker that wants to end may. If so, it must.
    pub(crate) fn try_exit(&self, why: ExitReason) -> bool {
        self.edit(|registry| {
            let staying = registry.staying();
            let may = match why {
                ExitReason::Expired => staying > registry.min,
                ExitReason::Surplus => staying > registry.capacity,
                ExitReason::Failed | ExitReason::Relieved => staying > 1,
                ExitReason::Done | ExitReason::Closed => true,
            };
            registry.exiting += usize::from(may);
            may
        })
    }

    /// Gives up on a worker that runs a task. Returns whether it could: the worker of a thread that the pool did not start is not given up.
    pub(crate) fn give_up(&self, worker: usize) -> bool {
        let is_given_up = self.edit(|registry| registry.give_up(worker));
        self.changed.notify_all();
        is_given_up
    }

    /// How many workers were given up and have not exited.
    pub(crate) fn given_up(&self) -> usize {
        self.registry.lock().given_up.len()
    }

    /// Adds the calling thread as one that runs a task of its own submission, until [`exited`](Self::exited) and
    /// [`thread_ended`](Self::thread_ended).
    pub(crate) fn add_caller(&self) -> WorkerSlot {
        self.edit(Registry::add_caller)
    }

    /// How many submitters run their own tasks.
    pub(crate) fn callers(&self) -> usize {
        // ORDERING: Relaxed. It changes under the lock of the registry, and who must not miss a change is notified after it.
        self.callers.load(Ordering::Relaxed)
    }

    /// Records that a worker which was allowed to end has ended. Another worker may get its number. Its thread still runs.
    pub(crate) fn exited(&self, worker_slot: WorkerSlot) {
        self.edit(|registry| registry.retire(worker_slot));
    }
}
