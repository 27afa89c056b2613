//! The names of tasks that have histograms of their own: a limited number, each with a number that does not change.

use std::array;
use std::sync::{Arc, OnceLock};

use crate::sync::Mutex;

/// How many names there can be.
pub(super) const MOST: usize = 64;
/// The number of all other names.
pub(super) const OTHER: usize = MOST;
/// What they are called.
pub(super) const OTHER_NAME: &str = "other";

/// Twice as many places as names, so that a name is found near the place of its hash.
const PLACES: usize = 2 * MOST;

/// A hash table that only grows. Finding a name takes no lock.
pub(super) struct Names {
    places: [OnceLock<(Arc<str>, usize)>; PLACES],
    /// How many names there are. The lock is held to add one.
    count: Mutex<usize>,
}

impl Default for Names {
    fn default() -> Self {
        Names { places: array::from_fn(|_| OnceLock::new()), count: Mutex::new(0) }
    }
}

/// FNV-1a. Names come from the program, so no hash needs to resist an attacker.
fn hash(name: &str) -> usize {
    name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
        as usize
}

impl Names {
    /// The number of a name, which gets one if there is room.
    pub(super) fn number(&self, name: &str) -> usize {
        if name == OTHER_NAME {
            return OTHER;
        }
        let start = hash(name);
        // Half of the places stay empty, so there is one.
        for offset in 0..PLACES {
            let place = &self.places[(start + offset) % PLACES];
            match place.get().or_else(|| self.add(place, name)) {
                Some((other, number)) if **other == *name => return *number,
                Some(_) => {}
                None => return OTHER,
            }
        }
        OTHER
    }

    /// Puts a name into an empty place, unless another thread does so at the same moment. `None` if there are enough names.
    #[cold]
    fn add<'p>(&self, place: &'p OnceLock<(Arc<str>, usize)>, name: &str) -> Option<&'p (Arc<str>, usize)> {
        let mut count = self.count.lock();
        if place.get().is_none() && *count < MOST {
            let _ = place.set((name.into(), *count));
            *count += 1;
        }
        place.get()
    }

    /// The names that have a number of their own.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.places.iter().filter_map(OnceLock::get).map(|(name, number)| (name, *number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_late_ones_share_one() {
        let names = Names::default();
        let name = |number: usize| format!("task {number}");
        for round in 0..2 {
            for number in 0..MOST {
                assert_eq!(names.number(&name(number)), number, "in round {round}");
            }
            assert_eq!(names.number(OTHER_NAME), OTHER);
        }
        assert_eq!(names.number(&name(MOST)), OTHER);
        assert_eq!(names.number(&name(0)), 0);
        assert_eq!(names.iter().count(), MOST);
        assert!(names.iter().all(|(text, number)| **text == *name(number)));
    }

    #[test]
    fn threads_agree_on_the_numbers() {
        let names = Names::default();
        let numbers = || (0..MOST + 9).map(|n| names.number(&n.to_string())).collect::<Vec<_>>();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(numbers)).collect();
            let found: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert!(found.iter().all(|numbers| *numbers == found[0]), "{found:?}");
        });
    }
}
