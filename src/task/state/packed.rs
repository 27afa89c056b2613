//! A value of any size, in a place of fixed size.
//!
//! A task's state lives as long as its handle, and as long as a stale entry in the queue. So a large input or result has an allocation
//! of its own, which is freed when the value is taken out.

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit, align_of, size_of};

use crate::task::closure::INLINE_BYTES;

type Words = [usize; INLINE_BYTES / size_of::<usize>()];

/// A `T`: stored inline if it is small, as a [`Task`](crate::Task) stores its closure, and in a box otherwise.
pub(super) struct Packed<T> {
    words: MaybeUninit<Words>,
    owns: PhantomData<T>,
}

impl<T> Packed<T> {
    const FITS: bool = size_of::<T>() <= size_of::<Words>() && align_of::<T>() <= align_of::<Words>();

    pub(super) fn new(value: T) -> Self {
        let mut words = MaybeUninit::<Words>::uninit();
        if Self::FITS {
            // SAFETY: `FITS` says that a `T` fits size and alignment of the words, which hold no value yet.
            unsafe { words.as_mut_ptr().cast::<T>().write(value) };
        } else {
            // SAFETY: a thin pointer fits the words, which hold no value yet.
            unsafe { words.as_mut_ptr().cast::<Box<T>>().write(Box::new(value)) };
        }
        Packed { words, owns: PhantomData }
    }

    pub(super) fn into_inner(self) -> T {
        let this = ManuallyDrop::new(self);
        let words = this.words.as_ptr();
        if Self::FITS {
            // SAFETY: `new` wrote a `T` there. `ManuallyDrop` prevents a second drop.
            unsafe { words.cast::<T>().read() }
        } else {
            // SAFETY: as above, for a box.
            *unsafe { words.cast::<Box<T>>().read() }
        }
    }
}

impl<T> Drop for Packed<T> {
    fn drop(&mut self) {
        let words = self.words.as_mut_ptr();
        if Self::FITS {
            // SAFETY: `new` wrote a `T` there, and it was not moved out: `into_inner` runs no drop.
            unsafe { words.cast::<T>().drop_in_place() };
        } else {
            // SAFETY: as above, for a box.
            unsafe { words.cast::<Box<T>>().drop_in_place() };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A value of any size and alignment comes out as it went in, and is dropped once.
    #[test]
    fn a_value_of_any_size_is_kept() {
        #[repr(align(32))]
        struct Aligned(Arc<()>);

        let living = Arc::new(());
        let small = Packed::new((1_u8, Arc::clone(&living)));
        let large = Packed::new(([7_u8; 1000], Arc::clone(&living)));
        let aligned = Packed::new(Aligned(Arc::clone(&living)));
        let nothing = Packed::new(());
        const { assert!(Packed::<Words>::FITS && !Packed::<(Words, u8)>::FITS && !Packed::<Aligned>::FITS) };
        assert_eq!(Arc::strong_count(&living), 4);
        assert_eq!(small.into_inner().0, 1);
        assert_eq!(Arc::strong_count(&living), 3);
        assert_eq!(large.into_inner().0, [7; 1000]);
        let Aligned(inner) = aligned.into_inner();
        nothing.into_inner();
        drop((inner, Packed::new((2_u8, Arc::clone(&living))), Packed::new(([0_u8; 99], Arc::clone(&living)))));
        assert_eq!(Arc::strong_count(&living), 1);
    }
}
