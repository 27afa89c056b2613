//! Tasks beyond the bound, submitted by the pool's own workers.

use std::collections::VecDeque;

use super::Queue;
use super::Refused;
use super::list::List;
use super::{LazyItem, Load};
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};

/// A list beside the bounded queue of any kind. First in, first out within a lane; lanes take turns.
///
/// Both share the limit on running tasks: a task of this list starts under this lock, after the queue has been told that one
/// more task runs elsewhere ([`Queue::set_elsewhere`]). Lock order: this lock before the queue's.
pub(crate) struct Overflow<T> {
    /// Copies of values under the lock, for reads without it.
    waiting: AtomicUsize,
    is_limited: AtomicBool,
    state: Mutex<State<T>>,
}

struct State<T> {
    lanes: Lanes<T>,
    /// Tasks ever accepted.
    accepted: u64,
    running: usize,
    /// The most tasks that may run, from this list and from the queue together; `None` sets no limit beyond the number of
    /// workers.
    limit: Option<usize>,
    /// The most unfinished tasks of this list, waiting and running.
    max: usize,
    is_closed: bool,
}

impl<T> State<T> {
    /// Whether one more task may start beside the queue. Then the queue knows of it, if a limit is in force.
    fn reserve<Q: Queue<T>>(&self, queue: &Q) -> bool {
        let Some(limit) = self.limit else { return true };
        // From now on the queue starts no task that would exceed the limit together with this one. It may have started one before.
        queue.set_elsewhere(self.running + 1);
        let may_start = queue.load().running + self.running < limit;
        if !may_start {
            // Another worker may have found nothing because of this reservation, and sleep. The caller checks both lists again before it
            // sleeps (parking.md).
            queue.set_elsewhere(self.running);
        }
        may_start
    }

    fn unfinished(&self) -> usize {
        self.lanes.len + self.running
    }
}

/// One list for each lane in use. Lanes with tasks take turns, so one tenant's tasks do not wait for all of another's.
struct Lanes<T> {
    /// By lane.
    lists: Vec<List<T>>,
    /// The lanes that have tasks, in the order of their turns.
    turns: VecDeque<usize>,
    len: usize,
}

impl<T> Lanes<T> {
    fn push(&mut self, lane: usize, item: T) {
        if self.lists.len() <= lane {
            self.lists.resize_with(lane + 1, List::new);
        }
        if self.lists[lane].is_empty() {
            self.turns.push_back(lane);
        }
        self.lists[lane].push(item);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<T> {
        let lane = self.turns.pop_front()?;
        let item = self.lists[lane].pop()?;
        if !self.lists[lane].is_empty() {
            self.turns.push_back(lane);
        }
        self.len -= 1;
        Some(item)
    }

    fn sweep_into(&mut self, is_dead: &mut dyn FnMut(&T) -> bool, swept: &mut Vec<T>) {
        let before = swept.len();
        self.lists.iter_mut().for_each(|list| list.sweep_into(is_dead, swept));
        self.turns.retain(|lane| !self.lists[*lane].is_empty());
        self.len -= swept.len() - before;
    }

    fn drain_into(&mut self, drained: &mut Vec<T>) {
        self.lists.iter_mut().for_each(|list| list.drain_into(drained));
        self.turns.clear();
        self.len = 0;
    }
}

impl<T> Overflow<T> {
    /// Creates a list for at most `max` unfinished tasks.
    pub(super) fn new(max: usize) -> Self {
        Overflow {
            waiting: AtomicUsize::new(0),
            is_limited: AtomicBool::new(false),
            state: Mutex::new(State {
                lanes: Lanes { lists: Vec::new(), turns: VecDeque::new(), len: 0 },
                accepted: 0,
                running: 0,
                limit: None,
                max,
                is_closed: false,
            }),
        }
    }

    /// The number of waiting tasks. A hint, unless there are fences as for [`Queue::has_work`].
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        // ORDERING: Relaxed. A worker that must not miss the store in `publish` has a sequentially consistent fence between its
        // own announcement and this load, and the pusher has one after that store (parking.md).
        self.waiting.load(Ordering::Relaxed)
    }

    /// Publishes the number of waiting tasks. The caller holds the lock and releases it afterwards, so a fence after that
    /// follows a read-modify-write.
    fn publish(&self, state: &State<T>) {
        // ORDERING: Relaxed, see `waiting`.
        self.waiting.store(state.lanes.len, Ordering::Relaxed);
    }

    pub(super) fn push(&self, item: &mut (impl LazyItem<T> + ?Sized), lane: usize) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        if state.unfinished() >= state.max {
            return Err(Refused::Full);
        }
        state.accepted += 1;
        state.lanes.push(lane, item.build());
        self.publish(&state);
        Ok(())
    }

    /// Takes the next task if it may start; the task counts as running from now on.
    pub(super) fn pop<Q: Queue<T>>(&self, queue: &Q) -> Option<T> {
        let mut state = self.state.lock();
        if state.lanes.len == 0 || !state.reserve(queue) {
            return None;
        }
        state.running += 1;
        let item = state.lanes.pop();
        self.publish(&state);
        item
    }

    /// Starts a task that comes from neither of the two, if it may start and `take` finds one. It counts as accepted and as running from
    /// now on.
    pub(super) fn start<Q: Queue<T>>(&self, queue: &Q, take: impl FnOnce() -> Option<T>) -> Option<T> {
        let mut state = self.state.lock();
        if !state.reserve(queue) {
            return None;
        }
        let item = take();
        if item.is_some() {
            state.running += 1;
            state.accepted += 1;
        } else if state.limit.is_some() {
            queue.set_elsewhere(state.running);
        }
        item
    }

    /// Takes a task to run inside another one, which waits meanwhile. Does not change the count of running tasks.
    pub(super) fn pop_instead(&self) -> Option<T> {
        let mut state = self.state.lock();
        if state.limit == Some(0) {
            return None;
        }
        let item = state.lanes.pop();
        self.publish(&state);
        item
    }

    /// Counts a task that [`pop`](Self::pop) returned as finished.
    pub(super) fn finished<Q: Queue<T>>(&self, queue: &Q) {
        let mut state = self.state.lock();
        state.running -= 1;
        if state.limit.is_some() {
            queue.set_elsewhere(state.running);
        }
    }

    /// See [`Queue::has_work`].
    #[inline]
    pub(super) fn has_work<Q: Queue<T>>(&self, queue: &Q) -> bool {
        self.waiting() > 0 && self.may_start(queue)
    }

    #[cold]
    pub(super) fn may_start<Q: Queue<T>>(&self, queue: &Q) -> bool {
        // ORDERING: Relaxed. Threads that must not miss a change are woken after it, through a lock.
        !self.is_limited.load(Ordering::Relaxed) || {
            let state = self.state.lock();
            state.limit.is_none_or(|limit| queue.load().running + state.running < limit)
        }
    }

    /// Sets the limits of both. See [`Queue::set_limits`].
    pub(super) fn set_limits<Q: Queue<T>>(&self, queue: &Q, running: Option<usize>, workers: usize) {
        let mut state = self.state.lock();
        state.limit = running;
        // ORDERING: Relaxed, see `may_start`.
        self.is_limited.store(running.is_some(), Ordering::Relaxed);
        queue.set_elsewhere(state.running);
        queue.set_limits(running, workers);
    }

    /// The number of tasks that [`pop`](Self::pop) returned and that have not ended.
    pub(super) fn running(&self) -> usize {
        self.state.lock().running
    }

    /// The load of this list and the queue together. No task of this list starts or ends while the queue is read. So a worker
    /// that moves on to the other one is not counted twice, and a task submitted from inside a task that has ended since is not
    /// missed.
    pub(super) fn load<Q: Queue<T>>(&self, queue: &Q) -> Load {
        let state = self.state.lock();
        let load = queue.load();
        Load {
            accepted: load.accepted + state.accepted,
            queued: load.queued + state.lanes.len,
            running: load.running + state.running,
        }
    }

    /// The number of unfinished tasks that are not dead. Takes time in proportion to the waiting tasks.
    pub(super) fn unfinished(&self, is_dead: impl Fn(&T) -> bool) -> usize {
        let state = self.state.lock();
        let live = |list: &List<T>| list.iter().filter(|item| !is_dead(item)).count();
        state.lanes.lists.iter().map(live).sum::<usize>() + state.running
    }

    pub(super) fn set_closed(&self, is_closed: bool) {
        self.state.lock().is_closed = is_closed;
    }

    /// See [`Queue::sweep`].
    pub(super) fn sweep_into(&self, is_dead: &mut dyn FnMut(&T) -> bool, swept: &mut Vec<T>) {
        let mut state = self.state.lock();
        state.lanes.sweep_into(is_dead, swept);
        self.publish(&state);
    }

    pub(super) fn drain_into(&self, drained: &mut Vec<T>) {
        let mut state = self.state.lock();
        state.lanes.drain_into(drained);
        self.publish(&state);
    }
}
