//! A lock-free ring of tasks, allocated once.

use crossbeam_utils::CachePadded;

use super::counts::Counts;
use super::entrance::Entrance;
use super::list::List;
use super::seats::{Seat, Seats};
use super::slots::Slots;
use super::turnstile::{Blocked, Turnstile};
use super::{Dispatch, Load, Parcel, Queue, Refused, Shape, sealed};
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
    entrance: CachePadded<Entrance>,
    /// Written by workers. A ticket here is the right to take from the slot of that number. Shut while not every worker that
    /// finds a task may start it, or tasks are aside.
    exit: CachePadded<Turnstile>,
    slots: Slots<T>,
    book: Mutex<Book<T>>,
    /// Whether the slots may be what there is too little of.
    is_outgrown: AtomicBool,
}

struct Book<T> {
    bound: usize,
    /// The most tasks that may be in the pool.
    room: u64,
    /// The most tasks that may run; `None` where the number of workers is limit enough.
    running: Option<u64>,
    /// How many of them did not come from here.
    elsewhere: u64,
    seats: Seats,
    /// Live tasks that a sweep took out of the slots, the oldest of all. While there are any the exit is shut, and they go first.
    aside: List<T>,
}

impl<T> RingQueue<T> {
    /// Reckons anew how many may have come in; says whether there is room for one more.
    fn renew_limit(&self, book: &Book<T>) -> u64 {
        self.entrance.renew(|| {
            let slots = self.exit.count() + self.slots.len() as u64;
            slots.min(book.seats.finished() + book.room)
        })
    }

    /// How many tasks were ever taken out to be run.
    fn ever_started(&self, book: &Book<T>) -> u64 {
        self.exit.count() - book.aside.len() as u64
    }

    /// Whether one more task may start.
    fn may_start(&self, book: &Book<T>) -> bool {
        book.running.is_none_or(|limit| self.ever_started(book) - book.seats.finished() + book.elsewhere < limit)
    }

    /// Shuts the exit if a task must not just be taken from its slot, and opens it otherwise.
    fn set_bolt(&self, book: &Book<T>) {
        if book.running.is_some() || !book.aside.is_empty() {
            self.exit.shut();
        } else {
            self.exit.open();
        }
    }

    /// The next task where the exit was found shut.
    #[cold]
    fn pop_shut(&self) -> Option<T> {
        let mut book = self.book.lock();
        let may = self.may_start(&book);
        self.take_next(&mut book, may)
    }

    /// The next task, shut or not, where `may` says whether one may start.
    fn take_next(&self, book: &mut Book<T>, may: bool) -> Option<T> {
        let ticket = if !self.exit.is_shut() {
            // Opened in between.
            self.exit.pass(|ticket| self.slots.is_full(ticket)).ok()?
        } else if !may {
            return None;
        } else if let Some(item) = book.aside.pop() {
            self.set_bolt(book);
            return Some(item);
        } else if self.slots.is_full(self.exit.count()) {
            self.exit.pass_shut()
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
        let mut book = self.book.lock();
        book.aside.drain_into(&mut drained);
        book.seats.went_otherwise(drained.len() as u64);
        let end = self.entrance.count();
        while self.exit.count() < end {
            // One that is just being put in is waited for by `take`.
            let ticket = match self.exit.pass(|ticket| ticket < end) {
                Ok(ticket) => ticket,
                Err(Blocked::Shut) => self.exit.pass_shut(),
                Err(Blocked::NotReady) => break,
            };
            book.seats.went_otherwise(1);
            // SAFETY: a ticket from the exit, used once; it is below `end`, so the entrance has given that number.
            drained.push(unsafe { self.take(ticket) });
        }
        self.set_bolt(&book);
        drained
    }
}

impl<T: Send + 'static> Queue<T> for RingQueue<T> {
    type Seat = Seat;

    fn new(shape: &Shape) -> Result<Self, String> {
        let bound = shape.bound.ok_or("a ring has a bound: give `queue` a number")?;
        let slots = shape.workers.checked_add(bound).and_then(Slots::new);
        let slots = slots.ok_or_else(|| {
            format!("there is no memory for the slots of {} `workers` and a `queue` of {bound}", shape.workers)
        })?;
        let room = (shape.workers + bound) as u64;
        Ok(RingQueue {
            entrance: CachePadded::new(Entrance::new(room)),
            exit: CachePadded::new(Turnstile::new()),
            slots,
            book: Mutex::new(Book {
                bound,
                room,
                running: None,
                elsewhere: 0,
                seats: Seats::new(),
                aside: List::new(),
            }),
            is_outgrown: AtomicBool::new(false),
        })
    }

    fn push(
        &self,
        item: &mut (impl Parcel<T> + ?Sized),
        _door: usize,
        keep: usize,
        _idle: Option<usize>,
    ) -> Result<(), Refused> {
        match self.entrance.pass(keep, || self.renew_limit(&self.book.lock())) {
            Ok(ticket) => {
                // SAFETY: the entrance gives each ticket to one caller.
                unsafe { self.slots.put(ticket, || item.unpack()) };
                Ok(())
            }
            Err(Blocked::Shut) => Err(Refused::Closed),
            Err(Blocked::NotReady) => Err(Refused::Full),
        }
    }

    fn seat(&self, worker: usize) -> Seat {
        self.book.lock().seats.take(worker)
    }

    fn pop(&self, _seat: &Seat) -> Option<T> {
        match self.exit.pass(|ticket| self.slots.is_full(ticket)) {
            // SAFETY: a ticket from the exit, used once; its slot was full, which only the entrance's holder of that number brings about.
            Ok(ticket) => Some(unsafe { self.take(ticket) }),
            Err(Blocked::NotReady) => None,
            Err(Blocked::Shut) => self.pop_shut(),
        }
    }

    fn pop_instead(&self) -> Option<T> {
        let mut book = self.book.lock();
        let may = book.running != Some(0);
        let item = self.take_next(&mut book, may)?;
        // It takes the place of one that is counted as running.
        book.seats.went_otherwise(1);
        Some(item)
    }

    fn finished(&self, seat: &Seat) {
        seat.finished();
    }

    fn started(&self) -> u64 {
        self.ever_started(&self.book.lock())
    }

    fn ended(&self) -> u64 {
        self.book.lock().seats.finished()
    }

    fn glance(&self) -> bool {
        // Does not touch the line that submitters write with every task.
        if self.exit.is_shut() { self.has_work() } else { self.slots.is_full(self.exit.count()) }
    }

    fn has_work(&self) -> bool {
        // By tickets, for that is what a push counts with a read-modify-write: the task itself may not be there yet. A stale count
        // of the exit errs to the safe side.
        // Whoever puts tasks aside shuts the exit, by a read-modify-write, and wakes workers after it, as whoever pushes does.
        if !self.exit.is_shut() {
            return self.exit.count() < self.entrance.count();
        }
        let book = self.book.lock();
        self.ever_started(&book) < self.entrance.count() && self.may_start(&book)
    }

    fn has_more(&self) -> bool {
        self.exit.count() + 1 < self.entrance.count()
    }

    fn load(&self) -> Load {
        let book = self.book.lock();
        let read = || {
            let finished = book.seats.finished();
            let started = self.ever_started(&book);
            Counts { finished, started, accepted: self.entrance.count() }
        };
        Counts::load(read, book.seats.len(), book.room)
    }

    fn set_limits(&self, running: Option<usize>, workers: usize) {
        let mut book = self.book.lock();
        book.running = running.map(|limit| limit as u64);
        book.room = (workers as u64).saturating_add(book.bound as u64);
        // ORDERING: Relaxed. Those who must not miss it are woken after this, through a lock.
        self.is_outgrown.store(book.room > self.slots.len() as u64, Ordering::Relaxed);
        self.renew_limit(&book);
        self.set_bolt(&book);
    }

    fn set_bound(&self, _bound: Option<usize>, _workers: usize) -> Result<(), String> {
        Err("the bound of a ring cannot be changed: its slots are allocated once".to_owned())
    }

    fn set_elsewhere(&self, running: usize) {
        self.book.lock().elsewhere = running as u64;
    }

    fn frees_place_on_pop(&self) -> bool {
        // ORDERING: Relaxed, see `set_limits`.
        self.is_outgrown.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.entrance.shut();
    }

    fn open(&self) {
        self.entrance.open();
    }

    fn drain(&self) -> Vec<T> {
        self.take_all()
    }

    fn sweep(&self, is_dead: &mut dyn FnMut(&T) -> bool) -> Vec<T> {
        let mut swept = Vec::new();
        let mut book = self.book.lock();
        // Nothing can be taken from the middle of a ring: all come out, and the live ones wait aside.
        self.exit.shut();
        book.aside.sweep_into(is_dead, &mut swept);
        let end = self.entrance.count();
        while self.exit.count() < end {
            // SAFETY: a ticket from the exit, used once; below `end` somebody puts with it.
            let item = unsafe { self.take(self.exit.pass_shut()) };
            if is_dead(&item) {
                swept.push(item);
            } else {
                book.aside.push(item);
            }
        }
        book.seats.went_otherwise(swept.len() as u64);
        self.set_bolt(&book);
        swept
    }

    fn leave(&self, _seat: Seat) {
        self.book.lock().seats.leave();
    }
}

impl<T> Drop for RingQueue<T> {
    fn drop(&mut self) {
        // If the drop of one panics, the list drops the others.
        drop(self.take_all());
    }
}
