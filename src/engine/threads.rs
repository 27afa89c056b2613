//! The book of a pool's threads: how many there may be, who has which number, who has ended.
//!
//! Spawning and the decision to end are here; what a worker does between the two is in `worker.rs`.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::task::Waker;
use std::time::Instant;

use crossbeam_utils::CachePadded;

use super::joining;
use super::thread_limit::Place;
use crate::engine::options::{Options, WorkerThread};
use crate::sync::user_code::catch_user_panic;
use crate::sync::waiter::Waiter;
use crate::sync::waiter_list::{Registration, SharedWaiterList};
use crate::sync::{AtomicBool, AtomicUsize, Builder, Condvar, JoinHandle, Mutex, Ordering};
use crate::task::current_worker::PoolId;

/// `Threads::population` holds the workers that stay in its low half and the capacity in its high half.
const CAPACITY: usize = 1 << (usize::BITS / 2);

/// A worker that has been hired.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerSlot {
    /// The worker's number, below the capacity; a later worker may have the same.
    pub(crate) number: usize,
    /// The thread's own, used once.
    serial: u64,
    /// Whether the thread is somebody else's, who does not want to stay.
    pub(crate) is_inline_worker: bool,
}

/// What is known of a thread.
enum ThreadState {
    /// It was asked for, and may yet be refused.
    Starting,
    /// It runs, and its spawner has not come back.
    Begun,
    /// The same, and he has.
    Running,
    /// It ended before the spawner came to leave its handle.
    Ended,
    /// Its worker was dropped before the spawner came back.
    Abandoned,
}

struct Registry {
    /// The threads that have not come to their end.
    threads: HashMap<u64, ThreadState>,
    /// What they are joined by. A spawn handler's thread has none, and one that is being joined already has none either.
    handles: BTreeMap<u64, JoinHandle<()>>,
    next_serial: u64,
    /// Numbers that nobody has, out of those below `numbers`.
    free: Vec<usize>,
    numbers: usize,
    capacity: usize,
    min: usize,
    live: usize,
    /// Hired workers whose thread may yet be refused.
    starting: usize,
    /// Living workers that have decided to end.
    exiting: usize,
    /// Threads that ended and are not joined yet: each one that ends joins those that ended before it.
    ended: Vec<JoinHandle<()>>,
    /// Threads being joined right now.
    joining: usize,
    spawned: u64,
    retired: u64,
}

impl Registry {
    /// Whether every thread is gone, and joined or about to be by who has asked for it.
    fn is_over(&self) -> bool {
        self.threads.is_empty() && self.joining == 0
    }

    /// The threads that have ended, to be joined by the caller.
    fn take_ended(&mut self) -> Vec<JoinHandle<()>> {
        self.joining += self.ended.len();
        std::mem::take(&mut self.ended)
    }

    /// The thread is certain, if it was not yet.
    fn begin(&mut self, serial: u64) {
        if let Some(state @ ThreadState::Starting) = self.threads.get_mut(&serial) {
            *state = ThreadState::Begun;
            self.starting -= 1;
        }
    }

    /// The handle of a thread that has not ended, to be joined by the caller.
    fn take_living(&mut self) -> Option<JoinHandle<()>> {
        self.handles.pop_first().map(|(_, handle)| handle)
    }

    /// Takes a thread out of the book, or leaves that to its spawner, with a `note`, if that has not come back yet. The
    /// thread's handle, if it is there.
    fn remove(&mut self, serial: u64, note: ThreadState) -> Option<JoinHandle<()>> {
        match self.threads.insert(serial, note) {
            Some(ThreadState::Running) => {
                self.threads.remove(&serial);
                self.handles.remove(&serial)
            }
            Some(ThreadState::Starting) => {
                self.starting -= 1;
                None
            }
            _ => None,
        }
    }
}

/// Why a worker wants to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitReason {
    /// It has been idle for the expiry time: unless that would go below the minimum.
    Expired,
    /// There may be more workers than the capacity.
    Surplus,
    /// Its state cannot be built: unless it is the last.
    Failed,
    /// It is a guest, and there is another worker.
    Relieved,
    /// It is a guest, and no task can start; or its place is needed for another.
    Done,
    /// The pool is closed and empty.
    Closed,
}

/// What the statistics say of threads.
pub(crate) struct Census {
    pub(crate) capacity: usize,
    pub(crate) live: usize,
    pub(crate) spawned: u64,
    pub(crate) retired: u64,
}

pub(crate) struct Threads {
    pool: PoolId,
    /// Rarely written, read with every submit and every task.
    population: CachePadded<AtomicUsize>,
    registry: Mutex<Registry>,
    changed: Condvar,
    /// Futures that wait until every thread is gone.
    futures: SharedWaiterList,
    spawn_failing: AtomicBool,
    /// A copy of [`Registry::starting`].
    starting: AtomicUsize,
    /// A copy of [`Registry::min`].
    min: AtomicUsize,
}

impl Threads {
    pub(crate) fn new(pool: PoolId, capacity: usize, min: usize) -> Self {
        Threads {
            pool,
            population: CachePadded::new(AtomicUsize::new(capacity * CAPACITY)),
            registry: Mutex::new(Registry {
                threads: HashMap::new(),
                handles: BTreeMap::new(),
                next_serial: 0,
                free: Vec::new(),
                numbers: 0,
                capacity,
                min,
                live: 0,
                starting: 0,
                exiting: 0,
                ended: Vec::new(),
                joining: 0,
                spawned: 0,
                retired: 0,
            }),
            changed: Condvar::new(),
            futures: SharedWaiterList::default(),
            spawn_failing: AtomicBool::new(false),
            starting: AtomicUsize::new(0),
            min: AtomicUsize::new(min),
        }
    }

    /// The living workers that have not decided to end, and the capacity.
    pub(crate) fn population(&self) -> (usize, usize) {
        // ORDERING: Relaxed. A hint to look into the book, which is behind a lock; where a push must not be
        // missed by a worker that ends, the engine fences.
        let word = self.population.load(Ordering::Relaxed);
        (word % CAPACITY, word / CAPACITY)
    }

    /// Whether there is a worker that has its thread and stays. Certain with [`has_worker_now`](Self::has_worker_now) only.
    pub(crate) fn has_worker(&self) -> bool {
        let (staying, _) = self.population();
        // ORDERING: Relaxed. Both change in one step under the lock; whoever sees them change in between and finds no worker
        // looks again there. Whoever finds one too many relies on a thread that may be refused: then somebody sees to its task.
        staying > self.starting.load(Ordering::Relaxed)
    }

    /// The same, under the lock.
    pub(crate) fn has_worker_now(&self) -> bool {
        let registry = self.registry.lock();
        registry.live - registry.exiting > registry.starting
    }

    fn edit<O>(&self, f: impl FnOnce(&mut Registry) -> O) -> O {
        let mut registry = self.registry.lock();
        let out = f(&mut registry);
        self.starting.store(registry.starting, Ordering::Relaxed);
        self.min.store(registry.min, Ordering::Relaxed);
        // ORDERING: Relaxed, see `population`.
        self.population.store(registry.capacity * CAPACITY + (registry.live - registry.exiting), Ordering::Relaxed);
        out
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

    /// Whether no thread is left, not even one on its way in or out.
    pub(crate) fn is_empty(&self) -> bool {
        self.registry.lock().threads.is_empty()
    }

    pub(crate) fn min(&self) -> usize {
        self.registry.lock().min
    }

    /// Whether a worker may expire. A hint, which [`try_exit`](Self::try_exit) decides.
    pub(crate) fn is_above_minimum(&self) -> bool {
        // ORDERING: Relaxed. A sleeper that must not miss it has a fence of its own (parking.md, **surplus**).
        self.population().0 > self.min.load(Ordering::Relaxed)
    }

    /// How many workers of the minimum are missing.
    pub(crate) fn missing(&self) -> usize {
        let registry = self.registry.lock();
        registry.min.saturating_sub(registry.live - registry.exiting)
    }

    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.edit(|registry| {
            registry.capacity = capacity;
            registry.min = registry.min.min(capacity);
        });
    }

    /// Picks idle workers to end after the capacity has shrunk; `dismiss` ends up to so many and says how
    /// many it did.
    pub(crate) fn dismiss_surplus(&self, dismiss: impl FnOnce(usize) -> usize) {
        self.edit(|registry| {
            let surplus = (registry.live - registry.exiting).saturating_sub(registry.capacity);
            registry.exiting += dismiss(surplus);
        });
    }

    /// Takes a number for a new worker if there may be one more. Asks under the lock whether one `is_wanted`: so none comes
    /// after somebody has found this empty, and knows that none is wanted any more.
    pub(crate) fn reserve(&self, is_wanted: impl FnOnce() -> bool) -> Option<WorkerSlot> {
        self.edit(|registry| {
            if registry.live >= registry.capacity || !is_wanted() {
                return None;
            }
            registry.live += 1;
            registry.starting += 1;
            registry.spawned += 1;
            registry.next_serial += 1;
            let serial = registry.next_serial;
            registry.threads.insert(serial, ThreadState::Starting);
            let number = registry.free.pop().unwrap_or_else(|| {
                registry.numbers += 1;
                registry.numbers - 1
            });
            Some(WorkerSlot { number, serial, is_inline_worker: false })
        })
    }

    /// Starts a hired worker's thread. If `body` is dropped without having run, whoever dropped it must `abandon` the
    /// worker, also when this is an error. The caller has to [`tell_of_the_end`](Self::tell_of_the_end) then.
    pub(crate) fn start(
        &self,
        options: &Options,
        worker_slot: WorkerSlot,
        body: Box<dyn FnOnce() + Send>,
    ) -> io::Result<()> {
        let index = worker_slot.number;
        let started = options.name_of(index).and_then(|name| {
            let thread = WorkerThread { name, index, stack_size: options.stack_size, body };
            match &options.spawn_handler {
                Some(handler) => catch_user_panic(|| handler(thread))
                    .unwrap_or_else(|| Err(io::Error::other("the spawn handler panicked")))
                    .map(|()| None),
                None => spawn(self.pool, thread).map(Some),
            }
        });
        let (handle, mut result) = match started {
            Ok(handle) => (handle, Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.edit(|registry| {
            registry.begin(worker_slot.serial);
            match registry.threads.remove(&worker_slot.serial) {
                // Not joined here: whoever starts a thread may be what the end of that one waits for.
                Some(ThreadState::Ended) => registry.ended.extend(handle),
                Some(ThreadState::Abandoned) => {
                    if result.is_ok() {
                        result = Err(io::Error::other("the spawn handler dropped the worker"));
                    }
                }
                _ => {
                    registry.threads.insert(worker_slot.serial, ThreadState::Running);
                    registry.handles.extend(handle.map(|handle| (worker_slot.serial, handle)));
                }
            }
        });
        self.changed.notify_all();
        result
    }

    /// The calling thread is the hired worker, and begins.
    pub(crate) fn begin(&self, worker_slot: WorkerSlot) {
        self.edit(|registry| registry.begin(worker_slot.serial));
    }

    /// A hired worker never began. Says whether its spawner has come back, who would hear of it otherwise; if so, the caller has to
    /// [`tell_of_the_end`](Self::tell_of_the_end).
    pub(crate) fn abandon(&self, worker_slot: WorkerSlot) -> bool {
        let is_late = self.edit(|registry| {
            let is_late = matches!(registry.threads.get(&worker_slot.serial), Some(ThreadState::Running));
            registry.remove(worker_slot.serial, ThreadState::Abandoned);
            registry.free.push(worker_slot.number);
            registry.live -= 1;
            registry.spawned -= 1;
            is_late
        });
        self.changed.notify_all();
        is_late
    }

    /// The hired worker is the calling thread, which the pool did not start.
    pub(crate) fn adopt_caller(&self, worker_slot: WorkerSlot) -> WorkerSlot {
        self.edit(|registry| {
            registry.begin(worker_slot.serial);
            registry.threads.insert(worker_slot.serial, ThreadState::Running);
        });
        WorkerSlot { is_inline_worker: true, ..worker_slot }
    }

    /// Whether the last try to start a worker failed, so that one cannot count on the full capacity.
    pub(crate) fn is_spawn_failing(&self) -> bool {
        self.spawn_failing.load(Ordering::Relaxed)
    }

    pub(crate) fn set_spawn_failing(&self, spawn_failing: bool) {
        // ORDERING: Relaxed. Read again by everyone who waits, after they have been woken through a lock.
        self.spawn_failing.store(spawn_failing, Ordering::Relaxed);
    }

    /// Whether a worker that wants to end may; from here on it must.
    pub(crate) fn try_exit(&self, why: ExitReason) -> bool {
        self.edit(|registry| {
            let staying = registry.live - registry.exiting;
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

    /// A worker that was allowed to leave has done so: its place and its number may be given to another.
    pub(crate) fn exited(&self, worker_slot: WorkerSlot) {
        self.edit(|registry| {
            registry.free.push(worker_slot.number);
            registry.live -= 1;
            registry.exiting -= 1;
            registry.retired += 1;
        });
    }

    /// The last thing that a worker does. Its thread can be joined from here on, and joins those that have ended before. What
    /// it still does is up to the destructors of its thread-locals: it joins nobody any more, for it could be itself, or one that
    /// is joining it.
    pub(crate) fn thread_ended(&self, worker_slot: WorkerSlot) {
        let to_join = self.edit(|registry| {
            // The thread of a guest may be one of them.
            let before = if worker_slot.is_inline_worker { Vec::new() } else { registry.take_ended() };
            let handle = registry.remove(worker_slot.serial, ThreadState::Ended);
            registry.ended.extend(handle);
            before
        });
        self.changed.notify_all();
        match to_join.is_empty() {
            true => self.tell_of_the_end(),
            false => to_join.into_iter().for_each(|handle| self.join(handle)),
        }
    }

    fn join(&self, handle: JoinHandle<()>) {
        // A worker's panics are caught; one that still escaped has nothing more to say here.
        drop(handle.join());
        self.registry.lock().joining -= 1;
        self.changed.notify_all();
        self.tell_of_the_end();
    }

    /// Wakes the futures that wait until every thread is gone, if that is so. To be called after a thread may have been the last,
    /// without a lock: it may run an executor's code.
    pub(crate) fn tell_of_the_end(&self) {
        let is_over = self.registry.lock().is_over();
        if is_over {
            self.futures.wake_all();
        }
    }

    /// Whether every thread is gone and joined. Joins those that have ended, and waits for no other. If one is left, the waker is
    /// woken when there may be none.
    pub(crate) fn poll_end<'t>(&'t self, registration: &mut Option<Registration<'t>>, waker: &Waker) -> bool {
        loop {
            *registration = Some(self.futures.register(Waiter::Task(waker.clone())));
            let mut registry = self.registry.lock();
            let Some(next) = registry.ended.pop() else { return registry.is_over() };
            registry.joining += 1;
            drop(registry);
            // It is not to be woken in its own poll.
            *registration = None;
            self.join(next);
        }
    }

    /// Waits until every thread is gone and joined, or until `deadline` if one is left then. Whoever has no deadline sleeps in the
    /// join itself, and so is woken once for each thread. Not for a thread that must not wait for the pool's end
    /// ([`wait_for_end`](super::joining::wait_for_end)).
    pub(crate) fn join_all(&self, deadline: Option<Instant>) {
        let mut registry = self.registry.lock();
        loop {
            let next = registry.ended.pop().or_else(|| if deadline.is_none() { registry.take_living() } else { None });
            if let Some(next) = next {
                registry.joining += 1;
                drop(registry);
                self.join(next);
                registry = self.registry.lock();
            } else if registry.is_over() {
                return;
            } else {
                // What is being joined has ended.
                let deadline = deadline.filter(|_| !registry.threads.is_empty());
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return;
                }
                crate::sync::wait(&self.changed, &mut registry, deadline);
            }
        }
    }
}

fn spawn(pool: PoolId, mut thread: WorkerThread) -> io::Result<JoinHandle<()>> {
    let place = Place::take()?;
    let mut builder = Builder::new().name(std::mem::take(&mut thread.name));
    if let Some(bytes) = thread.stack_size {
        builder = builder.stack_size(bytes);
    }
    builder.spawn(move || {
        let _place = place;
        joining::set_started_by(pool);
        thread.run();
    })
}
