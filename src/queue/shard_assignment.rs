//! The assignment of workers to shards.

use crate::sync::{Arc, AtomicUsize, Ordering};

/// The workers of each shard. Registering and unregistering keep it balanced: no shard has two workers more than another.
pub(super) struct ShardAssignment(Vec<Vec<Arc<Assigned>>>);

/// The shard of one worker. The worker reads it for each task, so it can be moved at any time.
pub(super) struct Assigned {
    shard: AtomicUsize,
    /// Its index in the list of its shard. Used only with exclusive access to the lists.
    index: AtomicUsize,
}

// ORDERING: Relaxed, here and below: both are written only with exclusive access to the lists, and any shard is valid for a
// worker.
impl Assigned {
    #[inline]
    pub(super) fn shard(&self) -> usize {
        self.shard.load(Ordering::Relaxed)
    }

    fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }
}

impl ShardAssignment {
    pub(super) fn new(shards: usize) -> Self {
        ShardAssignment(vec![Vec::new(); shards])
    }

    /// Assigns a new worker to the shard with the fewest workers. Takes time in proportion to the number of shards.
    pub(super) fn join(&mut self) -> Arc<Assigned> {
        let shard = (0..self.0.len()).min_by_key(|shard| self.at(*shard)).unwrap_or(0);
        let assigned = Arc::new(Assigned { shard: AtomicUsize::new(shard), index: AtomicUsize::new(self.at(shard)) });
        self.0[shard].push(Arc::clone(&assigned));
        assigned
    }

    /// Removes a worker. If its shard then has two fewer than the largest, one worker of that shard moves over. Takes time in
    /// proportion to the number of shards, independent of the number of workers.
    pub(super) fn leave(&mut self, assigned: &Assigned) {
        let (shard, index) = (assigned.shard(), assigned.index());
        self.0[shard].swap_remove(index);
        if let Some(moved) = self.0[shard].get(index) {
            moved.index.store(index, Ordering::Relaxed);
        }
        let most = (0..self.0.len()).max_by_key(|shard| self.at(*shard)).unwrap_or(shard);
        if self.at(most) > self.at(shard) + 1 {
            if let Some(mover) = self.0[most].pop() {
                mover.shard.store(shard, Ordering::Relaxed);
                mover.index.store(self.at(shard), Ordering::Relaxed);
                self.0[shard].push(mover);
            }
        }
    }

    /// The number of workers of one shard.
    pub(super) fn at(&self, shard: usize) -> usize {
        self.0[shard].len()
    }

    /// The number of all workers.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// However workers come and go, each one's index is right, and no shard has two more than another.
    #[test]
    fn workers_are_spread_evenly() {
        const SHARDS: usize = 4;
        let (mut assignment, mut workers) = (ShardAssignment::new(SHARDS), Vec::new());
        for round in 0..2_000_usize {
            // Up to 30 workers and down again, removed from changing positions.
            if round % 60 < 30 {
                workers.push(assignment.join());
            } else {
                assignment.leave(&workers.swap_remove(round * 7 % workers.len()));
            }
            let at: Vec<_> = (0..SHARDS).map(|shard| assignment.at(shard)).collect();
            assert!(at.iter().max() <= at.iter().min().map(|least| least + 1).as_ref(), "{at:?}");
            assert_eq!(assignment.len(), workers.len());
            assert!(
                workers.iter().all(|assigned| Arc::ptr_eq(assigned, &assignment.0[assigned.shard()][assigned.index()]))
            );
        }
    }

    /// D15: removing a worker does not walk the shard's workers.
    #[test]
    fn d15_leaving_a_shard_costs_the_same_however_many_are_there() {
        let mut assignment = ShardAssignment::new(2);
        let begun = Instant::now();
        let workers: Vec<_> = (0..200_000).map(|_| assignment.join()).collect();
        workers.iter().rev().for_each(|assigned| assignment.leave(assigned));
        assert_eq!(assignment.len(), 0);
        // Walking for each removal would take minutes.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
