//! What ends when the pool is closed: futures that wait to be woken.

use std::collections::BTreeMap;

use super::{Engine, Runner};
use crate::queue::Dispatch;
use crate::sync::{Arc, Mutex, Ordering, fence};

/// What ends with a pool.
pub(crate) trait EndsWithPool: Send + Sync {
    /// The pool is closed. Called without locks, on the thread that closes the pool.
    fn pool_closed(self: Arc<Self>);
}

/// By address.
#[derive(Default)]
pub(super) struct Attached(Mutex<BTreeMap<usize, Arc<dyn EndsWithPool>>>);

fn address(it: &Arc<dyn EndsWithPool>) -> usize {
    Arc::as_ptr(it).addr()
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// It is told of the next close, unless it is detached before. One that is attached to a closed pool is not told of that.
    pub(crate) fn attach(&self, it: Arc<dyn EndsWithPool>) {
        self.attached.0.lock().insert(address(&it), it);
    }

    pub(crate) fn unattach(&self, it: &Arc<dyn EndsWithPool>) {
        let detached = self.attached.0.lock().remove(&address(it));
        drop(detached);
    }

    /// The pool was closed. Whatever checks for that after it was attached, and after a fence, has seen the close or is told of it here.
    pub(super) fn end_attached(&self) {
        fence(Ordering::SeqCst);
        let attached = std::mem::take(&mut *self.attached.0.lock());
        attached.into_values().for_each(EndsWithPool::pool_closed);
    }
}
