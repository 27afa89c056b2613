//! Local deques: what a worker keeps for itself, and idle workers may steal.
//!
//! A deque is `crossbeam-deque`'s, which is the one of Chase and Lev ("Dynamic circular work-stealing deque", 2005) with the orderings of
//! Lê, Pop, Cohen and Zappa Nardelli ("Correct and efficient work-stealing for weak memory models", 2013). Its owner pushes and pops at one
//! end, without a read-modify-write; thieves take the oldest entry at the other end.

use std::cell::{Cell, RefCell};

use crossbeam_utils::CachePadded;

use crate::sync::deque::{Steal, Stealer, Worker};
use crate::sync::waiter::Waiter;
use crate::sync::waiter_list::{Registration, SharedWaiterList};
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, fence};

/// The deques of a pool's workers. A worker makes its own at its first push.
pub(crate) struct Deques<J> {
    /// Incremented with each change of the list, which workers copy. 0: no worker ever had a deque.
    version: AtomicUsize,
    list: Mutex<Vec<Arc<Victim<J>>>>,
}

/// A deque as other workers see it.
pub(crate) struct Victim<J> {
    worker: usize,
    stealer: Stealer<J>,
    /// Workers that wait for a job which the owner of this deque has stolen from them. They steal what it pushes.
    helpers: SharedWaiterList,
    /// How many there are, for a look without the lock.
    helping: AtomicUsize,
}

/// A worker's own deque. It leaves the pool's list when it is dropped.
pub(crate) struct LocalDeque<J> {
    jobs: Worker<J>,
    height: Cell<usize>,
    victim: CachePadded<Arc<Victim<J>>>,
    deques: Arc<Deques<J>>,
}

impl<J> Deques<J> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Deques { version: AtomicUsize::new(0), list: Mutex::new(Vec::new()) })
    }

    /// Whether any worker ever had a deque. Costs one load of a line that is hardly ever written.
    #[inline]
    pub(crate) fn is_used(&self) -> bool {
        self.version() > 0
    }

    fn version(&self) -> usize {
        // ORDERING: Relaxed. A worker that must not miss a push has a sequentially consistent fence between its announcement and this
        // load; the pusher has one after the push, before which it has registered its deque.
        self.version.load(Ordering::Relaxed)
    }

    /// Makes the deque of a worker, which is the calling thread.
    pub(crate) fn register(self: &Arc<Self>, worker: usize) -> LocalDeque<J> {
        let jobs = Worker::new_lifo();
        let (stealer, helpers, helping) = (jobs.stealer(), SharedWaiterList::default(), AtomicUsize::new(0));
        let victim = Arc::new(Victim { worker, stealer, helpers, helping });
        self.change(|list| list.push(Arc::clone(&victim)));
        LocalDeque { jobs, height: Cell::new(0), victim: CachePadded::new(victim), deques: Arc::clone(self) }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Victim<J>>>)) {
        let mut list = self.list.lock();
        change(&mut list);
        // ORDERING: Relaxed. Who sees the new version takes the lock before it reads the list.
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// The deque of a worker.
    pub(crate) fn victim(&self, worker: usize) -> Option<Arc<Victim<J>>> {
        self.list.lock().iter().find(|victim| victim.worker == worker).map(Arc::clone)
    }
}

impl<J> Victim<J> {
    /// Takes the oldest job.
    pub(crate) fn steal(&self) -> Option<J> {
        loop {
            match self.stealer.steal() {
                Steal::Success(job) => return Some(job),
                Steal::Empty => return None,
                // Another thread was faster.
                Steal::Retry => {}
            }
        }
    }

    /// Registers a helper to be woken when the owner pushes, until the guard is dropped. Afterwards check again whether there is something to
    /// steal.
    pub(crate) fn help(&self, helper: Waiter) -> HelpGuard<'_> {
        let registration = self.helpers.register(helper);
        // ORDERING: Relaxed. The fence, which is SeqCst, stands between the registration and the caller's look at the deque. It pairs with
        // the one in `LocalDeque::push`.
        self.helping.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        HelpGuard { helping: &self.helping, _registration: registration }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stealer.is_empty()
    }
}

/// See [`Victim::help`].
pub(crate) struct HelpGuard<'a> {
    helping: &'a AtomicUsize,
    _registration: Registration<'a>,
}

impl Drop for HelpGuard<'_> {
    fn drop(&mut self) {
        // ORDERING: Relaxed. A pusher that reads the old number finds no helper to wake.
        self.helping.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<J> LocalDeque<J> {
    /// Pushes a job, and wakes the helper. Afterwards the caller checks whether workers sleep: the fence between the two is here.
    #[inline]
    pub(crate) fn push(&self, job: J) {
        self.jobs.push(job);
        self.height.set(self.height.get() + 1);
        // ORDERING: SeqCst fence between the push, whose last step is a store, and the looks for a helper and for sleepers. It pairs with
        // the one in `help`, and with the sleeper's (parking.md, **sleep**): one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.victim.helping.load(Ordering::Relaxed) > 0 {
            self.victim.helpers.wake_all();
        }
    }

    /// Takes the newest job. `None`: it was stolen, and so were all that are older.
    #[inline]
    pub(crate) fn pop(&self) -> Option<J> {
        self.height.set(self.height.get().saturating_sub(1));
        self.jobs.pop()
    }

    /// The number of pushes without a pop. What a frame has pushed lies above the height at which it began; each of these jobs is still
    /// there or was stolen.
    #[inline]
    pub(crate) fn height(&self) -> usize {
        self.height.get()
    }

    /// Restores the height at which the calling frame began. All that it has pushed was taken.
    pub(crate) fn set_height(&self, height: usize) {
        self.height.set(height);
    }

    /// The deque of another worker.
    pub(crate) fn other(&self, worker: usize) -> Option<Arc<Victim<J>>> {
        self.deques.victim(worker)
    }
}

impl<J> Drop for LocalDeque<J> {
    fn drop(&mut self) {
        let victim = &self.victim;
        self.deques.change(|list| list.retain(|other| !Arc::ptr_eq(other, victim)));
    }
}

/// A worker's copy of the list.
pub(crate) struct Victims<J> {
    version: Cell<usize>,
    list: RefCell<Vec<Arc<Victim<J>>>>,
    /// Where the next search begins.
    next: Cell<usize>,
}

impl<J> Victims<J> {
    pub(crate) fn new(worker: usize) -> Self {
        Victims { version: Cell::new(0), list: RefCell::new(Vec::new()), next: Cell::new(worker) }
    }

    /// Takes the oldest job of some worker. Takes time in proportion to the number of workers.
    pub(crate) fn steal(&self, deques: &Deques<J>) -> Option<J> {
        self.update(deques);
        let list = self.list.borrow();
        let start = self.next.get();
        let at = |n: usize| (start + n) % list.len();
        let found = (0..list.len()).find_map(|n| list[at(n)].steal().map(|job| (at(n), job)));
        found.map(|(index, job)| {
            // There may be more where this one was.
            self.next.set(index);
            job
        })
    }

    /// Whether there is a job.
    pub(crate) fn has_jobs(&self, deques: &Deques<J>) -> bool {
        self.update(deques);
        self.list.borrow().iter().any(|victim| !victim.is_empty())
    }

    fn update(&self, deques: &Deques<J>) {
        if self.version.get() != deques.version() {
            let list = deques.list.lock();
            // ORDERING: Relaxed, under the lock.
            self.version.set(deques.version.load(Ordering::Relaxed));
            self.list.borrow_mut().clone_from(&list);
        }
    }
}
