//! Seeing what a pool does.
//!
//! An [`Observer`] is told of every task, refusal and worker of a pool ([`Builder::observer`](crate::Builder::observer)). All else here is
//! built on it.
//!
//! | question | answer |
//! |---|---|
//! | How long do tasks wait and run? How busy are the workers? | [`Builder::latencies`](crate::Builder::latencies), [`Latencies`] |
//! | What runs at this moment? | [`Builder::running_tasks`](crate::Builder::running_tasks), [`RunningTask`] |
//! | Which task runs too long? | [`Builder::slow_after`](crate::Builder::slow_after), [`Builder::stuck_after`](crate::Builder::stuck_after) |
//! | What if a task never ends? | [`PoolControl::replace`](crate::PoolControl::replace) |
//! | What did each worker run, and when? | [`Timeline`] |
//! | Which pools are there? | [`registry()`] |
//! | Which task does a thread run? | [`Builder::task_thread_names`](crate::Builder::task_thread_names) |
//! | What goes to a dashboard, or into a trace? | `Metrics` (feature `metrics`), `Builder::tracing` (feature `tracing`) |

mod histogram;
mod labels;
mod latencies;
#[cfg(feature = "metrics")]
mod metrics;
mod per_worker;
mod registry;
mod replace;
mod running_list;
mod thread_names;
mod timeline;
#[cfg(feature = "tracing")]
mod tracing;
mod watchdog;

#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
pub use crate::engine::observer::{Observer, PoolInfo, TaskEnd, TaskInfo};
pub use histogram::Histogram;
pub(crate) use latencies::latencies_of;
pub use latencies::{Latencies, NamedLatencies};
pub use registry::{RegisteredPool, Registry, registry};
pub use running_list::RunningTask;
pub use timeline::{PoolTimeline, Timeline};
