//! Tasks that succeed or fail together.
//!
//! A group is a list of slots, one for each task that has not ended, the results of the others, and what the tasks share: a
//! token, and who failed first. A task that fails cancels the token; who waits then cancels the slots that have not started, and
//! waits for the others.

mod ending;
mod ledger;
mod member;
mod places;

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::cancel::CancelToken;
use crate::engine::wait_queue::WaitQueue;
use crate::engine::{Engine, SubmitOptions, WaitMode};
use crate::error::{SubmitError, TaskFailure};
use crate::pool::{CallTask, Pool};
use crate::queue::{Dispatch, Stack};
use crate::sync::{Mutex, Thread};
use crate::task::closure::Task;
use crate::task::handle::Joinable;
use crate::task::state::{TaskMeta, TaskRef, TaskState};

use ledger::Ledger;
use member::{GroupTask, Member, Shared, run};

/// Tasks of a pool that succeed or fail together; made by [`Pool::group`].
///
/// The first task that returns an error, or panics, cancels the group: tasks that have not started never run, those that run can
/// see it in the token that each is given. [`wait`](Self::wait) waits until all that had started have ended, and gives their
/// values in the order of submission, or the first failure. With [`collect_all`](Self::collect_all) nothing is cancelled, and
/// [`collect`](Self::collect) gives what became of each.
///
/// A group is used once: waiting takes it, and its token is cancelled when the wait is over, however it went, so that whatever
/// was bound to the group ends with it. Groups of one pool know nothing of each other, and a group keeps no pool open. To
/// spawn from several threads, share it by reference. A task that wants to split its work makes a group of its own: on a worker,
/// waiting runs the group's tasks that have not started, so that groups in groups finish on a pool of one worker, as deep as its
/// stack allows.
///
/// Dropping a group without waiting cancels it: tasks that have not started never run and what they captured is dropped at
/// once; those that run are told so, and not waited for.
///
/// A task costs one allocation. It is given back some time after the task has ended, and what the task captured at once; the
/// group keeps the results.
///
/// ```
/// use formicary::Pool;
///
/// let pool = Pool::new(2)?;
/// let group = pool.group();
/// for word in ["1", "2", "3"] {
///     group.spawn(move |_token| word.parse::<u32>())?;
/// }
/// assert_eq!(group.wait()?, [1, 2, 3]);
///
/// let group = pool.group();
/// for word in ["1", "two", "3"] {
///     // Refused if the second has failed by then.
///     let _ = group.spawn(move |_token| word.parse::<u32>());
/// }
/// assert_eq!(group.wait().unwrap_err().index, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a group cancels it"]
pub struct Group<T: Send + 'static, E: Send + 'static, D: Dispatch = Stack> {
    engine: Arc<Engine<CallTask, D>>,
    shared: Arc<Shared<T, E>>,
}

type Joined<T, E> = Arc<dyn Joinable<Result<T, E>>>;

type Collected<T, E> = Vec<Result<T, TaskFailure<E>>>;

impl<D: Dispatch> Pool<D> {
    /// A group: tasks that return `Result<T, E>` and succeed or fail together. See [`Group`].
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let group = pool.group::<_, std::io::Error>();
    /// group.spawn(|_token| Ok(7))?;
    /// assert_eq!(group.wait()?, [7]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn group<T: Send + 'static, E: Send + 'static>(&self) -> Group<T, E, D> {
        Group::new(self, CancelToken::new())
    }

    /// A group that is cancelled with `parent`, too. The group's token is a child: its failures, and its end, do not touch `parent`.
    ///
    /// ```
    /// use formicary::{CancelToken, Pool, SubmitErrorKind};
    ///
    /// let (pool, parent) = (Pool::new(1)?, CancelToken::new());
    /// let group = pool.group_with::<(), ()>(&parent);
    /// parent.cancel();
    /// assert_eq!(group.spawn(|_token| Ok(())).unwrap_err().kind(), SubmitErrorKind::Cancelled);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn group_with<T: Send + 'static, E: Send + 'static>(&self, parent: &CancelToken) -> Group<T, E, D> {
        Group::new(self, parent.child())
    }
}

impl<T: Send + 'static, E: Send + 'static, D: Dispatch> Group<T, E, D> {
    fn new(pool: &Pool<D>, token: CancelToken) -> Self {
        let shared = Shared {
            token,
            collects_all: false,
            limit: usize::MAX,
            first_failure: OnceLock::new(),
            ledger: Mutex::new(Ledger::default()),
            wait_queue: WaitQueue::new(),
        };
        Group { engine: Arc::clone(&pool.engine), shared: Arc::new(shared) }
    }

    /// At most `tasks` of the group are queued or running at a time; beyond it [`spawn`](Self::spawn) waits. Default: no limit
    /// but the pool's.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let group = pool.group::<(), ()>().limit(1);
    /// group.spawn(|_token| Ok(()))?;
    /// assert!(group.try_spawn(|_token| Ok(())).unwrap_err().is_full());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `tasks` is 0, which would let nothing in, and if a task was accepted before.
    #[track_caller]
    pub fn limit(mut self, tasks: usize) -> Self {
        assert!(tasks > 0, "`tasks` is 0: a group with this limit lets nothing in");
        self.before_tasks("limit").limit = tasks;
        self
    }

    /// Whether the group goes on after a failure. Default: it does not. [`cancel`](Self::cancel) and the parent's token work all
    /// the same.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let group = pool.group().collect_all(true);
    /// group.spawn(|_token| Err("no"))?;
    /// group.spawn(|_token| Ok(7))?;
    /// let results = group.collect();
    /// assert!(results[0].is_err());
    /// assert_eq!(results[1].as_ref().unwrap(), &7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If a task was accepted before.
    #[track_caller]
    pub fn collect_all(mut self, collect_all: bool) -> Self {
        self.before_tasks("collect_all").collects_all = collect_all;
        self
    }

    /// What must not change any more when there are tasks.
    #[track_caller]
    fn before_tasks(&mut self, setting: &str) -> &mut Shared<T, E> {
        let accepted = self.len();
        match Arc::get_mut(&mut self.shared) {
            Some(shared) if accepted == 0 => shared,
            _ => panic!("`{setting}` comes too late for a group: it has accepted {accepted} tasks"),
        }
    }

    /// Submits a task. It is given the group's token: to see that it should stop, or to stop the group itself.
    ///
    /// Blocks while the group is at its [`limit`](Self::limit) and while the pool is full; not where the pool is
    /// [`nonblocking`](crate::Builder::nonblocking). Those who wait at the limit enter first come first served, one for each task
    /// that ends. A worker of the pool that would have to wait runs tasks of the group that have not started, and lines up when
    /// there is none.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let group = pool.group::<_, ()>();
    /// group.spawn(|token| Ok(token.is_cancelled()))?;
    /// assert_eq!(group.wait().unwrap(), [false]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure. `Cancelled` if the group is, be it while this waits (`TimedOut` if it was by the time
    /// limit of the parent's token); `WouldDeadlock` if a worker of the pool would wait for itself, or a task of the group for
    /// a place in its own group; or as [`Pool::submit`].
    pub fn spawn<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&CancelToken) -> Result<T, E> + Send + 'static,
    {
        self.admit(f, self.engine.default_mode())
    }

    /// Submits a task if there is room in the group and in the pool; never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let group = pool.group::<_, ()>();
    /// group.try_spawn(|_token| Ok(7))?;
    /// assert_eq!(group.wait().unwrap(), [7]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure; of kind `Full` if there is no room.
    pub fn try_spawn<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&CancelToken) -> Result<T, E> + Send + 'static,
    {
        self.admit(f, WaitMode::Never)
    }

    /// Cancels the group, as a failure does: tasks that have not started never run, those that run see it in their token.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let group = pool.group::<(), ()>();
    /// group.spawn(|_token| unreachable!("it was cancelled"))?;
    /// group.cancel();
    /// assert!(group.wait().unwrap_err().failure.is_cancelled());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&self) {
        self.shared.token.cancel();
    }

    /// The group's token, the one that its tasks are given. It is cancelled with the group: by [`cancel`](Self::cancel), by a
    /// failure, by the parent's token, and at the latest when the group has been waited for or is dropped. So a child of it, or
    /// work in the background that heeds it, never outlives the group; Go's `errgroup` does the same. What is to go on after a
    /// group that succeeded takes the parent's token.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let group = pool.group::<(), ()>();
    /// let token = group.token().clone();
    /// group.spawn(move |_same| { token.cancel(); Ok(()) })?;
    /// assert_eq!(group.wait().unwrap(), [()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn token(&self) -> &CancelToken {
        &self.shared.token
    }

    /// How many tasks were accepted.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let group = pool.group::<(), ()>();
    /// group.spawn(|_token| Ok(()))?;
    /// assert_eq!(group.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len(&self) -> usize {
        self.shared.ledger.lock().len()
    }

    /// Whether no task was accepted.
    ///
    /// ```
    /// assert!(formicary::Pool::new(1)?.group::<(), ()>().is_empty());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many threads wait in [`spawn`](Self::spawn) because the group is at its [`limit`](Self::limit).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let group = pool.group::<(), ()>().limit(1);
    /// group.spawn(|_token| Ok(()))?;
    /// assert!(group.wait_timeout(std::time::Duration::from_secs(60)));
    /// assert_eq!(group.waiting(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn waiting(&self) -> usize {
        self.shared.wait_queue.waiting()
    }

    fn admit<F>(&self, f: F, mode: WaitMode) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&CancelToken) -> Result<T, E> + Send + 'static,
    {
        let token = &self.shared.token;
        let options = SubmitOptions::from(mode).with_token(Some(token));
        let place = match self.find_place(&options, mode) {
            Ok(place) => place,
            Err(kind) => return Err(SubmitError::new(kind, f)),
        };
        let meta = TaskMeta {
            token: Some(token.clone()),
            run_here: Some(run::<F, T, E> as _),
            permit: Some(Arc::clone(&self.shared) as _),
            ..TaskMeta::new(self.engine.id())
        };
        let task_state = TaskState::new(Member { f, place }, meta);
        let task = Task::from_body(GroupTask(TaskRef::new(&task_state)));
        self.engine.submit_state(&task_state, task, options).map_err(|refusal| refusal.map(|member| member.f))?;
        let helper = self.shared.ledger.lock().enter(task_state);
        helper.iter().for_each(Thread::unpark);
        Ok(())
    }
}

impl<T: Send + 'static, E: Send + 'static, D: Dispatch> fmt::Debug for Group<T, E, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("len", &self.len()).field("token", self.token()).finish_non_exhaustive()
    }
}
