//! The queues between submitters and workers.
//!
//! A [`Dispatch`] names a kind of queue; its [`Queue`] holds the tasks. A queue knows workers by number and nothing of threads,
//! pools, panics or results. It decides four things, because only it can do so without a race: whether there is room, whether it
//! is closed, how many tasks run, and which worker gets which task.

mod balance;
mod bounded_tickets;
mod counts;
pub(crate) mod deques;
mod fair;
mod finished_counters;
mod high_water;
mod level;
mod list;
#[cfg(all(test, formicary_loom))]
mod models;
mod order;
mod ordered;
mod overflow;
mod priority;
mod queue_cx;
mod ring;
mod room_order;
mod run_limit;
mod shard_assignment;
mod shard_stats;
mod sharded;
mod slots;
mod stack;
mod task_list;
mod task_queue;
mod ticket_counter;
mod two_lock_queue;

use crate::sync::Arc;

pub use balance::Balance;
pub(crate) use fair::{DEFAULT_WEIGHT, KeptLane, TenantLanes};
pub use fair::{Fair, Tenant, TenantStats};
pub use level::Level;
pub(crate) use overflow::OwnQueue;
pub use priority::Priority;
pub(crate) use queue_cx::QueueCx;
pub use ring::Ring;
#[cfg(all(test, formicary_loom))]
pub(crate) use ring::RingQueue;
pub(crate) use room_order::RoomOrder;
pub use sharded::Sharded;
#[cfg(all(test, formicary_loom))]
pub(crate) use sharded::ShardedQueue;
pub use stack::Stack;
#[cfg(all(test, formicary_loom))]
pub(crate) use stack::StackQueue;
pub(crate) use task_queue::TaskQueue;

pub use shard_stats::ShardStats;

/// The most workers that a pool can have. The counts of sleeping and of searching workers share one machine word, which has 32
/// bits on the smallest targets.
///
/// ```
/// assert!(formicary::Pool::new(formicary::MAX_WORKERS + 1).is_err());
/// ```
pub const MAX_WORKERS: usize = u16::MAX as usize;

/// How a pool gets tasks to its workers: the type parameter of a pool, as in `Pool<Stack>`. [`Stack`] is the default.
///
/// [`Stack`] hands a task to the newest idle worker and queues behind that, [`Ring`] is one lock-free bounded ring, [`Sharded`]
/// is several queues with work stealing, [`Priority`] starts tasks by their levels, [`Fair`] divides the workers between tenants.
///
/// The trait is sealed.
///
/// ```
/// use formicary::{Dispatch, Pool, Stack};
///
/// fn seven<D: Dispatch>() -> u32 {
///     let pool = Pool::builder().workers(1).dispatch::<D>().build().unwrap();
///     pool.run(|| 7).unwrap()
/// }
/// assert_eq!(seven::<Stack>(), 7);
/// ```
pub trait Dispatch: sealed::Sealed + Send + Sync + 'static {
    /// The name that [`Debug`](std::fmt::Debug) output and errors use.
    const NAME: &'static str;

    /// The queue of this kind, for tasks of type `T`.
    #[doc(hidden)]
    type Queue<T: Send + 'static>: Queue<T>;
}

/// A dispatch that is `D`: the bound of an option that only the pools of one dispatch have.
#[diagnostic::on_unimplemented(
    message = "this option is for pools with the dispatch `{D}`, and this one has `{Self}`",
    label = "not on a pool with the dispatch `{Self}`",
    note = "a pool gets its dispatch when it is built: `.dispatch::<{D}>()`"
)]
pub trait Is<D> {}

impl<D: Dispatch> Is<D> for D {}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// The settings that a queue is built with.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// The number of workers, 1 to [`MAX_WORKERS`].
    pub workers: usize,
    /// How many tasks may wait beyond one for each worker; `None` is unbounded.
    pub bound: Option<usize>,
    /// The number of shards, for a sharded queue; `None` uses the queue's default.
    pub shards: Option<usize>,
    /// How tasks are spread over the shards.
    pub balance: Balance,
    /// The number of levels, for a queue that has levels; `None` uses the queue's default.
    pub levels: Option<usize>,
    /// How many tasks of one tenant may wait, for a queue that has tenants.
    pub tenant_queue: Option<usize>,
}

/// Why a queue refused a task.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no room now.
    Full,
    /// [`Queue::close`] was called.
    Closed,
}

/// A task that is built only when it is sure to be accepted, and in its final place, so that it is not copied on the way. A
/// refused submitter still has the input.
#[doc(hidden)]
pub trait LazyItem<T> {
    /// Builds the task. Called at most once.
    fn build(&mut self) -> T;
}

impl<T> LazyItem<T> for Option<T> {
    #[inline]
    fn build(&mut self) -> T {
        match self.take() {
            Some(task) => task,
            None => unreachable!("an item is built once"),
        }
    }
}

impl<T, P: LazyItem<T> + ?Sized> LazyItem<T> for &mut P {
    fn build(&mut self) -> T {
        (**self).build()
    }
}

/// An input, and a function that builds the task from it.
pub(crate) struct LazyWith<I, F>(Option<(I, F)>);

impl<I, F> LazyWith<I, F> {
    pub(crate) fn new(input: I, build: F) -> Self {
        LazyWith(Some((input, build)))
    }

    /// Returns the input of a task that was not built.
    pub(crate) fn into_input(mut self) -> I {
        self.0.build().0
    }
}

impl<T, I, F: FnOnce(I) -> T> LazyItem<T> for LazyWith<I, F> {
    #[inline]
    fn build(&mut self) -> T {
        let (input, build) = self.0.build();
        build(input)
    }
}

/// Tasks that are built as they are accepted, in order. They are at hand: to build one neither blocks nor panics, and runs no user code, so
/// a queue may do it under a lock.
#[doc(hidden)]
pub trait LazyBatch<T>: LazyItem<T> {
    /// How many more can be built.
    fn remaining(&self) -> usize;
}

/// How full a queue is. The figures are of one moment, unless tasks keep coming and going while they are read.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks ever accepted.
    pub accepted: u64,
    /// Tasks accepted and not yet popped.
    pub queued: usize,
    /// Tasks popped and not yet finished. `queued` and `running` are never both zero while there is a task.
    pub running: usize,
}

/// The lane that leads to the whole queue.
pub(crate) const DEFAULT_LANE: usize = 0;

/// The queue of one pool.
///
/// Every method may be called from any thread. A queue has one or more lanes: a task pushed into the default lane may go
/// anywhere, and every other lane leads to one part of the queue.
#[doc(hidden)]
pub trait Queue<T>: Send + Sync + Sized + 'static {
    /// A worker's own view of the queue, used only on its thread.
    type Cx;

    /// Whether a push may reserve the task for the worker passed as `idle`.
    const HANDS_OVER: bool = false;

    /// Creates an empty, open queue, or returns a sentence that says why the shape is not possible.
    fn new(shape: &Shape) -> Result<Self, String>;

    /// Whether the queue has shards to report on.
    const HAS_SHARDS: bool = false;

    /// Whether a task has a level, which its lane stands for.
    const HAS_LEVELS: bool = false;

    /// Whether a task has a tenant, which its lane stands for.
    const HAS_TENANTS: bool = false;

    /// Whether tasks beyond the bound go through this queue, by [`push_nested`](Queue::push_nested), and not beside it.
    const ORDERS_NESTED: bool = false;

    /// Accepts a task into a lane if and only if the lane has room and the queue is open.
    ///
    /// `reserved` is the number of further tasks that there must be room for, which belong to earlier submitters.
    ///
    /// `idle` is a worker that the caller has claimed and will wake: the queue may reserve the task for it. A refusal changes
    /// nothing and does not build the item. A push changes what [`has_work`](Queue::has_work) reads by a read-modify-write, or
    /// under a lock that it then releases.
    fn push(
        &self,
        item: &mut (impl LazyItem<T> + ?Sized),
        lane: usize,
        reserved: usize,
        idle: Option<usize>,
    ) -> Result<(), Refused>;

    /// Accepts as many tasks of a batch as there is room for, as so many [`push`](Queue::push)es do, in one step for each part of the queue.
    /// Returns how many. 0 says nothing about why. There is at least one task in the batch.
    fn push_batch(&self, batch: &mut impl LazyBatch<T>, lane: usize, reserved: usize) -> usize;

    /// Accepts a task beyond the bound, if fewer than `most` of them are unfinished and the queue is open.
    fn push_nested(&self, _item: &mut (impl LazyItem<T> + ?Sized), _lane: usize, _most: usize) -> Result<(), Refused> {
        Err(Refused::Full)
    }

    /// How many of them are unfinished and not dead. Takes time in proportion to the waiting tasks, if there are any of them.
    fn nested_unfinished(&self, _is_dead: &dyn Fn(&T) -> bool) -> usize {
        0
    }

    /// The lane for tasks with this key, always the same for the same key. Where there are levels, the key is the number of one.
    fn lane(&self, _key: u64) -> usize {
        DEFAULT_LANE
    }

    /// The number of levels.
    fn levels(&self) -> usize {
        0
    }

    /// The lanes of tenants.
    fn tenant_lanes(&self) -> Option<&Arc<TenantLanes>> {
        None
    }

    /// The figures of each tenant that has tasks.
    fn tenants(&self) -> Vec<TenantStats> {
        Vec::new()
    }

    /// How the lanes share the room.
    fn room_order(&self) -> RoomOrder {
        RoomOrder::Separate
    }

    /// The shard that a lane leads to, for a sharded queue.
    fn shard_of_lane(&self, _lane: usize) -> usize {
        0
    }

    /// Whether a lane has room, beside so many other tasks of other lanes. May be wrongly `true`.
    fn has_room(&self, _lane: usize, _others: usize) -> bool {
        true
    }

    /// Registers worker number `worker`.
    fn cx(&self, worker: usize) -> Self::Cx;

    /// Takes the next task for this worker; the task counts as running from now on.
    ///
    /// `None` if there is no task, or if as many tasks run as [`set_limits`](Queue::set_limits) allows.
    fn pop(&self, cx: &Self::Cx) -> Option<T>;

    /// Takes a task for a worker to run inside another one, which waits meanwhile. Does not change the count of running tasks.
    /// `None` while the limit on running tasks is 0.
    fn pop_instead(&self) -> Option<T>;

    /// Takes out the task that has waited longest in a lane, and counts it as ended. In a queue with shards it is the oldest of one shard.
    fn take_oldest(&self, lane: usize) -> Option<T>;

    /// Counts the task that this worker popped last as finished, by a read-modify-write.
    fn finished(&self, cx: &Self::Cx);

    /// The number of tasks ever started. Never decreases, like [`ended`](Queue::ended).
    fn started(&self) -> u64;

    /// The number of tasks ever ended.
    fn ended(&self) -> u64;

    /// Whether a [`pop`](Queue::pop) by any worker would return a task. Does not count a task reserved for one worker, which is
    /// about to wake.
    ///
    /// Never wrongly `false` to a thread that synchronised with the push by a sequentially consistent fence on both sides. May
    /// be `true` shortly before a `pop` finds the task.
    fn has_work(&self) -> bool;

    /// Like [`has_work`](Queue::has_work) without that promise: made for polling, so that it disturbs submitters little.
    fn peek(&self) -> bool {
        self.has_work()
    }

    /// Whether there is work for one more worker beside so many that search, or are about to wake. An estimate.
    fn has_more(&self, searching: usize) -> bool;

    /// A snapshot of the counts.
    fn load(&self) -> Load;

    /// The figures of each shard, for a sharded queue.
    fn shards(&self) -> Vec<ShardStats> {
        Vec::new()
    }

    /// Once this returns, `pop` returns a task only while fewer than `running` tasks run; 0 stops all starts, `None` sets no
    /// limit beyond the number of workers. `workers` is the number of workers that the room is computed from.
    fn set_limits(&self, running: Option<usize>, workers: usize);

    /// Sets the bound that applies from the next [`set_limits`](Queue::set_limits) on, or returns a sentence that says why it
    /// cannot. `workers` is the number of workers that the room is computed from.
    fn set_bound(&self, bound: Option<usize>, workers: usize) -> Result<(), String>;

    /// Sets the number of running tasks that did not come from this queue but count against the limit on running tasks. `pop`
    /// obeys it once this returns.
    fn set_elsewhere(&self, running: usize);

    /// Whether a pop may make room, and not only the end of a task.
    fn frees_room_on_pop(&self) -> bool {
        false
    }

    /// Refuses every later push. Queued tasks stay and can be popped.
    fn close(&self);

    /// Accepts tasks again after [`close`](Queue::close).
    fn open(&self);

    /// Removes and returns all queued tasks, oldest first (in each shard).
    fn drain(&self) -> Vec<T>;

    /// Removes and returns the queued tasks that are dead, oldest first (in each shard). The others keep their order. Calls
    /// `is_dead` under the queue's locks.
    fn sweep(&self, is_dead: &mut dyn FnMut(&T) -> bool) -> Vec<T>;

    /// Unregisters a worker. A task reserved for it becomes available to the others.
    fn leave(&self, cx: Self::Cx);
}
