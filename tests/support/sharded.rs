//! The three kinds of pool on `Sharded`, with what only they have: keys, and figures of each shard.

use std::sync::Arc;

use formicary::{Balance, BuildError, Pool, PoolWithFunc, ShardStats, Sharded, StatefulPool, SubmitError, Task};

use super::{AnyPool, Gate, LIMIT, RunTask, Setup, eventually, within};

/// All there are.
pub const BALANCES: [Balance; 4] = [Balance::RoundRobin, Balance::LeastLoaded, Balance::TwoChoices, Balance::Thread];

type Submit = dyn Fn(u64, Task) -> Result<(), SubmitError<Task>> + Send + Sync;

/// A sharded pool of any kind, made to run tasks.
#[derive(Clone)]
pub struct ShardedPool {
    pub pool: AnyPool,
    submit_keyed: Arc<Submit>,
    try_submit_keyed: Arc<Submit>,
    shard_of: Arc<dyn Fn(u64) -> usize + Send + Sync>,
}

impl ShardedPool {
    pub fn shard_of(&self, key: u64) -> usize {
        (self.shard_of)(key)
    }

    /// A key for each shard.
    pub fn key_of_each(&self) -> Vec<u64> {
        key_of_each(self.shards().len(), |key| self.shard_of(key))
    }

    pub fn submit_keyed(&self, key: u64, task: Task) -> Result<(), SubmitError<Task>> {
        (self.submit_keyed)(key, task)
    }

    pub fn try_submit_keyed(&self, key: u64, task: Task) -> Result<(), SubmitError<Task>> {
        (self.try_submit_keyed)(key, task)
    }

    /// Waits until each worker has its shard: building a pool waits for the threads, not for what they do first.
    fn when_assigned(self) -> Self {
        let assigned = || self.each(|shard| shard.workers).iter().sum::<usize>();
        eventually("each worker has its shard", || assigned() == self.pool.stats().live);
        self
    }

    pub fn shards(&self) -> Vec<ShardStats> {
        self.pool.stats().shards
    }

    /// One figure of each shard.
    pub fn each<T>(&self, figure: impl Fn(&ShardStats) -> T) -> Vec<T> {
        self.shards().iter().map(figure).collect()
    }
}

/// A kind of pool on `Sharded`.
pub type Kind = fn(Setup, usize, Balance) -> Result<ShardedPool, BuildError>;

const KINDS: [(&str, Kind); 3] = [("Pool", pool), ("PoolWithFunc", pool_with_func), ("StatefulPool", stateful_pool)];

/// Runs `test` for each kind of pool, each within [`LIMIT`], and says which one failed.
pub fn for_each_kind(test: impl Fn(Kind) + Send + Clone + 'static) {
    for (name, kind) in KINDS {
        let test = test.clone();
        within(LIMIT, name, move || test(kind));
    }
}

fn pool(setup: Setup, shards: usize, balance: Balance) -> Result<ShardedPool, BuildError> {
    let pool = Arc::new(setup.on(Pool::builder()).dispatch::<Sharded>().shards(shards).balance(balance).build()?);
    let (blocking, trying, asked) = (Arc::clone(&pool), Arc::clone(&pool), Arc::clone(&pool));
    // Where a closure is refused it is the closure that comes back: as a task it can be run all the same.
    let back = |refusal: SubmitError<_>| refusal.map(Task::new);
    let pool = ShardedPool {
        pool,
        submit_keyed: Arc::new(move |key, task| blocking.with().key(key).submit(move || task.run()).map_err(back)),
        try_submit_keyed: Arc::new(move |key, task| {
            let back = |refusal: SubmitError<_>| refusal.map(Task::new);
            trying.with().key(key).try_submit(move || task.run()).map_err(back)
        }),
        shard_of: Arc::new(move |key| asked.shard_of(key)),
    };
    Ok(pool.when_assigned())
}

fn pool_with_func(setup: Setup, shards: usize, balance: Balance) -> Result<ShardedPool, BuildError> {
    let builder = setup.on(PoolWithFunc::builder(Task::run)).dispatch::<Sharded>();
    let pool = Arc::new(builder.shards(shards).balance(balance).build()?);
    let (blocking, trying, asked) = (Arc::clone(&pool), Arc::clone(&pool), Arc::clone(&pool));
    let pool = ShardedPool {
        pool,
        submit_keyed: Arc::new(move |key, task| blocking.with().key(key).submit(task)),
        try_submit_keyed: Arc::new(move |key, task| trying.with().key(key).try_submit(task)),
        shard_of: Arc::new(move |key| asked.shard_of(key)),
    };
    Ok(pool.when_assigned())
}

fn stateful_pool(setup: Setup, shards: usize, balance: Balance) -> Result<ShardedPool, BuildError> {
    let builder = setup.on(StatefulPool::builder(|_| Ok(RunTask))).dispatch::<Sharded>();
    let pool = Arc::new(builder.shards(shards).balance(balance).build()?);
    let (blocking, trying, asked) = (Arc::clone(&pool), Arc::clone(&pool), Arc::clone(&pool));
    let pool = ShardedPool {
        pool,
        submit_keyed: Arc::new(move |key, task| blocking.with().key(key).submit(task).map(drop)),
        try_submit_keyed: Arc::new(move |key, task| trying.with().key(key).try_submit(task).map(drop)),
        shard_of: Arc::new(move |key| asked.shard_of(key)),
    };
    Ok(pool.when_assigned())
}

/// A key for each of so many shards.
pub fn key_of_each(shards: usize, shard_of: impl Fn(u64) -> usize) -> Vec<u64> {
    let key_of = |shard| (0..).find(|key| shard_of(*key) == shard);
    (0..shards).filter_map(key_of).collect()
}

/// Holds all workers that belong to a shard, and no others, each at a gate of the answer, with a task of a key that belongs
/// to the shard. All workers of the pool are idle, and none of them ever leaves.
pub fn hold_workers_of(pool: &ShardedPool, shard: usize, key: u64) -> Vec<Gate> {
    let stats = pool.pool.stats();
    let (mut own, mut others) = (Vec::new(), Vec::new());
    // A task for each worker. The ones that are not stolen are run by those that belong there.
    for _ in 0..stats.live {
        let (gate, stolen) = (Gate::new(), pool.shards()[shard].stolen);
        pool.submit_keyed(key, gate.task()).unwrap();
        gate.await_arrivals(1);
        let is_own = pool.shards()[shard].stolen == stolen;
        if is_own { &mut own } else { &mut others }.push(gate);
    }
    assert_eq!(own.len(), stats.shards[shard].workers, "a worker runs the tasks of its shard unless it is busy");
    others.iter().for_each(Gate::open);
    eventually("the others are free", || pool.pool.running() == own.len());
    own
}

/// The share of the room `workers + queue` that each shard has: equal, the remainder to the first ones.
pub fn shares(room: usize, shards: usize) -> Vec<usize> {
    (0..shards).map(|n| room / shards + usize::from(n < room % shards)).collect()
}
