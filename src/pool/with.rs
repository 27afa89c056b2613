//! Options of a submission, given before the verb.

use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::accepts::AnyPool;
use super::admit::Admit;
use crate::cancel::CancelToken;
use crate::queue::{Is, Sharded, Tenant};
use crate::sync::Arc;

/// A pool, and options for the verbs that are called on this value; made by `with()` of each pool.
///
/// The options can be combined, and the value can be kept, cloned and used any number of times. A method that sets an option takes the
/// value and returns it; a verb borrows it. Durations count from the call of the verb, not from `with()`; those of a task that enters at a
/// [time](Self::at), from that time.
///
/// | option | what it sets | default |
/// |---|---|---|
/// | [`key`](Self::key) | the shard that the task goes to (on [`Sharded`] pools) | a shard with room |
/// | [`priority`](Self::priority) | the level of the task (on [`Priority`](crate::Priority) pools) | [`NORMAL`](crate::Level::NORMAL) |
/// | [`tenant`](Self::tenant) | the tenant of the task (on [`Fair`](crate::Fair) pools) | the default tenant |
/// | [`in_order`](Self::in_order) | the key whose tasks run one at a time, in their order | none |
/// | [`room_timeout`](Self::room_timeout) | how long the verb waits for room | no limit; on a [`nonblocking`](crate::Builder::nonblocking) pool it does not wait |
/// | [`timeout`](Self::timeout), [`deadline`](Self::deadline) | when everything must be over: the wait for room, the time in the queue, and the run | never |
/// | [`max_queue_time`](Self::max_queue_time) | how long the task may wait before it starts; then it is dropped | no limit |
/// | [`token`](Self::token) | the token that cancels the task and the wait for room | none |
/// | [`after`](Self::after), [`at`](Self::at) | when the task enters the pool | at once |
/// | [`name`](Self::name) | the task's name in panic reports and in [`Context::name`](crate::Context::name) | none |
/// | [`weight`](Self::weight) | what the task takes from the budget of its pool or view | nothing |
///
/// A token, a deadline, a limit on the time in the queue, a name or a weight costs one heap allocation per task. A verb without them does not pay for it.
///
/// ```
/// use std::time::Duration;
/// use formicary::{CancelToken, Context, Pool};
///
/// let pool = Pool::new(2)?;
/// let token = CancelToken::new();
/// let resize = pool.with().token(&token).timeout(Duration::from_secs(60)).name("resize");
/// let name = resize.run(|| Context::with(|cx| cx.name().map(str::to_owned)))?;
/// assert_eq!(name.flatten().as_deref(), Some("resize"));
/// token.cancel();
/// assert!(resize.spawn(|| ()).unwrap_err().is_cancelled());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "options do nothing until a verb is called on them"]
pub struct With<'p, P> {
    pub(crate) pool: &'p P,
    /// The number of the key or of the level, as the queue knows it.
    pub(super) key: Option<u64>,
    pub(super) tenant: Option<Tenant>,
    /// The number of the key whose tasks run in order.
    pub(super) order: Option<u64>,
    pub(super) room_timeout: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) token: Option<CancelToken>,
    pub(crate) name: Option<Arc<str>>,
    pub(super) weight: Option<usize>,
    /// The number of the key of a rate.
    pub(super) rate_key: Option<u64>,
    pub(super) after: Option<Duration>,
    pub(super) at: Option<Instant>,
    pub(super) max_queue_time: Option<Duration>,
}

impl<P> Clone for With<'_, P> {
    fn clone(&self) -> Self {
        With { tenant: self.tenant.clone(), token: self.token.clone(), name: self.name.clone(), ..*self }
    }
}

/// The options.
impl<'p, P> With<'p, P> {
    pub(crate) fn new(pool: &'p P) -> Self {
        With {
            pool,
            key: None,
            tenant: None,
            order: None,
            room_timeout: None,
            timeout: None,
            deadline: None,
            token: None,
            name: None,
            weight: None,
            rate_key: None,
            after: None,
            at: None,
            max_queue_time: None,
        }
    }

    /// The key by which a view's rate counts the task.
    #[cfg(feature = "rate")]
    pub(crate) fn with_rate_key(mut self, key: impl Hash) -> Self
    where
        P: AnyPool,
    {
        self.rate_key = Some(self.pool.engine().number_of(key));
        self
    }

    /// The options without their pool, to [`bind`](Self::bind) them later.
    pub(crate) fn unbound(&self) -> With<'static, ()> {
        self.bind(&())
    }

    /// The same options for another pool, or another reference to the same. A key keeps its number, which is of the pool that it was set for.
    pub(crate) fn bind<'q, Q>(&self, pool: &'q Q) -> With<'q, Q> {
        let &With {
            pool: _,
            key,
            order,
            room_timeout,
            timeout,
            deadline,
            max_queue_time,
            weight,
            rate_key,
            after,
            at,
            ..
        } = self;
        let (token, name, tenant) = (self.token.clone(), self.name.clone(), self.tenant.clone());
        With {
            pool,
            key,
            tenant,
            order,
            room_timeout,
            timeout,
            deadline,
            token,
            name,
            weight,
            rate_key,
            after,
            at,
            max_queue_time,
        }
    }

    /// Limits the wait for room, and nothing after it. With this a verb also waits on a
    /// [`nonblocking`](crate::Builder::nonblocking) pool. It has no effect on the `try_` verbs, which never wait.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || drop(gate.recv()))?;
    /// let refusal = pool.with().room_timeout(std::time::Duration::from_millis(1)).submit(|| ()).unwrap_err();
    /// assert!(refusal.is_timed_out());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "submit_timeout")]
    pub fn room_timeout(mut self, limit: Duration) -> Self {
        self.room_timeout = Some(limit);
        self
    }

    /// Limits everything: the wait for room, the time in the queue, and the run, counted from the verb. A task that has not started by
    /// then does not start. A running task is told to stop ([`Context::is_cancelled`](crate::Context::is_cancelled)). `run` returns when
    /// the time is up, even if the task still runs, and so does `run_async`; a handle has the error when a worker takes the late task out
    /// of the queue, or the running task ends. Together with a [`deadline`](Self::deadline), the earlier of the two applies. As with a
    /// [`room_timeout`](Self::room_timeout), a verb then waits for room on a [`nonblocking`](crate::Builder::nonblocking) pool too.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// let error = pool.with().timeout(std::time::Duration::from_millis(5)).run(move || drop(gate.recv())).unwrap_err();
    /// assert!(error.is_timed_out());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("ProcessTimed", "process_timeout"))]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// As [`timeout`](Self::timeout), as a point in time.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let late = pool.with().deadline(std::time::Instant::now());
    /// assert!(late.submit(|| ()).unwrap_err().is_timed_out());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Limits the time from the verb to the start of the task. A worker that takes the task later does not run it: the task is dropped,
    /// counted ([`Drops::late`](crate::Drops::late)) and given to the [`dropped_handler`](crate::Builder::dropped_handler); its handle reports
    /// that ([`JoinError::is_dropped`](crate::JoinError::is_dropped)), and `run` returns the input. So a pool that is overloaded works on what
    /// somebody still waits for. A worker that waits for the task itself runs it at any time.
    ///
    /// It differs from a [`timeout`](Self::timeout): a task that has started may take any time.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let late = pool.with().max_queue_time(Duration::from_millis(1)).spawn(|| 7)?;
    /// std::thread::sleep(Duration::from_millis(2));
    /// drop(pause);
    /// assert!(late.join().unwrap_err().is_dropped());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("load shedding", "queue_timeout"))]
    pub fn max_queue_time(mut self, limit: Duration) -> Self {
        self.max_queue_time = Some(limit);
        self
    }

    /// Ties the task to a token. When the token is cancelled, a submitter stops waiting for room, a task that has not started does not
    /// start, and a running task is told to stop.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let token = formicary::CancelToken::new();
    /// let (canceller, cancellable) = (token.clone(), pool.with().token(&token));
    /// let stopped = cancellable.spawn(move || {
    ///     canceller.cancel();
    ///     formicary::Context::with(|cx| cx.is_cancelled())
    /// })?;
    /// assert_eq!(stopped.join()?, Some(true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("ProcessCtx", "CancellationToken"))]
    pub fn token(mut self, token: &CancelToken) -> Self {
        self.token = Some(token.clone());
        self
    }

    /// Names the task, for panic handlers ([`TaskPanic::task`](crate::TaskPanic::task)), for all of [`observe`](crate::observe), and for the task itself
    /// ([`Context::name`](crate::Context::name)). The name is stored once, however many tasks are submitted under it.
    ///
    /// ```
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .panic_handler(move |panic| tell.send(panic.task().map(str::to_owned)).unwrap())
    ///     .build()?;
    /// pool.with().name("fragile").submit(|| panic!("broken"))?;
    /// assert_eq!(told.recv()?.as_deref(), Some("fragile"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl<P: AnyPool> With<'_, P> {
    /// Has the task take so many permits from its budget: that of the view ([`Limited::budget`](crate::Limited::budget)), or else of the view
    /// that it is a view of, and so on, or else of the pool ([`Builder::budget`](crate::Builder::budget)). It takes them from one budget only.
    ///
    /// The verb takes them before the task is queued, and then waits for room. It waits for both as long as for room alone: `try_` verbs and
    /// those of a [`nonblocking`](crate::Builder::nonblocking) pool are refused with `Full`;
    /// [`room_timeout`](Self::room_timeout), [`timeout`](Self::timeout), [`deadline`](Self::deadline) and [`token`](Self::token) end the wait, and
    /// so do the closes of the pool and the view. Submitters get their weights in the order of their coming, large ones too
    /// ([`Semaphore`](crate::Semaphore)). An [overflow policy](crate::Builder::overflow) that drops or runs tasks is about room only. One that waits for its weight is not among those that [`max_blocking`](crate::Builder::max_blocking) counts.
    ///
    /// The permits come back when the task has ended in whatever way, and what it has captured has been dropped, but before its end is announced: so after
    /// a `join` they are back. A task that is given back or dropped unstarted, by a shutdown for example, returns them when the pool lets go of it. A weight of 0 takes nothing.
    ///
    /// A worker of the same pool never waits for a weight without a limit of time, because the tasks that hold the budget may wait for it: such a
    /// verb is refused with `WouldDeadlock`. With a limit it waits, and occupies its worker. Tasks that hold a weight and wait for tasks that
    /// need one deadlock if the budget is too small for both, as with every semaphore.
    ///
    /// ```
    /// use formicary::{Pool, Semaphore};
    ///
    /// let connections = Semaphore::new(3);
    /// let pool = Pool::builder().workers(4).budget(&connections).build()?;
    /// let pause = pool.pause();
    /// let copy = pool.with().weight(2);
    /// let first = copy.spawn(|| "copied")?;
    /// assert!(copy.try_spawn(|| "copied").unwrap_err().is_full()); // one is left
    /// assert!(pool.with().weight(4).spawn(|| ()).unwrap_err().is_too_large());
    /// drop(pause);
    /// first.join()?;
    /// assert_eq!(connections.available(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If neither the pool nor the view has a budget.
    #[track_caller]
    pub fn weight(mut self, weight: usize) -> Self {
        assert!(
            self.pool.shared().budget().is_some(),
            "`weight` is {weight}, and the pool has no budget to take it from"
        );
        self.weight = Some(weight);
        self
    }
}

impl<P: AnyPool> With<'_, P> {
    /// Sends the task to the shard of a key. All tasks of one key go to the same shard, so one tenant cannot fill them all. If that shard
    /// is full, the verb waits or is refused, even if other shards have room. The mapping differs from pool to pool
    /// ([`PoolControl::shard_of`](crate::PoolControl::shard_of)), so an attacker cannot choose keys that collide everywhere.
    ///
    /// ```
    /// use formicary::{Pool, Sharded};
    ///
    /// let pool = Pool::builder().workers(2).dispatch::<Sharded>().build()?;
    /// let acme = pool.with().key("acme");
    /// acme.submit(|| ())?;
    /// assert_eq!(acme.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn key(mut self, key: impl Hash) -> Self
    where
        P::Dispatch: Is<Sharded>,
    {
        self.key = Some(self.pool.engine().number_of(key));
        self
    }
}

impl<P: AnyPool> With<'_, P> {
    /// Orders the tasks of a key: they run one at a time, in the order in which the pool accepted them. Tasks of other keys, and tasks
    /// without one, run beside them.
    ///
    /// - **A waiting task occupies no worker.** One task of a key at most is in the pool's queue; when it has ended, whether it returned,
    ///   panicked or was cancelled, the next is queued behind what is there. So a key with many tasks does not starve the others.
    /// - **Bounds.** The task that is next needs room in the pool as any other. Those behind it are accepted while the pool has room for
    ///   them beside all that wait, also in [`limited`](crate::Limited) views; then the verbs wait or are refused as usual. Waiting tasks
    ///   are in [`queued`](crate::Stats::queued); each is in [`submitted`](crate::Stats::submitted) once it was next, or has ended.
    /// - **Waiting inside.** A task that joins, or runs, a task of its own key gets `WouldDeadlock` at once, unless that is over. A future
    ///   of such a task is pending as long as the task that polls it runs. A task that waits for one of another key runs what is next of
    ///   that key on its own worker, as far as that has not started (not on a [`StatefulPool`](crate::StatefulPool)). Tasks whose waits for
    ///   each other's keys form a circle deadlock, unless they occupy all workers: then the last wait is refused with `WouldDeadlock`.
    /// - **Ending.** `shutdown` and a drop of the pool run what was accepted; `shutdown_now` returns what has not started, each key's tasks
    ///   in their order. A view of a pool that ends drops what waits in it.
    /// - **Views.** A view orders its own tasks: the same key orders neither the pool's tasks nor another view's. On a view, each task that
    ///   ends looks at each key of the view with unfinished tasks.
    /// - **Costs.** A key with unfinished tasks takes about 1.7 kB. When its last task has ended nothing is left of it. Where two keys have
    ///   the same hash (64 bits, seeded for each pool), their tasks are in one order.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use formicary::Pool;
    ///
    /// let pool = Pool::new(4)?;
    /// let log = Arc::new(Mutex::new(Vec::new()));
    /// let account = pool.with().in_order(("account", 7));
    /// for n in 0..100 {
    ///     let log = Arc::clone(&log);
    ///     account.submit(move || log.lock().unwrap().push(n))?;
    /// }
    /// account.run(|| ())?; // behind all of them
    /// assert!(log.lock().unwrap().iter().copied().eq(0..100));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("sequenced", "strand", "actor", "serial"))]
    pub fn in_order(mut self, key: impl Hash) -> Self {
        self.order = Some(self.pool.engine().number_of(key));
        self
    }
}

impl<P> fmt::Debug for With<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("With")
            .field("has_key", &self.key.is_some())
            .field("tenant", &self.tenant)
            .field("is_in_order", &self.order.is_some())
            .field("room_timeout", &self.room_timeout)
            .field("timeout", &self.timeout)
            .field("deadline", &self.deadline)
            .field("has_token", &self.token.is_some())
            .field("name", &self.name)
            .field("weight", &self.weight)
            .field("after", &self.after)
            .field("at", &self.at)
            .field("max_queue_time", &self.max_queue_time)
            .finish_non_exhaustive()
    }
}
