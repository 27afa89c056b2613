//! Tasks that wait, in the order in which they came.

use std::collections::VecDeque;
use std::mem;

/// An empty list keeps room for so many bytes of tasks. It takes as many pushes to need more again, so freeing the rest
/// is paid for.
const KEPT_BYTES: usize = 64 * 1024;

/// First in, first out. Grows with what is in it, and gives the room that a burst took back when it is empty.
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

    /// Makes this the oldest.
    pub(super) fn put_back(&mut self, item: T) {
        self.0.push_front(item);
    }

    /// The oldest.
    pub(super) fn pop(&mut self) -> Option<T> {
        let first = self.0.pop_front();
        self.give_back();
        first
    }

    #[inline]
    fn give_back(&mut self) {
        if self.0.is_empty() && self.0.capacity() > KEPT_BYTES / size_of::<T>().max(1) {
            self.0 = VecDeque::new();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// Moves those that are dead to the end of `others`.
    pub(super) fn sweep_into(&mut self, is_dead: &mut dyn FnMut(&T) -> bool, others: &mut Vec<T>) {
        for _ in 0..self.0.len() {
            match self.0.pop_front() {
                Some(item) if is_dead(&item) => others.push(item),
                Some(item) => self.0.push_back(item),
                None => break,
            }
        }
        self.give_back();
    }

    /// Moves all to the end of `others`.
    pub(super) fn drain_into(&mut self, others: &mut Vec<T>) {
        others.extend(mem::take(&mut self.0));
    }
}
