//! What a pool's own tasks submit and fork: `src/queue/overflow/`, `src/queue/deques.rs`, `src/engine/stealing.rs`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::lock::Lock;
use crate::machine::{Core, Line, Machine, OUTSTANDING};

/// `task_queue.rs`: once in so many pops a worker looks first at each place that is not its own list.
const TURNS: u32 = 61;
/// `local_queue.rs`: the most tasks of one theft.
const MAX_BATCH: u64 = 32;

/// `LocalQueue`: what one worker's tasks have submitted. Its lock, the length and whether the owner runs a task of a list are on one line.
struct List {
    lock: Lock,
    waiting: Cell<u64>,
    is_running: Cell<bool>,
    /// Whether the worker has needed it yet. Other workers look only at those.
    is_used: Cell<bool>,
    /// Pops of the owner, modulo [`TURNS`].
    turn: Cell<u32>,
    /// Where the owner's next search for a task to steal begins.
    next: Cell<usize>,
}

async fn read_together(core: Core<'_>, lists: &[List]) {
    core.read_together(lists.iter().filter(|list| list.is_used.get()).map(|list| list.lock.line)).await;
}

/// A worker's own jobs: sizes of what is to be done. One line holds both ends.
struct Deque {
    line: Line,
    jobs: RefCell<VecDeque<u64>>,
    /// Where the owner's next search for a job to steal begins.
    next: Cell<usize>,
}

/// The lists and the deques of one pool.
pub struct Own {
    /// The lock of the shared list. `version`, `is_limited` and `shared_waiting` are on its line.
    shared: Lock,
    is_used: Cell<bool>,
    lists: Vec<List>,
    deques: Vec<Deque>,
    /// Whether tasks fork.
    pub forks: bool,
}

impl Own {
    pub fn new(machine: &Machine, workers: usize, forks: bool) -> Self {
        let list = |worker| List {
            lock: Lock::new(machine, "own list"),
            waiting: Cell::new(0),
            is_running: Cell::new(false),
            is_used: Cell::new(false),
            turn: Cell::new(0),
            next: Cell::new(worker),
        };
        let deque = |worker| Deque {
            line: machine.line("deque"),
            jobs: RefCell::new(VecDeque::new()),
            next: Cell::new(worker),
        };
        Own {
            shared: Lock::new(machine, "shared list"),
            is_used: Cell::new(false),
            lists: (0..workers).map(list).collect(),
            deques: (0..if forks { workers } else { 0 }).map(deque).collect(),
            forks,
        }
    }

    fn own(&self, core: Core<'_>) -> &List {
        let own = &self.lists[core.id];
        own.is_used.set(true);
        self.is_used.set(true);
        own
    }

    /// `LocalQueue::push`.
    pub async fn push_nested(&self, core: Core<'_>) {
        let own = self.own(core);
        own.lock.lock(core).await;
        own.waiting.set(own.waiting.get() + 1);
        own.lock.unlock(core).await;
    }

    /// `Overflow::is_used`.
    pub async fn is_used(&self, core: Core<'_>) -> bool {
        core.read(self.shared.line).await;
        self.is_used.get()
    }

    /// The turn of the worker's next pop.
    pub fn next_turn(&self, core: Core<'_>) -> u32 {
        let turn = &self.lists[core.id].turn;
        turn.replace((turn.get() + 1) % TURNS)
    }

    /// `Overflow::pop_own`.
    pub async fn pop_own(&self, core: Core<'_>) -> bool {
        let own = &self.lists[core.id];
        core.read(own.lock.line).await;
        if own.waiting.get() == 0 {
            return false;
        }
        own.lock.lock(core).await;
        let is_found = own.waiting.get() > 0;
        if is_found {
            own.waiting.set(own.waiting.get() - 1);
            own.is_running.set(true);
        }
        own.lock.unlock(core).await;
        is_found
    }

    /// `Overflow::steal`: under the locks of both lists, in the order of their numbers. Returns whether tasks were moved to the worker's own
    /// list besides the one that it runs.
    pub async fn steal_nested(&self, core: Core<'_>) -> Option<bool> {
        if !self.has_local_tasks(core).await {
            return None;
        }
        let (own, count) = (self.own(core), self.lists.len());
        let start = own.next.get();
        let mut from = None;
        for index in (0..count).map(|n| (start + n) % count) {
            let list = &self.lists[index];
            if index != core.id && list.is_used.get() {
                core.read(list.lock.line).await;
                if list.waiting.get() > 0 {
                    from = Some(index);
                    break;
                }
            }
        }
        let from = from?;
        own.next.set(from);
        let victim = &self.lists[from];
        let [first, second] = if from < core.id { [victim, own] } else { [own, victim] };
        first.lock.lock(core).await;
        second.lock.lock(core).await;
        let waiting = victim.waiting.get();
        let moved = (waiting / 2).min(MAX_BATCH).saturating_sub(1);
        if waiting > 0 {
            victim.waiting.set(waiting - 1 - moved);
            own.waiting.set(own.waiting.get() + moved);
            own.is_running.set(true);
        }
        second.lock.unlock(core).await;
        first.lock.unlock(core).await;
        (waiting > 0).then(|| own.waiting.get() > 0)
    }

    /// The lines of the lists are read in the order of the workers, up to the first list that has tasks.
    async fn has_local_tasks(&self, core: Core<'_>) -> bool {
        for some in self.lists.chunks(OUTSTANDING) {
            read_together(core, some).await;
            if some.iter().any(|list| list.waiting.get() > 0) {
                return true;
            }
        }
        false
    }

    /// `Overflow::has_work`.
    pub async fn has_nested(&self, core: Core<'_>) -> bool {
        self.is_used(core).await && self.has_local_tasks(core).await
    }

    /// `Overflow::waiting`: under the shared list's lock.
    pub async fn waiting(&self, core: Core<'_>) -> u64 {
        if !self.is_used(core).await {
            return 0;
        }
        self.shared.lock(core).await;
        for some in self.lists.chunks(OUTSTANDING) {
            read_together(core, some).await;
        }
        let waiting = self.lists.iter().map(|list| list.waiting.get()).sum();
        self.shared.unlock(core).await;
        waiting
    }

    /// `Overflow::running`: under the locks of all lists.
    pub async fn running(&self, core: Core<'_>) -> u64 {
        self.shared.lock(core).await;
        let all: Vec<_> = self.lists.iter().filter(|list| list.is_used.get()).collect();
        for list in &all {
            list.lock.lock(core).await;
        }
        let running = all.iter().filter(|list| list.is_running.get()).count();
        for list in all {
            list.lock.unlock(core).await;
        }
        self.shared.unlock(core).await;
        running as u64
    }

    /// `Overflow::finished`: a task of a list, or a stolen job, has ended.
    pub async fn finished(&self, core: Core<'_>) {
        let own = &self.lists[core.id];
        core.modify(own.lock.line).await;
        own.is_running.set(false);
        core.read(self.shared.line).await;
    }

    /// `LocalDeque::push`.
    pub async fn push_job(&self, core: Core<'_>, size: u64) {
        let deque = &self.deques[core.id];
        core.write(deque.line).await;
        deque.jobs.borrow_mut().push_back(size);
        core.fence().await;
    }

    /// `LocalDeque::pop`.
    pub async fn pop_job(&self, core: Core<'_>) -> Option<u64> {
        let deque = self.deques.get(core.id)?;
        core.write(deque.line).await;
        core.fence().await;
        deque.jobs.borrow_mut().pop_back()
    }

    /// `Victims::has_jobs`.
    pub async fn has_jobs(&self, core: Core<'_>) -> bool {
        for some in self.deques.chunks(OUTSTANDING) {
            core.read_together(some.iter().map(|deque| deque.line)).await;
            if some.iter().any(|deque| !deque.jobs.borrow().is_empty()) {
                return true;
            }
        }
        false
    }

    /// `Engine::steal`: the theft takes place under the lock of the thief's own list.
    pub async fn steal_job(&self, core: Core<'_>) -> Option<u64> {
        if !self.has_jobs(core).await {
            return None;
        }
        let own = self.own(core);
        own.lock.lock(core).await;
        let job = self.take_oldest(core).await;
        own.is_running.set(job.is_some());
        own.lock.unlock(core).await;
        job
    }

    /// `Victims::steal`: each look at a deque begins with a fence, so they do not overlap.
    async fn take_oldest(&self, core: Core<'_>) -> Option<u64> {
        let next = &self.deques[core.id].next;
        let (count, start) = (self.deques.len(), next.get());
        for index in (0..count).map(|n| (start + n) % count) {
            let deque = &self.deques[index];
            core.read(deque.line).await;
            core.fence().await;
            while !deque.jobs.borrow().is_empty() {
                core.modify(deque.line).await;
                let job = deque.jobs.borrow_mut().pop_front();
                if job.is_some() {
                    next.set(index);
                    return job;
                }
            }
        }
        None
    }
}
