//! Several queues with stealing: `sharded/`.

use std::cell::Cell;

use super::Dispatch;
use super::two_lock::TwoLockQueue;
use crate::machine::{Core, Line, Machine, OUTSTANDING};

/// A worker starts at another shard once in so many pops (`steal_schedule.rs`).
const ROUND: u64 = 32;

/// There are no more turns than this.
const MOST_TURNS: usize = 64;

/// With a shard for each worker.
pub struct Sharded {
    shards: Vec<TwoLockQueue>,
    /// The next shard in turn, for each part of the submitters.
    turns: Vec<(Line, Cell<usize>)>,
    by_thread: bool,
    reserves_once: bool,
    /// By core: its pops, and the shard that its task came from.
    workers: Vec<(Cell<u64>, Cell<usize>)>,
}

impl Sharded {
    pub fn new(machine: &Machine, cores: usize, shards: usize, room: u64, dispatch: Dispatch) -> Self {
        let turns = if dispatch == Dispatch::OneTurn { 1 } else { shards.min(MOST_TURNS) };
        let share = |index: usize| room / shards as u64 + u64::from((index as u64) < room % shards as u64);
        Sharded {
            shards: (0..shards).map(|n| TwoLockQueue::new(machine, share(n), ["shard head", "shard tail"])).collect(),
            turns: (0..turns).map(|_| (machine.line("turn"), Cell::new(0))).collect(),
            by_thread: matches!(dispatch, Dispatch::ShardedByThread | Dispatch::ReservedOnce),
            reserves_once: dispatch == Dispatch::ReservedOnce,
            workers: (0..cores).map(|_| (Cell::new(0), Cell::new(0))).collect(),
        }
    }

    pub async fn push(&self, core: Core<'_>, reserved: u64) -> bool {
        let first = if self.by_thread { core.id % self.shards.len() } else { self.next_in_turn(core).await };
        let reserved = if self.reserves_once { reserved.div_ceil(self.shards.len() as u64) } else { reserved };
        for index in (first..self.shards.len()).chain(0..first) {
            if self.shards[index].push(core, reserved, None).await {
                return true;
            }
        }
        false
    }

    /// A submitter's turn is the one of its core's number, as it is that of its thread's number in the code.
    async fn next_in_turn(&self, core: Core<'_>) -> usize {
        let (line, next) = &self.turns[core.id % self.turns.len()];
        core.read(*line).await;
        let this = next.get();
        core.write(*line).await;
        next.set((this + 1) % self.shards.len());
        this
    }

    pub async fn has_room(&self, core: Core<'_>) -> bool {
        for shard in &self.shards {
            if shard.has_room(core, None).await {
                return true;
            }
        }
        false
    }

    /// The shard of a worker.
    fn home(&self, core: Core<'_>) -> usize {
        core.id % self.shards.len()
    }

    pub async fn pop(&self, core: Core<'_>) -> bool {
        let (pops, home) = (&self.workers[core.id].0, self.home(core));
        pops.set(pops.get() + 1);
        let is_round = pops.get() % ROUND == 0;
        let first = if is_round { self.next_round(core, home, pops.get()).await } else { home };
        if self.try_shard(core, first).await {
            return true;
        }
        let start = core.machine.below(self.shards.len());
        let order: Vec<_> = (start..self.shards.len()).chain(0..start).collect();
        for some in order.chunks(OUTSTANDING / 2) {
            core.read_together(some.iter().flat_map(|index| self.shards[*index].lines())).await;
            for index in some {
                if self.shards[*index].waits() && self.try_shard(core, *index).await {
                    return true;
                }
            }
        }
        false
    }

    /// The shard at which this round begins. Its `own_pops` are read, and those of the next.
    async fn next_round(&self, core: Core<'_>, home: usize, pops: u64) -> usize {
        let this = (home + (pops / ROUND) as usize) % self.shards.len();
        core.read(self.shards[this].head.line).await;
        core.read(self.shards[(this + 1) % self.shards.len()].head.line).await;
        this
    }

    async fn try_shard(&self, core: Core<'_>, index: usize) -> bool {
        let shard = &self.shards[index];
        if index != self.home(core) && !shard.has_work(core).await {
            return false;
        }
        let found = shard.pop(core).await;
        if found {
            self.workers[core.id].1.set(index);
        }
        found
    }

    pub async fn finished(&self, core: Core<'_>) {
        let shard = &self.shards[self.workers[core.id].1.get()];
        core.modify(shard.head.line).await;
        shard.finished.set(shard.finished.get() + 1);
    }

    /// Started tasks are read before ended ones, which are on the same lines.
    pub async fn running(&self, core: Core<'_>) -> u64 {
        let started: u64 = self.read_heads(core, TwoLockQueue::popped).await;
        started.saturating_sub(self.read_heads(core, |shard| shard.finished.get()).await)
    }

    async fn read_heads(&self, core: Core<'_>, count: impl Fn(&TwoLockQueue) -> u64) -> u64 {
        let mut sum = 0;
        for some in self.shards.chunks(OUTSTANDING) {
            core.read_together(some.iter().map(|shard| shard.head.line)).await;
            sum += some.iter().map(&count).sum::<u64>();
        }
        sum
    }

    pub async fn has_work(&self, core: Core<'_>) -> bool {
        for some in self.shards.chunks(OUTSTANDING / 2) {
            core.read_together(some.iter().flat_map(TwoLockQueue::lines)).await;
            if some.iter().any(TwoLockQueue::waits) {
                // `is_limited`.
                core.read(self.shards[0].head.line).await;
                return true;
            }
        }
        false
    }

    /// Reads all shards, however many tasks the first ones have.
    pub async fn has_more(&self, core: Core<'_>, searching: u64) -> bool {
        let mut waiting = 0;
        for some in self.shards.chunks(OUTSTANDING / 2) {
            core.read_together(some.iter().flat_map(TwoLockQueue::lines)).await;
            waiting += some.iter().map(TwoLockQueue::len).sum::<u64>();
        }
        waiting > searching
    }
}
