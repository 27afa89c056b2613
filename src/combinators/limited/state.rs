//! The permits and the waiting tasks of a view and its views: what is under their lock.
//!
//! All views below one view of a pool share a lock, so a task gets the permits of its view, and of those that this is a view of, in one
//! step or not at all.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::Weak;

use super::awaiting::Awaiting;
use super::by_number::ByNumber;
pub(super) use super::node::{Node, Permitted, Unstarted};
use super::pace::Delays;
use super::stats::{LimitedStats, TaskEnd};
use crate::cancel::CancelToken;
use crate::engine::Runner;
use crate::engine::wait_queue::WaitQueue;
use crate::queue::Dispatch;
use crate::semaphore::Semaphore;
use crate::sync::Arc;
use crate::sync::detached_future::DetachedFuture;
use crate::sync::waiter::Waiter;
use crate::task::in_view::ViewId;

pub(super) struct State<R: Runner, D: Dispatch> {
    /// In boxes: there is one view for each key in use, mostly alone in its map.
    pub(super) nodes: BTreeMap<ViewId, Box<Node<R, D>>>,
    pub(super) permitted: ByNumber<Permitted<R, D>>,
    pub(super) delays: Delays<R, D>,
    /// Entries that wait for room in the pool, by the number of their task.
    pub(super) at_pool: BTreeMap<u64, Arc<DetachedFuture>>,
    /// Entries in the pool, or on their way there, that stand for no task any more: how many, by the number of the task.
    void: BTreeMap<u64, usize>,
    pub(super) awaiting: Awaiting,
    /// A thread is giving out permits, and sees those that are released meanwhile.
    pub(super) is_dispatching: bool,
    /// The pool has taken out what waits.
    pub(super) is_drained: bool,
}

impl<R: Runner, D: Dispatch> Default for State<R, D> {
    fn default() -> Self {
        State {
            nodes: BTreeMap::new(),
            permitted: ByNumber::default(),
            delays: Delays::default(),
            at_pool: BTreeMap::new(),
            void: BTreeMap::new(),
            awaiting: Awaiting::default(),
            is_dispatching: false,
            is_drained: false,
        }
    }
}

impl<R: Runner, D: Dispatch> State<R, D> {
    pub(super) fn add_view(&mut self, chain: &Arc<[ViewId]>, limit: usize, wait_queue: &Arc<WaitQueue>) {
        if let Some(parent) = chain.get(1).and_then(|parent| self.nodes.get_mut(parent)) {
            parent.views += 1;
        }
        let node = Node {
            chain: Arc::clone(chain),
            limit,
            budget: None,
            pace: None,
            queue: None,
            in_flight: 0,
            entering: 0,
            revoked: 0,
            waiting: ByNumber::default(),
            waiting_below: 0,
            views: 0,
            is_closed: false,
            is_dropped: false,
            stats: LimitedStats::default(),
            meter: Weak::new(),
            idle_moments: 0,
            idle_waiters: BTreeMap::new(),
            wait_queue: Arc::clone(wait_queue),
            entering_tokens: BTreeMap::new(),
        };
        self.nodes.insert(chain[0], Box::new(node));
    }

    /// Removes the view, and those that it is a view of, if they were dropped and nothing is left of their tasks.
    pub(super) fn prune(&mut self, chain: &[ViewId]) {
        for (at, id) in chain.iter().enumerate() {
            let is_over = |node: &Node<R, D>| {
                let has_tasks = node.in_flight > 0 || node.waiting_below > 0 || !node.stats.is_idle();
                node.is_dropped && node.views == 0 && !has_tasks
            };
            if !self.nodes.get(id).is_some_and(|node| is_over(node)) {
                return;
            }
            self.nodes.remove(id);
            if let Some(parent) = chain.get(at + 1).and_then(|parent| self.nodes.get_mut(parent)) {
                parent.views -= 1;
            }
        }
    }

    pub(super) fn each(&mut self, chain: &[ViewId], mut f: impl FnMut(&mut Node<R, D>)) {
        for id in chain {
            self.nodes.get_mut(id).into_iter().for_each(|node| f(node));
        }
    }

    fn all(&self, chain: &[ViewId], is_so: impl FnMut(&Node<R, D>) -> bool) -> bool {
        chain.iter().filter_map(|id| self.nodes.get(id)).map(|node| &**node).all(is_so)
    }

    /// A view that is gone was closed before. References to it may be left ([`Linked`](crate::Linked)).
    pub(super) fn is_closed(&self, chain: &[ViewId]) -> bool {
        chain.iter().any(|id| self.nodes.get(id).is_none_or(|node| node.is_closed))
    }

    /// The budget of the first of these views that has one.
    pub(super) fn budget(&self, chain: &[ViewId]) -> Option<Semaphore> {
        chain.iter().find_map(|id| self.nodes.get(id)?.budget.clone())
    }

    // Permits.

    /// Whether these views have a permit each to give.
    pub(super) fn has_permits(&self, views: &[ViewId]) -> bool {
        self.all(views, |node| node.in_flight < node.limit)
    }

    /// Whether a newcomer may have them, where `reserved` submitters came before it: no task waits that came before. Where there is a rate
    /// each waits in the view first.
    pub(super) fn has_permits_for_newcomer(&self, chain: &[ViewId], reserved: usize) -> bool {
        let is_next = |node: &Node<R, D>| node.waiting.is_empty() && node.in_flight + reserved < node.limit;
        self.nodes.get(&chain[0]).is_some_and(|node| is_next(node))
            && self.has_permits(&chain[1..])
            && !self.is_paced(chain)
    }

    pub(super) fn acquire(&mut self, views: &[ViewId]) {
        self.each(views, |node| node.in_flight += 1);
    }

    pub(super) fn release(&mut self, views: &[ViewId]) {
        self.each(views, |node| node.in_flight -= 1);
    }

    /// A submitter that is about to enter the pool, and whose permits would let a task of `views` start.
    pub(super) fn find_revocable(&self, views: &[ViewId]) -> Option<Arc<[ViewId]>> {
        let helps = |entering: &Node<R, D>| {
            let is_free =
                |node: &Node<R, D>| node.in_flight - usize::from(entering.chain.contains(&node.chain[0])) < node.limit;
            entering.entering > entering.revoked && self.all(views, is_free)
        };
        self.nodes.values().find(|node| helps(node)).map(|node| Arc::clone(&node.chain))
    }

    /// Takes the permits from a submitter that is about to enter the pool: its task waits when it comes.
    pub(super) fn revoke(&mut self, chain: &[ViewId]) {
        self.each(&chain[..1], |node| node.revoked += 1);
        self.release(chain);
    }

    /// A submitter has come into the pool, or will not: says whether it still has its permits.
    pub(super) fn end_entering(&mut self, chain: &[ViewId]) -> bool {
        let mut is_permitted = true;
        self.each(&chain[..1], |node| {
            node.entering -= 1;
            is_permitted = node.revoked == 0;
            node.revoked -= usize::from(!is_permitted);
        });
        is_permitted
    }

    /// By how much this view's permits in use are above its limit.
    pub(super) fn excess(&self, view: ViewId) -> usize {
        self.nodes.get(&view).map_or(0, |node| node.in_flight.saturating_sub(node.limit))
    }

    /// The task, with permits and unstarted, that came last to this view or one of its own.
    pub(super) fn last_permitted(&self, view: ViewId) -> Option<u64> {
        let is_below = |permitted: &Permitted<R, D>| permitted.task.view.chain.contains(&view);
        self.permitted.iter().rev().find(|(_, permitted)| is_below(permitted)).map(|(number, _)| number)
    }

    /// The views below this one, and itself, whose submitters are about to enter the pool.
    pub(super) fn entering_below(&self, view: ViewId) -> Option<Arc<[ViewId]>> {
        let is_below = |node: &Node<R, D>| node.chain.contains(&view) && node.entering > node.revoked;
        self.nodes.values().find(|node| is_below(node)).map(|node| Arc::clone(&node.chain))
    }

    /// The views at which submitters are blocked.
    pub(super) fn blocked(&self) -> Vec<(Arc<WaitQueue>, Arc<[ViewId]>)> {
        let blocked = self.nodes.values().filter(|node| node.wait_queue.waiting() > 0);
        blocked.map(|node| (Arc::clone(&node.wait_queue), Arc::clone(&node.chain))).collect()
    }

    // Tasks that wait.

    /// Whether one more task may wait, and leave room for `reserved` more, in a pool of this capacity and bound.
    pub(super) fn has_room(&self, chain: &[ViewId], reserved: usize, capacity: usize, bound: Option<usize>) -> bool {
        let is_paced = self.is_paced(chain);
        self.all(chain, |node| {
            let reserved = if node.chain[0] == chain[0] { reserved } else { 0 };
            let at_once = node.limit.min(capacity);
            // Those that could have a permit wait as well where there is a rate.
            let permits = if is_paced { at_once.saturating_sub(node.in_flight) } else { 0 };
            node.queue.is_none_or(|queue| node.waiting_below + reserved < queue.saturating_add(permits))
                && bound
                    .is_none_or(|queue| node.in_flight + node.waiting_below + reserved < at_once.saturating_add(queue))
        })
    }

    pub(super) fn insert_waiting(&mut self, number: u64, task: Unstarted<R, D>) {
        let chain = Arc::clone(&task.view.chain);
        self.each(&chain, |node| node.waiting_below += 1);
        if let Some(node) = self.nodes.get_mut(&chain[0]) {
            node.waiting.insert(number, task);
        }
    }

    pub(super) fn is_waiting(&self, view: ViewId, number: u64) -> bool {
        self.nodes.get(&view).is_some_and(|node| node.waiting.contains(number)) || self.delays.contains(view, number)
    }

    /// The task of this view alone that waits longest.
    pub(super) fn first_waiting(&self, view: ViewId) -> Option<u64> {
        self.nodes.get(&view).and_then(|node| node.waiting.first())
    }

    pub(super) fn remove_waiting(&mut self, chain: &[ViewId], number: u64) -> Option<Unstarted<R, D>> {
        let mut task = match self.nodes.get_mut(&chain[0])?.waiting.remove(number) {
            Some(task) => task,
            None => self.delays.remove(chain[0], number)?,
        };
        self.each(chain, |node| node.waiting_below -= 1);
        self.follow(&mut task);
        Some(task)
    }

    /// The task of the view that waits longest.
    pub(super) fn pop_oldest(&mut self, chain: &[ViewId]) -> Option<Unstarted<R, D>> {
        let waiting = self.nodes.get(&chain[0])?.waiting.first();
        let number = waiting.into_iter().chain(self.delays.first_of(chain[0]).map(|(number, _)| number)).min()?;
        self.remove_waiting(chain, number)
    }

    /// Takes out those waiting tasks, in all views, that `is_taken`.
    pub(super) fn extract_waiting(
        &mut self,
        mut is_taken: impl FnMut(&Unstarted<R, D>) -> bool,
    ) -> Vec<(u64, Unstarted<R, D>)> {
        let mut taken = Vec::new();
        for node in self.nodes.values_mut() {
            taken.append(&mut node.waiting.extract(&mut is_taken));
        }
        taken.append(&mut self.delays.extract(&mut is_taken));
        for (_, task) in &mut taken {
            self.each(&task.view.chain, |node| node.waiting_below -= 1);
            self.follow(task);
        }
        taken.sort_by_key(|(number, _)| *number);
        taken
    }

    /// Closes a view and its own.
    pub(super) fn close(&mut self, view: ViewId) -> Closed<R, D> {
        let (mut tokens, mut wait_queues) = (Vec::new(), Vec::new());
        for node in self.nodes.values_mut().filter(|node| node.chain.contains(&view)) {
            node.is_closed = true;
            tokens.extend(node.entering_tokens.values().cloned());
            wait_queues.push(Arc::clone(&node.wait_queue));
        }
        let waiting = self.extract_waiting(|task| task.view.chain.contains(&view));
        Closed { waiting, tokens, wait_queues }
    }

    // Tasks that have their permits.

    /// Whether a worker of the pool would find the task.
    pub(super) fn is_queued(&self, number: u64) -> bool {
        self.permitted.get(number).is_some_and(|permitted| permitted.is_queued)
    }

    /// An entry in the pool's queue stands for nothing from here on.
    pub(super) fn note_void(&mut self, number: u64) {
        *self.void.entry(number).or_default() += 1;
    }

    /// The task of an entry that is over. If there is none: whether it was known that the entry stands for nothing.
    pub(super) fn end_entry(&mut self, number: u64) -> Result<Unstarted<R, D>, bool> {
        match self.permitted.remove(number) {
            Some(permitted) => Ok(permitted.task),
            None => Err(self.end_void(number)),
        }
    }

    /// The same for an entry that was dropped: not the task's if there is another, which it may have got after it had lost its permits.
    pub(super) fn drop_entry(&mut self, number: u64) -> Result<Unstarted<R, D>, bool> {
        if self.end_void(number) { Err(true) } else { self.end_entry(number) }
    }

    fn end_void(&mut self, number: u64) -> bool {
        let MapEntry::Occupied(mut void) = self.void.entry(number) else { return false };
        *void.get_mut() -= 1;
        if *void.get() == 0 {
            void.remove();
        }
        true
    }

    // Figures.

    /// Counts a task that was let in.
    pub(super) fn count_accepted(&mut self, chain: &[ViewId]) {
        self.each(chain, |node| {
            node.stats.submitted += 1;
            node.stats.queued += 1;
        });
    }

    /// Counts the start of a task that holds permits of the first `levels` of its views.
    pub(super) fn count_start(&mut self, chain: &[ViewId], levels: usize) {
        let (own, others) = chain.split_at(levels);
        self.each(own, |node| node.stats.start(true));
        self.each(others, |node| node.stats.start(false));
    }

    /// Counts the end of such a task. Returns those who wait for a view to be idle.
    pub(super) fn count_end(&mut self, chain: &[ViewId], levels: usize, end: TaskEnd) -> Vec<Waiter> {
        self.each(&chain[..levels], |node| node.stats.running -= 1);
        self.count_over(chain, end)
    }

    /// Counts a task that never started.
    pub(super) fn count_unstarted(&mut self, chain: &[ViewId], end: TaskEnd) -> Vec<Waiter> {
        self.each(chain, |node| node.stats.queued -= 1);
        self.count_over(chain, end)
    }

    fn count_over(&mut self, chain: &[ViewId], end: TaskEnd) -> Vec<Waiter> {
        let mut idle = Vec::new();
        self.each(chain, |node| {
            node.stats.end(end);
            if node.stats.is_idle() {
                node.idle_moments += 1;
                idle.extend(std::mem::take(&mut node.idle_waiters).into_values());
            }
        });
        idle
    }
}

/// What is to be done after a view was closed.
pub(super) struct Closed<R: Runner, D: Dispatch> {
    pub(super) waiting: Vec<(u64, Unstarted<R, D>)>,
    pub(super) tokens: Vec<CancelToken>,
    pub(super) wait_queues: Vec<Arc<WaitQueue>>,
}
