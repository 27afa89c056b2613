//! Orders: what every worker is to do once with its state, between its tasks.
//!
//! An order goes into the inbox of each worker that has a state, under one lock, so that all workers do several of them in the
//! same sequence. Whoever gave it waits until every copy is gone, done or not; so no worker's end can leave him waiting.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::{Engine, Runner};
use crate::error::JoinError;
use crate::queue::Dispatch;
use crate::sync::{Arc, AtomicU8, Backoff, Condvar, Mutex, Ordering, wait};

/// Something to be done with a state.
pub(crate) trait Order<S>: Send + Sync {
    /// Does it and keeps the answer of this worker.
    fn run(&self, worker: usize, state: &mut S);
    /// Does it on a state that was made after the order; nobody waits for the answer.
    fn repeat(&self, state: &mut S);
    /// The worker has no answer, for this reason.
    fn fail(&self, worker: usize, error: JoinError);
}

/// Who was given an order, and how many copies of it are not gone yet.
pub(crate) struct Turnout {
    workers: Vec<usize>,
    left: Mutex<usize>,
    changed: Condvar,
}

impl Turnout {
    /// The numbers of the workers that were given the order.
    pub(crate) fn workers(&self) -> &[usize] {
        &self.workers
    }

    /// Blocks until every copy is gone, or until the deadline; says whether they are.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut left = self.left.lock();
        while *left > 0 {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            wait(&self.changed, &mut left, deadline);
        }
        true
    }
}

/// Counts a copy out.
struct Bell(Arc<Turnout>);

impl Drop for Bell {
    fn drop(&mut self) {
        *self.0.left.lock() -= 1;
        self.0.changed.notify_all();
    }
}

/// One worker's copy of an order. Dropping it tells whoever gave the order, after the order itself is dropped: so nothing of
/// it is left when he goes on.
pub(crate) struct Posting<S> {
    pub(crate) order: Arc<dyn Order<S>>,
    bell: Bell,
}

/// There is an order.
const CALLED: u8 = 1;
/// The worker is somebody else's thread.
const GUEST: u8 = 2;

/// Where a worker finds its orders.
pub(crate) struct Inbox<S> {
    /// What a worker sees to between two tasks, in one byte, as it is read with every task: `CALLED`, which is written with every order,
    /// and `GUEST`, which stays.
    signals: AtomicU8,
    is_guest: bool,
    postings: Mutex<VecDeque<Posting<S>>>,
}

impl<S> Inbox<S> {
    pub(crate) fn new(is_guest: bool) -> Arc<Self> {
        let inbox = Inbox { signals: AtomicU8::new(0), is_guest, postings: Mutex::new(VecDeque::new()) };
        inbox.signal(false);
        Arc::new(inbox)
    }

    /// Notes whether there is an order. Under the lock only, so it says what is there.
    fn signal(&self, is_called: bool) {
        let signals = if is_called { CALLED } else { 0 } | if self.is_guest { GUEST } else { 0 };
        // ORDERING: Relaxed, see `is_called`.
        self.signals.store(signals, Ordering::Relaxed);
    }

    /// Whether there is an order. Costs one load.
    pub(crate) fn is_called(&self) -> bool {
        // ORDERING: Relaxed. The order itself is behind the lock; a worker that falls asleep has a fence before its last look,
        // and whoever gives an order has one in `wake_all` after this is set (parking.md, **sleep**).
        self.signals.load(Ordering::Relaxed) & CALLED != 0
    }

    /// Whether there is an order, or the worker is a guest.
    pub(crate) fn is_signalled(&self) -> bool {
        // ORDERING: Relaxed, as above.
        self.signals.load(Ordering::Relaxed) != 0
    }

    /// The next order.
    pub(crate) fn next(&self) -> Option<Posting<S>> {
        let mut postings = self.postings.lock();
        let next = postings.pop_front();
        self.signal(!postings.is_empty());
        next
    }

    /// Takes out the copy of an order that nobody waits for any more.
    fn withdraw(&self, turnout: &Arc<Turnout>) -> Option<Posting<S>> {
        let mut postings = self.postings.lock();
        // No more of them than there are threads that wait for a broadcast.
        let place = postings.iter().position(|posting| Arc::ptr_eq(&posting.bell.0, turnout))?;
        let posting = postings.remove(place);
        self.signal(!postings.is_empty());
        posting
    }

    fn put(&self, posting: Posting<S>) {
        let mut postings = self.postings.lock();
        postings.push_back(posting);
        self.signal(true);
    }
}

/// The orders of one pool.
pub(crate) struct Bulletin<S> {
    board: Mutex<Board<S>>,
}

struct Board<S> {
    /// Of the workers that have a state, by their numbers.
    inboxes: BTreeMap<usize, Arc<Inbox<S>>>,
    /// For every state that is made later, oldest first.
    remembered: Vec<(Box<str>, Arc<dyn Order<S>>)>,
}

impl<S> Board<S> {
    /// Takes out what is remembered under `key`. Looks along the keys: a broadcast goes to every worker anyway.
    fn forget(&mut self, key: &str) -> Option<Arc<dyn Order<S>>> {
        let place = self.remembered.iter().position(|(other, _)| **other == *key)?;
        Some(self.remembered.remove(place).1)
    }
}

impl<S> Bulletin<S> {
    pub(crate) fn new() -> Self {
        Bulletin { board: Mutex::new(Board { inboxes: BTreeMap::new(), remembered: Vec::new() }) }
    }

    /// Puts an order into every inbox, and with a key remembers it in place of the one before. Whoever sleeps must be woken.
    pub(crate) fn post(&self, order: Arc<dyn Order<S>>, key: Option<&str>) -> Arc<Turnout> {
        let mut board = self.board.lock();
        let workers: Vec<_> = board.inboxes.keys().copied().collect();
        let turnout = Arc::new(Turnout { left: Mutex::new(workers.len()), workers, changed: Condvar::new() });
        for inbox in board.inboxes.values() {
            inbox.put(Posting { order: Arc::clone(&order), bell: Bell(Arc::clone(&turnout)) });
        }
        let replaced = key.and_then(|key| {
            let replaced = board.forget(key);
            board.remembered.push((key.into(), Arc::clone(&order)));
            replaced
        });
        drop(board);
        // Somebody else's code, and so not under the lock.
        drop((order, replaced));
        turnout
    }

    /// Takes the copies out of the inboxes whose workers have not come to them; with the workers' numbers.
    fn withdraw(&self, turnout: &Arc<Turnout>) -> Vec<(usize, Posting<S>)> {
        let board = self.board.lock();
        board.inboxes.iter().filter_map(|(worker, inbox)| Some((*worker, inbox.withdraw(turnout)?))).collect()
    }

    /// How many workers are given orders.
    fn len(&self) -> usize {
        self.board.lock().inboxes.len()
    }

    /// Forgets what was remembered under `key`; says whether there was anything.
    pub(crate) fn forget(&self, key: &str) -> bool {
        let forgotten = self.board.lock().forget(key);
        // Dropped here, not under the lock.
        forgotten.is_some()
    }

    /// Worker `worker` has a state: it is given what is remembered, and gets all orders from now on.
    pub(crate) fn enlist(&self, worker: usize, inbox: &Arc<Inbox<S>>) -> Vec<Arc<dyn Order<S>>> {
        let mut board = self.board.lock();
        board.inboxes.insert(worker, Arc::clone(inbox));
        board.remembered.iter().map(|(_, order)| Arc::clone(order)).collect()
    }

    /// The worker is about to end its state: no more orders for it, unless it has one.
    pub(crate) fn retire(&self, worker: usize, inbox: &Inbox<S>) -> bool {
        let mut board = self.board.lock();
        let may = !inbox.is_called();
        if may {
            board.inboxes.remove(&worker);
        }
        may
    }

    /// The worker has lost its state: no more orders for it. What is in its inbox stays there.
    pub(crate) fn strike_out(&self, worker: usize) {
        self.board.lock().inboxes.remove(&worker);
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Gives an order to every worker that has a state, and with a key to every state that is made later.
    pub(crate) fn post(&self, order: Arc<dyn Order<R::State>>, key: Option<&str>) -> Arc<Turnout> {
        let turnout = self.bulletin.post(order, key);
        self.parking.wake_all();
        turnout
    }

    /// Waits until the threads that were started have begun, so that an order reaches all of them; until the deadline at most. Only
    /// where nobody else's code can keep a thread from beginning: elsewhere the minimum has begun when the pool is built.
    pub(crate) fn await_beginners(&self, deadline: Option<Instant>) {
        let is_sure = !R::HAS_FACTORY && self.options.on_thread_start.is_none() && self.options.spawn_handler.is_none();
        let backoff = Backoff::new();
        while is_sure && self.bulletin.len() < self.threads.population().0 {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return;
            }
            backoff.snooze();
        }
    }

    /// Takes an order back from the workers that have not come to it; says which these are. What is left of it is dropped.
    pub(crate) fn withdraw(&self, turnout: &Arc<Turnout>) -> Vec<usize> {
        let (workers, postings): (Vec<_>, Vec<_>) = self.bulletin.withdraw(turnout).into_iter().unzip();
        self.guard(|| drop(postings));
        workers
    }

    pub(crate) fn forget(&self, key: &str) -> bool {
        self.bulletin.forget(key)
    }
}
