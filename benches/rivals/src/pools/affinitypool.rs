//! `affinitypool`: a dropped future cancels its task and cannot be detached, so the futures of tasks without a waiter
//! are forgotten, which leaks their memory. Dropping the pool joins its threads.

use affinitypool::Threadpool;

use super::{Closures, Plan, block_on};

pub struct Affinitypool(Threadpool);

impl Closures for Affinitypool {
    fn name() -> String {
        "affinitypool".into()
    }

    fn cannot(scenario: &str) -> Option<&'static str> {
        (scenario == "idle_memory").then_some("has 512 threads at most")
    }

    fn build(plan: &Plan) -> Self {
        Affinitypool(Threadpool::new(plan.workers))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        std::mem::forget(self.0.spawn(task));
    }

    fn call(&self, n: u64) -> u64 {
        block_on(self.0.spawn(move || n + 1))
    }

    fn end(self) {
        drop(self.0);
    }
}
