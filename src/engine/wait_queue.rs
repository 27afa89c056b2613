//! The lines at the doors: submitters that found the pool full, first come first served at each door.
//!
//! Only the first in a line tries to enter. A worker that makes room calls it; when it leaves the line, let
//! in or given up, it calls the next, so room for several is found by several, and no call is lost with
//! a waiter that goes away. A future that is called and does not come is set aside after a while, so that it holds up nobody
//! (`queues.rs`).

use std::time::Instant;

use crossbeam_utils::CachePadded;

use super::lane_queues::{BlockedSubmitter, LaneQueues};
use crate::cancel::earlier;
use crate::queue::DEFAULT_LANE;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, fence, fence_after_rmw, park};

/// The lines of one pool, one for each door of its queue.
pub(crate) struct WaitQueue {
    /// How many wait in all, for those who must not take the lock to learn that nobody does.
    waiting: CachePadded<AtomicUsize>,
    /// How many of those at the main door certainly come.
    prompt: AtomicUsize,
    /// The only line's first was called, will come, and has not looked yet. Those who make room meanwhile need not call it again.
    is_notified: AtomicBool,
    queues: Mutex<LaneQueues>,
}

impl WaitQueue {
    pub(crate) fn new() -> Self {
        WaitQueue {
            waiting: CachePadded::new(AtomicUsize::new(0)),
            prompt: AtomicUsize::new(0),
            is_notified: AtomicBool::new(false),
            queues: Mutex::new(LaneQueues::new()),
        }
    }

    /// How many wait, at whichever door.
    pub(crate) fn waiting(&self) -> usize {
        // ORDERING: Relaxed. `call` fences before it; others take it as a guess.
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many of those who wait at this door will certainly come when there is room, so that a newcomer must leave it to them. A
    /// future is not one of them: it may never be polled again. Costs one load where nobody waits at any door.
    pub(crate) fn reserved_for(&self, lane: usize) -> usize {
        match self.waiting() {
            0 => 0,
            _ => self.reserved_at(lane),
        }
    }

    #[cold]
    fn reserved_at(&self, lane: usize) -> usize {
        if lane == DEFAULT_LANE {
            // ORDERING: Acquire pairs with the Release in `join`: who finds that one waits finds it counted here.
            fence(Ordering::Acquire);
            // ORDERING: Acquire pairs with the Release in `count_prompt`: who finds one less finds it gone from `waiting` too.
            self.prompt.load(Ordering::Acquire)
        } else {
            self.queues.lock().prompt(lane)
        }
    }

    /// To be called under the lock, after a change of a lane.
    fn count_prompt(&self, queues: &LaneQueues, lane: usize) {
        if lane == DEFAULT_LANE {
            // ORDERING: Release, see `reserved_at`.
            self.prompt.store(queues.prompt(lane), Ordering::Release);
        }
    }

    /// Queues a submitter up at a door, unless `most` wait already.
    pub(crate) fn join(&self, lane: usize, most: usize, waiter: Waiter) -> Option<WaitNode<'_>> {
        let me = BlockedSubmitter::new(waiter);
        let mut queues = self.queues.lock();
        // ORDERING: Relaxed; written under this lock, and the fence below orders it for those who do not take it.
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting >= most {
            drop(queues);
            me.forget_waiter();
            return None;
        }
        let ticket = queues.join(lane, &me);
        self.count_prompt(&queues, lane);
        // ORDERING: Release, see `reserved_at`.
        self.waiting.store(waiting + 1, Ordering::Release);
        if queues.len() > 1 {
            // ORDERING: Relaxed, as `waiting` above.
            self.is_notified.store(false, Ordering::Relaxed);
        }
        drop(queues);
        // ORDERING: SeqCst fence between the entry above and the try to enter that follows; `call` has the
        // other between the room made and its look at `waiting`. One of the two sees the other.
        fence_after_rmw();
        Some(WaitNode { wait_queue: self, lane, ticket, me })
    }

    /// There is room behind every door that `has_room` says it of: lets the first in each of these lines try. To be called after
    /// a read-modify-write that made the room; costs two loads when nobody waits, or the first is on its way.
    #[inline]
    pub(crate) fn notify_one(&self, has_room: impl Fn(usize) -> bool) {
        fence_after_rmw();
        // ORDERING: Relaxed, after the fence; the first in line has the other between taking the mark away and its try.
        if self.waiting() > 0 && !self.is_notified.load(Ordering::Relaxed) {
            self.notify_where(has_room);
        }
    }

    #[cold]
    #[inline(never)]
    fn notify_where(&self, has_room: impl Fn(usize) -> bool) {
        let mut lane = None;
        while self.waiting() > 0 {
            lane = self.queues.lock().lane_after(lane);
            match lane {
                Some(lane) if has_room(lane) => self.notify_lane(lane),
                Some(_) => {}
                None => return,
            }
        }
    }

    fn notify_lane(&self, lane: usize) {
        let mut woken = Vec::new();
        self.add_notification(&mut self.queues.lock(), lane, &mut woken);
        wake(&woken);
    }

    /// The mark is for a pool with one line: another's first may have to be called when this one's need not. It is made under
    /// the lock, and only for the first, so that whoever has it takes it away.
    fn add_notification(&self, queues: &mut LaneQueues, lane: usize, woken: &mut Vec<Arc<BlockedSubmitter>>) {
        if queues.only_head(lane).is_some() {
            // ORDERING: Relaxed, see `call`; and before the call is counted, so that whoever knows of the call finds the mark.
            self.is_notified.store(true, Ordering::Relaxed);
        }
        queues.notify_one(lane, woken);
    }

    /// Sets aside the futures that were called and have not come, and calls those behind them. To be called before a sleep that
    /// [`grace_ends`](Self::grace_ends) limits.
    pub(crate) fn pass_late_futures(&self, has_room: impl Fn(usize) -> bool) {
        if self.waiting() == 0 {
            return;
        }
        let lanes = self.queues.lock().set_aside(Instant::now());
        lanes.into_iter().filter(|lane| has_room(*lane)).for_each(|lane| self.notify_lane(lane));
    }

    /// When a future that was called, and has not come, is to be set aside.
    pub(crate) fn grace_ends(&self) -> Option<Instant> {
        if self.waiting() == 0 { None } else { self.queues.lock().grace_ends() }
    }

    /// Whether somebody in line is certainly on the way in, or to learn that there is no room after all.
    pub(crate) fn makes_progress(&self) -> bool {
        self.waiting() > 0 && self.queues.lock().makes_progress()
    }

    /// Something changed for everyone in line (the pool was closed).
    pub(crate) fn notify_all(&self) {
        let all = self.queues.lock().all();
        all.iter().for_each(|submitter| submitter.add_notification());
        wake(&all);
    }
}

/// May run an executor's code: not to be called under a lock.
fn wake(notified: &[Arc<BlockedSubmitter>]) {
    notified.iter().filter_map(|submitter| submitter.waiter()).for_each(Waiter::wake);
}

/// A submitter's place in line; dropping it leaves the line and calls the next.
pub(crate) struct WaitNode<'a> {
    wait_queue: &'a WaitQueue,
    lane: usize,
    ticket: u64,
    me: Arc<BlockedSubmitter>,
}

impl WaitNode<'_> {
    pub(crate) fn is_head(&self) -> bool {
        self.wait_queue.queues.lock().is_head(self.lane, self.ticket)
    }

    /// Answers all calls that came before, with a `look` at whether it can go in.
    pub(crate) fn consume_notification<T>(&self, look: impl FnOnce() -> T) -> T {
        let notifications = self.me.notifications();
        if !self.me.is_prompt() {
            self.wait_queue.queues.lock().returned(self.lane, self.ticket, &self.me);
        }
        // ORDERING: Relaxed, and the fence: whoever makes room after the look finds no mark, and calls. (A mark that is not this
        // one's may go as well: that costs a call too many.)
        self.wait_queue.is_notified.swap(false, Ordering::Relaxed);
        fence_after_rmw();
        let found = look();
        self.me.consume_notification(notifications);
        found
    }

    /// Whether it was called since the look that was its last [`consume_notification`](Self::consume_notification).
    pub(crate) fn is_notified(&self) -> bool {
        self.me.is_notified()
    }

    /// Sleeps until then, or until everyone is called, as one who has called itself: nobody else need do so meanwhile, and it has
    /// to look when it is back.
    pub(crate) fn timed_park(&self, until: Instant) {
        let queues = self.wait_queue.queues.lock();
        if queues.only_head(self.lane).is_some_and(|first| Arc::ptr_eq(first, &self.me)) {
            // ORDERING: Relaxed, see `add_notification`.
            self.wait_queue.is_notified.store(true, Ordering::Relaxed);
        }
        self.me.add_notification();
        drop(queues);
        park(Some(until));
    }

    /// Waits to be called, at most until `deadline`; may return for no reason.
    pub(crate) fn wait(&self, deadline: Option<Instant>) {
        // Not to wait longer than need be for a future that was called before.
        let deadline = earlier(deadline, self.wait_queue.grace_ends());
        // A call that came before the wait must not be lost to code that used up this thread's park token in between.
        if !self.is_notified() {
            park(deadline);
        }
    }

    /// Has another waiter woken from now on.
    pub(crate) fn set_waiter(&self, waiter: Waiter) {
        self.me.set_waiter(waiter);
    }
}

impl Drop for WaitNode<'_> {
    fn drop(&mut self) {
        let mut woken = Vec::new();
        let mut queues = self.wait_queue.queues.lock();
        // ORDERING: Relaxed. Under the lock; too high a number costs its reader a look at the lines, under the lock.
        self.wait_queue.waiting.store(self.wait_queue.waiting.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        let was_first = queues.leave(self.lane, self.ticket);
        self.wait_queue.count_prompt(&queues, self.lane);
        if was_first {
            // Called under the lock, so that there is always one who is on the way while there is room.
            self.wait_queue.is_notified.store(false, Ordering::Relaxed);
            self.wait_queue.add_notification(&mut queues, self.lane, &mut woken);
        }
        drop(queues);
        wake(&woken);
        self.me.forget_waiter();
    }
}
