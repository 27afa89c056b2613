//! Several queues, each with its own workers, and stealing between them: what makes one queue of the shards.

mod choosing;
mod rounds;
mod shard;

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use super::ShardStats;
use super::balance::{Balance, scramble, truncate};
use super::counts::{Counts, to_usize};
use super::homes::{Home, Homes};
use super::{Dispatch, Load, MAIN_DOOR, MAX_WORKERS, Parcel, Queue, Refused, Shape, sealed};
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};

use rounds::Rounds;
use shard::Shard;

/// Several queues, each with its own share of the workers and of the room; first in, first out within a shard. A worker
/// without work in its own shard steals from the others, so no task waits while a worker is idle. One whose own shard never
/// runs dry takes a task of another now and then, and every second one where a shard's workers are held up by long tasks.
///
/// Made for many submitters on many cores: they meet only in one shard. Which shard a task goes to is a matter of
/// [`Balance`], or of its key ([`With::key`](crate::With::key)): the tasks of one key never take more than
/// one shard's room.
///
/// The number of shards is [`Builder::shards`](crate::Builder::shards); default: the number of processors that the process
/// may use, but no more than workers. The bound of the pool is exact; each shard has an equal share of it. Memory grows with the
/// tasks that wait and is given back when none is left.
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
    book: Mutex<Book>,
}

struct Book {
    bound: Option<usize>,
    /// The most tasks that may be in the pool; `None` is no limit.
    room: Option<usize>,
    /// The most tasks that may run; `None` where the number of workers is limit enough.
    running: Option<u64>,
    /// How many of them did not come from here.
    elsewhere: u64,
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

/// Each shard needs room for a task.
fn check_room(room: Option<usize>, shards: usize) -> Result<(), String> {
    match room.filter(|room| *room < shards) {
        None => Ok(()),
        Some(room) => {
            Err(format!("`shards` is {shards}, above `workers` and `queue` together, {room}: some could hold no task"))
        }
    }
}

#[doc(hidden)]
pub struct Seat {
    /// The worker's own shard; the book may move it.
    home: Arc<Home>,
    /// The shard that its task came from.
    from: Cell<usize>,
    rounds: Rounds,
    random: Cell<u64>,
}

impl<T: Send + 'static> Queue<T> for ShardedQueue<T> {
    type Seat = Seat;

    const HAS_SHARDS: bool = true;

    fn new(shape: &Shape) -> Result<Self, String> {
        let count = shape.shards.unwrap_or_else(|| num_cpus::get().min(shape.workers));
        let room = shape.bound.map(|bound| shape.workers.saturating_add(bound));
        if count == 0 {
            return Err("`shards` is 0: a pool needs at least one".to_owned());
        }
        if count > MAX_WORKERS {
            return Err(format!("`shards` is {count}: {MAX_WORKERS} is the most"));
        }
        check_room(room, count)?;
        let book = Book { bound: shape.bound, room, running: None, elsewhere: 0, homes: Homes::new(count) };
        Ok(ShardedQueue {
            shards: (0..count).map(|index| Shard::new(book.share(index, count))).collect(),
            balance: shape.balance,
            turn: CachePadded::new(AtomicUsize::new(0)),
            usable: AtomicUsize::new(book.usable(count)),
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
            return self.shards[self.behind(door)].push(item, keep);
        }
        let first = self.pick();
        let mut index = first;
        loop {
            match self.shards[index].push(item, keep) {
                Err(Refused::Full) => {}
                result => return result,
            }
            index = self.after(index);
            if index == first {
                return Err(Refused::Full);
            }
        }
    }

    fn door(&self, key: u64) -> usize {
        1 + truncate(scramble(key)) % self.shards.len()
    }

    fn shard_behind(&self, door: usize) -> usize {
        self.behind(door)
    }

    fn has_room(&self, door: usize) -> bool {
        match door {
            MAIN_DOOR => self.shards.iter().any(Shard::has_room),
            _ => self.shards[self.behind(door)].has_room(),
        }
    }

    fn seat(&self, worker: usize) -> Seat {
        let home = self.book.lock().homes.join();
        let random = Cell::new(worker as u64);
        Seat { home, from: Cell::new(0), rounds: Rounds::new(), random }
    }

    fn pop(&self, seat: &Seat) -> Option<T> {
        self.look_for_task(seat)
    }

    fn pop_instead(&self) -> Option<T> {
        let book = self.book.lock();
        if book.running == Some(0) {
            return None;
        }
        self.all_from(self.next_in_turn()).find_map(|index| {
            let shard = &self.shards[index];
            // It takes the place of one that is counted as running.
            shard.pop_shut(false).inspect(|_| shard.finish())
        })
    }

    fn finished(&self, seat: &Seat) {
        self.shards[seat.from.get()].finish();
    }

    fn started(&self) -> u64 {
        self.shards.iter().map(Shard::started).sum()
    }

    fn ended(&self) -> u64 {
        self.shards.iter().map(Shard::finished).sum()
    }

    fn has_work(&self) -> bool {
        self.shards.iter().any(Shard::has_work) && (!self.shards[0].is_shut() || self.may_start(&self.book.lock()))
    }

    fn has_more(&self) -> bool {
        self.shards.iter().map(Shard::waiting).sum::<u64>() > 1
    }

    fn load(&self) -> Load {
        let sum = |of: fn(&Shard<T>) -> u64| self.shards.iter().map(of).sum::<u64>();
        let read = || {
            let finished = sum(Shard::finished);
            let started = sum(Shard::started);
            Counts { finished, started, accepted: sum(Shard::accepted) }
        };
        let book = self.book.lock();
        let room = book.room.map_or(u64::MAX, |room| room as u64);
        Counts::load(read, book.homes.len(), room)
    }

    fn shards(&self) -> Vec<ShardStats> {
        let book = self.book.lock();
        let figures = |(index, shard): (usize, &Shard<T>)| {
            let running = shard.running();
            let held = shard.held();
            ShardStats {
                workers: book.homes.at(index),
                submitted: shard.accepted(),
                queued: to_usize(held.saturating_sub(running)),
                running: to_usize(running),
                stolen: shard.stolen(),
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
            shard.set_share(book.share(index, self.shards.len()));
            shard.set_shut(running.is_some());
        }
    }

    fn set_bound(&self, bound: Option<usize>, workers: usize) -> Result<(), String> {
        check_room(bound.map(|bound| workers.saturating_add(bound)), self.shards.len())?;
        self.book.lock().bound = bound;
        Ok(())
    }

    fn set_elsewhere(&self, running: usize) {
        self.book.lock().elsewhere = running as u64;
    }

    fn close(&self) {
        self.shards.iter().for_each(|shard| shard.set_closed(true));
    }

    fn open(&self) {
        self.shards.iter().for_each(|shard| shard.set_closed(false));
    }

    fn drain(&self) -> Vec<T> {
        let mut drained = Vec::new();
        let _book = self.book.lock();
        self.shards.iter().for_each(|shard| shard.drain_into(&mut drained));
        drained
    }

    fn sweep(&self, is_dead: &mut dyn FnMut(&T) -> bool) -> Vec<T> {
        let mut swept = Vec::new();
        let _book = self.book.lock();
        self.shards.iter().for_each(|shard| shard.sweep_into(is_dead, &mut swept));
        swept
    }

    fn leave(&self, seat: Seat) {
        self.book.lock().homes.leave(&seat.home);
    }
}
