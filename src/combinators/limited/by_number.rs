//! The tasks of a view, by number.

use std::collections::VecDeque;

/// An empty list keeps room for so many.
const KEPT: usize = 512;

/// A list in the order of numbers, of which most come in that order and leave in it. One in the middle is found by bisection, and leaves
/// a gap; the gaps never are more than what is there.
pub(super) struct ByNumber<T> {
    /// Neither the first nor the last is a gap.
    entries: VecDeque<(u64, Option<T>)>,
    len: usize,
}

impl<T> Default for ByNumber<T> {
    fn default() -> Self {
        ByNumber { entries: VecDeque::new(), len: 0 }
    }
}

impl<T> ByNumber<T> {
    #[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
    fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Of a number that is not there.
    #[inline]
    pub(super) fn insert(&mut self, number: u64, value: T) {
        self.len += 1;
        match self.entries.back() {
            Some((last, _)) if *last > number => self.insert_between(number, value),
            _ => self.entries.push_back((number, Some(value))),
        }
    }

    #[cold]
    fn insert_between(&mut self, number: u64, value: T) {
        let at = self.entries.partition_point(|(other, _)| *other < number);
        match &mut self.entries[at] {
            (other, gap) if *other == number => *gap = Some(value),
            _ => self.entries.insert(at, (number, Some(value))),
        }
    }

    fn find(&self, number: u64) -> Option<usize> {
        match self.entries.front() {
            Some((first, _)) if *first == number => Some(0),
            _ => self.entries.binary_search_by_key(&number, |(other, _)| *other).ok(),
        }
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        self.entries[self.find(number)?].1.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let at = self.find(number)?;
        self.entries[at].1.as_mut()
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.get(number).is_some()
    }

    /// The lowest number.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|(number, _)| *number)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        if self.first() == Some(number) {
            return self.pop_first().map(|(_, value)| value);
        }
        let at = self.find(number)?;
        let value = self.entries[at].1.take()?;
        self.len -= 1;
        self.trim();
        Some(value)
    }

    #[inline]
    pub(super) fn pop_first(&mut self) -> Option<(u64, T)> {
        let (first, value) = self.entries.pop_front()?;
        self.len -= 1;
        if self.len != self.entries.len() || self.len == 0 {
            self.trim();
        }
        value.map(|value| (first, value))
    }

    /// In the order of their numbers.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &T)> {
        self.entries.iter().filter_map(|(number, value)| Some((*number, value.as_ref()?)))
    }

    /// Takes out those that `is_taken`, in their order.
    pub(super) fn extract(&mut self, mut is_taken: impl FnMut(&T) -> bool) -> Vec<(u64, T)> {
        let mut taken = Vec::new();
        for (number, value) in &mut self.entries {
            if value.as_ref().is_some_and(&mut is_taken) {
                taken.extend(value.take().map(|value| (*number, value)));
            }
        }
        self.len -= taken.len();
        self.trim();
        taken
    }

    /// Closes gaps.
    fn trim(&mut self) {
        while let Some((_, None)) = self.entries.front() {
            self.entries.pop_front();
        }
        while let Some((_, None)) = self.entries.back() {
            self.entries.pop_back();
        }
        if self.entries.len() > 2 * self.len {
            self.entries.retain(|(_, value)| value.is_some());
        }
        if self.entries.is_empty() && self.entries.capacity() > KEPT {
            self.entries = VecDeque::new();
        }
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Against a map, in an order drawn at random.
    #[test]
    fn it_is_a_map_by_number() {
        let (mut list, mut map, mut seed) = (ByNumber::default(), BTreeMap::new(), 1_u64);
        let mut random = |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % end
        };
        for round in 0..20_000_u64 {
            let number = round / 4 + random(8);
            match random(5) {
                0 | 1 if !map.contains_key(&number) => {
                    list.insert(number, round);
                    map.insert(number, round);
                }
                2 => assert_eq!(list.remove(number), map.remove(&number)),
                3 => assert_eq!(list.pop_first(), map.pop_first()),
                4 if random(50) == 0 => {
                    let odd: Vec<_> =
                        map.iter().map(|(n, value)| (*n, *value)).filter(|(_, value)| value % 2 == 1).collect();
                    map.retain(|_, value| *value % 2 == 0);
                    assert_eq!(list.extract(|value| value % 2 == 1), odd);
                }
                _ => {
                    assert_eq!(list.get(number), map.get(&number));
                    assert_eq!(list.get_mut(number), map.get_mut(&number));
                    assert_eq!(list.contains(number), map.contains_key(&number));
                }
            }
            assert_eq!((list.len(), list.first()), (map.len(), map.keys().next().copied()));
            assert!(list.iter().map(|(n, _)| n).eq(map.keys().copied()));
            assert!(list.is_empty() == map.is_empty() && list.entries.len() <= 2 * list.len());
        }
    }
}
