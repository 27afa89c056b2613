//! The line at the door: submitters that found the pool full, first come first served.
//!
//! Only the first in line tries to enter. A worker that makes room calls it; when it leaves the line, let
//! in or given up, it calls the next, so room for several is found by several, and no call is lost with
//! a waiter that goes away.

use std::collections::VecDeque;
use std::time::Instant;

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, Thread, current, fence, park};

struct Waiter {
    thread: Thread,
    called: AtomicBool,
}

impl Waiter {
    fn call(&self) {
        // ORDERING: Release pairs with the Acquire in `Place::wait`: the waiter sees the room made.
        self.called.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The line of one pool.
pub(crate) struct Line {
    /// The length of `queue`, for those who must not take the lock to learn that nobody waits.
    waiting: CachePadded<AtomicUsize>,
    queue: Mutex<VecDeque<Arc<Waiter>>>,
}

impl Line {
    pub(crate) fn new() -> Self {
        Line { waiting: CachePadded::new(AtomicUsize::new(0)), queue: Mutex::new(VecDeque::new()) }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        // ORDERING: Relaxed. `call` fences before it; others take it as a guess.
        self.waiting.load(Ordering::Relaxed)
    }

    /// Queues the calling thread up, unless `most` wait already.
    pub(crate) fn join(&self, most: usize) -> Option<Place<'_>> {
        let me = Arc::new(Waiter { thread: current(), called: AtomicBool::new(false) });
        let mut queue = self.queue.lock();
        if queue.len() >= most {
            return None;
        }
        queue.push_back(Arc::clone(&me));
        // ORDERING: Relaxed; the fence below orders it.
        self.waiting.store(queue.len(), Ordering::Relaxed);
        drop(queue);
        // ORDERING: SeqCst fence between the entry above and the try to enter that follows; `call` has the
        // other between the room made and its look at `waiting`. One of the two sees the other.
        fence(Ordering::SeqCst);
        Some(Place { line: self, me })
    }

    /// There is room: lets the first in line try. Costs a fence and a load when nobody waits.
    pub(crate) fn call(&self) {
        fence(Ordering::SeqCst);
        if self.waiting() > 0 {
            if let Some(first) = self.queue.lock().front() {
                first.call();
            }
        }
    }

    /// Something changed for everyone in line (the pool was closed).
    pub(crate) fn call_all(&self) {
        for waiter in self.queue.lock().iter() {
            waiter.call();
        }
    }
}

/// The calling thread's place in line; dropping it leaves the line and calls the next.
pub(crate) struct Place<'a> {
    line: &'a Line,
    me: Arc<Waiter>,
}

impl Place<'_> {
    pub(crate) fn is_first(&self) -> bool {
        self.line.queue.lock().front().is_some_and(|first| Arc::ptr_eq(first, &self.me))
    }

    /// Waits to be called, at most until `deadline`; may return for no reason.
    pub(crate) fn wait(&self, deadline: Option<Instant>) {
        // ORDERING: Acquire, see `Waiter::call`. The flag keeps a call that came before the wait from
        // being lost to code that used up this thread's park token in between.
        if !self.me.called.swap(false, Ordering::Acquire) {
            park(deadline);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.line.queue.lock();
        queue.retain(|waiter| !Arc::ptr_eq(waiter, &self.me));
        // ORDERING: Relaxed. Too high a number costs its reader a look at the line, under the lock.
        self.line.waiting.store(queue.len(), Ordering::Relaxed);
        if let Some(next) = queue.front() {
            next.call();
        }
    }
}
