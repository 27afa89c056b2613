//! What a pool's own tasks submit and fork: `src/queue/overflow.rs`, `src/queue/deques.rs`, `src/engine/stealing.rs`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::lock::Lock;
use crate::machine::{Core, Line, Machine, OUTSTANDING};

/// How the pool counts and keeps what its own tasks submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nested {
    /// One list, and its counts under its lock: the code as it is.
    List,
    /// The same list, but each worker counts the tasks that end on a line of its own, and a theft takes no lock. That is possible while no
    /// limit on running tasks is set.
    Counted,
    /// A list for each worker, from which the others steal, and the same counters.
    Inboxes,
}

/// A worker's own tasks or jobs: sizes of what is to be done. One line holds both ends.
struct Deque {
    line: Line,
    jobs: RefCell<VecDeque<u64>>,
}

/// The overflow list and the deques of one pool.
pub struct Own {
    pub mode: Nested,
    /// The list's lock; the number of waiting tasks is on its line.
    list: Lock,
    waiting: Cell<u64>,
    deques: Vec<Deque>,
    /// By core: where its next theft begins.
    next: Vec<Cell<usize>>,
    finished: Vec<Line>,
    /// Whether any worker has a deque.
    pub forks: bool,
}

impl Own {
    pub fn new(machine: &Machine, cores: usize, workers: usize, mode: Nested, forks: bool) -> Self {
        let deque = || Deque { line: machine.line("deque"), jobs: RefCell::new(VecDeque::new()) };
        let has_deques = forks || mode == Nested::Inboxes;
        Own {
            mode,
            list: Lock::new(machine, "overflow"),
            waiting: Cell::new(0),
            deques: (0..if has_deques { workers } else { 0 }).map(|_| deque()).collect(),
            next: (0..cores).map(Cell::new).collect(),
            finished: (0..cores).map(|_| machine.line("finished")).collect(),
            forks,
        }
    }

    /// `Overflow::push`, or a push to the worker's own list.
    pub async fn push_nested(&self, core: Core<'_>) {
        if self.mode == Nested::Inboxes {
            return self.push_job(core, 1).await;
        }
        self.list.lock(core).await;
        self.waiting.set(self.waiting.get() + 1);
        self.list.unlock(core).await;
    }

    /// `TaskQueue::take_next`, as far as it takes tasks of the list.
    pub async fn pop_nested(&self, core: Core<'_>) -> bool {
        core.read(self.list.line).await;
        if self.waiting.get() == 0 {
            return false;
        }
        self.list.lock(core).await;
        let found = self.waiting.get() > 0;
        self.waiting.set(self.waiting.get().saturating_sub(1));
        self.list.unlock(core).await;
        found
    }

    /// `Overflow::has_work`.
    pub async fn has_nested(&self, core: Core<'_>) -> bool {
        core.read(self.list.line).await;
        self.waiting.get() > 0
    }

    /// `Overflow::finished`: a task of the list, or a stolen job, has ended.
    pub async fn finished(&self, core: Core<'_>) {
        if self.mode == Nested::List {
            self.list.lock(core).await;
            self.list.unlock(core).await;
        } else {
            core.modify(self.finished[core.id]).await;
        }
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

    /// `Engine::steal`: the search, and the theft, under the lock of the list.
    pub async fn steal(&self, core: Core<'_>) -> Option<u64> {
        if !self.has_jobs(core).await {
            return None;
        }
        match self.mode {
            Nested::List => {
                self.list.lock(core).await;
                let found = self.take_oldest(core).await;
                self.list.unlock(core).await;
                found
            }
            Nested::Counted | Nested::Inboxes => self.take_oldest(core).await,
        }
    }

    /// `Victims::steal`: each look at a deque begins with a fence, so they do not overlap.
    async fn take_oldest(&self, core: Core<'_>) -> Option<u64> {
        let (count, start) = (self.deques.len(), self.next[core.id].get());
        for index in (0..count).map(|n| (start + n) % count) {
            let deque = &self.deques[index];
            core.read(deque.line).await;
            core.fence().await;
            while !deque.jobs.borrow().is_empty() {
                core.modify(deque.line).await;
                let job = deque.jobs.borrow_mut().pop_front();
                if job.is_some() {
                    self.next[core.id].set(index);
                    return job;
                }
            }
        }
        None
    }
}
