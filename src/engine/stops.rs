//! The tokens of running tasks, for a shutdown that is tired of waiting.

use std::collections::BTreeMap;

use crate::cancel::CancelToken;
use crate::sync::Mutex;

/// Only tasks that were submitted with a token are here; the others cannot be told anything.
#[derive(Default)]
pub(crate) struct Stops(Mutex<Running>);

#[derive(Default)]
struct Running {
    tokens: BTreeMap<u64, CancelToken>,
    next: u64,
}

impl Stops {
    /// The task with this token runs, until [`ended`](Self::ended) is called with the answer.
    pub(super) fn began(&self, token: CancelToken) -> u64 {
        let mut running = self.0.lock();
        let key = running.next;
        running.next += 1;
        running.tokens.insert(key, token);
        key
    }

    pub(super) fn ended(&self, key: u64) {
        let token = self.0.lock().tokens.remove(&key);
        // Dropping the last of its tokens may drop an executor's waker: not under the lock.
        drop(token);
    }

    /// Tells all that run to stop.
    pub(super) fn cancel_all(&self) {
        let tokens: Vec<_> = self.0.lock().tokens.values().cloned().collect();
        tokens.iter().for_each(CancelToken::cancel);
    }
}
