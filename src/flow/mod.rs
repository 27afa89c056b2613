//! Flow control around pools.

pub(crate) mod every;
