//! How a task finds a worker: the queues that a pool can be built on.
//!
//! A [`Dispatch`] names a kind of queue; its [`Queue`] holds the tasks. A queue knows workers by
//! number and nothing of threads, pools, panics or results. It is the judge of four things that
//! only it can decide without a race: whether there is room, whether it is closed, how many tasks
//! are running, and who gets which task.

mod stack;

pub use stack::Stack;
#[cfg(formicary_loom)]
pub(crate) use stack::StackQueue;

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
}

/// Why a queue did not take a task. The task comes back.
#[doc(hidden)]
pub enum Refused<T> {
    /// There is no room now.
    Full(T),
    /// [`Queue::close`] was called.
    Closed(T),
}

/// How full a queue is. All figures are of one moment.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks ever taken in.
    pub accepted: u64,
    /// Tasks taken in and not yet popped.
    pub queued: usize,
    /// Tasks popped and not yet finished.
    pub running: usize,
    /// The highest `running` there ever was.
    pub peak_running: usize,
}

/// The tasks of one pool on their way to its workers.
///
/// Every method may be called from any thread; `worker` is always the caller's own number, but for
/// [`push`](Queue::push), where it names the idle worker that the task is meant for.
#[doc(hidden)]
pub trait Queue<T>: Send + Sync + Sized + 'static {
    /// An empty, open queue, or a sentence on why there can be none of this shape.
    fn new(shape: Shape) -> Result<Self, &'static str>;

    /// Takes a task in, exactly when there is room and the queue is open.
    ///
    /// `idle` is a worker that the caller has claimed and will wake: the queue may keep the task for
    /// it alone. On a refusal nothing has changed.
    fn push(&self, item: T, idle: Option<usize>) -> Result<(), Refused<T>>;

    /// The next task for `worker`; it counts as running from here on.
    ///
    /// `None` also when as many tasks run as [`set_limits`](Queue::set_limits) allows.
    fn pop(&self, worker: usize) -> Option<T>;

    /// A task for a worker to run in place of the one it is running, which waits. The count of
    /// running tasks stays as it is. `None` while nothing may start.
    fn pop_instead(&self) -> Option<T>;

    /// The task that `worker` popped last has ended.
    fn finished(&self, worker: usize);

    /// Whether a [`pop`](Queue::pop) by any worker would find something; cheap enough to be polled. A task that
    /// is kept for one worker does not count: that worker is on its way.
    ///
    /// Never wrongly `false` to a thread that synchronised with the push by a sequentially consistent
    /// fence on both sides.
    fn has_work(&self) -> bool;

    /// A snapshot of the counts.
    fn load(&self) -> Load;

    /// `running`: once this returns, `pop` gives out a task only while fewer than this many run; 0
    /// stops all starts. `workers`: the number of workers that room is reckoned with.
    fn set_limits(&self, running: usize, workers: usize);

    /// Refuses every later push. What is inside stays and can be popped.
    fn close(&self);

    /// Takes tasks again after [`close`](Queue::close).
    fn open(&self);

    /// Removes all tasks that were not popped, oldest first.
    fn drain(&self) -> Vec<T>;

    /// `worker` ends: whatever was kept for it goes back to the others.
    fn leave(&self, worker: usize);
}
