//! Seeing what a pool does.
//!
//! An [`Observer`] is told of every task, refusal and worker of a pool ([`Builder::observer`](crate::Builder::observer)). All else here is
//! built on it.

pub use crate::engine::observer::{Observer, TaskEnd, TaskInfo};

mod thread_names;
mod timeline;

pub use timeline::{PoolTimeline, Timeline};
