//! Several queues with their own workers and work stealing, presented as one queue.

mod choosing;
mod shard;
mod steal_schedule;

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use super::ShardStats;
use super::balance::{Balance, scramble, truncate};
use super::counts::{Counts, to_usize};
use super::run_limit::RunLimit;
use super::shard_assignment::{Assigned, ShardAssignment};
use super::{DEFAULT_LANE, Dispatch, LazyBatch, LazyItem, Load, MAX_WORKERS, Queue, Refused, Shape, sealed};
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};

use shard::Shard;
use steal_schedule::StealSchedule;

/// Several queues (shards), each with its own share of the workers and of the room. First in, first out within a shard.
///
/// A worker without work in its own shard steals from the others, so no task waits while a worker is idle. A worker whose own
/// shard always has tasks still takes a task of another shard now and then, and every second task from a shard whose workers are
/// all held up by long tasks.
///
/// Made for many submitters on many cores: they contend only within a shard. [`Balance`] decides which shard a task goes to, or
/// the task's key ([`With::key`](crate::With::key)): the tasks of one key never take more than one shard's room.
///
/// [`Builder::shards`](crate::Builder::shards) sets the number of shards. Default: the number of CPUs that the process may use,
/// but no more than workers. The bound of the pool is exact and split evenly between the shards. Memory grows with the waiting
/// tasks and is freed when none is left.
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
    /// The next shard in turn: about as many as shards, a power of two, between which the submitting threads are divided, so that few of them
    /// write the same.
    turns: Box<[CachePadded<AtomicUsize>]>,
    /// How many shards have room at all.
    usable: AtomicUsize,
    control: Mutex<Control>,
}

/// There are no more turns than this. A power of two.
const MOST_TURNS: usize = 64;

/// State that pushes and pops rarely need.
struct Control {
    bound: Option<usize>,
    /// How many unfinished tasks there may be; `None` is unbounded.
    room: Option<usize>,
    run_limit: RunLimit,
    assignment: ShardAssignment,
}

impl Control {
    /// How many of `shards` shards have room at all.
    fn usable(&self, shards: usize) -> usize {
        self.room.unwrap_or(usize::MAX).min(shards)
    }

    /// The room of shard `index` of `shards`. The shares add up to the room.
    fn share(&self, index: usize, shards: usize) -> u64 {
        self.room.map_or(u64::MAX, |room| (room / shards + usize::from(index < room % shards)) as u64)
    }
}

/// Checks that each shard has room for a task.
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
    /// The worker's own shard, which can change while it runs.
    home: Arc<Assigned>,
    /// The shard that its current task came from.
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
        let control = Control {
            bound: shape.bound,
            room,
            run_limit: RunLimit::default(),
            assignment: ShardAssignment::new(count),
        };
        Ok(ShardedQueue {
            shards: (0..count).map(|index| Shard::new(control.share(index, count))).collect(),
            balance: shape.balance,
            turns: (0..count.min(MOST_TURNS).next_power_of_two()).map(|_| CachePadded::default()).collect(),
            usable: AtomicUsize::new(control.usable(count)),
            control: Mutex::new(control),
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
            return self.shards[self.shard_for(lane)].push(item, reserved);
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

    fn push_batch(&self, batch: &mut impl LazyBatch<T>, lane: usize, reserved: usize) -> usize {
        if lane != DEFAULT_LANE {
            return self.shards[self.shard_for(lane)].push_batch(batch, usize::MAX, reserved);
        }
        // As many to each shard that is picked as if all got the same.
        let share = batch.remaining().div_ceil(self.shards.len());
        let mut pushed = 0;
        while batch.remaining() > 0 {
            let mut shards = self.all_from(self.pick()).map(|index| &self.shards[index]);
            match shards.find_map(|shard| Some(shard.push_batch(batch, share, reserved)).filter(|count| *count > 0)) {
                Some(count) => pushed += count,
                None => break,
            }
        }
        pushed
    }

    fn lane(&self, key: u64) -> usize {
        1 + truncate(scramble(key)) % self.shards.len()
    }

    fn shard_of_lane(&self, lane: usize) -> usize {
        self.shard_for(lane)
    }

    fn has_room(&self, lane: usize) -> bool {
        match lane {
            DEFAULT_LANE => self.shards.iter().any(Shard::has_room),
            _ => self.shards[self.shard_for(lane)].has_room(),
        }
    }

    fn cx(&self, worker: usize) -> ShardedCx {
        let home = self.control.lock().assignment.join();
        let random = Cell::new(worker as u64);
        ShardedCx { home, from: Cell::new(0), schedule: StealSchedule::new(), random }
    }

    fn pop(&self, cx: &ShardedCx) -> Option<T> {
        self.find_task(cx)
    }

    fn pop_instead(&self) -> Option<T> {
        let control = self.control.lock();
        if control.run_limit.is_zero() {
            return None;
        }
        // It replaces a task that is counted as running.
        self.all_from(self.next_in_turn()).find_map(|index| self.shards[index].take_as_ended())
    }

    fn take_oldest(&self, lane: usize) -> Option<T> {
        match lane {
            DEFAULT_LANE => self.all_from(self.next_in_turn()).find_map(|index| self.shards[index].take_as_ended()),
            lane => self.shards[self.shard_for(lane)].take_as_ended(),
        }
    }

    fn finished(&self, cx: &ShardedCx) {
        self.shards[cx.from.get()].add_finished(1);
    }

    fn started(&self) -> u64 {
        self.shards.iter().map(Shard::started).sum()
    }

    fn ended(&self) -> u64 {
        self.shards.iter().map(Shard::finished).sum()
    }

    fn has_work(&self) -> bool {
        self.shards.iter().any(Shard::has_work)
            && (!self.shards[0].is_limited() || self.may_start(&self.control.lock()))
    }

    fn has_more(&self, searching: usize) -> bool {
        self.shards.iter().map(Shard::waiting).sum::<u64>() > searching as u64
    }

    fn load(&self) -> Load {
        let sum = |of: fn(&Shard<T>) -> u64| self.shards.iter().map(of).sum::<u64>();
        let read = || {
            let finished = sum(Shard::finished);
            let started = sum(Shard::started);
            Counts { finished, started, accepted: sum(Shard::accepted) }
        };
        let control = self.control.lock();
        let room = control.room.map_or(u64::MAX, |room| room as u64);
        Counts::load(read, control.assignment.len(), room)
    }

    fn shards(&self) -> Vec<ShardStats> {
        let control = self.control.lock();
        let figures = |(index, shard): (usize, &Shard<T>)| {
            let running = shard.running();
            let unfinished = shard.unfinished();
            ShardStats {
                workers: control.assignment.at(index),
                submitted: shard.accepted(),
                queued: to_usize(unfinished.saturating_sub(running)),
                running: to_usize(running),
                stolen: shard.stolen(),
            }
        };
        self.shards.iter().enumerate().map(figures).collect()
    }

    fn set_limits(&self, running: Option<usize>, workers: usize) {
        let mut control = self.control.lock();
        control.run_limit.set(running);
        control.room = control.bound.map(|bound| workers.saturating_add(bound));
        self.usable.store(control.usable(self.shards.len()), Ordering::Relaxed);
        for (index, shard) in self.shards.iter().enumerate() {
            shard.set_share(control.share(index, self.shards.len()));
            shard.set_limited(running.is_some());
        }
    }

    fn set_bound(&self, bound: Option<usize>, workers: usize) -> Result<(), String> {
        check_room(bound.map(|bound| workers.saturating_add(bound)), self.shards.len())?;
        self.control.lock().bound = bound;
        Ok(())
    }

    fn set_elsewhere(&self, running: usize) {
        self.control.lock().run_limit.set_elsewhere(running);
    }

    fn close(&self) {
        self.shards.iter().for_each(|shard| shard.set_closed(true));
    }

    fn open(&self) {
        self.shards.iter().for_each(|shard| shard.set_closed(false));
    }

    fn drain(&self) -> Vec<T> {
        let mut drained = Vec::new();
        let _control = self.control.lock();
        self.shards.iter().for_each(|shard| shard.drain_into(&mut drained));
        drained
    }

    fn sweep(&self, is_dead: &mut dyn FnMut(&T) -> bool) -> Vec<T> {
        let mut swept = Vec::new();
        let _control = self.control.lock();
        self.shards.iter().for_each(|shard| shard.sweep_into(is_dead, &mut swept));
        swept
    }

    fn leave(&self, cx: ShardedCx) {
        self.control.lock().assignment.leave(&cx.home);
    }
}
