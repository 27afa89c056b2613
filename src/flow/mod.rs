//! Flow control around pools.
//!
//! `starts.rs` and `verbs.rs` have the verbs that all of it shares, `base.rs` what an attempt needs of a pool or a breaker, `repeats.rs` how
//! a task is kept between attempts.

pub mod autoscale;
mod base;
pub(crate) mod batch;
pub(crate) mod breaker;
pub(crate) mod config_error;
mod dependencies;
pub(crate) mod every;
#[cfg(feature = "async")]
mod future;
pub(crate) mod pipeline;
mod pools;
mod recommendation;
mod repeats;
pub(crate) mod retry;
mod room;
mod sending;
pub mod sizing;
mod starts;
#[cfg(feature = "tower")]
pub(crate) mod tower;
mod verbs;

/// Keeps traits from being implemented elsewhere.
pub trait Sealed {}

pub use base::{Base, Judges};
pub use repeats::Repeats;
pub use starts::Starts;
/// A closure on its way into a pool of any dispatch, or into a view of one.
pub(crate) type Continuation<U> = Box<dyn FnOnce() -> U + Send + 'static>;
