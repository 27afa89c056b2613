//! Several queues, each with its own workers, and stealing between them: what makes one queue of the shards.

mod choosing;
mod shard;
mod steal_schedule;

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use super::ShardStats;
use super::balance::{Balance, scramble, truncate};
use super::counts::{Counts, to_usize};
use super::shard_assignment::{Assigned, ShardAssignment};
use super::{DEFAULT_LANE, Dispatch, LazyItem, Load, MAX_WORKERS, Queue, Refused, Shape, sealed};
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};

use shard::Shard;
use steal_schedule::StealSchedule;

/// Several queues, each with its own share of the workers and of the room; first in, first out within a shard. A worker
/// without work in its own shard steals from the others, so no task waits while a worker is idle. One whose own shard never
/// runs dry takes a task of another now and then, and every second one where a shard's workers are held up by long tasks.
///
/// LazyWith for many submitters on many cores: they meet only in one shard. Which shard a task goes to is a matter of
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
    inner: Mutex<Inner>,
}

struct Inner {
    bound: Option<usize>,
    /// The most tasks that may be in the pool; `None` is no limit.
    room: Option<usize>,
    /// The most tasks that may run; `None` where the number of workers is limit enough.
    running: Option<u64>,
    /// How many of them did not come from here.
    elsewhere: u64,
    assignment: ShardAssignment,
}

impl Inner {
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
pub struct ShardedCx {
    /// The worker's own shard; the book may move it.
    home: Arc<Assigned>,
    /// The shard that its task came from.
    from: Cell<usize>,
    schedule: StealSchedule,
    random: Cell<u64>,
}

impl<T: Send + 'static> Queue<T> for ShardedQueue<T> {
    type Cx = ShardedCx;

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
        let inner =
            Inner { bound: shape.bound, room, running: None, elsewhere: 0, assignment: ShardAssignment::new(count) };
        Ok(ShardedQueue {
            shards: (0..count).map(|index| Shard::new(inner.share(index, count))).collect(),
            balance: shape.balance,
            turn: CachePadded::new(AtomicUsize::new(0)),
            usable: AtomicUsize::new(inner.usable(count)),
            inner: Mutex::new(inner),
        })
    }

    fn push(
        &self,
        item: &mut (impl LazyItem<T> + ?Sized),
        lane: usize,
        reserved: usize,
        _idle: Option<usize>,
    ) -> Result<(), Refused> {
        if lane != DEFAULT_LANE {
            return self.shards[self.behind(lane)].push(item, reserved);
        }
        let first = self.pick();
        let mut index = first;
        loop {
            match self.shards[index].push(item, reserved) {
                Err(Refused::Full) => {}
                result => return result,
            }
            index = self.after(index);
            if index == first {
                return Err(Refused::Full);
            }
        }
    }

    fn lane(&self, key: u64) -> usize {
        1 + truncate(scramble(key)) % self.shards.len()
    }

    fn shard_of_lane(&self, lane: usize) -> usize {
        self.behind(lane)
    }

    fn has_room(&self, lane: usize) -> bool {
        match lane {
            DEFAULT_LANE => self.shards.iter().any(Shard::has_room),
            _ => self.shards[self.behind(lane)].has_room(),
        }
    }

    fn cx(&self, worker: usize) -> ShardedCx {
        let home = self.inner.lock().assignment.join();
        let random = Cell::new(worker as u64);
        ShardedCx { home, from: Cell::new(0), schedule: StealSchedule::new(), random }
    }

    fn pop(&self, cx: &ShardedCx) -> Option<T> {
        self.look_for_task(cx)
    }

    fn pop_instead(&self) -> Option<T> {
        let inner = self.inner.lock();
        if inner.running == Some(0) {
            return None;
        }
        self.all_from(self.next_in_turn()).find_map(|index| {
            let shard = &self.shards[index];
            // It takes the place of one that is counted as running.
            shard.pop_shut(false).inspect(|_| shard.finish())
        })
    }

    fn finished(&self, cx: &ShardedCx) {
        self.shards[cx.from.get()].finish();
    }

    fn started(&self) -> u64 {
        self.shards.iter().map(Shard::started).sum()
    }

    fn ended(&self) -> u64 {
        self.shards.iter().map(Shard::finished).sum()
    }

    fn has_work(&self) -> bool {
        self.shards.iter().any(Shard::has_work) && (!self.shards[0].is_shut() || self.may_start(&self.inner.lock()))
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
        let inner = self.inner.lock();
        let room = inner.room.map_or(u64::MAX, |room| room as u64);
        Counts::load(read, inner.assignment.len(), room)
    }

    fn shards(&self) -> Vec<ShardStats> {
        let inner = self.inner.lock();
        let figures = |(index, shard): (usize, &Shard<T>)| {
            let running = shard.running();
            let held = shard.held();
            ShardStats {
                workers: inner.assignment.at(index),
                submitted: shard.accepted(),
                queued: to_usize(held.saturating_sub(running)),
                running: to_usize(running),
                stolen: shard.stolen(),
            }
        };
        self.shards.iter().enumerate().map(figures).collect()
    }

    fn set_limits(&self, running: Option<usize>, workers: usize) {
        let mut inner = self.inner.lock();
        inner.running = running.map(|limit| limit as u64);
        inner.room = inner.bound.map(|bound| workers.saturating_add(bound));
        self.usable.store(inner.usable(self.shards.len()), Ordering::Relaxed);
        for (index, shard) in self.shards.iter().enumerate() {
            shard.set_share(inner.share(index, self.shards.len()));
            shard.set_shut(running.is_some());
        }
    }

    fn set_bound(&self, bound: Option<usize>, workers: usize) -> Result<(), String> {
        check_room(bound.map(|bound| workers.saturating_add(bound)), self.shards.len())?;
        self.inner.lock().bound = bound;
        Ok(())
    }

    fn set_elsewhere(&self, running: usize) {
        self.inner.lock().elsewhere = running as u64;
    }

    fn close(&self) {
        self.shards.iter().for_each(|shard| shard.set_closed(true));
    }

    fn open(&self) {
        self.shards.iter().for_each(|shard| shard.set_closed(false));
    }

    fn drain(&self) -> Vec<T> {
        let mut drained = Vec::new();
        let _book = self.inner.lock();
        self.shards.iter().for_each(|shard| shard.drain_into(&mut drained));
        drained
    }

    fn sweep(&self, is_dead: &mut dyn FnMut(&T) -> bool) -> Vec<T> {
        let mut swept = Vec::new();
        let _book = self.inner.lock();
        self.shards.iter().for_each(|shard| shard.sweep_into(is_dead, &mut swept));
        swept
    }

    fn leave(&self, cx: ShardedCx) {
        self.inner.lock().assignment.leave(&cx.home);
    }
}
