//! The list of the idle workers of one pool, newest last. Every operation takes constant time, wherever in the list the worker is.
//!
//! A thread that wakes a worker takes the newest; a dismissal takes the oldest; a worker with a reason to stay awake removes itself.
//! Workers that are kept for the minimum are on a second list as well: the oldest of them is asked whether it may exit. Some pools have
//! thousands of workers, and every wake-up takes the lock of this list, so no operation walks along it.

use crate::sync::Arc;

use super::Parker;

/// No worker has this number.
const NO_WORKER: usize = usize::MAX;

/// A list whose entries have small numbers, linked by index in a vector. Each operation accesses at most three entries.
struct List<T> {
    /// By number; `None` for numbers that are not on the list.
    links: Vec<Option<Link<T>>>,
    oldest: usize,
    newest: usize,
    /// How many entries were accessed.
    #[cfg(test)]
    looks: usize,
}

struct Link<T> {
    item: T,
    older: usize,
    newer: usize,
}

impl<T> List<T> {
    fn with_capacity(numbers: usize) -> Self {
        List {
            links: Vec::with_capacity(numbers),
            oldest: NO_WORKER,
            newest: NO_WORKER,
            #[cfg(test)]
            looks: 0,
        }
    }

    fn at(&mut self, number: usize) -> Option<&mut Option<Link<T>>> {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        self.links.get_mut(number)
    }

    /// Appends an entry. Its number is not on the list yet.
    fn push(&mut self, number: usize, item: T) {
        if self.links.len() <= number {
            self.links.resize_with(number + 1, || None);
        }
        let older = std::mem::replace(&mut self.newest, number);
        if let Some(link) = self.at(number) {
            debug_assert!(link.is_none(), "number {number} is on the list");
            *link = Some(Link { item, older, newer: NO_WORKER });
        }
        match self.at(older) {
            Some(Some(older)) => older.newer = number,
            _ => self.oldest = number,
        }
    }

    /// Removes an entry, if it is on the list.
    fn take(&mut self, number: usize) -> Option<T> {
        let Link { item, older, newer } = self.at(number)?.take()?;
        match self.at(older) {
            Some(Some(older)) => older.newer = newer,
            _ => self.oldest = newer,
        }
        match self.at(newer) {
            Some(Some(newer)) => newer.older = older,
            _ => self.newest = older,
        }
        Some(item)
    }
}

/// See the [module](self). Workers are identified by their numbers: no two living ones have the same, and none ends while it is on the
/// list.
pub(super) struct Idle {
    all: List<Arc<Parker>>,
    kept: List<()>,
}

/// A worker that was removed from the list.
pub(super) struct Taken {
    pub(super) parker: Arc<Parker>,
    pub(super) was_kept: bool,
}

impl Idle {
    /// Has room for workers with numbers below `numbers`; others allocate.
    pub(super) fn with_capacity(numbers: usize) -> Self {
        Idle { all: List::with_capacity(numbers), kept: List::with_capacity(numbers) }
    }

    /// Appends a worker. `is_kept` says whether it is kept for the minimum.
    pub(super) fn push(&mut self, parker: &Arc<Parker>, is_kept: bool) {
        self.all.push(parker.worker(), Arc::clone(parker));
        if is_kept {
            self.kept.push(parker.worker(), ());
        }
    }

    /// Removes this worker, if it is on the list.
    pub(super) fn take(&mut self, number: usize) -> Option<Taken> {
        let parker = self.all.take(number)?;
        Some(Taken { parker, was_kept: self.kept.take(number).is_some() })
    }

    pub(super) fn take_newest(&mut self) -> Option<Taken> {
        self.take(self.all.newest)
    }

    pub(super) fn take_oldest(&mut self) -> Option<Taken> {
        self.take(self.all.oldest)
    }

    pub(super) fn take_oldest_kept(&mut self) -> Option<Taken> {
        self.take(self.kept.oldest)
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use super::*;

    impl Idle {
        fn looks(&self) -> usize {
            self.all.looks + self.kept.looks
        }

        fn check(&self, expected: &[(usize, bool)]) {
            self.all.check(expected.iter().map(|(number, _)| *number).collect());
            self.kept.check(expected.iter().filter(|(_, is_kept)| *is_kept).map(|(number, _)| *number).collect());
        }
    }

    impl<T> List<T> {
        fn check(&self, expected: Vec<usize>) {
            let link = |number: &usize| self.links.get(*number).and_then(Option::as_ref);
            let some = |number: usize| Some(number).filter(|number| *number != NO_WORKER);
            let forwards = std::iter::successors(some(self.oldest), |number| some(link(number)?.newer));
            assert!(forwards.eq(expected.iter().copied()));
            let backwards = std::iter::successors(some(self.newest), |number| some(link(number)?.older));
            assert!(backwards.eq(expected.iter().rev().copied()));
            assert_eq!(self.links.iter().flatten().count(), expected.len());
        }
    }

    /// The list behaves as a vector that is searched, for every order in which a few workers come and go.
    #[test]
    fn a_list_of_idle_workers_is_in_order() {
        const WORKERS: usize = 5;
        let sleepers: Vec<_> = (0..WORKERS).map(Parker::for_current).collect();
        let mut random = 7_u64;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        let (mut idle, mut expected) = (Idle::with_capacity(0), Vec::new());
        for _ in 0..20_000 {
            let number = next(WORKERS);
            let place = expected.iter().position(|(other, _)| *other == number);
            let (taken, place) = match next(5) {
                0 => (idle.take_newest(), expected.len().checked_sub(1)),
                1 => (idle.take_oldest(), (!expected.is_empty()).then_some(0)),
                2 => (idle.take_oldest_kept(), expected.iter().position(|(_, is_kept)| *is_kept)),
                _ if place.is_some() => (idle.take(number), place),
                _ => {
                    let is_kept = next(2) == 0;
                    idle.push(&sleepers[number], is_kept);
                    expected.push((number, is_kept));
                    (None, None)
                }
            };
            let taken = taken.map(|taken| (taken.parker.worker(), taken.was_kept));
            assert_eq!(taken, place.map(|place| expected.remove(place)));
            idle.check(&expected);
        }
    }

    /// D15: removing a worker takes the same number of steps from anywhere on the list, however long it is.
    #[test]
    fn d15_taking_an_idle_worker_costs_the_same_however_many_are_idle() {
        let most_looks = |workers: usize| {
            let mut idle = Idle::with_capacity(0);
            let mut most = 0;
            let mut counted = |idle: &mut Idle, operation: &mut dyn FnMut(&mut Idle)| {
                let before = idle.looks();
                operation(idle);
                most = most.max(idle.looks() - before);
            };
            for number in 0..workers {
                let parker = Parker::for_current(number);
                counted(&mut idle, &mut |idle| idle.push(&parker, number % 2 == 0));
            }
            // From the middle, the old end, the new end, and the oldest of the kept.
            for number in workers / 4..workers / 2 {
                counted(&mut idle, &mut |idle| assert!(idle.take(number).is_some()));
            }
            for _ in 0..workers / 4 {
                counted(&mut idle, &mut |idle| assert!(idle.take_oldest().is_some()));
                counted(&mut idle, &mut |idle| assert!(idle.take_newest().is_some()));
            }
            for _ in 0..workers / 8 {
                counted(&mut idle, &mut |idle| assert!(idle.take_oldest_kept().is_some_and(|taken| taken.was_kept)));
            }
            most
        };
        assert_eq!(most_looks(16), 6);
        assert_eq!(most_looks(65_536), 6);
    }
}
