//! Waiting for several tasks: for any of them, or for all in the order in which they end.

use std::borrow::Borrow;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Handle, Joinable};
use crate::error::{Cause, JoinError};
use crate::sync::clock::{self, deadline};
use crate::sync::notifier::Notifier;
use crate::sync::park;
use crate::sync::waiter::Waiter;
use crate::task::blocked_workers::{self, BlockGuard, WouldDeadlock};
use crate::task::current_worker::{self, PoolId};

/// Blocks until at least one of the tasks has ended. Returns its index in the slice; `None` if the slice is empty.
///
/// A task has ended when it has returned, has panicked, or was cancelled: then [`join`](Handle::join) on its handle does not block. If
/// several have ended before the call, the index is that of the first of them in the slice. The handle stays in the slice, and a second
/// call returns it again. Take it out, or use [`as_completed`], which also costs less for many tasks.
///
/// On a worker of the tasks' own pool this runs tasks that have not started, as `join` does (`Pool`), in the order of the slice, until
/// one has ended. So a pool of one worker can wait for its own tasks. If there is none to run, and all other workers wait as well, the
/// index is that of a handle whose `join` fails with [`is_would_deadlock`](JoinError::is_would_deadlock).
///
/// A call takes time in proportion to the number of handles. A wake-up takes constant time; on a worker, with tasks of a
/// [`Limited`](crate::Limited) view, time in proportion to the number of those that have not started.
///
/// ```
/// use formicary::Pool;
/// use std::sync::mpsc::channel;
///
/// let pool = Pool::new(2)?;
/// let (go, gate) = channel::<()>();
/// let mut handles = vec![pool.spawn(move || gate.recv().map_or(0, |()| 1))?, pool.spawn(|| 2)?];
/// let index = formicary::wait_any(&mut handles).unwrap();
/// assert_eq!(index, 1);
/// assert_eq!(handles.swap_remove(index).join()?, 2);
/// go.send(())?;
/// assert_eq!(formicary::wait_any(&mut handles), Some(0));
/// assert_eq!(formicary::wait_any::<u8>(&mut []), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it says which task has ended"]
pub fn wait_any<T: Send + 'static>(handles: &mut [Handle<T>]) -> Option<usize> {
    wait_any_until(handles, None)
}

/// As [`wait_any`], for at most `limit`. Returns `None` if no task has ended, or if the slice is empty.
///
/// On a worker of the tasks' own pool this runs a task only where this would otherwise be the last worker that could make progress, as
/// [`Handle::join_timeout`] does. Then it can take longer than `limit`.
///
/// ```
/// use formicary::Pool;
/// use std::sync::mpsc::channel;
/// use std::time::Duration;
///
/// let pool = Pool::new(1)?;
/// let (go, gate) = channel::<()>();
/// let mut handles = [pool.spawn(move || gate.recv().is_ok())?];
/// assert_eq!(formicary::wait_any_timeout(&mut handles, Duration::from_millis(1)), None);
/// go.send(())?;
/// assert_eq!(formicary::wait_any_timeout(&mut handles, Duration::from_secs(60)), Some(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it says which task has ended, if any"]
pub fn wait_any_timeout<T: Send + 'static>(handles: &mut [Handle<T>], limit: Duration) -> Option<usize> {
    wait_any_until(handles, deadline(limit))
}

fn wait_any_until<T: Send + 'static>(handles: &[Handle<T>], deadline: Option<Instant>) -> Option<usize> {
    let ended = handles.iter().position(Handle::is_finished);
    ended.or_else(|| match Watched::new(handles).wait(deadline) {
        Next::Ended(index) | Next::WouldDeadlock(index) => Some(index),
        Next::TimedOut | Next::NoneLeft => None,
    })
}

/// Returns an iterator over the results of several tasks, in the order in which they end, each with the index of its handle.
///
/// Each `next` blocks until one more task has ended. The end of a task, and the `next` that returns it, take constant time, however many
/// tasks there are; on a worker, each wake-up checks the tasks of views ([`Limited`](crate::Limited)) that have not started. Tasks that have ended before the call come first, in the order of their handles.
///
/// On a worker of the tasks' own pool, `next` runs tasks that have not started, as [`Handle::join`] does (`Pool`), in the order of their
/// handles. If there is none to run, and all other workers wait as well, it returns the first task that is left with an error for which
/// [`is_would_deadlock`](JoinError::is_would_deadlock) is true; that task is detached.
///
/// Dropping the iterator detaches the tasks that it has not returned; see [`AsCompleted`].
///
/// ```
/// use formicary::Pool;
/// use std::sync::mpsc::channel;
///
/// let pool = Pool::new(2)?;
/// let (go, gate) = channel::<()>();
/// let slow = pool.spawn(move || gate.recv().map_or(0, |()| 1))?;
/// let fast = pool.spawn(|| 2)?;
/// let mut results = formicary::as_completed([slow, fast]);
/// let (index, result) = results.next().unwrap();
/// assert_eq!((index, result?), (1, 2));
/// go.send(())?;
/// let (index, result) = results.next().unwrap();
/// assert_eq!((index, result?), (0, 1));
/// assert!(results.next().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn as_completed<T: Send + 'static>(handles: impl IntoIterator<Item = Handle<T>>) -> AsCompleted<T> {
    AsCompleted(Watched::new(handles))
}

/// An iterator over the results of tasks in the order in which they end. It is made by [`as_completed`].
///
/// Its items are `(index, result)`; a result has the errors of [`Handle::join`]. Dropping the iterator detaches the tasks that it has not
/// returned: they still run, and the drop does not block.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let pause = pool.pause();
/// let mut results: formicary::AsCompleted<u8> = formicary::as_completed([pool.spawn(|| 7)?]);
/// assert_eq!(results.len(), 1);
/// drop(pause);
/// assert_eq!(results.next().unwrap().1?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it detaches its tasks"]
pub struct AsCompleted<T: Send + 'static>(Watched<T, Handle<T>>);

impl<T: Send + 'static> AsCompleted<T> {
    /// As `next`, for at most `limit`. Returns `None` if no task has ended in this time, and `Some(None)` if none is left.
    ///
    /// On a worker of the tasks' own pool it can take longer than `limit`, as [`wait_any_timeout`] can.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let mut results = formicary::as_completed([pool.spawn(|| 7)?]);
    /// assert!(results.next_timeout(Duration::from_millis(1)).is_none());
    /// drop(pause);
    /// let (index, result) = results.next_timeout(Duration::from_secs(60)).unwrap().unwrap();
    /// assert_eq!((index, result?), (0, 7));
    /// assert!(matches!(results.next_timeout(Duration::ZERO), Some(None)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it takes a result, if there is one"]
    pub fn next_timeout(&mut self, limit: Duration) -> Option<Option<(usize, Result<T, JoinError>)>> {
        self.next_until(deadline(limit))
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Option<Option<(usize, Result<T, JoinError>)>> {
        let (index, cause) = match self.0.wait(deadline) {
            Next::Ended(index) => (index, Cause::Taken),
            Next::WouldDeadlock(index) => (index, Cause::WouldDeadlock),
            Next::TimedOut => return None,
            Next::NoneLeft => return Some(None),
        };
        let result = self.0.take(index).and_then(|mut handle| handle.try_join());
        Some(Some((index, result.unwrap_or_else(|| Err(JoinError::new(cause))))))
    }

    /// Cancels the tasks that were not returned yet.
    pub(crate) fn cancel(&self, guard: impl Fn(&mut dyn FnMut())) {
        for Entry { handle, .. } in self.0.entries.iter().flatten() {
            guard(&mut || _ = handle.cancel());
        }
    }
}

impl<T: Send + 'static> Iterator for AsCompleted<T> {
    type Item = (usize, Result<T, JoinError>);

    fn next(&mut self) -> Option<Self::Item> {
        // Without a deadline the wait does not time out.
        self.next_until(None).flatten()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.left, Some(self.0.left))
    }
}

impl<T: Send + 'static> ExactSizeIterator for AsCompleted<T> {}

impl<T: Send + 'static> FusedIterator for AsCompleted<T> {}

impl<T: Send + 'static> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.0.left).finish_non_exhaustive()
    }
}

/// How a wait for any of several tasks ended.
enum Next {
    Ended(usize),
    /// A worker would have waited for itself. This is one of the tasks that it waits for.
    WouldDeadlock(usize),
    TimedOut,
    NoneLeft,
}

/// Handles, owned or borrowed, whose tasks' ends go into one list.
struct Watched<T: Send + 'static, H: Borrow<Handle<T>>> {
    /// By index; `None` where the handle was taken.
    entries: Vec<Option<Entry<H>>>,
    left: usize,
    /// For each pool the number of its tasks that are left.
    pools: Vec<(PoolId, usize)>,
    notifier: Arc<Notifier>,
    /// The first index that a waiting worker has not tried to run.
    tried: usize,
    /// The indices of tasks of views, without those that were found started. A worker that could not run one may do so later.
    in_views: Vec<usize>,
    task: std::marker::PhantomData<fn() -> T>,
}

struct Entry<H> {
    handle: H,
    /// Its entry among the waiters of the task; `None` if the task had ended.
    listed: Option<u64>,
}

impl<T: Send + 'static, H: Borrow<Handle<T>>> Watched<T, H> {
    fn new(handles: impl IntoIterator<Item = H>) -> Self {
        let notifier = Notifier::new(true);
        let mut pools: Vec<(PoolId, usize)> = Vec::new();
        let watch = |(number, handle): (u64, H)| {
            let task_state = &handle.borrow().task_state;
            let pool = task_state.pool();
            match pools.iter_mut().find(|(other, _)| *other == pool) {
                Some((_, tasks)) => *tasks += 1,
                None => pools.push((pool, 1)),
            }
            let listed = task_state.listen(Waiter::Listed(Arc::clone(&notifier), number));
            if listed.is_none() {
                notifier.note(number);
            }
            Some(Entry { handle, listed })
        };
        let entries: Vec<_> = (0..).zip(handles).map(watch).collect();
        let is_in_view = |entry: &Option<Entry<H>>| {
            entry.as_ref().is_some_and(|entry| entry.handle.borrow().task_state.is_in_view())
        };
        let in_views = entries.iter().enumerate().filter(|(_, entry)| is_in_view(entry)).map(|(at, _)| at).collect();
        let (left, task) = (entries.len(), std::marker::PhantomData);
        Watched { entries, left, pools, notifier, tried: 0, in_views, task }
    }

    /// The next task that has ended, of those that are left.
    fn ended(&self) -> Option<usize> {
        loop {
            // A task that was returned as `WouldDeadlock` is listed when it ends.
            let index = usize::try_from(self.notifier.next_ended()?).ok()?;
            if matches!(self.entries.get(index), Some(Some(_))) {
                return Some(index);
            }
        }
    }

    fn take(&mut self, index: usize) -> Option<H> {
        let Entry { handle, listed } = self.entries.get_mut(index)?.take()?;
        let task_state = &handle.borrow().task_state;
        listed.into_iter().for_each(|listed| task_state.stop_listening(listed));
        self.left -= 1;
        let pool = task_state.pool();
        self.pools.iter_mut().filter(|(other, _)| *other == pool).for_each(|(_, tasks)| *tasks -= 1);
        Some(handle)
    }

    /// Waits for the next end: as [`Handle::join`] waits for one task, or as [`Handle::join_timeout`] with a deadline.
    fn wait(&mut self, deadline: Option<Instant>) -> Next {
        if self.left == 0 {
            return Next::NoneLeft;
        }
        loop {
            if let Some(index) = self.ended() {
                return Next::Ended(index);
            }
            if deadline.is_none() && self.run_one() {
                continue;
            }
            if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                return Next::TimedOut;
            }
            if self.are_behind_caller() {
                return self.first_left().map_or(Next::NoneLeft, Next::WouldDeadlock);
            }
            let own = self.pools_left().find(|pool| current_worker::is_inside(*pool));
            let guard = match own.map(|pool| (pool, self.enter_wait(pool, deadline))) {
                None => BlockGuard::default(),
                Some((_, Ok(guard))) => guard,
                // This is the last worker that could make progress. A task may have ended since the last check.
                Some((pool, Err(WouldDeadlock))) => {
                    if let Some(index) = self.ended() {
                        return Next::Ended(index);
                    }
                    self.tried = 0;
                    if self.run_one() || current_worker::help(pool) {
                        continue;
                    }
                    // A task of another pool may end the wait.
                    if self.pools_left().all(|other| other == pool) {
                        if blocked_workers::recheck(pool) {
                            continue;
                        }
                        return self.first_left().map_or(Next::NoneLeft, Next::WouldDeadlock);
                    }
                    BlockGuard::default()
                }
            };
            let ended = loop {
                self.notifier.listen(guard.waiter(), None);
                let ended = self.ended();
                let must_go_on = ended.is_some()
                    || guard.is_evicted()
                    || own.is_some() && deadline.is_none() && self.can_run_again()
                    || deadline.is_some_and(|deadline| clock::now() >= deadline);
                if must_go_on {
                    break ended;
                }
                guard.park(|| park(deadline));
            };
            self.notifier.stop_listening();
            if let Some(index) = ended {
                return Next::Ended(index);
            }
        }
    }

    fn pools_left(&self) -> impl Iterator<Item = PoolId> {
        self.pools.iter().filter(|(_, tasks)| *tasks > 0).map(|(pool, _)| *pool)
    }

    /// Counts the calling worker as blocked on `pool`. A wait with a deadline is counted only where the worker can run a task instead.
    fn enter_wait(&mut self, pool: PoolId, deadline: Option<Instant>) -> Result<BlockGuard, WouldDeadlock> {
        match deadline.is_some() && self.next_to_run().is_some() {
            true => blocked_workers::enter_wait_for_room(pool, None, true),
            false => blocked_workers::enter_wait(pool, deadline),
        }
    }

    /// Runs the next task that the calling worker can run and that has not started. Returns whether there was one.
    fn run_one(&mut self) -> bool {
        let Some(task) = self.next_to_run() else { return false };
        self.tried += 1;
        task.run_inside();
        true
    }

    fn next_to_run(&mut self) -> Option<Arc<dyn Joinable<T>>> {
        if !current_worker::is_worker() {
            return None;
        }
        while let Some(entry) = self.entries.get(self.tried) {
            let task_state = entry.as_ref().map(|entry| &entry.handle.borrow().task_state);
            if let Some(task_state) = task_state.filter(|task_state| task_state.can_run() && !task_state.has_started())
            {
                return Some(Arc::clone(task_state));
            }
            self.tried += 1;
        }
        None
    }

    /// Whether the worker can now run a task of a view, or one that keeps it from its permits. Otherwise the worker is woken when it may. Takes
    /// time in proportion to the number of such tasks that have not started.
    fn can_run_again(&mut self) -> bool {
        let (entries, mut found) = (&self.entries, None);
        self.in_views.retain(|index| {
            let task_state = entries.get(*index).and_then(|entry| Some(&entry.as_ref()?.handle.borrow().task_state));
            let Some(task_state) = task_state.filter(|task_state| !task_state.has_started()) else { return false };
            if found.is_none() && task_state.can_be_run() {
                found = Some(*index);
            }
            true
        });
        self.tried = found.map_or(self.tried, |index| index.min(self.tried));
        found.is_some()
    }

    /// Whether all that are left wait for the task that the calling worker is in.
    fn are_behind_caller(&self) -> bool {
        let mut left = self.entries.iter().flatten();
        !self.in_views.is_empty() && left.all(|entry| entry.handle.borrow().task_state.is_behind_caller())
    }

    fn first_left(&self) -> Option<usize> {
        self.entries.iter().position(Option::is_some)
    }
}

impl<T: Send + 'static, H: Borrow<Handle<T>>> Drop for Watched<T, H> {
    fn drop(&mut self) {
        for Entry { handle, listed } in self.entries.iter().flatten() {
            listed.iter().for_each(|listed| handle.borrow().task_state.stop_listening(*listed));
        }
    }
}
