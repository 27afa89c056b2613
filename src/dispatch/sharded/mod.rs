//! Several queues, each with its own workers, and stealing between them: what makes one queue of the shards.

mod choosing;
mod shard;

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use super::balance::{Balance, scramble, truncate};
use super::counts::{Counts, to_usize};
use super::homes::Homes;
use super::peak::{Busy, Peak};
use super::{Dispatch, Load, MAIN_DOOR, MAX_WORKERS, Parcel, Queue, Refused, Shape, sealed};
use crate::stats::ShardStats;
use crate::sync::{Arc, AtomicUsize, Backoff, Mutex, Ordering};

use shard::Shard;

/// Several queues, each with its own share of the workers and of the room; first in, first out within a shard. A worker
/// without work in its own shard steals from the others, so no task waits while a worker is idle.
///
/// Made for many submitters on many cores: they meet only in one shard. Which shard a task goes to is a matter of
/// [`Balance`], or of its key ([`Pool::submit_keyed`](crate::Pool::submit_keyed)): the tasks of one key never take more than
/// one shard's room.
///
/// The number of shards is [`Builder::shards`](crate::Builder::shards); default: the number of processors that the process
/// may use, but no more than workers. The bound of the pool is exact; each shard has an equal share of it. Memory grows with the
/// tasks that wait, some sixty at a time.
///
/// ```
/// use formicary::{Pool, Sharded};
///
/// let pool = Pool::builder().workers(4).dispatch::<Sharded>().shards(2).build()?;
/// assert_eq!(pool.run(|| 6 * 7)?, 42);
/// let shards = pool.stats().shards;
/// assert_eq!(shards.iter().map(|shard| shard.submitted).sum::<u64>(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Sharded;

impl sealed::Sealed for Sharded {}

impl Dispatch for Sharded {
    const NAME: &'static str = "Sharded";
    type Queue<T: Send + 'static> = ShardedQueue<T>;
}

#[doc(hidden)]
pub struct ShardedQueue<T> {
    shards: Box<[Shard<T>]>,
    balance: Balance,
    /// The shard that is next in turn.
    turn: CachePadded<AtomicUsize>,
    /// How many shards have a share of the room.
    usable: AtomicUsize,
    peak: CachePadded<Peak>,
    book: Mutex<Book>,
}

struct Book {
    bound: Option<usize>,
    /// The most tasks that may be in the pool; `None` is no limit.
    room: Option<usize>,
    /// The most tasks that may run; `None` where the number of workers is limit enough.
    running: Option<u64>,
    homes: Homes,
}

impl Book {
    /// How many of `shards` have a share of the room.
    fn usable(&self, shards: usize) -> usize {
        self.room.unwrap_or(usize::MAX).min(shards)
    }

    /// The share that shard `index` of `shards` has of the room. They add up to the room.
    fn share(&self, index: usize, shards: usize) -> u64 {
        self.room.map_or(u64::MAX, |room| (room / shards + usize::from(index < room % shards)) as u64)
    }
}

#[doc(hidden)]
pub struct Seat {
    /// The worker's own shard; the book may move it.
    home: Arc<AtomicUsize>,
    /// The shard that its task came from.
    from: Cell<usize>,
    looks: Cell<usize>,
    random: Cell<u64>,
    busy: Busy,
}

impl<T> ShardedQueue<T> {
    fn take_all(&self) -> Vec<T> {
        let mut drained = Vec::new();
        let _book = self.book.lock();
        for shard in &self.shards {
            let backoff = Backoff::new();
            // Also those that are just being put in.
            let end = shard.inward.entrance.count();
            while shard.outward.exit.count() < end {
                if self.pass_under_lock(shard, true) {
                    shard.finish();
                    drained.push(shard.take());
                } else {
                    backoff.snooze();
                }
            }
        }
        drained
    }
}

impl<T: Send + 'static> Queue<T> for ShardedQueue<T> {
    type Seat = Seat;

    fn new(shape: &Shape) -> Result<Self, &'static str> {
        let count = shape.shards.unwrap_or_else(|| num_cpus::get().min(shape.workers));
        let room = shape.bound.map(|bound| shape.workers.saturating_add(bound));
        if count == 0 {
            return Err("`shards` is 0: a pool needs at least one");
        }
        if count > MAX_WORKERS {
            return Err("`shards` is above 65535");
        }
        if room.is_some_and(|room| room < count) {
            return Err("`shards` is above `workers` and `queue` together: some could hold no task");
        }
        let book = Book { bound: shape.bound, room, running: None, homes: Homes::new(count) };
        Ok(ShardedQueue {
            shards: (0..count).map(|index| Shard::new(book.share(index, count))).collect(),
            balance: shape.balance,
            turn: CachePadded::new(AtomicUsize::new(0)),
            usable: AtomicUsize::new(book.usable(count)),
            peak: CachePadded::new(Peak::new()),
            book: Mutex::new(book),
        })
    }

    fn push(
        &self,
        item: &mut (impl Parcel<T> + ?Sized),
        door: usize,
        keep: usize,
        _idle: Option<usize>,
    ) -> Result<(), Refused> {
        if door != MAIN_DOOR {
            return self.push_to(self.behind(door), item, keep);
        }
        let count = self.shards.len();
        let first = self.pick();
        for n in first..first + count {
            match self.push_to(n % count, item, keep) {
                Err(Refused::Full) => {}
                result => return result,
            }
        }
        Err(Refused::Full)
    }

    fn door(&self, key: u64) -> usize {
        1 + truncate(scramble(key)) % self.shards.len()
    }

    fn has_room(&self, door: usize) -> bool {
        let book = self.book.lock();
        let has_room = |index| self.renew_limit(index, &book) > 0;
        match door {
            MAIN_DOOR => (0..self.shards.len()).any(has_room),
            _ => has_room(self.behind(door)),
        }
    }

    fn seat(&self, worker: usize) -> Seat {
        let home = self.book.lock().homes.join();
        let random = Cell::new(worker as u64);
        Seat { home, from: Cell::new(0), looks: Cell::new(0), random, busy: Busy::new(false) }
    }

    fn pop(&self, seat: &Seat) -> Option<T> {
        let item = self.look_for_task(seat);
        match item {
            Some(_) => self.peak.works(&seat.busy),
            None => self.peak.rests(&seat.busy),
        }
        item
    }

    fn pop_instead(&self) -> Option<T> {
        let book = self.book.lock();
        let may = book.running != Some(0);
        let first = self.next_in_turn();
        let count = self.shards.len();
        (first..first + count).find_map(|n| {
            let shard = &self.shards[n % count];
            self.pass_under_lock(shard, may).then(|| {
                // It takes the place of one that is counted as running.
                shard.finish();
                shard.take()
            })
        })
    }

    fn finished(&self, seat: &Seat) {
        self.shards[seat.from.get()].finish();
    }

    fn has_work(&self) -> bool {
        // A stale count of an exit errs to the safe side.
        self.shards.iter().any(Shard::has_work)
            && (!self.shards[0].outward.exit.is_shut() || self.may_start(&self.book.lock()))
    }

    fn has_more(&self) -> bool {
        self.shards.iter().map(Shard::waiting).sum::<u64>() > 1
    }

    fn load(&self) -> Load {
        let sum = |of: fn(&Shard<T>) -> u64| self.shards.iter().map(of).sum::<u64>();
        let read = || {
            let finished = sum(Shard::finished);
            let started = sum(|shard| shard.outward.exit.count());
            Counts { finished, started, accepted: sum(|shard| shard.inward.entrance.count()) }
        };
        let book = self.book.lock();
        let room = book.room.map_or(u64::MAX, |room| room as u64);
        Counts::load(read, book.homes.len(), room, self.peak.highest())
    }

    fn shards(&self) -> Vec<ShardStats> {
        let book = self.book.lock();
        let figures = |(index, shard): (usize, &Shard<T>)| {
            let running = shard.running();
            let held = shard.held();
            ShardStats {
                workers: book.homes.at(index),
                submitted: shard.inward.entrance.count(),
                queued: to_usize(held.saturating_sub(running)),
                running: to_usize(running),
                stolen: shard.outward.stolen.load(Ordering::Relaxed),
            }
        };
        self.shards.iter().enumerate().map(figures).collect()
    }

    fn set_limits(&self, running: Option<usize>, workers: usize) {
        let mut book = self.book.lock();
        book.running = running.map(|limit| limit as u64);
        book.room = book.bound.map(|bound| workers.saturating_add(bound));
        self.usable.store(book.usable(self.shards.len()), Ordering::Relaxed);
        for (index, shard) in self.shards.iter().enumerate() {
            self.renew_limit(index, &book);
            if running.is_some() {
                shard.outward.exit.shut();
            } else {
                shard.outward.exit.open();
            }
        }
    }

    fn close(&self) {
        self.shards.iter().for_each(|shard| shard.inward.entrance.shut());
    }

    fn open(&self) {
        self.shards.iter().for_each(|shard| shard.inward.entrance.open());
    }

    fn drain(&self) -> Vec<T> {
        self.take_all()
    }

    fn leave(&self, seat: Seat) {
        self.peak.rests(&seat.busy);
        self.book.lock().homes.leave(&seat.home);
    }
}

impl<T> Drop for ShardedQueue<T> {
    fn drop(&mut self) {
        // If the drop of one panics, the list drops the others.
        drop(self.take_all());
    }
}
