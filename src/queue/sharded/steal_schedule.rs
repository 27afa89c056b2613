//! Which shard a worker pops from first: usually its own, sometimes another.

use std::cell::Cell;

use super::shard::Shard;

/// Once in this many pops a worker starts at another shard, each in turn.
const ROUND: usize = 32;

/// A worker whose own shard always has tasks must not ignore the others. Once per round it starts at another shard. If that
/// shard has tasks, and its own workers (if any) have popped nothing since the previous round, they are busy with long tasks:
/// then the worker takes every second task of the round from there.
///
/// So at most half of a worker's tasks are stolen, and a shard whose workers are all held up gets that half from any other
/// worker once in as many rounds as there are other shards.
pub(super) struct StealSchedule {
    pops: Cell<usize>,
    /// The other shard whose turn is next.
    next: Cell<usize>,
    /// What that shard's own workers had popped at the previous round.
    own_pops: Cell<u64>,
    /// The shard that this round's stolen tasks come from.
    assisted: Cell<Option<usize>>,
}

impl StealSchedule {
    pub(super) fn new() -> Self {
        StealSchedule {
            pops: Cell::new(0),
            next: Cell::new(0),
            own_pops: Cell::new(u64::MAX),
            assisted: Cell::new(None),
        }
    }

    /// The shard at which a worker of shard `home` starts its next pop.
    #[inline]
    pub(super) fn begin<T>(&self, home: usize, shards: &[Shard<T>]) -> usize {
        let pops = self.pops.get().wrapping_add(1);
        self.pops.set(pops);
        if pops % ROUND == 0 {
            return self.next_round(home, shards);
        }
        match self.assisted.get() {
            Some(assisted) if pops % 2 == 0 => assisted,
            _ => home,
        }
    }

    #[cold]
    fn next_round<T>(&self, home: usize, shards: &[Shard<T>]) -> usize {
        let this = self.next.get();
        let is_neglected = shards[this].own_pops() == self.own_pops.get() && shards[this].has_work();
        self.assisted.set(is_neglected.then_some(this));
        let after = |shard| (shard + 1) % shards.len();
        let next = after(this);
        let next = if next == home { after(next) } else { next };
        self.next.set(next);
        self.own_pops.set(shards[next].own_pops());
        this
    }

    /// Tells that the shard from [`begin`](Self::begin) had no task.
    pub(super) fn found_empty(&self) {
        self.assisted.set(None);
    }
}
