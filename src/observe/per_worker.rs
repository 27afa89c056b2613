//! A value for each worker of a pool, made when it is first asked for.

use std::array;
use std::sync::OnceLock;

use crossbeam_utils::CachePadded;

use crate::queue::MAX_WORKERS;

/// Blocks of 1, 2, 4 and so on values, so that a worker's value never moves and is found without a lock.
pub(super) struct PerWorker<T> {
    blocks: [OnceLock<Block<T>>; BLOCKS],
}

type Block<T> = Box<[CachePadded<T>]>;

const BLOCKS: usize = (MAX_WORKERS.ilog2() + 1) as usize;

impl<T> Default for PerWorker<T> {
    fn default() -> Self {
        PerWorker { blocks: array::from_fn(|_| OnceLock::new()) }
    }
}

impl<T: Default> PerWorker<T> {
    /// The value of a worker, whose number is below [`MAX_WORKERS`].
    pub(super) fn get(&self, worker: usize) -> &T {
        let block = (worker + 1).ilog2() as usize;
        let make = || (0..1_usize << block).map(|_| CachePadded::default()).collect();
        &self.blocks[block].get_or_init(make)[worker + 1 - (1 << block)]
    }

    /// The values that there are, with the numbers of their workers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let blocks = self.blocks.iter().filter_map(OnceLock::get);
        blocks.flat_map(|block| (block.len() - 1..).zip(block.iter().map(|value| &**value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_a_value_of_its_own() {
        let all = PerWorker::<OnceLock<usize>>::default();
        let numbers = [0, 1, 2, 3, 4, 6, 7, 1000, MAX_WORKERS - 1];
        assert_eq!(all.iter().count(), 0);
        for worker in numbers {
            assert_eq!(all.get(worker).set(worker), Ok(()), "worker {worker} shares a value");
        }
        let found: Vec<_> = all.iter().filter_map(|(worker, value)| Some((worker, *value.get()?))).collect();
        assert_eq!(found, numbers.map(|worker| (worker, worker)));
        assert!(all.blocks[5].get().is_none(), "a block that no worker has asked for");
    }
}
