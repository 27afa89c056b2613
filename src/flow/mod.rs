//! Flow control around pools.

pub mod autoscale;
pub(crate) mod config_error;
pub mod sizing;
