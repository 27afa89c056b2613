//! The figures of one shard.

/// A snapshot of one shard of a [`Sharded`](crate::Sharded) pool.
///
/// ```
/// use formicary::{Pool, Sharded};
///
/// let pool = Pool::builder().workers(2).dispatch::<Sharded>().shards(2).build()?;
/// pool.submit(|| ())?;
/// pool.submit(|| ())?;
/// pool.wait_idle();
/// assert!(pool.stats().shards.iter().all(|shard| shard.submitted == 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardStats {
    /// Workers assigned to this shard.
    pub workers: usize,
    /// Tasks ever accepted into this shard.
    pub submitted: u64,
    /// Its tasks that have not started.
    pub queued: usize,
    /// Its tasks that are running, on any worker.
    pub running: usize,
    /// Its tasks that workers of other shards have taken.
    pub stolen: u64,
}
