//! The queues of `src/queue`, as far as they access shared lines. Each function follows the one of the same name there.

mod ring;
mod sharded;
mod two_lock;

use std::cell::Cell;

use crate::lock::Lock;
use crate::machine::{Core, Line, Machine, OUTSTANDING};

use ring::Ring;
use sharded::Sharded;
use two_lock::TwoLockQueue;

/// Which dispatch, and for `Sharded` how a submitter chooses the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    Stack,
    Ring,
    /// A ring whose loops back off for up to 16 times as long.
    PatientRing,
    /// Round robin, the default.
    Sharded,
    /// Round robin with one turn that all submitters write.
    OneTurn,
    /// `Balance::Thread`.
    ShardedByThread,
    /// The same, and the room that is reserved for blocked submitters is reserved in all shards together, not in each.
    ReservedOnce,
}

/// `finished_counters.rs`: a line for each worker.
pub struct Counters {
    /// `control`, whose lock a thread takes that sums up.
    pub control: Lock,
    each: Vec<(Line, Cell<u64>)>,
}

impl Counters {
    pub fn new(machine: &Machine, cores: usize) -> Self {
        let each = (0..cores).map(|_| (machine.line("finished"), Cell::new(0))).collect();
        Counters { control: Lock::new(machine, "control"), each }
    }

    pub async fn count(&self, core: Core<'_>) {
        let (line, count) = &self.each[core.id];
        core.modify(*line).await;
        count.set(count.get() + 1);
    }

    /// The sum, under the lock.
    pub async fn sum_locked(&self, core: Core<'_>) -> u64 {
        self.control.lock(core).await;
        let sum = self.sum(core, None).await;
        self.control.unlock(core).await;
        sum
    }

    /// The sum, and beside it what is on the line `other`.
    pub async fn sum(&self, core: Core<'_>, other: Option<Line>) -> u64 {
        let used = self.each.iter().filter(|(_, count)| count.get() > 0).map(|(line, _)| *line);
        let lines: Vec<_> = other.into_iter().chain(used).collect();
        for some in lines.chunks(OUTSTANDING) {
            core.read_together(some.iter().copied()).await;
        }
        self.each.iter().map(|(_, count)| count.get()).sum()
    }
}

/// The queue of one pool.
pub enum Queue {
    Stack(Box<TwoLockQueue>, Counters),
    Ring(Ring),
    Sharded(Sharded),
}

impl Queue {
    /// For so many workers, and room for `workers + queue` tasks. Any of `cores` cores may be a worker.
    pub fn new(machine: &Machine, dispatch: Dispatch, cores: usize, workers: usize, queue: u64) -> Self {
        let room = workers as u64 + queue;
        match dispatch {
            Dispatch::Stack => {
                let tasks = TwoLockQueue::new(machine, room, ["head", "tail"]);
                Queue::Stack(Box::new(tasks), Counters::new(machine, cores))
            }
            Dispatch::Ring => Queue::Ring(Ring::new(machine, cores, room, 6)),
            Dispatch::PatientRing => Queue::Ring(Ring::new(machine, cores, room, 10)),
            Dispatch::Sharded | Dispatch::OneTurn | Dispatch::ShardedByThread | Dispatch::ReservedOnce => {
                Queue::Sharded(Sharded::new(machine, cores, workers, room, dispatch))
            }
        }
    }

    /// Whether a push may reserve the task for an idle worker.
    pub fn hands_over(&self) -> bool {
        matches!(self, Queue::Stack(..))
    }

    pub async fn push(&self, core: Core<'_>, reserved: u64, idle: Option<usize>) -> bool {
        match (self, idle) {
            (Queue::Stack(tasks, finished), Some(worker)) => {
                tasks.push_reserved(core, reserved, finished, worker).await
            }
            (Queue::Stack(tasks, finished), None) => tasks.push(core, reserved, Some(finished)).await,
            (Queue::Ring(ring), _) => ring.push(core, reserved).await,
            (Queue::Sharded(sharded), _) => sharded.push(core, reserved).await,
        }
    }

    /// Whether a blocked submitter may find room. A ring always says so.
    pub async fn has_room(&self, core: Core<'_>) -> bool {
        match self {
            Queue::Stack(tasks, finished) => tasks.has_room(core, Some(finished)).await,
            Queue::Ring(_) => true,
            Queue::Sharded(sharded) => sharded.has_room(core).await,
        }
    }

    pub async fn pop(&self, core: Core<'_>) -> bool {
        match self {
            Queue::Stack(tasks, _) => tasks.pop(core).await,
            Queue::Ring(ring) => ring.pop(core).await,
            Queue::Sharded(sharded) => sharded.pop(core).await,
        }
    }

    pub async fn finished(&self, core: Core<'_>) {
        match self {
            Queue::Stack(_, finished) => finished.count(core).await,
            Queue::Ring(ring) => ring.finished.count(core).await,
            Queue::Sharded(sharded) => sharded.finished(core).await,
        }
    }

    /// `TaskQueue::running`, as far as it counts tasks of the queue.
    pub async fn running(&self, core: Core<'_>) -> u64 {
        match self {
            Queue::Stack(tasks, finished) => {
                let started = tasks.started(core).await;
                started.saturating_sub(finished.sum_locked(core).await)
            }
            Queue::Ring(ring) => ring.running(core).await,
            Queue::Sharded(sharded) => sharded.running(core).await,
        }
    }

    pub async fn peek(&self, core: Core<'_>) -> bool {
        match self {
            Queue::Ring(ring) => ring.peek(core).await,
            _ => self.has_work(core).await,
        }
    }

    pub async fn has_work(&self, core: Core<'_>) -> bool {
        match self {
            Queue::Stack(tasks, _) => tasks.has_work(core).await,
            Queue::Ring(ring) => ring.has_work(core).await,
            Queue::Sharded(sharded) => sharded.has_work(core).await,
        }
    }

    /// Whether there is work for one more worker beside so many that search.
    pub async fn has_more(&self, core: Core<'_>, searching: u64) -> bool {
        match self {
            Queue::Stack(tasks, _) => tasks.has_more(core, searching).await,
            Queue::Ring(ring) => ring.has_more(core, searching).await,
            Queue::Sharded(sharded) => sharded.has_more(core, searching).await,
        }
    }
}
