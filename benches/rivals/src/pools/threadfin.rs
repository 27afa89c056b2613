//! `threadfin`: a pool of a fixed size without a limit on its queue, which is its default; `join` waits for the
//! threads.

use threadfin::ThreadPool;

use super::{Closures, Plan};

pub struct Threadfin(ThreadPool);

impl Closures for Threadfin {
    fn name() -> String {
        "threadfin".into()
    }

    fn build(plan: &Plan) -> Self {
        Threadfin(ThreadPool::builder().size(plan.workers).build())
    }

    fn submit<F: FnOnce() + Send + 'static>(&self, task: F) {
        drop(self.0.execute(task));
    }

    fn call(&self, n: u64) -> u64 {
        self.0.execute(move || n + 1).join()
    }

    fn end(self) {
        self.0.join();
    }
}
