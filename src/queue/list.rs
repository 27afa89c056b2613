//! A first-in-first-out list of tasks.

use std::collections::VecDeque;
use std::mem;

/// An empty list keeps a buffer of up to this many bytes. Filling a larger one again takes as many pushes, which pay for freeing
/// it.
const KEPT_BYTES: usize = 64 * 1024;

/// First in, first out. Grows with its contents, and frees the buffer of a burst when it becomes empty.
pub(super) struct List<T>(VecDeque<T>);

impl<T> List<T> {
    pub(super) fn new() -> Self {
        List(VecDeque::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, item: T) {
        self.0.push_back(item);
    }

    /// Inserts an item as the oldest.
    pub(super) fn push_oldest(&mut self, item: T) {
        self.0.push_front(item);
    }

    /// Removes and returns the oldest item.
    pub(super) fn pop(&mut self) -> Option<T> {
        let first = self.0.pop_front();
        self.free_if_empty();
        first
    }

    /// The oldest item.
    pub(super) fn first(&self) -> Option<&T> {
        self.0.front()
    }

    #[inline]
    fn free_if_empty(&mut self) {
        if self.0.is_empty() && self.0.capacity() > KEPT_BYTES / size_of::<T>().max(1) {
            self.0 = VecDeque::new();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// Moves the dead items to the end of `others`; the rest keep their order.
    pub(super) fn sweep_into(&mut self, is_dead: &mut dyn FnMut(&T) -> bool, others: &mut Vec<T>) {
        for _ in 0..self.0.len() {
            match self.0.pop_front() {
                Some(item) if is_dead(&item) => others.push(item),
                Some(item) => self.0.push_back(item),
                None => break,
            }
        }
        self.free_if_empty();
    }

    /// Moves all items to the end of `others`.
    pub(super) fn drain_into(&mut self, others: &mut Vec<T>) {
        others.extend(mem::take(&mut self.0));
    }
}
