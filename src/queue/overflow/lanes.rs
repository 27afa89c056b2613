//! The tasks beyond the bound that have a lane, or that the pool limits in number.

use std::collections::VecDeque;

use crate::queue::list::List;

/// One list for each lane in use. Lanes with tasks take turns, so one tenant's tasks do not wait for all of another's.
pub(super) struct Lanes<T> {
    /// By lane.
    lists: Vec<List<T>>,
    /// The lanes that have tasks, in the order of their turns.
    turns: VecDeque<usize>,
    len: usize,
}

impl<T> Lanes<T> {
    pub(super) fn new() -> Self {
        Lanes { lists: Vec::new(), turns: VecDeque::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, lane: usize, item: T) {
        if self.lists.len() <= lane {
            self.lists.resize_with(lane + 1, List::new);
        }
        if self.lists[lane].is_empty() {
            self.turns.push_back(lane);
        }
        self.lists[lane].push(item);
        self.len += 1;
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let lane = self.turns.pop_front()?;
        let item = self.lists[lane].pop()?;
        if !self.lists[lane].is_empty() {
            self.turns.push_back(lane);
        }
        self.len -= 1;
        Some(item)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.lists.iter().flat_map(List::iter)
    }

    pub(super) fn sweep_into(&mut self, is_dead: &mut dyn FnMut(&T) -> bool, swept: &mut Vec<T>) {
        let before = swept.len();
        self.lists.iter_mut().for_each(|list| list.sweep_into(is_dead, swept));
        self.turns.retain(|lane| !self.lists[*lane].is_empty());
        self.len -= swept.len() - before;
    }

    pub(super) fn drain_into(&mut self, drained: &mut Vec<T>) {
        self.lists.iter_mut().for_each(|list| list.drain_into(drained));
        self.turns.clear();
        self.len = 0;
    }
}
