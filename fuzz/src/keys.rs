//! Keys, for the dispatch that has them.

use formicary::{
    Builder, CallError, Dispatch, Handle, Pool, PoolWithFunc, Ring, Sharded, Stack, StatefulPool, SubmitError,
};

use super::job::{Job, Output};
use super::states::Adept;

type Handed = Result<Handle<Output>, SubmitError<Job>>;

/// A dispatch, and its use of keys: only [`Sharded`] has one.
pub(crate) trait Keyed: Dispatch + Sized {
    fn with_shards<K>(builder: Builder<K, Self>, _shards: Option<usize>) -> Builder<K, Self> {
        builder
    }

    fn submit<F: FnOnce() + Send + 'static>(pool: &Pool<Self>, _key: u8, f: F) -> Result<(), SubmitError<F>> {
        pool.submit(f)
    }

    fn try_submit<F: FnOnce() + Send + 'static>(pool: &Pool<Self>, _key: u8, f: F) -> Result<(), SubmitError<F>> {
        pool.try_submit(f)
    }

    fn invoke(pool: &PoolWithFunc<Job, Self, Output>, _key: u8, job: Job) -> Result<(), SubmitError<Job>> {
        pool.submit(job)
    }

    fn try_invoke(pool: &PoolWithFunc<Job, Self, Output>, _key: u8, job: Job) -> Result<(), SubmitError<Job>> {
        pool.try_submit(job)
    }

    fn hand(pool: &StatefulPool<Adept, Self>, _key: u8, job: Job) -> Handed {
        pool.spawn(job)
    }

    fn try_hand(pool: &StatefulPool<Adept, Self>, _key: u8, job: Job) -> Handed {
        pool.try_spawn(job)
    }

    fn process(pool: &StatefulPool<Adept, Self>, _key: u8, job: Job) -> Result<Output, CallError<Job>> {
        pool.run(job)
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

    fn submit<F: FnOnce() + Send + 'static>(pool: &Pool<Self>, key: u8, f: F) -> Result<(), SubmitError<F>> {
        pool.with().key(key).submit(f)
    }

    fn try_submit<F: FnOnce() + Send + 'static>(pool: &Pool<Self>, key: u8, f: F) -> Result<(), SubmitError<F>> {
        pool.with().key(key).try_submit(f)
    }

    fn invoke(pool: &PoolWithFunc<Job, Self, Output>, key: u8, job: Job) -> Result<(), SubmitError<Job>> {
        pool.with().key(key).submit(job)
    }

    fn try_invoke(pool: &PoolWithFunc<Job, Self, Output>, key: u8, job: Job) -> Result<(), SubmitError<Job>> {
        pool.with().key(key).try_submit(job)
    }

    fn hand(pool: &StatefulPool<Adept, Self>, key: u8, job: Job) -> Handed {
        pool.with().key(key).spawn(job)
    }

    fn try_hand(pool: &StatefulPool<Adept, Self>, key: u8, job: Job) -> Handed {
        pool.with().key(key).try_spawn(job)
    }

    fn process(pool: &StatefulPool<Adept, Self>, key: u8, job: Job) -> Result<Output, CallError<Job>> {
        pool.with().key(key).run(job)
    }
}
