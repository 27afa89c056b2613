//! Flow control around pools.
//!
//! `starts.rs` and `verbs.rs` have the verbs that all of it shares, `base.rs` what an attempt needs of a pool or a breaker, `repeats.rs` how
//! a task is kept between attempts.

pub mod autoscale;
mod base;
pub(crate) mod breaker;
pub(crate) mod config_error;
pub(crate) mod every;
#[cfg(feature = "async")]
mod future;
mod pools;
mod repeats;
pub(crate) mod retry;
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
