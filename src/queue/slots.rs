//! The memory of a ring: slots that ticket holders fill and empty in turn.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::sync::{AtomicU64, Backoff, IS_CHECKED, Ordering, UnsafeCell};

/// Bytes that move between processors together.
const LINE: usize = 64;

/// Consecutive tickets get places in different lines of a block of so many places, where slots are not whole lines.
const BLOCK: usize = if IS_CHECKED { 4 } else { 32 };
/// So many consecutive tickets.
const APART: usize = if IS_CHECKED { 2 } else { 8 };

/// Ticket `t` belongs to slot `t mod n`, in lap `t / n`. A slot's stamp says what the slot waits for: `2 * lap` means empty, for
/// the ticket of this lap to put its value; `2 * lap + 1` means that it holds that value. Taking the value makes it empty for
/// the next lap.
///
/// Dmitry Vyukov's bounded queue without its two counters, which the user of this type has.
///
/// The memory is zeroed when it is allocated, which is a valid empty slot, and not written before its first use: the system provides
/// pages as they are used.
pub(super) struct Slots<T> {
    /// The first slot. It is at the start of a line.
    first: NonNull<Slot<T>>,
    /// The base-2 logarithm of `n`.
    shift: u32,
    /// `n - 1`.
    mask: usize,
    /// Freed with the slots.
    _memory: Memory,
}

#[repr(C)]
struct Slot<T> {
    stamp: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a value is written by one thread and read by another, so `T` must be `Send`. No two threads access a value at the same
// time: `put` and `take` have one caller each per ticket, and the stamp hands the slot over between them.
unsafe impl<T: Send> Sync for Slots<T> {}
// SAFETY: the slots own their memory, in which there are values of type `T`.
unsafe impl<T: Send> Send for Slots<T> {}

/// The distances between slots.
impl<T> Slots<T> {
    const SIZE: usize = size_of::<Slot<T>>();

    /// The bytes from a slot to the next. A slot of more than half a line gets a whole one, so that a submitter that fills it does not
    /// disturb a worker that empties the slot before it. Smaller slots share lines: a long queue then moves fewer of them. So do slots
    /// of more than a line, which would waste nearly as much as they hold.
    const STRIDE: usize = if Self::SIZE > LINE / 2 && Self::SIZE < LINE { LINE } else { Self::SIZE };

    /// Whether neighbours share lines.
    const SHARES_LINES: bool = Self::STRIDE % LINE != 0;

    /// The place of the slot with this index. Where neighbours share lines, a submitter and the worker that is fewer than [`APART`]
    /// tickets behind it would write the same lines in turn. So tickets that close to each other get places in different lines.
    fn place(index: usize) -> usize {
        if !Self::SHARES_LINES {
            return index;
        }
        let (block, within) = (index & !(BLOCK - 1), index & (BLOCK - 1));
        block + within % APART * (BLOCK / APART) + within / APART
    }

    /// How many places there must be for `count` slots, which is a power of two.
    fn places(count: usize) -> usize {
        if Self::SHARES_LINES { count.max(BLOCK) } else { count }
    }
}

impl<T> Slots<T> {
    /// Allocates at least `count` slots; `None` if there is not enough memory.
    pub(super) fn new(count: usize) -> Option<Self> {
        let count = count.checked_next_power_of_two()?;
        let bytes = Self::places(count).checked_mul(Self::STRIDE)?;
        let memory = Memory::zeroed(bytes, align_of::<Slot<T>>())?;
        let slots = Slots {
            first: memory.first_line().cast(),
            shift: count.trailing_zeros(),
            mask: count - 1,
            _memory: memory,
        };
        if IS_CHECKED {
            // A checker's primitives are not valid as zeros.
            for place in 0..Self::places(count) {
                let slot = Slot { stamp: AtomicU64::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) };
                // SAFETY: `at` returns the address of a place, and no other thread knows it yet.
                unsafe { slots.at(place).write(slot) };
            }
        }
        Some(slots)
    }

    pub(super) fn len(&self) -> usize {
        self.mask + 1
    }

    /// The address of the slot in this place.
    ///
    /// # Safety
    /// There is such a place.
    unsafe fn at(&self, place: usize) -> NonNull<Slot<T>> {
        // SAFETY: the memory has `STRIDE` bytes for each place, from `first` on.
        unsafe { self.first.byte_add(place * Self::STRIDE) }
    }

    /// The slot of a ticket, and the stamp that says that it is empty for this ticket.
    fn slot(&self, ticket: u64) -> (&Slot<T>, u64) {
        #[expect(clippy::cast_possible_truncation)] // the mask is less than `len`
        let index = ticket as usize & self.mask;
        // SAFETY: the index is less than `len`, so there is such a place: `place` maps blocks of indices to themselves, and `places`
        // counts whole blocks. The place holds a slot, since zeros are one (or `new` has written one). Its fields change through
        // shared references only.
        let slot = unsafe { self.at(Self::place(index)).as_ref() };
        (slot, (ticket >> self.shift) * 2)
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

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        if IS_CHECKED {
            for place in 0..Self::places(self.len()) {
                // SAFETY: `new` has written a slot there, which is not used any more. Its value, if any, is not dropped, as
                // everywhere else.
                unsafe { self.at(place).drop_in_place() };
            }
        }
    }
}

/// Zeroed memory.
struct Memory {
    bytes: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// Allocates at least `bytes` bytes from the start of a line on; `None` if there is not enough memory.
    fn zeroed(bytes: usize, align: usize) -> Option<Self> {
        // Not with the alignment of a line: an allocator may clear aligned memory by hand, which uses all of its pages. A line more
        // costs less.
        let layout = Layout::from_size_align(bytes.checked_add(LINE)?, align).ok()?;
        // SAFETY: the size is not zero.
        let bytes = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Memory { bytes, layout })
    }

    /// The start of the first line, which is aligned as the memory is, too.
    fn first_line(&self) -> NonNull<u8> {
        let offset = self.bytes.align_offset(LINE);
        debug_assert!(offset < LINE, "a byte can be found");
        // SAFETY: there is a line more than was asked for.
        unsafe { self.bytes.byte_add(offset) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc(self.bytes.as_ptr(), self.layout) };
    }
}
