//! Flow control around pools.

#[cfg(feature = "async")]
mod future;
#[cfg(feature = "tower")]
pub(crate) mod tower;
