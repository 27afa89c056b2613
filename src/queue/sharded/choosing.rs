//! Choosing a shard, for a push and for a pop.

use super::shard::{NoTask, Shard};
use super::{Control, ShardedCx, ShardedQueue};
use crate::queue::balance::{Balance, next_random, random, thread_number, truncate};
use crate::sync::Ordering;

/// Pushing.
impl<T> ShardedQueue<T> {
    /// The shard of a lane other than the default one. Lanes of shards without room, which exist if there is less room than
    /// shards, lead to the others.
    pub(super) fn shard_for(&self, lane: usize) -> usize {
        // ORDERING: Relaxed. Submitters that wait for room while it changes are woken afterwards, through a lock.
        (lane - 1) % self.usable.load(Ordering::Relaxed)
    }

    /// The first shard to try for a task that may go anywhere.
    pub(super) fn pick(&self) -> usize {
        let count = self.shards.len();
        let unfinished = |index: &usize| self.shards[*index].unfinished();
        match self.balance {
            Balance::RoundRobin => self.next_in_turn(),
            Balance::LeastLoaded => {
                // Equally loaded shards take turns.
                let first = self.next_in_turn();
                self.all_from(first).min_by_key(unfinished).unwrap_or(0)
            }
            Balance::TwoChoices => {
                let (one, two) = (random() % count, random() % count);
                if unfinished(&one) <= unfinished(&two) { one } else { two }
            }
            Balance::Thread => thread_number() % count,
        }
    }

    pub(super) fn next_in_turn(&self) -> usize {
        let turn = &self.turns[thread_number() & (self.turns.len() - 1)];
        // ORDERING: Relaxed, and not a read-modify-write: two threads that call this at the same time may get the same shard.
        let this = turn.load(Ordering::Relaxed);
        turn.store(self.after(this), Ordering::Relaxed);
        this
    }

    pub(super) fn after(&self, index: usize) -> usize {
        if index + 1 < self.shards.len() { index + 1 } else { 0 }
    }

    /// All shards, starting with this one.
    pub(super) fn all_from(&self, first: usize) -> impl Iterator<Item = usize> {
        (first..self.shards.len()).chain(0..first)
    }
}

/// Popping.
impl<T> ShardedQueue<T> {
    /// Pops the worker's next task, from its own shard or stolen.
    #[inline]
    pub(super) fn find_task(&self, cx: &ShardedCx) -> Option<T> {
        let home = cx.home.shard();
        let first = cx.schedule.begin(home, &self.shards);
        if let Some(item) = self.try_shard(first, home, cx) {
            return Some(item);
        }
        cx.schedule.found_empty();
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
            Err(NoTask::Limited) => {
                let control = self.control.lock();
                self.may_start(&control).then(|| shard.pop_checked(is_stolen))??
            }
        };
        cx.from.set(index);
        Some(item)
    }

    /// Whether one more task may start.
    pub(super) fn may_start(&self, control: &Control) -> bool {
        control.run_limit.allows_one_more(|| self.shards.iter().map(Shard::running).sum())
    }
}
