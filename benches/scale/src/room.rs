//! How submitters wait for room: `src/engine/blocking.rs` and `src/engine/wait_queue.rs`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::lock::Lock;
use crate::machine::{Core, Line, Machine, Nanos};

pub const SPIN_ROUNDS: u32 = 2;
const SPINS_PER_ROUND: Nanos = 100;
const PARK_WITHOUT_NOTIFICATION: Nanos = 50_000;

struct Waiter {
    is_notified: Cell<bool>,
    is_parked: Cell<bool>,
}

pub struct WaitQueue {
    waiting: Line,
    /// `prompt` and `is_notified` are on the line of this lock.
    queue: Lock,
    is_notified: Cell<bool>,
    blocked: RefCell<VecDeque<usize>>,
    waiters: Vec<Waiter>,
}

impl WaitQueue {
    pub fn new(machine: &Machine, cores: usize) -> Self {
        let waiter = || Waiter { is_notified: Cell::new(false), is_parked: Cell::new(false) };
        WaitQueue {
            waiting: machine.line("waiting"),
            queue: Lock::new(machine, "wait queue"),
            is_notified: Cell::new(false),
            blocked: RefCell::new(VecDeque::new()),
            waiters: (0..cores).map(|_| waiter()).collect(),
        }
    }

    /// The number of waiters.
    pub async fn reserved_for(&self, core: Core<'_>) -> u64 {
        core.read(self.waiting).await;
        if self.blocked.borrow().is_empty() {
            return 0;
        }
        core.read(self.queue.line).await;
        self.blocked.borrow().len() as u64
    }

    /// A round of the spin before a submitter enters the wait queue.
    pub async fn spin(&self, core: Core<'_>) {
        core.wait("room", SPINS_PER_ROUND * core.machine.costs.pause + core.machine.costs.sched_yield).await;
    }

    pub async fn join(&self, core: Core<'_>) {
        self.queue.lock(core).await;
        core.write(self.waiting).await;
        self.blocked.borrow_mut().push_back(core.id);
        self.queue.unlock(core).await;
    }

    /// The first part of `consume_notification`. Returns whether the caller is the head.
    pub async fn begin_attempt(&self, core: Core<'_>) -> bool {
        core.modify(self.queue.line).await;
        self.is_notified.set(false);
        self.waiters[core.id].is_notified.set(false);
        self.queue.lock(core).await;
        let is_head = self.blocked.borrow().front() == Some(&core.id);
        self.queue.unlock(core).await;
        is_head
    }

    pub async fn timed_park(&self, core: Core<'_>) {
        self.queue.lock(core).await;
        self.is_notified.set(true);
        self.queue.unlock(core).await;
        core.wait("room", PARK_WITHOUT_NOTIFICATION).await;
    }

    pub async fn wait(&self, core: Core<'_>) {
        let me = &self.waiters[core.id];
        if !me.is_notified.get() {
            me.is_parked.set(true);
            core.park("room").await;
        }
    }

    fn add_notification(&self) -> Option<usize> {
        let head = *self.blocked.borrow().front()?;
        self.is_notified.set(true);
        self.waiters[head].is_notified.set(true);
        self.waiters[head].is_parked.replace(false).then_some(head)
    }

    pub async fn leave(&self, core: Core<'_>) {
        self.queue.lock(core).await;
        core.write(self.waiting).await;
        self.blocked.borrow_mut().retain(|waiter| *waiter != core.id);
        self.is_notified.set(false);
        let woken = self.add_notification();
        self.queue.unlock(core).await;
        if let Some(woken) = woken {
            core.wake(woken).await;
        }
    }

    /// Whether a worker has to notify the head.
    pub async fn must_notify(&self, core: Core<'_>) -> bool {
        core.read(self.waiting).await;
        if self.blocked.borrow().is_empty() {
            return false;
        }
        core.read(self.queue.line).await;
        !self.is_notified.get()
    }

    pub async fn notify_head(&self, core: Core<'_>) {
        self.queue.lock(core).await;
        let woken = self.add_notification();
        self.queue.unlock(core).await;
        if let Some(woken) = woken {
            core.wake(woken).await;
        }
    }
}
