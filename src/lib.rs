//! Worker pools: OS threads that are made once and run many tasks.
//!
//! | use | when |
//! |---|---|
//! | [`Pool`] | the tasks are closures |
//! | [`PoolWithFunc`] | one function, many payloads: nothing but the payload is queued |
//! | [`StatefulPool`] | each worker has something expensive of its own: a compiled regex, a connection, a model |
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
//! // State per thread.
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
//! Each of them comes with three ways for a task to find a worker: [`Stack`] (the default), [`Ring`], [`Sharded`]. The page
//! [`variants`] says which is for what.
//!
//! # Ways of using a pool
//!
//! | | |
//! |---|---|
//! | [`submit`](Pool::submit) | hand a task over; its result is dropped |
//! | [`spawn`](Pool::spawn) | a [`Handle`]: join it, await it, cancel it, [share](Handle::shared) it |
//! | [`run`](Pool::run) | wait for the result |
//! | `try_submit`, `try_spawn`, `try_run` | the same, refused instead of waiting for room |
//! | `submit_async`, `spawn_async`, `run_async` | the same as futures, which block no thread |
//! | [`wait_any`], [`as_completed`] | several handles: the first to end, or all in the order of their ends |
//! | [`with`](Pool::with) | options before the verb: a [`CancelToken`], a deadline, a key, a name ([`With`]) |
//! | [`Pool::group`] | tasks that fail together |
//! | [`Pool::race`] | the first success wins |
//! | [`Pool::scope`] | tasks that borrow from the caller's stack |
//! | [`Pool::map`], [`Pool::try_for_each`] | iterators, in order or not |
//! | [`Pool::limited`] | a view of any pool with a limit of its own, the same verbs and options, and views in its turn ([`Limited`]) |
//! | [`Pool::broadcast`], [`StatefulPool::broadcast`] | something for every worker |
//!
//! # What every pool promises
//!
//! - **A bound.** At most `workers` tasks run and at most `queue` more wait, besides those of the pool's own tasks ([`Builder`]). Beyond that `submit` blocks, in
//!   first-come order; `try_submit` refuses; `with().room_timeout(limit)` waits for so long.
//! - **Nothing is lost.** Every refusal hands the task back ([`SubmitError`]). A task that was accepted runs exactly once, or is given
//!   back by `shutdown_now`, or is counted as cancelled.
//! - **Panics cost nothing.** One is caught, counted, told to the panic handler and to whoever waits; the worker goes on.
//! - **Shutdown ends.** It runs what is queued and joins every thread; dropping a pool does the same, unless [`Builder::on_drop`] says
//!   otherwise. On a thread of the pool itself neither waits, wherever the user's code runs there.
//! - **No deadlock with itself.** A task may use its own pool. What it submits is never refused for want of room and never waits for
//!   it ([`Builder::nested`]). What it waits for runs on the spot if it has not started (on the worker's own stack, as deep as the
//!   program's own recursion goes); what would wait for itself for ever is refused as `WouldDeadlock`. That is seen within one pool:
//!   tasks of two pools that wait for each other in a circle wait for ever, unless one of them waits with a limit
//!   ([`Handle::join_timeout`], [`With::timeout`], [`With::room_timeout`]).
//! - **Honest counts.** On a quiet pool `submitted = completed + panicked + cancelled + returned` ([`Stats`]).
//!
//! A waiting thread sleeps; an idle pool uses no processor time.
//!
//! # What it does not do
//!
//! Tasks are not interrupted: a thread that is inside user code can only be asked to stop ([`Context::is_cancelled`],
//! [`Interrupter`]). It is not a sandbox: a task can do what any code of the process can.
//!
//! # What it promises when things go wrong
//!
//! - **Panic**: with `panic = "unwind"` user code may panic anywhere (task, factory, hook, handler, waker, drop); it costs a state
//!   at most. With `panic = "abort"` the first panic ends the process.
//! - **Fork**: a pool has no workers in a child of `fork`. There what has no time limit waits for ever, and the pool's drop does so
//!   or panics: `std::mem::forget` it, or leave with `_exit` or `exec`. A pool that is made in the child works. So does awaiting a token
//!   with a time limit: the first future that is polled there starts the thread that keeps the time anew.
//! - **Signal**: no handler is installed. No method may be called from one.
//! - **Exhausted memory**: an allocation that fails ends the process. A [`Ring`] takes its queue's memory at build, where failing is an
//!   error.
//! - **Exhausted threads**: an error if no worker is alive, with the task in it; otherwise the living do the work.
//!   Pools stay below the number of threads at which the system would end the process.
//! - **Stack overflow**: ends the process ([`Builder::stack_size`]).
//! - **A changed clock**: nothing; all times are monotonic.
//!
//! `SECURITY.md` in the repository has the details.

mod cancel;
mod combinators;
mod engine;
mod error;
mod pool;
mod queue;
mod sync;
mod task;

pub use cancel::{CancelReason, CancelToken, Cancelled, DropGuard};
pub use combinators::broadcast::Answers;
pub use combinators::group::Group;
pub use combinators::limited::{Limited, LimitedStats};
#[cfg(feature = "stream")]
pub use combinators::map::stream::{IterStream, MapStream};
pub use combinators::map::{Map, Results};
pub use combinators::scope::Scope;
pub use engine::options::{
    DEFAULT_EXPIRY, DEFAULT_NAME, DEFAULT_QUEUE, DEFAULT_SPIN, Nested, OnDrop, TaskPanic, WorkerThread,
};
pub use engine::reconfigure::Reconfigure;
pub use engine::stats::{Refusals, ShutdownReport, Stats};
pub use error::{
    BoxError, BuildError, CallError, GroupError, JoinError, SubmitAllError, SubmitError, SubmitErrorKind, TaskFailure,
};
pub use pool::builder::Builder;
pub use pool::{
    Accepts, Closures, Function, LoopPool, PauseGuard, Pool, PoolControl, PoolWithFunc, ShardedPool, StackPool,
    StatefulPool, States, With, WorkerPool,
};
pub use queue::{Balance, Dispatch, MAX_WORKERS, Ring, ShardStats, Sharded, Stack};
pub use task::closure::Task;
pub use task::handle::{AsCompleted, Handle, SharedHandle, TaskId, as_completed, wait_any, wait_any_timeout};
pub use task::interrupter::Interrupter;
pub use task::worker::{Context, PanicPolicy, Worker};

/// `Send`, `Sync` and size of everything public, as a table that does not build when it is wrong.
mod table {
    use super::*;
    use static_assertions::{assert_impl_all, assert_not_impl_any, const_assert};

    assert_impl_all!(StackPool: Send, Sync);
    assert_impl_all!(LoopPool: Send, Sync);
    assert_impl_all!(ShardedPool: Send, Sync);
    assert_impl_all!(PoolWithFunc<std::cell::Cell<u8>>: Send, Sync);
    assert_impl_all!(Handle<std::cell::Cell<u8>>: Send, Sync);
    assert_impl_all!(AsCompleted<std::cell::Cell<u8>>: Send, Sync);
    assert_impl_all!(Task: Send);
    assert_impl_all!(PauseGuard: Send, Sync);
    assert_impl_all!(Builder<Closures>: Send);
    assert_impl_all!(BuildError: Send, Sync);
    // Errors that carry a task: `Error` for any, and as good as the task is `Send`.
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
    assert_impl_all!(Limited: Send, Sync);
    assert_impl_all!(Limited<PoolWithFunc<std::cell::Cell<u8>>>: Send, Sync);
    assert_impl_all!(SharedHandle<u8>: Send, Sync);
    assert_impl_all!(Interrupter: Send, Sync);
    assert_impl_all!(Group<std::cell::Cell<u8>, std::cell::Cell<u8>, Sharded>: Send, Sync);
    assert_impl_all!(GroupError<std::io::Error>: std::error::Error, Send, Sync);
    assert_impl_all!(TaskFailure<std::io::Error>: std::error::Error, Send, Sync);
    assert_impl_all!(Scope<'static, 'static, Ring>: Send, Sync);
    assert_impl_all!(WorkerThread: Send);
    assert_impl_all!(Stats: Send, Sync, Clone);
    // A pool is shared in an `Arc`, and ends when the last owner drops it.
    assert_not_impl_any!(Pool: Clone);
    // Nor is what a task may not be: sent, copied, looked at by two.
    assert_not_impl_any!(SubmitError<std::rc::Rc<u8>>: Send);
    assert_not_impl_any!(SubmitAllError<u8, std::rc::Rc<u8>>: Send);
    assert_not_impl_any!(CallError<std::rc::Rc<u8>>: Send);
    assert_not_impl_any!(SubmitError<u8>: Clone, PartialEq);
    const_assert!(std::mem::size_of::<SubmitError<u64>>() <= 24);
    // With its lock; a model's lock is larger.
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
pub mod variants {}

/// The README's examples, tested with the rest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// What `#![deny(unused_must_use)]` finds: results without which tasks are lost, or a wait that ended too early goes unnoticed.
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
/// And what it does not, as these always wait to the end:
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
