//! `threadpool`: its threads end when it is dropped and cannot be joined; `join` waits for the tasks.

use super::{Closures, Plan};

pub struct Threadpool(threadpool::ThreadPool);

impl Closures for Threadpool {
    const PANIC_ENDS_THREAD: bool = true;

    fn name() -> String {
        "threadpool".into()
    }

    fn build(plan: &Plan) -> Self {
        Threadpool(threadpool::ThreadPool::new(plan.workers))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.0.execute(task);
    }

    fn end(self) {
        self.0.join();
    }
}
