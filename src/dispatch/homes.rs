//! Which worker belongs to which shard.

use crate::sync::{Arc, AtomicUsize, Ordering};

/// The workers of each shard. Whoever comes or goes, no shard has two more than another. A worker's home is a number that
/// it reads by itself, so it can be moved at any time.
pub(super) struct Homes(Vec<Vec<Arc<AtomicUsize>>>);

impl Homes {
    pub(super) fn new(shards: usize) -> Self {
        Homes(vec![Vec::new(); shards])
    }

    /// A home for a new worker: the shard with the fewest. Takes time in proportion to the number of shards.
    pub(super) fn join(&mut self) -> Arc<AtomicUsize> {
        let shard = (0..self.0.len()).min_by_key(|shard| self.at(*shard)).unwrap_or(0);
        let home = Arc::new(AtomicUsize::new(shard));
        self.0[shard].push(Arc::clone(&home));
        home
    }

    /// A worker goes. If its shard is short of one then, it gets one of the shard with the most.
    pub(super) fn leave(&mut self, home: &Arc<AtomicUsize>) {
        // ORDERING: Relaxed, here and below: homes are written only by the holder of this list.
        let shard = home.load(Ordering::Relaxed);
        self.0[shard].retain(|other| !Arc::ptr_eq(other, home));
        let most = (0..self.0.len()).max_by_key(|shard| self.at(*shard)).unwrap_or(shard);
        if self.at(most) > self.at(shard) + 1 {
            if let Some(mover) = self.0[most].pop() {
                mover.store(shard, Ordering::Relaxed);
                self.0[shard].push(mover);
            }
        }
    }

    /// The workers of one shard.
    pub(super) fn at(&self, shard: usize) -> usize {
        self.0[shard].len()
    }

    /// All workers.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}
