//! Tasks with a key, for pools whose queue is in shards: the same key goes to the same shard, so that one tenant cannot
//! fill them all.
//!
//! Which shard that is depends on a seed of the pool, so that two keys that share one in one pool part in another, and nobody can choose
//! keys that share one everywhere.

use std::hash::Hash;

use crate::builder::Builder;
use crate::dispatch::{Balance, Sharded};
use crate::engine::Patience;
use crate::error::{ProcessError, SubmitError};
use crate::handle::Handle;
use crate::job;
use crate::pool::Pool;
use crate::pool_with_func::PoolWithFunc;
use crate::stateful::StatefulPool;
use crate::worker::Worker;

impl<K> Builder<K, Sharded> {
    /// How many shards: 1 to 65,535, and not more than the pool may hold tasks (`workers + queue`); `build` fails otherwise, and
    /// where another [`dispatch`](Self::dispatch) is chosen after this. Default: the number of processors that the process may
    /// use, but no more than workers.
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

    /// How tasks without a key are spread over the shards; as [`shards`](Self::shards), only for this dispatch. Default:
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

impl Pool<Sharded> {
    /// As [`submit`](Self::submit), into the shard that belongs to `key`. Blocks while *that* shard is full, however much room
    /// there is in others: its share of the pool's room is all that one key can take.
    ///
    /// Tasks of one key start in the order in which they were submitted, but may run at the same time. Submitters with a key
    /// wait in a line of their own shard; those without a key do not wait for them.
    ///
    /// ```
    /// use formicary::{Pool, Sharded};
    ///
    /// let pool = Pool::builder().workers(1).queue(3).dispatch::<Sharded>().shards(2).build()?;
    /// let pause = pool.pause();
    /// while pool.try_submit_keyed("greedy", || ()).is_ok() {}
    /// assert_eq!(pool.queued(), 2); // a half of the room
    /// assert!(pool.try_submit(|| ()).is_ok()); // the other half
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`.
    pub fn submit_keyed<F>(&self, key: impl Hash, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enter(f, self.engine.way(Some(self.engine.number_of(key)), self.engine.default_patience()))
    }

    /// As [`submit_keyed`](Self::submit_keyed) if there is room in the key's shard; never blocks.
    ///
    /// ```
    /// let pool = formicary::ShardedPool::with_workers(2)?;
    /// assert!(pool.try_submit_keyed(7, || ()).is_ok());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure; of kind `Full` if there is no room in the shard.
    pub fn try_submit_keyed<F>(&self, key: impl Hash, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enter(f, self.engine.way(Some(self.engine.number_of(key)), Patience::None))
    }

    /// The shard that tasks with this key go to, as an index into [`Stats::shards`](crate::Stats::shards). Each pool spreads keys in its
    /// own way. It stays the same as long as the pool lives, but for the time in which the pool has less room than shards: then some
    /// have none, and others stand in for them.
    ///
    /// ```
    /// use formicary::{Pool, Sharded};
    ///
    /// let pool = Pool::builder().workers(2).dispatch::<Sharded>().shards(8).build()?;
    /// pool.submit_keyed("tenant", || ())?;
    /// assert_eq!(pool.stats().shards[pool.shard_of("tenant")].submitted, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shard_of(&self, key: impl Hash) -> usize {
        self.engine.shard_of(key)
    }
}

impl<T: Send + 'static, R: Send + 'static> PoolWithFunc<T, Sharded, R> {
    /// As [`invoke`](Self::invoke), into the shard that belongs to `key`; see [`Pool::submit_keyed`].
    ///
    /// ```
    /// use formicary::{PoolWithFunc, Sharded};
    ///
    /// let pool = PoolWithFunc::<u64, Sharded>::with_workers(2, drop)?;
    /// pool.invoke_keyed("tenant", 7)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `invoke`.
    pub fn invoke_keyed(&self, key: impl Hash, payload: T) -> Result<(), SubmitError<T>> {
        self.enter(payload, self.engine.way(Some(self.engine.number_of(key)), self.engine.default_patience()))
    }

    /// As [`invoke_keyed`](Self::invoke_keyed) if there is room in the key's shard; never blocks.
    ///
    /// ```
    /// use formicary::{PoolWithFunc, Sharded};
    ///
    /// let pool = PoolWithFunc::<u64, Sharded>::with_workers(2, drop)?;
    /// assert!(pool.try_invoke_keyed("tenant", 7).is_ok());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the payload; of kind `Full` if there is no room in the shard.
    pub fn try_invoke_keyed(&self, key: impl Hash, payload: T) -> Result<(), SubmitError<T>> {
        self.enter(payload, self.engine.way(Some(self.engine.number_of(key)), Patience::None))
    }

    /// The shard that tasks with this key go to, as an index into [`Stats::shards`](crate::Stats::shards). Each pool spreads keys in its
    /// own way. It stays the same as long as the pool lives, but for the time in which the pool has less room than shards: then some
    /// have none, and others stand in for them.
    ///
    /// ```
    /// use formicary::{PoolWithFunc, Sharded};
    ///
    /// let pool = PoolWithFunc::<u64, Sharded>::with_workers(2, drop)?;
    /// pool.invoke_keyed("tenant", 7)?;
    /// assert_eq!(pool.stats().shards[pool.shard_of("tenant")].submitted, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shard_of(&self, key: impl Hash) -> usize {
        self.engine.shard_of(key)
    }
}

impl<W: Worker> StatefulPool<W, Sharded> {
    /// As [`process`](Self::process), through the shard that belongs to `key`; see [`Pool::submit_keyed`].
    ///
    /// ```
    /// # use formicary::{Context, Sharded, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::<_, Sharded>::with_workers(2, |_worker| Ok(Double))?;
    /// assert_eq!(pool.process_keyed("tenant", 21)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `process`.
    pub fn process_keyed(&self, key: impl Hash, input: W::Input) -> Result<W::Output, ProcessError<W::Input>> {
        job::call(&self.engine, input, None, Some(self.engine.number_of(key)))
    }

    /// As [`submit`](Self::submit), into the shard that belongs to `key`; see [`Pool::submit_keyed`].
    ///
    /// ```
    /// # use formicary::{Context, Sharded, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::<_, Sharded>::with_workers(2, |_worker| Ok(Double))?;
    /// assert_eq!(pool.submit_keyed("tenant", 21)?.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`.
    pub fn submit_keyed(&self, key: impl Hash, input: W::Input) -> Result<Handle<W::Output>, SubmitError<W::Input>> {
        self.enter(input, self.engine.way(Some(self.engine.number_of(key)), self.engine.default_patience()))
    }

    /// As [`submit_keyed`](Self::submit_keyed) if there is room in the key's shard; never blocks.
    ///
    /// ```
    /// # use formicary::{Context, Sharded, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::<_, Sharded>::with_workers(2, |_worker| Ok(Double))?;
    /// assert_eq!(pool.try_submit_keyed("tenant", 21)?.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the input; of kind `Full` if there is no room in the shard.
    pub fn try_submit_keyed(
        &self,
        key: impl Hash,
        input: W::Input,
    ) -> Result<Handle<W::Output>, SubmitError<W::Input>> {
        self.enter(input, self.engine.way(Some(self.engine.number_of(key)), Patience::None))
    }

    /// The shard that tasks with this key go to, as an index into [`Stats::shards`](crate::Stats::shards). Each pool spreads keys in its
    /// own way. It stays the same as long as the pool lives, but for the time in which the pool has less room than shards: then some
    /// have none, and others stand in for them.
    ///
    /// ```
    /// # use formicary::{Context, Sharded, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::<_, Sharded>::with_workers(2, |_worker| Ok(Double))?;
    /// assert_eq!(pool.process_keyed("tenant", 21)?, 42);
    /// assert_eq!(pool.stats().shards[pool.shard_of("tenant")].submitted, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shard_of(&self, key: impl Hash) -> usize {
        self.engine.shard_of(key)
    }
}
