//! A view of a pool that runs at most so many tasks at once.
//!
//! A task takes one of the view's places before it goes to the pool, and leaves it when it has run. One that finds a place free goes
//! to the pool as any other does, and its submitter waits there for room. One that finds none waits in the view, where it costs no
//! worker; when it has its place and the pool is full, it stands in line as a future does, so that nobody waits there.
//!
//! What goes to the pool is the task's turn ([`turn::Turn`]). The task stays with the view until it starts, so a task that is
//! cancelled, or run by a worker that waits for it, leaves at once, wherever its turn is.

mod awaiting;
mod by_number;
mod counted;
mod errand;
mod feeding;
mod place;
mod stats;
mod turn;
mod view;

use std::fmt;
use std::time::Duration;

use crate::engine::WaitMode;
use crate::error::{CallError, SubmitError};
use crate::pool::{Pool, answered};
use crate::queue::{Dispatch, Stack};
use crate::sync::Arc;
use crate::sync::clock::deadline;
use crate::task::closure::Task;
use crate::task::handle::Handle;
use crate::task::in_view::holds_place;
use crate::task::state::{Run, TaskMeta, TaskState};
pub use stats::LimitedStats;

use counted::{Counted, Entry};
use view::{Numbered, View};

/// A view of a [`Pool`] that runs at most so many tasks at once, on the pool's workers; made by [`Pool::limited`].
///
/// It has figures of its own, and a queue of its own with as much room as the pool's: it takes in as many tasks as may run at once,
/// which is its limit but no more than the pool's workers, and the pool's queue beyond them. A task that waits in it occupies no
/// worker. In the pool's figures each of its tasks is one task, from when it goes there.
///
/// A view does not widen the pool's bound. A task that could run at once as far as the view goes needs room in the pool, and its
/// submitter waits for that in line with the pool's own. Any other waits in the view, which takes it in only if the pool has
/// room for it and for all tasks that wait in any of its views. So all its views together never have more tasks waiting
/// than the pool may hold, and a view of a full pool is full. (With an unbounded queue there is no bound here either.) A task that
/// its handle cancels, or that is run by the worker that waits for it, leaves its room and its place at once; one that is cancelled by
/// its token leaves when the room is needed.
///
/// It may be used from inside the pool's tasks: they never wait for room in it, for it takes their tasks in however many there are
/// (where [`Builder::nested`](crate::Builder::nested) sets a cap they are refused with `WouldDeadlock` instead of waiting). A task of
/// the view that joins or awaits another one runs that in its own place. Any other task of the pool runs it in the place that the view
/// has given it; if it waits for a place, and no other worker is free to, those of the view that have one run first, on the same
/// worker. Two views whose tasks wait for a place in the other deadlock.
///
/// Dropping the view closes it, and drops what has not gone to the pool.
///
/// ```
/// use formicary::Pool;
///
/// let pool = Pool::new(4)?;
/// let disk = pool.limited(1);
/// let handles: Vec<_> = (0..10).map(|n| disk.spawn(move || n).unwrap()).collect();
/// assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap()).sum::<u32>(), 45);
/// assert_eq!((disk.stats().completed, disk.stats().peak_running), (10, 1));
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub struct Limited<D: Dispatch = Stack> {
    view: Arc<View<D>>,
}

impl<D: Dispatch> Pool<D> {
    /// A view of this pool that runs at most `limit` tasks at once, and holds no more tasks than the pool may hold, however large its
    /// limit is ([`Limited`] has the details). Does not keep the pool open: when the pool
    /// is closed, so is the view, and what waits in the view is dropped and counted as cancelled.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let one_by_one = pool.limited(1);
    /// assert_eq!(one_by_one.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `limit` is 0: such a view could run nothing.
    #[track_caller]
    pub fn limited(&self, limit: usize) -> Limited<D> {
        assert!(limit > 0, "`limit` is 0: a view of a pool needs at least one place");
        Limited { view: View::new(&self.engine, limit) }
    }
}

impl<D: Dispatch> Limited<D> {
    /// Submits a closure; blocks while the view or the pool is full (or, if the pool is
    /// [`nonblocking`](crate::Builder::nonblocking), refuses). From inside a task of the pool it never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(2);
    /// view.submit(|| ())?;
    /// assert!(view.wait_idle());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure, if the view or its pool is closed, if it is full and not to be waited for, if too many
    /// wait already, or with `WouldDeadlock` if it is full, the caller is a worker of the pool, and
    /// [`Builder::nested`](crate::Builder::nested) sets a cap.
    pub fn submit<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enter(f, self.view.engine().default_mode())
    }

    /// Submits a closure if there is room in the view and in the pool; never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(4).queue(0).build()?;
    /// let view = pool.limited(1);
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// view.submit(move || drop(gate.recv()))?;
    /// assert!(view.try_submit(|| ()).unwrap_err().is_full());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure; of kind `Full` if there is no room.
    pub fn try_submit<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enter(f, WaitMode::Never)
    }

    fn enter<F>(&self, f: F, mode: WaitMode) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let task = Task::from_body(Counted::new(f, Entry::new(&self.view)));
        self.view
            .admit((self.view.number(), task), mode)
            .map_err(|e| e.map(|task| task.into_body::<Counted<F>>().refused()))
    }

    /// Submits a closure and returns a handle to its result; blocks as [`submit`](Self::submit).
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(1).spawn(|| 7)?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`.
    pub fn spawn<F, T>(&self, f: F) -> Result<Handle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (task_state, task) = self.task_state(f, false);
        match self.view.admit(task, self.view.engine().default_mode()) {
            Ok(()) => Ok(Handle::new(task_state)),
            Err(refusal) => Err(task_state.refused(refusal.kind()).map(Counted::refused)),
        }
    }

    /// Runs a closure on a worker and waits for its result. From inside a task of the same view it runs on the spot, and so it does from
    /// inside another task of the pool if the view has a place for it. One that comes back after it was let in, because the view or its
    /// pool was closed before it started, counts as cancelled.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.limited(1).run(|| 6 * 7)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the closure, or failed: the closure panicked.
    pub fn run<F, T>(&self, f: F) -> Result<T, CallError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (task_state, task) = self.task_state(f, true);
        let is_here = !self.view.is_closed()
            && holds_place(self.view.address())
            && self.view.engine().run_inline(&task_state, |counted| {
                counted.accepted();
                counted.run()
            });
        if !is_here {
            let admitted = self.view.admit(task, self.view.engine().default_mode());
            admitted.map_err(|refusal| task_state.refused(refusal.kind()).map(Counted::refused))?;
            if let Some(view) = task_state.meta().view().filter(|_| self.view.engine().is_inside()) {
                view.run();
            }
        }
        task_state.call().into_result().map_err(|error| match error {
            CallError::Refused(refusal) => CallError::Refused(refusal.map(Counted::returned)),
            CallError::Failed(failed) => CallError::Failed(failed),
        })
    }

    /// A slot for a closure, and the task that stands for it.
    fn task_state<F, T>(&self, f: F, is_call: bool) -> (Arc<TaskState<Counted<F>, T>>, Numbered)
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let counted = Counted::new(f, Entry::new(&self.view));
        let run: Run<Counted<F>, T> = |counted, _| counted.run();
        let (pool, number) = (self.view.engine().id(), self.view.number());
        let meta = TaskMeta { is_call, run_here: Some(run), ..TaskMeta::in_view(pool, self.view.in_view(number)) };
        let (task_state, task) = answered(counted, run, meta);
        (task_state, (number, task))
    }

    /// Blocks until the view has nothing that waits or runs, and leaves it open. Returns `true`; called from a task of the
    /// pool, which might wait for itself, it returns `false` at once.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(2);
    /// view.submit(|| ())?;
    /// assert!(view.wait_idle());
    /// assert_eq!(view.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_idle(&self) -> bool {
        self.view.wait_idle(None)
    }

    /// The same for at most `limit`; says whether the view is idle.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert!(pool.limited(2).wait_idle_timeout(std::time::Duration::from_secs(1)));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use = "the view may not be idle when the time is up"]
    pub fn wait_idle_timeout(&self, limit: Duration) -> bool {
        self.view.wait_idle(deadline(limit))
    }

    /// A snapshot of the view's figures.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(2).stats().submitted, 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn stats(&self) -> LimitedStats {
        self.view.figures()
    }

    /// The most tasks that it runs at once.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(2).limit(), 2);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn limit(&self) -> usize {
        self.view.limit()
    }

    /// Refuses all that comes from now on, and gives back what waits in the view. What has gone to the pool goes on; the pool
    /// stays open. A task that is given back counts as completed if it is run after all, else as cancelled when it is dropped.
    /// Does not wait.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(1);
    /// assert!(view.close().is_empty());
    /// assert!(view.submit(|| ()).unwrap_err().is_closed());
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the tasks that waited are in it, and go with it"]
    pub fn close(&self) -> Vec<Task> {
        self.view.close()
    }
}

impl<D: Dispatch> Drop for Limited<D> {
    fn drop(&mut self) {
        self.close().into_iter().for_each(|task| self.view.discard(task));
    }
}

impl<D: Dispatch> fmt::Debug for Limited<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited").field("limit", &self.view.limit()).field("stats", &self.stats()).finish()
    }
}
