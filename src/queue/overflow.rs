//! Tasks beyond the bound: what the workers of a pool submit themselves.

use std::collections::VecDeque;

use super::Queue;
use super::Refused;
use super::list::List;
use super::{LazyItem, Load};
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};

/// A list beside the bounded queue, whatever that is. First in, first out within a lane; lanes take turns.
///
/// The limit on running tasks is one for both: a task of this list starts under this lock, after the queue has been told that one
/// more runs elsewhere ([`Queue::set_elsewhere`]). Whoever needs both locks takes this one first.
pub(crate) struct Overflow<T> {
    /// Copies of figures under the lock, for those who look without it.
    waiting: AtomicUsize,
    is_limited: AtomicBool,
    state: Mutex<State<T>>,
}

struct State<T> {
    lanes: Lanes<T>,
    /// Tasks ever taken in.
    accepted: u64,
    running: usize,
    /// The most tasks that may run, here and in the queue together; `None` where the number of workers is limit enough.
    limit: Option<usize>,
    /// The most tasks that may be here, waiting and running.
    most: usize,
    is_closed: bool,
}

impl<T> State<T> {
    fn unfinished(&self) -> usize {
        self.lanes.len + self.running
    }
}

/// One list for each door that was used. The lanes with tasks take turns, so that one tenant's tasks do not wait for all of
/// another's.
struct Lanes<T> {
    /// By door.
    lists: Vec<List<T>>,
    /// The lanes that are not empty, next first.
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
    /// For so many unfinished tasks at most.
    pub(super) fn new(most: usize) -> Self {
        Overflow {
            waiting: AtomicUsize::new(0),
            is_limited: AtomicBool::new(false),
            state: Mutex::new(State {
                lanes: Lanes { lists: Vec::new(), turns: VecDeque::new(), len: 0 },
                accepted: 0,
                running: 0,
                limit: None,
                most,
                is_closed: false,
            }),
        }
    }

    /// How many tasks wait here. A guess without a fence on both sides, as [`Queue::has_work`].
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        // ORDERING: Relaxed. A worker that must not miss the store in `tell` has a sequentially consistent fence between its own
        // announcement and this load, and the pusher has one after that store (parking.md).
        self.waiting.load(Ordering::Relaxed)
    }

    /// To be called under the lock, which is left after it: a fence then comes after a read-modify-write.
    fn tell(&self, state: &State<T>) {
        // ORDERING: Relaxed, see `waiting`.
        self.waiting.store(state.lanes.len, Ordering::Relaxed);
    }

    pub(super) fn push(&self, item: &mut (impl LazyItem<T> + ?Sized), lane: usize) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        if state.unfinished() >= state.most {
            return Err(Refused::Full);
        }
        state.accepted += 1;
        state.lanes.push(lane, item.build());
        self.tell(&state);
        Ok(())
    }

    /// The next task, if it may start; it counts as running from here on.
    pub(super) fn pop<Q: Queue<T>>(&self, queue: &Q) -> Option<T> {
        let mut state = self.state.lock();
        if state.lanes.len == 0 {
            return None;
        }
        if let Some(limit) = state.limit {
            // From here on the queue starts none that would be one too many with this one; but it may have.
            queue.set_elsewhere(state.running + 1);
            if queue.load().running + state.running >= limit {
                // A worker that found nothing because of this one looks again: so does the caller, before it sleeps.
                queue.set_elsewhere(state.running);
                return None;
            }
        }
        state.running += 1;
        let item = state.lanes.pop();
        self.tell(&state);
        item
    }

    /// A task to run in place of one that waits: the count of running tasks stays as it is.
    pub(super) fn pop_instead(&self) -> Option<T> {
        let mut state = self.state.lock();
        if state.limit == Some(0) {
            return None;
        }
        let item = state.lanes.pop();
        self.tell(&state);
        item
    }

    /// A task that [`pop`](Self::pop) gave out has ended.
    pub(super) fn finished<Q: Queue<T>>(&self, queue: &Q) {
        let mut state = self.state.lock();
        state.running -= 1;
        if state.limit.is_some() {
            queue.set_elsewhere(state.running);
        }
    }

    /// As [`Queue::has_work`].
    #[inline]
    pub(super) fn has_work<Q: Queue<T>>(&self, queue: &Q) -> bool {
        self.waiting() > 0 && self.may_start(queue)
    }

    #[cold]
    fn may_start<Q: Queue<T>>(&self, queue: &Q) -> bool {
        // ORDERING: Relaxed. Those who must not miss it are woken after it changed, through a lock.
        !self.is_limited.load(Ordering::Relaxed) || {
            let state = self.state.lock();
            state.limit.is_none_or(|limit| queue.load().running + state.running < limit)
        }
    }

    /// As [`Queue::set_limits`], for both.
    pub(super) fn set_limits<Q: Queue<T>>(&self, queue: &Q, running: Option<usize>, workers: usize) {
        let mut state = self.state.lock();
        state.limit = running;
        // ORDERING: Relaxed, see `may_start`.
        self.is_limited.store(running.is_some(), Ordering::Relaxed);
        queue.set_elsewhere(state.running);
        queue.set_limits(running, workers);
    }

    /// How many tasks that [`pop`](Self::pop) gave out have not ended.
    pub(super) fn running(&self) -> usize {
        self.state.lock().running
    }

    /// What is here and in the queue. No task starts or ends here while the queue is asked, so none is counted twice that a worker
    /// goes on with in the other one, and none is missed that was submitted from inside a task which has ended since.
    pub(super) fn load<Q: Queue<T>>(&self, queue: &Q) -> Load {
        let state = self.state.lock();
        let load = queue.load();
        Load {
            accepted: load.accepted + state.accepted,
            queued: load.queued + state.lanes.len,
            running: load.running + state.running,
        }
    }

    /// How many tasks wait and run, but for those that are dead. Takes time in proportion to those that wait.
    pub(super) fn unfinished(&self, is_dead: impl Fn(&T) -> bool) -> usize {
        let state = self.state.lock();
        let live = |list: &List<T>| list.iter().filter(|item| !is_dead(item)).count();
        state.lanes.lists.iter().map(live).sum::<usize>() + state.running
    }

    pub(super) fn set_closed(&self, is_closed: bool) {
        self.state.lock().is_closed = is_closed;
    }

    /// As [`Queue::sweep`].
    pub(super) fn sweep_into(&self, is_dead: &mut dyn FnMut(&T) -> bool, swept: &mut Vec<T>) {
        let mut state = self.state.lock();
        state.lanes.sweep_into(is_dead, swept);
        self.tell(&state);
    }

    pub(super) fn drain_into(&self, drained: &mut Vec<T>) {
        let mut state = self.state.lock();
        state.lanes.drain_into(drained);
        self.tell(&state);
    }
}
