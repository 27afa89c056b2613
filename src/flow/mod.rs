//! Flow control around pools.

pub mod autoscale;
pub(crate) mod batch;
pub(crate) mod config_error;
mod dependencies;
#[cfg(feature = "async")]
mod future;
pub(crate) mod pipeline;
mod room;
mod sending;
pub mod sizing;
#[cfg(feature = "tower")]
pub(crate) mod tower;

/// A closure on its way into a pool of any dispatch, or into a view of one.
pub(crate) type Continuation<U> = Box<dyn FnOnce() -> U + Send + 'static>;
