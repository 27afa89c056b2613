//! How a task finds a worker: the queues that a pool can be built on.
//!
//! A [`Dispatch`] names a kind of queue; its [`Queue`] holds the tasks. A queue knows workers by
//! number and nothing of threads, pools, panics or results. It is the judge of four things that
//! only it can decide without a race: whether there is room, whether it is closed, how many tasks
//! are running, and who gets which task.

mod balance;
mod bounded_tickets;
mod counts;
mod finished_counters;
mod high_water;
mod list;
#[cfg(all(test, formicary_loom))]
mod models;
mod overflow;
mod ring;
mod shard_assignment;
mod shard_stats;
mod sharded;
mod slots;
mod stack;
mod task_queue;
mod ticket_counter;

pub use balance::Balance;
pub use ring::Ring;
#[cfg(all(test, formicary_loom))]
pub(crate) use ring::RingQueue;
pub use sharded::Sharded;
#[cfg(all(test, formicary_loom))]
pub(crate) use sharded::ShardedQueue;
pub use stack::Stack;
#[cfg(all(test, formicary_loom))]
pub(crate) use stack::StackQueue;
pub(crate) use task_queue::{QueueCx, TaskQueue};

pub use shard_stats::ShardStats;

/// The most workers a pool may have: the counts of sleeping and of searching workers share one
/// machine word, which is 32 bits on the smallest targets.
///
/// ```
/// assert!(formicary::Pool::new(formicary::MAX_WORKERS + 1).is_err());
/// ```
pub const MAX_WORKERS: usize = u16::MAX as usize;

/// A way to get tasks to workers; the second axis of a pool's type, as in `Pool<Stack>`.
///
/// The crate's own kinds are the only ones: the trait cannot be implemented elsewhere.
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

    /// The queue of this kind for tasks of type `T`.
    #[doc(hidden)]
    type Queue<T: Send + 'static>: Queue<T>;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// What a queue is built for.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The most workers at a time, 1 to [`MAX_WORKERS`].
    pub workers: usize,
    /// Tasks that may wait beyond those that have a worker; `None` is no bound.
    pub bound: Option<usize>,
    /// How many shards, for a queue that has any; `None` leaves it to the queue.
    pub shards: Option<usize>,
    /// How tasks are spread over the shards.
    pub balance: Balance,
}

/// Why a queue did not take a task.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no room now.
    Full,
    /// [`Queue::close`] was called.
    Closed,
}

/// What a submitter brings: a task that is made only when it is certain to go in, and where it goes, so that it is not copied
/// on the way. Whoever is refused still has what it was to be made of.
#[doc(hidden)]
pub trait LazyItem<T> {
    /// Makes the task. To be called once.
    fn build(&mut self) -> T;
}

impl<T> LazyItem<T> for Option<T> {
    #[inline]
    fn build(&mut self) -> T {
        match self.take() {
            Some(task) => task,
            None => unreachable!("a parcel is unpacked once"),
        }
    }
}

impl<T, P: LazyItem<T> + ?Sized> LazyItem<T> for &mut P {
    fn build(&mut self) -> T {
        (**self).build()
    }
}

/// Something, and how a task is made of it.
pub(crate) struct LazyWith<I, F>(Option<(I, F)>);

impl<I, F> LazyWith<I, F> {
    pub(crate) fn new(of: I, make: F) -> Self {
        LazyWith(Some((of, make)))
    }

    /// What no task was made of.
    pub(crate) fn into_input(mut self) -> I {
        self.0.build().0
    }
}

impl<T, I, F: FnOnce(I) -> T> LazyItem<T> for LazyWith<I, F> {
    #[inline]
    fn build(&mut self) -> T {
        let (of, make) = self.0.build();
        make(of)
    }
}

/// How full a queue is. All figures are of one moment, as far as tasks do not come and go while it is being taken.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks ever taken in.
    pub accepted: u64,
    /// Tasks taken in and not yet popped.
    pub queued: usize,
    /// Tasks popped and not yet finished. Never zero together with `queued` while there is a task.
    pub running: usize,
}

/// The door that stands for the whole queue.
pub(crate) const DEFAULT_LANE: usize = 0;

/// The tasks of one pool on their way to its workers.
///
/// Every method may be called from any thread. A queue has one door or more: a task that comes in by the
/// main door may be put anywhere, another door leads to one part of the queue.
#[doc(hidden)]
pub trait Queue<T>: Send + Sync + Sized + 'static {
    /// What a worker has of the queue for itself. It stays on the worker's thread.
    type Cx;

    /// Whether a push may keep the task for the idle worker that it is told of.
    const HANDS_OVER: bool = false;

    /// An empty, open queue, or a sentence on why there can be none of this shape.
    fn new(shape: &Shape) -> Result<Self, String>;

    /// Whether it has shards, so that something can be said about them.
    const HAS_SHARDS: bool = false;

    /// Takes a task in by a door, exactly when there is room behind it and the queue is open.
    ///
    /// `reserved` is how many more there must be room for: they came before, and are on their way in.
    ///
    /// `idle` is a worker that the caller has claimed and will wake: the queue may keep the task for
    /// it alone. On a refusal nothing has changed, and the item is not made. What [`has_work`](Queue::has_work) looks at is changed by a
    /// read-modify-write.
    fn push(
        &self,
        item: &mut (impl LazyItem<T> + ?Sized),
        lane: usize,
        reserved: usize,
        idle: Option<usize>,
    ) -> Result<(), Refused>;

    /// The door for tasks with this key: the same for the same key.
    fn lane(&self, _key: u64) -> usize {
        DEFAULT_LANE
    }

    /// The shard behind a door, for a queue that has any.
    fn shard_of_lane(&self, _door: usize) -> usize {
        0
    }

    /// Whether there is room behind a door; may be wrongly `true`.
    fn has_room(&self, _door: usize) -> bool {
        true
    }

    /// Worker number `worker` begins.
    fn cx(&self, worker: usize) -> Self::Cx;

    /// The next task for the worker in this seat; it counts as running from here on.
    ///
    /// `None` also when as many tasks run as [`set_limits`](Queue::set_limits) allows.
    fn pop(&self, cx: &Self::Cx) -> Option<T>;

    /// A task for a worker to run in place of the one it is running, which waits. The count of
    /// running tasks stays as it is. `None` while nothing may start.
    fn pop_instead(&self) -> Option<T>;

    /// The task that the worker in this seat popped last has ended. Counted by a read-modify-write.
    fn finished(&self, cx: &Self::Cx);

    /// How many tasks have ever been started. Only grows, as [`ended`](Queue::ended) does.
    fn started(&self) -> u64;

    /// How many of those have ended.
    fn ended(&self) -> u64;

    /// Whether a [`pop`](Queue::pop) by any worker would find something. A task that is kept for one worker does not
    /// count: that worker is on its way.
    ///
    /// Never wrongly `false` to a thread that synchronised with the push by a sequentially consistent fence on both sides.
    /// May be `true` a little before a `pop` finds the task.
    fn has_work(&self) -> bool;

    /// The same without that promise: to be polled, so as not to disturb those who submit.
    fn peek(&self) -> bool {
        self.has_work()
    }

    /// Whether there is work for a second worker, beside one that is on its way. A guess.
    fn has_more(&self) -> bool;

    /// A snapshot of the counts.
    fn load(&self) -> Load;

    /// The figures of each shard, for a queue that has any.
    fn shards(&self) -> Vec<ShardStats> {
        Vec::new()
    }

    /// `running`: once this returns, `pop` gives out a task only while fewer than this many run; 0
    /// stops all starts; `None` says that the workers there are may all run. `workers`: the number of workers that room
    /// is reckoned with.
    fn set_limits(&self, running: Option<usize>, workers: usize);

    /// Has another bound from the next [`set_limits`](Queue::set_limits) on, or says in a sentence why it cannot. `workers` is the
    /// number of workers that room is reckoned with.
    fn set_bound(&self, bound: Option<usize>, workers: usize) -> Result<(), String>;

    /// So many tasks run that did not come from here, and count against the limit on running tasks: once this returns, `pop` heeds it.
    fn set_elsewhere(&self, running: usize);

    /// Whether there may be room after a pop already, not only after the end of a task.
    fn frees_place_on_pop(&self) -> bool {
        false
    }

    /// Refuses every later push. What is inside stays and can be popped.
    fn close(&self);

    /// Takes tasks again after [`close`](Queue::close).
    fn open(&self);

    /// Removes all tasks that were not popped, oldest first (in each shard).
    fn drain(&self) -> Vec<T>;

    /// Removes the tasks that are dead and were not popped, oldest first (in each shard). The others keep their order. Asks under the
    /// queue's locks.
    fn sweep(&self, is_dead: &mut dyn FnMut(&T) -> bool) -> Vec<T>;

    /// The worker in this seat ends: whatever was kept for it goes back to the others.
    fn leave(&self, cx: Self::Cx);
}
