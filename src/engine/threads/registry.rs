//! The registry of a pool's threads: their states and numbers, and how many there are. The lock of [`Threads`](super::Threads) protects it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::queue::MAX_WORKERS;
use crate::sync::JoinHandle;

/// A worker that has a number, and has or gets a thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerSlot {
    /// The worker's number, below the greatest capacity so far and the workers that were given up. It is reused.
    pub(crate) number: usize,
    /// Identifies the thread. It is not reused.
    pub(super) serial: u64,
    /// The worker is inline: it runs on a thread that the pool did not start, and that wants to leave.
    pub(crate) is_inline_worker: bool,
}

/// Why a worker wants to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitReason {
    /// It has been idle for the expiry time. It may end unless there are no more workers than the minimum.
    Expired,
    /// There may be more workers than the capacity.
    Surplus,
    /// Its state cannot be made. It may end unless it is the last worker.
    Failed,
    /// It is an inline worker, and there is another worker.
    Relieved,
    /// It is an inline worker, and no task can start; or another worker needs its number.
    Done,
    /// The pool is closed and empty.
    Closed,
}

/// The state of a thread that has not ended.
pub(super) enum ThreadState {
    /// It was requested. The system, or a spawn handler, may still refuse it.
    Starting,
    /// It runs. The thread that started it has not stored its handle yet.
    Begun,
    /// It runs, and its handle is stored, if it has one.
    Running,
    /// It runs, its worker was given up, and its handle has not been stored yet.
    GivenUp,
    /// It ended before its handle was stored.
    Ended,
    /// Its worker was dropped before its handle was stored.
    Abandoned,
}

pub(super) struct Registry {
    /// The threads that have not ended.
    pub(super) threads: HashMap<u64, ThreadState>,
    /// Their handles. A spawn handler's thread has none, nor has one that is being joined.
    pub(super) handles: BTreeMap<u64, JoinHandle<()>>,
    /// The threads of the workers that can be given up, by worker number.
    pub(super) by_number: HashMap<usize, u64>,
    /// The threads of the workers that were given up and have not exited.
    pub(super) given_up: HashSet<u64>,
    /// The threads of submitters that run their own tasks.
    pub(super) callers: HashSet<u64>,
    next_serial: u64,
    /// The free ones of the numbers below `numbers`.
    free: Vec<usize>,
    numbers: usize,
    pub(super) capacity: usize,
    pub(super) min: usize,
    pub(super) live: usize,
    /// Workers whose thread may still be refused.
    pub(super) starting: usize,
    /// Living workers that have decided to end.
    pub(super) exiting: usize,
    /// Threads that have ended and are not joined yet. Each thread that ends joins those that have ended before it.
    pub(super) ended: Vec<JoinHandle<()>>,
    /// How many threads are being joined.
    pub(super) joining: usize,
    pub(super) spawned: u64,
    pub(super) retired: u64,
}

impl Registry {
    pub(super) fn new(capacity: usize, min: usize) -> Self {
        Registry {
            threads: HashMap::new(),
            handles: BTreeMap::new(),
            by_number: HashMap::new(),
            given_up: HashSet::new(),
            callers: HashSet::new(),
            next_serial: 0,
            free: Vec::new(),
            numbers: 0,
            capacity,
            min,
            live: 0,
            starting: 0,
            exiting: 0,
            ended: Vec::new(),
            joining: 0,
            spawned: 0,
            retired: 0,
        }
    }

    /// The number of living workers that have not decided to end.
    pub(super) fn staying(&self) -> usize {
        self.live - self.exiting
    }

    /// Whether every thread has ended and is joined.
    pub(super) fn is_over(&self) -> bool {
        self.threads.is_empty() && self.joining == 0
    }

    /// Whether there may be one more worker.
    pub(super) fn has_room(&self) -> bool {
        self.live < self.capacity && self.live + self.given_up.len() < MAX_WORKERS
    }

    /// Adds a worker whose thread is about to be started.
    pub(super) fn add(&mut self) -> WorkerSlot {
        self.live += 1;
        self.starting += 1;
        self.spawned += 1;
        let (number, serial) = self.add_thread(ThreadState::Starting);
        self.by_number.insert(number, serial);
        WorkerSlot { number, serial, is_inline_worker: false }
    }

    /// Adds a submitter that is about to run its own task.
    pub(super) fn add_caller(&mut self) -> WorkerSlot {
        let (number, serial) = self.add_thread(ThreadState::Running);
        self.callers.insert(serial);
        WorkerSlot { number, serial, is_inline_worker: true }
    }

    fn add_thread(&mut self, state: ThreadState) -> (usize, u64) {
        self.next_serial += 1;
        self.threads.insert(self.next_serial, state);
        let number = self.free.pop().unwrap_or_else(|| {
            self.numbers += 1;
            self.numbers - 1
        });
        (number, self.next_serial)
    }

    /// Records that the thread exists, if that was not known.
    pub(super) fn begin(&mut self, serial: u64) {
        if let Some(state @ ThreadState::Starting) = self.threads.get_mut(&serial) {
            *state = ThreadState::Begun;
            self.starting -= 1;
        }
    }

    /// Removes a worker that never began, and its thread.
    pub(super) fn abandon(&mut self, worker_slot: WorkerSlot) {
        self.remove_thread(worker_slot.serial, ThreadState::Abandoned);
        self.by_number.remove(&worker_slot.number);
        self.free.push(worker_slot.number);
        self.live -= 1;
        self.spawned -= 1;
    }

    /// Removes a worker that has decided to end. Its thread still runs.
    pub(super) fn retire(&mut self, worker_slot: WorkerSlot) {
        self.free.push(worker_slot.number);
        if self.callers.remove(&worker_slot.serial) {
            return;
        }
        self.retired += 1;
        if self.given_up.remove(&worker_slot.serial) {
            return;
        }
        self.by_number.remove(&worker_slot.number);
        self.live -= 1;
        self.exiting -= 1;
    }

    /// The worker keeps its number, but it counts as alive no more, and its thread belongs to the pool no more. Returns whether that was
    /// possible.
    pub(super) fn give_up(&mut self, worker: usize) -> bool {
        let Some(serial) = self.by_number.remove(&worker) else { return false };
        match self.threads.get_mut(&serial) {
            Some(state @ ThreadState::Begun) => *state = ThreadState::GivenUp,
            Some(ThreadState::Running) => {
                self.threads.remove(&serial);
                // Not joined.
                self.handles.remove(&serial);
            }
            _ => return false,
        }
        self.given_up.insert(serial);
        self.live -= 1;
        true
    }

    /// Removes a thread and returns its handle, if that is stored. If the thread that started it has not come to store it, `state` tells
    /// that thread to finish the removal.
    pub(super) fn remove_thread(&mut self, serial: u64, state: ThreadState) -> Option<JoinHandle<()>> {
        if !self.threads.contains_key(&serial) {
            // Its worker was given up.
            return None;
        }
        match self.threads.insert(serial, state) {
            Some(ThreadState::Running) => {
                self.threads.remove(&serial);
                self.handles.remove(&serial)
            }
            Some(ThreadState::Starting) => {
                self.starting -= 1;
                None
            }
            _ => None,
        }
    }

    /// Takes the handles of the threads that have ended. The caller joins them.
    pub(super) fn take_ended(&mut self) -> Vec<JoinHandle<()>> {
        self.joining += self.ended.len();
        std::mem::take(&mut self.ended)
    }

    /// Takes the handle of a thread that has not ended. The caller joins it.
    pub(super) fn take_living(&mut self) -> Option<JoinHandle<()>> {
        self.handles.pop_first().map(|(_, handle)| handle)
    }
}
