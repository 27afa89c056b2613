//! `workerpool` (Rust): a worker with state per thread; closures are its `Thunk`s. Its threads end when it is dropped
//! and cannot be joined; `join` waits for the tasks.

use std::sync::mpsc::channel;

use workerpool::Pool;
use workerpool::thunk::{Thunk, ThunkWorker};

use super::{Bound, Closures, Function, Machine, Plan};

pub struct Workerpool {
    pool: Pool<ThunkWorker<()>>,
}

impl Closures for Workerpool {
    const PANIC_ENDS_THREAD: bool = true;

    fn name() -> String {
        "workerpool".into()
    }

    fn build(plan: &Plan) -> Self {
        Workerpool { pool: Pool::new(plan.workers) }
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.pool.execute(Thunk::of(task));
    }

    fn call(&self, n: u64) -> u64 {
        let (sender, receiver) = channel();
        self.pool.execute(Thunk::of(move || sender.send(n + 1).expect("the caller waits")));
        receiver.recv().expect("the task answers")
    }

    fn end(self) {
        self.pool.join();
    }
}

#[derive(Default)]
pub struct State<M>(M);

impl<M: Machine> workerpool::Worker for State<M> {
    type Input = u64;
    type Output = u64;

    fn execute(&mut self, n: u64) -> u64 {
        self.0.step(n)
    }
}

impl Function for Workerpool {
    type Of<M: Machine> = OfState<M>;
}

pub struct OfState<M: Machine>(Pool<State<M>>);

impl<M: Machine> Bound<M> for OfState<M> {
    fn build(plan: &Plan) -> Self {
        OfState(Pool::new(plan.workers))
    }

    fn invoke(&self, n: u64) {
        self.0.execute(n);
    }

    fn end(self) {
        self.0.join();
    }
}
