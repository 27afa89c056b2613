//! A lock-free ring of tasks, allocated once.

use crossbeam_utils::CachePadded;

use super::bounded_tickets::BoundedTickets;
use super::counts::Counts;
use super::finished_counters::{FinishedCounter, FinishedCounters};
use super::list::List;
use super::slots::Slots;
use super::ticket_counter::{Blocked, TicketCounter};
use super::{Dispatch, LazyItem, Load, Queue, Refused, Shape, sealed};
use crate::sync::{AtomicBool, Mutex, Ordering};

/// A loop queue: one lock-free ring of slots for all tasks, first in, first out. Any worker may take any task.
///
/// The ring is allocated when the pool is built, with a slot of at least 64 bytes for each of the `workers + queue` tasks
/// that the pool may hold (rounded up to a power of two), and never again: submitting does not allocate. The bound is exact.
/// It cannot be absent. A pool that is tuned to more workers than it was built with keeps its slots: fewer tasks may wait then
/// than its bound allows while workers are idle.
///
/// ```
/// use formicary::{Pool, Ring};
///
/// let pool = Pool::builder().workers(2).queue(62).dispatch::<Ring>().build()?;
/// assert_eq!(pool.run(|| 6 * 7)?, 42);
///
/// let error = Pool::builder().unbounded_queue().dispatch::<Ring>().build().unwrap_err();
/// assert!(error.to_string().contains("a ring has a bound"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring;

impl sealed::Sealed for Ring {}

impl Dispatch for Ring {
    const NAME: &'static str = "Ring";
    type Queue<T: Send + 'static> = RingQueue<T>;
}

#[doc(hidden)]
pub struct RingQueue<T> {
    /// Written by submitters. A ticket here is the right to put into the slot of that number.
    bounded_tickets: CachePadded<BoundedTickets>,
    /// Written by workers. A ticket here is the right to take from the slot of that number. Shut while not every worker that
    /// finds a task may start it, or tasks are aside.
    exit: CachePadded<TicketCounter>,
    slots: Slots<T>,
    inner: Mutex<Inner<T>>,
    /// Whether the slots may be what there is too little of.
    is_outgrown: AtomicBool,
}

struct Inner<T> {
    bound: usize,
    /// The most tasks that may be in the pool.
    room: u64,
    /// The most tasks that may run; `None` where the number of workers is limit enough.
    running: Option<u64>,
    /// How many of them did not come from here.
    elsewhere: u64,
    finished_counters: FinishedCounters,
    /// Live tasks that a sweep took out of the slots, the oldest of all. While there are any the exit is shut, and they go first.
    aside: List<T>,
}

impl<T> RingQueue<T> {
    /// Reckons anew how many may have come in; says whether there is room for one more.
    fn renew_limit(&self, inner: &Inner<T>) -> u64 {
        self.bounded_tickets.refresh_bound(|| {
            let slots = self.exit.count() + self.slots.len() as u64;
            slots.min(inner.finished_counters.finished() + inner.room)
        })
    }

    /// How many tasks were ever taken out to be run.
    fn ever_started(&self, inner: &Inner<T>) -> u64 {
        self.exit.count() - inner.aside.len() as u64
    }

    /// Whether one more task may start.
    fn may_start(&self, inner: &Inner<T>) -> bool {
        inner
            .running
            .is_none_or(|limit| self.ever_started(inner) - inner.finished_counters.finished() + inner.elsewhere < limit)
    }

    /// Shuts the exit if a task must not just be taken from its slot, and opens it otherwise.
    fn set_bolt(&self, inner: &Inner<T>) {
        if inner.running.is_some() || !inner.aside.is_empty() {
            self.exit.close();
        } else {
            self.exit.open();
        }
    }

    /// The next task where the exit was found shut.
    #[cold]
    fn pop_shut(&self) -> Option<T> {
        let mut inner = self.inner.lock();
        let may = self.may_start(&inner);
        self.take_next(&mut inner, may)
    }

    /// The next task, shut or not, where `may` says whether one may start.
    fn take_next(&self, inner: &mut Inner<T>, may: bool) -> Option<T> {
        let ticket = if !self.exit.is_closed() {
            // Opened in between.
            self.exit.try_take(|ticket| self.slots.is_full(ticket)).ok()?
        } else if !may {
            return None;
        } else if let Some(item) = inner.aside.pop() {
            self.set_bolt(inner);
            return Some(item);
        } else if self.slots.is_full(self.exit.count()) {
            self.exit.take_closed()
        } else {
            return None;
        };
        // SAFETY: a ticket from the exit, used once.
        Some(unsafe { self.take(ticket) })
    }

    /// Waits for the task if it is just being put in.
    ///
    /// # Safety
    /// `ticket` came from the exit and is used once, and the entrance has given a ticket of the same number.
    unsafe fn take(&self, ticket: u64) -> T {
        // SAFETY: the exit gives each number once, so nobody else takes with this one; and whoever has got it from the entrance puts
        // with it, and cannot fail to. That its task was seen (`is_full`) is not needed: the slot's stamp decides.
        unsafe { self.slots.take(ticket) }
    }

    fn take_all(&self) -> Vec<T> {
        let mut drained = Vec::new();
        let mut inner = self.inner.lock();
        inner.aside.drain_into(&mut drained);
        inner.finished_counters.add_untracked(drained.len() as u64);
        let end = self.bounded_tickets.count();
        while self.exit.count() < end {
            // One that is just being put in is waited for by `take`.
            let ticket = match self.exit.try_take(|ticket| ticket < end) {
                Ok(ticket) => ticket,
                Err(Blocked::Shut) => self.exit.take_closed(),
                Err(Blocked::NotReady) => break,
            };
            inner.finished_counters.add_untracked(1);
            // SAFETY: a ticket from the exit, used once; it is below `end`, so the entrance has given that number.
            drained.push(unsafe { self.take(ticket) });
        }
        self.set_bolt(&inner);
        drained
    }
}

impl<T: Send + 'static> Queue<T> for RingQueue<T> {
    type Cx = FinishedCounter;

    fn new(shape: &Shape) -> Result<Self, String> {
        let bound = shape.bound.ok_or("a ring has a bound: give `queue` a number")?;
        let slots = shape.workers.checked_add(bound).and_then(Slots::new);
        let slots = slots.ok_or_else(|| {
            format!("there is no memory for the slots of {} `workers` and a `queue` of {bound}", shape.workers)
        })?;
        let room = (shape.workers + bound) as u64;
        Ok(RingQueue {
            bounded_tickets: CachePadded::new(BoundedTickets::new(room)),
            exit: CachePadded::new(TicketCounter::new()),
            slots,
            inner: Mutex::new(Inner {
                bound,
                room,
                running: None,
                elsewhere: 0,
                finished_counters: FinishedCounters::new(),
                aside: List::new(),
            }),
            is_outgrown: AtomicBool::new(false),
        })
    }

    fn push(
        &self,
        item: &mut (impl LazyItem<T> + ?Sized),
        _door: usize,
        reserved: usize,
        _idle: Option<usize>,
    ) -> Result<(), Refused> {
        match self.bounded_tickets.try_take(reserved, || self.renew_limit(&self.inner.lock())) {
            Ok(ticket) => {
                // SAFETY: the entrance gives each ticket to one caller.
                unsafe { self.slots.put(ticket, || item.build()) };
                Ok(())
            }
            Err(Blocked::Shut) => Err(Refused::Closed),
            Err(Blocked::NotReady) => Err(Refused::Full),
        }
    }

    fn cx(&self, worker: usize) -> FinishedCounter {
        self.inner.lock().finished_counters.take(worker)
    }

    fn pop(&self, _seat: &FinishedCounter) -> Option<T> {
        match self.exit.try_take(|ticket| self.slots.is_full(ticket)) {
            // SAFETY: a ticket from the exit, used once; its slot was full, which only the entrance's holder of that number brings about.
            Ok(ticket) => Some(unsafe { self.take(ticket) }),
            Err(Blocked::NotReady) => None,
            Err(Blocked::Shut) => self.pop_shut(),
        }
    }

    fn pop_instead(&self) -> Option<T> {
        let mut inner = self.inner.lock();
        let may = inner.running != Some(0);
        let item = self.take_next(&mut inner, may)?;
        // It takes the place of one that is counted as running.
        inner.finished_counters.add_untracked(1);
        Some(item)
    }

    fn finished(&self, cx: &FinishedCounter) {
        cx.finished();
    }

    fn started(&self) -> u64 {
        self.ever_started(&self.inner.lock())
    }

    fn ended(&self) -> u64 {
        self.inner.lock().finished_counters.finished()
    }

    fn peek(&self) -> bool {
        // Does not touch the line that submitters write with every task.
        if self.exit.is_closed() { self.has_work() } else { self.slots.is_full(self.exit.count()) }
    }

    fn has_work(&self) -> bool {
        // By tickets, for that is what a push counts with a read-modify-write: the task itself may not be there yet. A stale count
        // of the exit errs to the safe side.
        // Whoever puts tasks aside shuts the exit, by a read-modify-write, and wakes workers after it, as whoever pushes does.
        if !self.exit.is_closed() {
            return self.exit.count() < self.bounded_tickets.count();
        }
        let inner = self.inner.lock();
        self.ever_started(&inner) < self.bounded_tickets.count() && self.may_start(&inner)
    }

    fn has_more(&self) -> bool {
        self.exit.count() + 1 < self.bounded_tickets.count()
    }

    fn load(&self) -> Load {
        let inner = self.inner.lock();
        let read = || {
            let finished = inner.finished_counters.finished();
            let started = self.ever_started(&inner);
            Counts { finished, started, accepted: self.bounded_tickets.count() }
        };
        Counts::load(read, inner.finished_counters.len(), inner.room)
    }

    fn set_limits(&self, running: Option<usize>, workers: usize) {
        let mut inner = self.inner.lock();
        inner.running = running.map(|limit| limit as u64);
        inner.room = (workers as u64).saturating_add(inner.bound as u64);
        // ORDERING: Relaxed. Those who must not miss it are woken after this, through a lock.
        self.is_outgrown.store(inner.room > self.slots.len() as u64, Ordering::Relaxed);
        self.renew_limit(&inner);
        self.set_bolt(&inner);
    }

    fn set_bound(&self, _bound: Option<usize>, _workers: usize) -> Result<(), String> {
        Err("the bound of a ring cannot be changed: its slots are allocated once".to_owned())
    }

    fn set_elsewhere(&self, running: usize) {
        self.inner.lock().elsewhere = running as u64;
    }

    fn frees_place_on_pop(&self) -> bool {
        // ORDERING: Relaxed, see `set_limits`.
        self.is_outgrown.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.bounded_tickets.close();
    }

    fn open(&self) {
        self.bounded_tickets.open();
    }

    fn drain(&self) -> Vec<T> {
        self.take_all()
    }

    fn sweep(&self, is_dead: &mut dyn FnMut(&T) -> bool) -> Vec<T> {
        let mut swept = Vec::new();
        let mut inner = self.inner.lock();
        // Nothing can be taken from the middle of a ring: all come out, and the live ones wait aside.
        self.exit.close();
        inner.aside.sweep_into(is_dead, &mut swept);
        let end = self.bounded_tickets.count();
        while self.exit.count() < end {
            // SAFETY: a ticket from the exit, used once; below `end` somebody puts with it.
            let item = unsafe { self.take(self.exit.take_closed()) };
            if is_dead(&item) {
                swept.push(item);
            } else {
                inner.aside.push(item);
            }
        }
        inner.finished_counters.add_untracked(swept.len() as u64);
        self.set_bolt(&inner);
        swept
    }

    fn leave(&self, _seat: FinishedCounter) {
        self.inner.lock().finished_counters.leave();
    }
}

impl<T> Drop for RingQueue<T> {
    fn drop(&mut self) {
        // If the drop of one panics, the list drops the others.
        drop(self.take_all());
    }
}
