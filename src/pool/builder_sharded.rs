//! What only a builder of [`Sharded`] pools has.

use super::builder::Builder;
use crate::queue::{Balance, Sharded};

impl<K> Builder<K, Sharded> {
    /// How many shards: 1 to 65,535, and no more than the pool may hold tasks (`workers + queue`). `build` fails otherwise, and if another
    /// [`dispatch`](Self::dispatch) is chosen after this. Default: the number of processors that the process may use, but no more than
    /// `workers`.
    ///
    /// ```
    /// use formicary::{Pool, Sharded};
    ///
    /// let pool = Pool::builder().workers(2).dispatch::<Sharded>().shards(8).build()?;
    /// assert_eq!(pool.stats().shards.len(), 8);
    /// assert!(Pool::builder().dispatch::<Sharded>().shards(0).build().is_err());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn shards(mut self, shards: usize) -> Self {
        self.options.shards = Some(shards);
        self
    }

    /// How tasks without a key are spread over the shards. As [`shards`](Self::shards), only for this dispatch. Default:
    /// [`Balance::RoundRobin`].
    ///
    /// ```
    /// use formicary::{Balance, Pool, Sharded};
    ///
    /// let pool = Pool::builder().workers(2).dispatch::<Sharded>().balance(Balance::Thread).build()?;
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn balance(mut self, balance: Balance) -> Self {
        self.options.balance = Some(balance);
        self
    }
}
