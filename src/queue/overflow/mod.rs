//! Tasks beyond the bound, submitted by the pool's own workers.

mod lanes;
mod local_queue;
mod starting;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use lanes::Lanes;
use local_queue::{LocalState, Rules};

use super::list::List;
use super::{DEFAULT_LANE, LazyItem, Load, Queue, Refused};
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, fence};

pub(crate) use local_queue::LocalQueue;

/// Lists beside the bounded queue of any kind: one for each worker that has submitted to its own pool, and a shared one for tasks that name a
/// lane, and for all of them if their number is limited.
///
/// A task of a worker's own list starts under the lock of that list alone. While the number of running tasks is limited, it starts under the
/// lock of the shared list as well, after the bounded queue has been told that one more task runs elsewhere
/// ([`Queue::set_elsewhere`]). Lock order: the shared list, the workers' lists from the oldest to the newest, the bounded queue.
pub(crate) struct Overflow<T> {
    /// Copies of values under the lock, for reads without it.
    shared_waiting: AtomicUsize,
    is_limited: AtomicBool,
    /// Incremented with each change of the workers' lists, which workers copy. 0: no list was ever used.
    version: AtomicUsize,
    shared: Mutex<Shared<T>>,
    /// The most unfinished tasks beyond the bound.
    max: usize,
}

struct Shared<T> {
    lanes: Lanes<T>,
    locals: Vec<Arc<LocalQueue<T>>>,
    /// Tasks ever accepted, but for those that `locals` count.
    accepted: u64,
    /// The most tasks that may run, from these lists and from the queue together; `None` sets no limit beyond the number of
    /// workers.
    limit: Option<usize>,
    is_closed: bool,
}

/// A worker's own list, made when it is first needed. The worker's view of the queues and its submissions share it.
pub(crate) type OwnQueue<T> = OnceCell<Arc<LocalQueue<T>>>;

/// A worker's view of the lists.
pub(super) struct OverflowCx<T> {
    own: Rc<OwnQueue<T>>,
    /// A copy of all workers' lists.
    locals: RefCell<Vec<Arc<LocalQueue<T>>>>,
    version: Cell<usize>,
    /// Where the next search for a task to steal begins.
    next: Cell<usize>,
    has_moved: Cell<bool>,
}

impl<T> OverflowCx<T> {
    pub(super) fn new(worker: usize) -> Self {
        let own = Rc::new(OwnQueue::new());
        OverflowCx {
            own,
            locals: RefCell::default(),
            version: Cell::new(0),
            next: Cell::new(worker),
            has_moved: Cell::new(false),
        }
    }

    pub(super) fn own(&self) -> &Rc<OwnQueue<T>> {
        &self.own
    }

    pub(super) fn has_own(&self) -> bool {
        self.own.get().is_some_and(|own| own.waiting() > 0)
    }

    /// Whether the worker has moved tasks to its own list since the last call.
    #[inline]
    pub(super) fn take_moved(&self) -> bool {
        self.has_moved.get() && self.has_moved.take()
    }
}

impl<T> Shared<T> {
    fn rules(&self) -> Rules {
        Rules { is_limited: self.limit.is_some(), is_closed: self.is_closed }
    }

    /// The number of tasks of these lists that run. Under a limit no task starts meanwhile.
    fn running(&self) -> usize {
        self.locals.iter().filter(|local| local.is_running()).count()
    }

    /// Locks all lists: no task of them starts, and none is submitted.
    fn lock_all(&mut self) -> AllLocked<'_, T> {
        let locals = self.locals.iter().map(|local| (&**local, local.lock())).collect();
        AllLocked { lanes: &mut self.lanes, accepted: self.accepted, locals }
    }
}

/// All lists, locked. Running tasks may end.
struct AllLocked<'a, T> {
    lanes: &'a mut Lanes<T>,
    accepted: u64,
    locals: Vec<(&'a LocalQueue<T>, MutexGuard<'a, LocalState<T>>)>,
}

impl<T> AllLocked<'_, T> {
    fn running(&self) -> usize {
        self.locals.iter().filter(|(local, _)| local.is_running()).count()
    }

    fn queued(&self) -> usize {
        self.lanes.len() + self.locals.iter().map(|(_, state)| state.list.len()).sum::<usize>()
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.lanes.iter().chain(self.locals.iter().flat_map(|(_, state)| state.list.iter()))
    }
}

impl<T> Overflow<T> {
    /// Creates lists for at most `max` unfinished tasks.
    pub(super) fn new(max: usize) -> Self {
        let shared = Shared { lanes: Lanes::new(), locals: Vec::new(), accepted: 0, limit: None, is_closed: false };
        Overflow {
            shared_waiting: AtomicUsize::new(0),
            is_limited: AtomicBool::new(false),
            version: AtomicUsize::new(0),
            shared: Mutex::new(shared),
            max,
        }
    }

    fn version(&self) -> usize {
        // ORDERING: Relaxed. A worker that must not miss a task has a sequentially consistent fence between its announcement and this
        // load; the pusher has one after the push, before which the list was registered.
        self.version.load(Ordering::Relaxed)
    }

    fn shared_waiting(&self) -> usize {
        // ORDERING: Relaxed, as for `LocalQueue::waiting`.
        self.shared_waiting.load(Ordering::Relaxed)
    }

    /// Publishes the number of tasks in the shared list. The caller holds the lock and releases it afterwards.
    fn publish(&self, shared: &Shared<T>) {
        // ORDERING: Relaxed, as for `LocalQueue::waiting`.
        self.shared_waiting.store(shared.lanes.len(), Ordering::Relaxed);
    }

    /// Whether there ever was a task in these lists: one load of a line that is hardly ever written, unless tasks name lanes.
    #[inline]
    pub(super) fn is_used(&self) -> bool {
        self.version() > 0
    }

    /// The worker's own list.
    fn own<'a>(&self, own: &'a OwnQueue<T>) -> &'a Arc<LocalQueue<T>> {
        own.get_or_init(|| self.register())
    }

    #[cold]
    fn register(&self) -> Arc<LocalQueue<T>> {
        let mut shared = self.shared.lock();
        let local = Arc::new(LocalQueue::new(self.count_version(), shared.rules()));
        shared.locals.push(Arc::clone(&local));
        local
    }

    /// Counts a change of the workers' lists, and returns the number of earlier ones. The caller holds the lock.
    fn count_version(&self) -> usize {
        // ORDERING: Relaxed. Who sees the new version takes the lock before it reads the lists.
        self.version.fetch_add(1, Ordering::Relaxed)
    }

    /// Removes the list of a worker that ends. The shared list takes its tasks.
    pub(super) fn leave(&self, cx: &OverflowCx<T>) {
        let Some(own) = cx.own.get() else { return };
        let mut shared = self.shared.lock();
        let mut state = own.lock();
        while let Some(item) = state.list.pop() {
            shared.lanes.push(DEFAULT_LANE, item);
        }
        own.publish(&state);
        self.publish(&shared);
        shared.accepted += state.accepted;
        shared.locals.retain(|local| !Arc::ptr_eq(local, own));
        self.count_version();
    }

    /// Accepts a task of the worker whose list is `own`. `None`: of another thread.
    #[inline]
    pub(super) fn push(
        &self,
        item: &mut (impl LazyItem<T> + ?Sized),
        lane: usize,
        own: Option<&OwnQueue<T>>,
    ) -> Result<(), Refused> {
        match own {
            Some(own) if lane == DEFAULT_LANE && self.max == usize::MAX => self.own(own).push(item),
            _ => self.push_shared(item, lane),
        }
    }

    /// Accepts a task even if the lists are closed or there are too many.
    pub(super) fn push_left(&self, item: T, own: &OwnQueue<T>) {
        let own = self.own(own);
        let mut state = own.lock();
        state.accepted += 1;
        state.list.push(item);
        own.publish(&state);
    }

    /// The same from a thread that is no worker.
    pub(super) fn push_left_shared(&self, item: T) {
        let mut shared = self.shared.lock();
        self.insert_shared(&mut shared, item, DEFAULT_LANE);
    }

    fn push_shared(&self, item: &mut (impl LazyItem<T> + ?Sized), lane: usize) -> Result<(), Refused> {
        let mut shared = self.shared.lock();
        if shared.is_closed {
            return Err(Refused::Closed);
        }
        if self.max < usize::MAX && shared.lanes.len() + shared.running() >= self.max {
            return Err(Refused::Full);
        }
        self.insert_shared(&mut shared, item.build(), lane);
        Ok(())
    }

    fn insert_shared(&self, shared: &mut Shared<T>, item: T, lane: usize) {
        if !self.is_used() {
            self.count_version();
        }
        shared.accepted += 1;
        shared.lanes.push(lane, item);
        self.publish(shared);
    }

    /// Takes a task to run inside another one of the worker whose list is `own`, which waits meanwhile. Does not change the count of running
    /// tasks.
    pub(super) fn pop_instead(&self, own: Option<&OwnQueue<T>>) -> Option<T> {
        let mut shared = self.shared.lock();
        if shared.limit == Some(0) {
            return None;
        }
        let own = own.and_then(OnceCell::get);
        let locals = own.into_iter().chain(&shared.locals).filter(|local| local.waiting() > 0);
        let item = locals.into_iter().find_map(|local| local.change(List::pop));
        item.or_else(|| {
            let item = shared.lanes.pop();
            self.publish(&shared);
            item
        })
    }

    /// Whether a worker's list has tasks.
    fn has_local_tasks(&self, cx: &OverflowCx<T>) -> bool {
        if self.version() != cx.version.get() {
            let shared = self.shared.lock();
            // ORDERING: Relaxed, under the lock.
            cx.version.set(self.version.load(Ordering::Relaxed));
            cx.locals.borrow_mut().clone_from(&shared.locals);
        }
        cx.locals.borrow().iter().any(|local| local.waiting() > 0)
    }

    /// See [`Queue::has_work`].
    #[inline]
    pub(super) fn has_work<Q: Queue<T>>(&self, queue: &Q, cx: &OverflowCx<T>) -> bool {
        self.is_used() && (self.shared_waiting() > 0 || self.has_local_tasks(cx)) && self.may_start(queue)
    }

    /// How many tasks wait.
    pub(super) fn waiting(&self) -> usize {
        let locals = || self.shared.lock().locals.iter().map(|local| local.waiting()).sum();
        self.shared_waiting() + if self.version() > 0 { locals() } else { 0 }
    }

    /// Whether a limit on running tasks is in force.
    pub(super) fn is_limited(&self) -> bool {
        // ORDERING: Relaxed. Threads that must not miss a change are woken after it, through a lock.
        self.is_limited.load(Ordering::Relaxed)
    }

    /// Whether the limit on running tasks allows one more.
    #[cold]
    pub(super) fn may_start<Q: Queue<T>>(&self, queue: &Q) -> bool {
        !self.is_limited() || {
            let shared = self.shared.lock();
            shared.limit.is_none_or(|limit| queue.load().running + shared.running() < limit)
        }
    }

    /// Sets the limits of all. See [`Queue::set_limits`].
    pub(super) fn set_limits<Q: Queue<T>>(&self, queue: &Q, running: Option<usize>, workers: usize) {
        let mut shared = self.shared.lock();
        shared.limit = running;
        self.change_rules(&mut shared);
        // ORDERING: Relaxed. A worker that does not see it when its task ends has ended it before the fence, see `finished`.
        self.is_limited.store(running.is_some(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        queue.set_elsewhere(shared.running());
        queue.set_limits(running, workers);
    }

    /// Makes all workers obey new rules. A start under the old ones is over when this returns.
    fn change_rules(&self, shared: &mut Shared<T>) {
        let rules = shared.rules();
        for local in &shared.locals {
            local.lock().rules = rules;
        }
    }

    pub(super) fn set_closed(&self, is_closed: bool) {
        let mut shared = self.shared.lock();
        shared.is_closed = is_closed;
        self.change_rules(&mut shared);
    }

    /// The number of tasks of these lists that ran at one moment of this call.
    pub(super) fn running(&self) -> usize {
        // None starts while they are counted. So those that are found running all ran when the last lock was taken.
        self.shared.lock().lock_all().running()
    }

    /// The load of these lists and the queue together, as it was at one moment. So a worker that moves on from one to another is not counted
    /// twice, and a task submitted from inside a task that has ended since is not missed.
    pub(super) fn load<Q: Queue<T>>(&self, queue: &Q) -> Load {
        let mut shared = self.shared.lock();
        let all = shared.lock_all();
        // If no task of the lists ends while the queue is read, they have not changed. At most as many can end as there are workers.
        let mut running = all.running();
        let load = loop {
            let load = queue.load();
            let still_running = all.running();
            if still_running == running {
                break load;
            }
            running = still_running;
        };
        Load {
            accepted: load.accepted + all.accepted + all.locals.iter().map(|(_, state)| state.accepted).sum::<u64>(),
            queued: load.queued + all.queued(),
            running: load.running + running,
        }
    }

    /// The number of unfinished tasks that are not dead. Takes time in proportion to the waiting tasks.
    pub(super) fn unfinished(&self, is_dead: impl Fn(&T) -> bool) -> usize {
        let mut shared = self.shared.lock();
        let all = shared.lock_all();
        all.iter().filter(|item| !is_dead(item)).count() + all.running()
    }

    /// See [`Queue::sweep`].
    pub(super) fn sweep_into(&self, is_dead: &mut dyn FnMut(&T) -> bool, swept: &mut Vec<T>) {
        self.change_all(|all| {
            all.lanes.sweep_into(is_dead, swept);
            all.locals.iter_mut().for_each(|(_, state)| state.list.sweep_into(is_dead, swept));
        });
    }

    pub(super) fn drain_into(&self, drained: &mut Vec<T>) {
        self.change_all(|all| {
            all.lanes.drain_into(drained);
            all.locals.iter_mut().for_each(|(_, state)| state.list.drain_into(drained));
        });
    }

    fn change_all(&self, change: impl FnOnce(&mut AllLocked<'_, T>)) {
        let mut shared = self.shared.lock();
        let mut all = shared.lock_all();
        change(&mut all);
        all.locals.iter().for_each(|(local, state)| local.publish(state));
        drop(all);
        self.publish(&shared);
    }
}
