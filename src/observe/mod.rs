//! Seeing what a pool does.
//!
//! An [`Observer`] is told of every task, refusal and worker of a pool ([`Builder::observer`](crate::Builder::observer)). All else here is
//! built on it.

#[cfg(any(feature = "metrics", feature = "tracing"))]
mod labels;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
pub use crate::engine::observer::{Observer, PoolInfo, TaskEnd, TaskInfo};
