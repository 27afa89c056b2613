//! Flow control around pools.

#[cfg(feature = "async")]
mod future;
