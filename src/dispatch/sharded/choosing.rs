//! Which shard: where a task goes, and where a worker finds its next one, in its own shard or stolen.

use super::shard::Shard;
use super::{Book, Seat, ShardedQueue};
use crate::dispatch::balance::{Balance, next_random, random, thread_number, truncate};
use crate::dispatch::turnstile::Blocked;
use crate::dispatch::{Parcel, Refused};
use crate::sync::Ordering;

/// Every so many looks for work a worker begins at another shard than its own, so that none is left waiting behind a busy one
/// that has workers.
const ROUND: usize = 32;

/// The way in.
impl<T> ShardedQueue<T> {
    pub(super) fn push_to(
        &self,
        index: usize,
        item: &mut (impl Parcel<T> + ?Sized),
        keep: usize,
    ) -> Result<(), Refused> {
        let shard = &self.shards[index];
        let entered = shard.inward.entrance.pass(keep, || {
            let book = self.book.lock();
            self.renew_limit(index, &book)
        });
        match entered {
            Ok(_) => {
                shard.tasks.push(item.unpack());
                // ORDERING: Release, see `Shard::has_task`.
                shard.inward.pushed.fetch_add(1, Ordering::Release);
                Ok(())
            }
            Err(Blocked::Shut) => Err(Refused::Closed),
            Err(Blocked::NotReady) => Err(Refused::Full),
        }
    }

    /// Reckons anew how many may have come into a shard; says whether there is room for one more.
    pub(super) fn renew_limit(&self, index: usize, book: &Book) -> u64 {
        let shard = &self.shards[index];
        let share = book.share(index, self.shards.len());
        shard.inward.entrance.renew(|| share.saturating_add(shard.finished()))
    }

    /// The shard behind a door other than the main one. With less room than shards some have none, and others stand in.
    pub(super) fn behind(&self, door: usize) -> usize {
        // ORDERING: Relaxed. Whoever waits for room when it changes is woken after that, through a lock.
        (door - 1) % self.usable.load(Ordering::Relaxed)
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
                (first..first + count).map(|n| n % count).min_by_key(held).unwrap_or(0)
            }
            Balance::TwoChoices => {
                let (one, two) = (random() % count, random() % count);
                if held(&one) <= held(&two) { one } else { two }
            }
            Balance::Thread => thread_number() % count,
        }
    }

    pub(super) fn next_in_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed) % self.shards.len()
    }
}

/// The way out.
impl<T> ShardedQueue<T> {
    /// The worker's next task: of its own shard, or stolen.
    pub(super) fn look_for_task(&self, seat: &Seat) -> Option<T> {
        let count = self.shards.len();
        // ORDERING: Relaxed. Any shard is as good as another.
        let home = seat.home.load(Ordering::Relaxed);
        let looks = seat.looks.get().wrapping_add(1);
        seat.looks.set(looks);
        let first = if looks % ROUND == 0 { looks / ROUND % count } else { home };
        let (index, item) = self.try_shard(first).or_else(|| {
            let start = truncate(next_random(&seat.random)) % count;
            (start..start + count).find_map(|n| self.try_shard(n % count))
        })?;
        seat.from.set(index);
        if index != home {
            self.shards[index].outward.stolen.fetch_add(1, Ordering::Relaxed);
        }
        Some(item)
    }

    fn try_shard(&self, index: usize) -> Option<(usize, T)> {
        let shard = &self.shards[index];
        if !shard.has_work() {
            return None;
        }
        self.start(shard).map(|item| (index, item))
    }

    /// Takes a task out of a shard, if it has one and one may start.
    fn start(&self, shard: &Shard<T>) -> Option<T> {
        match shard.outward.exit.pass(|ticket| shard.has_task(ticket)) {
            Ok(_) => Some(shard.take()),
            Err(Blocked::NotReady) => None,
            Err(Blocked::Shut) => {
                let book = self.book.lock();
                let may = self.may_start(&book);
                self.pass_under_lock(shard, may).then(|| shard.take())
            }
        }
    }

    /// Whether one more task may start.
    pub(super) fn may_start(&self, book: &Book) -> bool {
        book.running.is_none_or(|limit| self.shards.iter().map(Shard::running).sum::<u64>() < limit)
    }

    /// A ticket for the exit of a shard, which may be shut; the caller has the lock and knows whether a task may start.
    pub(super) fn pass_under_lock(&self, shard: &Shard<T>, may: bool) -> bool {
        let exit = &shard.outward.exit;
        if !exit.is_shut() {
            return exit.pass(|ticket| shard.has_task(ticket)).is_ok();
        }
        let passes = may && shard.has_work();
        if passes {
            exit.pass_shut();
        }
        passes
    }
}
