//! What users build: the three kinds of pool, the verbs and options that they share, and the control of a pool.
//!
//! A kind of pool is two files: the public type (`closures.rs`, `function.rs`, `stateful.rs`) and its runner, which says how a worker
//! runs a task of it (`call_task.rs`, `call_func.rs`, `run_worker.rs`).

mod accepts;
mod admit;
mod answered;
pub(crate) mod builder;
mod builder_ending;
mod builder_overflow;
mod builder_sharded;
mod builder_threads;
mod call_func;
mod call_task;
mod closures;
mod control;
mod ending;
pub(crate) mod examples;
mod function;
mod global;
mod in_order;
mod kind;
mod later;
mod linked;
#[cfg(feature = "signal")]
mod on_signal;
mod ordering;
mod pause;
mod propagating;
mod ready_items;
mod run_worker;
mod scheduled;
mod stateful;
#[cfg(feature = "test-util")]
mod test_util;
pub(crate) mod verbs;
mod weight;
mod with;
mod with_submitting;
mod with_verbs;
mod worker_pool;

pub use accepts::Accepts;
#[cfg(feature = "async")]
pub(crate) use accepts::Item;
pub(crate) use accepts::{AnyPool, Takes};
pub(crate) use admit::Admit;
#[cfg(feature = "async")]
pub(crate) use admit::Reentry;
pub(crate) use answered::answered;
pub(crate) use call_task::CallTask;
pub use closures::{Closures, LoopPool, Pool, ShardedPool, StackPool};
pub use control::PoolControl;
pub use function::{Function, PoolWithFunc};
pub(crate) use later::Later;
pub use linked::Linked;
#[cfg(feature = "signal")]
pub use on_signal::{SignalShutdown, shutdown_on_signal};
pub use pause::PauseGuard;
pub(crate) use scheduled::{WeakWith, time_after};
pub use stateful::{StatefulPool, States};
pub use with::With;
pub use worker_pool::WorkerPool;
