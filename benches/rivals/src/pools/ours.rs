//! formicary: three kinds of pool on each of three dispatches. Options are the defaults but for the number of workers,
//! the bound of the queue where a scenario queues more, and the spinning of those that say so.

use std::ops::Range;
use std::time::Duration;

use formicary::{
    Builder, Closures as Kind, Context, Dispatch, Pool, PoolWithFunc, Sharded, StatefulPool, Task, Worker, WorkerPool,
};

use super::{Bound, Class, Closures, Forks, Function, Machine, Plan};

fn options<K, D: Dispatch>(builder: Builder<K>, plan: &Plan) -> Builder<K, D> {
    let builder = builder.dispatch::<D>().workers(plan.workers).queue(plan.queue);
    let builder = if plan.eager { builder.min_workers(plan.workers) } else { builder };
    match plan.spin {
        Some(limit) => builder.spin(limit),
        None => builder,
    }
}

/// `Pool<D>`.
pub struct OfClosures<D: Dispatch>(Pool<D>);

impl<D: Dispatch> Closures for OfClosures<D> {
    const CLASS: Class = Class::Ours;

    fn name() -> String {
        format!("Pool<{}>", D::NAME)
    }

    fn build(plan: &Plan) -> Self {
        OfClosures(options::<Kind, D>(Pool::builder(), plan).build().expect("there are threads"))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.0.submit(task).expect("the pool is open");
    }

    fn submit_all<F: FnOnce() + Send + 'static>(&self, tasks: impl Iterator<Item = F>) {
        assert!(self.0.submit_all(tasks).is_ok(), "the pool is open");
    }

    fn call(&self, n: u64) -> u64 {
        self.0.run(move || n + 1).expect("the task answers")
    }

    fn end(self) {
        self.0.shutdown();
    }
}

impl<D: Dispatch> Forks for OfClosures<D> {
    fn join<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        self.0.join(a, b)
    }

    fn scope(&self, a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
        self.0.scope(|scope| {
            scope.spawn(a);
            scope.spawn(b);
        });
    }

    fn install<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.0.install(f)
    }
}

/// `PoolWithFunc<Task, D>`: closures as the payload of a function that calls them.
pub struct Func<D: Dispatch>(PoolWithFunc<Task, D>);

impl<D: Dispatch> Closures for Func<D> {
    const CLASS: Class = Class::Ours;

    fn name() -> String {
        format!("PoolWithFunc<{}>", D::NAME)
    }

    fn build(plan: &Plan) -> Self {
        Func(options(PoolWithFunc::builder(Task::run), plan).build().expect("there are threads"))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.0.submit(Task::new(task)).expect("the pool is open");
    }

    fn end(self) {
        self.0.shutdown();
    }
}

impl<D: Dispatch> Function for Func<D> {
    type Of<M: Machine> = BoundFunc<D>;
}

/// `PoolWithFunc<u64, D>`.
pub struct BoundFunc<D: Dispatch>(PoolWithFunc<u64, D, u64>);

impl<M: Machine, D: Dispatch> Bound<M> for BoundFunc<D> {
    fn build(plan: &Plan) -> Self {
        let step = |n| M::default().step(n);
        BoundFunc(options(PoolWithFunc::builder(step), plan).build().expect("there are threads"))
    }

    fn invoke(&self, n: u64) {
        self.0.submit(n).expect("the pool is open");
    }

    fn invoke_all(&self, all: Range<u64>) {
        self.0.submit_all(all).expect("the pool is open");
    }

    fn call(&self, n: u64) -> u64 {
        self.0.run(n).expect("the function answers")
    }

    fn end(self) {
        self.0.shutdown();
    }
}

/// `StatefulPool<_, D>`: closures as the input of a state that calls them.
pub struct Stateful<D: Dispatch>(StatefulPool<CallTask, D>);

pub struct CallTask;

impl Worker for CallTask {
    type Input = Task;
    type Output = ();

    fn process(&mut self, task: Task, _cx: &Context<'_>) {
        task.run();
    }
}

impl<D: Dispatch> Closures for Stateful<D> {
    const CLASS: Class = Class::Ours;

    fn name() -> String {
        format!("StatefulPool<{}>", D::NAME)
    }

    fn build(plan: &Plan) -> Self {
        Stateful(options(StatefulPool::builder(|_| Ok(CallTask)), plan).build().expect("there are threads"))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        WorkerPool::submit(&self.0, Task::new(task)).expect("the pool is open");
    }

    fn end(self) {
        self.0.shutdown();
    }
}

impl<D: Dispatch> Function for Stateful<D> {
    type Of<M: Machine> = BoundState<M, D>;
}

/// `StatefulPool<_, D>` with a machine as the state.
pub struct BoundState<M: Machine, D: Dispatch>(StatefulPool<State<M>, D>);

pub struct State<M>(M);

impl<M: Machine> Worker for State<M> {
    type Input = u64;
    type Output = u64;

    fn process(&mut self, n: u64, _cx: &Context<'_>) -> u64 {
        self.0.step(n)
    }
}

impl<M: Machine, D: Dispatch> Bound<M> for BoundState<M, D> {
    fn build(plan: &Plan) -> Self {
        let factory = |_| Ok(State(M::default()));
        BoundState(options(StatefulPool::builder(factory), plan).build().expect("there are threads"))
    }

    /// The shared interface's `submit`, which makes no handle.
    fn invoke(&self, n: u64) {
        WorkerPool::submit(&self.0, n).expect("the pool is open");
    }

    fn invoke_all(&self, all: Range<u64>) {
        self.0.submit_all(all).expect("the pool is open");
    }

    fn call(&self, n: u64) -> u64 {
        self.0.run(n).expect("the state answers")
    }

    fn end(self) {
        self.0.shutdown();
    }
}

/// How the names of the pools end that spin for 60 µs.
pub const SPIN_60: &str = ", spin 60 µs";

/// The same pool with workers that may spin for 60 µs before they park.
pub struct Spin60<C>(C);

impl<C: Closures> Closures for Spin60<C> {
    const CLASS: Class = C::CLASS;

    fn name() -> String {
        C::name() + SPIN_60
    }

    fn build(plan: &Plan) -> Self {
        Spin60(C::build(&Plan { spin: Some(Duration::from_micros(60)), ..*plan }))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.0.submit(task);
    }

    fn end(self) {
        self.0.end();
    }
}

/// `Pool<Sharded>` with a key for each of two tenants, of different shards.
pub struct ByKey {
    pool: OfClosures<Sharded>,
    keys: [u64; 2],
}

impl Closures for ByKey {
    const CLASS: Class = Class::Ours;

    fn name() -> String {
        "Pool<Sharded>, by key".into()
    }

    fn build(plan: &Plan) -> Self {
        let pool = OfClosures::<Sharded>::build(plan);
        let shard_of = |key| pool.0.shard_of(key);
        let other = (1..).find(|key| shard_of(*key) != shard_of(0)).expect("there are two shards");
        ByKey { pool, keys: [0, other] }
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.pool.submit(task);
    }

    fn submit_for<F: FnOnce() + Send + 'static>(&self, tenant: usize, task: F) {
        self.pool.0.with().key(self.keys[tenant]).submit(task).expect("the pool is open");
    }

    fn end(self) {
        self.pool.end();
    }
}
