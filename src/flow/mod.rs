//! Flow control: what enters a pool when, in which order, and what becomes of what has come.

pub(crate) mod batch;
mod dependencies;
pub(crate) mod pipeline;
mod room;
mod sending;

/// A closure on its way into a pool of any dispatch, or into a view of one.
pub(crate) type Continuation<U> = Box<dyn FnOnce() -> U + Send + 'static>;
