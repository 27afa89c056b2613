//! `two_lock_queue.rs`, the queue of a stack and of each shard, with the slot of `stack.rs` and the counter of `shard.rs`.

use std::cell::Cell;

use super::Counters;
use crate::lock::Lock;
use crate::machine::{Core, Line, Machine, Nanos};

/// What a thread computes with the lock of a list held: it moves a task of 56 bytes.
const MOVE: Nanos = 4;

/// The memory of one list of tasks.
struct Buffer {
    lines: Vec<Line>,
    written: Cell<usize>,
    read: Cell<usize>,
}

impl Buffer {
    fn len(&self) -> usize {
        self.written.get() - self.read.get()
    }

    fn next(&self, at: &Cell<usize>) -> Line {
        let this = at.get();
        at.set(this + 1);
        self.lines[this % self.lines.len()]
    }
}

pub struct TwoLockQueue {
    pub head: Lock,
    tail: Lock,
    pushed: Cell<u64>,
    popped: Cell<u64>,
    limit: Cell<u64>,
    room: u64,
    /// Which of the two is the head's. A worker that finds that one empty swaps them.
    front: Cell<usize>,
    buffers: [Buffer; 2],
    /// The worker that the task in the slot is reserved for (`stack.rs`).
    slot: Cell<Option<usize>>,
    /// The tasks that have ended (`shard.rs`), on the head's line.
    pub finished: Cell<u64>,
}

impl TwoLockQueue {
    pub fn new(machine: &Machine, room: u64, names: [&'static str; 2]) -> Self {
        let places = room.next_power_of_two();
        let buffer = || Buffer {
            lines: (0..places).map(|_| machine.line("list")).collect(),
            written: Cell::new(0),
            read: Cell::new(0),
        };
        TwoLockQueue {
            head: Lock::new(machine, names[0]),
            tail: Lock::new(machine, names[1]),
            pushed: Cell::new(0),
            popped: Cell::new(0),
            limit: Cell::new(room),
            room,
            front: Cell::new(0),
            buffers: [buffer(), buffer()],
            slot: Cell::new(None),
            finished: Cell::new(0),
        }
    }

    fn back(&self) -> &Buffer {
        &self.buffers[1 - self.front.get()]
    }

    /// Under the lock of the tail. `counters` are those of a stack; a shard has one counter.
    async fn admit(&self, core: Core<'_>, reserved: u64, counters: Option<&Counters>) -> bool {
        if self.pushed.get() + reserved < self.limit.get() {
            return true;
        }
        self.refresh_limit(core, counters).await;
        self.pushed.get() + reserved < self.limit.get()
    }

    async fn refresh_limit(&self, core: Core<'_>, counters: Option<&Counters>) {
        let finished = match counters {
            Some(counters) => counters.sum_locked(core).await,
            None => {
                core.read(self.head.line).await;
                self.finished.get()
            }
        };
        self.limit.set(self.room + finished);
    }

    pub async fn has_room(&self, core: Core<'_>, counters: Option<&Counters>) -> bool {
        self.tail.lock(core).await;
        self.refresh_limit(core, counters).await;
        let has_room = self.pushed.get() < self.limit.get();
        self.tail.unlock(core).await;
        has_room
    }

    async fn put(&self, core: Core<'_>) {
        let back = self.back();
        core.write_ahead(back.next(&back.written)).await;
        core.work(MOVE).await;
        self.pushed.set(self.pushed.get() + 1);
    }

    pub async fn push(&self, core: Core<'_>, reserved: u64, counters: Option<&Counters>) -> bool {
        self.tail.lock(core).await;
        let is_admitted = self.admit(core, reserved, counters).await;
        if is_admitted {
            self.put(core).await;
        }
        self.tail.unlock(core).await;
        is_admitted
    }

    /// `StackQueue::push_reserved`.
    pub async fn push_reserved(&self, core: Core<'_>, reserved: u64, counters: &Counters, worker: usize) -> bool {
        self.head.lock(core).await;
        self.tail.lock(core).await;
        let is_admitted = self.admit(core, reserved, Some(counters)).await;
        if is_admitted && self.slot.get().is_none() && self.popped.get() == self.pushed.get() {
            self.popped.set(self.popped.get() + 1);
            self.pushed.set(self.pushed.get() + 1);
            self.slot.set(Some(worker));
        } else if is_admitted {
            self.put(core).await;
        }
        self.tail.unlock(core).await;
        self.head.unlock(core).await;
        is_admitted
    }

    pub async fn pop(&self, core: Core<'_>) -> bool {
        self.head.lock(core).await;
        let found = if self.slot.get() == Some(core.id) {
            self.slot.set(None);
            true
        } else {
            self.pop_oldest(core).await
        };
        self.head.unlock(core).await;
        found
    }

    async fn pop_oldest(&self, core: Core<'_>) -> bool {
        if self.buffers[self.front.get()].len() == 0 {
            core.read(self.tail.line).await;
            if self.popped.get() == self.pushed.get() {
                return false;
            }
            self.tail.lock(core).await;
            self.front.set(1 - self.front.get());
            self.tail.unlock(core).await;
        }
        let front = &self.buffers[self.front.get()];
        if front.len() == 0 {
            return false;
        }
        core.read_ahead(front.next(&front.read)).await;
        core.work(MOVE).await;
        self.popped.set(self.popped.get() + 1);
        true
    }

    /// `StackQueue::started`.
    pub async fn started(&self, core: Core<'_>) -> u64 {
        self.head.lock(core).await;
        let started = self.popped.get() - u64::from(self.slot.get().is_some());
        self.head.unlock(core).await;
        started
    }

    /// The tasks of a shard that have started.
    pub fn popped(&self) -> u64 {
        self.popped.get()
    }

    pub async fn has_work(&self, core: Core<'_>) -> bool {
        core.read_together(self.lines()).await;
        self.waits()
    }

    /// What `has_work` reads.
    pub fn lines(&self) -> [Line; 2] {
        [self.head.line, self.tail.line]
    }

    /// Whether tasks wait.
    pub fn waits(&self) -> bool {
        self.len() > 0
    }

    /// How many.
    pub fn len(&self) -> u64 {
        self.pushed.get() - self.popped.get()
    }

    /// `StackQueue::has_more`.
    pub async fn has_more(&self, core: Core<'_>, searching: u64) -> bool {
        core.read_together(self.lines()).await;
        self.len() >= searching
    }
}
