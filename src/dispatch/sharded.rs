//! Several queues, each with its own workers, and stealing between them.

use std::cell::Cell;

use crossbeam_deque::{Injector, Steal};
use crossbeam_utils::CachePadded;

use super::balance::{Balance, next_random, random, scramble, thread_number, truncate};
use super::counts::{Counts, to_usize};
use super::entrance::Entrance;
use super::homes::Homes;
use super::peak::{Busy, Peak};
use super::turnstile::{Blocked, Turnstile};
use super::{Dispatch, Load, MAIN_DOOR, MAX_WORKERS, Queue, Refused, Shape, sealed};
use crate::stats::ShardStats;
use crate::sync::{Arc, AtomicU64, AtomicUsize, Backoff, Mutex, Ordering};

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

/// Every so many looks for work a worker begins at another shard than its own, so that none is left waiting behind a busy one
/// that has workers.
const ROUND: usize = 32;

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

struct Shard<T> {
    /// Written by submitters.
    inward: CachePadded<Inward>,
    /// Written by workers.
    outward: CachePadded<Outward>,
    tasks: Injector<T>,
}

struct Inward {
    entrance: Entrance,
    /// How many tasks are in the injector or have been: a worker that has a ticket below this finds one there.
    pushed: AtomicU64,
}

struct Outward {
    /// A ticket here is the right to one task. Shut while not every worker that finds a task may start it.
    exit: Turnstile,
    finished: AtomicU64,
    stolen: AtomicU64,
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

impl<T> Shard<T> {
    fn finished(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `finish`: who sees a task finished sees what it did.
        self.outward.finished.load(Ordering::Acquire)
    }

    fn finish(&self) {
        // ORDERING: Release, see `finished`.
        self.outward.finished.fetch_add(1, Ordering::Release);
    }

    fn has_task(&self, ticket: u64) -> bool {
        // ORDERING: Acquire pairs with the Release in `push`: the task can be found in the injector.
        ticket < self.inward.pushed.load(Ordering::Acquire)
    }

    /// Whether there is a task that nobody has a ticket for.
    fn has_work(&self) -> bool {
        self.has_task(self.outward.exit.count())
    }

    /// Tasks queued and running.
    fn held(&self) -> u64 {
        let finished = self.finished();
        self.inward.entrance.count() - finished
    }

    /// Tasks that have a ticket for the exit and are not finished.
    fn running(&self) -> u64 {
        let started = self.outward.exit.count();
        started.saturating_sub(self.finished())
    }

    /// The task for a ticket of the exit.
    fn take(&self) -> T {
        let backoff = Backoff::new();
        loop {
            match self.tasks.steal() {
                Steal::Success(item) => return item,
                // As many tasks have been put in as tickets given out: somebody else is just taking or putting.
                Steal::Retry | Steal::Empty => backoff.snooze(),
            }
        }
    }
}

impl<T> ShardedQueue<T> {
    fn push_to(&self, index: usize, item: T) -> Result<(), Refused<T>> {
        let shard = &self.shards[index];
        let entered = shard.inward.entrance.pass(|| {
            let book = self.book.lock();
            self.renew_limit(index, &book)
        });
        match entered {
            Ok(_) => {
                shard.tasks.push(item);
                // ORDERING: Release, see `Shard::has_task`.
                shard.inward.pushed.fetch_add(1, Ordering::Release);
                Ok(())
            }
            Err(Blocked::Shut) => Err(Refused::Closed(item)),
            Err(Blocked::NotReady) => Err(Refused::Full(item)),
        }
    }

    /// Reckons anew how many may have come into a shard; says whether there is room for one more.
    fn renew_limit(&self, index: usize, book: &Book) -> bool {
        let shard = &self.shards[index];
        let share = book.share(index, self.shards.len());
        shard.inward.entrance.renew(|| share.saturating_add(shard.finished()))
    }

    /// The shard behind a door other than the main one. With less room than shards some have none, and others stand in.
    fn behind(&self, door: usize) -> usize {
        // ORDERING: Relaxed. Whoever waits for room when it changes is woken after that, through a lock.
        (door - 1) % self.usable.load(Ordering::Relaxed)
    }

    /// The shard to begin with for a task that may go anywhere.
    fn pick(&self) -> usize {
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

    fn next_in_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed) % self.shards.len()
    }

    /// Whether one more task may start.
    fn may_start(&self, book: &Book) -> bool {
        book.running.is_none_or(|limit| self.shards.iter().map(Shard::running).sum::<u64>() < limit)
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

    /// A ticket for the exit of a shard, which may be shut; the caller has the lock and knows whether a task may start.
    fn pass_under_lock(&self, shard: &Shard<T>, may: bool) -> bool {
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

    /// The worker's next task: of its own shard, or stolen.
    fn look_for_task(&self, seat: &Seat) -> Option<T> {
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
        let shard = |index| Shard {
            inward: CachePadded::new(Inward {
                entrance: Entrance::new(book.share(index, count)),
                pushed: AtomicU64::new(0),
            }),
            outward: CachePadded::new(Outward {
                exit: Turnstile::new(),
                finished: AtomicU64::new(0),
                stolen: AtomicU64::new(0),
            }),
            tasks: Injector::new(),
        };
        Ok(ShardedQueue {
            shards: (0..count).map(shard).collect(),
            balance: shape.balance,
            turn: CachePadded::new(AtomicUsize::new(0)),
            usable: AtomicUsize::new(book.usable(count)),
            peak: CachePadded::new(Peak::new()),
            book: Mutex::new(book),
        })
    }

    fn push(&self, mut item: T, door: usize, _idle: Option<usize>) -> Result<(), Refused<T>> {
        if door != MAIN_DOOR {
            return self.push_to(self.behind(door), item);
        }
        let count = self.shards.len();
        let first = self.pick();
        for n in first..first + count {
            match self.push_to(n % count, item) {
                Err(Refused::Full(back)) => item = back,
                result => return result,
            }
        }
        Err(Refused::Full(item))
    }

    fn door(&self, key: u64) -> usize {
        1 + truncate(scramble(key)) % self.shards.len()
    }

    fn has_room(&self, door: usize) -> bool {
        let book = self.book.lock();
        let has_room = |index| self.renew_limit(index, &book);
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
