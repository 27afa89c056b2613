//! Worker pools: OS threads that are started once and run many tasks, behind a bounded queue.
//!
//! A pool accepts a task from any thread, runs it on one of its worker threads, and delivers the result. In detail:
//!
//! 1. A submitter hands over a task. If the pool is full, the submitter waits in first-come order, or is refused and gets the task back.
//! 2. The task goes to an idle worker. If all workers are busy, it is queued, and a worker is started while there are fewer workers than
//!    the pool's capacity and more unfinished tasks than workers.
//! 3. The worker runs the task. A panic is caught and reported, and the worker goes on.
//! 4. The pool has room for the next submitter. Then the result is delivered, and its waiter is woken.
//! 5. A worker without work spins for some microseconds, then parks. A worker that stays idle ends, unless the pool's minimum keeps it.
//!
//! There are three kinds of pool:
//!
//! | use | when |
//! |---|---|
//! | [`Pool`] | the tasks are closures |
//! | [`PoolWithFunc`] | one function processes many payloads: the queue holds only payloads |
//! | [`StatefulPool`] | each worker needs something expensive of its own: a compiled regex, a connection, a model |
//!
//! ```
//! use formicary::{Context, Pool, PoolWithFunc, StatefulPool, Worker};
//!
//! // Closures.
//! let pool = Pool::new(4)?;
//! let handle = pool.spawn(|| 6 * 7)?;
//! assert_eq!(handle.join()?, 42);
//!
//! // One function.
//! let lengths = PoolWithFunc::new(4, |word: &'static str| word.len())?;
//! assert_eq!(lengths.run("formica")?, 7);
//!
//! // A state per worker.
//! struct Scratch(Vec<u8>);
//! impl Worker for Scratch {
//!     type Input = &'static [u8];
//!     type Output = u8;
//!     fn process(&mut self, bytes: &'static [u8], _cx: &Context<'_>) -> u8 {
//!         self.0.clear();
//!         self.0.extend_from_slice(bytes);
//!         self.0.sort_unstable();
//!         self.0[bytes.len() / 2]
//!     }
//! }
//! let medians = StatefulPool::new(4, |_worker| Ok(Scratch(Vec::new())))?;
//! assert_eq!(medians.run(&[3, 1, 2])?, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `docs/guide.md` in the sources is the guide: a page with programs for each question, from the choice of a pool to operations.
//!
//! Each kind comes with five ways for a task to find a worker, as a type parameter: [`Stack`] (the default), [`Ring`], [`Sharded`],
//! [`Priority`] with levels, and [`Fair`], which divides the workers between tenants.
//! The page [`variants`] compares them.
//!
//! # Ways of using a pool
//!
//! | | |
//! |---|---|
//! | [`submit`](Pool::submit) | hand over a task; its result is dropped |
//! | [`spawn`](Pool::spawn) | also get a [`Handle`], to join, await, cancel or [share](Handle::shared) |
//! | [`run`](Pool::run) | wait for the result |
//! | `try_submit`, `try_spawn`, `try_run` | the same, refused instead of waiting for room |
//! | `submit_async`, `spawn_async`, `run_async` | the same as futures, which wait without a thread |
//! | [`with`](Pool::with) | options before the verb: a [`CancelToken`], a deadline, a key, a tenant, a name ([`With`]) |
//! | [`With::after`], [`With::at`], [`Pool::submit_every`] | tasks that run at a time, or again and again |
//! | [`wait_any`], [`as_completed`] | several handles: the first to end, or all in the order in which they end |
//! | [`Handle::then`], [`Pool::spawn_after`] | tasks that start when others have ended |
//! | [`Pool::retrying`], [`DeadLetters`] | failed tasks are attempted again, with delays that hold no thread; what fails always is kept |
//! | [`Pool::guarded`] | a breaker: no calls to a downstream that fails |
//! | `Limited::rate` | so many starts per second (feature `rate`) |
//! | [`Pool::batched`] | single items in, slices to a function, each item gets its own result |
//! | [`Pipeline`] | items through stages, each with a pool of its own, bounded between |
//! | [`Pool::group`] | tasks that fail together |
//! | [`Pool::race`] | several closures, of which the first success wins |
//! | [`Pool::join`], [`Pool::join_all`] | two closures, or many, that borrow and may run at the same time: recursive work |
//! | [`Pool::scope`] | tasks that borrow from the caller's stack |
//! | [`Pool::map`], [`Pool::try_for_each`] | the items of an iterator, in order or as they are done |
//! | [`Pool::limited`] | a view of any pool, or of a view, with a limit of its own and the same verbs and options ([`Limited`]) |
//! | [`Semaphore`], [`With::weight`] | weighted permits, for threads, futures and tasks: a budget of memory or connections |
//! | [`With::in_order`] | the tasks of a key one at a time, in their order |
//! | `Pool::spawn_future` | futures that the workers poll (feature `async`) |
//! | `Pool::service`, `PoolService` | pools as services of `tower` (feature `tower`) |
//! | [`Pool::broadcast`], [`StatefulPool::broadcast`] | one closure for every worker |
//! | [`autoscale`] | a size that follows the load: by queue wait, throughput, or latency |
//! | [`sizing`] | how many workers, and what binds: demand, processors, memory, or a downstream |
//! | [`observe::Observer`] | be told of every task, refusal and worker |
//! | [`latencies`](PoolControl::latencies) | how long tasks wait and run, and how busy the workers are |
//! | [`running_tasks`](PoolControl::running_tasks), [`slow_after`](Builder::slow_after) | what runs now, and what runs too long |
//! | [`replace`](PoolControl::replace) | give up on the worker of a task that does not end |
//! | [`observe::Timeline`] | which worker ran which task when, as a file for a viewer |
//! | `observe::Metrics` | figures for Prometheus (feature `metrics`) |
//! | `Builder::tracing`, [`Builder::propagate`] | a span for each task (feature `tracing`); a request id, or any other context |
//! | `shutdown_on_signal` | pools that end in order when the process is told to end (feature `signal`) |
//! | `TestClock`, `Builder::stepped`, `Builder::inline` | tests without waiting and without threads (feature `test-util`) |
//! | [`PoolControl`] | resize, pause, wait until idle, read counts, shut down, restart |
//!
//! # What every pool promises
//!
//! - **A bound.** At most `workers` tasks run and at most `queue` more wait; tasks that the pool's own tasks submit come on top
//!   ([`Builder`]). When the pool is full, `submit` blocks in first-come order, `try_submit` refuses, and
//!   `with().room_timeout(limit)` waits for a limited time.
//! - **No task is lost.** Every refusal hands the task back ([`SubmitError`]). An accepted task runs exactly once, or is given back by
//!   `shutdown_now`, or is counted as cancelled.
//! - **A panic ends one task only.** It is caught, counted, and reported to the panic handler and to the waiting caller. The worker goes
//!   on.
//! - **Shutdown ends.** It runs what is queued and joins every thread. Dropping a pool does the same, unless [`Builder::on_drop`] says
//!   otherwise. On a thread of the pool itself neither waits, wherever the user's code runs there.
//! - **A pool does not deadlock with itself.** A task may use its own pool. What it submits is never refused for lack of room and never
//!   waits for it ([`Builder::nested`]). A task that it waits for and that has not started runs at once, on the worker's own stack, as
//!   deep as the program's own recursion goes. A wait that could never end is refused as `WouldDeadlock`.
//! - **The counts are exact.** On a pool without unfinished tasks, `submitted = completed + panicked + cancelled + returned + dropped`
//!   ([`Stats`]).
//! - **An idle pool sleeps.** A waiting thread parks, and an idle pool uses no processor time.
//!
//! # Trade-offs
//!
//! A pool that keeps these promises costs something, and is the wrong tool for some jobs:
//!
//! - **A task costs tens of nanoseconds at best**, more with several submitters, and microseconds if a parked worker must be woken. For
//!   work of a few nanoseconds, submit slices, or divide it with [`Pool::join`]. For parallel iterators, use `rayon`.
//! - **A waiting task occupies a thread.** For thousands of sockets, use an async runtime.
//! - **Every queue is bounded unless you say otherwise**, so `submit` may block the caller, with whatever locks it holds. Do not submit
//!   under a lock that the tasks take.
//! - **Running tasks are not interrupted.** A thread inside user code can only be asked to stop ([`Context::is_cancelled`],
//!   [`Interrupter`]). A limit of time ends a wait, not a task. A pool is not a sandbox either: a task can do what any code of the process
//!   can.
//! - **A key binds tasks to a shard, not to an order.** Tasks of one shard may run side by side, and other shards' workers steal them.
//! - **Deadlock detection sees one pool.** Tasks of two pools that wait for each other in a circle wait for ever, unless one of the waits
//!   has a limit ([`Handle::join_timeout`], [`With::timeout`], [`With::room_timeout`]).
//! - **Handles and options cost an allocation.** `submit` and `run` without options do not allocate for small closures and payloads.
//! - **Spinning costs processor time.** A worker that was busy a moment ago spins for up to 10 µs before it parks ([`Builder::spin`]).
//!
//! # How it works
//!
//! Every pool is one engine with two parts plugged in: how a worker runs a task, which the kind of pool decides, and how a task finds a
//! worker, which the dispatch decides. The engine does the rest: admission, parking, threads, counting, and the pool's life cycle. A
//! submitter looks for a sleeping worker after its push, and a worker checks the queue once more after it has registered as sleeping. So at
//! least one of the two sees the other, and no wake-up is lost; the protocol is model-checked. `DESIGN.md` in the sources follows a task
//! from `submit` to `join`, and gives the reasons for the decisions.
//!
//! # When things go wrong
//!
//! - **Panic**: with `panic = "unwind"`, user code may panic anywhere (task, factory, hook, handler, waker, drop). At most a worker's state
//!   is lost. With `panic = "abort"`, the first panic ends the process.
//! - **Fork**: a pool has no workers in a child of `fork`. There, what has no time limit waits for ever, and dropping the pool waits for
//!   ever or panics: use `std::mem::forget`, or leave with `_exit` or `exec`. A pool that is made in the child works. So does awaiting a
//!   token with a time limit: the first future that is polled in the child starts the timer thread again.
//! - **Signal**: the crate installs no handler, but for `shutdown_on_signal`. No method may be called from one.
//! - **Out of memory**: an allocation that fails ends the process. A [`Ring`] allocates its queue at build, where a failure is an error.
//! - **Out of threads**: an error with the task in it, if no worker is alive; otherwise the existing workers do the work. Pools stay below
//!   the number of threads at which the system would end the process.
//! - **Stack overflow**: ends the process ([`Builder::stack_size`]).
//! - **A changed clock**: no effect; all times are monotonic.
//!
//! `SECURITY.md` in the sources has the details.

// Shows on docs.rs which items need a feature.
#![cfg_attr(docsrs, feature(doc_cfg))]

// First, and apart: rustdoc lists the methods of a pool in the order of the modules, and those of `pool` come before `combinators`.
mod pool;

mod cancel;
mod combinators;
mod engine;
mod error;
mod flow;
pub mod observe;
mod queue;
mod semaphore;
mod sync;
mod task;

pub use cancel::{CancelReason, CancelToken, Cancelled, DropGuard};
pub use combinators::broadcast::Answers;
pub use combinators::fork_join::yield_now;
pub use combinators::group::Group;
#[cfg(feature = "rate")]
pub use combinators::limited::Quota;
pub use combinators::limited::{Limited, LimitedStats};
#[cfg(feature = "stream")]
pub use combinators::map::stream::{IterStream, MapStream};
pub use combinators::map::{Map, Results};
pub use combinators::scope::Scope;
pub use engine::options::{
    DEFAULT_EXPIRY, DEFAULT_NAME, DEFAULT_QUEUE, DEFAULT_SPIN, DropReason, Dropped, Nested, OnClose, OnDrop, Overflow,
    TaskPanic, WorkerThread,
};
pub use engine::reconfigure::Reconfigure;
pub use engine::stats::{Drops, Refusals, ShutdownReport, Stats};
pub use error::{
    AcquireError, BoxError, BuildError, CallError, GroupError, JoinError, SubmitAllError, SubmitError, SubmitErrorKind,
    TaskFailure,
};
pub use flow::batch::{BatchStats, Batched};
pub use flow::breaker::{Breaker, BreakerState, BreakerStats, Errors, Guarded, Judge, Panics, When};
pub use flow::every::{Every, Overrun, Series};
pub use flow::pipeline::{
    Bottleneck, OnError, Pipeline, PipelineError, PipelineMonitor, PipelineResults, PipelineStats, StageStats,
};
pub use flow::retry::{
    DeadLetter, DeadLetterStats, DeadLetters, GaveUp, Letters, NoLetters, OncePerKey, Replayed, Retry, RetryError,
    RetryStats, Retrying,
};
#[cfg(feature = "tower")]
pub use flow::tower::{FnService, PoolService, ResponseFuture};
pub use flow::{Base, Judges, Repeats, Starts, autoscale, sizing};
pub use pool::builder::Builder;
pub use pool::{
    Accepts, Closures, Function, Linked, LoopPool, PauseGuard, Pool, PoolControl, PoolWithFunc, ShardedPool, StackPool,
    StatefulPool, States, With, WorkerPool,
};
#[cfg(feature = "signal")]
pub use pool::{SignalShutdown, shutdown_on_signal};
pub use queue::{
    Balance, Dispatch, Fair, Level, MAX_WORKERS, Priority, Ring, ShardStats, Sharded, Stack, Tenant, TenantStats,
};
pub use semaphore::{Acquire, Semaphore, SemaphorePermit};
#[cfg(feature = "test-util")]
pub use sync::test_clock::TestClock;
pub use task::closure::Task;
pub use task::handle::{
    AsCompleted, Dependency, Handle, SharedHandle, TaskId, as_completed, wait_any, wait_any_timeout,
};
pub use task::interrupter::Interrupter;
pub use task::worker::{Context, PanicPolicy, Worker, is_cancelled};

/// `Send`, `Sync` and the size of every public type, as compile-time assertions.
mod table {
    use super::*;
    use static_assertions::{assert_impl_all, assert_not_impl_any, const_assert};

    assert_impl_all!(StackPool: Send, Sync);
    assert_impl_all!(LoopPool: Send, Sync);
    assert_impl_all!(ShardedPool: Send, Sync);
    assert_impl_all!(Pool<Priority>: Send, Sync);
    assert_impl_all!(Pool<Fair>: Send, Sync);
    assert_impl_all!(Level: Send, Sync, Copy);
    assert_impl_all!(Tenant: Send, Sync, Clone);
    assert_impl_all!(TenantStats: Send, Sync, Clone);
    assert_impl_all!(PoolWithFunc<std::cell::Cell<u8>>: Send, Sync);
    assert_impl_all!(Handle<std::cell::Cell<u8>>: Send, Sync);
    assert_impl_all!(AsCompleted<std::cell::Cell<u8>>: Send, Sync);
    assert_impl_all!(Dependency: Send, Sync, Clone);
    assert_impl_all!(Batched<std::cell::Cell<u8>, std::cell::Cell<u8>>: Send, Sync);
    assert_impl_all!(BatchStats: Send, Sync, Copy);
    #[cfg(feature = "signal")]
    assert_impl_all!(SignalShutdown: Send, Sync, Clone);
    assert_impl_all!(Pipeline<std::cell::Cell<u8>>: Send);
    assert_impl_all!(PipelineResults<std::cell::Cell<u8>>: Send, Sync);
    assert_impl_all!(PipelineMonitor: Send, Sync, Clone);
    assert_impl_all!(PipelineStats: Send, Sync, Clone);
    assert_impl_all!(PipelineError: std::error::Error, Send, Sync);
    assert_impl_all!(Task: Send);
    assert_impl_all!(PauseGuard: Send, Sync);
    assert_impl_all!(Builder<Closures>: Send);
    assert_impl_all!(BuildError: Send, Sync);
    // Errors that carry a task are `Error` for any task, and `Send` and `Sync` if the task is `Send`.
    assert_impl_all!(SubmitErrorKind: std::error::Error, Send, Sync, Copy);
    assert_impl_all!(SubmitError<std::rc::Rc<u8>>: std::error::Error);
    assert_impl_all!(SubmitAllError<std::rc::Rc<u8>, std::rc::Rc<u8>>: std::error::Error);
    assert_impl_all!(CallError<std::rc::Rc<u8>>: std::error::Error);
    assert_impl_all!(SubmitError<std::cell::Cell<u8>>: Send, Sync);
    assert_impl_all!(SubmitAllError<std::cell::Cell<u8>, std::vec::IntoIter<std::cell::Cell<u8>>>: Send, Sync);
    assert_impl_all!(CallError<std::sync::mpsc::Receiver<u8>>: Send, Sync);
    assert_impl_all!(JoinError: std::error::Error, Send, Sync);
    assert_impl_all!(CancelToken: Send, Sync);
    assert_impl_all!(DropGuard: Send, Sync);
    #[cfg(feature = "rate")]
    assert_impl_all!(Quota: Send, Sync, Copy);
    assert_impl_all!(Semaphore: Send, Sync, Clone);
    assert_impl_all!(SemaphorePermit: Send, Sync);
    assert_impl_all!(Acquire: Send, Sync, Unpin);
    assert_impl_all!(AcquireError: std::error::Error, Send, Sync, Copy);
    assert_impl_all!(Limited: Send, Sync);
    assert_impl_all!(Limited<PoolWithFunc<std::cell::Cell<u8>>>: Send, Sync);
    assert_impl_all!(SharedHandle<u8>: Send, Sync);
    assert_impl_all!(Interrupter: Send, Sync);
    assert_impl_all!(Series: Send, Sync);
    assert_impl_all!(Every: Send, Sync, Copy);
    assert_impl_all!(Group<std::cell::Cell<u8>, std::cell::Cell<u8>, Sharded>: Send, Sync);
    assert_impl_all!(GroupError<std::io::Error>: std::error::Error, Send, Sync);
    assert_impl_all!(TaskFailure<std::io::Error>: std::error::Error, Send, Sync);
    assert_impl_all!(Scope<'static, 'static, Ring>: Send, Sync);
    assert_impl_all!(WorkerThread: Send);
    assert_impl_all!(Stats: Send, Sync, Clone);
    assert_impl_all!(Dropped<std::cell::Cell<u8>>: Send);
    assert_impl_all!(observe::Latencies: Send, Sync, Clone);
    assert_impl_all!(observe::RunningTask: Send, Sync, Clone);
    assert_impl_all!(observe::RegisteredPool: Send, Sync, Clone);
    assert_impl_all!(observe::Registry: Send, Sync);
    assert_impl_all!(observe::Timeline: Send, Sync, Clone);
    assert_impl_all!(observe::PoolTimeline: Send, Sync);
    assert_impl_all!(Retry<std::rc::Rc<u8>>: Send, Sync, Clone);
    assert_impl_all!(Retrying<Linked<Pool>, std::cell::Cell<u8>>: Send, Sync, Clone);
    assert_impl_all!(RetryError<std::io::Error>: std::error::Error, Send, Sync);
    assert_impl_all!(DeadLetters<std::cell::Cell<u8>>: Send, Sync, Clone);
    assert_impl_all!(DeadLetter<std::cell::Cell<u8>>: Send);
    assert_impl_all!(OncePerKey<u8, Linked<Pool>, u8, NoLetters>: Send, Sync, Clone);
    assert_impl_all!(GaveUp: Send, Sync, Copy);
    assert_impl_all!(RetryStats: Send, Sync, Copy);
    assert_impl_all!(DeadLetterStats: Send, Sync, Copy);
    assert_impl_all!(Breaker: Send, Sync, Clone);
    assert_impl_all!(Guarded<PoolWithFunc<std::cell::Cell<u8>>>: Send, Sync, Clone);
    assert_impl_all!(BreakerStats: Send, Sync, Copy);
    #[cfg(feature = "tower")]
    assert_impl_all!(FnService<Limited, fn(u8) -> u8>: Send, Sync, Clone);
    #[cfg(feature = "tower")]
    assert_impl_all!(PoolService<StatefulPool<Local>>: Send, Sync, Clone);
    #[cfg(feature = "tower")]
    assert_impl_all!(ResponseFuture<std::cell::Cell<u8>>: Send);
    assert_impl_all!(autoscale::Autoscaler: Send);
    assert_impl_all!(autoscale::Tuner: Send, Sync);
    assert_impl_all!(autoscale::Sample: Send, Sync, Clone);
    assert_impl_all!(autoscale::Change: Send, Sync, Copy);
    assert_impl_all!(autoscale::ByLoad: autoscale::Controller, Send, Sync, Clone);
    assert_impl_all!(autoscale::HillClimb: autoscale::Controller, Send, Sync, Clone);
    assert_impl_all!(autoscale::GradientLimit: autoscale::Controller, Send, Sync, Clone);
    assert_impl_all!(sizing::Sizing: Send, Sync, Clone);
    assert_impl_all!(sizing::Recommendation: Send, Sync, Clone);
    assert_impl_all!(sizing::ConfigError: std::error::Error, Send, Sync, Clone);
    // A pool is shared in an `Arc`, and ends when its last owner drops it.
    assert_not_impl_any!(Pool: Clone);
    // An error has no property that the task in it does not have.
    assert_not_impl_any!(SubmitError<std::rc::Rc<u8>>: Send);
    assert_not_impl_any!(SubmitAllError<u8, std::rc::Rc<u8>>: Send);
    assert_not_impl_any!(CallError<std::rc::Rc<u8>>: Send);
    assert_not_impl_any!(SubmitError<u8>: Clone, PartialEq);
    const_assert!(std::mem::size_of::<SubmitError<u64>>() <= 24);
    // These contain a lock, and a model checker's lock is larger.
    #[cfg(not(any(formicary_loom, formicary_shuttle)))]
    const_assert!(std::mem::size_of::<JoinError>() <= 32);
    #[cfg(not(any(formicary_loom, formicary_shuttle)))]
    const_assert!(std::mem::size_of::<CallError<u64>>() <= 32);
    const_assert!(std::mem::size_of::<Handle<u64>>() <= 24);

    /// A state that is neither `Send` nor `Sync` makes a pool that is both.
    struct Local(std::rc::Rc<u8>);
    impl Worker for Local {
        type Input = ();
        type Output = ();
        fn process(&mut self, _: (), _: &Context<'_>) {
            let _ = &self.0;
        }
    }
    assert_not_impl_any!(Local: Send, Sync);
    assert_impl_all!(StatefulPool<Local>: Send, Sync);
    assert_impl_all!(Limited<StatefulPool<Local>>: Send, Sync);
}

#[doc = include_str!("../docs/variants.md")]
#[doc = "\n# One burst\n"]
#[doc = include_str!("../docs/one-burst.svg")]
pub mod variants {}

/// The README's examples, tested with the rest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// Those of the page about flow control.
#[cfg(all(feature = "async", feature = "rate", feature = "signal", feature = "tower"))]
#[cfg(doctest)]
#[doc = include_str!("../docs/flow.md")]
mod flow_page {}

/// And those of a page whose examples need features.
#[cfg(all(feature = "metrics", feature = "tracing"))]
#[cfg(doctest)]
#[doc = include_str!("../docs/observability.md")]
mod observability {}

/// And those of the guide.
#[cfg(all(feature = "rate", feature = "signal", feature = "test-util"))]
#[cfg(doctest)]
mod guide;

/// What `#![deny(unused_must_use)]` reports: results that hold tasks, or that say whether a wait ended in time.
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// formicary::Pool::new(1).unwrap().shutdown_now();
/// ```
/// ```compile_fail
/// #![deny(unused_must_use)]
/// formicary::Pool::new(1).unwrap().shutdown_timeout(std::time::Duration::ZERO);
/// ```
/// ```compile_fail
/// #![deny(unused_must_use)]
/// formicary::Pool::new(1).unwrap().wait_idle_timeout(std::time::Duration::ZERO);
/// ```
/// ```compile_fail
/// #![deny(unused_must_use)]
/// formicary::Pool::new(1).unwrap().limited(1).close();
/// ```
/// ```compile_fail
/// #![deny(unused_must_use)]
/// formicary::Pool::new(1).unwrap().spawn(|| 7).unwrap().try_join();
/// ```
///
/// It does not report these, which always wait to the end:
///
/// ```
/// #![deny(unused_must_use)]
/// let pool = formicary::Pool::new(1).unwrap();
/// pool.wait_idle();
/// let returned = pool.shutdown_now();
/// pool.shutdown();
/// # drop(returned);
/// ```
#[cfg(doctest)]
mod unused {}
