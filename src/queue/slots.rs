//! The memory of a ring: slots that ticket holders fill and empty in turn.

use std::mem::MaybeUninit;

use crate::sync::{AtomicU64, Backoff, Ordering, UnsafeCell};

/// Ticket `t` belongs to slot `t mod n`, in lap `t / n`. A slot's stamp says what the slot waits for: `2 * lap` means empty, for
/// the ticket of this lap to put its value; `2 * lap + 1` means that it holds that value. Taking the value makes it empty for
/// the next lap.
///
/// Dmitry Vyukov's bounded queue without its two counters, which the user of this type has.
pub(super) struct Slots<T> {
    slots: Box<[Slot<T>]>,
    /// The base-2 logarithm of `n`.
    shift: u32,
}

/// At least one cache line, so that a submitter that fills a slot does not disturb a worker that empties the slot before it.
#[repr(align(64))]
struct Slot<T> {
    stamp: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a value is written by one thread and read by another, so `T` must be `Send`. No two threads access a value at the same
// time: `put` and `take` have one caller each per ticket, and the stamp hands the slot over between them.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    /// Allocates at least `count` slots; `None` if there is not enough memory.
    pub(super) fn new(count: usize) -> Option<Self> {
        let count = count.checked_next_power_of_two()?;
        let mut slots = Vec::new();
        slots.try_reserve_exact(count).ok()?;
        slots.resize_with(count, || Slot { stamp: AtomicU64::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) });
        Some(Slots { slots: slots.into_boxed_slice(), shift: count.trailing_zeros() })
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot of a ticket, and the stamp that says that it is empty for this ticket.
    fn slot(&self, ticket: u64) -> (&Slot<T>, u64) {
        #[expect(clippy::cast_possible_truncation)] // the mask is less than `len`
        let place = ticket as usize & (self.slots.len() - 1);
        (&self.slots[place], (ticket >> self.shift) * 2)
    }

    /// Whether the slot holds the value of `ticket`.
    pub(super) fn is_full(&self, ticket: u64) -> bool {
        let (slot, free) = self.slot(ticket);
        // ORDERING: Relaxed. A hint; `take` synchronises.
        slot.stamp.load(Ordering::Relaxed) == free + 1
    }

    /// Puts the value that `make` returns into the ticket's slot. `make` must not panic. Waits for a thread that is just taking
    /// the value of the lap before.
    ///
    /// # Safety
    /// No other call ever puts with this ticket.
    pub(super) unsafe fn put(&self, ticket: u64, make: impl FnOnce() -> T) {
        let (slot, free) = self.slot(ticket);
        let backoff = Backoff::new();
        // ORDERING: Acquire pairs with the Release in `take`: the previous value has been read.
        while slot.stamp.load(Ordering::Acquire) != free {
            backoff.snooze();
        }
        slot.value.with_mut(|place| {
            // SAFETY: the stamp says that the slot is empty and waits for this ticket, whose only holder is the caller. No
            // thread reads the value before the stamp changes below.
            unsafe { (*place).write(make()) };
        });
        // ORDERING: Release pairs with the Acquire in `take`.
        slot.stamp.store(free + 1, Ordering::Release);
    }

    /// Takes the ticket's value out of its slot. Waits for a thread that is just putting it in.
    ///
    /// # Safety
    /// No other call ever takes with this ticket, and a thread has put or will put with it.
    pub(super) unsafe fn take(&self, ticket: u64) -> T {
        let (slot, free) = self.slot(ticket);
        let backoff = Backoff::new();
        // ORDERING: Acquire pairs with the Release in `put`: the value has been written.
        while slot.stamp.load(Ordering::Acquire) != free + 1 {
            backoff.snooze();
        }
        let value = slot.value.with(|place| {
            // SAFETY: the stamp says that this ticket's value is there, and only the caller may take it. No thread writes the
            // slot before the stamp changes below.
            unsafe { (*place).assume_init_read() }
        });
        // ORDERING: Release pairs with the Acquire in `put` of the next lap.
        slot.stamp.store(free + 2, Ordering::Release);
        value
    }
}
