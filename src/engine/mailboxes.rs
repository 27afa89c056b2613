//! Broadcasts: what every worker does once with its state, between two tasks.
//!
//! A broadcast puts an envelope into the mailbox of each worker that has a state, under one lock, so all workers handle several
//! broadcasts in the same order. The sender waits until every envelope is dropped, handled or not, so the end of a worker never
//! leaves it waiting.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::{Engine, Runner};
use crate::error::JoinError;
use crate::queue::Dispatch;
use crate::sync::clock;
use crate::sync::{Arc, AtomicU8, Backoff, Condvar, Mutex, Ordering, wait};

/// An operation on the states of all workers.
pub(crate) trait Broadcast<S>: Send + Sync {
    /// Runs on the state of a worker, and keeps that worker's answer.
    fn run(&self, worker: usize, state: &mut S);
    /// Runs on a state that was made after the broadcast. The answer is discarded.
    fn repeat(&self, state: &mut S);
    /// Records that the worker has no answer, and why.
    fn fail(&self, worker: usize, error: JoinError);
}

/// The workers that got a broadcast, and how many of the envelopes are not dropped yet.
pub(crate) struct CountdownLatch {
    workers: Vec<usize>,
    left: Mutex<usize>,
    changed: Condvar,
}

impl CountdownLatch {
    /// The numbers of the workers that got an envelope.
    pub(crate) fn workers(&self) -> &[usize] {
        &self.workers
    }

    /// Blocks until every envelope is dropped, or until the deadline. Returns whether they are.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut left = self.left.lock();
        while *left > 0 {
            if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                return false;
            }
            wait(&self.changed, &mut left, deadline);
        }
        true
    }
}

/// Counts an envelope down when it is dropped.
struct CountDown(Arc<CountdownLatch>);

impl Drop for CountDown {
    fn drop(&mut self) {
        *self.0.left.lock() -= 1;
        self.0.changed.notify_all();
    }
}

/// One worker's copy of a broadcast. Its fields are dropped in order: the operation first, and then the latch is counted down. So
/// nothing of the operation is left when the sender's wait ends.
pub(crate) struct Envelope<S> {
    pub(crate) broadcast: Arc<dyn Broadcast<S>>,
    count_down: CountDown,
}

/// The mailbox has an envelope.
const HAS_MAIL: u8 = 1;
/// The worker is an inline worker.
const INLINE_WORKER: u8 = 2;
/// The worker was given up.
const GIVEN_UP: u8 = 4;

/// Where a worker finds its broadcasts.
pub(crate) struct Mailbox<S> {
    /// What a worker checks between two tasks, in one byte, because it is read with every task. It is written under the lock, and
    /// `HAS_MAIL` with every change of the mailbox.
    signals: AtomicU8,
    envelopes: Mutex<VecDeque<Envelope<S>>>,
}

impl<S> Mailbox<S> {
    pub(crate) fn new(is_inline_worker: bool) -> Arc<Self> {
        let signals = AtomicU8::new(if is_inline_worker { INLINE_WORKER } else { 0 });
        Arc::new(Mailbox { signals, envelopes: Mutex::new(VecDeque::new()) })
    }

    /// Stores whether there is an envelope. It is called under the lock, so it agrees with the content.
    fn signal(&self, has_mail: bool) {
        // ORDERING: Relaxed, see `has_mail`.
        let others = self.signals.load(Ordering::Relaxed) & !HAS_MAIL;
        self.signals.store(others | if has_mail { HAS_MAIL } else { 0 }, Ordering::Relaxed);
    }

    fn give_up(&self) {
        let _envelopes = self.envelopes.lock();
        // ORDERING: Relaxed. The worker sees it at the latest after it has taken the lock under which its task ends.
        self.signals.fetch_or(GIVEN_UP, Ordering::Relaxed);
    }

    /// Whether the worker was given up. It exits before it takes another task.
    pub(crate) fn is_given_up(&self) -> bool {
        // ORDERING: Relaxed, as above.
        self.signals.load(Ordering::Relaxed) & GIVEN_UP != 0
    }

    /// Whether there is an envelope. Costs one load.
    pub(crate) fn has_mail(&self) -> bool {
        // ORDERING: Relaxed. The lock publishes the envelope itself. A worker that falls asleep has a fence before its last check, and a
        // broadcast has one in `wake_all` after this is set (parking.md, **sleep**).
        self.signals.load(Ordering::Relaxed) & HAS_MAIL != 0
    }

    /// Whether there is an envelope, or the worker is an inline worker, or was given up.
    pub(crate) fn is_signalled(&self) -> bool {
        // ORDERING: Relaxed, as above.
        self.signals.load(Ordering::Relaxed) != 0
    }

    /// Takes the next envelope.
    pub(crate) fn next(&self) -> Option<Envelope<S>> {
        let mut envelopes = self.envelopes.lock();
        let next = envelopes.pop_front();
        self.signal(!envelopes.is_empty());
        next
    }

    /// Takes out the envelope of a broadcast that its sender no longer waits for.
    fn withdraw(&self, latch: &Arc<CountdownLatch>) -> Option<Envelope<S>> {
        let mut envelopes = self.envelopes.lock();
        // There are at most as many as there are threads that wait for a broadcast.
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

/// The mailboxes of a pool.
pub(crate) struct Mailboxes<S> {
    inner: Mutex<Inner<S>>,
}

struct Inner<S> {
    /// The mailboxes of the workers that have a state, by worker number.
    by_worker: BTreeMap<usize, Arc<Mailbox<S>>>,
    /// Broadcasts for every state that is made later, oldest first.
    remembered: Vec<(Box<str>, Arc<dyn Broadcast<S>>)>,
    /// Of workers that were given up just now.
    given_up: Vec<(usize, Arc<Mailbox<S>>)>,
}

impl<S> Inner<S> {
    /// Takes out the broadcast that is remembered under `key`. This searches the keys; a broadcast visits every worker anyway.
    fn forget(&mut self, key: &str) -> Option<Arc<dyn Broadcast<S>>> {
        let place = self.remembered.iter().position(|(other, _)| **other == *key)?;
        Some(self.remembered.remove(place).1)
    }
}

impl<S> Mailboxes<S> {
    pub(crate) fn new() -> Self {
        Mailboxes {
            inner: Mutex::new(Inner { by_worker: BTreeMap::new(), remembered: Vec::new(), given_up: Vec::new() }),
        }
    }

    /// Puts an envelope into every mailbox. With a key, remembers the broadcast in place of the one before. The caller wakes the sleeping
    /// workers.
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
        // This drops user values, so the lock is released first.
        drop((broadcast, replaced));
        latch
    }

    /// Takes out the envelopes that their workers have not handled, with the workers' numbers.
    fn withdraw(&self, latch: &Arc<CountdownLatch>) -> Vec<(usize, Envelope<S>)> {
        let inner = self.inner.lock();
        inner.by_worker.iter().filter_map(|(worker, mailbox)| Some((*worker, mailbox.withdraw(latch)?))).collect()
    }

    /// The number of workers that get broadcasts.
    fn len(&self) -> usize {
        self.inner.lock().by_worker.len()
    }

    /// Forgets the broadcast that is remembered under `key`. Returns whether there was one.
    pub(crate) fn forget(&self, key: &str) -> bool {
        let forgotten = self.inner.lock().forget(key);
        // Dropped here, without the lock.
        forgotten.is_some()
    }

    /// Registers a worker that has a state: it gets all broadcasts from now on. Returns those that are remembered.
    pub(crate) fn register(&self, worker: usize, mailbox: &Arc<Mailbox<S>>) -> Vec<Arc<dyn Broadcast<S>>> {
        let mut inner = self.inner.lock();
        inner.by_worker.insert(worker, Arc::clone(mailbox));
        inner.remembered.iter().map(|(_, broadcast)| Arc::clone(broadcast)).collect()
    }

    /// Unregisters a worker that is about to end its state, unless it has an envelope. Returns whether it did.
    pub(crate) fn try_unregister(&self, worker: usize, mailbox: &Mailbox<S>) -> bool {
        let mut inner = self.inner.lock();
        let may = !mailbox.has_mail();
        if may {
            inner.by_worker.remove(&worker);
        }
        may
    }

    /// Unregisters a worker that is given up, and tells it.
    pub(crate) fn give_up(&self, worker: usize) {
        let mut inner = self.inner.lock();
        if let Some(mailbox) = inner.by_worker.remove(&worker) {
            mailbox.give_up();
            inner.given_up.push((worker, mailbox));
        }
    }

    /// The mailbox of a worker that was given up, once.
    pub(crate) fn take_given_up(&self, worker: usize) -> Option<Arc<Mailbox<S>>> {
        let given_up = &mut self.inner.lock().given_up;
        let place = given_up.iter().position(|(other, _)| *other == worker)?;
        Some(given_up.swap_remove(place).1)
    }

    /// Unregisters a worker that has lost its state. Its envelopes stay in its mailbox.
    pub(crate) fn unregister(&self, worker: usize) {
        self.inner.lock().by_worker.remove(&worker);
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Broadcasts to every worker that has a state, and with a key to every state that is made later.
    pub(crate) fn post(&self, broadcast: Arc<dyn Broadcast<R::State>>, key: Option<&str>) -> Arc<CountdownLatch> {
        let latch = self.mailboxes.post(broadcast, key);
        self.parking.wake_all();
        latch
    }

    /// Waits until all threads that were started have begun, so that a broadcast reaches them; until the deadline at most. It does so only
    /// where no user code can delay a thread's begin. Elsewhere the minimum has begun when the pool is built.
    pub(crate) fn await_beginners(&self, deadline: Option<Instant>) {
        let cannot_fail =
            !R::HAS_FACTORY && self.options.on_thread_start.is_none() && self.options.spawn_handler.is_none();
        let backoff = Backoff::new();
        while cannot_fail && self.mailboxes.len() < self.threads.population().0 {
            if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                return;
            }
            backoff.snooze();
        }
    }

    /// Takes a broadcast back from the workers that have not handled it, and drops it. Returns the numbers of these workers.
    pub(crate) fn withdraw(&self, latch: &Arc<CountdownLatch>) -> Vec<usize> {
        let (workers, envelopes): (Vec<_>, Vec<_>) = self.mailboxes.withdraw(latch).into_iter().unzip();
        self.catch_user_panic(|| drop(envelopes));
        workers
    }

    pub(crate) fn forget(&self, key: &str) -> bool {
        self.mailboxes.forget(key)
    }
}
