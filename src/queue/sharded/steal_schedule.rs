//! Which shard a worker looks at first: its own, and now and then another.

use std::cell::Cell;

use super::shard::Shard;

/// Every so many looks for work a worker begins at another shard, in turn.
const ROUND: usize = 32;

/// A worker whose own shard never runs dry must not leave others to themselves. Once in a round it looks at one of them; and
/// where the shard's own workers, if any, have taken nothing since the round before although there is something, they are
/// busy with long tasks: then it takes every second task of the round from there.
///
/// So half of the worker's tasks at most are others', and a shard whose workers are all held up gets that half from any worker
/// once in as many rounds as there are other shards.
pub(super) struct StealSchedule {
    looks: Cell<usize>,
    /// The shard that is looked at next.
    next: Cell<usize>,
    /// What its own workers had taken a round ago.
    own_pops: Cell<u64>,
    /// The shard that this round's tasks are for, besides the worker's own.
    assisted: Cell<Option<usize>>,
}

impl StealSchedule {
    pub(super) fn new() -> Self {
        StealSchedule {
            looks: Cell::new(0),
            next: Cell::new(0),
            own_pops: Cell::new(u64::MAX),
            assisted: Cell::new(None),
        }
    }

    /// Where a worker with this home begins its next look.
    #[inline]
    pub(super) fn begin<T>(&self, home: usize, shards: &[Shard<T>]) -> usize {
        let looks = self.looks.get().wrapping_add(1);
        self.looks.set(looks);
        if looks % ROUND == 0 {
            return self.go_on(home, shards);
        }
        match self.assisted.get() {
            Some(assisted) if looks % 2 == 0 => assisted,
            _ => home,
        }
    }

    #[cold]
    fn go_on<T>(&self, home: usize, shards: &[Shard<T>]) -> usize {
        let this = self.next.get();
        let is_left_alone = shards[this].own_pops() == self.own_pops.get() && shards[this].has_work();
        self.assisted.set(is_left_alone.then_some(this));
        let after = |shard| (shard + 1) % shards.len();
        let next = after(this);
        let next = if next == home { after(next) } else { next };
        self.next.set(next);
        self.own_pops.set(shards[next].own_pops());
        this
    }

    /// There was nothing where the worker began.
    pub(super) fn found_nothing(&self) {
        self.assisted.set(None);
    }
}
