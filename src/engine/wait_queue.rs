//! The wait queues: submitters that found the pool full, first come first served in each lane.
//!
//! Only the head of a lane's wait queue tries to submit. A worker that makes room notifies it. When it leaves, admitted or not, it
//! notifies the next. So room for several submitters is found by several, and no notification is lost with a waiter that goes away. A
//! future that is notified and not polled is set aside after a while, so that it does not hold up the others (`lane_queues.rs`).

#[cfg(feature = "tower")]
use std::future::poll_fn;
#[cfg(feature = "tower")]
use std::task::{Context, Poll};
use std::time::Instant;

use crossbeam_utils::CachePadded;

use super::lane_queues::{BlockedSubmitter, LaneQueues};
use crate::cancel::earlier;
use crate::queue::DEFAULT_LANE;
use crate::sync::clock;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, fence, fence_after_rmw, park};

/// The wait queues of one pool, one for each lane of its queue.
pub(crate) struct WaitQueue {
    /// The number of waiters in all lanes, for threads that must not take the lock to learn that there is none.
    waiting: CachePadded<AtomicUsize>,
    /// How many waiters of the default lane are prompt, which means that they certainly act on a notification.
    prompt: AtomicUsize,
    /// The only wait queue's head is prompt, was notified, and has not tried yet. Threads that make room need not notify it again.
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

    /// The number of waiters in all lanes.
    pub(crate) fn waiting(&self) -> usize {
        // ORDERING: Relaxed. `notify_heads` fences before it; for others it is a hint.
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many waiters of this lane certainly take room when there is some, so that a newcomer must leave it to them. A future does not
    /// count, because it may never be polled again. Costs one load where no lane has a waiter.
    #[inline]
    pub(crate) fn reserved_for(&self, lane: usize) -> usize {
        match self.waiting() {
            0 => 0,
            _ => self.reserved_at(lane),
        }
    }

    #[cold]
    fn reserved_at(&self, lane: usize) -> usize {
        if lane == DEFAULT_LANE {
            // ORDERING: Acquire pairs with the Release in `join`: a thread that sees a waiter sees it counted here.
            fence(Ordering::Acquire);
            // ORDERING: Acquire pairs with the Release in `count_prompt`: a thread that sees one less here sees one less in `waiting` too.
            self.prompt.load(Ordering::Acquire)
        } else {
            self.queues.lock().prompt(lane)
        }
    }

    /// Updates `prompt`. It is called under the lock, after a change of a lane.
    fn count_prompt(&self, queues: &LaneQueues, lane: usize) {
        if lane == DEFAULT_LANE {
            // ORDERING: Release, see `reserved_at`.
            self.prompt.store(queues.prompt(lane), Ordering::Release);
        }
    }

    /// Adds a submitter to the wait queue of a lane, unless `most` wait already.
    pub(crate) fn join(&self, lane: usize, most: usize, waiter: Waiter) -> Option<WaitNode<'_>> {
        let submitter = BlockedSubmitter::new(waiter);
        let mut queues = self.queues.lock();
        // ORDERING: Relaxed. It is written under this lock. For readers without the lock, the fence below orders it.
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting >= most {
            drop(queues);
            submitter.forget_waiter();
            return None;
        }
        let ticket = queues.join(lane, &submitter);
        self.count_prompt(&queues, lane);
        // ORDERING: Release, see `reserved_at`.
        self.waiting.store(waiting + 1, Ordering::Release);
        if queues.len() > 1 {
            // ORDERING: Relaxed, as for `waiting` above.
            self.is_notified.store(false, Ordering::Relaxed);
        }
        drop(queues);
        // ORDERING: SeqCst fence between the entry above and the attempt to submit that follows. `notify_heads` has the other fence,
        // between the room that was made and its read of `waiting`. One of the two sees the other.
        fence_after_rmw();
        Some(WaitNode { wait_queue: self, lane, ticket, submitter })
    }

    /// Notifies the head of each wait queue in whose lane there is room, as `has_room` says. Call it after a read-modify-write that made
    /// the room. Costs two loads when there is no waiter, or the head is notified already.
    #[inline]
    pub(crate) fn notify_heads(&self, has_room: impl Fn(usize) -> bool) {
        fence_after_rmw();
        // ORDERING: Relaxed, after the fence. The head has the other fence between clearing the flag and its attempt.
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

    /// The flag is for a pool with one wait queue: with several, another queue's head may need a notification when this one does not. It
    /// is set under the lock, and only for a prompt head, which clears it.
    fn add_notification(&self, queues: &mut LaneQueues, lane: usize, woken: &mut Vec<Arc<BlockedSubmitter>>) {
        if queues.only_head(lane).is_some() {
            // ORDERING: Relaxed, see `notify_heads`. It comes before the count, so that a waiter that sees the notification sees the flag.
            self.is_notified.store(true, Ordering::Relaxed);
        }
        queues.notify_head(lane, woken);
    }

    /// Sets aside the futures that were notified and not polled, and notifies those behind them. Call it before a sleep that is limited by
    /// [`grace_ends`](Self::grace_ends).
    pub(crate) fn pass_late_futures(&self, has_room: impl Fn(usize) -> bool) {
        if self.waiting() == 0 {
            return;
        }
        let lanes = self.queues.lock().set_aside(clock::now());
        lanes.into_iter().filter(|lane| has_room(*lane)).for_each(|lane| self.notify_lane(lane));
    }

    /// When the next future that was notified and not polled is to be set aside.
    pub(crate) fn grace_ends(&self) -> Option<Instant> {
        if self.waiting() == 0 { None } else { self.queues.lock().grace_ends() }
    }

    /// Whether a waiter certainly tries to submit soon, and so finds room or learns that there is none.
    pub(crate) fn makes_progress(&self) -> bool {
        self.waiting() > 0 && self.queues.lock().makes_progress()
    }

    /// Waits as a submitter does, with whatever `enter` returns, until it is the first in its lane and there is room, or until the wait
    /// `is_over`. Then it leaves, and the next is notified.
    #[cfg(feature = "tower")]
    pub(crate) async fn room<G>(
        &self,
        lane: usize,
        has_room: impl Fn() -> bool,
        is_over: impl Fn() -> bool,
        enter: impl Fn() -> G,
    ) {
        let mut joined = None;
        let wait = |poller: &mut Context<'_>| {
            let waiter = Waiter::Task(poller.waker().clone());
            let (node, _) = match &mut joined {
                Some(joined) => {
                    let (node, _): &(WaitNode<'_>, G) = joined;
                    node.set_waiter(waiter);
                    joined
                }
                none => {
                    let entered = enter();
                    let Some(node) = self.join(lane, usize::MAX, waiter) else { return Poll::Ready(()) };
                    none.insert((node, entered))
                }
            };
            loop {
                if node.consume_notification(|| is_over() || node.is_head() && has_room()) {
                    return Poll::Ready(());
                }
                if !node.is_notified() {
                    return Poll::Pending;
                }
            }
        };
        poll_fn(wait).await;
    }

    /// Notifies all waiters, after a change that concerns all of them (the pool was closed).
    pub(crate) fn notify_all(&self) {
        let all = self.queues.lock().all();
        all.iter().for_each(|submitter| submitter.add_notification());
        wake(&all);
    }
}

/// Wakes the notified waiters. It may run an executor's code, so it must not be called under a lock.
fn wake(notified: &[Arc<BlockedSubmitter>]) {
    notified.iter().filter_map(|submitter| submitter.waiter()).for_each(Waiter::wake);
}

/// A submitter's entry in a wait queue. Dropping it leaves the queue, and notifies the next if this was the head.
pub(crate) struct WaitNode<'a> {
    wait_queue: &'a WaitQueue,
    lane: usize,
    ticket: u64,
    submitter: Arc<BlockedSubmitter>,
}

impl WaitNode<'_> {
    pub(crate) fn is_head(&self) -> bool {
        self.wait_queue.queues.lock().is_head(self.lane, self.ticket)
    }

    /// Consumes all notifications that came before, by calling `attempt`, which tries to submit.
    pub(crate) fn consume_notification<T>(&self, attempt: impl FnOnce() -> T) -> T {
        let notifications = self.submitter.notifications();
        if !self.submitter.is_prompt() {
            self.wait_queue.queues.lock().returned(self.lane, self.ticket, &self.submitter);
        }
        // ORDERING: Relaxed, with the fence: a thread that makes room after the attempt finds the flag cleared, and notifies. (The flag may
        // be that of another submitter. Clearing it costs one notification too many.)
        self.wait_queue.is_notified.swap(false, Ordering::Relaxed);
        fence_after_rmw();
        let found = attempt();
        self.submitter.consume_notification(notifications);
        found
    }

    /// Whether it was notified since the attempt in its last [`consume_notification`](Self::consume_notification).
    pub(crate) fn is_notified(&self) -> bool {
        self.submitter.is_notified()
    }

    /// Parks until then, or until all are notified, as a waiter that has notified itself: no other thread need do so meanwhile, and it
    /// tries again afterwards.
    pub(crate) fn timed_park(&self, until: Instant) {
        let queues = self.wait_queue.queues.lock();
        if queues.only_head(self.lane).is_some_and(|first| Arc::ptr_eq(first, &self.submitter)) {
            // ORDERING: Relaxed, see `add_notification`.
            self.wait_queue.is_notified.store(true, Ordering::Relaxed);
        }
        self.submitter.add_notification();
        drop(queues);
        park(Some(until));
    }

    /// Blocks until it is notified, at most until `deadline`. May return spuriously.
    pub(crate) fn wait(&self, deadline: Option<Instant>) {
        // A future that was notified before must not delay this waiter longer than its grace.
        let deadline = earlier(deadline, self.wait_queue.grace_ends());
        // A notification before the wait must not be lost to code that has consumed this thread's park token in between.
        if !self.is_notified() {
            park(deadline);
        }
    }

    /// Replaces the waiter that notifications wake.
    pub(crate) fn set_waiter(&self, waiter: Waiter) {
        self.submitter.set_waiter(waiter);
    }
}

impl Drop for WaitNode<'_> {
    fn drop(&mut self) {
        let mut woken = Vec::new();
        let mut queues = self.wait_queue.queues.lock();
        // ORDERING: Relaxed, under the lock. A number that is too high costs its reader a check under the lock.
        self.wait_queue.waiting.store(self.wait_queue.waiting.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        let was_first = queues.leave(self.lane, self.ticket);
        self.wait_queue.count_prompt(&queues, self.lane);
        if was_first {
            // Notified under the lock, so that a waiter is always about to try while there is room.
            self.wait_queue.is_notified.store(false, Ordering::Relaxed);
            self.wait_queue.add_notification(&mut queues, self.lane, &mut woken);
        }
        drop(queues);
        wake(&woken);
        self.submitter.forget_waiter();
    }
}
