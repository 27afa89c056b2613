//! What users build: the three kinds of pool, the verbs and options that they share, and what an owner does with one.

mod accepts;
mod answered;
pub(crate) mod builder;
mod closures;
mod control;
mod function;
mod pause;
mod stateful;
pub(crate) mod verbs;
mod with;
mod worker_pool;

pub use accepts::Accepts;
pub(crate) use accepts::{AnyPool, Item};
pub(crate) use answered::answered;
pub(crate) use closures::CallTask;
pub use closures::{Closures, LoopPool, Pool, ShardedPool, StackPool};
pub use control::PoolControl;
pub use function::{Function, PoolWithFunc};
pub use pause::PauseGuard;
pub use stateful::{StatefulPool, States};
pub use with::With;
pub use worker_pool::WorkerPool;
