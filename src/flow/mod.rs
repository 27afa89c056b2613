//! Flow control around pools.
