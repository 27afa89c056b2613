//! The lines at the doors: submitters that found the pool full, first come first served at each door.
//!
//! Only the first in a line tries to enter. A worker that makes room calls it; when it leaves the line, let
//! in or given up, it calls the next, so room for several is found by several, and no call is lost with
//! a waiter that goes away.

use std::collections::VecDeque;
use std::time::Instant;

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, fence_after_rmw, park};
use crate::waiter::Waiter;

struct Submitter {
    waiter: Mutex<Waiter>,
    /// How often it was called; the first call is its own, when it joins.
    calls: AtomicUsize,
    /// How many of these calls its last try has answered.
    answered: AtomicUsize,
}

impl Submitter {
    fn new(waiter: Waiter) -> Arc<Self> {
        Arc::new(Submitter { waiter: Mutex::new(waiter), calls: AtomicUsize::new(1), answered: AtomicUsize::new(0) })
    }

    fn note_call(&self) {
        // ORDERING: Release pairs with the Acquire in `calls`: the submitter sees the room made.
        self.calls.fetch_add(1, Ordering::Release);
    }

    /// May run an executor's code: not to be called under a lock.
    fn wake(&self) {
        let waiter = self.waiter.lock().clone();
        waiter.wake();
    }

    fn calls(&self) -> usize {
        // ORDERING: Acquire, see `note_call`.
        self.calls.load(Ordering::Acquire)
    }

    /// Whether it will try, or is about to.
    fn is_called(&self) -> bool {
        // ORDERING: Relaxed. The submitter's own; another reader that finds the number too low believes it a while longer to be
        // on its way, until it is told (see `InLine`).
        self.calls() != self.answered.load(Ordering::Relaxed)
    }
}

/// The lines of one pool, one for each door of its queue.
pub(crate) struct Line {
    /// How many wait in all, for those who must not take the lock to learn that nobody does.
    waiting: CachePadded<AtomicUsize>,
    /// The only line's first was called and has not come to look yet. Those who make room meanwhile need not call it again.
    is_called: AtomicBool,
    /// By door; as many as were needed yet.
    doors: Mutex<Vec<VecDeque<Arc<Submitter>>>>,
}

impl Line {
    pub(crate) fn new() -> Self {
        Line {
            waiting: CachePadded::new(AtomicUsize::new(0)),
            is_called: AtomicBool::new(false),
            doors: Mutex::new(Vec::new()),
        }
    }

    /// How many wait, at whichever door.
    pub(crate) fn waiting(&self) -> usize {
        // ORDERING: Relaxed. `call` fences before it; others take it as a guess.
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many wait at this door. Costs one load where nobody waits at any.
    pub(crate) fn waiting_at(&self, door: usize) -> usize {
        match self.waiting() {
            0 => 0,
            _ => self.doors.lock().get(door).map_or(0, VecDeque::len),
        }
    }

    /// Queues a submitter up at a door, unless `most` wait already.
    pub(crate) fn join(&self, door: usize, most: usize, waiter: Waiter) -> Option<Place<'_>> {
        let me = Submitter::new(waiter);
        let mut doors = self.doors.lock();
        // ORDERING: Relaxed; written under this lock, and the fence below orders it for those who do not take it.
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting >= most {
            return None;
        }
        self.waiting.store(waiting + 1, Ordering::Relaxed);
        if doors.len() <= door {
            doors.resize_with(door + 1, VecDeque::new);
            // ORDERING: Relaxed, as `waiting` above.
            self.is_called.store(false, Ordering::Relaxed);
        }
        doors[door].push_back(Arc::clone(&me));
        drop(doors);
        // ORDERING: SeqCst fence between the entry above and the try to enter that follows; `call` has the
        // other between the room made and its look at `waiting`. One of the two sees the other.
        fence_after_rmw();
        Some(Place { line: self, door, me })
    }

    /// There is room behind every door that `has_room` says it of: lets the first in each of these lines try. To be called after
    /// a read-modify-write that made the room; costs two loads when nobody waits, or the first is on its way.
    pub(crate) fn call(&self, has_room: impl Fn(usize) -> bool) {
        fence_after_rmw();
        // ORDERING: Relaxed, after the fence; the first in line has the other between taking the mark away and its try.
        if self.waiting() == 0 || self.is_called.load(Ordering::Relaxed) {
            return;
        }
        let mut door = 0;
        while self.waiting() > 0 {
            let doors = self.doors.lock();
            let Some(line) = doors.get(door) else { return };
            let first = line.front().cloned();
            drop(doors);
            if let Some(first) = first.filter(|_| has_room(door)) {
                self.note_call(&self.doors.lock(), &first);
                first.wake();
            }
            door += 1;
        }
    }

    /// The mark is for a pool with one line: another's first may have to be called when this one's need not. It is made under
    /// the lock, and only for the first, so that whoever has it takes it away.
    fn note_call(&self, doors: &[VecDeque<Arc<Submitter>>], submitter: &Arc<Submitter>) {
        if matches!(doors, [line] if line.front().is_some_and(|first| Arc::ptr_eq(first, submitter))) {
            // ORDERING: Relaxed, see `call`; and before the call is counted, so that whoever knows of the call finds the mark.
            self.is_called.store(true, Ordering::Relaxed);
        }
        submitter.note_call();
    }

    /// Whether somebody in line is on the way in, or to learn that there is no room after all.
    pub(crate) fn moves(&self) -> bool {
        self.waiting() > 0 && self.doors.lock().iter().filter_map(VecDeque::front).any(|first| first.is_called())
    }

    /// Something changed for everyone in line (the pool was closed).
    pub(crate) fn call_all(&self) {
        let all: Vec<_> = self.doors.lock().iter().flatten().cloned().collect();
        for submitter in all {
            submitter.note_call();
            submitter.wake();
        }
    }
}

/// A submitter's place in line; dropping it leaves the line and calls the next.
pub(crate) struct Place<'a> {
    line: &'a Line,
    door: usize,
    me: Arc<Submitter>,
}

impl Place<'_> {
    pub(crate) fn is_first(&self) -> bool {
        self.line.doors.lock()[self.door].front().is_some_and(|first| Arc::ptr_eq(first, &self.me))
    }

    /// Answers all calls that came before, with a `look` at whether it can go in.
    pub(crate) fn answer<T>(&self, look: impl FnOnce() -> T) -> T {
        let calls = self.me.calls();
        // ORDERING: Relaxed, and the fence: whoever makes room after the look finds no mark, and calls. (A mark that is not this
        // one's may go as well: that costs a call too many.)
        self.line.is_called.swap(false, Ordering::Relaxed);
        fence_after_rmw();
        let found = look();
        // ORDERING: Relaxed, see `Submitter::is_called`.
        self.me.answered.store(calls, Ordering::Relaxed);
        found
    }

    /// Whether it was called since the look that was its last [`answer`](Self::answer).
    pub(crate) fn is_called(&self) -> bool {
        self.me.is_called()
    }

    /// Sleeps until then, or until everyone is called, as one who has called itself: nobody else need do so meanwhile, and it has
    /// to look when it is back.
    pub(crate) fn nap(&self, until: Instant) {
        self.line.note_call(&self.line.doors.lock(), &self.me);
        park(Some(until));
    }

    /// Waits to be called, at most until `deadline`; may return for no reason.
    pub(crate) fn wait(&self, deadline: Option<Instant>) {
        // A call that came before the wait must not be lost to code that used up this thread's park token in between.
        if !self.is_called() {
            park(deadline);
        }
    }

    /// Has another waiter woken from now on.
    pub(crate) fn set_waiter(&self, waiter: Waiter) {
        let before = std::mem::replace(&mut *self.me.waiter.lock(), waiter);
        // Dropping a waker is somebody else's code.
        before.dismiss();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut doors = self.line.doors.lock();
        let line = &mut doors[self.door];
        line.retain(|submitter| !Arc::ptr_eq(submitter, &self.me));
        // ORDERING: Relaxed. Under the lock; too high a number costs its reader a look at the lines, under the lock.
        self.line.waiting.store(self.line.waiting.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        // Called under the lock, so that there is always one who is on the way while there is room.
        let next = line.front().cloned();
        self.line.is_called.store(false, Ordering::Relaxed);
        if let Some(next) = &next {
            self.line.note_call(&doors, next);
        }
        drop(doors);
        if let Some(next) = next {
            next.wake();
        }
    }
}
