//! Worker pools: OS threads that are made once and run many tasks.

mod builder;
mod dispatch;
mod engine;
mod error;
mod handle;
mod interrupter;
mod job;
mod options;
mod pool;
mod pool_with_func;
mod slot;
mod stateful;
mod stats;
mod sync;
mod task;
mod worker_pool;

pub use builder::{Builder, Closures, Function, States};
pub use dispatch::{Dispatch, MAX_WORKERS, Stack};
pub use error::{
    BoxError, BuildError, CallError, JoinError, ProcessError, SubmitAllError, SubmitError, SubmitErrorKind,
};
pub use handle::Handle;
pub use interrupter::Interrupter;
pub use options::{DEFAULT_EXPIRY, DEFAULT_NAME, DEFAULT_QUEUE, TaskPanic, WorkerThread};
pub use pool::Pool;
pub use pool_with_func::PoolWithFunc;
pub use stateful::{Context, PanicPolicy, StatefulPool, Worker};
pub use stats::{ShutdownReport, Stats};
pub use task::Task;
pub use worker_pool::{PauseGuard, WorkerPool};
