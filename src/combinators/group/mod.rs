//! Tasks that succeed or fail together.
//!
//! A group has the states of its unfinished tasks, the results of the others, and what the tasks share: a token, and which of them failed
//! first. A task that fails cancels the token. The thread that waits for the group then cancels the tasks that have not started, and waits
//! for the others.

mod ending;
mod ledger;
mod member;
mod permits;

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::cancel::CancelToken;
use crate::engine::wait_queue::WaitQueue;
use crate::engine::{Engine, SubmitOptions, WaitMode};
use crate::error::{SubmitError, TaskFailure};
use crate::pool::{CallTask, Pool};
use crate::queue::{Dispatch, RoomOrder, Stack};
use crate::sync::{Mutex, Thread};
use crate::task::closure::Task;
use crate::task::handle::Joinable;
use crate::task::state::{TaskMeta, TaskRef, TaskState};

use ledger::Ledger;
use member::{GroupTask, Member, Shared, run};

/// Tasks of a pool that succeed or fail together; made by [`Pool::group`].
///
/// The first task that returns an error or panics cancels the group: tasks that have not started never run, and running ones see it in the
/// token that each is given. [`wait`](Self::wait) blocks until all tasks that had started have ended. It returns their values in the order
/// of submission, or the first failure. With [`collect_all`](Self::collect_all) a failure cancels nothing, and
/// [`collect`](Self::collect) returns every result.
///
/// A group is used once: waiting consumes it. Its token is cancelled when the wait is over, even after a success, so that everything bound
/// to the group ends with it. Groups of one pool are independent, and a group does not keep its pool open. To spawn from several threads,
/// share the group by reference. A task that splits its work makes a group of its own: on a worker, waiting runs the group's tasks that
/// have not started, so nested groups finish on a pool of one worker, as deep as its stack allows.
///
/// Dropping a group cancels it: tasks that have not started never run, and their captures are dropped at once. Running tasks are told to
/// stop and are not waited for.
///
/// A task costs one allocation. Its captures are dropped when it ends, and the allocation is freed some time later. The group keeps the
/// results.
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
///     // Refused if the second task has failed by then.
///     let _ = group.spawn(move |_token| word.parse::<u32>());
/// }
/// assert_eq!(group.wait().unwrap_err().index, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("TaskGroup", "errgroup", "JoinSet", "WaitGroup"))]
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

    /// A group whose token is a child of `parent`: cancelling `parent` cancels the group, and a failure or the end of the group does not
    /// affect `parent`.
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
            wait_queue: WaitQueue::new(RoomOrder::Separate),
        };
        Group { engine: Arc::clone(&pool.engine), shared: Arc::new(shared) }
    }

    /// Limits how many tasks of the group are queued or running at a time. At the limit, [`spawn`](Self::spawn) waits. Default: no limit
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
    /// If `tasks` is 0, or if the group has accepted a task before.
    #[track_caller]
    pub fn limit(mut self, tasks: usize) -> Self {
        assert!(tasks > 0, "`tasks` is 0: a group with this limit lets nothing in");
        self.before_tasks("limit").limit = tasks;
        self
    }

    /// Whether the group goes on after a failure. Default: `false`. [`cancel`](Self::cancel) and the parent's token cancel it in either
    /// case.
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
    /// If the group has accepted a task before.
    #[track_caller]
    pub fn collect_all(mut self, collect_all: bool) -> Self {
        self.before_tasks("collect_all").collects_all = collect_all;
        self
    }

    /// The settings, which must not change once there are tasks.
    #[track_caller]
    fn before_tasks(&mut self, setting: &str) -> &mut Shared<T, E> {
        let accepted = self.len();
        match Arc::get_mut(&mut self.shared) {
            Some(shared) if accepted == 0 => shared,
            _ => panic!("`{setting}` comes too late for a group: it has accepted {accepted} tasks"),
        }
    }

    /// Submits a task. The task is given the group's token, to see that it should stop or to cancel the group.
    ///
    /// Blocks while the group is at its [`limit`](Self::limit) and while the pool is full, unless the pool is
    /// [`nonblocking`](crate::Builder::nonblocking). Submitters that wait at the limit enter in first-come order, one for each task that
    /// ends. A worker of the pool that would have to wait first runs tasks of the group that have not started.
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
    /// [`SubmitError`], with the closure: `Cancelled` if the group is cancelled, also while this waits (`TimedOut` if a deadline of the
    /// parent's token cancelled it); `WouldDeadlock` if a worker of the pool would wait for itself, or a task of the group for a permit
    /// of its own group; otherwise as [`Pool::submit`].
    pub fn spawn<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&CancelToken) -> Result<T, E> + Send + 'static,
    {
        self.admit(f, self.engine.default_mode())
    }

    /// As [`spawn`](Self::spawn), but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// let pause = pool.pause();
    /// let group = pool.group::<_, ()>();
    /// group.try_spawn(|_token| Ok(7))?;
    /// assert!(group.try_spawn(|_token| Ok(8)).unwrap_err().is_full());
    /// drop(pause);
    /// assert_eq!(group.wait().unwrap(), [7]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `spawn`; of kind `Full` if there is no room in the group or in the pool.
    pub fn try_spawn<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&CancelToken) -> Result<T, E> + Send + 'static,
    {
        self.admit(f, WaitMode::Never)
    }

    /// Cancels the group, as a failure does: tasks that have not started never run, and running ones see it in their token.
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

    /// The group's token, which its tasks are given. It is cancelled with the group: by [`cancel`](Self::cancel), by a failure, by the
    /// parent's token, and at the latest when the wait for the group ends or the group is dropped. So children of the token, and background
    /// work that checks it, do not outlive the group, as with Go's `errgroup`. Work that goes on after a successful group takes the
    /// parent's token.
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

    /// The number of accepted tasks.
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

    /// Whether the group has accepted no task.
    ///
    /// ```
    /// assert!(formicary::Pool::new(1)?.group::<(), ()>().is_empty());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of threads that wait in [`spawn`](Self::spawn) because the group is at its [`limit`](Self::limit).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let group = pool.group::<(), ()>().limit(1);
    /// group.spawn(|_token| Ok(()))?;
    /// std::thread::scope(|s| {
    ///     s.spawn(|| group.spawn(|_token| Ok(())));
    ///     while group.waiting() == 0 {
    ///         std::thread::yield_now();
    ///     }
    ///     drop(pause);
    /// });
    /// assert_eq!(group.wait().unwrap().len(), 2);
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
        let permit = match self.acquire(&options, mode) {
            Ok(permit) => permit,
            Err(kind) => return Err(SubmitError::new(kind, f)),
        };
        let meta = TaskMeta {
            token: Some(token.clone()),
            run_here: Some(run::<F, T, E> as _),
            permit: Some(Arc::clone(&self.shared) as _),
            ..self.engine.task_meta()
        };
        let task_state = TaskState::new(Member { f, permit }, meta);
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
