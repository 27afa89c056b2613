//! What the process's timer is made of. Real with shuttle too, whose threads do not wait for the timer's.

pub(crate) use crossbeam_utils::sync::{Parker, Unparker};
pub(crate) use parking_lot::{Mutex as StaticMutex, MutexGuard as StaticMutexGuard};

/// Makes a lock that can be in a static.
macro_rules! static_mutex {
    ($value:expr) => {
        $crate::sync::StaticMutex::new($value)
    };
}
pub(crate) use static_mutex;
