//! Keys, levels and tenants, for the dispatches that have them.

use formicary::{
    Accepts, Builder, CallError, Dispatch, Fair, Handle, Level, Pool, PoolWithFunc, Priority, Ring, Sharded, Stack,
    StatefulPool, SubmitError, With,
};

use super::job::{Job, Output};
use super::states::Adept;

type Handed = Result<Handle<Output>, SubmitError<Job>>;

/// A dispatch, and what a key means to it: a shard, a level or a tenant, or nothing.
pub(crate) trait Keyed: Dispatch + Sized {
    fn with_shards<K>(builder: Builder<K, Self>, _shards: Option<usize>) -> Builder<K, Self> {
        builder
    }

    fn keyed<P, X>(with: With<'_, P>, _key: u8) -> With<'_, P>
    where
        P: Accepts<X, Dispatch = Self>,
        X: Send + 'static,
    {
        with
    }

    fn submit<F: FnOnce() + Send + 'static>(pool: &Pool<Self>, key: u8, f: F) -> Result<(), SubmitError<F>> {
        Self::keyed::<_, F>(pool.with(), key).submit(f)
    }

    fn try_submit<F: FnOnce() + Send + 'static>(pool: &Pool<Self>, key: u8, f: F) -> Result<(), SubmitError<F>> {
        Self::keyed::<_, F>(pool.with(), key).try_submit(f)
    }

    fn invoke(pool: &PoolWithFunc<Job, Self, Output>, key: u8, job: Job) -> Result<(), SubmitError<Job>> {
        Self::keyed::<_, Job>(pool.with(), key).submit(job)
    }

    fn try_invoke(pool: &PoolWithFunc<Job, Self, Output>, key: u8, job: Job) -> Result<(), SubmitError<Job>> {
        Self::keyed::<_, Job>(pool.with(), key).try_submit(job)
    }

    fn hand(pool: &StatefulPool<Adept, Self>, key: u8, job: Job) -> Handed {
        Self::keyed::<_, Job>(pool.with(), key).spawn(job)
    }

    fn try_hand(pool: &StatefulPool<Adept, Self>, key: u8, job: Job) -> Handed {
        Self::keyed::<_, Job>(pool.with(), key).try_spawn(job)
    }

    fn process(pool: &StatefulPool<Adept, Self>, key: u8, job: Job) -> Result<Output, CallError<Job>> {
        Self::keyed::<_, Job>(pool.with(), key).run(job)
    }
}

impl Keyed for Stack {}

impl Keyed for Ring {}

impl Keyed for Sharded {
    fn with_shards<K>(builder: Builder<K, Self>, shards: Option<usize>) -> Builder<K, Self> {
        match shards {
            Some(shards) => builder.shards(shards),
            None => builder,
        }
    }

    fn keyed<P, X>(with: With<'_, P>, key: u8) -> With<'_, P>
    where
        P: Accepts<X, Dispatch = Self>,
        X: Send + 'static,
    {
        with.key(key)
    }
}

impl Keyed for Priority {
    fn with_shards<K>(builder: Builder<K, Self>, levels: Option<usize>) -> Builder<K, Self> {
        match levels {
            Some(levels) => builder.levels(levels),
            None => builder,
        }
    }

    fn keyed<P, X>(with: With<'_, P>, key: u8) -> With<'_, P>
    where
        P: Accepts<X, Dispatch = Self>,
        X: Send + 'static,
    {
        with.priority([Level::LOW, Level::NORMAL, Level::HIGH, Level::new(0)][usize::from(key % 4)])
    }
}

impl Keyed for Fair {
    fn with_shards<K>(builder: Builder<K, Self>, most: Option<usize>) -> Builder<K, Self> {
        let most = most.map_or(1, |most| 1 + most as i128);
        builder.share(move |tenant| u32::try_from(1 + tenant.number().unwrap_or(0) % most).unwrap_or(1))
    }

    fn keyed<P, X>(with: With<'_, P>, key: u8) -> With<'_, P>
    where
        P: Accepts<X, Dispatch = Self>,
        X: Send + 'static,
    {
        with.tenant(key)
    }
}
