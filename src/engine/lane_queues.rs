//! The waiters of each lane, in order: what the wait queues keep under their lock.
//!
//! A thread that is notified comes. A future may never be polled again, so it holds up those behind it for [`GRACE`] at most. If it was
//! not polled by then, it is set aside and the next is notified. When it is polled after all, it is back at its old position.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use crate::queue::RoomOrder;
use crate::sync::clock;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicUsize, IS_CHECKED, Mutex, Ordering};

/// How long a notified future holds up those behind it. Executors poll a woken task within some microseconds. Loom and shuttle have no
/// clock: there it does not hold them up at all.
const GRACE: Duration = if IS_CHECKED { Duration::ZERO } else { Duration::from_millis(2) };

pub(super) struct BlockedSubmitter {
    /// Taken to wake a future, which leaves another one when it is polled.
    waiter: Mutex<Option<Waiter>>,
    /// Whether it certainly acts on a notification.
    is_prompt: bool,
    /// The number of its notifications. The first one is its own, when it joins.
    notifications: AtomicUsize,
    /// How many of them its last attempt has consumed.
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
        // ORDERING: Release pairs with the Acquire in `notifications`: the submitter sees the room that was made.
        self.notifications.fetch_add(1, Ordering::Release);
    }

    pub(super) fn notifications(&self) -> usize {
        // ORDERING: Acquire, see `add_notification`.
        self.notifications.load(Ordering::Acquire)
    }

    /// Records that its last attempt has consumed this number of notifications.
    pub(super) fn consume_notification(&self, notifications: usize) {
        // ORDERING: Relaxed, see `is_notified`.
        self.consumed.store(notifications, Ordering::Relaxed);
    }

    /// Whether it will try to submit.
    pub(super) fn is_notified(&self) -> bool {
        // ORDERING: Relaxed. The submitter reads its own store. Another thread that reads too low a number takes it for notified a while
        // longer, until blocked workers are rechecked (see `WaitGuard`).
        self.notifications() != self.consumed.load(Ordering::Relaxed)
    }

    /// What wakes it. `None` for a future that was woken and not polled since.
    pub(super) fn waiter(&self) -> Option<Waiter> {
        let mut waiter = self.waiter.lock();
        match &*waiter {
            // Cloning a waker runs user code, which must not happen under this lock.
            Some(Waiter::Task(_) | Waiter::Inline(_)) => waiter.take(),
            other => other.clone(),
        }
    }

    /// Replaces the waiter.
    pub(super) fn set_waiter(&self, waiter: Waiter) {
        let before = self.waiter.lock().replace(waiter);
        // Not under the lock, because dropping a waker runs user code.
        before.into_iter().for_each(Waiter::discard);
    }

    /// Removes the waiter.
    pub(super) fn forget_waiter(&self) {
        let before = self.waiter.lock().take();
        before.into_iter().for_each(Waiter::discard);
    }
}

struct WaitingFuture {
    submitter: Arc<BlockedSubmitter>,
    /// When it was notified, if it was not polled since.
    notified_at: Option<Instant>,
}

impl WaitingFuture {
    fn is_overdue(&self, now: Instant) -> bool {
        self.notified_at.is_some_and(|notified_at| now.saturating_duration_since(notified_at) >= GRACE)
    }
}

/// The waiters of one lane, by ticket.
#[derive(Default)]
struct LaneQueue {
    prompt: BTreeMap<u64, Arc<BlockedSubmitter>>,
    /// The waiters that are not prompt.
    futures: BTreeMap<u64, WaitingFuture>,
    /// How many futures were set aside together last. Twice as many are notified next, so any number of futures that are never polled is
    /// passed soon, while few are woken in vain for one slot.
    set_aside: usize,
}

impl LaneQueue {
    fn first(&self) -> Option<u64> {
        let (prompt, future) = (self.prompt.keys().next(), self.futures.keys().next());
        prompt.into_iter().chain(future).min().copied()
    }

    /// The head, if it is prompt.
    fn first_prompt(&self) -> Option<&Arc<BlockedSubmitter>> {
        let (ticket, submitter) = self.prompt.first_key_value()?;
        (self.first() == Some(*ticket)).then_some(submitter)
    }

    /// The head, if it is not prompt.
    fn first_future(&self) -> Option<&WaitingFuture> {
        let (ticket, future) = self.futures.first_key_value()?;
        (self.first() == Some(*ticket)).then_some(future)
    }

    /// Removes the futures at the head whose grace is over. Returns whether there were any.
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

    /// Notifies the head if it was not notified, or passes it if its grace is over.
    fn notify_head(&mut self, now: Instant, woken: &mut Vec<Arc<BlockedSubmitter>>) {
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
            let has_notified = woken.len() > before;
            if has_notified && GRACE.is_zero() {
                continue;
            }
            // The first prompt waiter may have to pass these futures, so it must know when.
            woken.extend(self.prompt.values().next().filter(|_| has_notified).cloned());
            return;
        }
    }
}

/// The lanes that have waiters.
pub(super) struct LaneQueues {
    by_lane: BTreeMap<usize, LaneQueue>,
    tickets: u64,
    /// How many waiters of all lanes are prompt.
    prompt: usize,
    order: RoomOrder,
    /// The lane whose head left last, where lanes take turns.
    last_turn: usize,
}

/// The lanes that room was offered to in one go.
pub(super) struct Offers {
    /// How many lanes are left.
    left: usize,
    /// Where lanes take turns, the last one is enough.
    made: Vec<usize>,
    last: usize,
}

impl LaneQueues {
    pub(super) fn new(order: RoomOrder) -> Self {
        LaneQueues { by_lane: BTreeMap::new(), tickets: 0, prompt: 0, order, last_turn: 0 }
    }

    /// Adds a waiter at the end of a lane. Returns its ticket.
    pub(super) fn join(&mut self, lane: usize, submitter: &Arc<BlockedSubmitter>) -> u64 {
        let ticket = self.tickets;
        self.tickets += 1;
        self.insert(lane, ticket, submitter);
        ticket
    }

    fn insert(&mut self, lane: usize, ticket: u64, submitter: &Arc<BlockedSubmitter>) {
        let (queue, submitter) = (self.by_lane.entry(lane).or_default(), Arc::clone(submitter));
        if submitter.is_prompt {
            self.prompt += 1;
            queue.prompt.insert(ticket, submitter);
        } else {
            queue.futures.insert(ticket, WaitingFuture { submitter, notified_at: None });
        }
    }

    /// Records that a future was polled and is about to try. If it was set aside, it is back in its lane.
    pub(super) fn returned(&mut self, lane: usize, ticket: u64, submitter: &Arc<BlockedSubmitter>) {
        match self.by_lane.get_mut(&lane).and_then(|queue| queue.futures.get_mut(&ticket)) {
            Some(future) => future.notified_at = None,
            None => self.insert(lane, ticket, submitter),
        }
    }

    /// Removes a waiter, which may have been set aside. Returns whether it was the head.
    pub(super) fn leave(&mut self, lane: usize, ticket: u64) -> bool {
        let Some(queue) = self.by_lane.get_mut(&lane) else { return false };
        let was_first = queue.first() == Some(ticket);
        self.prompt -= usize::from(queue.prompt.remove(&ticket).is_some());
        queue.futures.remove(&ticket);
        self.clear(lane);
        if was_first {
            match &mut self.order {
                RoomOrder::Separate => {}
                RoomOrder::Levels(turns) => turns.lane_went(lane, |lane| self.by_lane.contains_key(&lane)),
                RoomOrder::Turns { .. } => self.last_turn = lane,
            }
        }
        was_first
    }

    /// The lane that may have room when the head of this one has left.
    pub(super) fn lane_for_next(&self, lane: usize) -> Option<usize> {
        match self.order {
            RoomOrder::Separate => Some(lane),
            _ => self.next_offer(&mut self.offers()),
        }
    }

    pub(super) fn offers(&self) -> Offers {
        Offers { left: self.by_lane.len(), made: Vec::new(), last: self.last_turn }
    }

    /// The next lane that room is to be offered to, where they share it.
    pub(super) fn next_offer(&self, offers: &mut Offers) -> Option<usize> {
        offers.left = offers.left.checked_sub(1)?;
        if let RoomOrder::Levels(turns) = &self.order {
            let is_new = |lane| self.by_lane.contains_key(&lane) && !offers.made.contains(&lane);
            let lane = turns.next_lane(is_new)?;
            offers.made.push(lane);
            return Some(lane);
        }
        offers.last = self.lane_after(Some(offers.last)).or_else(|| self.lane_after(None))?;
        Some(offers.last)
    }

    /// Whether the head of a lane is prompt.
    pub(super) fn has_prompt_head(&self, lane: usize) -> bool {
        self.by_lane.get(&lane).is_some_and(|queue| queue.first_prompt().is_some())
    }

    /// How many waiters of all lanes are prompt.
    pub(super) fn all_prompt(&self) -> usize {
        self.prompt
    }

    /// Removes a lane without waiters.
    fn clear(&mut self, lane: usize) {
        if self.by_lane.get(&lane).is_some_and(|queue| queue.first().is_none()) {
            self.by_lane.remove(&lane);
        }
    }

    pub(super) fn is_head(&self, lane: usize, ticket: u64) -> bool {
        self.by_lane.get(&lane).and_then(LaneQueue::first) == Some(ticket)
    }

    /// How many waiters of a lane are prompt.
    pub(super) fn prompt(&self, lane: usize) -> usize {
        self.by_lane.get(&lane).map_or(0, |queue| queue.prompt.len())
    }

    pub(super) fn lane_after(&self, lane: Option<usize>) -> Option<usize> {
        let from = lane.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_lane.range((from, Bound::Unbounded)).next().map(|(lane, _)| *lane)
    }

    /// The head of a lane, if this is the only lane and the head is prompt.
    pub(super) fn only_head(&self, lane: usize) -> Option<&Arc<BlockedSubmitter>> {
        let first = self.by_lane.get(&lane)?.first_prompt();
        if self.by_lane.len() == 1 { first } else { None }
    }

    pub(super) fn len(&self) -> usize {
        self.by_lane.len()
    }

    /// Notifies the head of a lane. Adds those to wake to `woken`.
    pub(super) fn notify_head(&mut self, lane: usize, woken: &mut Vec<Arc<BlockedSubmitter>>) {
        if let Some(queue) = self.by_lane.get_mut(&lane) {
            // Only futures need the clock.
            let now = if queue.futures.is_empty() { None } else { Some(clock::now()) };
            match now {
                Some(now) => queue.notify_head(now, woken),
                None => woken.extend(queue.first_prompt().inspect(|first| first.add_notification()).cloned()),
            }
            self.clear(lane);
        }
    }

    /// Sets aside the futures that were notified and not polled. Returns their lanes.
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

    /// Whether a waiter certainly tries to submit soon, and so finds room or learns that there is none.
    pub(super) fn makes_progress(&self) -> bool {
        self.by_lane.values().filter_map(LaneQueue::first_prompt).any(|first| first.is_notified())
    }

    /// All waiters, in order in each lane. Those that are set aside were woken before.
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
