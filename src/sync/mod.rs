//! Synchronisation and waiting, without any notion of pools: primitives, waiters and wake-ups, time, and calls into user code.

pub(crate) mod abort;
pub(crate) mod clock;
pub(crate) mod detached_future;
#[cfg(all(test, formicary_loom))]
pub(crate) mod explore;
pub(crate) mod notifier;
mod primitives;
pub(crate) mod sleep;
pub(crate) mod spin;
#[cfg(feature = "test-util")]
pub(crate) mod test_clock;
pub(crate) mod timer;
pub(crate) mod user_code;
pub(crate) mod waiter;
pub(crate) mod waiter_list;
pub(crate) mod waking;

pub(crate) use primitives::*;
