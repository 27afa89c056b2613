//! Tasks that a pool drops instead of running them.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A task that was accepted and will not run, for a [`dropped_handler`](crate::Builder::dropped_handler).
///
/// ```
/// use std::sync::mpsc::channel;
/// use formicary::{DropReason, Overflow, PoolWithFunc};
///
/// let (sender, dropped) = channel();
/// let pool = PoolWithFunc::builder(|_: u32| ())
///     .workers(1)
///     .queue(0)
///     .overflow(Overflow::DropNewest)
///     .dropped_handler(move |dropped| drop(sender.send((dropped.reason(), dropped.into_task()))))
///     .build()?;
/// let pause = pool.pause();
/// pool.submit(1)?;
/// pool.submit(2)?;
/// assert_eq!(dropped.recv()?, (DropReason::Newest, 2));
/// # drop(pause);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it holds a task that was not run"]
pub struct Dropped<T> {
    task: T,
    reason: DropReason,
}

impl<T> Dropped<T> {
    pub(crate) fn new(task: T, reason: DropReason) -> Self {
        Dropped { task, reason }
    }

    /// Why the task was dropped.
    ///
    /// ```
    /// use formicary::{DropReason, Dropped, Task};
    ///
    /// fn is_too_late(dropped: &Dropped<Task>) -> bool {
    ///     dropped.reason() == DropReason::Late
    /// }
    /// ```
    pub fn reason(&self) -> DropReason {
        self.reason
    }

    /// The task: a [`Task`](crate::Task) of a [`Pool`](crate::Pool), the payload of a [`PoolWithFunc`](crate::PoolWithFunc), the input of a
    /// [`StatefulPool`](crate::StatefulPool). If it has a handle, that reports the task as
    /// [dropped](crate::JoinError::is_dropped), also if the task is run after all.
    ///
    /// ```
    /// use formicary::{Overflow, Pool};
    ///
    /// // What finds no room runs on a thread of its own.
    /// let pool = Pool::builder()
    ///     .workers(1)
    ///     .queue(0)
    ///     .overflow(Overflow::DropNewest)
    ///     .dropped_handler(|dropped| drop(std::thread::spawn(|| dropped.into_task().run())))
    ///     .build()?;
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn into_task(self) -> T {
        self.task
    }
}

impl<T> fmt::Debug for Dropped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dropped").field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// Why a task was dropped.
///
/// ```
/// assert_eq!(formicary::DropReason::Late.to_string(), "the task waited too long in the queue");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// It was the oldest in a full queue ([`Overflow::DropOldest`](crate::Overflow::DropOldest)).
    Oldest,
    /// It was new and found no room ([`Overflow::DropNewest`](crate::Overflow::DropNewest)).
    Newest,
    /// It waited longer than its [`max_queue_time`](crate::With::max_queue_time).
    Late,
}

impl DropReason {
    pub(crate) const COUNT: usize = DropReason::Late as usize + 1;
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DropReason::Oldest => "the task was dropped for a newer one",
            DropReason::Newest => "the task was dropped: the pool was full",
            DropReason::Late => "the task waited too long in the queue",
        })
    }
}

/// The handler of a pool whose tasks come back as `T`.
type Handler<T> = dyn Fn(Dropped<T>) + Send + Sync;

/// The handler of a pool of any kind.
#[derive(Clone, Default)]
pub(crate) struct DroppedHandler(Option<Arc<dyn Any + Send + Sync>>);

impl DroppedHandler {
    pub(crate) fn new<T: 'static>(handler: impl Fn(Dropped<T>) + Send + Sync + 'static) -> Self {
        let handler: Box<Handler<T>> = Box::new(handler);
        DroppedHandler(Some(Arc::new(handler)))
    }

    /// The handler, if there is one for tasks of this type.
    pub(crate) fn get<T: 'static>(&self) -> Option<&Handler<T>> {
        self.0.as_ref()?.downcast_ref::<Box<Handler<T>>>().map(|handler| &**handler)
    }
}
