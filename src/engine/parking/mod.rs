//! How workers fall asleep and are woken. `parking.md` describes the protocol and its states, and shows that no wake-up is lost; the
//! comments here use its step names.
//!
//! Nothing here knows what a task is or which queue holds it. A worker sees its pool through a [`Source`], so the same code serves
//! every dispatch, and loom explores it over the real queues.

mod adaptive_spin;
mod idle;
mod idle_worker;

use std::iter::from_fn;
use std::time::Instant;

use crossbeam_utils::CachePadded;

use crate::sync::clock;
use crate::sync::{Arc, AtomicU8, AtomicUsize, Mutex, Ordering, Thread, current, fence, fence_after_rmw, park};

pub(crate) use adaptive_spin::AdaptiveSpin;
use idle::{Idle, Taken};
use idle_worker::Wakeup;
pub(crate) use idle_worker::{Expiry, NextAction, Source};

/// One searching worker in [`Parking::counts`]: the low half of the word.
const SEARCHER: usize = 1;
/// One sleeping worker: the high half. `MAX_WORKERS` fits either half.
const SLEEPER: usize = 1 << (usize::BITS / 2);

/// So many workers may search at once, or be about to. More would be woken faster than they find tasks, where these are small.
pub(super) const MOST_SEARCHERS: usize = 8;

const fn searchers(counts: usize) -> usize {
    counts & (SLEEPER - 1)
}

const fn sleepers(counts: usize) -> usize {
    counts / SLEEPER
}

/// The worker is not on the idle list.
const AWAKE: u8 = 0;
/// The worker is on the idle list, or was just taken off it and is not to wake yet.
const ASLEEP: u8 = 1;
/// The worker was taken off the list to search for work; it counts as a searcher.
const CLAIMED: u8 = 2;
/// The worker was taken off the list for good and must exit.
const DISMISSED: u8 = 3;

/// What one worker parks with.
pub(crate) struct Parker {
    id: usize,
    thread: Thread,
    state: AtomicU8,
}

impl Parker {
    /// For the calling thread, as worker `id`.
    pub(crate) fn for_current(id: usize) -> Arc<Self> {
        Arc::new(Parker { id, thread: current(), state: AtomicU8::new(AWAKE) })
    }

    pub(super) fn worker(&self) -> usize {
        self.id
    }

    fn state(&self) -> u8 {
        // ORDERING: Acquire pairs with the Release store in `PendingUnpark::drop`: the worker sees what the claiming thread did before, such
        // as a task that it handed over.
        self.state.load(Ordering::Acquire)
    }
}

/// A worker that was taken off the list. It stays parked until this is dropped, so that a task can be handed to it before it searches.
pub(crate) struct PendingUnpark {
    parker: Arc<Parker>,
    state: u8,
}

impl PendingUnpark {
    pub(crate) fn worker(&self) -> usize {
        self.parker.worker()
    }
}

impl Drop for PendingUnpark {
    fn drop(&mut self) {
        // ORDERING: Release pairs with the Acquire in `Parker::state`.
        self.parker.state.store(self.state, Ordering::Release);
        self.parker.thread.unpark();
    }
}

/// The idle workers of one pool, and how many of them search for work.
pub(crate) struct Parking {
    /// Searchers and sleepers in one word: one load tells a submitter whether to wake a worker.
    counts: CachePadded<AtomicUsize>,
    /// The sleepers, in the order in which they fell asleep.
    idle: Mutex<Idle>,
    /// How many of them are kept as the minimum. Changed under the lock.
    kept: AtomicUsize,
    /// How many were claimed; only the models ask.
    #[cfg(formicary_loom)]
    claims: std::sync::atomic::AtomicUsize,
}

impl Parking {
    /// With memory for so many sleepers; more allocate.
    pub(crate) fn new(sleepers: usize) -> Self {
        Parking {
            counts: CachePadded::new(AtomicUsize::new(0)),
            idle: Mutex::new(Idle::with_capacity(sleepers)),
            kept: AtomicUsize::new(0),
            #[cfg(formicary_loom)]
            claims: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    #[cfg(all(test, formicary_loom))]
    pub(crate) fn claims(&self) -> usize {
        self.claims.load(Ordering::Relaxed)
    }

    /// Step **claim**: takes the newest sleeper off the list, unless a worker searches already. Costs one load if there is none to wake.
    pub(crate) fn claim(&self) -> Option<PendingUnpark> {
        // ORDERING: Relaxed. Before a push this is a guess; after one, `notify` has fenced.
        let counts = self.counts.load(Ordering::Relaxed);
        if sleepers(counts) == 0 || searchers(counts) > 0 { None } else { self.claim_beside(0) }
    }

    /// The same with at most so many searchers.
    fn claim_beside(&self, most: usize) -> Option<PendingUnpark> {
        let mut idle = self.idle.lock();
        // ORDERING: Relaxed. The lock orders two claims: the second sees the searcher of the first.
        if searchers(self.counts.load(Ordering::Relaxed)) > most {
            return None;
        }
        let taken = idle.take_newest()?;
        #[cfg(formicary_loom)]
        self.claims.fetch_add(1, Ordering::Relaxed);
        Some(self.take_off_list(taken, CLAIMED))
    }

    /// Step **notify**, after a push that handed the task to no worker: wakes a worker if none searches and there is `work`, or if some do
    /// and there is `more` than they can take.
    pub(crate) fn notify(&self, work: impl FnOnce() -> bool, more: impl FnOnce(usize) -> bool) {
        // ORDERING: SeqCst fence between the push, whose last step is a read-modify-write, and the load of `counts`. It pairs with the
        // sleeper's, between its entry in `counts` and its last look at the queue: one of the two sees the other.
        fence_after_rmw();
        // ORDERING: Relaxed, after the fence.
        let counts = self.counts.load(Ordering::Relaxed);
        if sleepers(counts) == 0 {
            return;
        }
        match searchers(counts) {
            0 if work() => self.wake_one(),
            0 | MOST_SEARCHERS.. => {}
            // An improvement only.
            searching if more(searching) => drop(self.claim_beside(searching)),
            _ => {}
        }
    }

    /// The same without the fence, and only if none searches.
    #[inline]
    pub(crate) fn wake_for(&self, work: impl FnOnce() -> bool) {
        // ORDERING: Relaxed, after the caller's fence.
        let counts = self.counts.load(Ordering::Relaxed);
        if sleepers(counts) > 0 && searchers(counts) == 0 && work() {
            self.wake_one();
        }
    }

    /// Out of line: most pushes wake no worker.
    #[inline(never)]
    fn wake_one(&self) {
        drop(self.claim());
    }

    /// Step **found**: a searcher has a task, or stops. The last one to stop wakes another worker if `work` is left: submitters that pushed
    /// while it searched relied on it.
    fn found(&self, work: impl FnOnce() -> bool) {
        // ORDERING: Relaxed. The fence orders the count before the look at the queue. It pairs with the fence in `notify`, between a push
        // and the load of the count.
        let before = self.counts.fetch_sub(SEARCHER, Ordering::Relaxed);
        if searchers(before) > 1 {
            return;
        }
        fence_after_rmw();
        self.wake_for(work);
    }

    /// Step **sleep**: puts the calling worker on the list until it is claimed or dismissed, until it `expires`, or until the `alarm`.
    /// `searching` says whether it is counted as a searcher. Once on the list, it checks again for a reason to stay awake; an alarm other
    /// than `alarm` is one. A worker that sleeps above the minimum wakes one that is kept for the minimum (**surplus**).
    fn sleep(
        &self,
        me: &Arc<Parker>,
        searching: bool,
        is_kept: bool,
        expires: Option<Instant>,
        alarm: Option<Instant>,
        source: &impl Source,
    ) -> Wakeup {
        {
            let mut idle = self.idle.lock();
            // ORDERING: Relaxed. Under the lock, and no thread reads it before the entry below.
            me.state.store(ASLEEP, Ordering::Relaxed);
            if is_kept {
                // ORDERING: Relaxed, under the lock; the fence below orders the count before the look at the minimum.
                self.kept.fetch_add(1, Ordering::Relaxed);
            }
            idle.push(me, is_kept);
            let change = if searching { SLEEPER - SEARCHER } else { SLEEPER };
            // ORDERING: Relaxed. The fence below orders it before the look at the queue.
            self.counts.fetch_add(change, Ordering::Relaxed);
        }
        fence_after_rmw();
        let must_wake =
            source.has_mail() || source.must_exit() || source.alarm() != alarm || is_kept && source.is_above_minimum();
        if must_wake && self.leave_list(me, SEARCHER) || source.has_work() && self.leave_list_to_search(me) {
            return Wakeup::Search;
        }
        // ORDERING: Relaxed, after the fence, which pairs with the one between a kept worker's entry and its look at the minimum.
        if !is_kept && self.kept.load(Ordering::Relaxed) > 0 && expires.is_some() && source.is_above_minimum() {
            self.wake_kept();
        }
        let mut deadline = [expires, alarm].into_iter().flatten().min();
        loop {
            match me.state() {
                CLAIMED => return Wakeup::Search,
                DISMISSED => return Wakeup::Dismissed,
                _ => {}
            }
            if deadline.is_some_and(|d| clock::now() >= d) {
                if self.leave_list(me, 0) {
                    return Wakeup::Expired;
                }
                // Claimed at the same moment: the new state is about to be stored.
                deadline = None;
            }
            park(deadline);
        }
    }

    /// Takes the calling worker off the list. `false`: another thread just did.
    fn leave_list(&self, me: &Arc<Parker>, searcher: usize) -> bool {
        self.remove_self(&mut self.idle.lock(), me, searcher)
    }

    /// The same, as a searcher, unless there is one: that one takes the task, or wakes the next worker. So of several workers that see a
    /// task being pushed only one stays awake for it.
    fn leave_list_to_search(&self, me: &Arc<Parker>) -> bool {
        let mut idle = self.idle.lock();
        // ORDERING: Relaxed. A searcher that is still counted has the fence of **found** before it, and finds this sleeper.
        searchers(self.counts.load(Ordering::Relaxed)) == 0 && self.remove_self(&mut idle, me, SEARCHER)
    }

    fn remove_self(&self, idle: &mut Idle, me: &Parker, searcher: usize) -> bool {
        let Some(taken) = idle.take(me.id) else { return false };
        // ORDERING: Relaxed. Changes of the sleepers' half happen under the lock.
        me.state.store(AWAKE, Ordering::Relaxed);
        self.note_awake(&taken);
        self.counts.fetch_add(searcher.wrapping_sub(SLEEPER), Ordering::Relaxed);
        true
    }

    /// Wakes every sleeper to look at what has changed: the end of the pool, the end of a pause, a broadcast.
    pub(crate) fn wake_all(&self) {
        // ORDERING: SeqCst fence, as in `notify`, between the change and the look at the list.
        fence(Ordering::SeqCst);
        let mut idle = self.idle.lock();
        let all: Vec<_> = from_fn(|| idle.take_oldest()).map(|taken| self.take_off_list(taken, CLAIMED)).collect();
        // Woken without the lock, which they may need.
        drop(idle);
        drop(all);
    }

    /// Step **surplus**: wakes the worker that has been kept for the longest time, to check again whether it may exit.
    #[cold]
    fn wake_kept(&self) {
        let mut idle = self.idle.lock();
        let woken = idle.take_oldest_kept().map(|taken| self.take_off_list(taken, CLAIMED));
        drop(idle);
        drop(woken);
    }

    /// Called under the lock, for a sleeper that is not on the list any more.
    fn note_awake(&self, taken: &Taken) {
        if taken.was_kept {
            // ORDERING: Relaxed, under the lock.
            self.kept.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Makes up to `most` sleepers exit, those idle for the longest time first. Returns how many.
    pub(crate) fn dismiss(&self, most: usize) -> usize {
        let mut idle = self.idle.lock();
        let mut count = 0;
        for taken in from_fn(|| idle.take_oldest()).take(most) {
            drop(self.take_off_list(taken, DISMISSED));
            count += 1;
        }
        count
    }

    /// Called under the lock, for a sleeper that was just taken off the list.
    fn take_off_list(&self, taken: Taken, state: u8) -> PendingUnpark {
        self.note_awake(&taken);
        let searcher = if state == CLAIMED { SEARCHER } else { 0 };
        // ORDERING: Relaxed. The sleepers' half changes under the lock. The claiming thread needs no more, and the claimed worker
        // synchronises through `state`.
        self.counts.fetch_add(searcher.wrapping_sub(SLEEPER), Ordering::Relaxed);
        PendingUnpark { parker: taken.parker, state }
    }
}
