//! Flow control around pools.

pub mod autoscale;
pub(crate) mod config_error;
pub(crate) mod every;
#[cfg(feature = "async")]
mod future;
pub mod sizing;
#[cfg(feature = "tower")]
pub(crate) mod tower;
