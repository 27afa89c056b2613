//! The way of a task through the pool: `src/engine/submit.rs` and `src/engine/worker/`.

use std::cell::Cell;

use crate::high_water::HighWater;
use crate::machine::{Core, Machine, Nanos};
use crate::nested::Own;
use crate::parking::{Parking, Source};
use crate::queues::Queue;
use crate::room::{SPIN_ROUNDS, WaitQueue};

/// What a core computes for itself, per operation, besides the accesses of the model. Measured on one core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local {
    pub submit: Nanos,
    pub run: Nanos,
    /// A task that another task has submitted, from its submission to its end.
    pub nested: Nanos,
    /// One fork.
    pub fork: Nanos,
}

/// What a worker has taken.
#[derive(Clone, Copy)]
pub enum Task {
    /// From the queue.
    Queued,
    /// From a list of what tasks have submitted. `has_moved`: the worker has stolen more of them, and wakes another worker.
    Nested { has_moved: bool },
    /// A job of so many leaves, from a deque.
    Job(u64),
}

/// One pool.
pub struct Pool<'m> {
    machine: &'m Machine,
    pub queue: Queue,
    pub own: Own,
    pub parking: Parking,
    room: WaitQueue,
    local: Local,
    /// How long the user's code runs in a task, or in a leaf.
    task: Nanos,
    high_water: HighWater,
    is_new: bool,
    /// The leaves of a tree of forks, and how many of the current one are left.
    pub leaves: u64,
    left: Cell<u64>,
}

impl<'m> Pool<'m> {
    pub fn new(
        machine: &'m Machine,
        queue: Queue,
        own: Own,
        cores: usize,
        leaves: u64,
        (local, task, is_new): (Local, Nanos, bool),
    ) -> Self {
        Pool {
            machine,
            queue,
            own,
            parking: Parking::new(machine, cores),
            room: WaitQueue::new(machine, cores),
            local,
            task,
            high_water: HighWater::new(machine, cores),
            is_new,
            leaves,
            left: Cell::new(leaves),
        }
    }

    /// `Engine::submit`: until the task is in.
    pub async fn submit(&self, core: Core<'_>) {
        core.work(self.machine.about(self.local.submit)).await;
        for round in 0..=SPIN_ROUNDS {
            let reserved = self.room.reserved_for(core).await;
            if self.try_enter(core, reserved).await {
                return;
            }
            if round == SPIN_ROUNDS || self.room.reserved_for(core).await > 0 {
                break;
            }
            self.room.spin(core).await;
        }
        self.room.join(core).await;
        let mut may_park_first = true;
        loop {
            let is_head = self.room.begin_attempt(core).await;
            if is_head && self.try_enter(core, 0).await {
                return self.room.leave(core).await;
            }
            if is_head && may_park_first {
                may_park_first = false;
                self.room.timed_park(core).await;
            } else {
                self.room.wait(core).await;
            }
        }
    }

    async fn try_enter(&self, core: Core<'_>, reserved: u64) -> bool {
        let idle = if self.queue.hands_over() { self.parking.claim(core).await } else { None };
        let is_in = self.queue.push(core, reserved, idle).await;
        if let Some(worker) = idle {
            self.parking.unpark(core, worker).await;
        }
        if is_in {
            self.parking.notify(core, self).await;
        }
        is_in
    }

    /// `TaskQueue::pop`.
    async fn next(&self, core: Core<'_>) -> Option<Task> {
        let task = self.take_next(core).await;
        match task {
            Some(_) => self.enter(core).await,
            None => self.high_water.exit(core).await,
        }
        task
    }

    async fn enter(&self, core: Core<'_>) {
        self.high_water.enter(core, &self.queue, &self.own, self.is_new).await;
    }

    async fn take_next(&self, core: Core<'_>) -> Option<Task> {
        if !self.own.is_used(core).await {
            return self.pop_queue(core).await;
        }
        let in_turn = match self.own.next_turn(core) {
            0 if self.queue.has_work(core).await => self.pop_queue(core).await,
            2 => self.steal_nested(core).await,
            _ => None,
        };
        if in_turn.is_some() {
            return in_turn;
        }
        if self.own.pop_own(core).await {
            return Some(Task::Nested { has_moved: false });
        }
        match self.pop_queue(core).await {
            Some(task) => Some(task),
            None => self.steal_nested(core).await,
        }
    }

    async fn steal_nested(&self, core: Core<'_>) -> Option<Task> {
        self.own.steal_nested(core).await.map(|has_moved| Task::Nested { has_moved })
    }

    async fn pop_queue(&self, core: Core<'_>) -> Option<Task> {
        self.queue.pop(core).await.then_some(Task::Queued)
    }

    /// `Engine::run_loop`.
    pub async fn work(&self, core: Core<'_>) {
        loop {
            let task = match self.next(core).await {
                Some(task) => task,
                None => self.parking.wait_for_work(core, self).await,
            };
            self.run(core, task).await;
        }
    }

    pub async fn run(&self, core: Core<'_>, task: Task) {
        match task {
            Task::Queued if self.own.forks => self.run_forks(core, self.leaves).await,
            Task::Job(leaves) => self.run_forks(core, leaves).await,
            Task::Queued => {
                core.work(self.machine.about(self.local.run + self.task)).await;
                self.machine.count();
            }
            Task::Nested { has_moved } => {
                if has_moved {
                    self.parking.notify(core, self).await;
                }
                core.work(self.machine.about(self.local.nested + self.task)).await;
                self.own.push_nested(core).await;
                self.parking.notify(core, self).await;
                self.machine.count();
            }
        }
        match task {
            Task::Queued => self.queue.finished(core).await,
            Task::Nested { .. } | Task::Job(_) => self.own.finished(core).await,
        }
        if self.room.must_notify(core).await && self.queue.has_room(core).await {
            self.room.notify_head(core).await;
        }
    }

    /// A part of a tree of forks: pushes one half, does the other, and takes back what nobody has stolen. A worker whose half was stolen
    /// looks for other work, as if it did not have to wait.
    async fn run_forks(&self, core: Core<'_>, leaves: u64) {
        let mut job = Some(leaves);
        while let Some(mut leaves) = job {
            while leaves > 1 {
                core.work(self.machine.about(self.local.fork)).await;
                self.own.push_job(core, leaves / 2).await;
                self.parking.wake_for(core, self).await;
                leaves -= leaves / 2;
            }
            core.work(self.machine.about(self.task)).await;
            self.machine.count();
            self.left.set(self.left.get() - 1);
            if self.left.get() == 0 {
                // The thread that waits for the tree wakes up, and plants the next one.
                self.left.set(self.leaves);
                core.wait("next tree", self.machine.costs.unpark + self.machine.costs.wake).await;
                self.try_enter(core, 0).await;
            }
            job = self.own.pop_job(core).await;
        }
    }
}

impl Source for Pool<'_> {
    type Item = Task;

    async fn pop(&self, core: Core<'_>) -> Option<Task> {
        if let Some(task) = self.next(core).await {
            return Some(task);
        }
        let job = self.own.steal_job(core).await?;
        self.enter(core).await;
        Some(Task::Job(job))
    }

    async fn peek(&self, core: Core<'_>) -> bool {
        self.queue.peek(core).await || self.own.has_nested(core).await || self.own.has_jobs(core).await
    }

    async fn has_work(&self, core: Core<'_>) -> bool {
        self.queue.has_work(core).await || self.own.has_nested(core).await || self.own.has_jobs(core).await
    }

    async fn has_more(&self, core: Core<'_>, searching: usize) -> bool {
        self.queue.has_more(core, searching as u64).await || self.own.waiting(core).await > searching as u64
    }
}
