//! Which shard: where a task goes, and where a worker finds its next one, in its own shard or stolen.

use super::shard::{NoTask, Shard};
use super::{Inner, ShardedCx, ShardedQueue};
use crate::queue::balance::{Balance, next_random, random, thread_number, truncate};
use crate::sync::Ordering;

/// The way in.
impl<T> ShardedQueue<T> {
    /// The shard behind a door other than the main one. With less room than shards some have none, and others stand in.
    pub(super) fn behind(&self, lane: usize) -> usize {
        // ORDERING: Relaxed. Whoever waits for room when it changes is woken after that, through a lock.
        (lane - 1) % self.usable.load(Ordering::Relaxed)
    }

    /// The shard to begin with for a task that may go anywhere.
    pub(super) fn pick(&self) -> usize {
        let count = self.shards.len();
        let held = |index: &usize| self.shards[*index].held();
        match self.balance {
            Balance::RoundRobin => self.next_in_turn(),
            Balance::LeastLoaded => {
                // Those that are equal take turns.
                let first = self.next_in_turn();
                self.all_from(first).min_by_key(held).unwrap_or(0)
            }
            Balance::TwoChoices => {
                let (one, two) = (random() % count, random() % count);
                if held(&one) <= held(&two) { one } else { two }
            }
            Balance::Thread => thread_number() % count,
        }
    }

    pub(super) fn next_in_turn(&self) -> usize {
        // ORDERING: Relaxed, and not counted in one step: of those who ask at the same time two may be sent to the same shard.
        let this = self.turn.load(Ordering::Relaxed);
        self.turn.store(self.after(this), Ordering::Relaxed);
        this
    }

    pub(super) fn after(&self, index: usize) -> usize {
        if index + 1 < self.shards.len() { index + 1 } else { 0 }
    }

    /// All shards, beginning with this one.
    pub(super) fn all_from(&self, first: usize) -> impl Iterator<Item = usize> {
        (first..self.shards.len()).chain(0..first)
    }
}

/// The way out.
impl<T> ShardedQueue<T> {
    /// The worker's next task: of its own shard, or stolen.
    #[inline]
    pub(super) fn look_for_task(&self, cx: &ShardedCx) -> Option<T> {
        let home = cx.home.shard();
        let first = cx.schedule.begin(home, &self.shards);
        if let Some(item) = self.try_shard(first, home, cx) {
            return Some(item);
        }
        cx.schedule.found_nothing();
        let start = truncate(next_random(&cx.random)) % self.shards.len();
        self.all_from(start).find_map(|index| self.try_shard(index, home, cx))
    }

    #[inline]
    fn try_shard(&self, index: usize, home: usize, cx: &ShardedCx) -> Option<T> {
        let (shard, is_stolen) = (&self.shards[index], index != home);
        if is_stolen && !shard.has_work() {
            return None;
        }
        let item = match shard.pop(is_stolen) {
            Ok(item) => item,
            Err(NoTask::Empty) => return None,
            Err(NoTask::Shut) => {
                let inner = self.inner.lock();
                self.may_start(&inner).then(|| shard.pop_shut(is_stolen))??
            }
        };
        cx.from.set(index);
        Some(item)
    }

    /// Whether one more task may start.
    pub(super) fn may_start(&self, inner: &Inner) -> bool {
        let running = || self.shards.iter().map(Shard::running).sum::<u64>() + inner.elsewhere;
        inner.running.is_none_or(|limit| running() < limit)
    }
}
