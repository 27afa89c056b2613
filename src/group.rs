//! Tasks that succeed or fail together.
//!
//! A group is a list of slots, one for each task, and what the tasks share: a token, and who failed first. A task that fails
//! cancels the token; who waits then cancels the slots that have not started, and waits for the others.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::dispatch::{Dispatch, Stack};
use crate::engine::{Engine, Patience, Way, nested};
use crate::error::{Cause, GroupError, SubmitError, SubmitErrorKind, TaskFailure};
use crate::handle::Joinable;
use crate::pool::{CallTask, Pool};
use crate::slot::{AwaitedEnd, Cancellable, Recalled, Reply, Slot, Terms, Ticket, Verdict};
use crate::sync::{Mutex, Thread, current, park};
use crate::task::{Body, Task};
use crate::waiter::Waiter;
use crate::worker_pool::deadline;

/// Tasks of a pool that succeed or fail together; made by [`Pool::group`].
///
/// The first task that returns an error, or panics, cancels the group: tasks that have not started never run, those that run can
/// see it in the token that each is given. [`wait`](Self::wait) waits until all that had started have ended, and gives their
/// values in the order of submission, or the first failure. With [`collect_all`](Self::collect_all) nothing is cancelled, and
/// [`collect`](Self::collect) gives what became of each.
///
/// A group is used once: waiting takes it. Groups of one pool know nothing of each other, and a group keeps no pool open. To
/// spawn from several threads, share it by reference. A task that wants to split its work makes a group of its own: on a worker,
/// waiting runs the group's tasks that have not started, so that groups in groups finish on a pool of one worker (at most 32
/// deep).
///
/// Dropping a group without waiting cancels it: tasks that have not started never run and what they captured is dropped at
/// once; those that run are told so, and not waited for.
///
/// A task costs one allocation.
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
    shared: Arc<Shared>,
    tasks: Mutex<Tasks<T, E>>,
}

type Joined<T, E> = Arc<dyn Joinable<Result<T, E>>>;
type Collected<T, E> = Vec<Result<T, TaskFailure<E>>>;

struct Tasks<T, E> {
    /// In the order in which they were accepted.
    accepted: Vec<Joined<T, E>>,
    /// Those before this one are not worth trying to start.
    tried: usize,
}

/// What a group's tasks share.
struct Shared {
    token: CancelToken,
    collects_all: bool,
    limit: Option<usize>,
    /// Which task was the first to fail: the address of its slot.
    first_failure: OnceLock<usize>,
    places: Mutex<Places>,
}

/// The tasks that count against the group's limit.
#[derive(Default)]
struct Places {
    taken: usize,
    waiting: Vec<Thread>,
}

impl Shared {
    /// Somebody of the group did not make it.
    fn fail(&self) {
        if !self.collects_all {
            self.token.cancel();
        }
    }
}

/// A place within the group's limit, given back when dropped.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.limit.is_none() {
            return;
        }
        let mut places = self.0.places.lock();
        places.taken -= 1;
        let waiting = std::mem::take(&mut places.waiting);
        drop(places);
        waiting.iter().for_each(Thread::unpark);
    }
}

thread_local! {
    /// The groups whose tasks the calling thread is in the middle of, by address.
    static WITHIN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A task of a group before it runs.
struct Member<F> {
    f: F,
    place: Place,
}

fn address<T: ?Sized>(task: &T) -> usize {
    std::ptr::from_ref(task).cast::<()>().addr()
}

fn run<F, T, E>(member: Member<F>, task: &dyn Cancellable) -> Result<T, E>
where
    F: FnOnce(&CancelToken) -> Result<T, E>,
{
    let Member { f, place } = member;
    let shared = &*place.0;
    WITHIN.with_borrow_mut(|within| within.push(address(shared)));
    let result = catch_unwind(AssertUnwindSafe(|| f(&shared.token)));
    WITHIN.with_borrow_mut(Vec::pop);
    if !matches!(result, Ok(Ok(_))) {
        // Only the first one stays.
        let _ = shared.first_failure.set(address(task));
        shared.fail();
    }
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// A task of a group in the pool's queue.
struct Enlisted<F, T, E>(Ticket<Member<F>, Result<T, E>>);

impl<F, T, E> Body for Enlisted<F, T, E>
where
    F: FnOnce(&CancelToken) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    fn call(self, reply: &mut Reply) -> Verdict {
        self.0.run(reply, None, |member, slot| run(member, slot))
    }

    fn recall(self, kind: SubmitErrorKind, cause: Cause) -> Recalled<Task> {
        match self.0.recall(kind, cause) {
            // The group goes on without it: its place is free, and whoever gets it may still run it.
            Recalled::Here(Member { f, place }) => {
                place.0.fail();
                Recalled::Here(Task::new(move || drop(f(&CancelToken::new()))))
            }
            Recalled::ToCaller => Recalled::ToCaller,
            Recalled::Gone(verdict) => Recalled::Gone(verdict),
        }
    }
}

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

    /// A group that is cancelled with `parent`, too. The group's token is a child: its failures do not touch `parent`.
    ///
    /// ```
    /// use formicary::{CancelToken, Pool, SubmitErrorKind};
    ///
    /// let (pool, parent) = (Pool::new(1)?, CancelToken::new());
    /// let group = pool.group_with::<(), ()>(&parent);
    /// parent.cancel();
    /// assert_eq!(group.spawn(|_token| Ok(())).unwrap_err().kind, SubmitErrorKind::Cancelled);
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
            limit: None,
            first_failure: OnceLock::new(),
            places: Mutex::new(Places::default()),
        };
        Group {
            engine: Arc::clone(&pool.engine),
            shared: Arc::new(shared),
            tasks: Mutex::new(Tasks { accepted: Vec::new(), tried: 0 }),
        }
    }

    /// At most `tasks` of the group are queued or running at a time; beyond it [`spawn`](Self::spawn) waits. Default: no limit
    /// but the pool's. 0 would let nothing in and counts as 1. To be said before the first task; later it changes nothing.
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
    pub fn limit(mut self, tasks: usize) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.limit = Some(tasks.max(1));
        }
        self
    }

    /// Whether the group goes on after a failure. Default: it does not. [`cancel`](Self::cancel) and the parent's token work all
    /// the same. To be said before the first task; later it changes nothing.
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
    pub fn collect_all(mut self, collect_all: bool) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.collects_all = collect_all;
        }
        self
    }

    /// Submits a task. It is given the group's token: to see that it should stop, or to stop the group itself.
    ///
    /// Blocks while the group is at its [`limit`](Self::limit) and while the pool is full; not where the pool is
    /// [`nonblocking`](crate::Builder::nonblocking). A worker of the pool that would have to wait runs tasks of the group that
    /// have not started.
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
        self.enlist(f, self.engine.default_patience())
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
        self.enlist(f, Patience::None)
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

    /// The group's token, the one that its tasks are given.
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
        self.tasks.lock().accepted.len()
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

    /// Blocks until every task that has started has ended, and none will start any more: the values in the order of submission,
    /// or the first failure. Never returns earlier, but for a worker that would wait for itself. An empty group is done at once.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let group = pool.group::<_, ()>();
    /// for n in 0..10 {
    ///     group.spawn(move |_token| Ok(n))?;
    /// }
    /// assert!(group.wait().unwrap().into_iter().eq(0..10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`GroupError`]: the first task, in time, that returned an error or panicked; if none did, the first, in order, that never
    /// ran because the group was cancelled or the pool gave it back. `WouldDeadlock` if the caller is a worker of the pool and
    /// nobody is left to run a task; then the group is cancelled and what runs is not waited for. Other values and errors are
    /// dropped: [`collect`](Self::collect) keeps them.
    pub fn wait(mut self) -> Result<Vec<T>, GroupError<E>> {
        let (tasks, results) = self.finish();
        let first = self.shared.first_failure.get();
        let first = first.and_then(|first| tasks.iter().position(|task| address(&**task) == *first));
        // The others are cancelled because of this one.
        let not_waited_for = || results.iter().position(|result| matches!(result, Err(TaskFailure::WouldDeadlock)));
        let first = first.or_else(not_waited_for);
        let mut values = Vec::with_capacity(results.len());
        for (index, result) in results.into_iter().enumerate() {
            match result {
                Ok(value) => values.push(value),
                Err(failure) if first.is_none_or(|first| first == index) => return Err(GroupError { index, failure }),
                // A later failure, or one that followed from the first.
                Err(_) => {}
            }
        }
        Ok(values)
    }

    /// Blocks as [`wait`](Self::wait) does: what became of each task, in the order of submission. After a failure the tasks that
    /// had not started are `Cancelled`, unless the group is to [`collect_all`](Self::collect_all).
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let group = pool.group().collect_all(true);
    /// for word in ["1", "two", "3"] {
    ///     group.spawn(move |_token| word.parse::<u32>())?;
    /// }
    /// let sum: u32 = group.collect().into_iter().flatten().sum();
    /// assert_eq!(sum, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn collect(mut self) -> Vec<Result<T, TaskFailure<E>>> {
        self.finish().1
    }

    /// Blocks for at most `limit` until a [`wait`](Self::wait) would return at once; says whether it would. On a worker of the
    /// pool it runs nothing, for that could take longer.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let group = pool.group::<_, ()>();
    /// group.spawn(move |_token| Ok(gate.recv().is_ok()))?;
    /// assert!(!group.wait_timeout(Duration::from_millis(1)));
    /// go.send(())?;
    /// assert!(group.wait_timeout(Duration::from_secs(60)));
    /// assert_eq!(group.wait().unwrap(), [true]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        let tasks = self.tasks.lock().accepted.clone();
        self.await_end(&tasks, deadline(limit))
    }

    fn enlist<F>(&self, f: F, patience: Patience) -> Result<(), SubmitError<F>>
    where
        F: FnOnce(&CancelToken) -> Result<T, E> + Send + 'static,
    {
        let token = &self.shared.token;
        let way = Way::from(patience).unless(Some(token));
        let place = match self.find_place(&way, patience) {
            Ok(place) => place,
            Err(kind) => return Err(SubmitError::new(kind, f)),
        };
        let terms = Terms {
            pool: self.engine.id(),
            is_call: false,
            deadline: None,
            view: None,
            token: Some(token.clone()),
            run_here: Some(run::<F, T, E> as _),
        };
        let slot = Slot::new(Member { f, place }, terms);
        let task = Task::from_body(Enlisted(Ticket::new(&slot)));
        self.engine.submit_slot(&slot, task, way).map_err(|refusal| refusal.map(|member| member.f))?;
        self.tasks.lock().accepted.push(slot);
        Ok(())
    }

    /// A place within the limit.
    fn find_place(&self, way: &Way<'_>, patience: Patience) -> Result<Place, SubmitErrorKind> {
        let token = &self.shared.token;
        if let Some(place) = self.take_place(None) {
            return Ok(place);
        }
        if let Patience::None = patience {
            return Err(way.cancelled().unwrap_or(SubmitErrorKind::Full));
        }
        let me = current();
        let _listening = token.listen(Waiter::Thread(me.clone()));
        loop {
            if let Some(place) = self.take_place(Some(&me)) {
                return Ok(place);
            }
            if let Some(kind) = way.cancelled() {
                return Err(kind);
            }
            if self.engine.is_inside() && self.run_next() {
                continue;
            }
            // It would wait for the task that it is in the middle of.
            let own = WITHIN.with_borrow(|within| within.contains(&address(&*self.shared)));
            if own {
                return Err(SubmitErrorKind::WouldDeadlock);
            }
            let _leave = match nested::enter_wait(self.engine.id(), None) {
                Ok(leave) => leave,
                // They are younger than the caller, and do not wait for it.
                Err(_) if self.have_all_started() => nested::enter_wait_regardless(self.engine.id()),
                Err(_) => return Err(SubmitErrorKind::WouldDeadlock),
            };
            park(token.deadline());
        }
    }

    fn have_all_started(&self) -> bool {
        self.tasks.lock().accepted.iter().all(|task| task.has_started())
    }

    /// A place if there is one; otherwise leaves word to have `waiter` woken.
    fn take_place(&self, waiter: Option<&Thread>) -> Option<Place> {
        let place = || Some(Place(Arc::clone(&self.shared)));
        let Some(limit) = self.shared.limit else { return place() };
        let mut places = self.shared.places.lock();
        if places.taken < limit {
            places.taken += 1;
            return place();
        }
        places.waiting.extend(waiter.cloned());
        None
    }

    /// Runs the oldest task that has not started on this worker, if there may be one left.
    fn run_next(&self) -> bool {
        let mut tasks = self.tasks.lock();
        let next = tasks.accepted.get(tasks.tried).cloned();
        tasks.tried += usize::from(next.is_some());
        drop(tasks);
        next.map(Joinable::run_inside).is_some()
    }

    /// Waits until all have ended, or until the deadline; says whether they have.
    fn await_end(&self, tasks: &[Joined<T, E>], deadline: Option<Instant>) -> bool {
        if deadline.is_none() && self.engine.is_inside() {
            // All that can be done without waiting comes first.
            tasks.iter().cloned().for_each(Joinable::run_inside);
        }
        let mut token = Some(&self.shared.token);
        let _listening = self.shared.token.listen(Waiter::Thread(current()));
        for task in tasks {
            loop {
                match Arc::clone(task).await_end(deadline, token, true) {
                    AwaitedEnd::Over => break,
                    AwaitedEnd::TimedOut => return false,
                    AwaitedEnd::WouldDeadlock => {
                        self.cancel_unstarted(tasks);
                        return false;
                    }
                    AwaitedEnd::Cancelled => {
                        self.cancel_unstarted(tasks);
                        token = None;
                    }
                }
            }
        }
        true
    }

    fn cancel_unstarted(&self, tasks: &[Joined<T, E>]) {
        self.shared.token.cancel();
        for task in tasks {
            task.cancel();
        }
    }

    /// Waits for all and takes their results.
    fn finish(&mut self) -> (Vec<Joined<T, E>>, Collected<T, E>) {
        let tasks = std::mem::take(&mut self.tasks.lock().accepted);
        self.await_end(&tasks, None);
        let results = tasks.iter().map(|task| match task.poll(None) {
            Some(Ok(Ok(value))) => Ok(value),
            Some(Ok(Err(error))) => Err(TaskFailure::Failed(error)),
            Some(Err(error)) => Err(TaskFailure::of(error)),
            None => {
                task.detach();
                Err(TaskFailure::WouldDeadlock)
            }
        });
        let results = results.collect();
        (tasks, results)
    }
}

impl<T: Send + 'static, E: Send + 'static, D: Dispatch> Drop for Group<T, E, D> {
    fn drop(&mut self) {
        let tasks = std::mem::take(&mut self.tasks.lock().accepted);
        if !tasks.is_empty() {
            self.cancel_unstarted(&tasks);
            tasks.iter().for_each(|task| task.detach());
        }
    }
}

impl<T: Send + 'static, E: Send + 'static, D: Dispatch> fmt::Debug for Group<T, E, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("len", &self.len()).field("token", self.token()).finish_non_exhaustive()
    }
}
