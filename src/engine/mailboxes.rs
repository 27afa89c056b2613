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
pub(crate) trait Broadcast<S>: Send + Sync {
    /// Does it and keeps the answer of this worker.
    fn run(&self, worker: usize, state: &mut S);
    /// Does it on a state that was made after the order; nobody waits for the answer.
    fn repeat(&self, state: &mut S);
    /// The worker has no answer, for this reason.
    fn fail(&self, worker: usize, error: JoinError);
}

/// Who was given an order, and how many copies of it are not gone yet.
pub(crate) struct CountdownLatch {
    workers: Vec<usize>,
    left: Mutex<usize>,
    changed: Condvar,
}

impl CountdownLatch {
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
struct CountDown(Arc<CountdownLatch>);

impl Drop for CountDown {
    fn drop(&mut self) {
        *self.0.left.lock() -= 1;
        self.0.changed.notify_all();
    }
}

/// One worker's copy of an order. Dropping it tells whoever gave the order, after the order itself is dropped: so nothing of
/// it is left when he goes on.
pub(crate) struct Envelope<S> {
    pub(crate) broadcast: Arc<dyn Broadcast<S>>,
    count_down: CountDown,
}

/// There is an order.
const HAS_MAIL: u8 = 1;
/// The worker is somebody else's thread.
const INLINE_WORKER: u8 = 2;

/// Where a worker finds its orders.
pub(crate) struct Mailbox<S> {
    /// What a worker sees to between two tasks, in one byte, as it is read with every task: `HAS_MAIL`, which is written with every order,
    /// and `INLINE_WORKER`, which stays.
    signals: AtomicU8,
    is_inline_worker: bool,
    envelopes: Mutex<VecDeque<Envelope<S>>>,
}

impl<S> Mailbox<S> {
    pub(crate) fn new(is_inline_worker: bool) -> Arc<Self> {
        let mailbox = Mailbox { signals: AtomicU8::new(0), is_inline_worker, envelopes: Mutex::new(VecDeque::new()) };
        mailbox.signal(false);
        Arc::new(mailbox)
    }

    /// Notes whether there is an order. Under the lock only, so it says what is there.
    fn signal(&self, has_mail: bool) {
        let signals = if has_mail { HAS_MAIL } else { 0 } | if self.is_inline_worker { INLINE_WORKER } else { 0 };
        // ORDERING: Relaxed, see `has_mail`.
        self.signals.store(signals, Ordering::Relaxed);
    }

    /// Whether there is an order. Costs one load.
    pub(crate) fn has_mail(&self) -> bool {
        // ORDERING: Relaxed. The order itself is behind the lock; a worker that falls asleep has a fence before its last look,
        // and whoever gives an order has one in `wake_all` after this is set (parking.md, **sleep**).
        self.signals.load(Ordering::Relaxed) & HAS_MAIL != 0
    }

    /// Whether there is an order, or the worker is a guest.
    pub(crate) fn is_signalled(&self) -> bool {
        // ORDERING: Relaxed, as above.
        self.signals.load(Ordering::Relaxed) != 0
    }

    /// The next order.
    pub(crate) fn next(&self) -> Option<Envelope<S>> {
        let mut envelopes = self.envelopes.lock();
        let next = envelopes.pop_front();
        self.signal(!envelopes.is_empty());
        next
    }

    /// Takes out the copy of an order that nobody waits for any more.
    fn withdraw(&self, latch: &Arc<CountdownLatch>) -> Option<Envelope<S>> {
        let mut envelopes = self.envelopes.lock();
        // No more of them than there are threads that wait for a broadcast.
        let place = envelopes.iter().position(|envelope| Arc::ptr_eq(&envelope.count_down.0, latch))?;
        let envelope = envelopes.remove(place);
        self.signal(!envelopes.is_empty());
        envelope
    }

    fn put(&self, envelope: Envelope<S>) {
        let mut envelopes = self.envelopes.lock();
        envelopes.push_back(envelope);
        self.signal(true);
    }
}

/// The orders of one pool.
pub(crate) struct Mailboxes<S> {
    inner: Mutex<Inner<S>>,
}

struct Inner<S> {
    /// Of the workers that have a state, by their numbers.
    by_worker: BTreeMap<usize, Arc<Mailbox<S>>>,
    /// For every state that is made later, oldest first.
    remembered: Vec<(Box<str>, Arc<dyn Broadcast<S>>)>,
}

impl<S> Inner<S> {
    /// Takes out what is remembered under `key`. Looks along the keys: a broadcast goes to every worker anyway.
    fn forget(&mut self, key: &str) -> Option<Arc<dyn Broadcast<S>>> {
        let place = self.remembered.iter().position(|(other, _)| **other == *key)?;
        Some(self.remembered.remove(place).1)
    }
}

impl<S> Mailboxes<S> {
    pub(crate) fn new() -> Self {
        Mailboxes { inner: Mutex::new(Inner { by_worker: BTreeMap::new(), remembered: Vec::new() }) }
    }

    /// Puts an order into every inbox, and with a key remembers it in place of the one before. Whoever sleeps must be woken.
    pub(crate) fn post(&self, broadcast: Arc<dyn Broadcast<S>>, key: Option<&str>) -> Arc<CountdownLatch> {
        let mut inner = self.inner.lock();
        let workers: Vec<_> = inner.by_worker.keys().copied().collect();
        let latch = Arc::new(CountdownLatch { left: Mutex::new(workers.len()), workers, changed: Condvar::new() });
        for mailbox in inner.by_worker.values() {
            mailbox.put(Envelope { broadcast: Arc::clone(&broadcast), count_down: CountDown(Arc::clone(&latch)) });
        }
        let replaced = key.and_then(|key| {
            let replaced = inner.forget(key);
            inner.remembered.push((key.into(), Arc::clone(&broadcast)));
            replaced
        });
        drop(inner);
        // Somebody else's code, and so not under the lock.
        drop((broadcast, replaced));
        latch
    }

    /// Takes the copies out of the inboxes whose workers have not come to them; with the workers' numbers.
    fn withdraw(&self, latch: &Arc<CountdownLatch>) -> Vec<(usize, Envelope<S>)> {
        let inner = self.inner.lock();
        inner.by_worker.iter().filter_map(|(worker, mailbox)| Some((*worker, mailbox.withdraw(latch)?))).collect()
    }

    /// How many workers are given orders.
    fn len(&self) -> usize {
        self.inner.lock().by_worker.len()
    }

    /// Forgets what was remembered under `key`; says whether there was anything.
    pub(crate) fn forget(&self, key: &str) -> bool {
        let forgotten = self.inner.lock().forget(key);
        // Dropped here, not under the lock.
        forgotten.is_some()
    }

    /// Worker `worker` has a state: it is given what is remembered, and gets all orders from now on.
    pub(crate) fn register(&self, worker: usize, mailbox: &Arc<Mailbox<S>>) -> Vec<Arc<dyn Broadcast<S>>> {
        let mut inner = self.inner.lock();
        inner.by_worker.insert(worker, Arc::clone(mailbox));
        inner.remembered.iter().map(|(_, broadcast)| Arc::clone(broadcast)).collect()
    }

    /// The worker is about to end its state: no more orders for it, unless it has one.
    pub(crate) fn try_unregister(&self, worker: usize, mailbox: &Mailbox<S>) -> bool {
        let mut inner = self.inner.lock();
        let may = !mailbox.has_mail();
        if may {
            inner.by_worker.remove(&worker);
        }
        may
    }

    /// The worker has lost its state: no more orders for it. What is in its inbox stays there.
    pub(crate) fn unregister(&self, worker: usize) {
        self.inner.lock().by_worker.remove(&worker);
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Gives an order to every worker that has a state, and with a key to every state that is made later.
    pub(crate) fn post(&self, broadcast: Arc<dyn Broadcast<R::State>>, key: Option<&str>) -> Arc<CountdownLatch> {
        let latch = self.mailboxes.post(broadcast, key);
        self.parking.wake_all();
        latch
    }

    /// Waits until the threads that were started have begun, so that an order reaches all of them; until the deadline at most. Only
    /// where nobody else's code can keep a thread from beginning: elsewhere the minimum has begun when the pool is built.
    pub(crate) fn await_beginners(&self, deadline: Option<Instant>) {
        let is_sure = !R::HAS_FACTORY && self.options.on_thread_start.is_none() && self.options.spawn_handler.is_none();
        let backoff = Backoff::new();
        while is_sure && self.mailboxes.len() < self.threads.population().0 {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return;
            }
            backoff.snooze();
        }
    }

    /// Takes an order back from the workers that have not come to it; says which these are. What is left of it is dropped.
    pub(crate) fn withdraw(&self, latch: &Arc<CountdownLatch>) -> Vec<usize> {
        let (workers, envelopes): (Vec<_>, Vec<_>) = self.mailboxes.withdraw(latch).into_iter().unzip();
        self.catch_user_panic(|| drop(envelopes));
        workers
    }

    pub(crate) fn forget(&self, key: &str) -> bool {
        self.mailboxes.forget(key)
    }
}
