//! What a sharded pool says of each shard.

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
    /// Living workers whose own shard it is.
    pub workers: usize,
    /// Tasks ever accepted into it.
    pub submitted: u64,
    /// Tasks of it that have not started.
    pub queued: usize,
    /// Tasks of it that are running, on whichever worker.
    pub running: usize,
    /// Tasks of it that a worker of another shard took.
    pub stolen: u64,
}
