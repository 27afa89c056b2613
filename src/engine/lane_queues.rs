//! Who waits at which door, in order: what a line keeps under its lock.
//!
//! A thread that is called comes. A future may never be polled again, so it holds up those behind it for [`GRACE`] at most: if it has
//! not come by then it is set aside, and the next is called. When it is polled after all it is in line again, at its old place.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicUsize, IS_CHECKED, Mutex, Ordering};

/// How long those behind a future that was called wait for it: executors poll what is woken within some microseconds. A checker has
/// no clock: there they do not wait at all.
const GRACE: Duration = if IS_CHECKED { Duration::ZERO } else { Duration::from_millis(2) };

pub(super) struct BlockedSubmitter {
    /// Taken out to wake a future, which leaves another when it is polled.
    waiter: Mutex<Option<Waiter>>,
    /// Whether it certainly comes when it is called.
    is_prompt: bool,
    /// How often it was called; the first call is its own, when it joins.
    notifications: AtomicUsize,
    /// How many of these calls its last try has answered.
    consumed: AtomicUsize,
}

impl BlockedSubmitter {
    pub(super) fn new(waiter: Waiter) -> Arc<Self> {
        Arc::new(BlockedSubmitter {
            is_prompt: waiter.is_prompt(),
            waiter: Mutex::new(Some(waiter)),
            notifications: AtomicUsize::new(1),
            consumed: AtomicUsize::new(0),
        })
    }

    pub(super) fn is_prompt(&self) -> bool {
        self.is_prompt
    }

    pub(super) fn add_notification(&self) {
        // ORDERING: Release pairs with the Acquire in `notifications`: the submitter sees the room made.
        self.notifications.fetch_add(1, Ordering::Release);
    }

    pub(super) fn notifications(&self) -> usize {
        // ORDERING: Acquire, see `add_notification`.
        self.notifications.load(Ordering::Acquire)
    }

    /// Its last try has answered so many calls.
    pub(super) fn consume_notification(&self, notifications: usize) {
        // ORDERING: Relaxed, see `is_notified`.
        self.consumed.store(notifications, Ordering::Relaxed);
    }

    /// Whether it will try, or is about to.
    pub(super) fn is_notified(&self) -> bool {
        // ORDERING: Relaxed. The submitter's own; another reader that finds the number too low believes it a while longer to be
        // on its way, until it is told (see `WaitGuard`).
        self.notifications() != self.consumed.load(Ordering::Relaxed)
    }

    /// What wakes it. `None` for a future that was woken and has not been polled since.
    pub(super) fn waiter(&self) -> Option<Waiter> {
        let mut waiter = self.waiter.lock();
        match &*waiter {
            // The clone of a waker is somebody else's code, and this is a lock.
            Some(Waiter::Task(_) | Waiter::Inline(_)) => waiter.take(),
            other => other.clone(),
        }
    }

    /// Has another waiter woken from now on.
    pub(super) fn set_waiter(&self, waiter: Waiter) {
        let before = self.waiter.lock().replace(waiter);
        // Not under the lock: the drop of a waker is somebody else's code.
        before.into_iter().for_each(Waiter::discard);
    }

    /// Has nobody woken any more.
    pub(super) fn forget_waiter(&self) {
        let before = self.waiter.lock().take();
        before.into_iter().for_each(Waiter::discard);
    }
}

struct CalledFuture {
    submitter: Arc<BlockedSubmitter>,
    /// When it was called, if it has not come since.
    notified_at: Option<Instant>,
}

impl CalledFuture {
    fn is_overdue(&self, now: Instant) -> bool {
        self.notified_at.is_some_and(|notified_at| now.saturating_duration_since(notified_at) >= GRACE)
    }
}

/// Those who wait at one door, by ticket.
#[derive(Default)]
struct LaneQueue {
    prompt: BTreeMap<u64, Arc<BlockedSubmitter>>,
    /// Those that may not come.
    futures: BTreeMap<u64, CalledFuture>,
    /// How many futures at once were set aside last: twice as many are called next. So any number that never come are passed soon,
    /// and of those that do not many are woken for one place.
    set_aside: usize,
}

impl LaneQueue {
    fn first(&self) -> Option<u64> {
        let (prompt, future) = (self.prompt.keys().next(), self.futures.keys().next());
        prompt.into_iter().chain(future).min().copied()
    }

    /// The first, if it certainly comes.
    fn first_prompt(&self) -> Option<&Arc<BlockedSubmitter>> {
        let (ticket, submitter) = self.prompt.first_key_value()?;
        (self.first() == Some(*ticket)).then_some(submitter)
    }

    /// The first, if it may not come.
    fn first_future(&self) -> Option<&CalledFuture> {
        let (ticket, future) = self.futures.first_key_value()?;
        (self.first() == Some(*ticket)).then_some(future)
    }

    /// Takes the futures out that nobody in line has to wait for any more; says whether there were any.
    fn set_aside(&mut self, now: Instant) -> bool {
        let mut set_aside = 0;
        while self.first_future().is_some_and(|future| future.is_overdue(now)) {
            self.futures.pop_first();
            set_aside += 1;
        }
        if set_aside > 0 {
            self.set_aside = set_aside;
        }
        set_aside > 0
    }

    /// Calls the first if it was not called, or cannot be waited for any longer.
    fn notify_one(&mut self, now: Instant, woken: &mut Vec<Arc<BlockedSubmitter>>) {
        loop {
            self.set_aside(now);
            if let Some(first) = self.first_prompt() {
                first.add_notification();
                woken.push(Arc::clone(first));
                return;
            }
            let most = (2 * std::mem::take(&mut self.set_aside)).max(1);
            let end = self.prompt.keys().next().copied().unwrap_or(u64::MAX);
            let before = woken.len();
            for (_, future) in
                self.futures.range_mut(..end).take(most).filter(|(_, future)| future.notified_at.is_none())
            {
                future.notified_at = Some(now);
                future.submitter.add_notification();
                woken.push(Arc::clone(&future.submitter));
            }
            let has_called = woken.len() > before;
            if has_called && GRACE.is_zero() {
                continue;
            }
            // It may have to pass them, and so needs to know when.
            woken.extend(self.prompt.values().next().filter(|_| has_called).cloned());
            return;
        }
    }
}

/// The lanes in which somebody waits, by door.
pub(super) struct LaneQueues {
    by_lane: BTreeMap<usize, LaneQueue>,
    tickets: u64,
}

impl LaneQueues {
    pub(super) fn new() -> Self {
        LaneQueues { by_lane: BTreeMap::new(), tickets: 0 }
    }

    /// A place at the end of a lane.
    pub(super) fn join(&mut self, lane: usize, me: &Arc<BlockedSubmitter>) -> u64 {
        let ticket = self.tickets;
        self.tickets += 1;
        self.insert(lane, ticket, me);
        ticket
    }

    fn insert(&mut self, lane: usize, ticket: u64, me: &Arc<BlockedSubmitter>) {
        let (queue, me) = (self.by_lane.entry(lane).or_default(), Arc::clone(me));
        if me.is_prompt {
            queue.prompt.insert(ticket, me);
        } else {
            queue.futures.insert(ticket, CalledFuture { submitter: me, notified_at: None });
        }
    }

    /// A future has come: whatever it was called for, it is about to see. If it had been set aside it is in line again.
    pub(super) fn returned(&mut self, lane: usize, ticket: u64, me: &Arc<BlockedSubmitter>) {
        match self.by_lane.get_mut(&lane).and_then(|queue| queue.futures.get_mut(&ticket)) {
            Some(future) => future.notified_at = None,
            None => self.insert(lane, ticket, me),
        }
    }

    /// Gives a place up; says whether it was the first. It may have been set aside.
    pub(super) fn leave(&mut self, lane: usize, ticket: u64) -> bool {
        let Some(queue) = self.by_lane.get_mut(&lane) else { return false };
        let was_first = queue.first() == Some(ticket);
        queue.prompt.remove(&ticket);
        queue.futures.remove(&ticket);
        self.clear(lane);
        was_first
    }

    /// A lane is there while somebody waits in it.
    fn clear(&mut self, lane: usize) {
        if self.by_lane.get(&lane).is_some_and(|queue| queue.first().is_none()) {
            self.by_lane.remove(&lane);
        }
    }

    pub(super) fn is_head(&self, lane: usize, ticket: u64) -> bool {
        self.by_lane.get(&lane).and_then(LaneQueue::first) == Some(ticket)
    }

    /// How many in a lane certainly come.
    pub(super) fn prompt(&self, lane: usize) -> usize {
        self.by_lane.get(&lane).map_or(0, |queue| queue.prompt.len())
    }

    pub(super) fn lane_after(&self, lane: Option<usize>) -> Option<usize> {
        let from = lane.map_or(0, |lane| lane + 1);
        self.by_lane.range(from..).next().map(|(lane, _)| *lane)
    }

    /// The first of a lane, if that is the only one, and it certainly comes.
    pub(super) fn only_head(&self, lane: usize) -> Option<&Arc<BlockedSubmitter>> {
        let first = self.by_lane.get(&lane)?.first_prompt();
        if self.by_lane.len() == 1 { first } else { None }
    }

    pub(super) fn len(&self) -> usize {
        self.by_lane.len()
    }

    /// Calls the first of a lane; who is to be woken.
    pub(super) fn notify_one(&mut self, lane: usize, woken: &mut Vec<Arc<BlockedSubmitter>>) {
        if let Some(queue) = self.by_lane.get_mut(&lane) {
            // The clock is for futures only.
            let now = if queue.futures.is_empty() { None } else { Some(Instant::now()) };
            match now {
                Some(now) => queue.notify_one(now, woken),
                None => woken.extend(queue.first_prompt().inspect(|first| first.add_notification()).cloned()),
            }
            self.clear(lane);
        }
    }

    /// Sets aside the futures that were called and have not come; the doors of those lanes.
    pub(super) fn set_aside(&mut self, now: Instant) -> Vec<usize> {
        let queues = self.by_lane.iter_mut();
        let moved: Vec<_> = queues.filter_map(|(lane, queue)| queue.set_aside(now).then_some(*lane)).collect();
        moved.iter().for_each(|lane| self.clear(*lane));
        moved
    }

    /// When the next future is to be set aside.
    pub(super) fn grace_ends(&self) -> Option<Instant> {
        let notified_at = self.by_lane.values().filter_map(|queue| queue.first_future()?.notified_at);
        notified_at.min().and_then(|notified_at| notified_at.checked_add(GRACE))
    }

    /// Whether somebody is certainly on the way in, or to learn that there is no room after all.
    pub(super) fn makes_progress(&self) -> bool {
        self.by_lane.values().filter_map(LaneQueue::first_prompt).any(|first| first.is_notified())
    }

    /// Everybody, in order in each lane. Those set aside have been woken.
    pub(super) fn all(&self) -> Vec<Arc<BlockedSubmitter>> {
        let mut all = Vec::new();
        for (lane, queue) in &self.by_lane {
            all.extend(queue.prompt.iter().map(|(ticket, submitter)| (lane, ticket, submitter)));
            all.extend(queue.futures.iter().map(|(ticket, future)| (lane, ticket, &future.submitter)));
        }
        all.sort_unstable_by_key(|(lane, ticket, _)| (**lane, **ticket));
        all.into_iter().map(|(_, _, submitter)| Arc::clone(submitter)).collect()
    }
}
