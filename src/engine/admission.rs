//! The lines at the doors: submitters that found the pool full, first come first served at each door.
//!
//! Only the first in a line tries to enter. A worker that makes room calls it; when it leaves the line, let
//! in or given up, it calls the next, so room for several is found by several, and no call is lost with
//! a waiter that goes away. A future that is called and does not come is set aside after a while, so that it holds up nobody
//! (`lanes.rs`).

use std::time::Instant;

use crossbeam_utils::CachePadded;

use super::lanes::{Lanes, Submitter};
use crate::cancel::earlier;
use crate::queue::MAIN_DOOR;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, fence, fence_after_rmw, park};

/// The lines of one pool, one for each door of its queue.
pub(crate) struct Line {
    /// How many wait in all, for those who must not take the lock to learn that nobody does.
    waiting: CachePadded<AtomicUsize>,
    /// How many of those at the main door certainly come.
    prompt: AtomicUsize,
    /// The only line's first was called, will come, and has not looked yet. Those who make room meanwhile need not call it again.
    is_called: AtomicBool,
    lanes: Mutex<Lanes>,
}

impl Line {
    pub(crate) fn new() -> Self {
        Line {
            waiting: CachePadded::new(AtomicUsize::new(0)),
            prompt: AtomicUsize::new(0),
            is_called: AtomicBool::new(false),
            lanes: Mutex::new(Lanes::new()),
        }
    }

    /// How many wait, at whichever door.
    pub(crate) fn waiting(&self) -> usize {
        // ORDERING: Relaxed. `call` fences before it; others take it as a guess.
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many of those who wait at this door will certainly come when there is room, so that a newcomer must leave it to them. A
    /// future is not one of them: it may never be polled again. Costs one load where nobody waits at any door.
    pub(crate) fn waiting_at(&self, door: usize) -> usize {
        match self.waiting() {
            0 => 0,
            _ => self.prompt_at(door),
        }
    }

    #[cold]
    fn prompt_at(&self, door: usize) -> usize {
        if door == MAIN_DOOR {
            // ORDERING: Acquire pairs with the Release in `join`: who finds that one waits finds it counted here.
            fence(Ordering::Acquire);
            // ORDERING: Acquire pairs with the Release in `count_prompt`: who finds one less finds it gone from `waiting` too.
            self.prompt.load(Ordering::Acquire)
        } else {
            self.lanes.lock().prompt(door)
        }
    }

    /// To be called under the lock, after a change of a lane.
    fn count_prompt(&self, lanes: &Lanes, door: usize) {
        if door == MAIN_DOOR {
            // ORDERING: Release, see `prompt_at`.
            self.prompt.store(lanes.prompt(door), Ordering::Release);
        }
    }

    /// Queues a submitter up at a door, unless `most` wait already.
    pub(crate) fn join(&self, door: usize, most: usize, waiter: Waiter) -> Option<Place<'_>> {
        let me = Submitter::new(waiter);
        let mut lanes = self.lanes.lock();
        // ORDERING: Relaxed; written under this lock, and the fence below orders it for those who do not take it.
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting >= most {
            drop(lanes);
            me.forget_waiter();
            return None;
        }
        let ticket = lanes.join(door, &me);
        self.count_prompt(&lanes, door);
        // ORDERING: Release, see `prompt_at`.
        self.waiting.store(waiting + 1, Ordering::Release);
        if lanes.len() > 1 {
            // ORDERING: Relaxed, as `waiting` above.
            self.is_called.store(false, Ordering::Relaxed);
        }
        drop(lanes);
        // ORDERING: SeqCst fence between the entry above and the try to enter that follows; `call` has the
        // other between the room made and its look at `waiting`. One of the two sees the other.
        fence_after_rmw();
        Some(Place { line: self, door, ticket, me })
    }

    /// There is room behind every door that `has_room` says it of: lets the first in each of these lines try. To be called after
    /// a read-modify-write that made the room; costs two loads when nobody waits, or the first is on its way.
    #[inline]
    pub(crate) fn call(&self, has_room: impl Fn(usize) -> bool) {
        fence_after_rmw();
        // ORDERING: Relaxed, after the fence; the first in line has the other between taking the mark away and its try.
        if self.waiting() > 0 && !self.is_called.load(Ordering::Relaxed) {
            self.call_where(has_room);
        }
    }

    #[cold]
    #[inline(never)]
    fn call_where(&self, has_room: impl Fn(usize) -> bool) {
        let mut door = None;
        while self.waiting() > 0 {
            door = self.lanes.lock().door_after(door);
            match door {
                Some(door) if has_room(door) => self.call_at(door),
                Some(_) => {}
                None => return,
            }
        }
    }

    fn call_at(&self, door: usize) {
        let mut woken = Vec::new();
        self.note_call(&mut self.lanes.lock(), door, &mut woken);
        wake(&woken);
    }

    /// The mark is for a pool with one line: another's first may have to be called when this one's need not. It is made under
    /// the lock, and only for the first, so that whoever has it takes it away.
    fn note_call(&self, lanes: &mut Lanes, door: usize, woken: &mut Vec<Arc<Submitter>>) {
        if lanes.only_first(door).is_some() {
            // ORDERING: Relaxed, see `call`; and before the call is counted, so that whoever knows of the call finds the mark.
            self.is_called.store(true, Ordering::Relaxed);
        }
        lanes.call(door, woken);
    }

    /// Sets aside the futures that were called and have not come, and calls those behind them. To be called before a sleep that
    /// [`patience_ends`](Self::patience_ends) limits.
    pub(crate) fn pass_the_late(&self, has_room: impl Fn(usize) -> bool) {
        if self.waiting() == 0 {
            return;
        }
        let doors = self.lanes.lock().set_aside(Instant::now());
        doors.into_iter().filter(|door| has_room(*door)).for_each(|door| self.call_at(door));
    }

    /// When a future that was called, and has not come, is to be set aside.
    pub(crate) fn patience_ends(&self) -> Option<Instant> {
        if self.waiting() == 0 { None } else { self.lanes.lock().patience_ends() }
    }

    /// Whether somebody in line is certainly on the way in, or to learn that there is no room after all.
    pub(crate) fn moves(&self) -> bool {
        self.waiting() > 0 && self.lanes.lock().moves()
    }

    /// Something changed for everyone in line (the pool was closed).
    pub(crate) fn call_all(&self) {
        let all = self.lanes.lock().all();
        all.iter().for_each(|submitter| submitter.note_call());
        wake(&all);
    }
}

/// May run an executor's code: not to be called under a lock.
fn wake(called: &[Arc<Submitter>]) {
    called.iter().filter_map(|submitter| submitter.waiter()).for_each(Waiter::wake);
}

/// A submitter's place in line; dropping it leaves the line and calls the next.
pub(crate) struct Place<'a> {
    line: &'a Line,
    door: usize,
    ticket: u64,
    me: Arc<Submitter>,
}

impl Place<'_> {
    pub(crate) fn is_first(&self) -> bool {
        self.line.lanes.lock().is_first(self.door, self.ticket)
    }

    /// Answers all calls that came before, with a `look` at whether it can go in.
    pub(crate) fn answer<T>(&self, look: impl FnOnce() -> T) -> T {
        let calls = self.me.calls();
        if !self.me.is_prompt() {
            self.line.lanes.lock().came(self.door, self.ticket, &self.me);
        }
        // ORDERING: Relaxed, and the fence: whoever makes room after the look finds no mark, and calls. (A mark that is not this
        // one's may go as well: that costs a call too many.)
        self.line.is_called.swap(false, Ordering::Relaxed);
        fence_after_rmw();
        let found = look();
        self.me.answer(calls);
        found
    }

    /// Whether it was called since the look that was its last [`answer`](Self::answer).
    pub(crate) fn is_called(&self) -> bool {
        self.me.is_called()
    }

    /// Sleeps until then, or until everyone is called, as one who has called itself: nobody else need do so meanwhile, and it has
    /// to look when it is back.
    pub(crate) fn nap(&self, until: Instant) {
        let lanes = self.line.lanes.lock();
        if lanes.only_first(self.door).is_some_and(|first| Arc::ptr_eq(first, &self.me)) {
            // ORDERING: Relaxed, see `note_call`.
            self.line.is_called.store(true, Ordering::Relaxed);
        }
        self.me.note_call();
        drop(lanes);
        park(Some(until));
    }

    /// Waits to be called, at most until `deadline`; may return for no reason.
    pub(crate) fn wait(&self, deadline: Option<Instant>) {
        // Not to wait longer than need be for a future that was called before.
        let deadline = earlier(deadline, self.line.patience_ends());
        // A call that came before the wait must not be lost to code that used up this thread's park token in between.
        if !self.is_called() {
            park(deadline);
        }
    }

    /// Has another waiter woken from now on.
    pub(crate) fn set_waiter(&self, waiter: Waiter) {
        self.me.set_waiter(waiter);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut woken = Vec::new();
        let mut lanes = self.line.lanes.lock();
        // ORDERING: Relaxed. Under the lock; too high a number costs its reader a look at the lines, under the lock.
        self.line.waiting.store(self.line.waiting.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        let was_first = lanes.leave(self.door, self.ticket);
        self.line.count_prompt(&lanes, self.door);
        if was_first {
            // Called under the lock, so that there is always one who is on the way while there is room.
            self.line.is_called.store(false, Ordering::Relaxed);
            self.line.note_call(&mut lanes, self.door, &mut woken);
        }
        drop(lanes);
        wake(&woken);
        self.me.forget_waiter();
    }
}
