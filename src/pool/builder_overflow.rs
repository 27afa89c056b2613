//! What a builder sets about tasks that find no room, or that are dropped.

use super::builder::Builder;
use super::kind::Kind;
use crate::engine::options::{Dropped, DroppedHandler, Overflow};
use crate::queue::Dispatch;

impl<K, D: Dispatch> Builder<K, D> {
    /// What happens to a task that finds no room. Default: [`Overflow::Block`]. [`Overflow::CallerRuns`] needs workers without states:
    /// `build` fails otherwise. Tasks that the pool's own tasks submit need no room ([`nested`](Self::nested)).
    ///
    /// ```
    /// use formicary::{Overflow, Pool};
    ///
    /// let pool = Pool::builder().workers(1).queue(1).overflow(Overflow::DropOldest).build()?;
    /// let pause = pool.pause();
    /// let [first, second, third] = [1, 2, 3].map(|n| pool.spawn(move || n).unwrap());
    /// drop(pause);
    /// assert!(first.join().unwrap_err().is_dropped());
    /// assert_eq!(second.join()? + third.join()?, 5);
    /// assert_eq!(pool.stats().drops.oldest, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias(
        "RejectedExecutionHandler",
        "CallerRunsPolicy",
        "DiscardPolicy",
        "DiscardOldestPolicy",
        "BufferOverflow"
    ))]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.options.overflow = overflow;
        self.options.nonblocking = overflow == Overflow::Refuse;
        self
    }

    /// Called with each task that is dropped: by the policy of [`overflow`](Self::overflow), or because it waited longer than its
    /// [`max_queue_time`](crate::With::max_queue_time). It runs on the thread that drops the task: a submitter or a worker. A panic in it is
    /// caught and counted. Default: the tasks are dropped, and counted ([`Stats::drops`](crate::Stats::drops)). A task whose caller waits for it
    /// in `run` goes back to the caller instead.
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    /// use formicary::{Overflow, Pool};
    ///
    /// let (keep, kept) = channel();
    /// let pool = Pool::builder()
    ///     .workers(1)
    ///     .queue(0)
    ///     .overflow(Overflow::DropNewest)
    ///     .dropped_handler(move |dropped| drop(keep.send(dropped.into_task())))
    ///     .build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// pool.submit(|| println!("later"))?;
    /// kept.recv()?.run(); // prints "later"
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dropped_handler(mut self, handler: impl Fn(Dropped<K::Task>) + Send + Sync + 'static) -> Self
    where
        K: Kind,
    {
        self.options.dropped_handler = DroppedHandler::new(handler);
        self
    }
}
