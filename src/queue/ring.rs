//! A lock-free bounded ring, allocated once.

use crossbeam_utils::CachePadded;

use super::bounded_tickets::BoundedTickets;
use super::counts::{Counts, to_usize};
use super::finished_counters::{FinishedCounter, FinishedCounters};
use super::list::List;
use super::run_limit::RunLimit;
use super::slots::Slots;
use super::ticket_counter::{Blocked, TicketCounter};
use super::{Dispatch, LazyBatch, LazyItem, Load, Queue, Refused, Shape, sealed};
use crate::sync::{AtomicBool, Mutex, Ordering};

/// One lock-free ring of slots for all tasks (a loop queue), first in, first out. Any worker may pop any task.
///
/// The ring is allocated when the pool is built and never again: submitting does not allocate. It has a slot for each of the
/// `workers + queue` unfinished tasks that the pool may hold, rounded up to a power of two: 64 bytes for a closure, the size of the
/// payload and 16 bytes for a payload (24 for a `u64`), and at least 64 for one of more than 16.
///
/// The bound is exact, and cannot be absent or changed. A pool that is tuned to more workers than it was built with keeps its
/// slots: while workers are idle, fewer tasks may wait then than the bound allows.
///
/// ```
/// use formicary::{Pool, Ring};
///
/// let pool = Pool::builder().workers(2).queue(62).dispatch::<Ring>().build()?;
/// assert_eq!(pool.run(|| 6 * 7)?, 42);
///
/// let error = Pool::builder().unbounded_queue().dispatch::<Ring>().build().unwrap_err();
/// assert!(error.to_string().contains("a ring needs a bounded queue"));
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
    /// Written by submitters. A ticket is the right to put a task into the slot of its number.
    push_tickets: CachePadded<BoundedTickets>,
    /// Written by workers. A ticket is the right to take the task out of the slot of its number. Closed while a pop needs the
    /// lock of `control`: while there is a run limit or there are `survivors`.
    pop_tickets: CachePadded<TicketCounter>,
    slots: Slots<T>,
    control: Mutex<Control<T>>,
    /// Whether there may be fewer slots than the bound allows tasks.
    is_outgrown: AtomicBool,
}

/// State that pushes and pops rarely need.
struct Control<T> {
    bound: usize,
    /// How many unfinished tasks there may be.
    room: u64,
    run_limit: RunLimit,

    finished_counters: FinishedCounters,
    /// Live tasks that a sweep took out of the slots. They are older than the tasks in the slots, and popped first.
    survivors: List<T>,
}

impl<T> RingQueue<T> {
    /// Recomputes the limit of the push tickets. Returns the room that is left.
    fn refresh_limit(&self, control: &Control<T>) -> u64 {
        self.push_tickets.refresh_bound(|| {
            let slots = self.pop_tickets.count() + self.slots.len() as u64;
            slots.min(control.finished_counters.finished() + control.room)
        })
    }

    /// How many tasks ever started.
    fn started_tasks(&self, control: &Control<T>) -> u64 {
        self.pop_tickets.count() - control.survivors.len() as u64
    }

    /// Whether one more task may start.
    fn may_start(&self, control: &Control<T>) -> bool {
        control.run_limit.allows_one_more(|| self.started_tasks(control) - control.finished_counters.finished())
    }

    /// Closes the pop tickets if a pop needs the lock, and opens them otherwise.
    fn update_pop_tickets(&self, control: &Control<T>) {
        if control.run_limit.is_set() || !control.survivors.is_empty() {
            self.pop_tickets.close();
        } else {
            self.pop_tickets.open();
        }
    }

    /// Pops a task when the pop tickets were found closed.
    #[cold]
    fn pop_locked(&self) -> Option<T> {
        let mut control = self.control.lock();
        let may_start = self.may_start(&control);
        self.take_next(&mut control, may_start)
    }

    /// Pops a task, whether the pop tickets are closed or not. `may_start` says whether one more task may start.
    fn take_next(&self, control: &mut Control<T>, may_start: bool) -> Option<T> {
        let ticket = if !self.pop_tickets.is_closed() {
            // Opened meanwhile.
            self.pop_tickets.try_take(|ticket| self.slots.is_full(ticket)).ok()?
        } else if !may_start {
            return None;
        } else if let Some(item) = control.survivors.pop() {
            self.update_pop_tickets(control);
            return Some(item);
        } else if self.slots.is_full(self.pop_tickets.count()) {
            self.pop_tickets.take_closed()
        } else {
            return None;
        };
        // SAFETY: a pop ticket, used once; `is_full` found the task of that number in its slot.
        Some(unsafe { self.take(ticket) })
    }

    /// As [`take_next`](Self::take_next), but counts the task as ended.
    fn take_as_ended(&self, control: &mut Control<T>, may_start: bool) -> Option<T> {
        let item = self.take_next(control, may_start)?;
        control.finished_counters.add_untracked(1);
        Some(item)
    }

    /// Takes the task of a ticket out of its slot. Waits for a submitter that is just putting it in.
    ///
    /// # Safety
    /// `ticket` is a pop ticket and is used once, and the push ticket of the same number has been given out.
    unsafe fn take(&self, ticket: u64) -> T {
        // SAFETY: each pop ticket is given out once, so no other call takes with this one. The holder of the push ticket of the
        // same number puts with it, and cannot fail to. Whether the task is there yet does not matter: the slot's stamp decides.
        unsafe { self.slots.take(ticket) }
    }

    fn take_all(&self) -> Vec<T> {
        let mut drained = Vec::new();
        let mut control = self.control.lock();
        control.survivors.drain_into(&mut drained);
        control.finished_counters.add_untracked(drained.len() as u64);
        let end = self.push_tickets.count();
        while self.pop_tickets.count() < end {
            // `take` waits for a task that is just being put in.
            let ticket = match self.pop_tickets.try_take(|ticket| ticket < end) {
                Ok(ticket) => ticket,
                Err(Blocked::Closed) => self.pop_tickets.take_closed(),
                Err(Blocked::NotReady) => break,
            };
            control.finished_counters.add_untracked(1);
            // SAFETY: a pop ticket, used once; it is below `end`, so the push ticket of that number has been given out.
            drained.push(unsafe { self.take(ticket) });
        }
        self.update_pop_tickets(&control);
        drained
    }
}

impl<T: Send + 'static> Queue<T> for RingQueue<T> {
    type Cx = FinishedCounter;

    fn new(shape: &Shape) -> Result<Self, String> {
        let bound = shape.bound.ok_or("a ring needs a bounded queue: set `queue` to a number")?;
        let slots = shape.workers.checked_add(bound).and_then(Slots::new);
        let slots = slots
            .ok_or_else(|| format!("cannot allocate slots for {} `workers` and a `queue` of {bound}", shape.workers))?;
        let room = (shape.workers + bound) as u64;
        Ok(RingQueue {
            push_tickets: CachePadded::new(BoundedTickets::new(room)),
            pop_tickets: CachePadded::new(TicketCounter::new()),
            slots,
            control: Mutex::new(Control {
                bound,
                room,
                run_limit: RunLimit::default(),
                finished_counters: FinishedCounters::new(),
                survivors: List::new(),
            }),
            is_outgrown: AtomicBool::new(false),
        })
    }

    fn push(
        &self,
        item: &mut (impl LazyItem<T> + ?Sized),
        _lane: usize,
        reserved: usize,
        _idle: Option<usize>,
    ) -> Result<(), Refused> {
        match self.push_tickets.try_take(reserved, || self.refresh_limit(&self.control.lock())) {
            Ok(ticket) => {
                // SAFETY: each push ticket is given to one caller.
                unsafe { self.slots.put(ticket, || item.build()) };
                Ok(())
            }
            Err(Blocked::Closed) => Err(Refused::Closed),
            Err(Blocked::NotReady) => Err(Refused::Full),
        }
    }

    fn push_batch(&self, batch: &mut impl LazyBatch<T>, _lane: usize, reserved: usize) -> usize {
        debug_assert!(batch.remaining() > 0, "no ticket at all would be refused for ever");
        let refresh = || self.refresh_limit(&self.control.lock());
        let Ok(tickets) = self.push_tickets.try_take_some(batch.remaining(), reserved, refresh) else { return 0 };
        let count = tickets.end - tickets.start;
        for ticket in tickets {
            // SAFETY: each push ticket is given to one caller.
            unsafe { self.slots.put(ticket, || batch.build()) };
        }
        to_usize(count)
    }

    fn cx(&self, worker: usize) -> FinishedCounter {
        self.control.lock().finished_counters.register(worker)
    }

    fn pop(&self, _cx: &FinishedCounter) -> Option<T> {
        match self.pop_tickets.try_take(|ticket| self.slots.is_full(ticket)) {
            // SAFETY: a pop ticket, used once; its slot was full, so the push ticket of that number has been given out.
            Ok(ticket) => Some(unsafe { self.take(ticket) }),
            Err(Blocked::NotReady) => None,
            Err(Blocked::Closed) => self.pop_locked(),
        }
    }

    fn pop_instead(&self) -> Option<T> {
        let mut control = self.control.lock();
        let may_start = !control.run_limit.is_zero();
        // It replaces a task that is counted as running.
        self.take_as_ended(&mut control, may_start)
    }

    fn take_oldest(&self, _lane: usize) -> Option<T> {
        self.take_as_ended(&mut self.control.lock(), true)
    }

    fn finished(&self, cx: &FinishedCounter) {
        cx.finished();
    }

    fn started(&self) -> u64 {
        self.started_tasks(&self.control.lock())
    }

    fn ended(&self) -> u64 {
        self.control.lock().finished_counters.finished()
    }

    fn peek(&self) -> bool {
        // Does not touch the cache line that submitters write for every task.
        if self.pop_tickets.is_closed() { self.has_work() } else { self.slots.is_full(self.pop_tickets.count()) }
    }

    fn has_work(&self) -> bool {
        // Compares tickets, which a push counts by a read-modify-write; the task itself may not be in its slot yet. A stale count
        // of the pop tickets errs to the safe side. A sweep that leaves survivors closes the pop tickets by a read-modify-write,
        // and its caller wakes workers afterwards, as the caller of a push does.
        if !self.pop_tickets.is_closed() {
            return self.pop_tickets.count() < self.push_tickets.count();
        }
        let control = self.control.lock();
        self.started_tasks(&control) < self.push_tickets.count() && self.may_start(&control)
    }

    fn has_more(&self, searching: usize) -> bool {
        self.pop_tickets.count() + (searching as u64) < self.push_tickets.count()
    }

    fn load(&self) -> Load {
        let control = self.control.lock();
        let read = || {
            let finished = control.finished_counters.finished();
            let started = self.started_tasks(&control);
            Counts { finished, started, accepted: self.push_tickets.count() }
        };
        Counts::load(read, control.finished_counters.len(), control.room)
    }

    fn set_limits(&self, running: Option<usize>, workers: usize) {
        let mut control = self.control.lock();
        control.run_limit.set(running);
        control.room = (workers as u64).saturating_add(control.bound as u64);
        // ORDERING: Relaxed. Threads that must not miss a change are woken after it, through a lock.
        self.is_outgrown.store(control.room > self.slots.len() as u64, Ordering::Relaxed);
        self.refresh_limit(&control);
        self.update_pop_tickets(&control);
    }

    fn set_bound(&self, _bound: Option<usize>, _workers: usize) -> Result<(), String> {
        Err("the bound of a ring cannot be changed: its slots are allocated once".to_owned())
    }

    fn set_elsewhere(&self, running: usize) {
        self.control.lock().run_limit.set_elsewhere(running);
    }

    fn frees_room_on_pop(&self) -> bool {
        // ORDERING: Relaxed, see `set_limits`.
        self.is_outgrown.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.push_tickets.close();
    }

    fn open(&self) {
        self.push_tickets.open();
    }

    fn drain(&self) -> Vec<T> {
        self.take_all()
    }

    fn sweep(&self, is_dead: &mut dyn FnMut(&T) -> bool) -> Vec<T> {
        let mut swept = Vec::new();
        let mut control = self.control.lock();
        // No task can be removed from the middle of a ring: take out all, and keep the live ones as survivors.
        self.pop_tickets.close();
        control.survivors.sweep_into(is_dead, &mut swept);
        let end = self.push_tickets.count();
        while self.pop_tickets.count() < end {
            // SAFETY: a pop ticket, used once; it is below `end`, so the push ticket of that number has been given out.
            let item = unsafe { self.take(self.pop_tickets.take_closed()) };
            if is_dead(&item) {
                swept.push(item);
            } else {
                control.survivors.push(item);
            }
        }
        control.finished_counters.add_untracked(swept.len() as u64);
        self.update_pop_tickets(&control);
        swept
    }

    fn leave(&self, _cx: FinishedCounter) {
        self.control.lock().finished_counters.unregister();
    }
}

impl<T> Drop for RingQueue<T> {
    fn drop(&mut self) {
        // If dropping one task panics, the `Vec` still drops the others.
        drop(self.take_all());
    }
}
