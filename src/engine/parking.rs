//! How workers fall asleep and are woken. The protocol, its states and the argument that no wake-up
//! is lost are in `parking.md`; the step names in the comments here are the ones used there.
//!
//! Nothing in this file knows what a task is or which queue holds it: a worker looks through a
//! [`Source`], so the same code serves every dispatch, and loom explores it over the real ones.

use std::iter::from_fn;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::adaptive_spin::AdaptiveSpin;
use super::idle::{Idle, Taken};
use crate::sync::{
    Arc, AtomicU8, AtomicUsize, Backoff, Mutex, Ordering, Thread, current, fence, fence_after_rmw, park,
};

/// One searching worker in [`Parking::counts`]: the low half of the word.
const SEARCHER: usize = 1;
/// One sleeping worker: the high half. `MAX_WORKERS` fits either half.
const SLEEPER: usize = 1 << (usize::BITS / 2);

const fn searchers(counts: usize) -> usize {
    counts & (SLEEPER - 1)
}

const fn sleepers(counts: usize) -> usize {
    counts / SLEEPER
}

/// The worker is not on the list.
const AWAKE: u8 = 0;
/// The worker is on the list of the idle, or was just taken off it and is not to wake yet.
const ASLEEP: u8 = 1;
/// The worker was taken off the list and told to look for work; it counts as a searcher.
const CLAIMED: u8 = 2;
/// The worker was taken off the list for good and must end.
const DISMISSED: u8 = 3;

/// One worker's bed.
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
        // ORDERING: Acquire pairs with the Release store in `PendingUnpark::drop`, so that what the claimer did
        // before it (a task handed over) is seen.
        self.state.load(Ordering::Acquire)
    }
}

/// A worker that was taken off the list and sleeps until this is dropped, so that a task can be handed
/// to it before it looks.
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

/// What an idle worker asks of its pool.
pub(crate) trait Source {
    type Item;
    /// Takes a task.
    fn pop(&self) -> Option<Self::Item>;
    /// The worker was asleep: the next task that it takes may be kept for it alone.
    fn woken(&self);
    /// Whether anyone's `pop` would find one. Never wrongly false after a fence on both sides.
    fn has_work(&self) -> bool;
    /// The same without that promise, to be polled.
    fn peek(&self) -> bool;
    /// Whether there is an order for this very worker. Never wrongly false after a fence on both sides.
    fn has_mail(&self) -> bool;
    /// Whether the worker should end.
    fn must_leave(&self) -> bool;
    /// Takes leave for good, if the worker should and may.
    fn leave(&self) -> bool;
    /// Whether there is anything else to see to than a task. To be polled; ends a look for tasks.
    fn is_distracted(&self) -> bool;
    /// How long the worker may be idle before it asks to `expire`.
    fn expiry(&self) -> Option<Duration>;
    /// Takes leave for good after the expiry time, if the worker may.
    fn expire(&self) -> Expiry;
    /// Whether there are more workers than the minimum.
    fn is_above_minimum(&self) -> bool;
    /// When the worker must be up to look at the pool again, whatever happens.
    fn alarm(&self) -> Option<Instant>;
}

/// How a worker's expiry ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// It has taken leave.
    Leaves,
    /// It is one of the minimum.
    IsKept,
    /// There is something that it may be needed for later.
    Waits,
}

/// The least time between two questions of a worker whether it may end: an expiry can be zero.
const ASKS_AGAIN: Duration = Duration::from_secs(1);

/// When an idle worker asks whether it may end.
#[derive(Clone, Copy, PartialEq)]
enum Asks {
    /// When it has been idle for the expiry time.
    Expired,
    At(Instant),
    /// It is kept: not before somebody wakes it.
    Never,
}

impl Asks {
    /// Asks now; says when to ask again if it may not.
    #[cold]
    #[inline(never)]
    fn whether_it_may_end(source: &impl Source) -> Option<Asks> {
        match source.expire() {
            Expiry::Leaves => None,
            Expiry::IsKept => Some(Asks::Never),
            Expiry::Waits => {
                let least = source.expiry().unwrap_or_default().max(ASKS_AGAIN);
                Some(Instant::now().checked_add(least).map_or(Asks::Never, Asks::At))
            }
        }
    }
}

/// What an idle worker is to do.
pub(crate) enum NextAction<T> {
    /// Run this task.
    Task(T),
    /// See to the orders that it has been given.
    Mail,
    /// End; it has taken leave.
    Exit,
}

/// Whether an idle worker looks for work before it sleeps.
#[derive(Clone, Copy, PartialEq)]
enum Search {
    None,
    /// Without being counted: nobody relies on it.
    Uncounted,
    /// As the searcher that submitters rely on.
    Counted,
}

/// How a sleep ended.
enum Wakeup {
    /// There may be work: the worker is a searcher and must say what came of it, by
    /// [`Parking::found`] or by sleeping again.
    Search,
    /// The deadline passed. The worker is neither a searcher nor a sleeper.
    Expired,
    /// [`Parking::dismiss`] chose this worker. It is neither a searcher nor a sleeper.
    Dismissed,
}

/// The idle workers of one pool, and how many are looking for work.
pub(crate) struct Parking {
    /// Searchers and sleepers in one word, so that one load tells a submitter whether to wake anyone.
    counts: CachePadded<AtomicUsize>,
    /// Of the searchers, those that were claimed and are not up yet.
    waking: CachePadded<AtomicUsize>,
    /// The sleeping workers, in the order in which they fell asleep.
    idle: Mutex<Idle>,
    /// How many of them sleep for good, as the minimum. Changed under the lock.
    kept: AtomicUsize,
    /// How many were claimed; only the models ask.
    #[cfg(formicary_loom)]
    claims: std::sync::atomic::AtomicUsize,
}

impl Parking {
    /// With room for so many sleepers, the first workers; others need memory.
    pub(crate) fn new(sleepers: usize) -> Self {
        Parking {
            counts: CachePadded::new(AtomicUsize::new(0)),
            waking: CachePadded::new(AtomicUsize::new(0)),
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

    /// Step **claim**: takes the newest idle worker, unless one is looking for work already. Costs one
    /// load when there is nobody to wake.
    pub(crate) fn claim(&self) -> Option<PendingUnpark> {
        // ORDERING: Relaxed. Before a push this is a guess; after one, `notify` has fenced.
        let counts = self.counts.load(Ordering::Relaxed);
        if sleepers(counts) == 0 || searchers(counts) > 0 { None } else { self.claim_beside(0) }
    }

    /// The same, beside so many searchers at most.
    fn claim_beside(&self, most: usize) -> Option<PendingUnpark> {
        let mut idle = self.idle.lock();
        // ORDERING: Relaxed. Of two claimers the lock lets the second see the first one's searcher.
        if searchers(self.counts.load(Ordering::Relaxed)) > most {
            return None;
        }
        let taken = idle.take_newest()?;
        #[cfg(formicary_loom)]
        self.claims.fetch_add(1, Ordering::Relaxed);
        Some(self.take_off_list(taken, CLAIMED))
    }

    /// Step **notify**, after a push that woke nobody: wakes a worker if all that are not busy sleep and
    /// there is `work` for it; and a second one if the first is not up yet and there is `more` to do.
    pub(crate) fn notify(&self, work: impl FnOnce() -> bool, more: impl FnOnce() -> bool) {
        // ORDERING: SeqCst fence between the push (which counts the task by a read-modify-write) and the load of `counts`; a
        // sleeper has the other one between its entry in `counts` and its last look at the queue. One of the two
        // sees the other.
        fence_after_rmw();
        // ORDERING: Relaxed, here and for `waking`, after the fence; the second worker is only an improvement.
        let counts = self.counts.load(Ordering::Relaxed);
        if sleepers(counts) > 0 && searchers(counts) == 1 && self.waking.load(Ordering::Relaxed) == 1 && more() {
            drop(self.claim_beside(1));
        } else {
            self.wake_for(work);
        }
    }

    fn wake_for(&self, work: impl FnOnce() -> bool) {
        let counts = self.counts.load(Ordering::Relaxed);
        if sleepers(counts) > 0 && searchers(counts) == 0 && work() {
            drop(self.claim());
        }
    }

    /// Waits until there is something for the calling worker to do, and returns that. The worker has found no task and has no mail.
    #[inline(never)]
    pub(crate) fn wait_for_work<S: Source>(
        &self,
        me: &Arc<Parker>,
        adaptive_spin: &AdaptiveSpin,
        source: &S,
    ) -> NextAction<S::Item> {
        let mut search = self.start_search();
        let mut idle_since = None;
        let mut asks = Asks::Expired;
        let backoff = Backoff::new();
        loop {
            if search != Search::None {
                let expiry = if asks == Asks::Expired { source.expiry() } else { None };
                if let Some(item) = adaptive_spin.spin(source, &mut idle_since, expiry) {
                    self.end_search(search, source);
                    return NextAction::Task(item);
                }
            }
            let has_mail = source.has_mail();
            if has_mail || source.leave() {
                self.end_search(search, source);
                return if has_mail { NextAction::Mail } else { NextAction::Exit };
            }
            let since = *idle_since.get_or_insert_with(Instant::now);
            let expires = match asks {
                Asks::Expired => source.expiry().and_then(|expiry| since.checked_add(expiry)),
                Asks::At(time) => Some(time),
                Asks::Never => None,
            };
            let alarm = source.alarm();
            let is_kept = asks == Asks::Never;
            match self.sleep(me, search == Search::Counted, is_kept, expires, alarm, source) {
                Wakeup::Search => {
                    search = Search::Counted;
                    // Perhaps a task was handed over, which nobody else sees.
                    source.woken();
                    if let Some(item) = source.pop() {
                        adaptive_spin.record_idle(idle_since);
                        self.found(|| source.has_work());
                        return NextAction::Task(item);
                    }
                    // Another took it; or its submitter is just putting it in.
                    backoff.snooze();
                    if is_kept {
                        asks = Asks::Expired;
                    }
                }
                Wakeup::Dismissed => return NextAction::Exit,
                Wakeup::Expired => {
                    search = Search::None;
                    if expires.is_some_and(|at| at <= Instant::now()) {
                        match Asks::whether_it_may_end(source) {
                            Some(next) => asks = next,
                            None => return NextAction::Exit,
                        }
                        if asks == Asks::Never {
                            // What was to end its look is over.
                            search = self.start_search();
                        }
                    }
                }
            }
        }
    }

    /// Step **look**: whether the calling worker may look for work for a while before it sleeps. Only
    /// one looks at a time; the others would disturb the queue's lines for nothing.
    fn start_search(&self) -> Search {
        // ORDERING: Relaxed. Two at once would be a waste, not an error, and a searcher takes nothing
        // from this word but the number.
        let counts = self.counts.load(Ordering::Relaxed);
        if sleepers(counts) == 0 && searchers(counts) == 0 {
            // There is nobody whom a submitter could wake instead, so none needs to know.
            return Search::Uncounted;
        }
        let counted = searchers(counts) == 0
            && self.counts.compare_exchange(counts, counts + SEARCHER, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if counted { Search::Counted } else { Search::None }
    }

    fn end_search(&self, search: Search, source: &impl Source) {
        if search == Search::Counted {
            self.found(|| source.has_work());
        }
    }

    /// Step **found**: a searcher has a task, or leaves. The last searcher to stop wakes the next when
    /// `work` is left: those who pushed while it searched relied on it.
    fn found(&self, work: impl FnOnce() -> bool) {
        // ORDERING: Relaxed on the count; the fence orders it before the look at the queue, against the
        // fence in `notify` between a push and its look at the count.
        let before = self.counts.fetch_sub(SEARCHER, Ordering::Relaxed);
        if searchers(before) > 1 {
            return;
        }
        fence_after_rmw();
        self.wake_for(work);
    }

    /// Step **sleep**: puts the calling worker on the list until it is claimed or dismissed, until it has `expired`, or
    /// until the `alarm`. `searching` says whether it is counted as a searcher. When it is on the list it looks once
    /// more whether there is a reason not to sleep after all; another alarm than the one it has set is one. One that sleeps above
    /// the minimum wakes one of those that were kept for it (**surplus**).
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
            // ORDERING: Relaxed. Under the lock, and nobody reads it before the entry below.
            me.state.store(ASLEEP, Ordering::Relaxed);
            if is_kept {
                // ORDERING: Relaxed, under the lock; the fence below orders the count before the look at the minimum.
                self.kept.fetch_add(1, Ordering::Relaxed);
            }
            idle.push(me, is_kept);
            let change = if searching { SLEEPER - SEARCHER } else { SLEEPER };
            // ORDERING: Relaxed; the fence below orders it before the look at the queue.
            self.counts.fetch_add(change, Ordering::Relaxed);
        }
        fence_after_rmw();
        let must_wake =
            source.has_mail() || source.must_leave() || source.alarm() != alarm || is_kept && source.is_above_minimum();
        if must_wake && self.wake_self(me, SEARCHER) || source.has_work() && self.wake_self_to_search(me) {
            return Wakeup::Search;
        }
        // ORDERING: Relaxed, after the fence. It is against the one between a kept worker's entry and its look at the minimum.
        if !is_kept && self.kept.load(Ordering::Relaxed) > 0 && expires.is_some() && source.is_above_minimum() {
            self.wake_kept();
        }
        let mut deadline = [expires, alarm].into_iter().flatten().min();
        loop {
            match me.state() {
                CLAIMED => {
                    self.waking.fetch_sub(1, Ordering::Relaxed);
                    return Wakeup::Search;
                }
                DISMISSED => return Wakeup::Dismissed,
                _ => {}
            }
            if deadline.is_some_and(|d| Instant::now() >= d) {
                if self.wake_self(me, 0) {
                    return Wakeup::Expired;
                }
                // Claimed in the same moment: the claimer's word is on its way.
                deadline = None;
            }
            park(deadline);
        }
    }

    /// Takes the calling worker off the list itself; `false` if somebody else just did.
    fn wake_self(&self, me: &Arc<Parker>, searcher: usize) -> bool {
        self.remove_self(&mut self.idle.lock(), me, searcher)
    }

    /// The same, as a searcher, unless there is one: that one takes what is there, or wakes the next. So of several who find
    /// that a task is on its way in only one stays up for it.
    fn wake_self_to_search(&self, me: &Arc<Parker>) -> bool {
        let mut idle = self.idle.lock();
        // ORDERING: Relaxed. Whoever was counted up to now has the fence of **found** still before it, and finds this sleeper.
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

    /// Wakes every sleeper, to look at what has changed: the end of the pool, of a pause, or an order.
    pub(crate) fn wake_all(&self) {
        // ORDERING: SeqCst fence, as in `notify`: what has changed is on one side, the list on the other.
        fence(Ordering::SeqCst);
        let mut idle = self.idle.lock();
        let all: Vec<_> = from_fn(|| idle.take_oldest()).map(|taken| self.take_off_list(taken, CLAIMED)).collect();
        // They are woken without the lock, which they may need.
        drop(idle);
        drop(all);
    }

    /// Step **surplus**: wakes the worker that has been kept for the longest time, to ask again whether it may end.
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

    /// Ends up to `most` sleepers, those idle for the longest time first; says how many.
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
        self.waking.fetch_add(searcher, Ordering::Relaxed);
        // ORDERING: Relaxed. Changes of the sleepers' half happen under the lock; a claimer's own later
        // steps need no more, and the claimed worker synchronises through `state`.
        self.counts.fetch_add(searcher.wrapping_sub(SLEEPER), Ordering::Relaxed);
        PendingUnpark { parker: taken.parker, state }
    }
}
