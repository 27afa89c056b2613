//! Iterators that have all their items at hand, so that a pool may take several before it announces the first.

use std::any::TypeId;
use std::iter::Copied;
use std::marker::PhantomData;
use std::ops::{Range, RangeInclusive};
use std::{array, collections, mem, slice, vec};

use super::accepts::{Accepts, Item, Takes};
use crate::queue::{LazyBatch, LazyItem};

/// The most items that are taken at a time. Larger batches would save next to nothing, and keep workers from the first item for longer.
pub(super) const MOST_AT_A_TIME: usize = 64;

/// Whether `next` of an iterator of type `I` neither blocks nor runs user code, and its `size_hint` is right. So it is for the types below,
/// whose items are of type `X`.
pub(super) fn are_at_hand<I, X: 'static>() -> bool {
    let this = id_of::<I>();
    macro_rules! is_array {
        ($($length:literal)*) => { $(this == id_of::<array::IntoIter<X, $length>>())||* };
    }
    this == id_of::<vec::IntoIter<X>>()
        || this == id_of::<vec::Drain<'_, X>>()
        || this == id_of::<collections::vec_deque::IntoIter<X>>()
        || this == id_of::<Copied<slice::Iter<'_, X>>>()
        || this == id_of::<Range<X>>()
        || this == id_of::<RangeInclusive<X>>()
        || is_array!(2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
}

/// A number for a type, the same for types that differ in lifetimes only.
fn id_of<T: ?Sized>() -> TypeId {
    trait HasId {
        fn id(&self) -> TypeId
        where
            Self: 'static;
    }
    impl<T: ?Sized> HasId for PhantomData<T> {
        fn id(&self) -> TypeId
        where
            Self: 'static,
        {
            TypeId::of::<T>()
        }
    }
    let this: &dyn HasId = &PhantomData::<T>;
    // SAFETY: only the lifetime bound of the trait object changes. `id` reads nothing that lives for less than `'static`: it does not use
    // the value, and a type's number does not depend on lifetimes.
    let this: &(dyn HasId + 'static) = unsafe { mem::transmute(this) };
    this.id()
}

/// The next items of an iterator as a batch of tasks for a pool.
pub(super) struct ReadyItems<'a, P, I> {
    items: &'a mut I,
    pool: PhantomData<fn() -> P>,
    /// How many more tasks may be taken.
    most: usize,
}

impl<'a, P, I> ReadyItems<'a, P, I> {
    /// The items must be [at hand](are_at_hand).
    pub(super) fn new(items: &'a mut I) -> Self {
        ReadyItems { items, pool: PhantomData, most: MOST_AT_A_TIME }
    }
}

impl<P, I> LazyItem<Item<P>> for ReadyItems<'_, P, I>
where
    I: Iterator,
    I::Item: Send + 'static,
    P: Accepts<I::Item>,
{
    #[inline]
    fn build(&mut self) -> Item<P> {
        self.most -= 1;
        match self.items.next() {
            Some(x) => P::Runner::plain(x),
            None => unreachable!("the iterator said that there are more"),
        }
    }
}

impl<P, I> LazyBatch<Item<P>> for ReadyItems<'_, P, I>
where
    I: Iterator,
    I::Item: Send + 'static,
    P: Accepts<I::Item>,
{
    #[inline]
    fn remaining(&self) -> usize {
        self.items.size_hint().0.min(self.most)
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use super::*;

    fn is_batch<I: IntoIterator<Item: 'static>>(_all: I) -> bool {
        are_at_hand::<I::IntoIter, I::Item>()
    }

    #[test]
    fn only_iterators_without_user_code_are_at_hand() {
        let mut vec = vec![7_u8, 8];
        assert!(is_batch(vec.clone()) && is_batch(vec.clone().into_boxed_slice()) && is_batch(vec.iter().copied()));
        assert!(is_batch([7_u8, 8]) && is_batch(0..9_u8) && is_batch(0..=9_u8) && is_batch(vec.drain(..)));
        assert!(is_batch(collections::VecDeque::from([7_u8])));
        assert!(!is_batch([String::new()].iter().cloned()) && !is_batch(vec.into_iter().map(|n| n + 1)));
        assert!(!is_batch(std::sync::mpsc::channel::<u8>().1) && !is_batch((0..9_u8).filter(|_| true)));
        let boxed: Box<dyn Iterator<Item = u8>> = Box::new(0..9);
        assert!(!is_batch(boxed));
    }
}
