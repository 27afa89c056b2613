//! The memory of a ring: slots that are filled and emptied in turn, each by the holder of a ticket.

use std::mem::MaybeUninit;

use crate::sync::{AtomicU64, Backoff, Ordering, UnsafeCell};

/// Ticket `t` belongs to slot `t mod n`, in lap `t / n`. A slot's stamp says which ticket it waits for: `2 * lap` that it is
/// free for the ticket of this lap, `2 * lap + 1` that it holds that ticket's value. After the value is taken it is free for
/// the next lap.
///
/// Dmitry Vyukov's bounded queue, without its two counters: whoever uses it has those.
pub(super) struct Slots<T> {
    slots: Box<[Slot<T>]>,
    /// `n` is two to this power.
    shift: u32,
}

/// A cache line or more, so that a submitter that fills one does not disturb the worker that empties the one before.
#[repr(align(64))]
struct Slot<T> {
    stamp: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a value is written by one thread and read by another, so `T` must be `Send`. No two threads touch a value at a
// time: `put` and `take` have the stamps' handshake between them, and one caller each.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    /// At least `count` slots; `None` if there is no memory for them.
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

    /// The slot of a ticket, and the stamp with which it is free for it.
    fn slot(&self, ticket: u64) -> (&Slot<T>, u64) {
        #[expect(clippy::cast_possible_truncation)] // the mask is less than `len`
        let place = ticket as usize & (self.slots.len() - 1);
        (&self.slots[place], (ticket >> self.shift) * 2)
    }

    /// Whether the value of `ticket` is there to be taken.
    pub(super) fn is_full(&self, ticket: u64) -> bool {
        let (slot, free) = self.slot(ticket);
        // ORDERING: Relaxed. A look; `take` synchronises.
        slot.stamp.load(Ordering::Relaxed) == free + 1
    }

    /// Puts the value that `make` makes, and must not fail to make, into its slot. Waits for whoever is just taking the value of the lap before.
    ///
    /// # Safety
    /// Nobody else ever puts with this ticket.
    pub(super) unsafe fn put(&self, ticket: u64, make: impl FnOnce() -> T) {
        let (slot, free) = self.slot(ticket);
        let backoff = Backoff::new();
        // ORDERING: Acquire pairs with the Release in `take`: the value before has been read.
        while slot.stamp.load(Ordering::Acquire) != free {
            backoff.snooze();
        }
        slot.value.with_mut(|place| {
            // SAFETY: the stamp says that the slot is empty and waits for this ticket, whose only holder is the caller.
            // Nobody reads before the stamp changes below.
            unsafe { (*place).write(make()) };
        });
        // ORDERING: Release pairs with the Acquire in `take`.
        slot.stamp.store(free + 1, Ordering::Release);
    }

    /// Takes a value out. Waits for whoever is just putting it in.
    ///
    /// # Safety
    /// Nobody else ever takes with this ticket, and somebody puts with it.
    pub(super) unsafe fn take(&self, ticket: u64) -> T {
        let (slot, free) = self.slot(ticket);
        let backoff = Backoff::new();
        // ORDERING: Acquire pairs with the Release in `put`: the value has been written.
        while slot.stamp.load(Ordering::Acquire) != free + 1 {
            backoff.snooze();
        }
        let value = slot.value.with(|place| {
            // SAFETY: the stamp says that this ticket's value is there, and only the caller may take it. Nobody writes
            // before the stamp changes below.
            unsafe { (*place).assume_init_read() }
        });
        // ORDERING: Release pairs with the Acquire in `put` of the next lap.
        slot.stamp.store(free + 2, Ordering::Release);
        value
    }
}
