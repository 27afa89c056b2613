//! `rusty_pool`: as many core threads as it may have; `shutdown_join` waits for the tasks, not for the threads.

use std::time::Duration;

use super::{Closures, Plan};

pub struct RustyPool(rusty_pool::ThreadPool);

impl Closures for RustyPool {
    const PANIC_ENDS_THREAD: bool = true;

    fn name() -> String {
        "rusty_pool".into()
    }

    fn build(plan: &Plan) -> Self {
        RustyPool(rusty_pool::ThreadPool::new(plan.workers, plan.workers, Duration::from_secs(60)))
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.0.execute(task);
    }

    fn call(&self, n: u64) -> u64 {
        self.0.evaluate(move || n + 1).await_complete()
    }

    fn end(self) {
        self.0.shutdown_join();
    }
}
