//! A lock-free ring of tasks, allocated once.

use crossbeam_utils::CachePadded;

use super::counts::{Counts, to_usize};
use super::entrance::Entrance;
use super::peak::Peak;
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
    /// finds a task may start it.
    exit: CachePadded<Turnstile>,
    slots: Slots<T>,
    peak: CachePadded<Peak>,
    book: Mutex<Book>,
    /// Whether the slots may be what there is too little of.
    is_outgrown: AtomicBool,
}

struct Book {
    bound: usize,
    /// The most tasks that may be in the pool.
    room: u64,
    /// The most tasks that may run; `None` where the number of workers is limit enough.
    running: Option<u64>,
    seats: Seats,
}

impl<T> RingQueue<T> {
    /// Reckons anew how many may have come in; says whether there is room for one more.
    fn renew_limit(&self, book: &Book) -> u64 {
        self.entrance.renew(|| {
            let slots = self.exit.count() + self.slots.len() as u64;
            slots.min(book.seats.finished() + book.room)
        })
    }

    /// Counts those that run, for the peak.
    #[cold]
    #[inline(never)]
    fn note_peak(&self) {
        let book = self.book.lock();
        let started = self.exit.count();
        self.peak.saw(to_usize(started.saturating_sub(book.seats.finished())).max(1));
    }

    /// Whether one more task may start.
    fn may_start(&self, book: &Book) -> bool {
        book.running.is_none_or(|limit| self.exit.count() - book.seats.finished() < limit)
    }

    /// A ticket for the exit, if the task in that slot is complete.
    fn start(&self) -> Option<u64> {
        match self.exit.pass(|ticket| self.slots.is_full(ticket)) {
            Ok(ticket) => Some(ticket),
            Err(Blocked::NotReady) => None,
            Err(Blocked::Shut) => {
                let book = self.book.lock();
                self.start_shut(self.may_start(&book))
            }
        }
    }

    /// The same under the lock, where `may` says whether a task may start.
    fn start_shut(&self, may: bool) -> Option<u64> {
        if !self.exit.is_shut() {
            // Opened in between.
            return self.exit.pass(|ticket| self.slots.is_full(ticket)).ok();
        }
        (may && self.slots.is_full(self.exit.count())).then(|| self.exit.pass_shut())
    }

    /// # Safety
    /// `ticket` came from the exit and is used once.
    unsafe fn take(&self, ticket: u64) -> T {
        // SAFETY: the exit gives each ticket to one caller, and only for a slot that is full.
        unsafe { self.slots.take(ticket) }
    }

    fn take_all(&self) -> Vec<T> {
        let mut drained = Vec::new();
        let mut book = self.book.lock();
        let end = self.entrance.count();
        while self.exit.count() < end {
            // One that is just being put in is waited for by `take`.
            let ticket = match self.exit.pass(|ticket| ticket < end) {
                Ok(ticket) => ticket,
                Err(Blocked::Shut) => self.exit.pass_shut(),
                Err(Blocked::NotReady) => break,
            };
            book.seats.went_otherwise(1);
            // SAFETY: a ticket from the exit, used once; below `end` somebody puts with it.
            drained.push(unsafe { self.take(ticket) });
        }
        drained
    }
}

impl<T: Send + 'static> Queue<T> for RingQueue<T> {
    type Seat = Seat;

    fn new(shape: &Shape) -> Result<Self, &'static str> {
        let bound = shape.bound.ok_or("a ring has a bound: give `queue` a number")?;
        let slots = shape.workers.checked_add(bound).and_then(Slots::new);
        let slots = slots.ok_or("there is no memory for so many slots")?;
        let room = (shape.workers + bound) as u64;
        Ok(RingQueue {
            entrance: CachePadded::new(Entrance::new(room)),
            exit: CachePadded::new(Turnstile::new()),
            slots,
            peak: CachePadded::new(Peak::new()),
            book: Mutex::new(Book { bound, room, running: None, seats: Seats::new() }),
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

    fn pop(&self, seat: &Seat) -> Option<T> {
        let Some(ticket) = self.start() else {
            self.peak.rests(&seat.busy);
            return None;
        };
        if self.peak.works(&seat.busy) {
            self.note_peak();
        }
        // SAFETY: a ticket from the exit, used once.
        Some(unsafe { self.take(ticket) })
    }

    fn pop_instead(&self) -> Option<T> {
        let mut book = self.book.lock();
        let ticket = self.start_shut(book.running != Some(0))?;
        // It takes the place of one that is counted as running.
        book.seats.went_otherwise(1);
        drop(book);
        // SAFETY: a ticket from the exit, used once.
        Some(unsafe { self.take(ticket) })
    }

    fn finished(&self, seat: &Seat) {
        seat.finished();
    }

    fn glance(&self) -> bool {
        // Does not touch the line that submitters write with every task.
        self.slots.is_full(self.exit.count()) && (!self.exit.is_shut() || self.has_work())
    }

    fn has_work(&self) -> bool {
        // By tickets, for that is what a push counts with a read-modify-write: the task itself may not be there yet. A stale count
        // of the exit errs to the safe side.
        self.exit.count() < self.entrance.count() && (!self.exit.is_shut() || self.may_start(&self.book.lock()))
    }

    fn has_more(&self) -> bool {
        self.exit.count() + 1 < self.entrance.count()
    }

    fn load(&self) -> Load {
        let book = self.book.lock();
        let read = || {
            let finished = book.seats.finished();
            let started = self.exit.count();
            Counts { finished, started, accepted: self.entrance.count() }
        };
        Counts::load(read, book.seats.len(), book.room, &self.peak)
    }

    fn set_limits(&self, running: Option<usize>, workers: usize) {
        let mut book = self.book.lock();
        book.running = running.map(|limit| limit as u64);
        book.room = (workers as u64).saturating_add(book.bound as u64);
        // ORDERING: Relaxed. Those who must not miss it are woken after this, through a lock.
        self.is_outgrown.store(book.room > self.slots.len() as u64, Ordering::Relaxed);
        self.renew_limit(&book);
        if running.is_some() {
            self.exit.shut();
        } else {
            self.exit.open();
        }
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

    fn leave(&self, seat: Seat) {
        self.peak.rests(&seat.busy);
        self.book.lock().seats.leave();
    }
}

impl<T> Drop for RingQueue<T> {
    fn drop(&mut self) {
        // If the drop of one panics, the list drops the others.
        drop(self.take_all());
    }
}
